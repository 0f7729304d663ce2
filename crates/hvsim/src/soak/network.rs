//! The part of a soak that injects addresses while a VF appears and disappears. It checks the addresses after
//! each step.

use std::time::{Duration, Instant};

use super::{Counts, NetworkSetup, Shared, count};
use crate::client::Client;
use crate::kvp::IpInfo;
use crate::network::guest::{mac_of, static_rc_conf};
use crate::network::{Guest, State};

const EVERY: Duration = Duration::from_secs(4);
const VF: &str = "mce0";

pub(super) fn setup() -> NetworkSetup {
    let mut state = State::default();
    state.add_static_hn(0);
    NetworkSetup { state, rc_conf: static_rc_conf(0) }
}

pub(super) fn run(guest: &Guest, mut host: Client, shared: &Shared, counts: &Counts) {
    for round in 0.. {
        if shared.is_over() {
            return;
        }
        if let Err(text) = one_round(round, guest, &mut host, counts) {
            shared.complain(format!("network, round {round}: {text}"));
        }
        shared.pause(EVERY);
    }
}

/// Injects addresses, then adds or removes the VF. Each time the addresses must be on the right interface.
fn one_round(round: u32, guest: &Guest, host: &mut Client, counts: &Counts) -> Result<(), String> {
    let address = format!("10.9.{}.5", round % 200);
    let gateway = format!("10.9.{}.1", round % 200);
    let info = IpInfo::with_addresses("hn0", &[&format!("{address}/24"), "fd00:9::5/64"]);
    let info = IpInfo { gateways: gateway, ..info.map_err(|error| format!("{error:?}"))? };
    let begin = Instant::now();
    let answer = host.set_ip_info(info).map_err(|error| error.to_string())?;
    if !answer.is_ok() {
        return Err(format!("injection refused with {:#010x} after {:?}", answer.code, begin.elapsed()));
    }
    count(&counts.injections);
    holds(host, &address)?;
    let there = guest.root().read().is_ok_and(|state| state.vfs.contains_key(VF));
    let moved = if there { guest.take_vf(VF) } else { guest.give_vf(VF, "hn0") };
    moved.and_then(|()| guest.settle(VF)).map_err(|error| error.to_string())?;
    count(&counts.vf_events);
    holds(host, &address)
}

fn holds(host: &mut Client, address: &str) -> Result<(), String> {
    let answer = host.ip_info(&mac_of(0).to_string().to_uppercase()).map_err(|error| error.to_string())?;
    let addresses = answer.ip.as_ref().map(|ip| ip.addresses.clone()).unwrap_or_default();
    match addresses.split(';').any(|held| held == address) {
        true => Ok(()),
        false => Err(format!("{address} is not reported, but {addresses:?} with {:#010x}", answer.code)),
    }
}
