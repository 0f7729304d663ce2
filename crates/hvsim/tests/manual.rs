//! The manual pages agree with the programs: options both ways, and every setting with its default.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hv_core::runtime::config::Config;
use hvsim::testing::command;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(REPOSITORY).join(path)).unwrap()
}

fn programs() -> Vec<String> {
    let table = text("scripts/programs");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_whitespace().nth(1));
    // hvctl has commands, which its own tests compare with its page.
    names.filter(|name| *name != "hvctl").map(str::to_owned).collect()
}

/// The letters in `[-abc]`, `-h | -V` and lines that explain an option.
fn options_of_help(help: &str) -> BTreeSet<char> {
    let words = help.split_whitespace().map(|word| word.trim_matches(['[', ']']));
    words
        .filter_map(|word| word.strip_prefix('-'))
        .filter(|letters| letters.chars().all(|c| c.is_ascii_alphabetic()))
        .flat_map(str::chars)
        .collect()
}

fn help(program: &str) -> String {
    let output = command(program, &std::env::temp_dir()).arg("-h").output().unwrap();
    assert!(output.status.success(), "{program} -h");
    String::from_utf8(output.stdout).unwrap()
}

fn explained_in_help(help: &str) -> BTreeSet<char> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  -"));
    lines.filter_map(|line| line.chars().next()).collect()
}

fn page(program: &str) -> String {
    text(&format!("docs/man/{program}.8"))
}

/// The letters after `.Op Fl` and `.Fl` of the synopsis.
fn synopsis_of_page(page: &str) -> BTreeSet<char> {
    let (_, rest) = page.split_once(".Sh SYNOPSIS\n").unwrap();
    let (synopsis, _) = rest.split_once(".Sh DESCRIPTION\n").unwrap();
    let lines = synopsis
        .lines()
        .filter_map(|line| line.trim_start_matches(".Op ").trim_start_matches('.').strip_prefix("Fl "));
    // `Ar` and the rest is an argument, `|` a choice.
    lines
        .flat_map(|line| line.split_whitespace().take_while(|word| *word != "Ar").filter(|word| *word != "|"))
        .flat_map(str::chars)
        .collect()
}

fn explained_in_page(page: &str) -> BTreeSet<char> {
    page.lines()
        .filter_map(|line| line.strip_prefix(".It Fl "))
        .filter_map(|line| line.chars().next())
        .collect()
}

#[test]
fn options_of_programs_and_pages_agree() {
    let programs = programs();
    assert!(!programs.is_empty());
    for program in programs {
        let (help, page) = (help(&program), page(&program));
        let options = options_of_help(&help);
        assert!(options.contains(&'h') && options.contains(&'V'), "{program}: {options:?}");
        assert_eq!(explained_in_help(&help), options, "{program} -h explains what its usage line lists");
        assert_eq!(synopsis_of_page(&page), options, "the synopsis of {program}(8)");
        assert_eq!(explained_in_page(&page), options, "the explanations of {program}(8)");
    }
}

#[test]
fn an_option_that_the_program_refuses_is_in_no_page() {
    for program in programs() {
        for letter in
            ('a'..='z').chain('A'..='Z').filter(|letter| !options_of_help(&help(&program)).contains(letter))
        {
            let output = command(&program, &std::env::temp_dir()).arg(format!("-{letter}")).output().unwrap();
            assert_eq!(output.status.code(), Some(64), "{program} -{letter}");
        }
    }
}

/// Settings by section: the lines of the sample, which a test of the configuration compares with the
/// defaults.
fn settings_of_sample(sample: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut settings = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut section = String::new();
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with(' '))
            .and_then(|line| line.split_once(" = "))
        {
            settings.entry(section.clone()).or_default().insert(key.to_owned(), value.to_owned());
        }
    }
    settings
}

fn settings_of_page(page: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut settings = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix(".Ss Section ") {
            section = name.to_owned();
        } else if let Some(item) = line.strip_prefix(".It Ic ") {
            // The sample has an empty text for a setting without a default.
            let (key, value) = item.split_once(" = ").unwrap_or((item, r"\(dq\(dq"));
            settings.entry(section.clone()).or_default().insert(key.to_owned(), value.replace(r"\(dq", "\""));
        }
    }
    settings
}

#[test]
fn every_setting_is_in_the_page_with_its_default() {
    let (sample, page) = (
        settings_of_sample(&text("etc/hyperv.toml.sample")),
        settings_of_page(&text("docs/man/hyperv.toml.5")),
    );
    assert!(sample["log"].contains_key("level") && sample["kvp"].len() >= 5);
    assert_eq!(page, sample);
}

/// The names that the parser knows: it lists them when it meets an unknown one.
fn names_that_are_known(text: &str) -> BTreeSet<String> {
    let error = Config::parse(text, Path::new("x.toml")).unwrap_err().to_string();
    let (_, names) = error.split_once("expected ").unwrap();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_setting_that_the_parser_knows_is_in_the_sample() {
    let sample = settings_of_sample(&text("etc/hyperv.toml.sample"));
    assert_eq!(names_that_are_known("unknown-name = 1\n"), sample.keys().cloned().collect());
    for (section, settings) in sample {
        let mut known = names_that_are_known(&format!("[{section}]\nunknown-name = 1\n"));
        // A table of tables has no default. Both texts explain it in a paragraph of its own.
        if known.remove("mounts") {
            assert!(text("docs/man/hyperv.toml.5").contains(".Ic [[vss.mounts]]"));
            assert!(text("etc/hyperv.toml.sample").contains("# [[vss.mounts]]"));
        }
        assert_eq!(known, settings.keys().cloned().collect(), "{section}");
    }
}
