//! Transactions in a model of a guest, in which a rival makes one move after each action of the transaction.
//! Nothing depends on time.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::*;
use crate::injection::step::ResolvLabel;
use crate::kvp::ip_info::request::StaticAddresses;
use crate::net::lease::DhcpLease;
use crate::net::processes::{ClientProcess, Named, Part};
use crate::net::{DefaultRoute, Interface, InterfaceAddress, InterfaceName, NetworkSnapshot};
use crate::plan::network::{Link, NetworkStep};

const LEASE: &str = "10.9.0.50/16";

/// The moves of a rival, one at a time.
#[derive(Debug, Clone, Copy)]
enum Move {
    Begin(&'static str),
    End,
    StopClient,
    RemoveAll,
    Add(&'static str),
    Remove(&'static str),
    Route(Option<&'static str>),
    StartClient,
    Label(&'static str),
}

struct Model {
    facts: Facts,
    rival: VecDeque<Move>,
    /// The number of actions before the rival begins.
    delay: u32,
    pauses: u32,
    /// Whether another program still works after this many looks.
    busy_after: Option<u32>,
    /// The number of moves between the start of the client and its lease.
    lease_in: Option<u32>,
    /// How many addresses were added.
    added: u32,
}

fn hn0() -> InterfaceName {
    "hn0".parse().unwrap()
}

impl Model {
    fn new(addresses: &[&str], client: bool) -> Self {
        let interface = Interface {
            name: hn0(),
            index: 1,
            up: true,
            loopback: false,
            mac: "00:15:5d:01:02:03".parse().ok(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let network = NetworkSnapshot { interfaces: vec![interface], ..NetworkSnapshot::default() };
        let facts = Facts { network, ..Facts::default() };
        let rival = VecDeque::new();
        let mut model =
            Self { facts, rival, delay: 0, pauses: 0, busy_after: None, lease_in: None, added: 0 };
        if client {
            model.start_client();
            model.lease_in = None;
        }
        model
    }

    fn addresses(&mut self) -> &mut Vec<InterfaceAddress> {
        &mut self.facts.network.interfaces[0].addresses
    }

    fn start_client(&mut self) {
        if !self.facts.network.dhcp_clients.contains(&hn0()) {
            self.facts.network.dhcp_clients.push(hn0());
            let worker = ClientProcess { pid: 7, part: Part::Worker };
            self.facts.at_work.clients.push((hn0(), worker));
            self.lease_in = Some(2);
        }
    }

    fn stop_client(&mut self) {
        self.facts.network.dhcp_clients.clear();
        self.facts.at_work.clients.clear();
        self.lease_in = None;
    }

    fn remove(&mut self, address: IpAddr) {
        self.addresses().retain(|held| held.address != address);
        let held = self.addresses().clone();
        self.facts.network.default_routes.retain(|route| held.iter().any(|own| own.reaches(route.gateway)));
    }

    fn set_route(&mut self, gateway: IpAddr) {
        if self.addresses().iter().any(|own| own.reaches(gateway)) {
            self.facts.network.default_routes = vec![DefaultRoute { gateway, interface: hn0() }];
        }
    }

    /// Advances time by one: every other program makes a move.
    fn tick(&mut self) {
        match self.lease_in {
            Some(0) => {
                self.lease_in = None;
                let lease = DhcpLease { address: "10.9.0.50".parse().ok(), router: "10.9.0.1".parse().ok() };
                self.facts.lease = Some(lease);
                // "ifconfig hn0 inet ADDRESS" removes the first IPv4 address.
                let first = self.addresses().iter().find(|held| held.address.is_ipv4()).copied();
                first.into_iter().for_each(|first| self.remove(first.address));
                self.addresses().push(LEASE.parse().unwrap());
                if self.facts.network.default_routes.is_empty() {
                    self.set_route("10.9.0.1".parse().unwrap());
                }
            }
            Some(moves) => self.lease_in = Some(moves - 1),
            None => {}
        }
        if self.delay > 0 {
            self.delay -= 1;
            return;
        }
        match self.rival.pop_front() {
            Some(Move::Begin(name)) => {
                self.facts.at_work.scripts.push(Named { pid: 9, name: name.to_owned() });
            }
            Some(Move::End) => self.facts.at_work.scripts.clear(),
            Some(Move::StopClient) => self.stop_client(),
            Some(Move::RemoveAll) => {
                let all = self.addresses().clone();
                all.iter().for_each(|held| self.remove(held.address));
            }
            Some(Move::Add(text)) => {
                let address = text.parse().unwrap();
                if !self.addresses().contains(&address) {
                    self.addresses().push(address);
                }
            }
            Some(Move::Remove(text)) => {
                let address: InterfaceAddress = text.parse().unwrap();
                self.remove(address.address);
            }
            Some(Move::Route(Some(text))) => self.set_route(text.parse().unwrap()),
            Some(Move::Route(None)) => self.facts.network.default_routes.clear(),
            Some(Move::StartClient) => self.start_client(),
            Some(Move::Label(text)) => {
                self.facts.name_servers.push((ResolvLabel::of_dhclient(&hn0()), text.to_owned()));
            }
            None => {}
        }
    }

    /// The final state as the host sees it: addresses, gateways, client, labels.
    fn picture(&self) -> String {
        let mut addresses: Vec<String> =
            self.facts.network.interfaces[0].addresses.iter().map(ToString::to_string).collect();
        addresses.sort();
        let routes: Vec<String> =
            self.facts.network.default_routes.iter().map(|route| route.gateway.to_string()).collect();
        let mut labels: Vec<&str> = self.facts.name_servers.iter().map(|(label, _)| label.as_str()).collect();
        labels.sort_unstable();
        let client = if self.facts.network.dhcp_clients.is_empty() { "no client" } else { "client" };
        format!("{} | {} | {client} | {}", addresses.join(" "), routes.join(" "), labels.join(" "))
    }
}

impl Port<Step> for Model {
    type Error = ApplyError;

    fn perform(&mut self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::Network(NetworkStep::StopDhcp { .. }) => self.stop_client(),
            Step::Network(NetworkStep::EndLease { addresses, .. }) => {
                self.stop_client();
                let gone = self.addresses().clone();
                let gone =
                    gone.into_iter().filter(|held| held.address.is_ipv4() && !addresses.contains(held));
                gone.for_each(|held| self.remove(held.address));
            }
            Step::Network(NetworkStep::StartDhcp { .. }) => self.start_client(),
            Step::Network(NetworkStep::AddAddress { address, .. }) => {
                self.added += 1;
                self.addresses().retain(|held| held != address);
                self.addresses().push(*address);
            }
            Step::Network(NetworkStep::RemoveAddress { address, .. }) => self.remove(address.address),
            Step::Network(NetworkStep::SetDefaultRoute { gateway, .. }) => {
                self.set_route(*gateway);
                let reached = self.facts.network.default_routes.iter().any(|route| route.gateway == *gateway);
                if !reached {
                    self.tick();
                    return Err(ApplyError::NoTime);
                }
            }
            Step::Network(NetworkStep::RemoveDefaultRoute { .. }) => {
                self.facts.network.default_routes.clear()
            }
            Step::SetNameServers { label, text } => {
                self.facts.name_servers.retain(|(held, _)| held != label);
                self.facts.name_servers.push((label.clone(), text.clone()));
            }
            Step::DropNameServers(label) => self.facts.name_servers.retain(|(held, _)| held != label),
            _ => {}
        }
        self.tick();
        Ok(())
    }

    fn announce(&mut self, _event: Event<'_, Step>) {}
}

impl Guest for Model {
    fn look(&mut self) -> Result<Facts, ApplyError> {
        let mut facts = self.facts.clone();
        self.tick();
        if self.busy_after == Some(0) {
            facts.at_work.scripts.push(Named { pid: 9, name: "netif restart hn0".to_owned() });
        }
        self.busy_after = self.busy_after.map(|looks| looks.saturating_sub(1));
        Ok(facts)
    }

    fn pause(&mut self) -> bool {
        self.pauses += 1;
        self.tick();
        self.pauses < 60
    }
}

fn host_static() -> Method {
    Method::Static(StaticAddresses {
        addresses: vec!["10.1.1.5/24".parse().unwrap(), "fd01::5/64".parse().unwrap()],
        gateways: vec!["10.1.1.1".parse().unwrap()],
        name_servers: vec!["10.1.1.2".parse().unwrap()],
    })
}

const HOST_STATIC: &str = "10.1.1.5/24 fd01::5/64 | 10.1.1.1 | no client | hn0.hyperv";
const HOST_DHCP: &str = "10.9.0.50/16 | 10.9.0.1 | client | ";

fn run(model: &mut Model, method: &Method) -> (Witnessed, Result<(), Failed<Step, ApplyError>>) {
    let target = Target { hn: hn0(), lagg: None };
    let first = model.facts.clone();
    let had_client = !first.network.dhcp_clients.is_empty();
    let gone = if had_client { Vec::new() } else { model.addresses().clone() };
    let earlier = Earlier { gone, shared: Vec::new() };
    let transaction = Transaction { target: &target, method, files: None, earlier: &earlier };
    let outcome = transaction.run(first, model);
    // Work that was begun continues after the answer.
    (0..100).for_each(|_| model.tick());
    outcome
}

/// A rival that comes after the answer: the network is examined again when it has changed.
fn put_right(model: &mut Model, method: &Method) {
    let gone: Vec<InterfaceAddress> = ["10.0.0.5/24", "fd00::5/64"].map(|text| text.parse().unwrap()).into();
    let earlier = Earlier { gone, shared: Vec::new() };
    let target = Target { hn: hn0(), lagg: None };
    let first = model.facts.clone();
    Transaction { target: &target, method, files: None, earlier: &earlier }.run(first, model).1.unwrap();
    (0..100).for_each(|_| model.tick());
}

/// Rivals that use the old values. Each begins at every offset.
fn rivals_of_dhcp() -> Vec<Vec<Move>> {
    use Move::{Begin, End, Label, RemoveAll, StartClient, StopClient};
    vec![
        vec![Begin("netif restart hn0"), StopClient, RemoveAll, StartClient, End],
        vec![Begin("netif restart hn0"), StopClient, RemoveAll, StartClient, Label("old"), End],
        vec![Begin("dhclient restart hn0"), StopClient, StartClient, End],
        vec![Begin("dhclient quietstart hn0"), StartClient, End],
        vec![Begin("pccard_ether hn0 start"), StartClient, End],
    ]
}

fn rivals_of_static() -> Vec<Vec<Move>> {
    use Move::{Add, Begin, End, Remove, RemoveAll, Route};
    vec![
        vec![Begin("netif restart hn0"), RemoveAll, Add("10.0.0.5/24"), Add("fd00::5/64"), End],
        vec![Begin("netif restart"), RemoveAll, Add("10.0.0.5/24"), Route(Some("10.0.0.1")), End],
        vec![Begin("pccard_ether hn0 start"), Add("10.0.0.5/24"), Route(Some("10.0.0.1")), End],
        vec![Begin("netif stop hn0"), Remove("10.0.0.5/24"), Route(None), End],
    ]
}

#[test]
fn static_injection_beside_a_rival_with_a_lease() {
    for rival in rivals_of_dhcp() {
        for delay in 0..50 {
            let mut model = Model::new(&[LEASE], true);
            model.set_route("10.9.0.1".parse().unwrap());
            (model.rival, model.delay) = (rival.clone().into(), delay);
            let (witnessed, result) = run(&mut model, &host_static());
            assert!(result.is_ok(), "{rival:?} {delay}: {result:?}");
            if witnessed.rivals.is_empty() {
                put_right(&mut model, &host_static());
            }
            assert_eq!(model.picture(), HOST_STATIC, "{rival:?} at {delay}, {witnessed:?}");
        }
    }
}

#[test]
fn dhcp_injection_beside_a_rival_with_addresses() {
    for rival in rivals_of_static() {
        for delay in 0..50 {
            let mut model = Model::new(&["10.0.0.5/24", "fd00::5/64"], false);
            model.set_route("10.0.0.1".parse().unwrap());
            (model.rival, model.delay) = (rival.clone().into(), delay);
            let (witnessed, result) = run(&mut model, &Method::Dhcp);
            assert!(result.is_ok(), "{rival:?} {delay}: {result:?}");
            if witnessed.rivals.is_empty() {
                put_right(&mut model, &Method::Dhcp);
            }
            assert_eq!(model.picture(), HOST_DHCP, "{rival:?} at {delay}, {witnessed:?}");
        }
    }
}

#[test]
fn a_rival_that_does_not_end_fails_the_injection() {
    let mut model = Model::new(&["10.0.0.5/24"], false);
    model.set_route("10.0.0.1".parse().unwrap());
    model.facts.at_work.scripts.push(Named { pid: 9, name: "netif restart hn0".to_owned() });
    let before = model.picture();
    let (witnessed, result) = run(&mut model, &host_static());
    let error = result.unwrap_err();
    assert!(matches!(&error.error, ApplyError::NotStill(names) if names == "netif restart hn0"), "{error:?}");
    assert_eq!((model.picture(), witnessed.rivals.len()), (before, 1));
}

#[test]
fn lease_from_before_a_failure_is_removed_with_its_route() {
    let mut model = Model::new(&["10.0.0.5/24"], false);
    model.set_route("10.0.0.1".parse().unwrap());
    let before = model.picture();
    // Another program begins when the client has its lease, and does not end.
    model.busy_after = Some(0);
    let (witnessed, result) = run(&mut model, &Method::Dhcp);
    assert!(witnessed.started_client && model.facts.lease.is_some(), "{witnessed:?}");
    assert!(matches!(result.unwrap_err().error, ApplyError::NotStill(_)));
    assert_eq!(model.picture(), before);
}

#[test]
fn duplicated_addresses_fail_and_tentative_ones_are_waited_for() {
    let link = |tentative: &[&str], duplicated: &[&str]| {
        let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
        Link { tentative: parse(tentative), duplicated: parse(duplicated), ..Link::default() }
    };
    let mut model = Model::new(&["10.0.0.5/24"], false);
    let before = model.picture();
    model.facts.links.insert(hn0(), link(&["fd01::5"], &[]));
    // It stays tentative, because there is no link.
    assert!(run(&mut model, &host_static()).1.is_ok());
    assert!(model.pauses >= 60 && model.picture().starts_with("10.1.1.5/24 fd01::5/64"), "{}", model.pauses);
    for duplicated in [&["fd01::5"][..], &["fd09::9", "fd01::5"]] {
        let mut model = Model::new(&["10.0.0.5/24"], false);
        model.facts.links.insert(hn0(), link(&[], duplicated));
        let failed = run(&mut model, &host_static()).1.unwrap_err();
        assert_eq!(failed.error.to_string(), "fd01::5 is in use by another node of the network");
        assert_eq!(model.picture(), before);
    }
    // An address that is not the host's does not count.
    let mut model = Model::new(&["10.0.0.5/24"], false);
    model.facts.links.insert(hn0(), link(&["fd09::8"], &["fd09::9"]));
    assert!(run(&mut model, &host_static()).1.is_ok() && model.pauses == 0);
}

#[test]
fn the_end_of_a_client_is_waited_for() {
    let mut model = Model::new(&[LEASE], false);
    model.facts.at_work.clients.push((hn0(), ClientProcess { pid: 8, part: Part::Privileged }));
    let (witnessed, result) = run(&mut model, &host_static());
    assert!(result.is_err() && witnessed.rivals == ["the end of dhclient on hn0"], "{witnessed:?}");
}

#[test]
fn a_foreign_client_refuses_a_static_injection() {
    let mut model = Model::new(&[LEASE], false);
    let client = Named { pid: 4, name: "dhcpcd".to_owned() };
    model.facts.at_work.foreign_clients.push((hn0(), client));
    let before = model.picture();
    let error = run(&mut model, &host_static()).1.unwrap_err();
    assert!(error.error.to_string().starts_with("dhcpcd with process id 4 serves it"), "{}", error.error);
    assert_eq!(model.picture(), before);
    assert!(run(&mut model, &Method::Dhcp).1.is_ok(), "it gets its addresses by DHCP already");
}

fn one_address() -> Method {
    let addresses = vec!["10.1.1.5/24".parse().unwrap()];
    Method::Static(StaticAddresses { addresses, ..StaticAddresses::default() })
}

#[test]
fn after_a_rival_the_state_must_be_right_twice() {
    let mut model = Model::new(&["10.1.1.5/24"], false);
    model.facts.at_work.scripts.push(Named { pid: 9, name: "netif restart hn0".to_owned() });
    // The address goes between the first look that finds all right and the second one.
    model.rival = [Move::End, Move::Remove("10.1.1.5/24")].into();
    let (witnessed, result) = run(&mut model, &one_address());
    result.unwrap();
    assert_eq!((witnessed.rivals.len(), witnessed.started_client), (1, false));
    assert!(model.picture().starts_with("10.1.1.5/24 |"), "{}", model.picture());
}

#[test]
fn network_that_does_not_stay_is_changed_twelve_times() {
    let mut model = Model::new(&[], false);
    model.rival = vec![Move::RemoveAll; 1000].into();
    let target = Target { hn: hn0(), lagg: None };
    let (method, earlier) = (one_address(), Earlier::default());
    let transaction = Transaction { target: &target, method: &method, files: None, earlier: &earlier };
    let error = transaction.run(model.facts.clone(), &mut model).1.unwrap_err();
    assert!(matches!(error.error, ApplyError::NotStill(_)), "{error:?}");
    assert_eq!(model.added, ROUNDS);
}

#[test]
fn a_step_that_fails_without_a_rival_is_final() {
    let mut model = Model::new(&["10.1.1.5/24"], false);
    let Method::Static(mut given) = one_address() else { panic!("it is static") };
    given.gateways.push("10.9.9.1".parse().unwrap());
    let error = run(&mut model, &Method::Static(given)).1.unwrap_err();
    assert!(matches!(error.error, ApplyError::NoTime), "{error:?}");
    assert_eq!((model.pauses, error.found), (0, Some(crate::plan::Found::AsBefore)));
}
