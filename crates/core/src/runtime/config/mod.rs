//! The configuration file `hyperv.toml`: reads, checks and fills in defaults. The file is optional. It is
//! refused if others than its owner can write it. Nothing here acts on a setting.

mod injection;
mod kvp;
mod network;
mod uses;
mod vf;
mod vss;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use injection::IpInjection;
pub use kvp::{Kvp, LINUX_PATH};
pub use network::{NameServers, Network};
pub use uses::Uses;
pub use vf::Vf;
pub use vss::{MountRule, Vss};

/// The default path of the file. A port sets `HV_CONFIG_FILE` in its build environment.
pub const DEFAULT_PATH: &str = match option_env!("HV_CONFIG_FILE") {
    Some(path) => path,
    None => "/etc/hyperv.toml",
};

/// The longest file that is read, in bytes. All keys with comments need far less.
const MAX_SIZE: u64 = 256 * 1024;

/// All settings, each with its documented default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// What is logged, and where.
    pub log: Log,
    /// Where facts about this guest come from.
    pub facts: Facts,
    /// The key-value exchange.
    pub kvp: Kvp,
    /// The programs that read and change the network configuration.
    pub network: Network,
    /// The hand-over between hn(4) and its VF.
    pub vf: Vf,
    /// Live backup.
    pub vss: Vss,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Log {
    /// The least important line that is logged; `-d` means `debug`.
    pub level: LogLevel,
    /// The sockets of syslogd(8), tried in this order.
    pub sockets: Vec<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        // logpriv is root's own socket. It never refuses lines because other programs have filled it.
        Self { level: LogLevel::Info, sockets: vec!["/var/run/logpriv".into(), "/var/run/log".into()] }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// The administrator must act.
    Error,
    /// A request failed.
    Warning,
    /// Start, stop, freeze, thaw, change of network.
    Info,
    /// Each message.
    Debug,
}

/// `[facts]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Facts {
    /// A directory of text files with the system's facts, for tests and demonstrations. Without it the
    /// running system is read.
    pub dir: Option<PathBuf>,
    /// The resolver's configuration, which names the name servers.
    pub resolv_conf: PathBuf,
    /// The directories of dhclient(8)'s pid files, in the order of the search: the directory since 12.0
    /// first.
    pub dhclient_pid_dirs: Vec<PathBuf>,
    /// The directory of dhclient(8)'s leases.
    pub dhclient_lease_dir: PathBuf,
    /// Whether an interface counts as one of hn(4) for the host by its name alone, whatever its driver is: for
    /// tests on a machine without Hyper-V.
    pub hn_by_name: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            dir: None,
            resolv_conf: "/etc/resolv.conf".into(),
            dhclient_pid_dirs: vec!["/var/run/dhclient".into(), "/var/run".into()],
            dhclient_lease_dir: "/var/db".into(),
            hn_by_name: false,
        }
    }
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A user other than root and the daemon's own could have written the file.
    #[error("refusing {path}: {reason}")]
    Untrusted {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is not TOML, has an unknown key, or has a value of the wrong type.
    #[error("{path}:{line}:{column}: {message}")]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// A value is out of its range.
    #[error("{key} must be {expected}")]
    Value {
        /// The key with its section.
        key: &'static str,
        /// The allowed values.
        expected: &'static str,
    },
}

impl Config {
    /// Reads `path`, or the default path if none is given. A missing file is an error only if it was given.
    ///
    /// # Errors
    /// See [`ConfigError`]. A failed load changes nothing.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match read(path)? {
            Some(text) => Self::parse(&text, path.unwrap_or(Path::new(DEFAULT_PATH))),
            None => Ok(Self::default()),
        }
    }

    /// The same for a program that uses a part of the file. Errors in the other parts are returned beside the
    /// configuration.
    ///
    /// # Errors
    /// See [`ConfigError`]. A failed load changes nothing.
    pub fn load_for(path: Option<&Path>, uses: &Uses) -> Result<(Self, Vec<ConfigError>), ConfigError> {
        match read(path)? {
            Some(text) => uses::parse(&text, path.unwrap_or(Path::new(DEFAULT_PATH)), uses),
            None => Ok(Default::default()),
        }
    }

    /// Parses the text of a file. `path` is its name in messages.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] with line and column, or [`ConfigError::Value`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::syntax(text, path, &error))?;
        config.validate()?;
        Ok(config)
    }

    /// Sets a table to its defaults. `false` if there is no such table.
    fn reset(&mut self, table: &str) -> bool {
        match table {
            "log" => self.log = Log::default(),
            "facts" => self.facts = Facts::default(),
            "kvp" => self.kvp = Kvp::default(),
            "network" => self.network = Network::default(),
            "vf" => self.vf = Vf::default(),
            "vss" => self.vss = Vss::default(),
            _ => return false,
        }
        true
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.log.sockets.is_empty() {
            return Err(ConfigError::Value { key: "log.sockets", expected: "a list of at least one path" });
        }
        self.validate_paths()?;
        self.kvp.validate()?;
        self.network.validate()?;
        self.vf.validate()?;
        self.vss.validate()
    }
}

