//! Edits one file of rc.conf(5) in place, as sysrc(8) does but without its gaps. It works on bytes; it never
//! runs a shell and touches no file.
//!
//! As with sysrc(8) (usr.sbin/bsdconfig/share/sysrc.subr), an assignment is a line that begins with `name=`.
//! The last of several is valid and is rewritten in place, with its quotes and the rest of its line. A new
//! one is added at the end, and removal removes all. Beyond sysrc(8), a value may span lines, and values
//! contain nothing that the shell would evaluate. A line with more than an assignment and a comment is never
//! edited: another assignment at the end of the file overrides it. All other bytes stay.

use std::fmt;
use std::ops::Range;

use crate::net::ParseError;

/// The name of a variable: an identifier of the shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable(String);

/// A value of letters, digits, blanks and `.:/%_-`, which the shell takes literally in any quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Variable {
    /// A name from a text.
    ///
    /// # Errors
    /// It is no identifier of the shell.
    pub fn new(text: &str) -> Result<Self, ParseError> {
        let good = !text.is_empty() && identifier_length(text.as_bytes()) == text.len();
        if good { Ok(Self(text.to_owned())) } else { Err(ParseError::new("name of a variable", text)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value {
    /// A value from a text.
    ///
    /// # Errors
    /// It has a character outside the alphabet.
    pub fn new(text: &str) -> Result<Self, ParseError> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b" .:/%_-".contains(&byte);
        if text.bytes().all(safe) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new("value without a meaning for the shell", text))
        }
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line, or several if the value spans them, with an assignment and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of the line in the file, from 1.
    pub number: usize,
    /// Its text with the newline, if there is one.
    pub text: String,
}

/// The text of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcFile {
    bytes: Vec<u8>,
}

/// An assignment in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assignment {
    /// From the beginning of its first line to the end of its last one, with the newline.
    lines: Range<usize>,
    name: Range<usize>,
    /// The word after `=`, with its quotes.
    word: Range<usize>,
    /// The value, if the shell would evaluate nothing in it.
    value: Option<String>,
    /// Whether the lines contain nothing else, so that they may be edited.
    plain: bool,
}

impl RcFile {
    /// A file with these bytes, which may be anything.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the last line has a newline. An empty file counts as complete.
    #[must_use]
    pub fn has_final_newline(&self) -> bool {
        matches!(self.bytes.last(), None | Some(b'\n'))
    }

    /// The names of all assigned variables, each once, in the order of the file.
    #[must_use]
    pub fn variables(&self) -> Vec<Variable> {
        let mut names = Vec::new();
        for assignment in self.assignments() {
            let name = Variable(String::from_utf8_lossy(&self.bytes[assignment.name]).into_owned());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether the variable is assigned.
    #[must_use]
    pub fn assigns(&self, name: &Variable) -> bool {
        self.assignments_of(name).next().is_some()
    }

    /// The value of the last assignment. `None` if there is none, or the shell must evaluate it.
    #[must_use]
    pub fn value(&self, name: &Variable) -> Option<String> {
        self.assignments_of(name).last()?.value
    }

    /// The lines that assign the variable and may be edited.
    #[must_use]
    pub fn lines_of(&self, name: &Variable) -> Vec<Line> {
        self.assignments_of(name)
            .filter(|assignment| assignment.plain)
            .map(|assignment| Line {
                number: count_newlines(&self.bytes[..assignment.lines.start]) + 1,
                text: String::from_utf8_lossy(&self.bytes[assignment.lines]).into_owned(),
            })
            .collect()
    }

    /// Assigns `value`: in the last assignment, or at the end of the file. A file with this value is not
    /// changed.
    pub fn set(&mut self, name: &Variable, value: &Value) {
        match self.assignments_of(name).last() {
            Some(last) if last.value.as_deref() == Some(value.as_str()) => {}
            Some(last) if last.plain => {
                let quote = if self.bytes[last.word.clone()].first() == Some(&b'\'') { '\'' } else { '"' };
                self.bytes.splice(last.word, format!("{quote}{value}{quote}").into_bytes());
            }
            _ => {
                self.end_last_line();
                self.bytes.extend(format!("{name}=\"{value}\"\n").into_bytes());
            }
        }
    }

    /// Removes all assignments. One that may not be edited is overridden with the empty value.
    pub fn remove(&mut self, name: &Variable) {
        let all: Vec<Assignment> = self.assignments_of(name).collect();
        self.remove_lines_of(name);
        let last = all.iter().rfind(|assignment| !assignment.plain);
        if last.is_some_and(|last| last.value.as_deref() != Some("")) {
            self.end_last_line();
            self.bytes.extend(format!("{name}=\"\"\n").into_bytes());
        }
    }

    /// Removes the assignments that may be edited, and overrides none.
    pub fn remove_lines_of(&mut self, name: &Variable) {
        let all: Vec<Assignment> = self.assignments_of(name).collect();
        for assignment in all.iter().rev().filter(|assignment| assignment.plain) {
            self.bytes.drain(assignment.lines.clone());
        }
    }

    /// Replaces the lines that assign the variable and may be edited, one by one. `false` if their numbers
    /// differ; then none is changed.
    pub fn replace_lines_of(&mut self, name: &Variable, lines: &[Line]) -> bool {
        let held: Vec<Assignment> = self.assignments_of(name).filter(|assignment| assignment.plain).collect();
        if held.is_empty() || held.len() != lines.len() {
            return false;
        }
        for (assignment, line) in held.iter().zip(lines).rev() {
            let is_last = assignment.lines.end == self.bytes.len();
            let newline = if is_last || line.text.ends_with('\n') { "" } else { "\n" };
            self.bytes.splice(assignment.lines.clone(), format!("{}{newline}", line.text).into_bytes());
        }
        true
    }

    /// Inserts a line at its former place, or at the end of a shorter file. Several lines must be inserted in
    /// the order of their numbers.
    pub fn put_back(&mut self, line: &Line) {
        let starts = std::iter::once(0).chain(
            self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1),
        );
        let place = starts.into_iter().nth(line.number.saturating_sub(1));
        match place {
            Some(place) if place < self.bytes.len() => {
                let newline = if line.text.ends_with('\n') { "" } else { "\n" };
                self.bytes.splice(place..place, format!("{}{newline}", line.text).into_bytes());
            }
            _ => {
                self.end_last_line();
                self.bytes.extend(line.text.bytes());
            }
        }
    }

    /// Removes the final newline, for a file that had none.
    pub fn drop_final_newline(&mut self) {
        if self.bytes.last() == Some(&b'\n') {
            self.bytes.pop();
        }
    }

    /// Ends the last line. After a backslash it would continue in the next line.
    fn end_last_line(&mut self) {
        if !self.has_final_newline() {
            self.bytes.push(b'\n');
        }
        if self.bytes.ends_with(b"\\\n") {
            self.bytes.push(b'\n');
        }
    }

    fn assignments_of<'a>(&'a self, name: &'a Variable) -> impl Iterator<Item = Assignment> + 'a {
        self.assignments().filter(|assignment| &self.bytes[assignment.name.clone()] == name.0.as_bytes())
    }

    /// All assignments. Lines inside a value are no assignments.
    fn assignments(&self) -> impl Iterator<Item = Assignment> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.bytes.len() {
                let found = assignment_at(&self.bytes, at);
                at = found.as_ref().map_or_else(|| line_end(&self.bytes, at), |found| found.lines.end);
                if found.is_some() {
                    return found;
                }
            }
            None
        })
    }
}

