//! Hand-overs while an attacker exchanges the lock file. Whether they succeed meanwhile is left open.

use hvsim::attacker::Victim;

use crate::guests::{left_to_hn, picture, static_guest};

#[test]
fn an_attacker_gets_nothing_from_a_hand_over() {
    let scratch = static_guest();
    let before = picture(&scratch);
    let victim = Victim::beside(&scratch.path(""));
    victim.attacked(&[scratch.path("var/run/hyperv.hn0.lock")], || {
        for arguments in [&["hn0"][..], &["-d", "hn0"]].into_iter().cycle().take(12) {
            let output = scratch.run(arguments);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        }
    });
    let _ = std::fs::remove_file(scratch.path("var/run/hyperv.hn0.lock"));
    scratch.succeed(&["hn0"]);
    scratch.succeed(&["-d", "hn0"]);
    assert_eq!(left_to_hn(picture(&scratch)), left_to_hn(before));
}
