//! sysctl(8): prints sysctls of the simulated guest. It sets none.

use std::io;

use super::Outcome;
use crate::network::root::Root;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let (mut bare, mut lenient, mut outcome) = (false, false, Outcome::default());
    let state = root.read()?;
    let all = state.all_sysctls();
    for word in arguments {
        match word.strip_prefix('-') {
            Some(letters) => {
                bare |= letters.contains('n');
                lenient |= letters.contains(['i', 'q']);
            }
            None => match all.iter().find(|(name, _)| name == word) {
                Some((_, value)) if bare => outcome.out += &format!("{value}\n"),
                Some((name, value)) => outcome.out += &format!("{name}: {value}\n"),
                None if lenient => {}
                None => {
                    outcome.err += &format!("sysctl: unknown oid '{word}'\n");
                    outcome.status = 1;
                }
            },
        }
    }
    Ok(outcome)
}
