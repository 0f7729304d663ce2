//! The chapter of the demo about failover: the host gives the guest addresses of another site, and the guest
//! keeps them over a reboot.

use std::fs;

use super::{DemoError, Result, Stage};
use crate::kvp::{IpInfo, layout};
use crate::network::State;
use crate::network::guest::{mac_of, static_rc_conf};
use crate::session::kvp::{NetworkSetup, Session, Setup};
use crate::testing::command;

/// The addresses at the other site.
const ADDRESSES: [&str; 3] = ["10.1.1.5/24", "10.1.1.6/24", "fd01::5/64"];

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.chapter("Failover to another site: the host sets addresses (SET_IP_INFO)");
    let mut state = State::default();
    state.add_static_hn(0);
    state.name_servers.insert("em0".to_owned(), "nameserver 192.0.2.1\n".to_owned());
    let rc_conf = format!("hostname=\"guest\"\n{}sshd_enable=\"YES\"\n", static_rc_conf(0));
    let network = Some(NetworkSetup { state, rc_conf: rc_conf.clone() });
    let mut session = Session::start(&Setup { network, ..Setup::default() });
    stage.show("the network is simulated; hv_kvp_daemon is the real one");

    stage.step("The guest at the first site");
    stage.ifconfig(session.guest(), "hn0")?;
    inject(stage, &mut session)?;
    stage.step("What has changed in rc.conf; all other lines are as they were");
    show_difference(stage, &rc_conf, &read_rc_conf(&session)?);
    report(stage, &mut session)?;
    refuse(stage, &mut session)?;

    stage.step("The guest starts anew, from rc.conf alone");
    session.guest().reboot()?;
    let text = session.guest().ifconfig("hn0")?;
    stage.check(has_addresses(&text), "the same addresses come up");
    restore(stage, &session, &rc_conf)
}

fn inject(stage: &mut Stage, session: &mut Session) -> Result<()> {
    let words: Vec<String> = ADDRESSES.iter().map(|address| format!("--address {address}")).collect();
    stage.step("hvsim host kvp set-ip hn0 with two gateways and a name server");
    stage.show(format_args!("{} --gateway 10.1.1.1 --gateway fe80::1 --dns 10.1.1.2", words.join(" ")));
    let info = IpInfo::with_addresses("hn0", &ADDRESSES).map_err(DemoError::Step)?;
    let info = IpInfo { gateways: "10.1.1.1;fe80::1".into(), name_servers: "10.1.1.2".into(), ..info };
    let answer = session.host().set_ip_info(info)?;
    let name = layout::status_name(answer.code).unwrap_or("unknown");
    stage.check(answer.is_ok(), format_args!("the guest answers {name}"));
    let text = stage.ifconfig(session.guest(), "hn0")?;
    stage.check(has_addresses(&text) && !text.contains("10.0.0.5"), "exactly the given addresses");
    let resolv_conf = fs::read_to_string(session.guest().root().path("etc/resolv.conf"))?;
    stage.check(
        resolv_conf.contains("192.0.2.1") && resolv_conf.contains("10.1.1.2"),
        "the name server is added, that of another interface stays",
    );
    Ok(())
}

fn report(stage: &mut Stage, session: &mut Session) -> Result<()> {
    let mac = mac_of(0).to_string().to_uppercase();
    stage.step(format_args!("The host asks for the network of the adapter {mac}"));
    let Some(ip) = session.host().ip_info(&mac)?.ip else {
        return Err(DemoError::Step("no answer about the network".to_owned()));
    };
    stage.ip_info(&ip);
    stage.check(ip.addresses.starts_with("10.1.1.5;10.1.1.6;fd01::5"), "it finds what it set");
    stage.check(ip.gateways == "10.1.1.1;fe80::1", "both gateways");
    Ok(())
}

fn refuse(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("Addresses that are a command: 10.1.1.9;$(reboot)");
    let before = read_rc_conf(session)?;
    let info = IpInfo {
        adapter: "hn0".into(),
        family: 1,
        addresses: "10.1.1.9;$(reboot)".into(),
        masks: "255.255.255.0;255.255.255.0".into(),
        ..IpInfo::default()
    };
    let answer = session.host().set_ip_info(info)?;
    stage.check(answer.code == 0x8007_0057, "refused with INVALIDARG");
    let untouched = read_rc_conf(session)? == before && has_addresses(&session.guest().ifconfig("hn0")?);
    stage.check(untouched, "nothing is touched");
    Ok(())
}

fn restore(stage: &mut Stage, session: &Session, rc_conf: &str) -> Result<()> {
    stage.step("The administrator takes it back: hv_kvp_daemon -R hn0");
    let mut command = command("hv_kvp_daemon", &session.path(""));
    let output = command.arg("-f").arg(session.path("hyperv.toml")).args(["-R", "hn0"]).output()?;
    stage.check(
        output.status.success() && read_rc_conf(session)? == rc_conf,
        "rc.conf is as it was, byte for byte",
    );
    Ok(())
}

fn has_addresses(text: &str) -> bool {
    ["inet 10.1.1.5 ", "inet 10.1.1.6 ", "inet6 fd01::5 "].iter().all(|address| text.contains(address))
}

fn read_rc_conf(session: &Session) -> Result<String> {
    Ok(fs::read_to_string(session.guest().root().path("etc/rc.conf"))?)
}

/// Prints the lines that are only in one of the files, as diff(1) marks them.
fn show_difference(stage: &mut Stage, old: &str, new: &str) {
    let without = |text: &str, line: &str| !text.lines().any(|other| other == line);
    old.lines().filter(|line| without(new, line)).for_each(|line| stage.show(format_args!("-{line}")));
    new.lines().filter(|line| without(old, line)).for_each(|line| stage.show(format_args!("+{line}")));
}
