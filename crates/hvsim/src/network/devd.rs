//! A small devd(8): reads rules, matches events, runs actions one at a time (sbin/devd/devd.cc).

use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::str::Chars;

/// A `notify` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Higher numbers are tried first.
    pub priority: i32,
    /// Variables and the expressions that they must match.
    pub matches: Vec<(String, String)>,
    /// The command, with variables.
    pub action: String,
}

/// Text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(String);

/// The rules and where the programs of their actions really are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devd {
    rules: Vec<Rule>,
    programs: BTreeMap<String, String>,
}

impl Devd {
    /// Reads rules; those of other kinds than `notify` are skipped.
    ///
    /// # Errors
    /// Where the text ends or goes on in another way than a rule does.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let tokens = tokens(text)?;
        let mut rules = Vec::new();
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let (rule, after) = read_rule(rest)?;
            rules.extend(rule);
            rest = after;
        }
        // Stable: rules of one priority keep the order of the file.
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        Ok(Self { rules, programs: BTreeMap::new() })
    }

    /// Reads rules from a file.
    ///
    /// # Errors
    /// It cannot be read, or is no file of rules.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Self::parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The rules, in the order in which they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Runs `command` where an action names the program `path`.
    pub fn map_program(&mut self, path: &str, command: String) {
        self.programs.insert(path.to_owned(), command);
    }

    /// The command of the first rule that matches the event, and of no other.
    #[must_use]
    pub fn action(&self, event: &str) -> Option<String> {
        let variables = variables(event);
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.matches.iter().all(|(name, expression)| matches(expression, value(name))))?;
        let command = expand(&rule.action, &variables);
        let program = command.split(' ').next().unwrap_or_default();
        Some(match self.programs.get(program) {
            Some(replacement) => command.replacen(program, replacement, 1),
            None => command,
        })
    }

    /// Runs the action of an event and waits for its end, as devd does. `None`: no rule matches.
    ///
    /// # Errors
    /// The shell cannot be run.
    pub fn handle(&self, event: &str) -> io::Result<Option<ExitStatus>> {
        let Some(command) = self.action(event) else { return Ok(None) };
        Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .env_clear()
            .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin")
            .stdin(Stdio::null())
            .status()
            .map(Some)
    }
}

/// `!system=A subsystem=B …` as variables.
fn variables(event: &str) -> BTreeMap<String, String> {
    let words = event.trim_start_matches('!').split_whitespace();
    words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `$name` becomes the value as one word of the shell. devd quotes in the form `$'…'`, which not every shell knows.
fn expand(action: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = action;
    while let Some((before, after)) = rest.split_once('$') {
        text += before;
        let end =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let value = variables.get(name).map_or("", String::as_str);
            text += &format!("'{}'", value.replace('\'', r"'\''"));
        } else {
            text += &format!("${name}");
        }
        rest = tail;
    }
    text + rest
}

/// Words, strings without their quotes (marked by a leading `"`), and the signs `{`, `}` and `;`.
fn tokens(text: &str) -> Result<Vec<String>, SyntaxError> {
    let mut all = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '#' => drop(take_while(&mut characters, |c| c != '\n')),
            '"' => {
                let inside = take_while(&mut characters, |c| c != '"');
                characters.next().ok_or_else(|| SyntaxError("a string does not end".to_owned()))?;
                all.push(format!("\"{inside}"));
            }
            '{' | '}' | ';' => all.push(c.to_string()),
            _ if c.is_whitespace() => {}
            _ => {
                let rest = take_while(&mut characters, |c| !c.is_whitespace() && !"{};\"#".contains(c));
                all.push(format!("{c}{rest}"));
            }
        }
    }
    Ok(all)
}

fn take_while(characters: &mut Peekable<Chars<'_>>, keep: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| characters.next_if(|c| keep(*c))).collect()
}

