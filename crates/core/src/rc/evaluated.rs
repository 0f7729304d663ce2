//! For tests: variables of rc.conf(5), evaluated by a shell with the simulator's rc.subr and network.subr. No
//! file of the machine is read.

use std::fs;
use std::path::Path;

use super::{RcConf, load_rc_conf};
use crate::net::InterfaceName;
use crate::runtime::config::Network;
use crate::vf::load::LoadError;

/// The outcome of an rc.conf with this text.
pub(crate) fn text(text: &str, interfaces: &[&str]) -> Result<RcConf, LoadError> {
    let root = tempfile::tempdir().unwrap();
    install(root.path(), text);
    let settings = Network {
        rc_subr: root.path().join("etc/rc.subr"),
        network_subr: root.path().join("etc/network.subr"),
        ..Network::default()
    };
    let names: Vec<InterfaceName> = interfaces.iter().map(|name| name.parse().unwrap()).collect();
    load_rc_conf(&settings, &names.iter().collect::<Vec<_>>())
}

/// Writes rc.subr, network.subr and an rc.conf with this text below `root`.
pub(crate) fn install(root: &Path, text: &str) {
    let place = root.display().to_string();
    let write = |name: &str, text: &str| fs::write(root.join(name), text.replace("@ROOT@", &place)).unwrap();
    fs::create_dir_all(root.join("etc/defaults")).unwrap();
    write("etc/rc.subr", include_str!("../../../hvsim/src/network/rc/rc.subr"));
    write("etc/network.subr", include_str!("../../../hvsim/src/network/rc/network.subr"));
    write("etc/defaults/rc.conf", include_str!("../../../hvsim/src/network/rc/defaults.conf"));
    write("etc/rc.conf", text);
}

/// The outcome of these values, for the interfaces in the names of the variables.
pub(crate) fn values(values: &[(&str, &str)]) -> RcConf {
    let lines: String = values.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    text(&lines, &["hn0", "lagg0", "hn1", "lagg1", "hn10"]).unwrap()
}
