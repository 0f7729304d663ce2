//! What the documents promise is there: the tests that they name, the files that they link to.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The names of all test functions below a directory.
fn tests_below(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // The attribute, then perhaps others, then the function.
            let after =
                text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            names.extend(after.map(|(name, _)| name.to_owned()));
        }
    }
}

/// What stands in backquotes in the last column of a table's rows, and in a list's lines behind the last colon.
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

#[test]
fn every_test_that_a_document_names_exists() {
    let mut tests = BTreeSet::new();
    tests_below(&Path::new(REPOSITORY).join("crates"), &mut tests);
    for document in ["docs/differences-from-base.md", "docs/threat-model.md"] {
        let named = tests_that_are_named(&fs::read_to_string(Path::new(REPOSITORY).join(document)).unwrap());
        assert!(named.len() > 20, "{document}: {named:?}");
        let missing: Vec<&String> = named.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names what is no test: {missing:?}");
    }
}

#[test]
fn every_deviation_names_the_test_that_shows_it() {
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