impl ConfigError {
    fn syntax(text: &str, path: &Path, error: &toml::de::Error) -> Self {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', " ");
        Self::Syntax { path: path.to_owned(), line, column, message }
    }
}

impl Config {
    /// Checks that every path is absolute, except `facts.dir`, which only tests use. A daemon runs in `/`,
    /// and starts programs by path only.
    fn validate_paths(&self) -> Result<(), ConfigError> {
        let (kvp, network, vf, vss) = (&self.kvp, &self.network, &self.vf, &self.vss);
        let single = [
            ("facts.resolv-conf", &self.facts.resolv_conf),
            ("facts.dhclient-lease-dir", &self.facts.dhclient_lease_dir),
            ("kvp.device", &kvp.device),
            ("kvp.pool-dir", &kvp.pool_dir),
            ("kvp.getent", &kvp.getent),
            ("kvp.ip-injection-dir", &kvp.ip_injection_dir),
            ("kvp.rc-conf", &kvp.rc_conf),
            ("kvp.control-socket", &kvp.control_socket),
            ("network.ifconfig", &network.ifconfig),
            ("network.route", &network.route),
            ("network.dhclient", &network.dhclient),
            ("network.rtsol", &network.rtsol),
            ("network.resolvconf", &network.resolvconf),
            ("network.ngctl", &network.ngctl),
            ("network.sh", &network.sh),
            ("network.rc-subr", &network.rc_subr),
            ("network.network-subr", &network.network_subr),
            ("vf.override-dir", &vf.override_dir),
            ("vf.lock-dir", &vf.lock_dir),
            ("vss.device", &vss.device),
            ("vss.suspend-device", &vss.suspend_device),
            ("vss.hook-dir", &vss.hook_dir),
            ("vss.zpool", &vss.zpool),
            ("vss.control-socket", &vss.control_socket),
            ("vss.history", &vss.history),
        ];
        let sockets = self.log.sockets.iter().map(|path| ("log.sockets", path));
        let directories = self.facts.dhclient_pid_dirs.iter().map(|path| ("facts.dhclient-pid-dirs", path));
        match single.into_iter().chain(sockets).chain(directories).find(|(_, path)| !path.is_absolute()) {
            Some((key, _)) => Err(ConfigError::Value { key, expected: "an absolute path" }),
            None => Ok(()),
        }
    }
}

/// Line and column, from 1, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The text of the file. `None` if no path is given and the default file does not exist.
fn read(path: Option<&Path>) -> Result<Option<String>, ConfigError> {
    match read_trusted(path.unwrap_or(Path::new(DEFAULT_PATH))) {
        Err(ConfigError::Read { source, .. })
            if path.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        text => text.map(Some),
    }
}

