//! Messages of the key-value exchange, byte by byte. Offsets and limits are those of the contract.

use super::*;

fn message(operation: u8, pool: u8) -> Message {
    let mut message = Message::default();
    message.buffer()[..2].copy_from_slice(&[operation, pool]);
    message
}

fn put(message: &mut Message, at: usize, bytes: &[u8]) {
    message.buffer()[at..at + bytes.len()].copy_from_slice(bytes);
}

fn text_at(message: &Message, at: usize, size: usize) -> &[u8] {
    terminated(&message.0[at..at + size]).unwrap()
}

// contract K11, K12, K14
#[test]
fn rows_for_the_header_check_have_the_contracts_offsets() {
    let rows: Vec<_> = LAYOUT.iter().map(|row| (row.name, row.value)).collect();
    let wanted = [
        ("MESSAGE_SIZE", 7430),
        ("OPERATION", 0),
        ("POOL", 1),
        ("ERROR", 0),
        ("BODY", 4),
        ("KEY_SIZE", 512),
        ("VALUE_SIZE", 2048),
        ("GET.key", 16),
        ("SET.value", 528),
        ("DELETE.key", 8),
        ("ENUMERATE.index", 4),
        ("ENUMERATE.data", 8),
        ("REGISTER.version", 4),
        ("REGISTER", 4),
        ("ADAPTER_ID", 4),
        ("ADDRESS_FAMILY", 260),
        ("DHCP_ENABLED", 261),
        ("ADDRESSES", 262),
        ("MASKS", 2310),
        ("GATEWAYS", 4358),
        ("NAME_SERVERS", 5382),
    ];
    assert_eq!(rows, wanted);
}

// contract K2
#[test]
fn registration_carries_the_operation_and_the_version() {
    let message = Message::registration("0.1.0");
    assert_eq!(message.bytes()[..4], [4, 0, 0, 0]);
    assert_eq!(text_at(&message, 4, 512), b"0.1.0");
}

// contract K13, K14
#[test]
fn texts_end_at_their_nul_and_sizes_are_ignored() {
    let mut get = message(0, 1);
    put(&mut get, 8, &999_u32.to_le_bytes());
    put(&mut get, 16, b"key\0the beginning of the value");
    assert_eq!(get.decode(), Request::Get { pool: 1, key: Some(b"key") });

    let mut set = message(1, 0);
    put(&mut set, 16, b"k\0");
    put(&mut set, 528, "größe\0".as_bytes());
    assert_eq!(set.decode(), Request::Set { pool: 0, key: Some(b"k"), value: Some("größe".as_bytes()) });

    let mut delete = message(2, 3);
    put(&mut delete, 8, b"gone\0");
    assert_eq!(delete.decode(), Request::Delete { pool: 3, key: Some(b"gone") });
}

#[test]
fn arrays_without_a_nul_are_malformed() {
    let mut set = message(1, 0);
    put(&mut set, 16, &[b'k'; 512]);
    put(&mut set, 528, &[b'v'; 2048]);
    assert_eq!(set.decode(), Request::Set { pool: 0, key: None, value: None });
    put(&mut set, 16 + 511, &[0]);
    assert!(matches!(set.decode(), Request::Set { key: Some(key), .. } if key.len() == 511));
}

#[test]
fn every_operation_number_is_a_request() {
    let mut enumerate = message(3, 255);
    for index in [u32::MAX, 0x0403_0201] {
        put(&mut enumerate, 4, &index.to_le_bytes());
        assert_eq!(enumerate.decode(), Request::Enumerate { pool: 255, index });
    }
    for operation in 6..=255 {
        assert_eq!(message(operation, 0).decode(), Request::Unknown { operation });
    }
}

// contract K12
#[test]
fn ip_fields_lie_where_the_kernel_has_them() {
    let mut set = message(5, 0);
    for (at, text) in
        [(4, "hn0"), (262, "10.0.0.5"), (2310, "255.0.0.0"), (4358, "10.0.0.1"), (5382, "9.9.9.9")]
    {
        put(&mut set, at, text.as_bytes());
    }
    put(&mut set, 260, &[1, 1]);
    let wanted = IpRequest {
        adapter_id: b"hn0",
        address_family: 1,
        dhcp_enabled: 1,
        addresses: b"10.0.0.5",
        masks: b"255.0.0.0",
        gateways: b"10.0.0.1",
        name_servers: b"9.9.9.9",
    };
    assert_eq!(set.decode(), Request::SetIpInfo(wanted));
    put(&mut set, 4, &[b'x'; 256]);
    assert!(
        matches!(set.decode(), Request::SetIpInfo(IpRequest { adapter_id, .. }) if adapter_id.len() == 256)
    );
}

#[test]
fn codes_overwrite_operation_and_pool() {
    let mut request = message(1, 2);
    request.answer(&Answer::Code(Code::NoMoreItems));
    assert_eq!(request.bytes()[..4], [0x03, 0x01, 0x07, 0x80]);
}

#[test]
fn a_log_names_codes_and_shows_requests() {
    let names = [Code::Ok, Code::Fail, Code::NoMoreItems, Code::NotSupported, Code::InvalidArgument];
    let names = names.map(|code| code.to_string()).join(" ");
    assert_eq!(names, "OK E_FAIL S_CONT NOT_SUPPORTED INVALIDARG");
    assert_eq!(Code::GuidNotFound.to_string(), "GUID_NOTFOUND");
    assert_eq!(format!("{:?}", message(9, 0)), "Message(Unknown { operation: 9 })");
}

