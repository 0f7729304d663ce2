//! Judges the contents of an answer: returns every violation of the contract as a sentence. The order of
//! calls is judged in `device/judge`.

use std::ops::Range;

use super::layout::{self, ENUMERATED, EXCHANGE, IP_DAEMON, Message};
use super::unicode::utf8_to_utf16;

/// All violations in `answer` to `request`, which is the message that the daemon read.
pub(super) fn audit(request: &Message, answer: &Message) -> Vec<String> {
    let mut found = Vec::new();
    let code = answer.u32_at(layout::ERROR);
    if layout::status_name(code).is_none() {
        found.push(format!("answered with the status {code:#010x}, which no host knows"));
    }
    if code != layout::STATUS_OK {
        found.extend(echo_fault(request, answer));
    }
    let mut text = |what, range: Range<usize>, limit| {
        found.extend(text_faults(answer, what, range, limit));
    };
    match request.u8_at(layout::OPERATION) {
        layout::OP_GET => text("value", EXCHANGE.value(), layout::VALUE_UNITS),
        layout::OP_ENUMERATE => {
            text("key", ENUMERATED.key(), layout::KEY_UNITS);
            text("value", ENUMERATED.value(), layout::VALUE_UNITS);
        }
        layout::OP_GET_IP_INFO => {
            text("list of addresses", IP_DAEMON.addresses(), layout::LIST_UNITS - 1);
            text("list of masks", IP_DAEMON.masks(), layout::LIST_UNITS - 1);
            text("list of gateways", IP_DAEMON.gateways(), layout::GATEWAY_UNITS - 1);
            text("list of name servers", IP_DAEMON.name_servers(), layout::LIST_UNITS - 1);
            found.extend(adapter_fault(request, answer));
        }
        _ => {}
    }
    found
}

/// An error must have nothing after its code. A text of the request may lack its NUL, and the kernel converts
/// the answer even then.
fn echo_fault(request: &Message, answer: &Message) -> Option<String> {
    let from = match request.u8_at(layout::OPERATION) {
        layout::OP_GET_IP_INFO => IP_DAEMON.adapter().end,
        _ => layout::BODY,
    };
    let back = answer.part(from..layout::MESSAGE_SIZE).iter().filter(|byte| **byte != 0).count();
    (back > 0).then(|| format!("answered an error with {back} bytes that are not zero behind the code"))
}

fn text_faults(answer: &Message, what: &str, range: Range<usize>, limit: usize) -> Option<String> {
    if !answer.part(range.clone()).contains(&0) {
        return Some(format!("answered a {what} without a NUL in its array of {} bytes", range.len()));
    }
    let text = answer.text(range);
    if std::str::from_utf8(text).is_err() {
        return Some(format!("answered a {what} that is no valid UTF-8: {}", text.escape_ascii()));
    }
    let units = utf8_to_utf16(text).len();
    (units > limit).then(|| {
        format!("answered a {what} of {units} UTF-16 units, the kernel takes {limit} and reports them all")
    })
}

fn adapter_fault(request: &Message, answer: &Message) -> Option<String> {
    let (asked, given) = (request.text(IP_DAEMON.adapter()), answer.text(IP_DAEMON.adapter()));
    // An adapter that is no text cannot be converted back.
    let may_go = std::str::from_utf8(asked).is_err() || asked.len() == IP_DAEMON.adapter().len();
    (asked != given && !(may_go && given.is_empty())).then(|| {
        format!(
            "changed the adapter from {:?} to {:?} in its answer to GET_IP_INFO",
            asked.escape_ascii().to_string(),
            given.escape_ascii().to_string()
        )
    })
}
