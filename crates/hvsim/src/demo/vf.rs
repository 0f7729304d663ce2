//! The chapter of the demo about live migration of a guest whose network uses a VF. Rules and programs are
//! the real ones; the network is simulated.

use std::path::Path;

use super::{Result, Stage};
use crate::network::guest::{SHIPPED_RULES, static_rc_conf};
use crate::network::{Guest, State};
use crate::testing::program;

/// The addresses of hn0, which must exist at any time, on hn0 or on the lagg.
const ADDRESSES: [&str; 3] = ["inet 10.0.0.5 ", "inet 10.1.0.5 ", "inet6 fd00::5 "];

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.chapter("Live migration with a VF (SR-IOV, not transparent)");
    let scratch = tempfile::Builder::new().prefix("hvsim-").tempdir()?;
    let guest = make_guest(scratch.path())?;
    stage.show("the network is simulated; devd's rules, hyperv_vfattach and hyperv_vfup are the real ones");

    stage.step("hn0 has two IPv4 addresses, one IPv6 address and both default routes");
    look(stage, &guest, "hn0", &[])?;

    stage.step("The host gives a VF: hyperv_vfattach waits and brings it up, hyperv_vfup joins both");
    guest.give_vf("mce0", "hn0")?;
    guest.settle("mce0")?;
    look(stage, &guest, "lagg0", &["hn0", "mce0"])?;
    let routes = guest.root().read()?.routes;
    stage.check(
        routes.iter().filter(|route| route.interface == "lagg0").count() == 2,
        "both default routes lead through lagg0",
    );

    stage.step("The migration begins: the host takes the VF away, and hn0 carries on");
    guest.take_vf("mce0")?;
    guest.run_devd()?;
    look(stage, &guest, "lagg0", &["hn0"])?;

    stage.step("The new host gives a VF with another name: it takes the place of the old one");
    guest.give_vf("mlx0", "hn0")?;
    guest.settle("mlx0")?;
    look(stage, &guest, "lagg0", &["hn0", "mlx0"])
}

fn make_guest(directory: &Path) -> Result<Guest> {
    let mut state = State::default();
    state.add_static_hn(0);
    let tools = program("hvsim-tools");
    let programs = tools.parent().unwrap_or(Path::new("/"));
    let guest = Guest::create(directory, &tools, SHIPPED_RULES, programs, &state)?;
    guest.set_rc_conf(&static_rc_conf(0))?;
    Ok(guest)
}

/// Prints the interface, and whether it has all addresses and exactly these ports.
fn look(stage: &mut Stage, guest: &Guest, name: &str, ports: &[&str]) -> Result<()> {
    let text = stage.ifconfig(guest, name)?;
    stage.check(
        ADDRESSES.iter().all(|address| text.contains(address)),
        format_args!("{name} has all three addresses"),
    );
    if !ports.is_empty() {
        let listed =
            text.lines().filter_map(|line| line.trim().strip_prefix("laggport: ")?.split(' ').next());
        stage.check(listed.eq(ports.iter().copied()), format_args!("its ports: {}", ports.join(" ")));
    }
    Ok(())
}
