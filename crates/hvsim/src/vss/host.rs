//! Performs the commands of clients about the devices of a live backup. The devices decide the results.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::control::{Answer, Operation, Outcome, Side, VssCommand};
use super::node::Devices;
use crate::control::Latencies;
use crate::device::Opener;

/// Performs a command. `kill` is called for each program that the kernel kills.
///
/// # Errors
/// A sentence for the client.
pub fn perform(devices: &Devices, command: VssCommand, kill: impl Fn(Opener)) -> Result<Value, String> {
    let file_system = &devices.file_system;
    match command {
        VssCommand::Ask { operation, limit } => {
            let limit = limit.map(Duration::from_millis);
            value(&ask(devices, operation, limit).ok_or_else(|| unanswered(devices))?)
        }
        VssCommand::AskMany { operations, count } => value(&ask_many(devices, &operations, count)?),
        VssCommand::WaitOpen { side, open, limit } => {
            let limit = Some(Duration::from_millis(limit));
            let station = devices.side(side);
            value(&station.wait(limit, |node, _| (node.is_open() == open).then_some(())).is_some())
        }
        VssCommand::Unmount { on } => {
            let done = devices.suspender.with(|node, now| node.unmount(&on, now));
            value(&done.map_err(|error| format!("cannot unmount {on}: {}", error.desc()))?)
        }
        VssCommand::PlayWrites => {
            devices.play_writes();
            value(&())
        }
        VssCommand::WaitThawed { limit } => {
            let limit = Some(Duration::from_millis(limit));
            let thawed = devices.suspender.wait(limit, |node, _| node.suspended().is_empty().then_some(()));
            value(&thawed.is_some())
        }
        VssCommand::Suspended => value(&devices.suspender.peek(|node, _| node.suspended())),
        VssCommand::Statistics => value(&file_system.peek(|node, _| node.statistics())),
        VssCommand::Timeline { take } => value(&file_system.peek(|node, _| node.timeline(take))),
        VssCommand::SetTimeout { milliseconds } => {
            file_system.with(|node, _| node.set_timeout(Duration::from_millis(milliseconds)));
            value(&())
        }
        VssCommand::Inject(fault) => {
            file_system.with(|node, _| node.inject(fault));
            value(&())
        }
        VssCommand::Scrutinize { on } => {
            file_system.with(|node, _| node.scrutinize(on));
            value(&())
        }
        VssCommand::Detach => {
            // The kernel kills first and then removes the nodes. The daemons cannot tell the two apart.
            file_system.with(|node, now| node.detach(now).into_iter().for_each(kill));
            // The pollers of the other device must notice it, too.
            devices.application.with(|_, _| ());
            value(&())
        }
        VssCommand::Attach => {
            file_system.with(|node, now| node.attach(now));
            value(&())
        }
    }
}

/// Sends a request of the host and waits for the answer. `None` if there is none within `limit`.
fn ask(devices: &Devices, operation: Operation, limit: Option<Duration>) -> Option<Answer> {
    let begin = Instant::now();
    let ticket = devices.file_system.with(|node, now| node.submit(operation, now));
    let outcome = devices.file_system.wait(limit, |node, _| node.take_answer(ticket))?;
    Some(Answer { operation, outcome, nanoseconds: nanoseconds(begin.elapsed()) })
}

fn unanswered(devices: &Devices) -> String {
    if devices.side(Side::FileSystem).peek(|node, _| node.is_open()) {
        "no answer within the limit".to_owned()
    } else {
        "no answer within the limit: no daemon has the device open".to_owned()
    }
}

fn ask_many(devices: &Devices, operations: &[Operation], count: usize) -> Result<Latencies, String> {
    let mut latencies = Latencies { nanoseconds: Vec::with_capacity(count), total: 0, failed: 0 };
    let start = Instant::now();
    for operation in operations.iter().cycle().take(count) {
        let answer = ask(devices, *operation, None).ok_or_else(|| unanswered(devices))?;
        latencies.nanoseconds.push(answer.nanoseconds);
        match answer.outcome {
            Outcome::Success => {}
            Outcome::Failure => latencies.failed += 1,
            other => return Err(format!("a {} ended with {other:?}", operation.word())),
        }
    }
    latencies.total = nanoseconds(start.elapsed());
    Ok(latencies)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn value(result: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(result).map_err(|error| error.to_string())
}
