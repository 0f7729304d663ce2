//! The events of a backup, in order and with times, and their table. It records events and judges none.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::control::{Operation, Outcome, Side};

/// The number of entries that are kept.
const ENTRIES: usize = 4096;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Happening {
    /// The host sent a request.
    Sent {
        /// The operation.
        operation: Operation,
    },
    /// A daemon read a request from its device.
    Read {
        /// The device.
        side: Side,
        /// The operation.
        operation: Operation,
    },
    /// A file system was suspended.
    Suspended {
        /// Its mount point.
        on: String,
    },
    /// A file system could not be suspended.
    Refused {
        /// Its mount point, or an id that is not mounted.
        on: String,
        /// The number of errno(3).
        errno: i32,
    },
    /// A file system was resumed.
    Resumed {
        /// Its mount point.
        on: String,
        /// True by UFSRESUME, false by the close of the descriptor or the death of its process.
        asked: bool,
    },
    /// A resume discarded what a program had stored through a mapping.
    PagesLost {
        /// The mount point.
        on: String,
        /// The file.
        path: String,
        /// The program. 0 if no process maps the file any more.
        pid: u32,
    },
    /// umount(8) of a mount began.
    Unmounting {
        /// Its mount point.
        on: String,
    },
    /// A file system was unmounted.
    Unmounted {
        /// Its former mount point.
        on: String,
    },
    /// A call that never returns. The suspended file systems stay suspended.
    Hung {
        /// The call.
        call: String,
    },
    /// A daemon answered.
    Wrote {
        /// The device.
        side: Side,
        /// The operation.
        operation: Operation,
        /// Whether it was a success.
        success: bool,
    },
    /// The host got a result.
    Answered {
        /// The operation.
        operation: Operation,
        /// The result.
        outcome: Outcome,
    },
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Nanoseconds since the machine was made.
    pub at: u64,
    /// The event.
    pub happening: Happening,
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    entries: VecDeque<Entry>,
}

impl Timeline {
    pub(super) fn add(&mut self, at: u64, happening: Happening) {
        if self.entries.len() >= ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at, happening });
    }

    pub(super) fn list(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl Happening {
    /// The event in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        let yes = |success: bool| if success { "yes" } else { "no" };
        match self {
            Self::Sent { operation } => format!("host asks for {}", operation.word()),
            Self::Read { side: Side::FileSystem, operation } => format!("daemon reads {}", operation.word()),
            Self::Read { side: Side::Application, operation } => {
                format!("application reads {}", operation.word())
            }
            Self::Suspended { on } => format!("suspended {on}"),
            Self::Refused { on, errno } => format!("could not suspend {on} (errno {errno})"),
            Self::Resumed { on, asked: true } => format!("resumed {on}"),
            Self::Resumed { on, asked: false } => format!("resumed {on} by close"),
            Self::PagesLost { on, path, pid } => format!("lost on {on}: pages of {path} (process {pid})"),
            Self::Unmounting { on } => format!("umount of {on} begins"),
            Self::Unmounted { on } => format!("{on} is unmounted"),
            Self::Hung { call } => format!("{call} never ends"),
            Self::Wrote { side: Side::FileSystem, operation, success } => {
                format!("daemon answers {}: {}", operation.word(), yes(*success))
            }
            Self::Wrote { side: Side::Application, operation, success } => {
                format!("application answers {}: {}", operation.word(), yes(*success))
            }
            Self::Answered { operation, outcome } => format!("host hears {}: {outcome:?}", operation.word()),
        }
    }
}

/// The entries as a table: milliseconds since the first one, the event, and how long each file system was
/// suspended.
#[must_use]
pub fn table(entries: &[Entry]) -> String {
    let start = entries.first().map_or(0, |entry| entry.at);
    let mut text = String::new();
    for entry in entries {
        let milliseconds = to_milliseconds(entry.at.saturating_sub(start));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{milliseconds:>10.3} ms  {}", entry.happening.describe());
    }
    for span in suspensions(entries) {
        let length = to_milliseconds(span.nanoseconds);
        let _ = writeln!(text, "{length:>10.3} ms  in all was {} suspended", span.on);
    }
    text
}

/// How long one file system was suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Its mount point.
    pub on: String,
    /// From UFSSUSPEND to the end of it.
    pub nanoseconds: u64,
}

/// The suspensions that ended, in the order in which they began.
#[must_use]
pub fn suspensions(entries: &[Entry]) -> Vec<Suspension> {
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Happening::Suspended { on } = &entry.happening else { continue };
        let end = entries.iter().skip(index).find(
            |later| matches!(&later.happening, Happening::Resumed { on: resumed, .. } if resumed == on),
        );
        if let Some(end) = end {
            found.push(Suspension { on: on.clone(), nanoseconds: end.at.saturating_sub(entry.at) });
        }
    }
    found
}

#[expect(clippy::cast_precision_loss, reason = "only shown, and a timeline is shorter than a hundred days")]
fn to_milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
