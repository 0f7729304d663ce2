//! sysctl(8): prints sysctls of the simulated guest. It sets none.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | `-n` prints values without names | `sbin/sysctl/sysctl.c:1149 (show_var)` | `sysctls_of_hn_are_printed` |
//! | an unknown name is an error with status 1 | `sbin/sysctl/sysctl.c:414 (parse)` | `sysctls_of_hn_are_printed` |
//! | `-i` ignores it, and `-q` only omits the message | `sbin/sysctl/sysctl.c:408 (parse)`, `sbin/sysctl/sysctl.c:412 (parse)` | `sysctls_of_hn_are_printed` |

use std::io;

use super::Outcome;
use crate::network::root::Root;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let (mut bare, mut ignores, mut quiet) = (false, false, false);
    let mut outcome = Outcome::default();
    let state = root.read()?;
    let all = state.all_sysctls();
    for word in arguments {
        match word.strip_prefix('-') {
            Some(letters) => {
                bare |= letters.contains('n');
                ignores |= letters.contains('i');
                quiet |= letters.contains('q');
            }
            None => match all.iter().find(|(name, _)| name == word) {
                Some((_, value)) if bare => outcome.out += &format!("{value}\n"),
                Some((name, value)) => outcome.out += &format!("{name}: {value}\n"),
                None if ignores => {}
                None => {
                    if !quiet {
                        outcome.err += &format!("sysctl: unknown oid '{word}'\n");
                    }
                    outcome.status = 1;
                }
            },
        }
    }
    Ok(outcome)
}
