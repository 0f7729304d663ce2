//! Rules of the real files that the pools' own tests do not reach: owners, times, errors of paths, journals
//! that are not whole, and directories that are exchanged out of sight.

use std::os::unix::fs::symlink;

use super::*;

const POOL: FileId = FileId::Pool(PoolId::External);

/// Opened files of a daemon in a directory of its own.
fn opened(dir: &Path) -> PoolFiles {
    let mut files = PoolFiles::new(dir);
    files.open(POOL, true).unwrap();
    files
}

/// The time of the last change of the file's properties.
fn properties_changed(path: &Path) -> (i64, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}

#[test]
fn a_file_with_the_right_owner_and_mode_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("pool");
    drop(opened(&dir));
    let place = dir.join(".kvp_pool_0");
    let before = properties_changed(&place);
    // Until the clock that stamps files has moved.
    let other = scratch.path().join("other");
    while fs::write(&other, "").map(|()| properties_changed(&other) <= before).unwrap() {}
    drop(opened(&dir));
    assert_eq!(properties_changed(&place), before);
}

#[test]
fn a_file_of_another_user_is_taken_over() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    drop(opened(scratch.path()));
    let place = scratch.path().join(".kvp_pool_0");
    std::os::unix::fs::chown(&place, Some(1), None).unwrap();
    drop(opened(scratch.path()));
    assert_eq!(fs::metadata(&place).unwrap().uid(), 0);
}

#[test]
fn a_stamp_has_the_time_of_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let files = opened(scratch.path());
    // What was just written is not later than the present.
    assert!(files.stamp(PoolId::External).unwrap().unwrap().modified <= files.now());
    let file = File::open(scratch.path().join(".kvp_pool_0")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 5000)).unwrap();
    assert_eq!(files.stamp(PoolId::External).unwrap().unwrap().modified, 1_000_000_000_000_005_000);
}

