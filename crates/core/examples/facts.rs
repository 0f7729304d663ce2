//! Prints the facts that the suite reads from this machine, or from the simulated one below the given root
//! directory.
//!
//! With the same files, the native program and the FreeBSD program in that root print the same facts.

use std::error::Error;
use std::path::PathBuf;

use hv_core::sys::network::NetworkSource;
use hv_core::sys::system_facts::FactsSource;

fn source(root: Option<PathBuf>) -> NetworkSource {
    let Some(root) = root else { return NetworkSource::default() };
    NetworkSource {
        facts: FactsSource::Directory(root.join("etc/fbsd-abi")),
        resolv_conf: root.join("etc/resolv.conf"),
        dhclient_directories: vec![root.join("var/run/dhclient"), root.join("var/run")],
        lease_directory: root.join("var/db"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let source = source(std::env::args_os().nth(1).map(PathBuf::from));
    println!("{:?}", source.facts.system_facts()?);
    println!("host name {:?}", source.facts.host_name()?);
    let snapshot = source.snapshot()?;
    for interface in &snapshot.interfaces {
        let mac = interface.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
        print!("{} index={} up={} {mac}", interface.name, interface.index, interface.up);
        interface.addresses.iter().for_each(|address| print!(" {address}"));
        println!();
    }
    for route in &snapshot.default_routes {
        println!("default {} {}", route.gateway, route.interface);
    }
    println!("name servers {:?}", snapshot.name_servers);
    println!("dhclient {:?}", snapshot.dhcp_clients);
    Ok(())
}