fn count_newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The position after the newline of the line with `at`.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let newline = bytes.iter().skip(at).position(|byte| *byte == b'\n');
    newline.map_or(bytes.len(), |distance| at + distance + 1)
}

fn identifier_length(bytes: &[u8]) -> usize {
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
            bytes.iter().position(|byte| !rest(byte)).unwrap_or(bytes.len())
        }
        _ => 0,
    }
}

/// The assignment at the beginning of the line at `start`.
fn assignment_at(bytes: &[u8], start: usize) -> Option<Assignment> {
    let line = bytes.get(start..)?;
    let indent = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let name = start + indent..start + indent + identifier_length(&line[indent..]);
    if name.is_empty() || bytes.get(name.end) != Some(&b'=') {
        return None;
    }
    let word = read_word(bytes, name.end + 1);
    let end = line_end(bytes, word.end);
    let behind = bytes[word.end..end].trim_ascii();
    // A comment begins after a blank. Directly after a word, `#` belongs to the word.
    let only = behind.is_empty() || behind.starts_with(b"#");
    let plain =
        only && word.value != WordValue::Unterminated && std::str::from_utf8(&bytes[start..end]).is_ok();
    let value = match word.value {
        WordValue::Literal(value) => String::from_utf8(value).ok(),
        WordValue::NeedsShell | WordValue::Unterminated => None,
    };
    Some(Assignment { lines: start..end, name: name.clone(), word: name.end + 1..word.end, value, plain })
}

struct Word {
    end: usize,
    value: WordValue,
}

/// The value of a word of the shell.
#[derive(PartialEq, Eq)]
enum WordValue {
    /// These bytes.
    Literal(Vec<u8>),
    /// A value that only the shell can evaluate.
    NeedsShell,
    /// The same, and only the shell can find its end.
    Unterminated,
}

/// Reads one word of the shell from `start` on (sh(1), quoting).
fn read_word(bytes: &[u8], start: usize) -> Word {
    let (mut value, mut quote, mut evaluated) = (Vec::new(), None, false);
    let mut at = start;
    // Such a word counts as ending with its line, as in sysrc(8). No caller reads where it ends.
    let endless = || Word { end: start, value: WordValue::Unterminated };
    while let Some(byte) = bytes.get(at).copied() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(b'\''), _) => value.push(byte),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')') => break,
            (_, b'`') => return endless(),
            (_, b'$') => {
                if matches!(bytes.get(at + 1), Some(b'(' | b'{')) && !is_simple_expansion(&bytes[at + 1..]) {
                    return endless();
                }
                evaluated = true;
            }
            (_, b'\\') => {
                at += 1;
                match (quote, bytes.get(at)) {
                    (_, None) => return endless(),
                    (_, Some(b'\n')) => {}
                    (Some(_), Some(next)) if !b"$`\"\\".contains(next) => value.extend([b'\\', *next]),
                    (_, Some(next)) => value.push(*next),
                }
            }
            (None, b'*' | b'?' | b'[' | b'~') => {
                evaluated = true;
                value.push(byte);
            }
            _ => value.push(byte),
        }
        at += 1;
    }
    if quote.is_some() {
        return endless();
    }
    Word { end: at, value: if evaluated { WordValue::NeedsShell } else { WordValue::Literal(value) } }
}

/// Whether this is `{name}`.
fn is_simple_expansion(rest: &[u8]) -> bool {
    let Some(inside) = rest.strip_prefix(b"{") else { return false };
    let length = identifier_length(inside);
    length > 0 && inside.get(length) == Some(&b'}')
}

#[cfg(test)]
mod tests;
