//! Tests of the editor of rc.conf(5) files. Each edits a text in memory; some give the result to sh(1), which
//! must read it alike. None opens a file of rc.

use super::*;

fn name(text: &str) -> Variable {
    Variable::new(text).unwrap()
}

fn file(text: &str) -> RcFile {
    RcFile::new(text.as_bytes().to_vec())
}

fn text(file: &RcFile) -> String {
    String::from_utf8(file.as_bytes().to_vec()).unwrap()
}

fn after_set(before: &str, value: &str) -> String {
    let mut file = file(before);
    file.set(&name("x"), &Value::new(value).unwrap());
    text(&file)
}

fn after_remove(before: &str) -> String {
    let mut file = file(before);
    file.remove(&name("x"));
    text(&file)
}

#[test]
fn values_are_read_as_the_shell_reads_them() {
    for (line, wanted) in [
        ("x=abc", Some("abc")),
        ("x=\"a b\"", Some("a b")),
        ("x='a b'\n", Some("a b")),
        ("  \tx=\"1\" # comment\n", Some("1")),
        ("x=", Some("")),
        ("x=\n", Some("")),
        ("x=\"\"", Some("")),
        ("x=a\"b c\"'d'", Some("ab cd")),
        ("x=\"a\\\"b\"", Some("a\"b")),
        ("x=\"a\\b\"", Some("a\\b")),
        ("x='a\\b'", Some("a\\b")),
        ("x='$y `z`'", Some("$y `z`")),
        ("x=a\\ b", Some("a b")),
        ("x=\"a \\\nb\"\n", Some("a b")),
        ("x=\"a\nb\"\n", Some("a\nb")),
        ("x=1\nx=2\n", Some("2")),
        ("x=a#b", Some("a#b")),
        ("x=\"1\"; y=2", Some("1")),
        ("x=$y", None),
        ("x=\"${y} z\"", None),
        ("x=`hostname`", None),
        ("x=$(hostname)", None),
        ("x=\"open", None),
        ("x=*", None),
        ("xy=1\nyx=2\n", None),
        ("#x=1", None),
        ("export x=1", None),
        ("x =1", None),
        ("x+=1", None),
        ("", None),
        ("y=\"a\nx=1\n\"\n", None),
    ] {
        assert_eq!(file(line).value(&name("x")).as_deref(), wanted, "{line:?}");
    }
}

#[test]
fn the_last_assignment_is_rewritten_in_place() {
    for (before, wanted) in [
        ("a=1\nx=\"old\"\nb=2\n", "a=1\nx=\"new\"\nb=2\n"),
        ("x='old'\n", "x='new'\n"),
        ("x=old\n", "x=\"new\"\n"),
        ("x=\n", "x=\"new\"\n"),
        (" \tx=\"old\"   # why\n", " \tx=\"new\"   # why\n"),
        ("x=1\nx=2\nb=3", "x=1\nx=\"new\"\nb=3"),
        ("x=\"a \\\n   b\"\nb=1\n", "x=\"new\"\nb=1\n"),
        ("x=\"$y\"\n", "x=\"new\"\n"),
        ("x=\"${y} z\" # c\n", "x=\"new\" # c\n"),
        ("xy=1\nx=2\nx_=3\n", "xy=1\nx=\"new\"\nx_=3\n"),
        ("x=old", "x=\"new\""),
        ("x=\"old\"\r\n", "x=\"new\"\n"),
    ] {
        assert_eq!(after_set(before, "new"), wanted, "{before:?}");
    }
}

#[test]
fn a_new_assignment_goes_to_the_end() {
    for (before, wanted) in [
        ("", "x=\"new\"\n"),
        ("a=1\n", "a=1\nx=\"new\"\n"),
        ("a=1", "a=1\nx=\"new\"\n"),
        ("#x=1\n", "#x=1\nx=\"new\"\n"),
        ("export x=1\n", "export x=1\nx=\"new\"\n"),
    ] {
        assert_eq!(after_set(before, "new"), wanted, "{before:?}");
    }
}

#[test]
fn lines_with_more_than_an_assignment_are_overridden() {
    for before in
        ["x=1; y=2\n", "x=1 command\n", "x=1 && y=2\n", "x=`id`\n", "x=$(id)\n", "x=\"${y:-1}\"\n", "x=${}\n"]
    {
        assert_eq!(after_set(before, "new"), format!("{before}x=\"new\"\n"), "{before:?}");
        assert_eq!(after_remove(before), format!("{before}x=\"\"\n"), "{before:?}");
    }
    let again = after_set("x=1; y=2\nx=\"old\"\n", "new");
    assert_eq!(again, "x=1; y=2\nx=\"new\"\n");
}

#[test]
fn bytes_that_are_not_utf8_are_not_edited() {
    let mut file = RcFile::new(b"# \xff\xfe\nx=1 # \xe4\ny=\"\xff\"\n".to_vec());
    file.set(&name("x"), &Value::new("2").unwrap());
    assert_eq!(file.as_bytes(), b"# \xff\xfe\nx=1 # \xe4\ny=\"\xff\"\nx=\"2\"\n");
    assert_eq!(file.value(&name("y")), None);
}

#[test]
fn setting_the_present_value_changes_nothing() {
    for before in ["x=new", "x='new' # c\n", "x=old\nx=new\n", "x=new; y=1\n"] {
        assert_eq!(after_set(before, "new"), before);
    }
}

