//! FreeBSD's executables at their stock paths, started as the stock devd rules start them: without arguments
//! and without a configuration. They run with `make test-freebsd`; elsewhere the tests are skipped.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use hvsim::session::kvp::FACTS;
use hvsim::testing::{Machine, PATIENCE, freebsd_root, next_line};

/// The loader that only FreeBSD's executables name.
const LOADER: &[u8] = b"/libexec/ld-elf.so.1\0";

fn machine() -> Option<Machine> {
    if freebsd_root().is_none() {
        eprintln!("skipped: no root for FreeBSD's executables");
        return None;
    }
    let machine = Machine::start().unwrap();
    for (name, text) in FACTS {
        fs::write(machine.facts_dir().join(name), text).unwrap();
    }
    Some(machine)
}

/// The socket of a syslogd in the machine. It is bound through a descriptor, because a socket's path must be
/// short.
fn syslogd(machine: &Machine) -> UnixDatagram {
    let dir = File::open(machine.reach("/var/run")).unwrap();
    let socket = UnixDatagram::bind(format!("/proc/self/fd/{}/logpriv", dir.as_raw_fd())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_stock_rule_starts_a_daemon_with_stock_paths() {
    let Some(mut machine) = machine() else { return };
    let syslogd = syslogd(&machine);
    let mut command = machine.spawn("/usr/sbin/hv_kvp_daemon", [""; 0]);
    assert_eq!((command.exit_code(), command.output()), (0, String::new()));

    let line = next_line(&syslogd);
    assert!(line.starts_with("<13>1 ") && line.contains(" HV_KVP "), "{line}");
    assert!(line.ends_with("device=/dev/hv_kvp_dev"), "{line}");

    assert!(machine.host().set(0, "key", "value").unwrap().is_ok());
    let pools = machine.reach("/var/db/hyperv/pool");
    assert_eq!(mode(&pools), 0o700);
    for pool in 0..5 {
        let file = pools.join(format!(".kvp_pool_{pool}"));
        assert_eq!(
            (mode(&file), fs::metadata(file).unwrap().len()),
            (0o600, if pool == 0 { 2560 } else { 0 })
        );
    }
    // The results of FreeBSD's own calls: sysctl(3), getifaddrs(3) and the routing table.
    let name = machine.host().get(2, "FullyQualifiedDomainName").unwrap();
    assert_eq!(name.value(), Some("guest.example.org"));
    let ip = machine.host().ip_info("00:15:5D:01:02:03").unwrap().ip.unwrap();
    assert_eq!(ip.addresses, "10.0.0.5;fd00::5;fe80::215:5dff:fe01:203");
    assert_eq!(ip.gateways, "10.0.0.1;fe80::1");
}

#[test]
fn the_running_program_is_freebsds() {
    let Some(mut machine) = machine() else { return };
    let daemon = machine.spawn("/usr/sbin/hv_kvp_daemon", ["-n"]);
    machine.wait_registered();
    let program = fs::read(format!("/proc/{}/exe", daemon.pid())).unwrap();
    assert!(program.windows(LOADER.len()).any(|bytes| bytes == LOADER));
    // pkill -x of the stock rule finds it by this name.
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap(), "hv_kvp_daemon\n");
}
