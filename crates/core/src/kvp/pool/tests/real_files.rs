//! Pools on real files: modes, inodes, links and locks, which the simulated disk does not have.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::super::files::PoolFiles;
use super::*;

fn path(dir: &Path, pool: u8) -> PathBuf {
    dir.join(format!(".kvp_pool_{pool}"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

// contract K26, K27
#[test]
fn directory_and_files_are_created_with_their_modes() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("hyperv/pool");
    drop(open(PoolFiles::new(&dir)));
    assert_eq!(mode(&dir), 0o700);
    for pool in 0..5 {
        assert_eq!((mode(&path(&dir, pool)), fs::metadata(path(&dir, pool)).unwrap().len()), (0o600, 0));
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path(&dir, 3), fs::Permissions::from_mode(0o666)).unwrap();
    drop(open(PoolFiles::new(&dir)));
    assert_eq!((mode(&dir), mode(&path(&dir, 3))), (0o700, 0o600));
}

// contract K24
#[test]
fn no_change_replaces_the_inode() {
    let scratch = tempfile::tempdir().unwrap();
    let mut pools = open(PoolFiles::new(scratch.path()));
    let inode = fs::metadata(path(scratch.path(), 0)).unwrap().ino();
    for name in ["a", "b", "c"] {
        pools.set(POOL, &key(name), &value("1")).unwrap();
    }
    pools.delete(POOL, &key("a")).unwrap();
    pools.settle().unwrap();
    let metadata = fs::metadata(path(scratch.path(), 0)).unwrap();
    assert_eq!((metadata.ino(), metadata.len()), (inode, 2 * 2560));
    let mut text = Vec::new();
    File::open(path(scratch.path(), 0)).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(text, raw(&[("c", "1"), ("b", "1")]));
}

#[test]
fn records_survive_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let mut pools = open(PoolFiles::new(scratch.path()));
    pools.set(POOL, &key("größe"), &value("日本 😀")).unwrap();
    drop(pools);
    assert_eq!(items(&mut open(PoolFiles::new(scratch.path()))), pairs(&[("größe", "日本 😀")]));
}

// contract K24
#[test]
fn changes_of_another_program_are_seen() {
    let scratch = tempfile::tempdir().unwrap();
    let mut pools = open(PoolFiles::new(scratch.path()));
    for round in 0..200 {
        let text = format!("{round}");
        pools.set(POOL, &key("ours"), &value(&text)).unwrap();
        let mut other = OpenOptions::new().append(true).open(path(scratch.path(), 0)).unwrap();
        other.write_all(&raw(&[(&format!("theirs{round}"), "x")])).unwrap();
        assert_eq!(get(&mut pools, &format!("theirs{round}")).as_deref(), Some("x"));
        assert_eq!(get(&mut pools, "ours"), Some(text));
    }
    assert_eq!(items(&mut pools).len(), 201);
}

#[test]
fn waiting_for_a_foreign_lock_is_limited() {
    let scratch = tempfile::tempdir().unwrap();
    let mut pools = open(PoolFiles::new(scratch.path()));
    let other = File::open(path(scratch.path(), 0)).unwrap();
    other.lock().unwrap();
    assert!(matches!(pools.set(POOL, &key("a"), &value("1")), Err(PoolError::Locked { .. })));
    pools.set_limits(Limits { lock_wait: Duration::from_secs(60), ..limits() });
    let release = std::thread::spawn(move || other.unlock().unwrap());
    pools.set(POOL, &key("a"), &value("1")).unwrap();
    release.join().unwrap();
    assert_eq!(get(&mut pools, "a").as_deref(), Some("1"));
}

#[test]
fn link_or_fifo_in_place_of_a_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    File::create(&target).unwrap();
    let dir = scratch.path().join("pool");
    fs::create_dir(&dir).unwrap();
    symlink(&target, path(&dir, 0)).unwrap();
    nix::unistd::mkfifo(&path(&dir, 1), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut pools, problems) = Pools::open(PoolFiles::new(&dir), limits());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(pools.set(POOL, &key("a"), &value("1")).is_err());
    assert!(pools.set(PoolId::Guest, &key("a"), &value("1")).is_err());
    assert_eq!(fs::metadata(&target).unwrap().len(), 0);
    pools.set(PoolId::AutoExternal, &key("a"), &value("1")).unwrap();
    // With the FIFO removed, the next request works.
    fs::remove_file(path(&dir, 0)).unwrap();
    pools.set(POOL, &key("a"), &value("1")).unwrap();
}

