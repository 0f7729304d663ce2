//! Plans on a simulated network: run whole they reach their aim, cut at any step they leave everything as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use hv_core::injection::plan as injection;
use hv_core::kvp::ip_info::request::{Method, StaticAddresses};
use hv_core::net::{InterfaceAddress, InterfaceName, MacAddress};
use hv_core::plan::network::{NetworkStep, Tool, command, parse_ifconfig};
use hv_core::plan::{Event, Plan, Port};
use hv_core::sys::network::NetworkSource;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vf::HnInterface;
use hv_core::vf::facts::Facts;
use hv_core::vf::plan::{plan_down, plan_up};
use hv_core::vf::rc_conf::RcConf;
use hvsim::network::kernel::link_local;
use hvsim::network::state::{Address, Interface, Route, StaticRoute};
use hvsim::network::{Root, State, tools};

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "plans",
    promise: "a plan cut at any step is taken back whole; run twice it does nothing; down undoes up",
    check,
    words: &[],
};

static GUEST: LazyLock<(tempfile::TempDir, Root)> = LazyLock::new(|| {
    // In memory where there is such a place: the stand-ins write their state for each command.
    let shm = std::path::Path::new("/dev/shm");
    let made = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let directory = made.expect("a scratch directory");
    let root = Root::new(directory.path());
    root.create(&State::default()).expect("a guest");
    (directory, root)
});

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let root = &GUEST.1;
    let (state, rc_conf) = guest(&mut choices);
    root.create(&state).expect("a guest");
    if choices.yes() {
        vf(root, &rc_conf, &mut choices, &mut seen)
    } else {
        inject(root, &mut choices, &mut seen)
    }
    seen.name()
}

/// Up, cut at a step; up; up again; down, cut at a step; down.
fn vf(root: &Root, rc_conf: &RcConf, choices: &mut Choices<'_>, seen: &mut Behaviour) {
    let hn: HnInterface = "hn0".parse().expect("a name");
    let up = |root: &Root| plan_up(&hn, &facts(root, rc_conf));
    let Ok(Some(plan)) = up(root) else { return seen.saw("no plan") };
    let steps = plan.steps().len();
    seen.saw(steps);
    let before = root.read().expect("a guest");
    let cut = Cut { at: choices.below(steps.max(1)), late: choices.yes() };
    run_cut(&plan, root, cut, &before, "up");
    let mut port = SimPort::new(root, None);
    plan.run(&mut port).unwrap_or_else(|failed| panic!("{failed} ({})\n{plan}", failed.error));
    let joined = root.read().expect("a guest");
    if let Ok(Some(again)) = up(root) {
        assert!(again.is_empty(), "nothing is left to do, not\n{again}of\n{plan}\nfrom {before:?}\nto {joined:?}");
    }
    let Ok(down) = plan_down(&hn, &facts(root, rc_conf)) else { return seen.saw("no way down") };
    seen.saw(down.steps().len());
    let cut = Cut { at: choices.below(down.steps().len().max(1)), late: choices.yes() };
    run_cut(&down, root, cut, &joined, "down");
    run_whole(&down, root);
    let after = root.read().expect("a guest");
    assert!(!after.interfaces.contains_key("lagg0"), "the lagg is gone");
}

fn inject(root: &Root, choices: &mut Choices<'_>, seen: &mut Behaviour) {
    let facts = injection_facts(root);
    let name: InterfaceName = "hn0".parse().expect("a name");
    let Ok(target) = injection::target(&name, &facts) else { return seen.saw("no target") };
    let given = StaticAddresses {
        addresses: (0..=choices.below(3)).map(|_| address(choices)).collect::<Vec<_>>(),
        gateways: Vec::new(),
        name_servers: Vec::new(),
    };
    let mut given = given;
    given.addresses.sort_by_key(|a| a.address);
    given.addresses.dedup_by_key(|a| a.address);
    if choices.yes() {
        let reached = given.addresses.first().filter(|first| first.reaches(neighbour(first, 1)));
        given.gateways.extend(reached.map(|first| neighbour(first, 1)));
    }
    let plan = injection::plan(&target, &Method::Static(given.clone()), &facts, None);
    seen.saw(plan.steps().len());
    let before = root.read().expect("a guest");
    let cut = Cut { at: choices.below(plan.steps().len().max(1)), late: choices.yes() };
    run_cut(&plan, root, cut, &before, "injection");
    run_whole(&plan, root);
    let live = injection_facts(root);
    let held = live.network.interfaces.iter().find(|i| &i.name == target.live()).expect("it is there");
    for address in &given.addresses {
        assert!(held.addresses.contains(address), "{address} is live");
    }
    let again = injection::plan(&target, &Method::Static(given), &live, None);
    assert!(again.is_empty(), "nothing is left to do, not\n{again}");
}

