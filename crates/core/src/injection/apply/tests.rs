//! Tests of the steps of an injection: what they start, what they leave alone, and how they end when the time
//! is used up.

use std::os::unix::fs::MetadataExt;
use std::{fs, path::Path};

use super::*;
use crate::injection::file::Content;
use crate::kvp::ip_info::request::{Method, StaticAddresses};
use crate::tests::Bench;

const LATE: Duration = Duration::from_secs(1_000_000_000);
const IFADDRS: &str = "hn0 link 00:15:5d:01:02:03 up index=2 driver=hn0\nhn0 inet 10.0.0.5/24\n";

fn hn0() -> InterfaceName {
    "hn0".parse().unwrap()
}

fn port_until(bench: &Bench, deadlines: Deadlines) -> InjectionPort {
    InjectionPort::new(&bench.settings(), &bench.source(), &"hn0".parse().unwrap(), deadlines)
}

fn port(bench: &Bench) -> InjectionPort {
    port_until(bench, Deadlines { steps: LATE, undo: LATE, share: LATE })
}

/// A port whose time for the steps is used up.
fn late_port(bench: &Bench) -> InjectionPort {
    port_until(bench, Deadlines { steps: Duration::ZERO, undo: LATE, share: LATE })
}

fn content(text: &str) -> Option<Content> {
    Some(Content { bytes: text.into(), mode: 0o644, owner: None })
}

fn change(path: &Path, from: Option<Content>, to: Option<Content>) -> Step {
    Step::Store(FileChange { path: path.to_owned(), from, to })
}

fn client(wait: bool) -> Step {
    Step::Network(NetworkStep::StartDhcp { interface: hn0(), wait })
}

fn expect(method: Method) -> Step {
    Step::Check(Expectation { hn: hn0(), lagg: None, method })
}

/// The message of the failure.
fn failure(port: &mut InjectionPort, step: &Step) -> String {
    error_chain(&port.perform(step).unwrap_err())
}

#[test]
fn a_file_is_replaced_only_from_a_known_state() {
    let bench = Bench::new(IFADDRS);
    let mut port = port(&bench);
    let path = bench.path("rc.conf");
    let step = change(&path, None, content("new\n"));
    port.perform(&step).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    port.perform(&step).unwrap();

    bench.write("rc.conf", "of an editor\n");
    let said = format!("{} was changed by another program", path.display());
    assert_eq!(failure(&mut port, &step), said);
    let removal = change(&path, content("new\n"), None);
    assert_eq!(failure(&mut port, &removal), said);
    port.announce(Event::Undoing(&step));
    assert_eq!(failure(&mut port, &change(&path, content("new\n"), content("old\n"))), said);
    assert_eq!(fs::read_to_string(&path).unwrap(), "of an editor\n");

    bench.write("rc.conf", "new\n");
    port.perform(&removal).unwrap();
    assert!(!path.exists());
    port.perform(&removal).unwrap();
}

#[test]
fn undo_leaves_a_file_in_its_old_state_untouched() {
    let bench = Bench::new(IFADDRS);
    let mut port = port(&bench);
    let path = bench.path("rc.conf");
    bench.write("rc.conf", "old\n");
    let back = change(&path, content("new\n"), content("old\n"));
    let before = fs::metadata(&path).unwrap().ino();
    port.announce(Event::Undoing(&back));
    port.perform(&back).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before, "the step had not replaced it");
    // A step writes it nevertheless: its permissions may be other ones.
    port.announce(Event::Doing(&back));
    port.perform(&back).unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named() {
    let bench = Bench::new(IFADDRS);
    let mut port = port(&bench);
    let directory = bench.path("facts");
    let step = change(&directory, None, content("x"));
    assert!(failure(&mut port, &step).starts_with(&format!("cannot read {}: ", directory.display())));
    // Below a file no directory can be made.
    let below = bench.path("ifconfig/rc.conf");
    let said = failure(&mut port, &change(&below, None, content("x")));
    assert!(said.starts_with(&format!("cannot read {}: ", below.display())), "{said}");
    // A directory is where the new file is prepared.
    let path = bench.path("rc.conf");
    fs::create_dir(bench.path(".rc.conf.hv_kvp_daemon")).unwrap();
    let said = failure(&mut port, &change(&path, None, content("x")));
    assert!(said.starts_with(&format!("cannot write {}: ", path.display())), "{said}");
    assert!(!path.exists());
}

