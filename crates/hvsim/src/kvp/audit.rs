//! What is wrong with an answer, in sentences.

use std::ops::Range;

use super::layout::{self, ENUMERATED, EXCHANGE, IP_DAEMON, Message};
use super::unicode::utf8_to_utf16;

/// Everything that the contract forbids in `answer` to `request` (the message that the daemon read).
pub(super) fn audit(request: &Message, answer: &Message) -> Vec<String> {
    let mut found = Vec::new();
    let code = answer.u32_at(layout::ERROR);
    if layout::status_name(code).is_none() {
        found.push(format!("answered with the status {code:#010x}, which no host knows"));
    }
    let mut text = |what, range: Range<usize>, limit| {
        // A failed request may go back as it came, whatever it held.
        if code != layout::STATUS_OK && answer.part(range.clone()) == request.part(range.clone()) {
            return;
        }
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
    (asked != given).then(|| {
        format!(
            "changed the adapter from {:?} to {:?} in its answer to GET_IP_INFO",
            asked.escape_ascii().to_string(),
            given.escape_ascii().to_string()
        )
    })
}
