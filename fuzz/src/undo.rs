//! Undo files: whatever lies there is read or refused, and what was read is written the same.

use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::{Places, Record};

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "undo",
    promise: "any undo file is read or refused in one line; read, written and read again it is the same",
    check,
    words: &[
        "format = 1",
        "interface = \"hn0\"",
        "[[variable]]",
        "[[variable.old]]",
        "[earlier]",
        "[[earlier.variable]]",
        "number = ",
        "text = \"",
        "written = \"",
        "\\u0000",
        "addresses = [",
        "\"10.1.1.5/24\"",
    ],
};

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let file = RcFile::new(choices.bytes(300).to_vec());
    let (places, other) = (if choices.yes() { Places::OfOld } else { Places::OfTheHost }, choices.below(64));
    let text = choices.rest();
    let record = match Record::parse(text) {
        Ok(record) => record,
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains('\n'), "{error}");
            seen.saw(error.split_whitespace().last().unwrap_or_default().to_owned());
            return seen.name();
        }
    };
    let written = record.to_text();
    assert_eq!(Record::parse(written.as_bytes()).expect("our own text"), record);
    seen.saw(record.variables.len());
    // Taking it back over a file that has nothing to do with it never panics, and is done once.
    let mut once = file.clone();
    let foreign = record.restore(&mut once, places);
    seen.saw((foreign.len(), once == file));
    let settled = record.clone().settled(&file);
    assert!(settled.earlier.is_none(), "one of both counts");
    seen.saw(Some(&settled) == record.earlier.as_deref());
    let mut inherits = record.clone();
    let mut earlier = record.clone();
    earlier.variables.truncate(other);
    seen.saw(inherits.inherit(&earlier));
    assert_eq!(Record::parse(inherits.to_text().as_bytes()).expect("our own text"), inherits);
    seen.name()
}