/// One rule and the tokens behind it.
fn read_rule(tokens: &[String]) -> Result<(Option<Rule>, &[String]), SyntaxError> {
    let error = |at: &[String]| SyntaxError(format!("unexpected {:?}", at.first()));
    let [kind, priority, open, rest @ ..] = tokens else { return Err(error(tokens)) };
    let (Ok(priority), "{") = (priority.parse(), open.as_str()) else { return Err(error(&tokens[1..])) };
    let mut rule = Rule { priority, matches: Vec::new(), action: String::new() };
    let mut rest = rest;
    loop {
        match rest {
            [close, end, after @ ..] if close == "}" && end == ";" => {
                return Ok(((kind == "notify").then_some(rule), after));
            }
            [word, name, expression, end, after @ ..] if word == "match" && end == ";" => {
                rule.matches.push((string(name)?, string(expression)?));
                rest = after;
            }
            [word, command, end, after @ ..] if word == "action" && end == ";" => {
                rule.action = string(command)?;
                rest = after;
            }
            _ => return Err(error(rest)),
        }
    }
}

fn string(token: &str) -> Result<String, SyntaxError> {
    let inside =
        token.strip_prefix('"').ok_or_else(|| SyntaxError(format!("{token:?} should be a string")))?;
    Ok(inside.to_owned())
}

/// An extended regular expression against the whole value, in any case; a leading `!` turns it round. Of the syntax there
/// are characters, `.`, `[…]`, groups of alternatives `(a|b)` and the repetitions `*`, `+` and `?` of one character.
fn matches(expression: &str, value: &str) -> bool {
    let (expression, wanted) = expression.strip_prefix('!').map_or((expression, true), |rest| (rest, false));
    let pattern: Vec<char> = expression.to_ascii_lowercase().chars().collect();
    let value: Vec<char> = value.to_ascii_lowercase().chars().collect();
    matches_here(&pattern, &value) == wanted
}

fn matches_here(pattern: &[char], value: &[char]) -> bool {
    let Some(first) = pattern.first() else { return value.is_empty() };
    if *first == '(' {
        let Some(close) = pattern.iter().position(|c| *c == ')') else { return false };
        let alternatives = pattern[1..close].split(|c| *c == '|');
        let rest = &pattern[close + 1..];
        return alternatives
            .into_iter()
            .any(|alternative| matches_here(&[alternative, rest].concat(), value));
    }
    let length = match first {
        '[' => pattern.iter().skip(2).position(|c| *c == ']').map_or(pattern.len(), |place| place + 3),
        '\\' => 2.min(pattern.len()),
        _ => 1,
    };
    let (atom, rest) = pattern.split_at(length);
    let one = |value: &[char]| value.first().is_some_and(|c| atom_matches(atom, *c));
    match rest.first() {
        Some('*') => matches_here(&rest[1..], value) || one(value) && matches_here(pattern, &value[1..]),
        Some('+') => {
            let star = [atom, &['*'], &rest[1..]].concat();
            one(value) && matches_here(&star, &value[1..])
        }
        Some('?') => matches_here(&rest[1..], value) || one(value) && matches_here(&rest[1..], &value[1..]),
        _ => one(value) && matches_here(rest, &value[1..]),
    }
}

