//! The measured daemon as a process, and the files of its guest. It measures nothing itself.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::testing::{Machine, PATIENCE, Process};

/// Bytes of a record's key in a pool file.
const RECORD_KEY: usize = 512;
/// Bytes of a record in a pool file.
pub(super) const RECORD: usize = RECORD_KEY + 2048;

/// The MAC address of the guest's only adapter, as the host writes it.
pub(super) const MAC: &str = "00:15:5D:01:02:03";

const IFADDRS: &str = "\
lo0 link up
lo0 inet 127.0.0.1/8
hn0 link 00:15:5d:01:02:03 up
hn0 inet 10.0.0.5/24
hn0 inet6 fe80::215:5dff:fe01:203%hn0/64
hn0 inet6 fd00::5/64
";

const ROUTES: &str = "default 10.0.0.1 hn0\ndefault fd00::1 hn0\n";

/// The pool that is measured, EXTERNAL: hosts write it.
pub(super) const POOL: u8 = 0;

/// The key of a record.
pub(super) fn key(index: usize) -> String {
    format!("bench-key-{index:06}")
}

/// Writes the pool, the facts and the configuration.
pub(super) fn prepare(machine: &Machine, records: usize) -> io::Result<()> {
    let pools = machine.pool_dir();
    fs::create_dir_all(&pools)?;
    let contents: Vec<u8> = (0..records).flat_map(record).collect();
    fs::write(pools.join(format!(".kvp_pool_{POOL}")), contents)?;
    let facts = machine.facts_dir();
    fs::write(facts.join("ifaddrs"), IFADDRS)?;
    fs::write(facts.join("routes"), ROUTES)?;
    let path = |path: &Path| toml_string(path);
    machine.write_config(&format!(
        "[kvp]\ndevice = {}\npool-dir = {}\ncontrol-socket = {}\n[facts]\ndir = {}\n",
        path(&machine.kvp_device()),
        path(&pools),
        path(&machine.path("hv_kvp_daemon.sock")),
        path(&facts)
    ));
    Ok(())
}

fn toml_string(path: &Path) -> String {
    // A scratch directory's path has no character that Rust and TOML escape differently.
    format!("{:?}", path.display().to_string())
}

/// One record of a pool file.
pub(super) fn record(index: usize) -> Vec<u8> {
    let mut record = vec![0; RECORD];
    let (key, value) = (key(index), format!("value {index} of the benchmark"));
    record[..key.len()].copy_from_slice(key.as_bytes());
    record[RECORD_KEY..RECORD_KEY + value.len()].copy_from_slice(value.as_bytes());
    record
}

/// A running daemon.
pub(super) struct Guest {
    process: Process,
    /// The time from the start of the program to its registration.
    pub(super) start_up: Duration,
}

impl Guest {
    pub(super) fn start(machine: &mut Machine, daemon: &Path) -> Result<Self, String> {
        let device = machine.kvp_device();
        let config = machine.config_file();
        let process = if daemon.ends_with("hvsim-null-daemon") {
            machine.spawn(daemon, [device.as_os_str()])
        } else {
            machine.spawn(daemon, ["-n".as_ref(), "-f".as_ref(), config.as_os_str()])
        };
        let registered = machine.host().wait_registered(PATIENCE).map_err(|error| error.to_string())?;
        let start_up = machine.host().start_up().map_err(|error| error.to_string())?;
        match start_up {
            Some(start_up) if registered => Ok(Self { process, start_up }),
            _ => Err(format!("{} did not register; it printed: {}", daemon.display(), process.output())),
        }
    }

    /// The most memory that it had resident, in KiB (`VmHWM` of proc(5)).
    pub(super) fn peak_memory(&self) -> Result<u64, String> {
        self.status(&["VmHWM:"])
    }

    /// How often it slept or was put to sleep.
    pub(super) fn context_switches(&self) -> Result<u64, String> {
        self.status(&["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"])
    }

    /// The sum of these lines of `/proc/PID/status`.
    fn status(&self, names: &[&str]) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.process.pid());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let number = |name: &&str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        };
        names.iter().map(number).sum::<Option<u64>>().ok_or_else(|| format!("{path} lacks {names:?}"))
    }

    pub(super) fn stop(mut self) -> Result<(), String> {
        self.process.signal(Signal::SIGTERM);
        match self.process.wait_for(PATIENCE) {
            Some(_) => Ok(()),
            None => Err("a daemon does not end on SIGTERM".to_owned()),
        }
    }
}