#[test]
fn nothing_is_started_after_the_deadline_but_files_are_restored() {
    let bench = Bench::new(IFADDRS);
    let mut port = late_port(&bench);
    let label = ResolvLabel::of_host(&hn0());
    let text = "nameserver 10.0.0.2\n".to_owned();
    let steps = [
        client(false),
        Step::SetNameServers { label: label.clone(), text },
        Step::DropNameServers(label.clone()),
        expect(Method::Dhcp),
    ];
    for step in &steps {
        assert_eq!(failure(&mut port, step), "the host's time for an answer is used up", "{step}");
    }
    assert!(matches!(port.look(), Err(ApplyError::NoTime)));
    assert!(!port.pause());
    assert_eq!(bench.calls(0), [""; 0]);

    let path = bench.path("rc.conf");
    port.perform(&change(&path, None, content("new\n"))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    // The undo has its own deadline.
    let undo = Step::DropNameServers(label);
    port.announce(Event::Undoing(&undo));
    port.perform(&undo).unwrap();
    assert_eq!(bench.calls(1), ["resolvconf -f -d hn0.hyperv"]);
}

#[test]
fn a_program_of_the_undo_gets_only_its_share() {
    let bench = Bench::new(IFADDRS);
    bench.program("resolvconf", "exec sleep 600");
    let share = Duration::from_millis(50);
    let mut port = port_until(&bench, Deadlines { steps: Duration::ZERO, undo: LATE, share });
    let undo = Step::DropNameServers(ResolvLabel::of_host(&hn0()));
    port.announce(Event::Undoing(&undo));
    match port.perform(&undo) {
        Err(ApplyError::Program(ProgramError::TimedOut { limit, .. })) => assert!(limit <= share),
        other => panic!("it hangs: {other:?}"),
    }
}

#[test]
fn name_servers_are_handed_to_resolvconf_under_their_label() {
    let bench = Bench::new(IFADDRS);
    let mut port = port(&bench);
    let input = bench.path("input");
    bench.program("resolvconf", &format!("cat >'{}'", input.display()));
    let label = ResolvLabel::of_host(&hn0());
    let text = "search example.org\nnameserver 10.0.0.2\n";
    port.perform(&Step::SetNameServers { label: label.clone(), text: text.to_owned() }).unwrap();
    assert_eq!(fs::read_to_string(&input).unwrap(), text);
    drop_name_servers(&bench.settings(), &label).unwrap();
    assert_eq!(bench.calls(2), ["resolvconf -a hn0.hyperv", "resolvconf -f -d hn0.hyperv"]);

    bench.program("resolvconf", "echo 'resolvconf: No space left on device' >&2; exit 1");
    let step = Step::SetNameServers { label, text: text.to_owned() };
    assert_eq!(failure(&mut port, &step), "resolvconf: No space left on device");
}

#[test]
fn rc_conf_must_mean_what_was_written() {
    let bench = Bench::new(IFADDRS);
    let mut port = port(&bench);
    let dhcp = expect(Method::Dhcp);
    assert!(failure(&mut port, &dhcp).starts_with("cannot read rc.conf: "));
    bench.rc_conf("ifconfig_hn0=DHCP\n");
    port.perform(&dhcp).unwrap();
    let given = StaticAddresses {
        addresses: vec!["10.0.0.5/24".parse().unwrap()],
        gateways: Vec::new(),
        name_servers: Vec::new(),
    };
    let said = failure(&mut port, &expect(Method::Static(given)));
    assert!(said.starts_with("at the next boot dhclient would serve the interface"), "{said}");
}

#[test]
fn the_client_is_started_as_rc_conf_says_and_that_is_read_once() {
    let bench = Bench::new(IFADDRS);
    bench.program("sbin/dhclient", "");
    bench.rc_conf("ifconfig_hn0=DHCP\ndhclient_flags=-q\n");
    let mut rc_port = port(&bench);
    rc_port.perform(&client(true)).unwrap();
    bench.rc_conf("ifconfig_hn0=DHCP\ndhclient_flags=-v\n");
    rc_port.perform(&client(true)).unwrap();
    assert_eq!(bench.calls(2), ["sbin/dhclient -q hn0", "sbin/dhclient -q hn0"]);

    fs::remove_dir_all(bench.path("etc")).unwrap();
    port(&bench).perform(&client(true)).unwrap();
    assert_eq!(bench.calls(1), ["dhclient hn0"], "base's client, if rc.conf cannot be read");
}

#[test]
fn a_client_that_is_not_waited_for_must_appear() {
    let bench = Bench::new(IFADDRS);
    let (procs, sysctl) = (bench.path("facts/procs"), bench.path("facts/sysctl"));
    // The arguments are there before the process is.
    bench.program(
        "dhclient",
        &format!(
            "echo '1.14.7.7:str=dhclient: hn0' >'{}'\necho 'proc 7 dhclient' >'{}'",
            sysctl.display(),
            procs.display()
        ),
    );
    port(&bench).start_client(&hn0()).unwrap();
    assert_eq!(bench.calls(1), ["dhclient -b hn0"]);
    port(&bench).start_client(&hn0()).unwrap();
    assert_eq!(bench.calls(0), [""; 0], "it serves already");
}

#[test]
fn a_failed_program_of_a_step_is_the_failure_of_the_step() {
    let bench = Bench::new(IFADDRS);
    bench.program("ifconfig", "echo 'ifconfig: ioctl (SIOCAIFADDR): permission denied' >&2; exit 1");
    let mut port = port(&bench);
    let address = "10.7.7.7/24".parse().unwrap();
    let step = Step::Network(NetworkStep::AddAddress { interface: hn0(), address });
    assert_eq!(failure(&mut port, &step), "ifconfig: ioctl (SIOCAIFADDR): permission denied");
    match port.look() {
        Err(ApplyError::Look(LoadError::Program { what: "interfaces", .. })) => {}
        other => panic!("ifconfig fails: {other:?}"),
    }
    bench.calls(2);
    port.perform(&Step::Settle(hn0())).unwrap();
    assert_eq!(bench.calls(0), [""; 0], "to bring it to rest is the caller's work");
    bench.prints("ifconfig", "hn0: flags=8843<UP> metric 0 mtu 1400\n");
    assert_eq!(port.look().unwrap().links[&hn0()].mtu, 1400);
    assert!(port.pause());
}
