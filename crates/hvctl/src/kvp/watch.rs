//! `hvctl kvp watch`: prints a line for each change, when the kernel reports it. It polls nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hv_core::runtime::config::Config;
use hv_core::sys::file_watch::FileWatches;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::item::Item;
use super::{check_readable, no_pools};
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{moment, print_json_line, printable};
use crate::pools::{self, Pool, Reading};

/// The number of the directory's watch, which reports files that are created or replaced.
const DIRECTORY: usize = 5;

/// One change.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Change {
    version: u32,
    at: u64,
    pool: &'static str,
    number: usize,
    change: &'static str,
    #[serde(flatten)]
    item: Item,
}

type Items = BTreeMap<String, Item>;

pub(super) fn run(config: &Config, pool: Option<Pool>, json: bool) -> Outcome {
    let watched: Vec<Pool> = pool.map_or_else(
        || Pool::all().filter(|pool| pool.0 != hv_core::kvp::PoolId::Auto).collect(),
        |pool| vec![pool],
    );
    if watched.iter().any(|pool| pool.0 == hv_core::kvp::PoolId::Auto) {
        return Err(Failure::Usage(
            "pool auto is made up when the host asks: there is nothing to watch".to_owned(),
        ));
    }
    let dir = &config.kvp.pool_dir;
    if !dir.is_dir() {
        return Err(no_pools(config));
    }
    watched.iter().try_for_each(|pool| check_readable(config, *pool))?;
    let mut watches = FileWatches::new().map_err(Failure::io("watch", dir))?;
    let directory = File::open(dir).map_err(Failure::io("open", dir))?;
    watches.add(DIRECTORY, &directory, dir).map_err(Failure::io("watch", dir))?;
    let mut files: BTreeMap<usize, File> = BTreeMap::new();
    // The watch begins before the first read, so that later changes are reported.
    watched.iter().for_each(|pool| open(&mut watches, &mut files, dir, *pool));
    let mut known: BTreeMap<usize, Items> = BTreeMap::new();
    for pool in &watched {
        known.insert(pool.number(), load(config, *pool)?);
    }
    loop {
        wait(&watches).map_err(Failure::io("watch", dir))?;
        // All at once: what comes while a pool is read makes the descriptor readable again.
        let changed = watches.take_all();
        let is_changed = |number: usize| changed.get(number).is_some_and(|changed| *changed);
        let anew = is_changed(DIRECTORY);
        for pool in &watched {
            if !is_changed(pool.number()) && !anew {
                continue;
            }
            if anew {
                open(&mut watches, &mut files, dir, *pool);
            }
            let now = load(config, *pool)?;
            let before = known.insert(pool.number(), now.clone()).unwrap_or_default();
            for change in changes(*pool, &before, &now) {
                if tell(&change, json).is_err() {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
}

/// A missing file is noticed in the directory when it is created.
fn open(watches: &mut FileWatches, files: &mut BTreeMap<usize, File>, dir: &Path, pool: Pool) {
    let path = Reading::path(dir, pool.0);
    if let Ok(file) = File::open(&path)
        && watches.add(pool.number(), &file, &path).is_ok()
    {
        files.insert(pool.number(), file);
    }
}

fn load(config: &Config, pool: Pool) -> Result<Items, Failure> {
    let items = pools::items(&config.kvp, pool.0)?;
    Ok(items.iter().map(Item::of).map(|item| (item.key_text(), item)).collect())
}

fn wait(watches: &FileWatches) -> io::Result<()> {
    let mut polled = [PollFd::new(watches.descriptor(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn changes(pool: Pool, before: &Items, now: &Items) -> Vec<Change> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let change = |change, item: &Item| Change {
        version: 1,
        at,
        pool: pool.name(),
        number: pool.number(),
        change,
        item: item.clone(),
    };
    let set = now.iter().filter(|(key, item)| before.get(*key) != Some(item));
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    set.map(|(_, item)| change("set", item)).chain(gone.map(|(_, item)| change("delete", item))).collect()
}

fn tell(change: &Change, json: bool) -> io::Result<()> {
    if json {
        return print_json_line(change);
    }
    let (key, value) = (printable(&change.item.key_text()), printable(&change.item.value_text()));
    let what = match change.change {
        "set" => format!("set {key} = {value}"),
        _ => format!("delete {key}"),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{} {} {what}", moment(change.at), change.pool)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::kvp::PoolId;

    #[test]
    fn only_changed_items_are_printed() {
        let items = |pairs: &[(&str, &str)]| -> Items {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), Item::of_text(key, value))).collect()
        };
        let before = items(&[("same", "1"), ("other", "1"), ("gone", "1")]);
        let now = items(&[("same", "1"), ("other", "2"), ("new", "1")]);
        let told: Vec<(&str, String)> = changes(Pool(PoolId::Guest), &before, &now)
            .iter()
            .map(|change| (change.change, change.item.key_text()))
            .collect();
        assert_eq!(told, [("set", "new".into()), ("set", "other".into()), ("delete", "gone".into())]);
    }
}
