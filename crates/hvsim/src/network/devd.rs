//! A small devd(8): reads rules, matches events, runs actions one at a time. Events come from the simulated
//! kernel; what an action does is not its business.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | text that is no rule keeps devd from starting | `sbin/devd/parse.y:57`, `sbin/devd/devd.cc:473 (config::parse_one_file)` | `malformed_rules_are_refused` |
//! | a comment ends with its line, an empty string is none, no quote in a string | `sbin/devd/token.l:59`, `sbin/devd/token.l:65` | `comments_and_strings_end_like_in_devd` |
//! | a backslash joins lines of a string | `sbin/devd/token.l:74` | `lines_of_a_string_are_joined_by_a_backslash` |
//! | the highest number wins, of equal ones the first that was read, and only one runs | `sbin/devd/devd.cc:511 (config::sort_vector)`, `sbin/devd/devd.cc:818 (config::find_and_execute)` | `only_the_rule_with_the_highest_number_runs` |
//! | expressions cover the whole value, in any case, and `!` negates them | `sbin/devd/devd.cc:288 (match::match)`, `sbin/devd/devd.cc:302 (match::do_match)` | `expressions_cover_the_whole_value_in_any_case` |
//! | `$x` is the quoted value, `$$` a dollar, `$(` stays | `sbin/devd/devd.cc:679 (config::expand_one)`, `sbin/devd/devd.cc:650 (config::shell_quote)` | `dollars_and_parentheses_reach_the_shell` |
//! | `media-type` is compared with the interface's media | `sbin/devd/devd.cc:351 (media::do_match)` | `media_types_are_compared_with_the_interface` |
//! | actions run one at a time, in a shell, and are waited for (contract V1, V2) | `sbin/devd/devd.cc:226 (my_system)` | `an_action_is_waited_for_in_its_shell` |
//!
//! [`STOCK_RULES`] are those of FreeBSD that start something for an interface.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The actions of FreeBSD's devd.conf and dhclient.conf for a new interface and for one that gets a carrier.
pub const STOCK_RULES: &str = r#"
notify 0 {
	match "system" "IFNET";
	match "subsystem" "!(usbus|wlan)[0-9]+";
	match "type" "ATTACH";
	action "/etc/pccard_ether $subsystem start";
};
notify 0 {
	match "system" "IFNET";
	match "type" "LINK_UP";
	media-type "ethernet";
	action "service dhclient quietstart $subsystem";
};
"#;

/// A `notify` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Higher numbers are tried first.
    pub priority: i32,
    /// Variables and the expressions that they must match.
    pub matches: Vec<(String, String)>,
    /// The kind of media that the interface must have.
    pub media: Option<String>,
    /// The command, with variables.
    pub action: String,
}

/// Why a text is no list of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(String);

/// The rules, and the real paths of the programs in their actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devd {
    rules: Vec<Rule>,
    programs: BTreeMap<String, String>,
}

impl Devd {
    /// Parses rules. Rules of other kinds than `notify` are skipped.
    ///
    /// # Errors
    /// The place where the text differs from a rule.
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
    /// It cannot be read, or is not a file of rules.
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

    /// The command of the first rule that matches the event.
    #[must_use]
    pub fn action(&self, event: &str) -> Option<String> {
        let variables = variables(event);
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        let rule = self.rules.iter().find(|rule| {
            let media = rule.media.as_ref().is_none_or(|kind| has_media(kind, value("subsystem")));
            media && rule.matches.iter().all(|(name, expression)| matches(expression, value(name)))
        })?;
        Some(self.with_programs(&expand(&rule.action, &variables)))
    }

    /// The command with the real paths of its programs.
    fn with_programs(&self, command: &str) -> String {
        let part = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let mut text = String::new();
        let mut rest = command;
        while let Some(start) = rest.find(part) {
            let word = &rest[start..];
            let word = &word[..word.find(|c: char| !part(c)).unwrap_or(word.len())];
            text += &rest[..start];
            text += self.programs.get(word).map_or(word, String::as_str);
            rest = &rest[start + word.len()..];
        }
        text + rest
    }

