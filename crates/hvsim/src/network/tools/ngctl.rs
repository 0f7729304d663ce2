//! ngctl(8): `show` of the ng_ether(4) node of an interface. Nothing else of it is played.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | `show` prints the number of hooks of a node, and fails where there is none | `usr.sbin/ngctl/show.c:110 (ShowCmd)`, `usr.sbin/ngctl/show.c:97 (ShowCmd)` | `interfaces_stacked_on_hn_prevent_joining` |

use std::io;

use super::Outcome;
use crate::network::root::Root;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (["show", "-n", node] | ["show", node]) = words.as_slice() else {
        return Ok(Outcome::failed("usage: ngctl [-d] [-f file] [-n name] [command ...]"));
    };
    let state = root.read()?;
    let found = node.strip_suffix(':').and_then(|name| state.interfaces.get(name).map(|held| (name, held)));
    Ok(match found {
        Some((name, held)) => Outcome::ok(format!(
            "  Name: {name:<15} Type: {:<15} ID: 00000001   Num hooks: {}\n",
            "ether", held.hooks
        )),
        None => Outcome::failed("ngctl: send msg: No such file or directory"),
    })
}