#[test]
fn removal_takes_all_assignments_and_nothing_else() {
    for (before, wanted) in [
        ("a=1\nx=1\nb=2\n  x='2' # c\n", "a=1\nb=2\n"),
        ("x=\"a\nb\"\nb=1\n", "b=1\n"),
        ("a=1\nx=1", "a=1\n"),
        ("xy=1\n", "xy=1\n"),
        ("", ""),
        ("x=1; y=1\nx=\"\"\n", "x=1; y=1\nx=\"\"\n"),
    ] {
        assert_eq!(after_remove(before), wanted, "{before:?}");
    }
}

#[test]
fn lines_come_back_to_their_places_byte_for_byte() {
    for before in [
        "a=1\nx=\"1\" # c\nb=2\nx='3'\n",
        "x=1\n",
        "x=1",
        "a=1",
        "a=1\n\n",
        "",
        "x=\"a\n\tb\"\n\nc=1\nx=2",
        "c=1\nx=5; y=1\nx=2\n# end",
    ] {
        let old = file(before).lines_of(&name("x"));
        for value in ["", "new", "1"] {
            let mut file = file(before);
            let complete = file.has_final_newline();
            if value.is_empty() {
                file.remove(&name("x"));
            } else {
                file.set(&name("x"), &Value::new(value).unwrap());
            }
            file.remove_lines_of(&name("x"));
            old.iter().for_each(|line| file.put_back(line));
            if !complete {
                file.drop_final_newline();
            }
            assert_eq!(text(&file), before, "{value}");
        }
    }
}

#[test]
fn a_line_is_put_back_without_running_into_its_neighbours() {
    for (held, number, line, wanted) in [
        ("", 1, "x=1", "x=1"),
        ("a=1\n", 2, "x=1", "a=1\nx=1"),
        ("a=1\n", 9, "x=1\n", "a=1\nx=1\n"),
        ("a=1", 2, "x=1\n", "a=1\nx=1\n"),
        ("a=1\nb=2\n", 2, "x=1", "a=1\nx=1\nb=2\n"),
        // After a backslash the line would go on.
        ("a=\\\n", 2, "x=1\n", "a=\\\n\nx=1\n"),
    ] {
        let mut file = file(held);
        file.put_back(&Line { number, text: line.into() });
        assert_eq!(text(&file), wanted, "{held:?} {number}");
    }
}

#[test]
fn lines_are_replaced_one_by_one_where_their_numbers_agree() {
    let lines = |texts: &[&str]| -> Vec<Line> {
        texts.iter().map(|text| Line { number: 1, text: (*text).into() }).collect()
    };
    for (held, new, wanted) in [
        ("a=1\nx=1\nb=2\n x=2 # c\n", &["x=3\n", "x=4"][..], Some("a=1\nx=3\nb=2\nx=4")),
        ("x=1\nb=2\n", &["x=3"], Some("x=3\nb=2\n")),
        ("b=2\nx=1\n", &["x=3\n"], Some("b=2\nx=3\n")),
        ("x=1\nx=2\n", &["x=3\n"], None),
        ("x=1; y=2\n", &["x=3\n"], None),
        ("b=2\n", &["x=3\n"], None),
        ("b=2\n", &[], None),
        ("x=1\n", &[], None),
    ] {
        let mut file = file(held);
        assert_eq!(file.replace_lines_of(&name("x"), &lines(new)), wanted.is_some(), "{held:?}");
        assert_eq!(text(&file), wanted.unwrap_or(held), "{held:?}");
    }
}

#[test]
fn a_variable_is_assigned_whatever_its_value() {
    for (text, assigns) in
        [("x=1\n", true), ("x=`id`\n", true), ("x=\n", true), ("y=1\n#x=1\n", false), ("", false)]
    {
        assert_eq!(file(text).assigns(&name("x")), assigns, "{text:?}");
    }
}

#[test]
fn names_and_values_have_a_safe_alphabet() {
    for bad in ["", "1x", "x-y", "x y", "x=1", "x;", "\u{e9}", "x\n"] {
        assert!(Variable::new(bad).is_err(), "{bad:?}");
    }
    for bad in
        ["a\"b", "a'b", "$a", "a`b`", "a\\", "a\nb", "a;b", "a#b", "a&b", "*", "\u{e9}", "a\tb", "(a)", "a=b"]
    {
        assert!(Value::new(bad).is_err(), "{bad:?}");
    }
    assert!(Value::new("inet6 fe80::1%hn0/64 prefixlen 64 -lro 10.0.0.1").is_ok());
}

#[test]
fn all_variables_are_found_once() {
    let names = file("a=1\n b=2\nif true; then\n  a=3\nfi\nc d=4\n").variables();
    assert_eq!(names, [name("a"), name("b")]);
}

#[test]
fn no_text_makes_the_editor_panic_or_touch_other_lines() {
    let pieces = ["x=", "\"", "'", "\\", "\n", "$", "`", "{", "(", " ", "#", "y", ";", "\u{e9}"];
    let mut state = 1u64;
    for _ in 0..20_000 {
        let mut before = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            before += pieces[usize::try_from(state >> 33).unwrap() % pieces.len()];
        }
        let framed = format!("first=1\n{before}");
        let after = after_set(&framed, "new");
        assert!(after.starts_with("first=1\n"), "{framed:?}");
        let gone = after_remove(&framed);
        assert!(gone.starts_with("first=1\n"), "{framed:?}");
        assert!(matches!(file(&gone).value(&name("x")).as_deref(), None | Some("")), "{framed:?}");
        assert_eq!(file(&after).value(&name("x")).as_deref(), Some("new"), "{framed:?}");
    }
}
