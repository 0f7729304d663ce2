//! Performs the plans of hyperv_vfup for a VF that is named here, on a machine whose kernel has none.
//!
//! `vf-plan up hn0 VF` joins both in lagg0, and `vf-plan down hn0` takes that apart. `-n` in front only
//! prints the steps. The configuration is that of the suite. It takes no lock: it is for tests on real
//! interfaces.

use std::error::Error;
use std::process::ExitCode;

use hv_core::hn::Adapter;
use hv_core::net::InterfaceName;
use hv_core::plan::Plan;
use hv_core::plan::network::{NetworkPort, NetworkStep};
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;
use hv_core::vf::load;
use hv_core::vf::plan::{plan_down, plan_up};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let only_print = words.first().is_some_and(|word| word == "-n");
    if only_print {
        words.remove(0);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (hn, vf) = match words[..] {
        ["up", hn, vf] => (hn, Some(vf)),
        ["down", hn] => (hn, None),
        _ => {
            eprintln!("usage: vf-plan [-n] up hnN VF\n       vf-plan [-n] down hnN");
            return ExitCode::from(64);
        }
    };
    match run(hn, vf, only_print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vf-plan: {}", error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(hn: &str, vf: Option<&str>, only_print: bool) -> Result<(), Box<dyn Error>> {
    let hn: Adapter = hn.parse()?;
    let vf: Option<InterfaceName> = vf.map(str::parse).transpose()?;
    let config = Config::load(None)?;
    let source = load::network_source(&config);
    let is_up = vf.is_some();
    let facts = load::load_facts(&config.network, &source, &hn, vf)?;
    let plan: Plan<NetworkStep> =
        if is_up { plan_up(&hn, &facts)?.ok_or("there is no such VF")? } else { plan_down(&hn, &facts)? };
    for planned in plan.steps() {
        println!("{}", planned.step);
    }
    if !only_print {
        let mut port = NetworkPort::new(config.network.clone(), source, hn.name().as_str());
        plan.run(&mut port)?;
    }
    Ok(())
}
