//! `hvctl kvp` and `hvctl host`: lists, exports and prints items. It reads pools without changing them;
//! changes are in `edit`.

mod edit;
mod item;
mod watch;

use hv_core::kvp::PoolId;
use hv_core::runtime::config::Config;
use serde::Serialize;

use self::item::Item;
use crate::cli::KvpCommand;
use crate::machine::{self, Machine};
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Mood, Table, coloured, print, print_json, print_json_line, width};
use crate::pools::{self, Pool, Reading};

/// A pool with its items.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    pool: &'static str,
    number: usize,
    items: Vec<Item>,
}

pub(crate) fn run(config: &Config, command: KvpCommand, json: bool) -> Outcome {
    match command {
        KvpCommand::List { pool } => list(config, pool, json),
        KvpCommand::Get { pool, key } => get(config, pool, &key, json),
        KvpCommand::Put { key, value, target } => edit::put(config, &key, &value, &target),
        KvpCommand::Delete { key, target } => edit::delete(config, &key, &target),
        KvpCommand::Export { pool } => export(config, pool),
        KvpCommand::Import { target } => edit::import(config, &target),
        KvpCommand::Watch { pool } => watch::run(config, pool, json),
    }
}

/// The items of a pool. Those of the AUTO pool are made as the daemon would make them now.
pub(crate) fn load(config: &Config, pool: Pool) -> Result<Vec<Item>, Failure> {
    if pool.0 == PoolId::Auto {
        let items = kvp_daemon::intrinsic::items(config);
        return Ok(items.into_iter().map(|(key, value)| Item::of_text(&key, &value)).collect());
    }
    check_readable(config, pool)?;
    Ok(pools::items(&config.kvp, pool.0)?.iter().map(Item::of).collect())
}

/// Checks that the pools can be read, and returns the reason if not.
fn check_readable(config: &Config, pool: Pool) -> Result<(), Failure> {
    let dir = &config.kvp.pool_dir;
    match std::fs::File::open(Reading::path(dir, pool.0)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if dir.is_dir() {
                return Ok(());
            }
            Err(no_pools(config))
        }
        Err(error) => Err(Failure::io("read", dir)(error)),
    }
}

/// The error for a missing pool directory.
fn no_pools(config: &Config) -> Failure {
    let machine = Machine::look(&machine::facts(config));
    let dir = config.kvp.pool_dir.display();
    Failure::Unavailable(if machine.hyper_v {
        format!("{dir} does not exist: hv_kvp_daemon makes it at its first start")
    } else {
        format!("{dir} does not exist: {}", machine.line())
    })
}

fn list(config: &Config, pool: Option<Pool>, json: bool) -> Outcome {
    let wanted: Vec<Pool> = pool.map_or_else(|| Pool::all().collect(), |pool| vec![pool]);
    let mut listed = Vec::new();
    for pool in wanted {
        let items = load(config, pool)?;
        listed.push(Listed { pool: pool.name(), number: pool.number(), items });
    }
    if json {
        print_json(&serde_json::json!({ "version": 1, "pools": listed }));
        return Ok(Exit::Ok);
    }
    let one = listed.len() == 1;
    for (at, pool) in listed.iter().enumerate() {
        if !one {
            let purpose = Pool::all().nth(pool.number).map_or("", Pool::purpose);
            let gap = if at == 0 { "" } else { "\n" };
            print(&format!("{gap}{} (pool {}): {purpose}", coloured(Mood::Heading, pool.pool), pool.number));
        }
        print(&table(&pool.items, if one { 0 } else { 2 }));
    }
    Ok(Exit::Ok)
}

fn table(items: &[Item], indent: usize) -> String {
    if items.is_empty() {
        return format!("{}no items\n", " ".repeat(indent));
    }
    let mut table = Table::new(&["KEY", "VALUE"]);
    for item in items {
        table.row([item.key_text(), item.value_text()]);
    }
    table.render(indent, width())
}

fn get(config: &Config, pool: Pool, key: &str, json: bool) -> Outcome {
    let items = load(config, pool)?;
    let Some(item) = items.into_iter().find(|item| item.is_called(key)) else {
        return Err(Failure::No(format!("there is no key {key:?} in pool {pool}")));
    };
    if json {
        print_json(&serde_json::json!({
            "version": 1, "pool": pool.name(), "number": pool.number(), "item": item
        }));
    } else {
        print(&item.value_text());
    }
    Ok(Exit::Ok)
}

fn export(config: &Config, pool: Pool) -> Outcome {
    for item in load(config, pool)? {
        // A reader that closed the pipe is no error.
        if print_json_line(&item).is_err() {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// Prints what the host reports about itself.
pub(crate) fn host(config: &Config, json: bool) -> Outcome {
    let items = load(config, Pool(PoolId::AutoExternal))?;
    let pairs: Vec<(String, String)> =
        items.iter().map(|item| (item.key_text(), item.value_text())).collect();
    if json {
        let items: serde_json::Map<String, serde_json::Value> =
            pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        print_json(&serde_json::json!({ "version": 1, "host": items }));
        return Ok(Exit::Ok);
    }
    if pairs.is_empty() {
        return Err(Failure::No("the host has said nothing of itself yet".to_owned()));
    }
    print(&host_table(&pairs));
    Ok(Exit::Ok)
}

/// Known names come first, in words. Other keys follow unchanged.
fn host_table(pairs: &[(String, String)]) -> String {
    const KNOWN: [(&str, &str); 6] = [
        ("VirtualMachineName", "name of this VM"),
        ("VirtualMachineId", "id of this VM"),
        ("HostName", "host"),
        ("PhysicalHostNameFullyQualified", "host, full name"),
        ("HostingSystemOsMajor", "host's major version"),
        ("HostingSystemOsMinor", "host's minor version"),
    ];
    let mut table = Table::new(&[]);
    let known = KNOWN.iter().filter_map(|(key, words)| {
        pairs.iter().find(|(name, _)| name == key).map(|(_, value)| ((*words).to_owned(), value.clone()))
    });
    let rest = pairs.iter().filter(|(name, _)| KNOWN.iter().all(|(key, _)| key != name)).cloned();
    known.chain(rest).for_each(|(name, value)| table.row([name, value]));
    table.render(0, width())
}
