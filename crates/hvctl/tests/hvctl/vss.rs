//! `hvctl vss`.

use std::fs;

use hvsim::testing::command;

use crate::support::{HYPER_V, settings, without_daemons};

#[test]
fn check_says_what_the_daemon_says() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for (mounts, code) in
        [("ufs / /dev/da0 local 1 7\n", 0), ("ufs / /dev/da0 local 1 7\next2fs /l /dev/da1 local 2 7\n", 1)]
    {
        fs::write(place.dir.join("facts/mounts"), mounts).unwrap();
        let said = place.hvctl(&["vss", "check"]);
        let mut daemon = command("hv_vss_daemon", &place.dir);
        let daemon = daemon.arg("-c").arg("-f").arg(&place.config).output().unwrap();
        assert_eq!((said.code, daemon.status.code()), (code, Some(code)));
        assert_eq!(said.out.as_bytes(), daemon.stdout);
    }
}

#[test]
fn history_shows_the_last_backups_newest_first() {
    let (_scratch, place) = without_daemons(HYPER_V);
    assert!(place.hvctl(&["vss", "history"]).good().starts_with("no backup was asked for"));
    let line = |at: u32, rest: &str| format!("{{\"at\":{at},{rest}}}\n");
    let good = r#""verdict":"good","reason":null,"answered-in":812000,"frozen-for":1234567,"mounts":[{"mount":"/","took":9000}],
        "hooks":[{"name":"10-db","phase":"freeze","took":42000,"failed":null}],"steps":[{"what":"sync","took":700000,"failed":null}]"#;
    let failed = r#""verdict":"failed","reason":"it took too long","answered-in":10000000,"frozen-for":null,"mounts":[],"hooks":[],"steps":[]"#;
    let text =
        format!("{}not json\n{}", line(1_700_000_000, &good.replace('\n', "")), line(1_700_100_000, failed));
    fs::write(place.dir.join("backups"), text).unwrap();
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("vss-history", place.hvctl(&["vss", "history"]).good());
        insta::assert_snapshot!("vss-history-json", place.hvctl(&["vss", "history", "--json"]).good());
    });
}
