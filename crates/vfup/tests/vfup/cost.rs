//! How many processes a hand-over starts.

use hvsim::network::cost::measure;

#[test]
fn no_kind_of_hand_over_starts_more_processes_than_it_may() {
    let costs = match measure() {
        Ok(costs) => costs,
        Err(reason) => {
            let required = std::env::var_os("HVSIM_REQUIRED").is_some_and(|value| value == "1");
            assert!(!required, "HVSIM_REQUIRED=1, but {reason}");
            return eprintln!("skipped: {reason}");
        }
    };
    println!("{costs}");
    let limits: Vec<u32> = costs.0.iter().map(|cost| cost.most).collect();
    assert_eq!(limits, [62, 53, 54, 52]);
    for cost in &costs.0 {
        // One process at least, or nothing was counted.
        assert!((2..=cost.most).contains(&cost.processes), "{costs}");
    }
}