#[test]
fn a_missing_file_has_no_stamp_and_an_unusable_path_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let blocker = scratch.path().join("file");
    fs::write(&blocker, "").unwrap();
    let missing = PoolFiles::new(scratch.path());
    assert_eq!(missing.stamp(PoolId::Guest).unwrap(), None);
    assert_eq!(missing.place(PoolId::Guest).unwrap(), None);
    let unusable = PoolFiles::new(&blocker);
    assert_eq!(unusable.stamp(PoolId::Guest).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(unusable.place(PoolId::Guest).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn a_change_by_another_program_is_reported_once() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = opened(scratch.path());
    files.take_changed(PoolId::External);
    assert_eq!(files.take_changed(PoolId::External), Some(false));
    fs::write(scratch.path().join(".kvp_pool_0"), "theirs").unwrap();
    assert_eq!(files.take_changed(PoolId::External), Some(true));
    assert_eq!(files.take_changed(PoolId::External), Some(false));
    assert_eq!(files.size(POOL).unwrap(), 6);
    assert_eq!(files.take_changed(PoolId::Guest), None, "it is not open");
}

#[test]
fn a_closed_file_cannot_be_used() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = opened(scratch.path());
    files.open(FileId::Journal, true).unwrap();
    for file in [POOL, FileId::Journal] {
        files.sync(file).unwrap();
        files.close(file);
        assert_eq!(files.size(file).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(files.sync(file).unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}

#[test]
fn a_journal_is_claimed_by_one_process() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = PoolFiles::new(scratch.path());
    files.open(FileId::Journal, true).unwrap();
    let other = File::open(scratch.path().join(".kvp_journal")).unwrap();
    other.lock().unwrap();
    assert!(!files.claim(FileId::Journal, Duration::ZERO).unwrap());
    other.unlock().unwrap();
    assert!(files.claim(FileId::Journal, Duration::ZERO).unwrap());
}

#[test]
fn readers_share_a_file_and_a_writer_does_not() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = opened(scratch.path());
    let reader = File::open(scratch.path().join(".kvp_pool_0")).unwrap();
    reader.lock_shared().unwrap();
    let mut locked = |kind| files.lock(PoolId::External, kind, Duration::ZERO).unwrap().is_some();
    assert!(locked(LockKind::Shared));
    assert!(!locked(LockKind::Exclusive));
    reader.unlock().unwrap();
    assert!(locked(LockKind::Exclusive));
}

#[test]
fn the_boot_is_that_of_the_system() {
    assert_eq!(PoolFiles::new(Path::new("/nonexistent")).boot(), clock::boot_id());
}

#[test]
fn a_read_goes_on_after_a_signal_and_ends_at_an_error() {
    let mut buffer = [0; 5];
    let mut outcomes = vec![Ok(0), Err(io::ErrorKind::Interrupted), Ok(1), Ok(3)];
    let read = |rest: &mut [u8], filled: u64| {
        rest[0] = b'0' + u8::try_from(filled).unwrap();
        outcomes.pop().unwrap().map_err(io::Error::from)
    };
    assert_eq!(fill(&mut buffer, read).unwrap(), 4);
    assert_eq!(buffer, [b'0', 0, 0, b'3', b'4']);
    assert_eq!(fill(&mut [0; 2], |rest, _| Ok(rest.len())).unwrap(), 2);
    let mut tries = 0;
    let broken = fill(&mut buffer, |_, _| {
        tries += 1;
        assert_eq!(tries, 1);
        Err(io::ErrorKind::PermissionDenied.into())
    });
    assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

/// As a creation leaves it that was interrupted.
#[test]
fn a_short_journal_is_filled_and_its_entries_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join(".kvp_journal");
    let begun = [b'#'; 3 * SLOT_SIZE + 7];
    fs::write(&place, begun).unwrap();
    let mut files = PoolFiles::new(scratch.path());
    files.open(FileId::Journal, false).unwrap();
    assert_eq!(fs::read(&place).unwrap(), begun);
    files.open(FileId::Journal, true).unwrap();
    let filled = fs::read(&place).unwrap();
    assert_eq!(filled.len() as u64, RING_BYTES);
    assert_eq!(filled[..begun.len()], begun);
    assert!(filled[begun.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_new_journal_has_all_of_its_pages() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = PoolFiles::new(scratch.path());
    files.open(FileId::Journal, true).unwrap();
    let journal = fs::read(scratch.path().join(".kvp_journal")).unwrap();
    assert_eq!(journal.len() as u64, RING_BYTES);
    assert!(journal.iter().all(|byte| *byte == 0));
}

#[test]
fn daemons_and_tools_have_a_journal_each() {
    let scratch = tempfile::tempdir().unwrap();
    for (mut files, own) in [
        (PoolFiles::new(scratch.path()), ".kvp_journal"),
        (PoolFiles::for_tool(scratch.path()), ".kvp_journal_tools"),
    ] {
        files.open(FileId::Journal, true).unwrap();
        files.write_at(FileId::Journal, 0, own.as_bytes()).unwrap();
        assert!(fs::read(scratch.path().join(own)).unwrap().starts_with(own.as_bytes()));
    }
    let mut daemon = PoolFiles::new(scratch.path());
    daemon.open(FileId::OtherJournal, false).unwrap();
    let mut name = [0; 18];
    daemon.read_at(FileId::OtherJournal, 0, &mut name).unwrap();
    assert_eq!(&name, b".kvp_journal_tools");
}

/// The second link is in a directory that is not above the pools by any name that the daemon knows. A file
/// system that was mounted over a directory is as invisible.
#[test]
fn a_directory_that_was_exchanged_out_of_sight_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for name in ["first", "second", "hidden"] {
        fs::create_dir(path(name)).unwrap();
    }
    symlink(path("first"), path("hidden/link")).unwrap();
    symlink(path("hidden/link"), path("pool")).unwrap();
    let mut files = opened(&path("pool"));
    let mut is_elsewhere = |looked: Duration| {
        files.pools[0].as_mut().unwrap().looked = looked;
        let found = files.is_elsewhere(PoolId::External);
        (found, files.pools[0].as_ref().unwrap().looked > looked)
    };
    assert_eq!(is_elsewhere(Duration::ZERO), (false, true));
    fs::remove_file(path("hidden/link")).unwrap();
    symlink(path("second"), path("hidden/link")).unwrap();
    // It looks at most once a second.
    assert_eq!(is_elsewhere(clock::monotonic() + Duration::from_secs(3600)), (false, false));
    assert_eq!(is_elsewhere(Duration::ZERO), (true, true));
    assert!(files.is_elsewhere(PoolId::Guest), "it is not open");
}

#[test]
fn pauses_between_two_tries_grow_to_twenty_milliseconds() {
    let pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some(longer(*pause)));
    let milliseconds: Vec<u128> = pauses.take(8).map(|pause| pause.as_millis()).collect();
    assert_eq!(milliseconds, [1, 2, 4, 8, 16, 20, 20, 20]);
}