/// What is compared: the order of the addresses of a family counts, that of routes and the kernel's numbers do not. A link-local address
/// that the kernel made when an interface came up stays when it goes down.
fn picture(state: &State) -> (BTreeMap<String, Interface>, Vec<String>, Vec<String>) {
    let mut interfaces = state.interfaces.clone();
    for interface in interfaces.values_mut() {
        interface.index = 0;
        // The kernel's, by the state of the VF.
        interface.carrier = true;
        interface.addresses.retain(|address| !address.is_link_local());
        interface.addresses.sort_by_key(|address| address.ip.is_ipv6());
    }
    let mut routes: Vec<String> = state.routes.iter().map(|route| format!("{route:?}")).collect();
    let mut statics: Vec<String> = state.static_routes.iter().map(|route| format!("{route:?}")).collect();
    routes.sort();
    statics.sort();
    (interfaces, routes, statics)
}

fn run_whole<S>(plan: &Plan<S>, root: &Root)
where
    S: Clone + fmt::Display + fmt::Debug,
    for<'a> SimPort<'a>: Port<S, Error = std::io::Error>,
{
    if let Err(failed) = plan.run(&mut SimPort::new(root, None)) {
        panic!("{failed}: {}\n{plan}\n{:?}", failed.error, root.read());
    }
}

fn run_cut<S>(plan: &Plan<S>, root: &Root, cut: Cut, before: &State, what: &str)
where
    S: Clone + fmt::Display + fmt::Debug,
    for<'a> SimPort<'a>: Port<S, Error = std::io::Error>,
{
    if plan.is_empty() {
        return;
    }
    let failed = plan.run(&mut SimPort::new(root, Some(cut))).expect_err("it was cut");
    assert!(failed.left_behind.is_empty(), "{what}: {failed}\n{plan}");
    let after = root.read().expect("a guest");
    assert_eq!(picture(&after), picture(before), "{what} was cut at {cut:?} of\n{plan}");
}

fn facts(root: &Root, rc_conf: &RcConf) -> Facts {
    let facts = injection_facts(root);
    let vf = root.read().expect("a guest").vfs.keys().next().and_then(|name| name.parse().ok());
    Facts { vf, network: facts.network, links: facts.links, rc_conf: rc_conf.clone(), ..Facts::default() }
}

fn injection_facts(root: &Root) -> injection::Facts {
    let output = tools::call(root, "ifconfig", &[]).expect("a guest").out;
    let source = NetworkSource {
        facts: FactsSource::Directory(root.path("facts")),
        resolv_conf: root.path("etc/resolv.conf"),
        dhclient_directories: vec![root.path("var/run/dhclient")],
    };
    let network = source.snapshot().expect("a guest");
    injection::Facts { network, links: parse_ifconfig(&output), name_servers: Vec::new() }
}

/// The step that fails, before or after it has done its work.
#[derive(Debug, Clone, Copy)]
struct Cut {
    at: usize,
    late: bool,
}

/// Performs steps with the stand-ins, as the programs do it, without starting processes.
struct SimPort<'a> {
    root: &'a Root,
    cut: Option<Cut>,
    count: usize,
}

impl<'a> SimPort<'a> {
    fn new(root: &'a Root, cut: Option<Cut>) -> Self {
        Self { root, cut, count: 0 }
    }

    fn network(&mut self, step: &NetworkStep) -> Result<(), std::io::Error> {
        let cut = self.cut.filter(|cut| cut.at == self.count);
        self.count += 1;
        if cut.is_some_and(|cut| !cut.late) {
            return Err(std::io::Error::other("cut"));
        }
        let result = self.perform_now(step);
        if cut.is_some() { Err(std::io::Error::other("cut")) } else { result }
    }

