//! `hv_fuzz [--seconds N] [--inputs N] [--seed N] [--jobs N] [TARGET...]`: runs targets on stable Rust.
//! `hv_fuzz --replay FILE TARGET` tries one input.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use hv_fuzz::driver::{self, Broken, Budget, watchdog};
use hv_fuzz::{TARGETS, Target, target};
use lexopt::{Arg, Parser, ValueExt};

struct Options {
    budget: Budget,
    jobs: usize,
    replay: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    match options() {
        Ok(Options { replay: Some(file), targets, .. }) => replay(&file, &targets),
        Ok(options) if options.targets.len() == 1 => run_one(options.targets[0], options.budget),
        Ok(options) => run_all(&options),
        Err(error) => {
            eprintln!("hv_fuzz: {error}");
            ExitCode::from(64)
        }
    }
}

fn options() -> Result<Options, lexopt::Error> {
    let mut budget = Budget { time: Duration::from_secs(20), inputs: u64::MAX, seed: 1 };
    let (mut jobs, mut replay, mut targets) = (2, None, Vec::new());
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("seconds") => budget.time = Duration::from_secs(parser.value()?.parse()?),
            Arg::Long("inputs") => budget.inputs = parser.value()?.parse()?,
            Arg::Long("seed") => budget.seed = parser.value()?.parse()?,
            Arg::Long("jobs") => jobs = parser.value()?.parse()?,
            Arg::Long("replay") => replay = Some(PathBuf::from(parser.value()?)),
            Arg::Value(name) => {
                let name = name.string()?;
                targets.push(target(&name).ok_or_else(|| format!("there is no target {name}"))?);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok(Options { budget, jobs, replay, targets })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each target is a process of its own, `jobs` of them at a time: a target that hangs or aborts ends no other
/// one.
fn run_all(options: &Options) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_else(|_| "hv_fuzz".into());
    let mut failed = false;
    for group in options.targets.chunks(options.jobs.max(1)) {
        let children: Vec<_> = group
            .iter()
            .map(|target| {
                let Budget { time, inputs, seed } = options.budget;
                let words = ["--seconds", "--inputs", "--seed"];
                let values = [time.as_secs(), inputs, seed];
                let mut command = Command::new(&program);
                for (word, value) in words.iter().zip(values) {
                    command.arg(word).arg(value.to_string());
                }
                command.arg(target.name).spawn()
            })
            .collect();
        for child in children {
            failed |= !child.and_then(|mut child| child.wait()).is_ok_and(|status| status.success());
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_one(target: &Target, budget: Budget) -> ExitCode {
    let seeds = match driver::seeds(target, root()) {
        Ok(seeds) => seeds,
        Err(error) => {
            eprintln!("{}: cannot read the seeds: {error}", target.name);
            return ExitCode::from(66);
        }
    };
    // The first panic is reported below, those of smaller inputs are of no interest.
    std::panic::set_hook(Box::new(|_| {}));
    watchdog::start(|name, input| {
        eprintln!("{name}: FAILED, one input takes too long: {}", keep(name, input).display());
        std::process::exit(1);
    });
    match driver::run(target, &seeds, budget) {
        Ok(report) => {
            println!(
                "{:<14} {:>9} inputs, {:>6} behaviours, {:>4} s: {}",
                target.name,
                report.inputs,
                report.behaviours,
                report.took.as_secs(),
                target.promise
            );
            match hv_fuzz::kvp::MESSAGES.load(std::sync::atomic::Ordering::Relaxed) {
                0 => {}
                messages => println!("{:<14} {messages:>9} messages to the engine", target.name),
            }
            ExitCode::SUCCESS
        }
        Err(Broken { input, message }) => {
            let path = keep(target.name, &input);
            eprintln!("{}: FAILED, {message}", target.name);
            eprintln!("again: hv_fuzz --replay {} {}", path.display(), target.name);
            ExitCode::FAILURE
        }
    }
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let directory = root().join("artifacts").join(name);
    let path = directory.join(format!("crash-{:016x}", hv_fuzz::input::behaviour(input)));
    if let Err(error) = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&path, input)) {
        eprintln!("cannot keep the input: {error}");
    }
    path
}

fn replay(file: &Path, targets: &[&Target]) -> ExitCode {
    let (Ok(input), [target]) = (std::fs::read(file), targets) else {
        eprintln!("hv_fuzz: --replay takes a file that can be read and one target");
        return ExitCode::from(64);
    };
    (target.check)(&input);
    println!("{}: {} holds", target.name, file.display());
    ExitCode::SUCCESS
}