/// The text of a file that only root or this process's user can have written.
fn read_trusted(path: &Path) -> Result<String, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.to_owned(), source };
    // Opening a FIFO would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(read_error)?;
    // The descriptor is checked, not the path, so the file cannot be exchanged in between.
    let metadata = file.metadata().map_err(read_error)?;
    let untrusted = |reason| Err(ConfigError::Untrusted { path: path.to_owned(), reason });
    if !metadata.is_file() {
        return untrusted("it is not a regular file");
    }
    if metadata.uid() != 0 && metadata.uid() != nix::unistd::geteuid().as_raw() {
        return untrusted("it is not owned by root");
    }
    if metadata.mode() & 0o022 != 0 {
        return untrusted("others than its owner can write it");
    }
    if metadata.len() > MAX_SIZE {
        return untrusted("it is larger than 256 KiB");
    }
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(read_error)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("x.toml"))
    }

    #[test]
    fn relative_paths_are_refused() {
        for text in [
            "[kvp]\npool-dir = \"pool\"\n",
            "[kvp]\ngetent = \"\"\n",
            "[network]\nsh = \"sh\"\n",
            "[vss]\nzpool = \"./zpool\"\n",
            "[log]\nsockets = [\"/var/run/log\", \"log\"]\n",
            "[facts]\ndhclient-pid-dirs = [\"run\"]\n",
        ] {
            let error = Config::parse(text, Path::new("x.toml")).unwrap_err().to_string();
            assert!(error.contains("an absolute path"), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_sample_shows_the_defaults() {
        let sample = include_str!("../../../../../etc/hyperv.toml.sample");
        assert_eq!(parse(sample).unwrap(), Config::default());
        let live: String = sample
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            // Keys without a default.
            .filter(|line| !line.ends_with(" = \"\""))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(parse(&live).unwrap(), Config::default());
    }

    #[test]
    fn unknown_keys_are_errors_with_line_and_column() {
        let error = parse("# c\n[kvp]\n  max-recrods = 5\n").unwrap_err().to_string();
        assert!(error.starts_with("x.toml:3:3: unknown field `max-recrods`"), "{error}");
        let error = parse("[log]\nlevel = \"loud\"").unwrap_err().to_string();
        assert!(error.starts_with("x.toml:2:9: unknown variant `loud`"), "{error}");
        assert!(parse("[kvp\n").is_err());
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        let error = parse("[kvp]\nmax-records = 0").unwrap_err().to_string();
        assert!(error.starts_with("kvp.max-records must be"), "{error}");
        assert!(parse("[log]\nsockets = []").unwrap_err().to_string().starts_with("log.sockets"));
    }

    #[test]
    fn the_policy_of_injection_is_checked() {
        let kvp = |text: &str| parse(&format!("[kvp]\n{text}\n")).map(|config| config.kvp);
        assert_eq!(kvp("ip-injection = \"runtime\"").unwrap().ip_injection, IpInjection::Runtime);
        assert_eq!(kvp("linux-path = false").unwrap().linux_path, None);
        assert_eq!(kvp("linux-path = true").unwrap().linux_path.as_deref(), Some(Path::new(LINUX_PATH)));
        assert_eq!(kvp("linux-path = \"/x\"").unwrap().linux_path.as_deref(), Some(Path::new("/x")));
        assert!(kvp("ip-injection-interfaces = [\"hn0\", \"lagg7\"]").is_ok());
        assert!(kvp("ip-injection-apply = \"/usr/local/libexec/apply\"").is_ok());
        for (text, said) in [
            ("ip-injection = \"sometimes\"", "x.toml:2:16: unknown variant"),
            ("ip-injection-interfaces = [\"hn0\", \"em0\"]", "kvp.ip-injection-interfaces must be"),
            ("ip-injection-apply = \"apply\"", "kvp.ip-injection-apply must be"),
            ("linux-path = \"lib\"", "kvp.linux-path must be"),
            ("linux-path = 1", "x.toml:2:14: invalid type"),
        ] {
            let error = kvp(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hyperv.toml");
        std::fs::write(&path, "[kvp]\nmax-records = 7\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Config::load(Some(&path)).unwrap().kvp.max_records, 7);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(Config::load(Some(&path)), Err(ConfigError::Untrusted { .. })));
        assert!(matches!(Config::load(Some(dir.path())), Err(ConfigError::Untrusted { .. })));
    }

    #[test]
    fn a_fifo_is_refused_without_waiting_for_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hyperv.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert_eq!(error, format!("refusing {}: it is not a regular file", path.display()));
    }

    #[test]
    fn a_file_of_more_than_its_size_limit_or_without_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hyperv.toml");
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let uses = Uses { tables: &["kvp"], newer: false };
            let loaded = Config::load_for(Some(&path), &uses).map_err(|error| error.to_string())?;
            Ok::<_, String>((loaded.0, loaded.1.len()))
        };
        let size = usize::try_from(MAX_SIZE).unwrap();
        assert_eq!(load(&vec![b'\n'; size]).unwrap(), (Config::default(), 0));
        let error = load(&vec![b'\n'; size + 1]).unwrap_err();
        assert_eq!(error, format!("refusing {}: it is larger than 256 KiB", path.display()));
        assert_eq!(load(b"[kvp]\xff\n").unwrap_err(), format!("cannot read {}", path.display()));
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Config::load(Some(Path::new("/nonexistent/hyperv.toml"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/hyperv.toml");
    }
}
