//! The host's side of the devices: performs the commands from the control socket. The devices decide what an
//! answer is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::control::{Command, Hello, KvpCommand, Latencies};
use crate::device::Opener;
use crate::kvp::{HostAnswer, HostRequest, KvpDevice};
use crate::nodes::SharedDevice;
use crate::station::{Station, lock};
use crate::vss;

/// All devices of one simulated machine.
#[derive(Debug, Clone)]
pub struct Host {
    devices: PathBuf,
    kvp: Arc<Station<KvpDevice>>,
    vss: vss::Devices,
    /// When `hvsim run` last started a program.
    started: Arc<Mutex<Option<Instant>>>,
}

impl Host {
    /// A host for these devices, which are in the directory `devices`.
    #[must_use]
    pub fn new(devices: PathBuf, kvp: Arc<Station<KvpDevice>>, vss: vss::Devices) -> Self {
        Self { devices, kvp, vss, started: Arc::default() }
    }

    /// All devices, for `nodes`.
    #[must_use]
    pub fn shared_devices(&self) -> Vec<SharedDevice> {
        let vss::Devices { file_system, application, suspender } = &self.vss;
        let backup = [file_system, application, suspender].map(|node| Arc::clone(node) as SharedDevice);
        std::iter::once(Arc::clone(&self.kvp) as SharedDevice).chain(backup).collect()
    }

    /// Performs a command.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn perform(&self, command: Command) -> Result<Value, String> {
        match command {
            Command::Hello => value(&Hello { pid: Pid::this().as_raw(), devices: self.devices.clone() }),
            Command::Starting => {
                *lock(&self.started) = Some(Instant::now());
                value(&())
            }
            Command::StartUp => value(&self.start_up()),
            Command::Violations { take } => value(&self.violations(take)),
            Command::Kvp(command) => perform_kvp(&self.kvp, command),
            Command::Vss(command) => vss::perform(&self.vss, command, kill_opener),
        }
    }

    fn start_up(&self) -> Option<u64> {
        let registered = self.kvp.peek(|device, _| device.registered_at())?;
        let took = registered.checked_duration_since((*lock(&self.started))?)?;
        Some(nanoseconds(took))
    }

    fn violations(&self, take: bool) -> Vec<String> {
        let of = |device: &SharedDevice| {
            device.peek(
                |device, _| {
                    if take { device.take_violations() } else { device.violations().to_vec() }
                },
            )
        };
        self.shared_devices().iter().flat_map(of).collect()
    }
}

fn perform_kvp(kvp: &Station<KvpDevice>, command: KvpCommand) -> Result<Value, String> {
    match command {
        KvpCommand::Ask { request, limit } => {
            let limit = limit.map(Duration::from_millis);
            value(&ask(kvp, request, limit).ok_or_else(|| unanswered(kvp))?)
        }
        KvpCommand::AskMany { requests, count } => value(&ask_many(kvp, &requests, count)?),
        KvpCommand::WaitRegistered { limit } => {
            let limit = Some(Duration::from_millis(limit));
            let registered = kvp.wait(limit, |device, _| device.is_registered().then_some(()));
            value(&registered.is_some())
        }
        KvpCommand::Statistics => value(&kvp.peek(|device, _| device.statistics())),
        KvpCommand::SetTimeout { milliseconds } => {
            kvp.with(|device, _| device.set_timeout(Duration::from_millis(milliseconds)));
            value(&())
        }
        KvpCommand::Detach => {
            // The kernel kills first and then removes the node. The daemon cannot tell the two apart.
            kvp.with(|device, _| device.detach().map(kill_opener));
            value(&())
        }
        KvpCommand::Attach => {
            kvp.with(|device, _| device.attach());
            value(&())
        }
    }
}

/// Sends `request` and waits for its answer. `None` if there is none within `limit`.
pub fn ask(kvp: &Station<KvpDevice>, request: HostRequest, limit: Option<Duration>) -> Option<HostAnswer> {
    let ticket = kvp.with(|device, now| device.submit(request, now));
    kvp.wait(limit, |device, _| device.take_answer(ticket))
}

fn unanswered(kvp: &Station<KvpDevice>) -> String {
    if kvp.peek(|device, _| device.is_registered()) {
        "no answer within the limit".to_owned()
    } else {
        "no answer within the limit: no daemon is registered".to_owned()
    }
}

fn ask_many(kvp: &Station<KvpDevice>, requests: &[HostRequest], count: usize) -> Result<Latencies, String> {
    let mut latencies = Latencies { nanoseconds: Vec::with_capacity(count), total: 0, failed: 0 };
    let start = Instant::now();
    for request in requests.iter().cycle().take(count) {
        let begin = Instant::now();
        let answer = ask(kvp, request.clone(), None).ok_or_else(|| unanswered(kvp))?;
        latencies.nanoseconds.push(nanoseconds(begin.elapsed()));
        if answer.timed_out || answer.detached {
            return Err(format!("{request:?} was not answered in time"));
        }
        latencies.failed += usize::from(!answer.is_ok());
    }
    latencies.total = nanoseconds(start.elapsed());
    Ok(latencies)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn kill_opener(opener: Opener) {
    // 0 is a port in this process, and 1 is never a daemon.
    if let Ok(pid @ 2..) = i32::try_from(opener.pid) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn value(result: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(result).map_err(|error| error.to_string())
}
