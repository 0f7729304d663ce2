//! Layouts: every 7430 and every 64 bytes mean something, and what was made is read back.

use hv_core::abi::kvp::{Answer, Code, IpAnswer, MESSAGE_SIZE, Message, Request};
use hv_core::abi::vss;

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "abi",
    promise: "any bytes decode; what is encoded decodes to the same; answers fit and are valid text",
    check,
    words: &["hn0", "00:15:5D:01:02:03", ";", "é", "日本", "\u{1f600}"],
};

fn check(data: &[u8]) -> u64 {
    let mut seen = Behaviour::default();
    let mut choices = Choices::new(data);
    seen.saw(kvp(&mut choices));
    seen.saw(backup(choices.rest()));
    seen.name()
}

fn kvp(choices: &mut Choices<'_>) -> (u8, bool) {
    let mut message = Message::default();
    fill(message.buffer(), choices);
    let asked = message.bytes()[0];
    let shape = shape(&message.decode());
    assert_eq!(message.clone().decode(), message.decode(), "decoding is stable");
    let (key, value) = (choices.bytes(600).to_vec(), choices.bytes(3000).to_vec());
    let list = String::from_utf8_lossy(&value).into_owned();
    let info = IpAnswer {
        dhcp: choices.yes(),
        families: choices.byte(),
        addresses: list.clone(),
        masks: list.clone(),
        gateways: list.clone(),
        name_servers: list,
    };
    for answer in [
        Answer::Code(Code::Fail),
        Answer::Value(&value),
        Answer::Item { key: &key, value: &value },
        Answer::IpInfo(&info),
    ] {
        let (mut once, mut again) = (message.clone(), message.clone());
        once.answer(&answer);
        again.answer(&answer);
        assert_eq!(once, again, "the same request and outcome make the same answer");
        if answer == Answer::Code(Code::Fail) {
            let from = if asked == 4 { 4 + 256 } else { 4 };
            assert!(once.bytes()[from..].iter().all(|byte| *byte == 0), "an error carries nothing");
        }
    }
    (shape, asked > 5)
}

fn shape(request: &Request<'_>) -> u8 {
    match request {
        Request::Get { key, .. } => u8::from(key.is_some()),
        Request::Set { key, value, .. } => 2 + u8::from(key.is_some()) + 2 * u8::from(value.is_some()),
        Request::Delete { key, .. } => 6 + u8::from(key.is_some()),
        Request::Enumerate { .. } => 8,
        Request::GetIpInfo { .. } => 9,
        Request::SetIpInfo(_) => 10,
        Request::Unknown { .. } => 11,
    }
}

/// Pieces at places: most of a message is zero, as the kernel's are.
fn fill(buffer: &mut [u8; MESSAGE_SIZE], choices: &mut Choices<'_>) {
    buffer[0] = choices.byte() % 8;
    buffer[1] = choices.byte() % 8;
    for _ in 0..choices.below(6) {
        let at = choices.below(MESSAGE_SIZE);
        let piece = choices.bytes(2100);
        let end = (at + piece.len()).min(MESSAGE_SIZE);
        buffer[at..end].copy_from_slice(&piece[..end - at]);
    }
}

fn backup(rest: &[u8]) -> (bool, u8) {
    let mut message = [0; vss::MESSAGE_SIZE];
    let size = rest.len().min(message.len());
    message[..size].copy_from_slice(&rest[..size]);
    let request = vss::Request::decode(&message);
    if let Some(request) = request {
        assert_eq!(vss::Request::decode(&vss::Request::encode(Some(request))), Some(request));
        for status in [vss::Status::Success, vss::Status::Failure] {
            let answer = vss::Answer { request, status };
            let bytes = answer.encode();
            assert!(vss::reserved_is_zero(&bytes));
            assert_eq!(bytes[..4], message[..4], "the operation goes back as it came");
            assert_eq!(bytes[8..16], message[8..16], "the id goes back as it came");
            assert_eq!(vss::Answer::decode(&bytes), answer);
        }
        assert!(request.age(u64::MAX) <= 15_000_000_000);
    }
    (request.is_some(), message[0] % 8)
}
