//! Performs network steps with the programs of the base system. It decides no step.
//!
//! The exit status of a program is not enough: ifconfig(8) fails if the state is already reached, and its
//! messages differ by release. So after a failure the network is read again, and a step whose state is
//! reached has succeeded.

use std::fs::DirBuilder;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use super::command::{Tool, change_default_route, command};
use super::lease::{Awaited, await_lease};
use super::{NetworkStep, clients, parse_ifconfig};
use crate::net::{DefaultRoute, InterfaceAddress, InterfaceName, NetworkSnapshot};
use crate::plan::{Event, Port};
use crate::rc::DhcpClient;
use crate::runtime::config;
use crate::runtime::exec::{Program, ProgramError};
use crate::sys::clock;
use crate::sys::network::NetworkSource;

/// How long a client may take to appear in the list of processes, and how often it is looked for.
const CLIENT_APPEARS: Duration = Duration::from_millis(1000);
const CLIENT_PAUSE: Duration = Duration::from_millis(5);
/// How often a default route is tried again that another process changed meanwhile.
const ROUTE_ATTEMPTS: u32 = 20;

/// The paths and time limits of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPrograms {
    /// Settings of `[network]`.
    pub settings: config::Network,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The program gave no result.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The network could not be read.
    #[error("cannot read the network")]
    Facts(#[source] io::Error),
    /// A DHCP client was started and does not serve the interface.
    #[error("{} was started, and no DHCP client serves {interface}", program.display())]
    NoClient {
        /// Its path.
        program: PathBuf,
        /// The interface.
        interface: InterfaceName,
    },
    /// A dhclient(8) does not end.
    #[error("cannot end dhclient with process id {pid}")]
    Client {
        /// Its process id.
        pid: u32,
        /// The error of the system.
        source: io::Error,
    },
}

/// Performs [`NetworkStep`]s.
#[derive(Debug)]
pub struct NetworkPort {
    programs: NetworkPrograms,
    source: NetworkSource,
    deadline: Option<Duration>,
    /// How long a client may take to appear in the list of processes.
    client_appears: Duration,
    /// How rc(8) would start a DHCP client. `None` if unknown.
    client: Option<DhcpClient>,
    /// The beginning of the log lines.
    subject: String,
}

impl Port<NetworkStep> for NetworkPort {
    type Error = ApplyError;

    fn perform(&mut self, step: &NetworkStep) -> Result<(), ApplyError> {
        if self.is_there_already(step)? {
            return Ok(());
        }
        match step {
            NetworkStep::StopDhcp { interface } => self.stop_clients(interface),
            NetworkStep::EndLease { interface, addresses } => self.end_lease(interface, addresses),
            NetworkStep::StartDhcp { interface, wait } => self.start_client(interface, *wait, step),
            NetworkStep::SolicitRouters { .. } => self.start_unattended(step),
            NetworkStep::SetDefaultRoute { gateway, interface } => self.set_route(*gateway, interface),
            NetworkStep::DisableIpv6 { interface, .. } => self.disable_ipv6(interface),
            _ => self.run_step(step),
        }
    }

    fn announce(&mut self, event: Event<'_, NetworkStep>) {
        log::info!("{}: {event}", self.subject);
    }
}

impl NetworkPort {
    /// A port whose log lines begin with `subject`, usually the interface.
    #[must_use]
    pub fn new(settings: config::Network, source: NetworkSource, subject: &str) -> Self {
        Self {
            programs: NetworkPrograms { settings },
            source,
            deadline: None,
            client_appears: CLIENT_APPEARS,
            client: None,
            subject: subject.to_owned(),
        }
    }

