//! Checks the documents: the tests, files, functions and rules that they name exist, their links lead
//! somewhere, and every source file has a header.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// All test functions below a directory: their names, and their text up to the closing brace.
fn tests_below(dir: &Path, tests: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            tests_below(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // The attribute, possibly others, then the function.
            for rest in text.split("#[test]\n").skip(1) {
                let indent: String = rest.chars().take_while(|c| *c == ' ').collect();
                let Some((name, body)) = rest.split_once("fn ").and_then(|(_, f)| f.split_once('(')) else {
                    continue;
                };
                let body = body.split(&format!("\n{indent}}}")).next().unwrap();
                // Two levels may have a test of the same name.
                tests.entry(name.to_owned()).or_default().push_str(body);
            }
        }
    }
}

/// The names in backquotes in the last column of a table's rows, and after the last colon of a list's lines.
fn tests_that_are_named(document: &str) -> Vec<String> {
    let column = |line: &str| {
        let row = line.strip_prefix("| ").and_then(|row| row.trim_end().strip_suffix(" |"));
        row.map_or_else(
            || {
                line.strip_prefix("* ")
                    .and_then(|item| item.rsplit_once(": `"))
                    .map(|(_, names)| format!("`{names}"))
            },
            |row| row.rsplit_once(" | ").map(|(_, last)| last.to_owned()),
        )
    };
    let columns: Vec<String> = document.lines().filter_map(column).collect();
    columns.iter().flat_map(|column| column.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn all_tests() -> BTreeMap<String, String> {
    let mut tests = BTreeMap::new();
    tests_below(&Path::new(REPOSITORY).join("crates"), &mut tests);
    tests
}

fn named_in(document: &str) -> Vec<String> {
    let named = tests_that_are_named(&fs::read_to_string(Path::new(REPOSITORY).join(document)).unwrap());
    assert!(named.len() > 20, "{document}: {named:?}");
    named
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = all_tests();
    let document = "docs/differences-from-base.md";
    let missing: Vec<String> =
        named_in(document).into_iter().filter(|name| !tests.contains_key(name)).collect();
    assert!(missing.is_empty(), "{document} names what is no test: {missing:?}");
}

/// These name tests in running text: a word of at least four parts is one.
#[test]
fn every_test_that_is_named_in_running_text_exists() {
    let tests = all_tests();
    for document in ["docs/reliability.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(Path::new(REPOSITORY).join(document)).unwrap();
        let named = text.split('`').skip(1).step_by(2).filter(|word| {
            word.split('_').count() >= 4 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        let named: Vec<&str> = named.collect();
        assert!(!named.is_empty(), "{document}");
        for name in named {
            assert!(tests.contains_key(name), "{document} names {name}, which is no test");
        }
    }
}

/// A test with the right name may test something else by now.
#[test]
fn every_test_of_a_threat_mentions_what_it_shows() {
    let tests = all_tests();
    let mut named = named_in("docs/threat-model.md").into_iter().peekable();
    while let Some(name) = named.next() {
        let body = tests.get(&name).unwrap_or_else(|| panic!("{name} is no test"));
        let mentioned = named.next_if(|next| !tests.contains_key(next));
        let mentioned = mentioned.unwrap_or_else(|| panic!("write `{name}` (`a piece of its text`)"));
        assert!(mentioned.len() > 3 && body.contains(&mentioned), "{name} does not mention {mentioned}");
    }
}

#[test]
fn every_threat_names_its_test() {
    let text = fs::read_to_string(Path::new(REPOSITORY).join("docs/threat-model.md")).unwrap();
    let attacks = text.split_once("## Attacks").unwrap().1.split("\n## ").next().unwrap();
    let rows: Vec<&str> = attacks.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        assert!(row.ends_with("`) |"), "{row}");
    }
}

#[test]
fn every_deviation_names_its_test() {
    let text = fs::read_to_string(Path::new(REPOSITORY).join("docs/differences-from-base.md")).unwrap();
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| base ")) {
        assert!(row.ends_with("` |"), "{row}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let docs = Path::new(REPOSITORY).join("docs");
    let in_docs = fs::read_dir(&docs).unwrap().map(|entry| entry.unwrap().path());
    let at_top = fs::read_dir(REPOSITORY).unwrap().map(|entry| entry.unwrap().path());
    let documents: Vec<PathBuf> = in_docs
        .chain(at_top)
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    assert!(documents.len() > 5);
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let path = document.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
}

/// The spans `path` or `path: function()` of a document that name something below `crates`.
fn places_that_are_named(document: &str) -> Vec<(String, Option<String>)> {
    let spans = document.split('`').skip(1).step_by(2).filter(|span| span.starts_with("crates/"));
    spans
        .map(|span| match span.split_once(": ") {
            Some((path, function)) => (path.to_owned(), Some(function.trim_end_matches("()").to_owned())),
            None => (span.to_owned(), None),
        })
        .collect()
}

#[test]
fn every_file_and_function_of_the_tour_exists() {
    let tour = fs::read_to_string(Path::new(REPOSITORY).join("docs/tour.md")).unwrap();
    let places = places_that_are_named(&tour);
    assert!(places.iter().filter(|(_, function)| function.is_some()).count() > 20, "{places:?}");
    let is_missing = |(path, function): &(String, Option<String>)| {
        let path = Path::new(REPOSITORY).join(path);
        let text = || fs::read_to_string(&path).unwrap_or_default();
        let defines = |name: &String| {
            let text = text();
            text.contains(&format!("fn {name}(")) || text.contains(&format!("fn {name}<"))
        };
        function.as_ref().map_or_else(|| !path.exists(), |name| !defines(name))
    };
    let missing: Vec<_> = places.iter().filter(|place| is_missing(place)).collect();
    assert!(missing.is_empty(), "docs/tour.md names what is not there: {missing:?}");
}

/// The numbers of the contract's rules, such as `K1`.
fn rules_of_the_contract() -> BTreeSet<String> {
    let contract = fs::read_to_string(Path::new(REPOSITORY).join("docs/contract.md")).unwrap();
    let number = |line: &str| {
        let number = line.trim_start_matches("* ").strip_prefix("**")?.split_once("**")?.0.to_owned();
        let digits = number.strip_prefix(['K', 'B', 'V', 'S'])?;
        digits.parse::<u32>().is_ok().then_some(number)
    };
    contract.lines().filter_map(number).collect()
}

/// The numbers after the word `contract` in comments below a directory.
fn rules_that_are_named(dir: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rules_that_are_named(&path, named);
            continue;
        }
        // Scripts and rules of the simulated base system name rules, too.
        let text = fs::read_to_string(&path).unwrap_or_default();
        for rest in text.lines().flat_map(|line| line.split("contract ").skip(1)) {
            let words =
                rest.split([',', ' ', ')', '`', '|', '.', ';', ':', '"']).filter(|word| !word.is_empty());
            let is_rule = |word: &&str| {
                word.get(1..).is_some_and(|digits| {
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
                })
            };
            named.extend(words.take_while(is_rule).map(str::to_owned));
        }
    }
}

#[test]
fn every_rule_of_the_contract_is_named_by_code() {
    let rules = rules_of_the_contract();
    assert!(rules.len() > 90, "{rules:?}");
    let mut named = BTreeSet::new();
    rules_that_are_named(&Path::new(REPOSITORY).join("crates"), &mut named);
    let missing: Vec<_> = rules.difference(&named).collect();
    assert!(missing.is_empty(), "no code names the rules {missing:?} of docs/contract.md");
    let unknown: Vec<_> = named.difference(&rules).collect();
    assert!(unknown.is_empty(), "code names rules that docs/contract.md does not have: {unknown:?}");
}

/// The Rust files below a directory, without those that a build makes.
fn sources_below(dir: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources_below(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

/// The sentences of the header of a file: its first lines with `//!`. A colon before a list or table counts,
/// too.
fn sentences_of_the_header(text: &str) -> usize {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let header: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    header.iter().filter(|word| word.trim_end_matches(['`', ')', '*']).ends_with(['.', ':'])).count()
}

#[test]
fn every_source_file_has_a_header_of_two_sentences() {
    let mut sources = Vec::new();
    for dir in ["crates", "fuzz"] {
        sources_below(&Path::new(REPOSITORY).join(dir), &mut sources);
    }
    assert!(sources.len() > 150, "{sources:?}");
    let is_short = |path: &&PathBuf| sentences_of_the_header(&fs::read_to_string(path).unwrap()) < 2;
    let short: Vec<_> = sources.iter().filter(is_short).collect();
    assert!(short.is_empty(), "say what these decide, are given and never do: {short:?}");
}

/// A row of a table of rules ends with the test that plays it.
#[test]
fn every_rule_of_a_stand_in_names_its_test() {
    let tests = all_tests();
    let mut sources = Vec::new();
    sources_below(&Path::new(REPOSITORY).join("crates/hvsim/src"), &mut sources);
    let mut rules = 0;
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        let header = text.lines().take_while(|line| line.starts_with("//!"));
        let table = header.skip_while(|line| !line.ends_with("| test |")).skip(2);
        for row in table.filter(|line| line.starts_with("//! |")) {
            let test = row.rsplit('`').nth(1).unwrap_or_default();
            assert!(tests.contains_key(test), "{}: {row}", source.display());
            rules += 1;
        }
    }
    assert!(rules > 60, "{rules}");
}
