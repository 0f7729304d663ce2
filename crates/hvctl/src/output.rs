//! Output: tables for users, JSON for programs. It formats and prints; the contents come from the commands.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

/// How a text is to be understood, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Plain,
    Heading,
    Good,
    Bad,
    Doubtful,
}

/// The text in its colour. Printing removes the colour if none is wanted.
pub(crate) fn coloured(mood: Mood, text: &str) -> String {
    let style = match mood {
        Mood::Plain => return text.to_owned(),
        Mood::Heading => BOLD,
        Mood::Good => GOOD,
        Mood::Bad => BAD,
        Mood::Doubtful => DOUBTFUL,
    };
    format!("{style}{text}{style:#}")
}

/// Prints lines on standard output, with colour if it is a terminal with colour. A closed pipe is no error.
pub(crate) fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') && !text.is_empty() {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Prints a value as JSON, indented.
pub(crate) fn print_json(value: &impl Serialize) {
    // Every printed value can become JSON.
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints a value as one line of JSON. Fails if the reader has closed the pipe.
pub(crate) fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// The width of the terminal. `None` if the output is no terminal.
pub(crate) fn width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// The text with control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A table with a heading and aligned columns. The last column is cut at the terminal's width.
#[derive(Debug, Default)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<(Mood, String)>>,
}

impl Table {
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(|cell| (Mood::Plain, printable(&cell.into()))).collect());
    }

    pub(crate) fn moody_row(&mut self, cells: impl IntoIterator<Item = (Mood, String)>) {
        self.rows.push(cells.into_iter().map(|(mood, cell)| (mood, printable(&cell))).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table's lines, indented, with at most `width` columns.
    pub(crate) fn render(&self, indent: usize, width: Option<usize>) -> String {
        let heading: Vec<(Mood, String)> =
            self.heading.iter().map(|cell| (Mood::Heading, (*cell).to_owned())).collect();
        let rows: Vec<&Vec<(Mood, String)>> =
            (!heading.is_empty()).then_some(&heading).into_iter().chain(&self.rows).collect();
        let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                rows.iter().filter_map(|row| row.get(column)).map(|cell| count(&cell.1)).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in rows {
            let mut line = " ".repeat(indent);
            let mut used = indent;
            for (column, (mood, cell)) in row.iter().enumerate() {
                let last = column + 1 == row.len();
                let room = width.map(|width| width.saturating_sub(used)).filter(|room| last && *room > 8);
                let cell = room.map_or_else(|| cell.clone(), |room| cut(cell, room));
                line.push_str(&coloured(*mood, &cell));
                used += count(&cell);
                if !last {
                    let pad = widths[column].saturating_sub(count(&cell)) + 2;
                    line.push_str(&" ".repeat(pad));
                    used += pad;
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, room: usize) -> String {
    if count(text) <= room {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(room - 1).collect();
    cut.push('…');
    cut
}

/// A duration in words: `850 µs`, `12.3 ms`, `4.21 s`, `3 min`, `5 h 12 min`, `3 d 4 h`.
pub(crate) fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        1_000_000..60_000_000 => format!("{seconds}.{:02} s", micros % 1_000_000 / 10_000),
        60_000_000..3_600_000_000 => format!("{} min", seconds / 60),
        3_600_000_000..86_400_000_000 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A size in words.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// A moment in local time, to the second.
pub(crate) fn moment(unix: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix);
    let text = hv_core::sys::clock::local_timestamp(time);
    format!("{} {}", text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default())
}

/// How long ago a moment is, in words.
pub(crate) fn ago(unix: u64, now: u64) -> String {
    if now < unix {
        return "in the future".to_owned();
    }
    match now - unix {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds => format!("{} ago", duration(seconds.saturating_mul(1_000_000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_is_cut() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["größer", "x"]);
        table.row(["b", "a text that is longer than the terminal\u{1b}[2J"]);
        let plain = anstream::adapter::strip_str(&table.render(2, Some(30))).to_string();
        assert_eq!(plain, "  A       LONG\n  größer  x\n  b       a text that is long…\n");
        let whole = anstream::adapter::strip_str(&table.render(0, None)).to_string();
        assert!(whole.ends_with("terminal\\u{1b}[2J\n"), "{whole}");
    }

    #[test]
    fn durations_and_sizes_are_readable() {
        let texts: Vec<String> =
            [7, 1_250, 4_210_000, 185_000_000, 18_720_000_000, 273_600_000_000].map(duration).to_vec();
        assert_eq!(texts, ["7 µs", "1.2 ms", "4.21 s", "3 min", "5 h 12 min", "3 d 4 h"]);
        assert_eq!([0, 10_240, 20_971_520].map(size), ["0 bytes", "10 KiB", "20 MiB"]);
        assert_eq!([ago(10, 10), ago(10, 15), ago(0, 7200)], ["now", "5 s ago", "2 h 0 min ago"]);
    }
}