    /// Limits all programs, and the end of a dhclient(8), by `deadline` of the monotonic clock in addition to
    /// their own limits.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
    }

    /// Sets how DHCP clients are started: as by rc.d/dhclient.
    pub fn set_dhcp_client(&mut self, client: DhcpClient) {
        self.client = Some(client);
    }

    fn within_deadline(&self, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_sub(clock::monotonic())))
    }

    fn snapshot(&self) -> Result<NetworkSnapshot, ApplyError> {
        self.source.snapshot().map_err(ApplyError::Facts)
    }

    /// Whether the state is already reached, before a step that another process may have performed:
    /// dhclient(8) removes its address itself.
    fn is_there_already(&self, step: &NetworkStep) -> Result<bool, ApplyError> {
        match step {
            // An advertised route would expire. Set again it is permanent: the kernel's list of routers
            // follows changes of the routing table (nd6_subscription_cb of sys/netinet6).
            NetworkStep::SetDefaultRoute { gateway: IpAddr::V6(v6), .. } if v6.is_unicast_link_local() => {
                Ok(false)
            }
            NetworkStep::RemoveAddress { .. }
            | NetworkStep::RemoveDefaultRoute { .. }
            | NetworkStep::SetDefaultRoute { .. }
            | NetworkStep::AddRoute(_)
            | NetworkStep::RemoveRoute(_)
            | NetworkStep::StartDhcp { wait: false, .. } => Ok(is_reached(step, &self.snapshot()?)),
            _ => Ok(false),
        }
    }

    fn run_step(&self, step: &NetworkStep) -> Result<(), ApplyError> {
        let Some((tool, arguments)) = command(step) else { return Ok(()) };
        let result = self.run(tool, arguments);
        match result {
            Err(ApplyError::Program(error @ ProgramError::Failed { .. })) if self.is_reached_now(step) => {
                log::debug!("{}: {step}: {error}", self.subject);
                Ok(())
            }
            other => other,
        }
    }

    fn run(&self, tool: Tool, arguments: Vec<String>) -> Result<(), ApplyError> {
        let limit = self.within_deadline(self.programs.settings.command_limit());
        let mut program = Program::new(self.programs.path(tool), limit);
        program.arguments = arguments.into_iter().map(Into::into).collect();
        program.succeed()?;
        Ok(())
    }

    /// Sets a default route. A route of the family that leads elsewhere is changed, so that there are never
    /// two. It can appear and disappear meanwhile, because a dhclient(8) of another interface sets one if
    /// there is none.
    fn set_route(&self, gateway: IpAddr, interface: &InterfaceName) -> Result<(), ApplyError> {
        let step = NetworkStep::SetDefaultRoute { gateway, interface: interface.clone() };
        let mut attempts = 0..ROUTE_ATTEMPTS;
        loop {
            let routes = self.snapshot()?.default_routes;
            let result = if routes.iter().any(|route| route.gateway.is_ipv4() == gateway.is_ipv4()) {
                self.run(Tool::Route, change_default_route(interface, gateway))
            } else {
                self.run_step(&step).and_then(|()| self.remove_other_routes(gateway, interface))
            };
            match result {
                Err(ApplyError::Program(ProgramError::Failed { message, .. }))
                    if (contradicts_facts(&message) || self.snapshot()?.default_routes != routes)
                        && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// Removes the default routes of the family that are not this one. The look before the addition saw none. So
    /// a dhclient(8) of another interface has set them since. With ROUTE_MPATH the kernel keeps all of them
    /// (add_route_flags_mpath of sys/net/route/route_ctl.c).
    fn remove_other_routes(&self, gateway: IpAddr, interface: &InterfaceName) -> Result<(), ApplyError> {
        let is_other = |route: &DefaultRoute| {
            route.gateway.is_ipv4() == gateway.is_ipv4()
                && (route.gateway, &route.interface) != (gateway, interface)
        };
        let mut others = self.snapshot()?.default_routes.into_iter().filter(is_other);
        others.try_for_each(|DefaultRoute { gateway, interface }| {
            self.run_step(&NetworkStep::RemoveDefaultRoute { gateway, interface })
        })
    }

    /// Disables IPv6. A link-local address that the kernel has assigned meanwhile is removed, too.
    fn disable_ipv6(&self, interface: &InterfaceName) -> Result<(), ApplyError> {
        let network = self.snapshot()?;
        let held =
            network.interfaces.iter().filter(|held| &held.name == interface).flat_map(|held| &held.addresses);
        let mut link_locals = held.copied().filter(|held| held.address.is_ipv6() && held.is_link_local());
        let interface = interface.clone();
        self.run_step(&NetworkStep::DisableIpv6 {
            interface: interface.clone(),
            link_local: link_locals.next(),
        })?;
        link_locals.try_for_each(|address| {
            self.run_step(&NetworkStep::RemoveAddress { interface: interface.clone(), address })
        })
    }

    /// Starts rtsol(8) without waiting: it waits for routers that may not exist, and ends by itself.
    fn start_unattended(&self, step: &NetworkStep) -> Result<(), ApplyError> {
        let Some((tool, arguments)) = command(step) else { return Ok(()) };
        let mut program = Program::new(self.programs.path(tool), Duration::ZERO);
        program.arguments = arguments.into_iter().map(Into::into).collect();
        program.detach().map_err(Into::into)
    }

    fn is_reached_now(&self, step: &NetworkStep) -> bool {
        match step {
            NetworkStep::CreateLagg { lagg, ports, .. } => {
                let present = self.ports(lagg);
                !ports.is_empty() && ports.iter().all(|port| present.contains(port))
            }
            NetworkStep::AddPort { lagg, port } => self.ports(lagg).contains(port),
            NetworkStep::RemovePort { lagg, port } => !self.ports(lagg).contains(port),
            _ => self.source.snapshot().is_ok_and(|network| is_reached(step, &network)),
        }
    }

    /// The ports of the lagg by ifconfig(8). Empty if there is no such lagg.
    fn ports(&self, lagg: &InterfaceName) -> Vec<InterfaceName> {
        let settings = &self.programs.settings;
        let limit = self.within_deadline(settings.command_limit());
        let program = Program::new(&settings.ifconfig, limit).arg(lagg.as_str());
        let Ok(output) = program.output() else { return Vec::new() };
        let mut links = parse_ifconfig(&String::from_utf8_lossy(&output));
        links.remove(lagg).and_then(|link| link.lagg).map(|lagg| lagg.ports).unwrap_or_default()
    }

    /// Starts a client. Without waiting for a lease it is enough that it serves: without a link dhclient(8)
    /// goes to the background after 11 seconds at the earliest, with `-b`, too (`main` of
    /// sbin/dhclient/dhclient.c).
    fn start_client(
        &self,
        interface: &InterfaceName,
        wait: bool,
        step: &NetworkStep,
    ) -> Result<(), ApplyError> {
        // If /var/run is a tmpfs(5), the directory does not exist yet (rc.d/dhclient, `dhclient_prestart`).
        if let Some(directory) = self.source.dhclient_directories.first() {
            DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(ApplyError::Facts)?;
        }
        if wait {
            return self.get_lease(interface, step);
        }
        let limit = self.within_deadline(self.programs.settings.command_limit());
        let program = self.client_program(interface, false, limit);
        program.detach()?;
        let until = clock::monotonic() + self.within_deadline(self.client_appears);
        while !self.is_reached_now(step) {
            if clock::monotonic() >= until {
                return Err(ApplyError::NoClient { program: program.path, interface: interface.clone() });
            }
            std::thread::sleep(CLIENT_PAUSE);
        }
        Ok(())
    }

    /// Starts a client and waits for its lease. devd(8) may have started one before: dhclient(8) refuses to be
    /// the second one (sbin/dhclient/dhclient.c:425, `main`), so the lease of that one is waited for. Without
    /// a lease in time the step succeeds, and the client goes on in the background, as dhclient(8) does after a
    /// minute (sbin/dhclient/dhclient.c:1373, `state_panic`; sbin/dhclient/clparse.c:78, `read_client_conf`).
    fn get_lease(&self, interface: &InterfaceName, step: &NetworkStep) -> Result<(), ApplyError> {
        let limit = self.within_deadline(self.programs.settings.lease_limit());
        let until = clock::monotonic() + limit;
        let subject = &self.subject;
        loop {
            if self.is_reached_now(step) {
                log::info!(
                    "{subject}: another program has started dhclient on {interface}, its lease is awaited"
                );
                match await_lease(&self.source, interface, until).map_err(ApplyError::Facts)? {
                    Awaited::InForce => return Ok(()),
                    Awaited::Ended => log::info!("{subject}: that dhclient has ended, it is started again"),
                    Awaited::TimeUp => {
                        log::warn!(
                            "{subject}: no DHCP lease on {interface} after {limit:?}, dhclient goes on"
                        );
                        return Ok(());
                    }
                }
            }
            let left = until.saturating_sub(clock::monotonic());
            match self.client_program(interface, true, left).succeed() {
                // Another one was quicker.
                Err(ProgramError::Failed { .. }) if self.is_reached_now(step) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// The client as rc.d/dhclient starts it. `-b` means that it is not waited for.
    fn client_program(&self, interface: &InterfaceName, wait: bool, limit: Duration) -> Program {
        let client = self.client.clone().unwrap_or_default();
        let named = client.program.map(PathBuf::from).filter(|path| path.is_absolute());
        let mut program = Program::new(named.as_ref().unwrap_or(&self.programs.settings.dhclient), limit);
        let is_dhclient = program.path.file_name().is_some_and(|name| name == "dhclient");
        let mut flags = client.flags;
        if is_dhclient {
            flags.retain(|flag| flag != "-b");
            flags.extend((!wait).then(|| "-b".to_owned()));
        }
        program.arguments = flags.into_iter().map(Into::into).chain([interface.as_str().into()]).collect();
        program
    }

    /// A client that ends removes nothing. The kernel drops a route with the address over which it was added,
    /// so a route that an earlier address reaches is set again.
    fn end_lease(&self, interface: &InterfaceName, addresses: &[InterfaceAddress]) -> Result<(), ApplyError> {
        self.stop_clients(interface)?;
        let network = self.snapshot()?;
        let held =
            network.interfaces.iter().filter(|held| &held.name == interface).flat_map(|held| &held.addresses);
        let (kept, leased): (Vec<&InterfaceAddress>, Vec<_>) =
            held.filter(|held| held.address.is_ipv4()).partition(|held| addresses.contains(held));
        let own = network.default_routes.iter().filter(|route| &route.interface == interface);
        let (stay, go): (Vec<_>, Vec<_>) = own
            .filter(|route| route.gateway.is_ipv4())
            .partition(|route| kept.iter().any(|held| held.reaches(route.gateway)));
        for DefaultRoute { gateway, interface } in go.into_iter().cloned() {
            self.run_step(&NetworkStep::RemoveDefaultRoute { gateway, interface })?;
        }
        for address in leased.into_iter().copied() {
            self.run_step(&NetworkStep::RemoveAddress { interface: interface.clone(), address })?;
        }
        let now = self.snapshot()?.default_routes;
        stay.into_iter()
            .filter(|route| !now.contains(route))
            .try_for_each(|route| self.set_route(route.gateway, interface))
    }

    /// Stops the clients. Half of the time left is for those that do not end by SIGTERM.
    fn stop_clients(&self, interface: &InterfaceName) -> Result<(), ApplyError> {
        clients::stop(&self.source, interface, self.patience())
    }

    fn patience(&self) -> Duration {
        self.within_deadline(2 * clients::PATIENCE) / 2
    }
}

impl NetworkPrograms {
    fn path(&self, tool: Tool) -> &std::path::Path {
        match tool {
            Tool::Ifconfig => &self.settings.ifconfig,
            Tool::Route => &self.settings.route,
            Tool::Rtsol => &self.settings.rtsol,
        }
    }
}

/// Whether a snapshot shows the state of the step. Some states are not visible in a snapshot.
fn is_reached(step: &NetworkStep, network: &NetworkSnapshot) -> bool {
    let exists = |name: &InterfaceName| network.interfaces.iter().any(|interface| &interface.name == name);
    let has = |name: &InterfaceName, address: &InterfaceAddress| {
        let mut interfaces = network.interfaces.iter().filter(|interface| &interface.name == name);
        interfaces.any(|interface| interface.addresses.iter().any(|held| held.address == address.address))
    };
    match step {
        NetworkStep::DestroyLagg { lagg } => !exists(lagg),
        NetworkStep::AddAddress { interface, address } => has(interface, address),
        NetworkStep::RemoveAddress { interface, address } => !has(interface, address),
        NetworkStep::StartDhcp { interface, .. } => network.dhcp_clients.contains(interface),
        NetworkStep::SetDefaultRoute { gateway, interface } => {
            network.default_routes.contains(&DefaultRoute { gateway: *gateway, interface: interface.clone() })
        }
        NetworkStep::RemoveDefaultRoute { gateway, interface } => !network
            .default_routes
            .contains(&DefaultRoute { gateway: *gateway, interface: interface.clone() }),
        NetworkStep::AddRoute(route) => network.static_routes.contains(route),
        NetworkStep::RemoveRoute(route) => !network.static_routes.contains(route),
        _ => false,
    }
}

/// Whether route(8) found a route, or none, although a look just before saw otherwise (EEXIST, ESRCH):
/// another program changed it in between, and possibly back.
fn contradicts_facts(message: &str) -> bool {
    message.contains("File exists") || message.contains("not in table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::StaticRoute;
    use crate::tests::Bench;

    fn bench() -> Bench {
        let bench = Bench::new(
            "hn0 link 00:15:5d:01:02:03 up index=2\nhn0 inet 10.0.0.5/24\nhn0 inet 10.9.0.50/16\n\
             hn0 inet6 fd00::5/64\nhn0 inet6 fe80::5%hn0/64\nlagg0 link 00:15:5d:01:02:03 up index=3\n",
        );
        bench.write("facts/routes", "default 10.9.0.1 hn0\n");
        bench
    }

    fn port(bench: &Bench) -> NetworkPort {
        NetworkPort::new(bench.settings(), bench.source(), "hn0")
    }

    /// The program dhclient becomes a client of hn0 that the list of processes shows. Its lease is in force.
    fn client_appears(bench: &Bench, then: &str) {
        bench.write("leases/dhclient.leases.hn0", "lease {\n  fixed-address 10.9.0.50;\n}\n");
        bench.write("facts/sysctl", "1.14.7.77:str=dhclient: hn0\n");
        let list = bench.path("facts/procs");
        bench.program("dhclient", &format!("echo proc 77 dhclient >'{}'\n{then}", list.display()));
    }

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    fn remove(address: &str) -> NetworkStep {
        NetworkStep::RemoveAddress { interface: name("hn0"), address: address.parse().unwrap() }
    }

    fn set_route(gateway: &str) -> NetworkStep {
        NetworkStep::SetDefaultRoute { gateway: gateway.parse().unwrap(), interface: name("hn0") }
    }

    #[test]
    fn a_step_whose_state_is_reached_starts_no_program() {
        let bench = bench();
        let mut port = port(&bench);
        let gone = StaticRoute {
            destination: "10.20.0.0/16".parse().unwrap(),
            gateway: "10.0.0.254".parse().unwrap(),
            interface: name("hn0"),
        };
        for step in [
            remove("10.7.7.7/24"),
            set_route("10.9.0.1"),
            NetworkStep::RemoveRoute(gone),
            NetworkStep::RemoveDefaultRoute { gateway: "10.0.0.1".parse().unwrap(), interface: name("hn0") },
            NetworkStep::StopDhcp { interface: name("hn0") },
        ] {
            port.perform(&step).unwrap();
        }
        assert_eq!(bench.calls(0), [""; 0]);
    }

    #[test]
    fn a_default_route_of_the_family_is_changed_and_another_one_added() {
        let bench = bench();
        let mut port = port(&bench);
        port.perform(&set_route("10.0.0.1")).unwrap();
        port.perform(&set_route("fd00::1")).unwrap();
        let calls = bench.calls(2);
        assert!(calls[0].contains("change") && calls[0].contains("10.0.0.1"), "{calls:?}");
        assert!(calls[1].contains("add -inet6 default fd00::1"), "{calls:?}");
    }

    #[test]
    fn a_route_that_another_process_changes_is_tried_again_a_limited_number_of_times() {
        let bench = bench();
        bench.program("route", "echo 'route: File exists' >&2; exit 1");
        let mut port = port(&bench);
        assert!(matches!(port.perform(&set_route("fd00::1")), Err(ApplyError::Program(_))));
        assert_eq!(bench.calls(0).len(), ROUTE_ATTEMPTS as usize + 1);
        bench.program("route", "echo 'route: no permission' >&2; exit 1");
        assert!(port.perform(&set_route("fd00::1")).is_err());
        assert_eq!(bench.calls(0).len(), 1, "another error is final");
    }

    #[test]
    fn a_program_that_fails_has_succeeded_if_its_state_is_reached() {
        let bench = bench();
        bench.program("ifconfig", "echo 'ifconfig: it failed' >&2; exit 1");
        let mut port = port(&bench);
        let add = |address: &str| NetworkStep::AddAddress {
            interface: name("hn0"),
            address: address.parse().unwrap(),
        };
        port.perform(&add("10.0.0.5/24")).unwrap();
        let error = port.perform(&add("10.7.7.7/24")).unwrap_err();
        assert!(error.to_string().contains("it failed"), "{error}");
        let lines = "printf 'lagg0: flags=8843<UP> metric 0 mtu 1500\\n\\tlaggproto failover\\n\\tlaggport: hn0 flags=1\\n'";
        bench.program("ifconfig", &format!("[ $# -eq 1 ] && {lines} || exit 1"));
        let port_step = |port: &str| NetworkStep::AddPort { lagg: name("lagg0"), port: name(port) };
        port.perform(&port_step("hn0")).unwrap();
        assert!(port.perform(&port_step("mce0")).is_err());
        let gone = |port: &str| NetworkStep::RemovePort { lagg: name("lagg0"), port: name(port) };
        port.perform(&gone("mce0")).unwrap();
        assert!(port.perform(&gone("hn0")).is_err());
    }

    #[test]
    fn the_end_of_a_lease_leaves_the_given_addresses() {
        let bench = bench();
        let step =
            NetworkStep::EndLease { interface: name("hn0"), addresses: vec!["10.0.0.5/24".parse().unwrap()] };
        port(&bench).perform(&step).unwrap();
        let calls = bench.calls(2);
        assert!(calls[0].starts_with("route") && calls[0].contains("delete"), "{calls:?}");
        assert_eq!(calls[1], "ifconfig hn0 inet 10.9.0.50 -alias");
        assert_eq!(calls.len(), 2);
    }

    #[test]
    fn a_route_that_an_earlier_address_reaches_outlives_the_lease() {
        let bench = bench();
        let routes = bench.path("facts/routes");
        let step =
            NetworkStep::EndLease { interface: name("hn0"), addresses: vec!["10.0.0.5/24".parse().unwrap()] };
        for (ifconfig, expected) in [
            ("", &["ifconfig hn0 inet 10.9.0.50 -alias"][..]),
            // The kernel drops the route with the address over which it was added.
            (
                &format!(": >'{}'", routes.display()),
                &["ifconfig hn0 inet 10.9.0.50 -alias", "route -n add -inet default 10.0.0.1"],
            ),
        ] {
            bench.write("facts/routes", "default 10.0.0.1 hn0\n");
            bench.program("ifconfig", ifconfig);
            port(&bench).perform(&step).unwrap();
            assert_eq!(bench.calls(expected.len()), expected);
        }
    }

    #[test]
    fn half_of_the_time_left_is_for_the_signal() {
        let mut port = port(&bench());
        assert_eq!(port.patience(), clients::PATIENCE);
        port.set_deadline(clock::monotonic() + clients::PATIENCE);
        assert!(port.patience() <= clients::PATIENCE / 2);
    }

    #[test]
    fn a_snapshot_shows_what_is_reached() {
        let bench = bench();
        bench.write("facts/routes", "default 10.9.0.1 hn0\n10.20.0.0/16 10.0.0.254 hn0\n");
        bench.write("facts/procs", "proc 77 dhclient\n");
        bench.write("facts/sysctl", "1.14.7.77:str=dhclient: hn0\n");
        let network = port(&bench).snapshot().unwrap();
        let address = |interface: &str, address: &str| (name(interface), address.parse().unwrap());
        let route = |destination: &str| StaticRoute {
            destination: destination.parse().unwrap(),
            gateway: "10.0.0.254".parse().unwrap(),
            interface: name("hn0"),
        };
        let there = [("hn0", "10.0.0.5/24"), ("hn0", "fd00::5/64")].map(|(i, a)| address(i, a));
        let not_there = [("hn0", "10.0.0.6/24"), ("lagg0", "10.0.0.5/24")].map(|(i, a)| address(i, a));
        for (is_there, addresses) in [(true, there), (false, not_there)] {
            for (interface, address) in addresses {
                let add = NetworkStep::AddAddress { interface: interface.clone(), address };
                assert_eq!(is_reached(&add, &network), is_there, "{add}");
                let remove = NetworkStep::RemoveAddress { interface, address };
                assert_eq!(is_reached(&remove, &network), !is_there, "{remove}");
            }
        }
        for (is_there, destination) in [(true, "10.20.0.0/16"), (false, "10.21.0.0/16")] {
            let add = NetworkStep::AddRoute(route(destination));
            assert_eq!(is_reached(&add, &network), is_there, "{add}");
            let remove = NetworkStep::RemoveRoute(route(destination));
            assert_eq!(is_reached(&remove, &network), !is_there, "{remove}");
        }
        for (is_there, interface) in [(true, "hn0"), (false, "lagg0")] {
            let gateway = "10.9.0.1".parse().unwrap();
            let set = NetworkStep::SetDefaultRoute { gateway, interface: name(interface) };
            assert_eq!(is_reached(&set, &network), is_there, "{set}");
            let remove = NetworkStep::RemoveDefaultRoute { gateway, interface: name(interface) };
            assert_eq!(is_reached(&remove, &network), !is_there, "{remove}");
            let start = NetworkStep::StartDhcp { interface: name(interface), wait: false };
            assert_eq!(is_reached(&start, &network), is_there, "{start}");
        }
        for (is_there, lagg) in [(true, "lagg0"), (false, "lagg1")] {
            let destroy = NetworkStep::DestroyLagg { lagg: name(lagg) };
            assert_eq!(is_reached(&destroy, &network), !is_there, "{destroy}");
        }
        assert!(!is_reached(&NetworkStep::BringUp { interface: name("hn0") }, &network));
    }

    #[test]
    fn ipv6_is_disabled_with_its_link_local_address() {
        let bench = bench();
        port(&bench).perform(&NetworkStep::DisableIpv6 { interface: name("hn0"), link_local: None }).unwrap();
        assert_eq!(bench.calls(1), ["ifconfig hn0 inet6 fe80::5%hn0 -alias -accept_rtadv ifdisabled"]);
    }

    #[test]
    fn a_client_must_serve_and_rtsol_is_not_waited_for() {
        let bench = bench();
        let mut port = port(&bench);
        port.perform(&NetworkStep::SolicitRouters { interface: name("hn0") }).unwrap();
        assert_eq!(bench.calls(1), ["rtsol hn0"]);
        let start = |wait| NetworkStep::StartDhcp { interface: name("hn0"), wait };
        port.perform(&start(true)).unwrap();
        assert_eq!(bench.calls(1), ["dhclient hn0"]);
        port.set_deadline(clock::monotonic() + Duration::from_secs(20));
        port.set_dhcp_client(DhcpClient { program: None, flags: vec!["-q".into(), "-b".into()] });
        assert!(matches!(port.perform(&start(false)), Err(ApplyError::NoClient { .. })));
        assert_eq!(bench.calls(1), ["dhclient -q -b hn0"]);
    }

    #[test]
    fn an_advertised_default_route_is_made_permanent() {
        let bench = bench();
        bench.write("facts/routes", "default fe80::1%hn0 hn0\n");
        port(&bench).perform(&set_route("fe80::1")).unwrap();
        assert_eq!(bench.calls(1), ["route -n change -inet6 default fe80::1%hn0"]);
        bench.write("facts/routes", "default fd00::1 hn0\n");
        port(&bench).perform(&set_route("fd00::1")).unwrap();
        assert_eq!(bench.calls(0), [""; 0]);
    }

    #[test]
    fn after_the_deadline_only_rtsol_is_started() {
        let bench = bench();
        // It never ends by itself.
        bench.program("ifconfig", "kill -STOP $$");
        let mut port = port(&bench);
        port.set_deadline(Duration::ZERO);
        match port.perform(&NetworkStep::BringUp { interface: name("hn0") }) {
            Err(ApplyError::Program(ProgramError::TimedOut { limit, .. })) => assert!(limit.is_zero()),
            other => panic!("{other:?}"),
        }
        port.perform(&NetworkStep::SolicitRouters { interface: name("hn0") }).unwrap();
    }

    #[test]
    fn a_default_route_that_a_client_has_set_meanwhile_is_removed() {
        let bench = bench();
        bench.write("facts/routes", "");
        let list = bench.path("facts/routes");
        bench.program(
            "route",
            &format!(
                "case \"$*\" in *add*) echo default 10.9.0.1 lagg0; esac >'{0}'; echo default 10.0.0.1 hn0 >>'{0}'",
                list.display()
            ),
        );
        let step =
            NetworkStep::SetDefaultRoute { gateway: "10.0.0.1".parse().unwrap(), interface: name("hn0") };
        port(&bench).perform(&step).unwrap();
        let calls = bench.calls(2);
        assert!(calls[0].contains(" add ") && calls[0].contains("10.0.0.1"), "{calls:?}");
        assert!(calls[1].contains(" delete ") && calls[1].contains("10.9.0.1"), "{calls:?}");
    }

    #[test]
    fn a_lagg_is_there_only_with_all_of_its_ports() {
        let bench = bench();
        bench.program(
            "ifconfig",
            "printf 'lagg0: flags=8843<UP> metric 0 mtu 1500\\n\\tlaggport: hn0 flags=1\\n'; [ $# -eq 1 ]",
        );
        for (ports, is_there) in [(vec!["hn0"], true), (vec!["hn0", "mce0"], false), (vec![], false)] {
            let step = NetworkStep::CreateLagg {
                lagg: name("lagg0"),
                ports: ports.iter().map(|port| name(port)).collect(),
                description: String::new(),
                ipv6: super::super::Ipv6Options::default(),
            };
            assert_eq!(port(&bench).perform(&step).is_ok(), is_there, "{ports:?}");
        }
    }

    #[test]
    fn a_client_that_fails_has_succeeded_if_it_serves() {
        let bench = bench();
        let start = NetworkStep::StartDhcp { interface: name("hn0"), wait: true };
        bench.program("dhclient", "exit 1");
        assert!(port(&bench).perform(&start).is_err());
        client_appears(&bench, "exit 1");
        port(&bench).perform(&start).unwrap();
    }

    #[test]
    fn a_lease_of_a_client_that_another_program_has_started_is_awaited() {
        let bench = bench();
        bench.write("facts/procs", "proc 77 dhclient\n");
        bench.write("facts/sysctl", "1.14.7.77:str=dhclient: hn0\n");
        bench.write("leases/other", "");
        let lease = bench.path("leases/dhclient.leases.hn0");
        // The starts of some shells take longer than a look, so that the lease is not there at the first.
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", r#"for n in 1 2 3 4 5 6 7 8; do /bin/sh -c :; done; printf 'lease {\n  fixed-address 10.9.0.50;\n}\n' >"$0""#])
            .arg(&lease)
            .spawn()
            .unwrap();
        port(&bench).perform(&NetworkStep::StartDhcp { interface: name("hn0"), wait: true }).unwrap();
        assert!(lease.exists());
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn a_client_without_waiting_is_there_once_it_serves() {
        let bench = bench();
        client_appears(&bench, "");
        let mut port = port(&bench);
        port.client_appears = Duration::from_secs(600);
        port.perform(&NetworkStep::StartDhcp { interface: name("hn0"), wait: false }).unwrap();
    }

    #[test]
    fn only_dhclient_is_told_whether_to_wait() {
        let bench = bench();
        let mut port = port(&bench);
        let absolute = |program: &str| Some(bench.path(program).to_str().unwrap().to_owned());
        for (program, wait, expected) in [
            (None, true, "dhclient -q hn0"),
            (Some("dhclient".to_owned()), false, "dhclient -q -b hn0"),
            (absolute("dhcpcd"), true, "dhcpcd -q -b hn0"),
            (absolute("dhcpcd"), false, "dhcpcd -q -b hn0"),
        ] {
            port.set_dhcp_client(DhcpClient { program, flags: vec!["-q".into(), "-b".into()] });
            let program = port.client_program(&name("hn0"), wait, Duration::ZERO);
            let mut words = vec![program.path.file_name().unwrap().to_str().unwrap()];
            words.extend(program.arguments.iter().map(|word| word.to_str().unwrap()));
            assert_eq!((words.join(" "), program.path.is_absolute()), (expected.to_owned(), true));
        }
    }
}
