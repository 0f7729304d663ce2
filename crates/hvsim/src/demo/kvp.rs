//! The chapter of the demo about key-value exchange, with failing requests and a killed daemon. The daemon is
//! the real one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use hv_core::runtime::VERSION;
use nix::sys::signal::Signal;

use super::{DemoError, Result, Stage};
use crate::kvp::{HostAnswer, Item, layout};
use crate::session::kvp::{Session, Setup};

const MAC: &str = "00:15:5D:01:02:03";

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.chapter("Key-value exchange");
    let setup =
        Setup { resolv_conf: "nameserver 10.0.0.2\nnameserver fd00::2\n".to_owned(), ..Setup::default() };
    let mut session = Session::start(&setup);
    introduce(stage, &mut session)?;
    intrinsic_items(stage, &mut session)?;
    host_writes(stage, &mut session)?;
    guest_writes(stage, &mut session)?;
    network(stage, &mut session)?;
    refusals(stage, &mut session)?;
    if session.without_device().is_none() {
        crash(stage, &mut session)?;
    }
    let violations = session.take_violations();
    stage.step("What the daemon did against the kernel's rules, from its first to its last call");
    stage.check(violations.is_empty(), "nothing");
    violations.iter().for_each(|violation| stage.show(violation));
    Ok(())
}

fn introduce(stage: &mut Stage, session: &mut Session) -> Result<()> {
    match session.without_device() {
        Some(reason) => {
            stage
                .show(format_args!("no device file here ({reason}): the daemon's loop runs in this process"));
        }
        None => stage.show("hv_kvp_daemon runs on a simulated /dev/hv_kvp_dev"),
    }
    stage.step("The daemon registers with the kernel");
    let registered = session.host().statistics()?.registered;
    stage.check(registered, format_args!("version {VERSION} is registered"));
    Ok(())
}

fn intrinsic_items(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("The host reads what the guest says of itself (pool 2)");
    let (items, end) = session.host().enumerate(2)?;
    show_items(stage, &items);
    stage.check(items.len() == 10, "ten items");
    stage.check(end.code == layout::STATUS_CONT, "the walk ends with S_CONT");
    let release = items.iter().find(|item| item.key == "OSMajorVersion").map(|item| item.value.as_str());
    stage.check(release == Some("14"), "the release is taken apart");
    Ok(())
}

fn host_writes(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("The host writes three items and reads one back (pool 0)");
    for (key, value) in [("Owner", "Zürich, 日本"), ("CostCentre", "4711"), ("Cost", "low")] {
        let answer = session.host().set(0, key, value)?;
        stage.check(answer.is_ok(), format_args!("set {key} = {value:?}: {}", code(&answer)));
    }
    let answer = session.host().get(0, "Owner")?;
    let value = answer.value().map(str::to_owned);
    stage.check(
        value.as_deref() == Some("Zürich, 日本"),
        format_args!("get Owner = {:?}", value.unwrap_or_default()),
    );
    let answer = session.host().delete(0, "Cost")?;
    stage.check(answer.is_ok(), format_args!("delete Cost: {}", code(&answer)));
    let (items, _) = session.host().enumerate(0)?;
    show_items(stage, &items);
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    stage.check(keys == ["Owner", "CostCentre"], "Cost is gone, CostCentre is not");
    Ok(())
}

fn guest_writes(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("A program in the guest appends an item to .kvp_pool_1, under its own lock; the host asks");
    let mut record = [0; 2560];
    record[..8].copy_from_slice(b"AppState");
    record[512..519].copy_from_slice(b"healthy");
    let mut file = OpenOptions::new().append(true).open(session.pool_file(1))?;
    file.lock()?;
    file.write_all(&record)?;
    file.unlock()?;
    let answer = session.host().get(1, "AppState")?;
    let value = answer.value().unwrap_or_default();
    stage.check(value == "healthy", format_args!("get AppState = {value:?}"));
    Ok(())
}

fn network(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step(format_args!("The host asks for the network of the adapter {MAC}"));
    let answer = session.host().ip_info(MAC)?;
    let Some(ip) = &answer.ip else {
        return Err(DemoError::Step(format!("no answer about the network: {}", code(&answer))));
    };
    stage.ip_info(ip);
    stage.check(ip.addresses.starts_with("10.0.0.5;fd00::5;"), "both families, link-local last");
    stage.check(ip.gateways == "10.0.0.1;fe80::1", "both gateways");
    Ok(())
}

fn refusals(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("Requests that must fail");
    let cases = [
        ("get of an unknown key", session.host().get(0, "nothing")?, layout::STATUS_CONT),
        (
            "write to the pool of the guest's facts",
            session.host().set(2, "OSName", "x")?,
            layout::STATUS_CONT,
        ),
        ("pool 9", session.host().get(9, "x")?, 0x8007_0057),
        ("unknown adapter", session.host().ip_info("00:00:00:00:00:01")?, 0x8004_1002),
    ];
    for (what, answer, wanted) in cases {
        stage.check(answer.code == wanted, format_args!("{what}: {}", code(&answer)));
    }
    Ok(())
}

/// Kills the daemon while the host writes as fast as it can.
fn crash(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("kill -9 while the host writes as fast as it can; then the daemon starts again");
    let mut host = session.another_host();
    let writer = std::thread::spawn(move || {
        let mut done = BTreeMap::new();
        for step in 0.. {
            let (key, value) = (format!("burst{}", step % 20), format!("value {step}"));
            match host.set(4, &key, &value) {
                Ok(answer) if answer.is_ok() => drop(done.insert(key, value)),
                _ => return (done, key, value),
            }
        }
        (done, String::new(), String::new())
    });
    let start = session.host().statistics()?.writes;
    while session.host().statistics()?.writes < start + 200 {
        std::thread::yield_now();
    }
    if let Some(daemon) = session.daemon() {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
    }
    // The kernel ends the request that no daemon will answer.
    session.host().detach()?;
    let writer = writer.join().map_err(|_| DemoError::Step("the host's thread panicked".to_owned()))?;
    let (mut acknowledged, key, value) = writer;
    session.host().attach()?;
    session.start_daemon();
    let (items, _) = session.host().enumerate(4)?;
    let mut found: BTreeMap<String, String> = items.into_iter().map(|item| (item.key, item.value)).collect();
    let now = found.remove(&key);
    let before = acknowledged.remove(&key);
    stage.check(found == acknowledged, "every item has the value that was acknowledged last");
    stage.check(now == before || now.as_ref() == Some(&value), "the one under way is old or new");
    Ok(())
}

fn show_items(stage: &mut Stage, items: &[Item]) {
    let rows: Vec<[String; 2]> = items.iter().map(|item| [item.key.clone(), item.value.clone()]).collect();
    stage.table(["KEY", "VALUE"], &rows);
}

fn code(answer: &HostAnswer) -> String {
    layout::status_name(answer.code).map_or_else(|| format!("{:#010x}", answer.code), str::to_owned)
}