    /// Runs the action of an event and waits for its end, as devd does. `None` if no rule matches.
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

/// The variables of `!system=A subsystem=B …`.
fn variables(event: &str) -> BTreeMap<String, String> {
    let words = event.trim_start_matches('!').split_whitespace();
    words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `config::expand_one`: `$name` becomes the value as one word of the shell, `$$` a dollar. `$(…)` and `$`
/// before other characters stay. devd quotes in the form `$'…'`, which not every shell has.
fn expand(action: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = action;
    while let Some((before, after)) = rest.split_once('$') {
        text += before;
        let first = after.chars().next();
        rest = match first {
            Some('$') => {
                text.push('$');
                &after[1..]
            }
            Some('(') => {
                let (inside, tail) = after.split_at(closing(after));
                text.push('$');
                text += inside;
                tail
            }
            Some(c) if c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '*') => {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let end = after[1..].find(|c: char| !part(c)).map_or(after.len(), |end| end + 1);
                let value = variables.get(&after[..end]).map_or("", String::as_str);
                text += &format!("'{}'", value.replace('\'', r"'\''"));
                &after[end..]
            }
            _ => {
                text.push('$');
                after
            }
        };
    }
    text + rest
}

/// The position of the closing parenthesis.
fn closing(text: &str) -> usize {
    let mut open = 0;
    for (place, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return place + 1;
        }
    }
    text.len()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number(i32),
    Text(String),
    /// A keyword or another identifier.
    Word(String),
    Sign(char),
}

/// sbin/devd/token.l: the longest match wins. A character that no pattern matches is dropped (flex echoes
/// it).
fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let line_end = |from: &str| from.find('\n');
        let taken = match c {
            // `#.*$` and `//.*$` need the end of a line after them: at the end of the file they are no
            // comments.
            '#' => line_end(rest).unwrap_or(1),
            '/' if rest.starts_with("//") => line_end(rest).unwrap_or(1),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(1, |end| end + 4),
            // `\"[^"]+\"`: an empty string is no string, and a string contains no quote.
            '"' => match rest[1..].find('"') {
                Some(end) if end > 0 => {
                    all.push(Token::Text(continued(&rest[1..=end])));
                    end + 2
                }
                _ => 1,
            },
            '{' | '}' | ';' => {
                all.push(Token::Sign(c));
                1
            }
            '0'..='9' => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                all.push(Token::Number(
                    rest[..length].parse().map_err(|_| SyntaxError(rest[..length].to_owned()))?,
                ));
                length
            }
            'A'..='Z' | 'a'..='z' => {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let length = rest.find(|c: char| !part(c)).unwrap_or(rest.len());
                all.push(Token::Word(rest[..length].to_owned()));
                length
            }
            _ => c.len_utf8(),
        };
        rest = &rest[taken..];
    }
    Ok(all)
}

