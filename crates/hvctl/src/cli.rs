//! The command line of hvctl, as clap reads it: the first lines of the comments are the help texts. It parses
//! and decides nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::pools::Pool;

/// Shows what the host and the daemons of this suite do in a guest of Hyper-V, and does what an administrator
/// wants done.
#[derive(Debug, Parser)]
#[command(name = "hvctl", version, disable_version_flag = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Use this configuration instead of the usual one
    #[arg(short = 'f', long = "config", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    pub(crate) version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One page: host, daemons, last backup, pools, VFs, injected addresses
    Status(StatusArgs),
    /// Look for every known complaint, and say what mends it
    Doctor {
        /// The directory that stands for /, for tests
        #[arg(long, value_name = "DIRECTORY", default_value = "/", hide = true)]
        root: PathBuf,
    },
    /// Read and write the pools of the key-value exchange
    #[command(subcommand)]
    Kvp(KvpCommand),
    /// What the host says of itself
    Host,
    /// Live backup: check it, see how the last ones went, try a freeze
    #[command(subcommand)]
    Vss(VssCommand),
    /// VFs (SR-IOV): see and change how hnN and its VF are joined
    #[command(subcommand)]
    Vf(VfCommand),
    /// Addresses that the host set: see them, take them back
    #[command(subcommand)]
    Ip(IpCommand),
    /// The numbers of status for Prometheus
    Metrics(MetricsArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show it again and again, until it is interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600), requires = "watch")]
    pub(crate) interval: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Write this file, whole at once, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvpCommand {
    /// List the items of a pool, or of all; of "auto" what the host would be told now
    List {
        /// guest, host, auto, external, host-auto, or 0 to 4
        pool: Option<Pool>,
    },
    /// Print the value of a key
    Get {
        /// The pool
        pool: Pool,
        /// The key
        key: String,
    },
    /// Give a key a value, in the place of all records of the key
    Put {
        /// The key: at most 254 UTF-16 units
        key: String,
        /// The value: at most 1022 UTF-16 units; "-" reads it from standard input
        value: String,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a key
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// Print the items of a pool as JSON lines
    Export {
        /// The pool
        #[arg(default_value = "guest")]
        pool: Pool,
    },
    /// Give keys their values from JSON lines on standard input, such as export prints
    Import {
        #[command(flatten)]
        target: Target,
    },
    /// Print each change as it happens, until it is interrupted
    Watch {
        /// The pool; all where none is named
        pool: Option<Pool>,
    },
}

/// The pool that a command writes to.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The pool; another one than the guest's own needs --force
    #[arg(long, default_value = "guest")]
    pub(crate) pool: Pool,
    /// Write to a pool that is the host's
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VssCommand {
    /// What a backup would do with each mount, and whether one can be made
    Check,
    /// The last backups
    History,
    /// Freeze and thaw this guest, by the steps of a backup with its hooks, and see how long each takes
    Test {
        /// How long it stays frozen
        #[arg(short, long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=50))]
        seconds: u64,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VfCommand {
    /// The interfaces of hn(4), their VFs and laggs, and which one carries the data
    List,
    /// Print what a hand-over would do
    Plan {
        /// The interface of hn(4)
        hn: String,
        /// What taking them apart would do
        #[arg(short, long)]
        undo: bool,
    },
    /// Join the interface and its VF
    Apply {
        /// The interface of hn(4)
        hn: String,
    },
    /// Take them apart
    Undo {
        /// The interface of hn(4)
        hn: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpCommand {
    /// The addresses that the host set and that are in force
    Show,
    /// What the host wanted to set, and what became of it
    History,
    /// Take back what the host's configuration has changed
    Restore {
        /// The interface of hn(4)
        hn: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/man/hvctl.8");

    /// Each command by its words, with its long options.
    fn commands(command: &clap::Command, words: &str, found: &mut Vec<(String, Vec<String>)>) {
        for child in command.get_subcommands() {
            let words = format!("{words} {}", child.get_name()).trim().to_owned();
            if child.has_subcommands() {
                commands(child, &words, found);
                continue;
            }
            let options = child.get_arguments().filter(|argument| !argument.is_hide_set());
            let options = options.filter_map(|argument| argument.get_long().map(str::to_owned)).collect();
            found.push((words, options));
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_has_exactly_the_commands_and_options() {
        let mut found = Vec::new();
        commands(&Cli::command(), "", &mut found);
        assert!(found.len() > 15);
        let items: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix(".It Ic ")).collect();
        for (words, options) in &found {
            let item = items.iter().find(|item| {
                item.strip_prefix(words.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            let item = item.unwrap_or_else(|| panic!("{words} is not in hvctl(8)"));
            for option in options {
                assert!(
                    item.contains(&format!("Fl -{option}")),
                    "{words} --{option} is not in hvctl(8): {item}"
                );
            }
        }
        assert_eq!(items.len(), found.len(), "hvctl(8) has a command that is none");
    }
}
