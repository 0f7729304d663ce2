//! `hyperv_vfup -d` beside a dhclient(8) that devd(8) has started first, and whose lease comes last. The program
//! must not lose an alias or an address of carp(4) to that lease.
//!
//! The order does not depend on a clock. The program waits at a gate with the first alias while devd(8) starts
//! its client. The server answers only after the program has found that client.

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;

use crate::guests::{dhcp_guest, ifconfig};
use crate::support::{Scratch, text};
use hvsim::network::faults::{self, Action, Fault};
use hvsim::network::process_list;
use hvsim::network::state::State;
use hvsim::testing::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LEASE: &str = "10.9.0.50/16";
const PLAIN: &str = "inet 10.9.0.77/32 alias";
const SECOND: &str = "inet 10.9.0.78/32 alias";
const CARP: &str = "inet vhid 5 advskew 100 pass secret alias 10.9.0.77/32";
/// The call with the first alias: after three looks, the end of the lagg, and the VF that goes down.
const FIRST_ALIAS: u32 = 6;

/// A joined guest with DHCP, and its log.
struct Scene {
    scratch: Scratch,
    socket: UnixDatagram,
    logged: RefCell<String>,
}

impl Scene {
    fn new(aliases: &[&str]) -> Self {
        let lines = aliases.iter().enumerate();
        let lines: Vec<String> =
            lines.map(|(number, alias)| format!("ifconfig_hn0_alias{number}=\"{alias}\"\n")).collect();
        let scratch = dhcp_guest(&format!("ifconfig_hn0=\"DHCP\"\n{}", lines.concat()));
        aliases.iter().for_each(|alias| ifconfig(&scratch, &format!("hn0 {alias}")));
        scratch.succeed(&["hn0"]);
        let socket = UnixDatagram::bind(scratch.path("var/run/log")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let scene = Self { scratch, socket, logged: RefCell::default() };
        scene.await_so("the end of the first run", || scene.has_ended());
        assert_eq!(scene.scratch.clients(), ["lagg0"]);
        scene
    }

    /// Waits, and takes the lines of the log off the socket meanwhile, so that the program is not held up.
    fn await_so(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        eventually(what, || {
            let mut buffer = [0; 4096];
            while let Ok(count) = self.socket.recv(&mut buffer) {
                *self.logged.borrow_mut() += &(text(&buffer[..count]) + "\n");
            }
            is_so()
        });
    }

    fn has_ended(&self) -> bool {
        !self.scratch.processes().iter().any(|line| line.contains("hyperv_vfup"))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.scratch.guest.root().change(change).unwrap();
    }

    /// The next call of the tool waits until the gate is opened.
    fn close_gate(&self, tool: &str, call: u32) {
        self.scratch.inject(&[Fault { tool: tool.into(), call, action: Action::Gate }]);
        faults::close_gate(self.scratch.guest.root()).unwrap();
    }

    fn open_gate(&self) {
        faults::open_gate(self.scratch.guest.root()).unwrap();
    }

    fn calls(&self, tool: &str) -> usize {
        self.scratch.spawns().iter().filter(|spawn| spawn.split(' ').next() == Some(tool)).count()
    }

    /// Takes the lagg apart. While the first alias waits at the gate, devd(8) starts a client, which no server
    /// answers. `found` runs when the program has seen that client, or has ended, `leased` when the server has
    /// answered.
    fn take_apart(&self, found: impl FnOnce(&Self), leased: impl FnOnce(&Self)) {
        let server = self.scratch.state().dhcp;
        self.change(|state| (state.dhcp, state.events) = (None, Vec::new()));
        self.close_gate("*", FIRST_ALIAS);
        let run = self.scratch.vfup().args(["-d", "hn0"]).spawn().unwrap();
        self.await_so("the first alias at the gate", || self.calls("ifconfig") == FIRST_ALIAS as usize);
        assert!(self.scratch.spawns()[5].contains("10.9.0.77"), "{:?}", self.scratch.spawns());
        let guest = &self.scratch.guest;
        std::thread::scope(|scope| {
            // devd(8) waits for its client, and the client for a server.
            let devd = scope.spawn(|| guest.run_devd().unwrap());
            self.await_so("the client of devd", || self.scratch.clients() == ["hn0"]);
            self.open_gate();
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            let line = "another program has started dhclient on hn0";
            self.await_so("a look at it", || self.logged.borrow().contains(line) || self.has_ended());
            found(self);
            self.change(|state| state.dhcp = server);
            self.await_so("the lease", || self.scratch.addresses("hn0").contains(&LEASE.to_owned()));
            leased(self);
            let commands = devd.join().unwrap();
            assert!(commands.iter().any(|command| command.contains("dhclient quietstart")), "{commands:?}");
        });
        self.await_so("the end of the run", || self.has_ended());
        assert_eq!(self.scratch.clients(), ["hn0"]);
    }

    fn end_client(&self) {
        let all = process_list::all(&self.scratch.path(""));
        let client =
            all.iter().find(|known| text(&known.arguments).trim_end_matches('\0') == "dhclient: hn0");
        kill(Pid::from_raw(i32::try_from(client.unwrap().pid).unwrap()), Signal::SIGTERM).unwrap();
    }
}

// contract V28
#[test]
fn an_alias_survives_the_lease_of_devds_client() {
    for alias in [PLAIN, CARP] {
        let scene = Scene::new(&[alias]);
        let carp = scene.scratch.state().interfaces["lagg0"].carp.clone();
        scene.take_apart(|_| (), |_| ());
        assert_eq!(scene.scratch.addresses("hn0"), [LEASE, "10.9.0.77/32"], "{alias}");
        assert_eq!(scene.scratch.state().interfaces["hn0"].carp, carp);
    }
}

#[test]
fn where_devds_client_ends_without_a_lease_another_is_started() {
    let scene = Scene::new(&[PLAIN]);
    scene.take_apart(
        |scene| {
            scene.end_client();
            scene.await_so("the next client", || scene.calls("dhclient") == 2);
        },
        |_| (),
    );
    assert_eq!(scene.scratch.addresses("hn0"), [LEASE, "10.9.0.77/32"]);
}

#[test]
fn a_second_alias_lost_meanwhile_is_given_again_too() {
    let scene = Scene::new(&[PLAIN, SECOND]);
    scene.take_apart(
        |scene| {
            // Otherwise devd(8) would start programs, too, when its client has the lease.
            scene.change(|state| state.events.clear());
            scene.close_gate("ifconfig", 1);
        },
        |scene| {
            scene.await_so("the first alias at the gate again", || scene.calls("ifconfig") == 1);
            let lose = |state: &mut State| {
                let held = &mut state.interfaces.get_mut("hn0").unwrap().addresses;
                held.retain(|address| address.ip.to_string() != "10.9.0.78");
            };
            scene.change(lose);
            scene.open_gate();
        },
    );
    assert_eq!(scene.scratch.addresses("hn0"), [LEASE, "10.9.0.77/32", "10.9.0.78/32"]);
}
