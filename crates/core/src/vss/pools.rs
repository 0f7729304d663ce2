//! Reads the output of `zpool list -HPv` and decides which pools cannot take writes. It is given lines of
//! text and runs no program. Lines that it does not understand refuse nothing.

/// The pools of a system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pools {
    /// Names with their states, such as `ONLINE`.
    states: Vec<(String, String)>,
    /// Names of pools with the path of each of their devices and files.
    pub vdevs: Vec<(String, String)>,
}

/// The states of a pool by zpoolconcepts(7).
const STATES: [&str; 7] = ["ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "REMOVED", "UNAVAIL", "SUSPENDED"];

/// The states in which a pool takes writes.
const WORKING: [&str; 2] = ["ONLINE", "DEGRADED"];

impl Pools {
    /// Parses the output of `zpool list -HPv`: a line for each pool, followed by a line for each of its
    /// vdevs, which begins with a tab (`print_list_stats()` of zpool_main.c).
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pools = Self::default();
        for line in lines {
            let mut columns = line.split('\t');
            let name = columns.next().unwrap_or_default();
            if !name.is_empty() {
                let state = columns.find(|column| STATES.contains(column)).unwrap_or("?");
                pools.states.push((name.to_owned(), state.to_owned()));
            } else if let (Some((pool, _)), Some(vdev)) = (pools.states.last(), columns.next())
                && vdev.starts_with('/')
            {
                pools.vdevs.push((pool.clone(), vdev.to_owned()));
            }
        }
        pools
    }

    /// Why pools of `wanted` cannot be brought to disk: one sentence for each that cannot.
    #[must_use]
    pub fn refusals(&self, wanted: &[String]) -> Vec<String> {
        let broken = |state: &str| STATES.contains(&state) && !WORKING.contains(&state);
        let of = |pool: &String| self.states.iter().find(|(name, state)| name == pool && broken(state));
        let text = |(name, state): &(String, String)| format!("pool {name} is {state} and takes no writes");
        wanted.iter().filter_map(of).map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_devices_of_pools_are_parsed() {
        let text = "tank\t9.5G\t1G\t8.5G\t-\t-\t0%\t1%\t1.00x\tONLINE\t-\n\tmirror-0\t9.5G\t1G\t8.5G\t-\t-\t0%\t1%\t-\tONLINE\n\
                    \t/dev/da1p1\t-\t-\t-\t-\t-\t-\t-\t-\tONLINE\n\t/vols/a b\t-\t-\t-\t-\t-\t-\t-\t-\tFAULTED\n\
                    dead\t-\t-\t-\t-\t-\t-\t-\t-\tSUSPENDED\t-\nlogs\t-\t-\t-\t-\t-\t-\t-\t-\tUNAVAIL\t-\n";
        let pools = Pools::parse(text.lines());
        let vdevs: Vec<(&str, &str)> = pools.vdevs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(vdevs, [("tank", "/dev/da1p1"), ("tank", "/vols/a b")]);
        let wanted = ["tank", "dead", "other"].map(str::to_owned);
        assert_eq!(pools.refusals(&wanted), ["pool dead is SUSPENDED and takes no writes"]);
    }

    #[test]
    fn unknown_output_refuses_nothing() {
        assert_eq!(Pools::parse(["", "\t", "x", "\tx"]).refusals(&["x".to_owned()]), [""; 0]);
    }
}