    fn perform_now(&self, step: &NetworkStep) -> Result<(), std::io::Error> {
        if self.is_there_already(step) {
            return Ok(());
        }
        let all = match step {
            NetworkStep::DisableIpv6 { interface, .. } => self.disabling(interface)?,
            step => vec![step.clone()],
        };
        all.iter().try_for_each(|step| self.call(step))
    }

    /// The link-local address that the kernel has given the interface meanwhile goes too.
    fn disabling(&self, interface: &InterfaceName) -> Result<Vec<NetworkStep>, std::io::Error> {
        let state = self.root.read()?;
        let held =
            state.interfaces.get(interface.as_str()).map(|held| held.addresses.clone()).unwrap_or_default();
        let addresses = held.into_iter().filter(Address::is_link_local);
        let mut addresses = addresses.map(|a| InterfaceAddress { address: a.ip, prefix: a.prefix });
        let (interface, link_local) = (interface.clone(), addresses.next());
        let others =
            addresses.map(|address| NetworkStep::RemoveAddress { interface: interface.clone(), address });
        let mut steps = vec![NetworkStep::DisableIpv6 { interface: interface.clone(), link_local }];
        steps.extend(others);
        Ok(steps)
    }

    fn call(&self, step: &NetworkStep) -> Result<(), std::io::Error> {
        let Some((tool, mut words)) = command(step) else { return Ok(()) };
        let name = match tool {
            Tool::Ifconfig => "ifconfig",
            Tool::Route => "route",
            Tool::Rtsol | Tool::Dhclient => return Ok(()),
        };
        if let NetworkStep::SetDefaultRoute { gateway, .. } = step {
            let routes = self.root.read()?.routes;
            if routes.iter().any(|route| route.gateway.is_ipv4() == gateway.is_ipv4()) {
                words.iter_mut().filter(|word| *word == "add").for_each(|word| *word = "change".into());
            }
        }
        let outcome = tools::call(self.root, name, &words)?;
        let settled = outcome.status == 0 || self.is_there_already(step) || self.is_reached(step);
        if settled { Ok(()) } else { Err(std::io::Error::other(format!("{words:?}: {}", outcome.err))) }
    }

    /// As `hv_core::plan::network::NetworkPort` looks after a step that failed.
    fn is_reached(&self, step: &NetworkStep) -> bool {
        let state = self.root.read().expect("a guest");
        let has =
            |lagg: &InterfaceName, port: &InterfaceName| state.lagg_of(port.as_str()) == Some(lagg.as_str());
        match step {
            NetworkStep::CreateLagg { lagg, ports, .. } => ports.iter().all(|port| has(lagg, port)),
            NetworkStep::AddPort { lagg, port } => has(lagg, port),
            _ => false,
        }
    }

    /// As it looks before a step.
    fn is_there_already(&self, step: &NetworkStep) -> bool {
        let state = self.root.read().expect("a guest");
        let holds = |interface: &InterfaceName, address: &InterfaceAddress| {
            let held = state.interfaces.get(interface.as_str());
            held.is_some_and(|held| held.addresses.iter().any(|a| a.ip == address.address))
        };
        let route = |route: &hv_core::net::StaticRoute| {
            let by = Route { gateway: route.gateway, interface: route.interface.to_string() };
            state
                .static_routes
                .iter()
                .any(|held| held.destination == route.destination.to_string() && held.by == by)
        };
        let default = |gateway: &std::net::IpAddr, interface: &InterfaceName| {
            state.routes.contains(&Route { gateway: *gateway, interface: interface.to_string() })
        };
        match step {
            NetworkStep::RemoveAddress { interface, address } => !holds(interface, address),
            NetworkStep::SetDefaultRoute { gateway, interface } => default(gateway, interface),
            NetworkStep::RemoveDefaultRoute { gateway, interface } => !default(gateway, interface),
            NetworkStep::AddRoute(wanted) => route(wanted),
            NetworkStep::RemoveRoute(wanted) => !route(wanted),
            NetworkStep::DestroyLagg { lagg } => !state.interfaces.contains_key(lagg.as_str()),
            NetworkStep::RemovePort { port, .. } => !state.is_port(port.as_str()),
            _ => false,
        }
    }
}

impl Port<NetworkStep> for SimPort<'_> {
    type Error = std::io::Error;

    fn perform(&mut self, step: &NetworkStep) -> Result<(), Self::Error> {
        self.network(step)
    }

    fn announce(&mut self, _event: Event<'_, NetworkStep>) {}
}