/// Joins lines that end with a backslash. The indentation of the next line is dropped.
fn continued(inside: &str) -> String {
    let mut parts = inside.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

/// One block of sbin/devd/parse.y, and the tokens after it. Blocks of options are dropped.
fn read_rule(tokens: &[Token]) -> Result<(Option<Rule>, &[Token]), SyntaxError> {
    let error = |at: &[Token]| SyntaxError(format!("unexpected {:?}", at.first()));
    let (kind, priority, mut rest) = match tokens {
        [Token::Word(kind), Token::Sign('{'), rest @ ..] if kind == "options" => (kind, 0, rest),
        [Token::Word(kind), Token::Number(priority), Token::Sign('{'), rest @ ..]
            if matches!(kind.as_str(), "notify" | "attach" | "detach" | "nomatch") =>
        {
            (kind, *priority, rest)
        }
        _ => return Err(error(tokens)),
    };
    let mut rule = Rule { priority, matches: Vec::new(), media: None, action: String::new() };
    let options = kind == "options";
    // Options must not be empty (`options: option | options option`). Other blocks may be.
    let mut is_empty = options;
    loop {
        rest = match rest {
            [Token::Sign('}'), Token::Sign(';'), after @ ..] if !is_empty => {
                return Ok(((kind == "notify").then_some(rule), after));
            }
            [Token::Word(word), Token::Text(name), Token::Text(expression), Token::Sign(';'), after @ ..]
                if word == "match" && !options =>
            {
                rule.matches.push((name.clone(), expression.clone()));
                after
            }
            [Token::Word(word), Token::Text(value), Token::Sign(';'), after @ ..] if !options => {
                match word.as_str() {
                    "action" => rule.action.clone_from(value),
                    "media-type" => rule.media = Some(value.clone()),
                    "device-name" | "class" | "subdevice" => rule.matches.push((word.clone(), value.clone())),
                    _ => return Err(error(rest)),
                }
                after
            }
            [Token::Word(word), Token::Text(_), Token::Sign(';'), after @ ..]
                if options && (word == "directory" || word == "pid-file") =>
            {
                after
            }
            [Token::Word(word), Token::Word(_), Token::Text(_), Token::Sign(';'), after @ ..]
                if options && word == "set" =>
            {
                after
            }
            _ => return Err(error(rest)),
        };
        is_empty = false;
    }
}

/// Whether an interface has media of this type (media::do_match uses SIOCGIFMEDIA). Those of a simulated
/// guest are Ethernet; loopbacks and bridges have none.
fn has_media(kind: &str, interface: &str) -> bool {
    kind.eq_ignore_ascii_case("ethernet")
        && !["lo", "bridge", "wlan"].iter().any(|other| interface.starts_with(other))
}

/// Matches an extended regular expression with the whole value, without regard to case. A leading `!` negates
/// it. The syntax has characters, `.`, `[…]`, groups of alternatives `(a|b)`, and the repetitions `*`, `+`
/// and `?` of one character.
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
            .filter(|(priority, ..)| *priority < 20)
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

    // contract V3
    #[test]
    fn only_the_rule_with_the_highest_number_runs() {
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

    // contract V27
    #[test]
    fn any_value_is_one_word_of_the_shell() {
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
    fn comments_and_strings_end_like_in_devd() {
        let good = "# a comment\n// another\n/* and\none */ notify 1 { match \"a\" \"b\"; };";
        assert_eq!(Devd::parse(good).unwrap().rules().len(), 1);
        for text in [
            "notify 1 { }; # the file ends without a newline",
            "notify 1 { match \"a\" \"\"; action \"b\"; };",
            "notify 1 { action \"say \\\"x\\\"\"; };",
        ] {
            assert!(Devd::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_of_a_string_are_joined_by_a_backslash() {
        let devd = Devd::parse("notify 1 { match \"system\" \"A\"; action \"one \\\n\t  two\"; };").unwrap();
        assert_eq!(devd.action("!system=A").as_deref(), Some("one two"));
    }

    // contract V1, V27
    #[test]
    fn dollars_and_parentheses_reach_the_shell() {
        let action = "i=$subsystem; for v in $(list $i $$i); do echo $$v $$i; done";
        let devd =
            Devd::parse(&format!("notify 1 {{ match \"system\" \"A\"; action \"{action}\"; }};")).unwrap();
        let action = devd.action("!system=A subsystem=hn0").unwrap();
        assert_eq!(action, "i='hn0'; for v in $(list $i $$i); do echo $v $i; done");
    }

    #[test]
    fn media_types_are_compared_with_the_interface() {
        let devd = Devd::parse(STOCK_RULES).unwrap();
        let action = |event: &str| devd.action(event);
        assert_eq!(
            action("!system=IFNET subsystem=hn0 type=LINK_UP").as_deref(),
            Some("service dhclient quietstart 'hn0'")
        );
        assert_eq!(action("!system=IFNET subsystem=bridge0 type=LINK_UP"), None);
        assert_eq!(
            action("!system=IFNET subsystem=mce0 type=ATTACH").as_deref(),
            Some("/etc/pccard_ether 'mce0' start")
        );
        assert_eq!(action("!system=IFNET subsystem=wlan0 type=ATTACH"), None);
    }

    // contract V27
    #[test]
    fn malformed_rules_are_refused() {
        for text in [
            "options { };",
            "options 1 { directory \"x\"; };",
            "notify 1 { match \"a\" \"b\" };",
            "notify 1 { Match \"a\" \"b\"; };",
            "notify 1 { media-type \"ethernet\" \"x\"; };",
            "Notify 1 { };",
            "notify 1 { } notify 2 { };",
            "notify",
            "notify x { };",
            "notify 1 { match \"a\"; };",
            "notify 1 { action \"open",
            "notify 1 { }",
        ] {
            assert!(Devd::parse(text).is_err(), "{text}");
        }
    }

    // contract V1, V2
    #[test]
    fn an_action_is_waited_for_in_its_shell() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("said");
        // A pipe, a redirection and a list: only a shell knows them.
        let action = format!("echo $subsystem | cat >'{}'; exit 3", file.display());
        let rule = format!("notify 1 {{ match \"system\" \"IFNET\"; action \"{action}\"; }};");
        let devd = Devd::parse(&rule).unwrap();
        let status = devd.handle("!system=IFNET subsystem=hn0 type=ATTACH").unwrap().unwrap();
        // It has ended by now.
        assert_eq!((status.code(), std::fs::read_to_string(&file).unwrap().as_str()), (Some(3), "hn0\n"));
        assert_eq!(devd.handle("!system=DEVFS subsystem=CDEV type=CREATE").unwrap(), None);
    }
}
