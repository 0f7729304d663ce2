//! The program `hvsim`: chooses the subcommand, and prints errors. What a subcommand does is in its own
//! module.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod demo;
mod host;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod run;
mod serve;
#[cfg(target_os = "linux")]
mod soak;
mod vss;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// sysexits(3): wrong usage.
pub(crate) const EX_USAGE: u8 = 64;
/// sysexits(3): something required is missing.
pub(crate) const EX_UNAVAILABLE: u8 = 69;

const USAGE: &str = "\
hvsim: a simulated Hyper-V host

usage:
  hvsim serve --dir DIR [--timeout SECONDS] [--vss-timeout SECONDS] [--facts DIR]
              [--adapter hnN=GUID]… [--root TEMPLATE] [--while-stdin]
      Mount the device files at DIR/dev in a private namespace and serve them until a signal comes. On FreeBSD
      they are made in /dev by cuse(3), and /dev/ufssuspend is the kernel's own; only serve and host work there.
      --timeout      how long the kernel waits for the key-value daemon (5)
      --vss-timeout  how long it waits for the backup daemons, together (15)
      --facts        the guest's facts; its file `mounts` is the mount table that ufssuspend knows
      --adapter      a network adapter that the kernel knows, for SET_IP_INFO; may be repeated
      --root         a root directory for FreeBSD's executables, which serves the facts; DIR's parent is in it
      --while-stdin  end when standard input does
  hvsim run --dir DIR [--root TEMPLATE] [--] PROGRAM [ARGUMENT]…
      Run a program that sees DIR/dev, with --root in the machine's root directory.
  hvsim run --root TEMPLATE [--share DIR]… [--facts DIR] [--] PROGRAM [ARGUMENT]…
      Run a program in a root directory of its own, without devices, that sees each DIR at its path.
  hvsim host --dir DIR [--json] [--expect CODE] [--limit SECONDS] COMMAND
      Be the host. Ends with 1 when the guest's answer is not OK, or not the CODE that is expected
      (a name such as S_CONT, or a number). Commands:
        kvp enumerate POOL
        kvp get POOL KEY
        kvp set POOL KEY VALUE [--type string|u32|u64|qword]
        kvp delete POOL KEY
        kvp ip-info MAC
        kvp set-ip ADAPTER --dhcp
        kvp set-ip ADAPTER --address ADDRESS/PREFIX… [--gateway ADDRESS]… [--dns ADDRESS]…
        kvp set-ip ADAPTER --address LIST --mask LIST [--gateway LIST] [--dns LIST]
                                        the last form sends the lists as they are
        kvp raw OPERATION POOL [HEX]    any operation, with a body in the host's layout
        kvp statistics | detach | attach
        vf attach VF hnN | up VF | down VF | detach VF | migrate VF NEW-VF
                                        the VF of a guest made by hvsim network create --dir DIR
        vss check | freeze | thaw
        vss backup [--pause SECONDS]    check, freeze, thaw, and a timeline of what happened
        vss statistics | timeline | suspended | detach | attach
        vss unmount MOUNT-POINT         as umount(8) in the guest, with --facts
        violations [--take]             what the guest's programs did against the contract
  hvsim demo
      Play a whole session with the guest's programs and say whether everything is as it must be.
  hvsim bench [--daemon PATH] [--scratch DIR] [--rounds N] [--exchanges N] [--idle SECONDS] [--spread]
              [--json]
      Measure a key-value daemon beside one that does nothing, in turns on the same machine.
      --daemon     the program (hv_kvp_daemon beside hvsim)
      --scratch    where the pools are; the speed of SET is that of this file system
      --rounds     pairs of bursts of which the medians are shown (75)
      --exchanges  requests in a burst (60; a third of it for SET)
      --idle       how long to watch for wake-ups (30; 0: not at all)
      --spread     use all processors; everything runs on one without it
  hvsim bench vf [--json]
      Count the processes that a hand-over between hnN and its VF starts.
  hvsim network create --dir DIR [--dhcp] [--rules FILE]
      Make a guest with a simulated network: stand-ins for ifconfig(8) and others in DIR/sbin,
      rc.conf in DIR/etc, and devd rules of FILE instead of the suite's own.
  hvsim bench programs [--rounds N] [--json]
      Measure hvctl over the size of a pool and an injection over the number of interfaces, beside bare
      starts of programs.
  hvsim bench vss [--rounds N] [--mounts N] [--cycles N] [--watch SECONDS] [--spread] [--json]
      Measure the backup daemon beside one that only makes the bare calls, in turns on the same machine.
      --rounds     pairs of bursts of which the medians are shown (75)
      --mounts     UFS file systems that are suspended (32)
      --cycles     whole backups over which memory and descriptors are watched (10000)
      --watch      how long to watch for wake-ups, when idle and when frozen (30)
  hvsim soak [--minutes N]
      Everything at once for a while (1): host traffic, other writers, injections, a VF that comes and goes,
      backups, a syslogd that is away, file times that jump. Then compare with the beginning.
  hvsim --help | --version
";

/// Why the program fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something is missing: the server, FUSE, a program.
    Unavailable(String),
    /// The work was done, and its result is not as it should be. It was printed already.
    Bad,
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<crate::client::ClientError> for Failure {
    fn from(error: crate::client::ClientError) -> Self {
        Self::Unavailable(chain(&error))
    }
}

/// Runs the program with its arguments, without its name.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Bad) => ExitCode::FAILURE,
        Err(Failure::Unavailable(text)) => {
            eprintln!("hvsim: {text}");
            ExitCode::from(EX_UNAVAILABLE)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("hvsim: {text}\nTry hvsim --help.");
            ExitCode::from(EX_USAGE)
        }
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    match parser.next()? {
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => print!("{USAGE}"),
        Some(lexopt::Arg::Long("version") | lexopt::Arg::Short('V')) => {
            println!("hvsim {}", env!("CARGO_PKG_VERSION"));
        }
        Some(lexopt::Arg::Value(name)) => return subcommand(&name.to_string_lossy(), parser),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Failure::Usage("no subcommand".to_owned())),
    }
    Ok(())
}

fn subcommand(name: &str, parser: lexopt::Parser) -> Result<(), Failure> {
    match name {
        "serve" => serve::run(parser),
        "host" => host::run(parser),
        #[cfg(target_os = "linux")]
        "run" => run::run(parser),
        #[cfg(target_os = "linux")]
        "demo" => demo::run(parser),
        #[cfg(target_os = "linux")]
        "bench" => bench::run(parser),
        #[cfg(target_os = "linux")]
        "network" => network::run(parser),
        #[cfg(target_os = "linux")]
        "soak" => soak::run(parser),
        // A program that a soak starts.
        #[cfg(target_os = "linux")]
        "soak-writer" => soak::write(parser),
        #[cfg(not(target_os = "linux"))]
        "run" | "demo" | "bench" | "network" | "soak" => Err(only_on_linux(name)),
        _ => Err(Failure::Usage(format!("unknown subcommand {name:?}"))),
    }
}

/// The error for commands that need namespaces, FUSE or the simulated network.
#[cfg(not(target_os = "linux"))]
fn only_on_linux(what: &str) -> Failure {
    Failure::Unavailable(format!("{what} works on Linux only; here the devices of hvsim serve are in /dev"))
}

/// The option that every subcommand requires.
fn required_dir(dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    dir.ok_or_else(|| Failure::Usage("--dir is missing".to_owned()))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let _ = write!(text, ": {source}");
        cause = source.source();
    }
    text
}