impl Port<hv_core::injection::step::Step> for SimPort<'_> {
    type Error = std::io::Error;

    fn perform(&mut self, step: &hv_core::injection::step::Step) -> Result<(), Self::Error> {
        match step {
            hv_core::injection::step::Step::Network(step) => self.network(step),
            _ => Ok(()),
        }
    }

    fn announce(&mut self, _event: Event<'_, hv_core::injection::step::Step>) {}
}

/// A guest with static addresses: hn0, perhaps its VF, perhaps others.
fn guest(choices: &mut Choices<'_>) -> (State, RcConf) {
    let mut state = State::default();
    let mut text = String::from("\0");
    let mac = |unit: u8| MacAddress([0, 0x15, 0x5d, 1, 2, unit]);
    state.attach("hn0", mac(0));
    let mut held: Vec<Address> = Vec::new();
    for number in 0..choices.below(4) {
        let address = address(choices);
        if held.iter().any(|other| other.ip == address.address) {
            continue;
        }
        held.push(Address { ip: address.address, prefix: address.prefix, autoconf: false });
        let family = if address.address.is_ipv4() { "inet" } else { "inet6" };
        let name = if number == 0 && family == "inet" { String::new() } else { format!("_alias{number}") };
        if choices.byte() % 4 != 0 {
            text.push_str(&format!("ifconfig_hn0{name}={family} {address}\0"));
        }
    }
    if held.iter().any(|address| address.ip.is_ipv6()) {
        text.push_str("ifconfig_hn0_ipv6=inet6 auto_linklocal\0");
    }
    routes(&mut state, &held, choices, &mut text);
    let interface = state.interfaces.get_mut("hn0").expect("it was attached");
    interface.up = choices.byte() % 8 != 0;
    interface.nd6.disabled = !held.iter().any(|address| address.ip.is_ipv6());
    interface.mtu = choices.of(&[1500, 1500, 9000]);
    interface.addresses = held;
    if interface.up && !interface.nd6.disabled {
        // What the kernel gives such an interface.
        let mac = interface.mac.clone().unwrap_or_default();
        let own = link_local(&mac).map(|ip| Address { ip: ip.into(), prefix: 64, autoconf: false });
        interface.addresses.extend(own);
    }
    if choices.byte() % 4 != 0 {
        state.attach_vf("mce0", "hn0");
        state.interfaces.get_mut("mce0").expect("it was attached").up = choices.yes();
    }
    state.events.clear();
    (state, RcConf::parse(text.as_bytes()))
}

fn routes(state: &mut State, held: &[Address], choices: &mut Choices<'_>, text: &mut String) {
    for ipv4 in [true, false] {
        let Some(first) = held.iter().find(|address| address.ip.is_ipv4() == ipv4) else { continue };
        let own = InterfaceAddress { address: first.ip, prefix: first.prefix };
        let route = |number| Route { gateway: neighbour(&own, number), interface: "hn0".into() };
        if !own.reaches(neighbour(&own, 1)) {
            continue;
        }
        if choices.byte() % 4 != 0 {
            state.routes.push(route(1));
            let name = if ipv4 { "defaultrouter" } else { "ipv6_defaultrouter" };
            text.push_str(&format!("{name}={}\0", neighbour(&own, 1)));
        }
        if choices.yes() {
            let destination = if ipv4 { "10.200.0.0/16" } else { "fd99::/32" };
            state.static_routes.push(StaticRoute { destination: destination.into(), by: route(2) });
        }
    }
}

fn address(choices: &mut Choices<'_>) -> InterfaceAddress {
    let (net, host) = (choices.byte() % 4, 5 + choices.byte() % 8);
    let prefix = choices.of(&["/24", "/24", "/16", "/32"]);
    let text =
        if choices.yes() { format!("10.{net}.1.{host}{prefix}") } else { format!("fd00:{net}::{host}/64") };
    text.parse().expect("an address")
}

/// Another address of the same network.
fn neighbour(address: &InterfaceAddress, number: u8) -> std::net::IpAddr {
    match address.address {
        std::net::IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            std::net::Ipv4Addr::new(a, b, c, number).into()
        }
        std::net::IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[7] = u16::from(number);
            std::net::Ipv6Addr::from(segments).into()
        }
    }
}
