//! Guests for the tests of hvctl, and the output of the program in them. It contains no test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use hvsim::testing::command;

/// The result of a run of the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Standard output of a run that succeeded without a message on standard error.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.out.clone();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A guest's configuration, and the directory of all its files.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) config: PathBuf,
}

impl Place {
    /// Runs the program with this configuration.
    pub(crate) fn hvctl(&self, arguments: &[&str]) -> Said {
        let mut command = command("hvctl", &self.dir);
        Said::of(&command.arg("-f").arg(&self.config).args(arguments).output().unwrap())
    }

    /// The same with text on standard input.
    pub(crate) fn hvctl_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = command("hvctl", &self.dir);
        command.arg("-f").arg(&self.config).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The program may not read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Said::of(&child.wait_with_output().unwrap())
    }
}

/// A guest without daemons: an empty pool directory, and facts.
pub(crate) fn without_daemons(sysctl: &str) -> (tempfile::TempDir, Place) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().to_owned();
    fs::create_dir_all(dir.join("facts")).unwrap();
    fs::create_dir(dir.join("pool")).unwrap();
    fs::write(dir.join("facts/sysctl"), sysctl).unwrap();
    let here = |name: &str| format!("{:?}", dir.join(name));
    let text = format!(
        "[log]\nsockets = [{}]\n[facts]\ndir = {}\n[kvp]\ndevice = {}\npool-dir = {}\ncontrol-socket = {}\nip-injection-dir = {}\nrc-conf = {}\n\
         [network]\nifconfig = {}\n[vss]\ndevice = {}\ncontrol-socket = {}\nhistory = {}\nhook-dir = {}\n",
        here("log"),
        here("facts"),
        here("hv_kvp_dev"),
        here("pool"),
        here("kvp.sock"),
        here("injection"),
        here("rc.conf"),
        here("ifconfig"),
        here("hv_fsvss_dev"),
        here("vss.sock"),
        here("backups"),
        here("vss.d"),
    );
    let config = dir.join("hyperv.toml");
    fs::write(&config, text).unwrap();
    fs::write(dir.join("ifconfig"), IFCONFIG).unwrap();
    make_accessible(&dir.join("ifconfig"), 0o755);
    make_accessible(&dir.join("pool"), 0o700);
    (scratch, Place { dir, config })
}

/// A stand-in for ifconfig(8): prints the file beside it.
const IFCONFIG: &str = "#!/bin/sh\ncat \"${0%/*}/interfaces\" 2>/dev/null\nexit 0\n";

pub(crate) fn make_accessible(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

pub(crate) const HYPER_V: &str = "kern.vm_guest=hv\nmachdep.bootmethod=UEFI\ndev.vmbus.0.version=5.3\n";

/// A record as programs in the guest write it.
pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let mut record = vec![0; 2560];
    record[..key.len()].copy_from_slice(key.as_bytes());
    record[512..512 + value.len()].copy_from_slice(value.as_bytes());
    record
}

/// Settings of snapshots that replace numbers which differ between runs.
pub(crate) fn settings(dir: &Path) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(&format!("{}", dir.display()), "DIR");
    settings.add_filter(r"pid \d+", "pid PID");
    settings.add_filter(r"\d+(\.\d+)? (µs|ms|s|KiB|MiB)\b", "N UNIT");
    settings.add_filter(r"(, |changed |last )(now|N UNIT ago)\b", "$1AGO");
    // Which of two requests took longer depends on the machine.
    settings.add_filter(r"slowest: \S+", "slowest: REQUEST");
    settings.add_filter(r#"("slowest": \{\s*"request": )"[^"]*""#, r#"$1"REQUEST""#);
    settings.add_filter(r#"/[^ "]*hvsim-[^/ "]+/"#, "DIR");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT");
    settings.add_filter(
        r#""(at|started|took|changed|since|answered-in|frozen-for|frozen-since|pid|uptime|peak-memory-kib)": \d+"#,
        r#""$1": NUMBER"#,
    );
    settings.add_filter(r"(_seconds(\{[^}]*\})?|_memory_bytes\{[^}]*\}) [\d.e-]+\n", "$1 NUMBER\n");
    settings
}
