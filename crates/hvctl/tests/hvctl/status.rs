//! `hvctl status` and `hvctl metrics`. Their output is compared with snapshots and read by a parser.

use std::fs;

use hvsim::both::Both;
use hvsim::session::kvp::Session;
use hvsim::session::vss;

use crate::support::{HYPER_V, Place, settings, without_daemons};

/// A guest with both daemons, and the program's view of it.
pub(crate) struct Guest {
    pub(crate) kvp: Session,
    pub(crate) vss: vss::Session,
    pub(crate) place: Place,
}

pub(crate) fn both() -> Option<Guest> {
    if hvsim::testing::freebsd_root().is_some() {
        return None;
    }
    let both = Both::start(Vec::new())?;
    let place = Place { dir: both.kvp.path(""), config: both.config() };
    Some(Guest { kvp: both.kvp, vss: both.vss, place })
}

#[test]
fn the_page_of_a_guest_at_work() {
    let Some(mut both) = both() else { return };
    assert!(both.kvp.host().set(0, "Owner", "somebody").unwrap().is_ok());
    both.kvp.host().ip_info("00:00:00:00:00:09").unwrap();
    assert!(both.vss.host().vss_backup(std::time::Duration::ZERO).unwrap().is_ok());
    hvsim::testing::eventually("the history", || both.vss.path("backups").exists());
    settings(&both.place.dir).bind(|| {
        insta::assert_snapshot!("status", both.place.hvctl(&["status"]).good());
        insta::assert_snapshot!("status-json", both.place.hvctl(&["status", "--json"]).good());
        insta::assert_snapshot!("metrics", both.place.hvctl(&["metrics"]).good());
    });
}

#[test]
fn a_freeze_is_seen_while_it_lasts() {
    let Some(mut both) = both() else { return };
    both.vss.host().vss_ask(hvsim::vss::Operation::Freeze).unwrap();
    let status = both.place.hvctl(&["status"]).good();
    assert!(
        status.lines().any(|line| line.starts_with("frozen now") && line.contains("/var/db/data")),
        "{status}"
    );
    both.vss.host().vss_ask(hvsim::vss::Operation::Thaw).unwrap();
    assert!(!both.place.hvctl(&["status"]).good().contains("frozen now"));
}

#[test]
fn a_machine_without_hyper_v_is_no_failure() {
    let (_scratch, place) = without_daemons("kern.vm_guest=none\n");
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("status-elsewhere", place.hvctl(&["status"]).good());
    });
}

#[test]
fn a_missing_daemon_with_a_device_exits_with_69() {
    let (_scratch, place) = without_daemons(HYPER_V);
    fs::write(place.dir.join("hv_kvp_dev"), "").unwrap();
    let said = place.hvctl(&["status"]);
    assert_eq!(said.code, 69);
    assert!(said.out.contains("not running, though its device is there"), "{}", said.out);
}

#[test]
fn metrics_are_read_by_a_foreign_parser() {
    let Some(mut both) = both() else { return };
    assert!(both.kvp.host().set(0, "Owner", "somebody").unwrap().is_ok());
    let output = both.kvp.path("hyperv.prom");
    both.place.hvctl(&["metrics", "--output", output.to_str().unwrap()]).good();
    let text = fs::read_to_string(&output).unwrap();
    assert_eq!(
        fs::read_dir(both.kvp.path(""))
            .unwrap()
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "tmp"))
            .count(),
        0
    );
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let value = |name: &str, label: &str| {
        let sample = scrape.samples.iter().find(|sample| {
            sample.metric == name && (label.is_empty() || sample.labels.values().any(|value| value == label))
        });
        sample.map(|sample| sample.value.clone())
    };
    use prometheus_parse::Value::{Counter, Gauge};
    assert_eq!(value("hyperv_guest", ""), Some(Gauge(1.0)));
    assert_eq!(value("hyperv_requests_total", "set"), Some(Counter(1.0)));
    assert_eq!(value("hyperv_daemon_up", "hv_vss_daemon"), Some(Gauge(1.0)));
    assert_eq!(value("hyperv_pool_items", "external"), Some(Gauge(1.0)));
    // Each metric has its two lines, and a valid name.
    for sample in &scrape.samples {
        let name = &sample.metric;
        assert!(
            text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")),
            "{name}"
        );
        let counter = matches!(sample.value, Counter(_));
        assert_eq!(counter, name.ends_with("_total"), "{name}");
        assert!(name.starts_with("hyperv_") && !name.contains("micro") && !name.contains("kib"), "{name}");
    }
}