fn atom_matches(atom: &[char], c: char) -> bool {
    match atom {
        ['.'] => true,
        ['\\', literal] => *literal == c,
        ['[', inside @ .., ']'] => {
            let (inside, wanted) = match inside {
                ['^', rest @ ..] => (rest, false),
                _ => (inside, true),
            };
            let ranges = inside.windows(3).any(|w| w[1] == '-' && (w[0]..=w[2]).contains(&c));
            (ranges || inside.contains(&c)) == wanted
        }
        [literal] => *literal == c,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../etc/devd/hyperv.conf");
    const SAMPLE: &str = include_str!("../../../../etc/devd/hyperv-vfdown.conf.sample");

    #[test]
    fn shipped_rules_are_those_of_base() {
        let devd = Devd::parse(SHIPPED).unwrap();
        let rules: Vec<(i32, &str, usize)> = devd
            .rules()
            .iter()
            .map(|rule| (rule.priority, rule.action.as_str(), rule.matches.len()))
            .collect();
        let wanted = [
            (11, "/usr/sbin/hv_vss_daemon", 4),
            (11, "pkill -x hv_vss_daemon", 4),
            (10, "/usr/sbin/hv_kvp_daemon", 4),
            (10, "pkill -x hv_kvp_daemon", 4),
            (10, "/usr/libexec/hyperv/hyperv_vfup $subsystem", 2),
            (10, "/usr/libexec/hyperv/hyperv_vfattach $subsystem 0", 2),
        ];
        assert_eq!(rules, wanted);
    }

    #[test]
    fn events_find_their_actions() {
        let devd = Devd::parse(SHIPPED).unwrap();
        for (event, action) in [
            (
                "!system=HYPERV_NIC_VF subsystem=hn10 type=VF_UP",
                Some("/usr/libexec/hyperv/hyperv_vfup 'hn10'"),
            ),
            ("!system=HYPERV_NIC_VF subsystem=hn10 type=VF_DOWN", None),
            (
                "!system=ETHERNET subsystem=mce0 type=IFATTACH",
                Some("/usr/libexec/hyperv/hyperv_vfattach 'mce0' 0"),
            ),
            ("!system=IFNET subsystem=mce0 type=ATTACH", None),
            ("!system=DEVFS subsystem=CDEV type=CREATE cdev=hv_kvp_dev", Some("/usr/sbin/hv_kvp_daemon")),
            ("!system=DEVFS subsystem=CDEV type=DESTROY cdev=hv_fsvss_dev", Some("pkill -x hv_vss_daemon")),
            ("!system=DEVFS subsystem=CDEV type=CREATE cdev=hv_kvp_dev2", None),
        ] {
            assert_eq!(devd.action(event).as_deref(), action, "{event}");
        }
        let down = Devd::parse(SAMPLE).unwrap();
        let action = down.action("!system=HYPERV_NIC_VF subsystem=hn0 type=VF_DOWN");
        assert_eq!(action.as_deref(), Some("/usr/libexec/hyperv/hyperv_vfup -d 'hn0'"));
    }

    #[test]
    fn the_highest_number_wins_and_only_one_rule_runs() {
        let text = r#"
            notify 5 { match "system" "A"; action "low"; };
            attach 99 { match "system" "A"; action "other kind"; };
            notify 20 { match "system" "A"; match "type" "!X|Y"; action "high"; };
            notify 20 { match "system" "A"; action "same number, later"; };
        "#;
        let devd = Devd::parse(text).unwrap();
        assert_eq!(devd.action("!system=A type=Z").as_deref(), Some("high"));
        assert_eq!(devd.action("!system=B"), None);
    }

    #[test]
    fn values_are_one_word_whatever_they_hold() {
        let devd = Devd::parse(r#"notify 1 { match "system" ".*"; action "run $subsystem $1 $unknown"; };"#)
            .unwrap();
        let action = devd.action("!system=A subsystem=$(reboot);'x").unwrap();
        assert_eq!(action, r"run '$(reboot);'\''x' $1 ''");
    }

    #[test]
    fn expressions_cover_the_whole_value_in_any_case() {
        for (expression, value, wanted) in [
            ("hn[0-9]+", "hn10", true),
            ("hn[0-9]+", "hnx", false),
            ("HN0", "hn0", true),
            ("hn", "hn0", false),
            ("(mce|vf)[0-9]*", "vf3", true),
            ("(mce|vf)[0-9]*", "em3", false),
            ("a.?c", "ac", true),
            ("!VF_UP", "VF_DOWN", true),
            ("!VF_UP", "VF_UP", false),
            (r"a\.b", "axb", false),
            ("[^0-9]", "x", true),
        ] {
            assert_eq!(matches(expression, value), wanted, "{expression} {value}");
        }
    }

    #[test]
    fn text_that_is_no_rule_is_refused() {
        for text in [
            "notify",
            "notify x { };",
            "notify 1 { match \"a\"; };",
            "notify 1 { action \"open",
            "notify 1 { }",
        ] {
            assert!(Devd::parse(text).is_err(), "{text}");
        }
    }
}