#[test]
fn an_error_returns_only_the_adapter_of_its_request() {
    for operation in (0..=6).chain([255]) {
        let mut request = message(operation, 1);
        put(&mut request, 4, &[b'x'; MESSAGE_SIZE - 4]);
        request.answer(&Answer::Code(Code::Fail));
        assert!(request.bytes()[4..].iter().all(|byte| *byte == 0), "{operation}");
    }
    for (adapter, kept) in [(&b"00:15:5D:01:02:03\0junk"[..], 17), (b"\xff\xfe\0", 0), (b"\0x", 0)] {
        let mut request = message(4, 0);
        put(&mut request, 4, adapter);
        put(&mut request, 260, b"junk");
        request.answer(&Answer::Code(Code::GuidNotFound));
        assert_eq!(request.bytes()[4..4 + kept], adapter[..kept]);
        assert!(request.bytes()[4 + kept..].iter().all(|byte| *byte == 0), "{adapter:?}");
    }
}

// contract K11
#[test]
fn item_and_value_are_written_to_their_fields() {
    let mut request = message(3, 1);
    put(&mut request, 4, &7_u32.to_le_bytes());
    put(&mut request, 20, &[b'j'; 512]);
    request.answer(&Answer::Item { key: b"key", value: b"value" });
    assert_eq!(request.bytes()[..8], [0, 0, 0, 0, 7, 0, 0, 0]);
    assert_eq!(text_at(&request, 20, 512), b"key");
    assert!(request.bytes()[23..532].iter().all(|byte| *byte == 0));
    assert_eq!(text_at(&request, 532, 2048), b"value");

    let mut request = message(0, 1);
    put(&mut request, 16, b"key\0");
    request.answer(&Answer::Value(b"value"));
    assert_eq!(text_at(&request, 16, 512), b"key");
    assert_eq!(text_at(&request, 528, 2048), b"value");
    assert_eq!(request.bytes()[12..16], 6_u32.to_le_bytes());
}

// contract K18
#[test]
fn texts_are_cut_to_what_the_kernel_converts() {
    let cases: [(Vec<u8>, Vec<u8>); 5] = [
        (vec![b'a'; 600], vec![b'a'; 254]),
        ("é".repeat(300).into_bytes(), "é".repeat(254).into_bytes()),
        ("日".repeat(300).into_bytes(), "日".repeat(170).into_bytes()),
        // Two units each: 127 of them fill 254 units in 508 bytes.
        ("😀".repeat(200).into_bytes(), "😀".repeat(127).into_bytes()),
        (format!("{}😀", "a".repeat(253)).into_bytes(), vec![b'a'; 253]),
    ];
    for (given, wanted) in cases {
        let mut request = message(3, 0);
        request.answer(&Answer::Item { key: &given, value: b"" });
        assert_eq!(text_at(&request, 20, 512), wanted);
    }
    let mut request = message(0, 0);
    request.answer(&Answer::Value(&[b'v'; 2047]));
    assert_eq!(text_at(&request, 528, 2048).len(), 1022);
    request.answer(&Answer::Value("日".repeat(700).as_bytes()));
    assert_eq!(text_at(&request, 528, 2048).len(), 3 * 682);
}

// contract K19
#[test]
fn sent_texts_are_valid_utf8() {
    let mut request = message(0, 0);
    request.answer(&Answer::Value(b"a\xffb\xc3"));
    assert_eq!(std::str::from_utf8(text_at(&request, 528, 2048)).unwrap(), "a\u{fffd}b\u{fffd}");
}

// contract K33
#[test]
fn ip_info_keeps_the_adapter_id() {
    let mut request = message(4, 0);
    put(&mut request, 4, b"00:15:5D:01:02:03\0");
    let info = IpAnswer {
        dhcp: true,
        families: 3,
        addresses: "10.0.0.5;fd00::5".into(),
        masks: "255.255.255.0;/64".into(),
        gateways: "10.0.0.1".into(),
        name_servers: "x".repeat(5000),
    };
    request.answer(&Answer::IpInfo(&info));
    assert_eq!(text_at(&request, 4, 256), b"00:15:5D:01:02:03");
    assert_eq!(request.bytes()[260..262], [3, 1]);
    assert_eq!(text_at(&request, 262, 2048), b"10.0.0.5;fd00::5");
    assert_eq!(text_at(&request, 5382, 2048).len(), 1023);
}

#[test]
fn decoding_any_bytes_is_safe_and_an_answer_is_stable() {
    // A fixed linear congruential generator: the same bytes in each run.
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    for round in 0..200_u32 {
        let mut message = Message::default();
        message.0.fill_with(&mut next);
        message.0[0] = (round % 7) as u8;
        let value = match message.decode() {
            Request::Set { value: Some(value), .. } => value.to_vec(),
            _ => vec![next(); 40],
        };
        let mut first = message.clone();
        first.answer(&Answer::Value(&value));
        let mut second = first.clone();
        let sent = terminated(&first.0[528..2576]).unwrap().to_vec();
        second.answer(&Answer::Value(&sent));
        assert_eq!(first, second);
    }
}