#[test]
fn an_unusable_directory_fails_requests_only() {
    let scratch = tempfile::tempdir().unwrap();
    let blocker = scratch.path().join("hyperv");
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&blocker).unwrap();
    let dir = blocker.join("pool");
    let (mut pools, problems) = Pools::open(PoolFiles::new(&dir), limits());
    assert!(!problems.is_empty());
    assert!(pools.get(POOL, &key("a")).is_err());
    fs::remove_file(&blocker).unwrap();
    pools.set(POOL, &key("a"), &value("1")).unwrap();
    assert_eq!(get(&mut pools, "a").as_deref(), Some("1"));
}

#[test]
fn a_directory_shared_with_other_files_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("shared");
    fs::create_dir(&dir).unwrap();
    let refused = |wanted: u32| {
        fs::set_permissions(&dir, fs::Permissions::from_mode(wanted)).unwrap();
        let (mut pools, problems) = Pools::open(PoolFiles::new(&dir), limits());
        assert!(matches!(problems[..], [PoolError::Directory(_)]), "{problems:?}");
        assert!(pools.get(POOL, &key("a")).is_err() && pools.set(POOL, &key("a"), &value("1")).is_err());
        assert!(!path(&dir, 0).exists());
        assert_eq!(mode(&dir), wanted);
    };
    refused(0o1777);
    refused(0o1700);
    File::create(dir.join("other")).unwrap();
    refused(0o755);
    // A directory that only its owner can enter may have other files.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    drop(open(PoolFiles::new(&dir)));
    // Files that earlier daemons left open are closed.
    fs::remove_file(dir.join("other")).unwrap();
    File::create(dir.join(".kvp_pool_1.old")).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    drop(open(PoolFiles::new(&dir)));
    assert_eq!(mode(&dir), 0o700);
}

#[test]
fn the_directory_at_the_path_is_used_after_a_move() {
    let scratch = tempfile::tempdir().unwrap();
    let (above, moved) = (scratch.path().join("above"), scratch.path().join("moved"));
    let dir = above.join("pool");
    let mut pools = open(PoolFiles::new(&dir));
    pools.set(POOL, &key("a"), &value("old place")).unwrap();
    fs::rename(&above, &moved).unwrap();
    assert_eq!(get(&mut pools, "a"), None);
    pools.set(POOL, &key("b"), &value("new place")).unwrap();
    assert_eq!(fs::read(path(&dir, 0)).unwrap(), raw(&[("b", "new place")]));
    assert_eq!(fs::read(path(&moved.join("pool"), 0)).unwrap(), raw(&[("a", "old place")]));
    // The journal moved, too: nothing is left to recover at either place.
    assert!(pools.unsettled());
    drop(pools);
    for place in [&dir, &moved.join("pool")] {
        assert!(!open(PoolFiles::new(place)).unsettled());
    }
}

#[test]
fn a_file_that_was_put_in_the_place_is_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut pools = open(PoolFiles::new(scratch.path()));
    pools.set(POOL, &key("a"), &value("old file")).unwrap();
    let (place, former) = (path(scratch.path(), 0), scratch.path().join(".kvp_former"));
    fs::hard_link(&place, &former).unwrap();
    let other = scratch.path().join(".kvp_other");
    fs::write(&other, raw(&[("a", "new file")])).unwrap();
    fs::rename(&other, &place).unwrap();
    pools.set(POOL, &key("b"), &value("1")).unwrap();
    assert_eq!(fs::read(&place).unwrap(), raw(&[("a", "new file"), ("b", "1")]));
    assert_eq!(fs::read(&former).unwrap(), raw(&[("a", "old file")]));
}

#[test]
fn tools_and_a_daemon_change_the_same_pool_together() {
    let scratch = tempfile::tempdir().unwrap();
    let mut daemon = open(PoolFiles::new(scratch.path()));
    for round in 0..20 {
        let text = format!("{round}");
        daemon.set(POOL, &key("host"), &value(&text)).unwrap();
        let mut tool = open(PoolFiles::for_tool(scratch.path()));
        tool.set(POOL, &key(&format!("tool{round}")), &value(&text)).unwrap();
        tool.settle().unwrap();
        drop(tool);
        assert_eq!(get(&mut daemon, &format!("tool{round}")), Some(text));
    }
    assert_eq!(items(&mut daemon).len(), 21);
}
