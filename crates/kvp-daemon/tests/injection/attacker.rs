//! Injections while an attacker exchanges the lock file and the undo files. Whether they succeed
//! meanwhile is left open.

use hvsim::attacker::Victim;
use hvsim::network::guest::static_rc_conf;

use crate::support::*;

#[test]
fn an_attacker_gets_nothing_from_an_injection() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    let victim = Victim::beside(&scene.path(""));
    let first = info("hn0", &["10.1.1.5/24"], "10.1.1.1", "10.1.1.2");
    let second = info("hn0", &["10.2.1.5/24"], "10.2.1.1", "10.2.1.2");
    scene.succeed(first.clone());
    let names = [
        "guest/var/run/hyperv.hn0.lock",
        "var/hyperv/injection/hn0.toml",
        "var/hyperv/injection/.hn0.toml.hv_kvp_daemon",
        "var/hyperv/injection/hn0.before",
    ]
    .map(|name| scene.path(name));
    victim.attacked(&names, || {
        for request in [&second, &first].into_iter().cycle().take(12) {
            // Done or refused.
            scene.set(request.clone());
            restore(&scene, "hn0");
        }
    });
    // The daemon may have renamed a planted directory when it took the place of its new file.
    for name in names {
        let _ = std::fs::remove_file(&name).or_else(|_| std::fs::remove_dir(&name));
    }
    scene.succeed(second);
    assert!(scene.seen(0).starts_with("10.2.1.5 "), "{}", scene.seen(0));
}

#[test]
fn a_link_in_place_of_an_undo_file_is_refused() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    let before = scene.rc_conf();
    let victim = Victim::beside(&scene.path(""));
    std::fs::create_dir_all(scene.path("var/hyperv/injection")).unwrap();
    for name in ["hn0.toml", "hn0.before"] {
        let path = scene.path("var/hyperv/injection").join(name);
        std::os::unix::fs::symlink(victim.path(), &path).unwrap();
        let answer = scene.set(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
        assert!(!answer.is_ok(), "{name}");
        assert_eq!(scene.rc_conf(), before);
        victim.check();
        std::fs::remove_file(path).unwrap();
    }
    scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
    victim.check();
}
