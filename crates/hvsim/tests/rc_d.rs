//! Runs the rc.d scripts with a stand-in for rc.subr(8) and daemon(8), the real daemons and the simulated
//! devices. The scripts depend on FreeBSD only through rc.subr, so this is not repeated with FreeBSD's
//! executables.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hvsim::session::kvp::FACTS;
use hvsim::testing::{Machine, PATIENCE, eventually, freebsd_root, program};
use hvsim::vss::{Operation, Outcome, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn rc_d(arguments: &[&str]) -> String {
    let script = Path::new(REPOSITORY).join("scripts/rc.d.sh");
    let output = Command::new("/bin/sh").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn services() -> Vec<String> {
    rc_d(&[]).lines().map(str::to_owned).collect()
}

/// The script of a service in its own machine, with all its files in the scratch directory.
struct Service {
    machine: Machine,
    name: String,
    device: PathBuf,
}

impl Service {
    fn new(name: &str) -> Option<Self> {
        if freebsd_root().is_some() {
            return None;
        }
        let machine = Machine::start().map_err(|reason| eprintln!("skipped: {reason}")).ok()?;
        let (key, device) =
            if name == "hv_kvp_daemon" { ("kvp", "hv_kvp_dev") } else { ("vss", "hv_fsvss_dev") };
        // With a full host name, so that no resolver runs for a moment under the daemon's name.
        for (name, text) in FACTS {
            fs::write(machine.facts_dir().join(name), text).unwrap();
        }
        let service = Self { device: machine.device_dir().join(device), name: name.to_owned(), machine };
        service.install();
        let more = if key == "kvp" {
            format!("pool-dir = {:?}\n", service.path("pool"))
        } else {
            format!("suspend-device = {:?}\n", service.machine.device_dir().join("ufssuspend"))
        };
        let text = format!(
            "[log]\nsockets = [{:?}]\n[facts]\ndir = {:?}\n[{key}]\ndevice = {:?}\n\
             control-socket = {:?}\n{more}",
            service.path("log"),
            service.machine.facts_dir(),
            service.device,
            service.path("control.sock"),
        );
        service.machine.write_config(&text);
        service.set("YES", "");
        Some(service)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    fn install(&self) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rc");
        let prefix = self.path("prefix");
        for dir in ["prefix/sbin", "run", "bin"] {
            fs::create_dir_all(self.path(dir)).unwrap();
        }
        symlink(program(&self.name), prefix.join("sbin").join(&self.name)).unwrap();
        fs::copy(here.join("daemon"), self.path("bin/daemon")).unwrap();
        symlink("/bin/sh", self.path("bin/daemon:")).unwrap();
        let shown = |path: &Path| path.display().to_string();
        let script = rc_d(&[&self.name, &shown(&prefix)])
            .replace("/etc/rc.subr", &shown(&here.join("rc.subr")))
            .replace("/usr/sbin/daemon", &shown(&self.path("bin/daemon")))
            .replace("/var/run/", &format!("{}/", shown(&self.path("run"))));
        fs::write(self.path("service"), script).unwrap();
        self.kernel_says("hv");
    }

    /// Installs a sysctl(8) that only knows kern.vm_guest.
    fn kernel_says(&self, guest: &str) {
        let script = format!("#!/bin/sh\n[ \"$*\" = '-n kern.vm_guest' ] && echo {guest}\n");
        fs::write(self.path("bin/sysctl"), script).unwrap();
        fs::set_permissions(self.path("bin/sysctl"), Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes rc.conf.
    fn set(&self, enable: &str, more: &str) {
        let (name, config) = (&self.name, self.machine.config_file());
        let text = format!(
            "{name}_enable={enable}\n{name}_flags='-f {}'\n{name}_device={}\n{}",
            config.display(),
            self.device.display(),
            more.replace("NAME", name)
        );
        fs::write(self.path("rc.conf"), text).unwrap();
    }

    fn command(&self, word: &str) -> Command {
        let mut command = self.machine.command("/bin/sh");
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.arg(self.path("service")).arg(word).env("RC_CONF", self.path("rc.conf")).env("PATH", path);
        command
    }

    fn finish(&self, command: Command) -> (i32, String) {
        let mut process = self.machine.spawn_command(command);
        (process.exit_code(), process.output())
    }

    fn run(&self, word: &str) -> (i32, String) {
        self.finish(self.command(word))
    }

    /// Runs it as rc(8) does at boot, when rc.subr does not look for a running daemon.
    fn boot(&self) -> (i32, String) {
        let mut command = self.command("faststart");
        command.env("autoboot", "yes");
        self.finish(command)
    }

    fn daemons(&self) -> Vec<Pid> {
        let called = |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let processes = self.machine.processes().into_iter();
        processes.filter(|pid| called(pid).trim_end() == self.name).collect()
    }

    fn pid(&self) -> Pid {
        let daemons = self.daemons();
        assert_eq!(daemons.len(), 1, "one process of the daemon's name");
        daemons[0]
    }

    fn said(&self, word: &str, text: &str) -> String {
        text.replace("NAME", &self.name).replace("PID", word)
    }
}

fn each(check: impl Fn(Service)) {
    for name in services() {
        if let Some(service) = Service::new(&name) {
            check(service);
        }
    }
}

#[test]
fn start_status_restart_and_stop_manage_one_daemon() {
    each(|service| {
        assert_eq!(service.run("status"), (1, service.said("", "NAME is not running.\n")));
        assert_eq!(service.run("start"), (0, service.said("", "Starting NAME.\n")));
        let first = service.pid();
        assert_eq!(
            service.run("status"),
            (0, service.said(&first.to_string(), "NAME is running as pid PID.\n"))
        );
        assert_eq!(service.run("restart"), (0, service.said("", "Stopping NAME.\nStarting NAME.\n")));
        assert_ne!(service.pid(), first);
        assert_eq!(service.run("stop"), (0, service.said("", "Stopping NAME.\n")));
        assert!(service.daemons().is_empty());
    });
}

#[test]
fn a_daemon_that_devd_started_is_left_alone() {
    each(|service| {
        let config = service.machine.config_file();
        let by_devd = service.path("prefix/sbin").join(&service.name);
        let mut devd = service.machine.spawn(&by_devd, [Path::new("-f"), &config]);
        assert_eq!(devd.exit_code(), 0, "{}", devd.output());
        let pid = service.pid();
        let word = service.said(&pid.to_string(), "NAME is already running as pid PID.\n");
        assert_eq!(service.boot(), (0, word));
        let word = service.said(&pid.to_string(), "NAME already running?  (pid=PID).\n");
        assert_eq!(service.run("start"), (1, word));
        assert_eq!(service.pid(), pid);
        assert_eq!(service.run("stop"), (0, service.said("", "Stopping NAME.\n")));
    });
}

#[test]
fn without_the_device_start_succeeds_with_a_reason() {
    each(|mut service| {
        service.device = service.path("no_such_device");
        service.set("YES", "");
        let (code, text) = service.run("start");
        assert_eq!(code, 0);
        assert!(text.contains("the host does not offer this service"), "{text}");
        service.kernel_says("none");
        let word = service.said("", "NAME not started: this is not a Hyper-V guest.\n");
        assert_eq!(service.boot(), (0, word));
        assert!(service.daemons().is_empty());
    });
}

#[test]
fn disabled_service_starts_only_with_a_one_command() {
    each(|service| {
        service.set("NO", "");
        let (code, text) = service.run("start");
        assert!(code == 0 && text.starts_with("Cannot 'start'"), "{text}");
        assert!(service.daemons().is_empty());
        assert_eq!(service.run("onestart").0, 0);
        service.pid();
        assert_eq!(service.run("stop").0, 0);
        assert!(service.daemons().is_empty());
    });
}

#[test]
fn a_bad_configuration_keeps_the_running_daemon() {
    each(|service| {
        // Reports of programs that are missing on this machine come first.
        let verdict = format!("{}: no error\n", service.machine.config_file().display());
        let (code, text) = service.run("configtest");
        assert!(code == 0 && text.ends_with(&verdict), "{text}");
        assert_eq!(service.run("start").0, 0);
        let pid = service.pid();
        let (code, text) = service.run("reload");
        assert!(code == 0 && text.ends_with(&verdict), "{text}");
        service.machine.write_config("nonsense\n");
        for word in ["configtest", "reload"] {
            let (code, text) = service.run(word);
            assert!(code != 0 && text.contains("hyperv.toml:1:"), "{text}");
        }
        assert_eq!(service.pid(), pid);
        assert_eq!(service.run("stop").0, 0);
        // Exit status 78 of the daemon, and nothing runs.
        assert_ne!(service.run("start").0, 0);
        assert!(service.daemons().is_empty());
    });
}

#[test]
fn a_supervised_daemon_restarts_until_it_is_stopped() {
    each(|service| {
        service.set("YES", "NAME_supervise=YES\nNAME_restart_delay=0\n");
        assert_eq!(service.run("start"), (0, service.said("", "Starting NAME.\n")));
        eventually("the daemon", || service.daemons().len() == 1);
        let first = service.pid();
        // It must have the device before it is killed, as at any later time.
        let log = service.path("run").join(format!("{}.supervisor.pid.log", service.name));
        let starts = || fs::read_to_string(&log).unwrap_or_default().matches("started version=").count();
        eventually("the start", || starts() == 1);
        kill(first, Signal::SIGKILL).unwrap();
        eventually("the second start", || starts() == 2);
        assert_ne!(service.pid(), first);
        assert_eq!(service.run("status").0, 0);
        // Also if the setting is gone by then.
        service.set("YES", "");
        assert_eq!(service.run("stop"), (0, service.said("", "Stopping NAME and its supervisor.\n")));
        assert!(service.daemons().is_empty());
        assert!(!service.path("run").join(format!("{}.supervisor.pid", service.name)).exists());
    });
}

#[test]
fn daemon_that_devd_started_is_replaced_by_a_supervised_one() {
    each(|service| {
        let config = service.machine.config_file();
        let by_devd = service.path("prefix/sbin").join(&service.name);
        let supervisor = service.path("run").join(format!("{}.supervisor.pid", service.name));
        let boot = |service: &Service| service.boot();
        let by_hand = |service: &Service| service.run("start");
        for start in [&boot as &dyn Fn(&Service) -> (i32, String), &by_hand] {
            service.set("YES", "");
            let mut devd = service.machine.spawn(&by_devd, [Path::new("-f"), &config]);
            assert_eq!(devd.exit_code(), 0, "{}", devd.output());
            let first = service.pid().to_string();
            service.set("NO", "NAME_supervise=YES\n");
            start(&service);
            assert_eq!(service.pid().to_string(), first, "one that is switched off touches nothing");
            service.set("YES", "NAME_supervise=YES\n");
            let text = fs::read_to_string(&config).unwrap();
            service.machine.write_config("nonsense\n");
            let (code, complaint) = start(&service);
            assert!(code != 0 && complaint.contains("hyperv.toml:1:"), "{complaint}");
            assert_eq!(service.pid().to_string(), first, "a wrong configuration does not end it");
            service.machine.write_config(&text);
            let word = "Replacing NAME, which runs without its supervisor as pid PID.\nStarting NAME.\n";
            let (code, text) = start(&service);
            assert!(code == 0 && text.ends_with(&service.said(&first, word)), "{text}");
            eventually("the daemon", || service.daemons().len() == 1);
            let second = service.pid().to_string();
            assert_ne!(second, first);
            // What is supervised is left alone.
            let word = service.said(&second, "NAME is already running as pid PID.\n");
            assert_eq!(service.boot(), (0, word));
            let word = service.said(&second, "NAME already running?  (pid=PID).\n");
            assert_eq!(service.run("start"), (1, word));
            assert_eq!(service.pid().to_string(), second);
            assert!(supervisor.exists());
            assert_eq!(service.run("stop"), (0, service.said("", "Stopping NAME and its supervisor.\n")));
            assert!(service.daemons().is_empty());
        }
    });
}

#[test]
fn backup_under_way_is_thawed_before_the_daemon_is_replaced() {
    let Some(mut service) = Service::new("hv_vss_daemon") else { return };
    fs::write(service.machine.facts_dir().join("mounts"), "ufs / /dev/da0 local 1 7\n").unwrap();
    assert_eq!(service.run("start").0, 0);
    assert_eq!(service.machine.host().vss_ask(Operation::Freeze).unwrap().outcome, Outcome::Success);
    service.set("YES", "NAME_supervise=YES\n");
    let (code, text) = service.boot();
    assert!(code == 0 && text.starts_with("Replacing hv_vss_daemon, "), "{text}");
    assert!(service.machine.host().vss_suspended().unwrap().is_empty());
    assert!(service.machine.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
    assert_eq!(service.run("stop").0, 0);
}

#[test]
fn boot_order_is_after_devd_and_before_networked_services() {
    for name in services() {
        let script = rc_d(&[&name, "/usr"]);
        let header: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("# ")).take(4).collect();
        // devd REQUIREs netif, NETWORKING REQUIREs both: rcorder(8) finds no circle and no unknown name.
        let provide = format!("PROVIDE: {name}");
        let wanted =
            [provide.as_str(), "REQUIRE: FILESYSTEMS devd", "BEFORE: NETWORKING", "KEYWORD: nojail shutdown"];
        assert_eq!(header, wanted);
        assert!(!script.contains("%%"), "every place is filled in");
    }
}
