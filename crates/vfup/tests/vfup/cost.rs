//! The number of programs that a hand-over starts, and of forks beside them. They must not exceed the limits
//! in
//! `network::cost`.

use hvsim::network::cost::measure;

#[test]
fn no_hand_over_starts_more_programs_or_processes_than_allowed() {
    let costs = match measure() {
        Ok(costs) => costs,
        Err(reason) => {
            let required = std::env::var_os("HVSIM_REQUIRED").is_some_and(|value| value == "1");
            assert!(!required, "HVSIM_REQUIRED=1, but {reason}");
            return eprintln!("skipped: {reason}");
        }
    };
    println!("{costs}");
    let limits: Vec<(u32, u32)> = costs.0.iter().map(|cost| (cost.most.programs, cost.most.forks)).collect();
    assert_eq!(limits, [(14, 16), (5, 16), (9, 16), (5, 16)]);
    assert!(costs.are_within(), "{costs}");
    // At least hyperv_vfup, a shell, ifconfig and a subshell, otherwise nothing was counted.
    assert!(costs.0.iter().all(|cost| cost.programs >= 3 && cost.forks >= 1), "{costs}");
}
