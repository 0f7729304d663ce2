//! The driver of the key-value device, call by call: one test for each rule of the contract. The daemon is
//! played by the test.

use super::super::host::{HostValue, IpInfo};
use super::super::layout::{
    BODY, DELETE_KEY, DELETE_KEY_SIZE, ENUMERATED, ERROR, EXCHANGE, IP_DAEMON, KEY_SIZE, KEY_UNITS,
    OP_REGISTER, OPERATION, STATUS_CONT, STATUS_FAIL, STATUS_OK, VALUE_SIZE, VALUE_UNITS,
};
use super::*;

const DAEMON: Handle = Handle(1);
const OTHER: Handle = Handle(2);

/// A device, a clock and the calls of a daemon.
struct Rig {
    device: KvpDevice,
    now: Instant,
}

/// Clears an error answer after its code.
fn clear(message: &mut Message) {
    message.part_mut(layout::BODY..MESSAGE_SIZE).fill(0);
}

impl Rig {
    fn new() -> Self {
        let adapter = Adapter {
            guid: "0a1b2c3d-0000-1111-2222-333344445555".to_owned(),
            interface: "hn1".parse().unwrap(),
        };
        let settings = Settings { adapters: vec![adapter], ..Settings::default() };
        Self { device: KvpDevice::new(settings), now: Instant::now() }
    }

    fn registered() -> Self {
        let mut rig = Self::new();
        rig.open(DAEMON).unwrap();
        rig.register(DAEMON).unwrap();
        rig
    }

    fn open(&mut self, handle: Handle) -> Result<(), Errno> {
        self.device.open(handle, Opener { pid: 4711 }, self.now)
    }

    fn register(&mut self, handle: Handle) -> Result<usize, Errno> {
        let message = Message::request(OP_REGISTER, 0);
        self.device.write(handle, 0, message.bytes(), self.now)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.device.tick(self.now);
    }

    fn ask(&mut self, request: HostRequest) -> Ticket {
        self.device.submit(request, self.now)
    }

    fn read_with(&mut self, offset: u64, size: usize, again: bool) -> ReadOutcome {
        self.device.read(ReadCall { handle: DAEMON, offset, size, again }, self.now)
    }

    fn read(&mut self) -> Message {
        match self.read_with(0, MESSAGE_SIZE, false) {
            ReadOutcome::Data(bytes) => Message::from_bytes(&bytes),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, code: u32, change: impl FnOnce(&mut Message)) -> Result<usize, Errno> {
        let mut message = self.device.handed.clone();
        change(&mut message);
        message.put_u32(ERROR, code);
        self.device.write(DAEMON, 0, message.bytes(), self.now)
    }

    fn readable(&self) -> bool {
        self.device.readiness(DAEMON).readable
    }

    /// The daemon's view of one request, which is then answered with OK.
    fn delivered(request: HostRequest) -> Message {
        let mut rig = Self::registered();
        rig.ask(request);
        let message = rig.read();
        rig.answer(STATUS_OK, |_| {}).unwrap();
        assert_eq!(rig.device.violations(), [""; 0]);
        message
    }

    /// The host's view of one answer.
    fn answered(request: HostRequest, change: impl FnOnce(&mut Message)) -> (HostAnswer, Vec<String>) {
        let mut rig = Self::registered();
        let ticket = rig.ask(request);
        rig.read();
        rig.answer(STATUS_OK, change).unwrap();
        (rig.device.take_answer(ticket).unwrap(), rig.device.take_violations())
    }
}

fn get(key: &str) -> HostRequest {
    HostRequest::Get { pool: 0, key: key.to_owned() }
}

fn set(key: &str, value: HostValue) -> HostRequest {
    HostRequest::Set { pool: 0, key: key.to_owned(), value }
}

fn enumerate() -> HostRequest {
    HostRequest::Enumerate { pool: 1, index: 7 }
}

fn put(message: &mut Message, at: usize, text: &[u8]) {
    message.part_mut(at..at + text.len()).copy_from_slice(text);
}

// contract K1
#[test]
fn the_device_has_one_opener() {
    let mut rig = Rig::new();
    rig.open(DAEMON).unwrap();
    assert_eq!(rig.open(OTHER), Err(Errno::EBUSY));
    rig.device.close(OTHER, rig.now);
    assert_eq!(rig.open(OTHER), Err(Errno::EBUSY), "the refused one closed nothing");
    rig.device.close(DAEMON, rig.now);
    rig.open(OTHER).unwrap();
}

// contract K2
#[test]
fn calls_before_registration_fail() {
    let mut rig = Rig::new();
    rig.open(DAEMON).unwrap();
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, false), ReadOutcome::Failed(Errno::EPERM));
    for message in [Message::request(0, 0), Message::request(5, 0)] {
        assert_eq!(rig.device.write(DAEMON, 0, message.bytes(), rig.now), Err(Errno::EINVAL));
    }
    let short = Message::request(OP_REGISTER, 0);
    assert_eq!(rig.device.write(DAEMON, 0, &short.bytes()[..100], rig.now), Err(Errno::EINVAL));
    assert!(!rig.device.is_registered());
    assert_eq!(rig.device.take_violations().len(), 4);
    assert_eq!(rig.register(DAEMON), Ok(MESSAGE_SIZE));
    assert_eq!(rig.device.violations(), [""; 0]);
}

// contract K2
#[test]
fn a_request_is_held_until_a_daemon_registers() {
    let mut rig = Rig::new();
    let ticket = rig.ask(enumerate());
    rig.open(DAEMON).unwrap();
    rig.pass(Duration::from_secs(3600));
    assert!(!rig.readable());
    assert_eq!(rig.device.take_answer(ticket), None);
    rig.register(DAEMON).unwrap();
    assert!(rig.readable());
    assert_eq!(rig.read().u32_at(BODY), 7);
}

// contract K4
#[test]
fn poll_is_level_triggered_until_the_answer() {
    let mut rig = Rig::registered();
    assert!(!rig.readable());
    rig.ask(get("a"));
    assert!(rig.readable());
    rig.read();
    assert!(rig.readable(), "reading is not answering");
    rig.answer(STATUS_OK, |_| {}).unwrap();
    assert!(!rig.readable());
}

// contract K5
#[test]
fn a_second_read_of_a_request_sleeps() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.read();
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, false), ReadOutcome::Sleeps);
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, true), ReadOutcome::Sleeps);
    let violations = rig.device.take_violations();
    assert_eq!(violations, ["hv_kvp_dev: read the same request a second time: that blocks for ever"]);
}

#[test]
fn the_next_request_wakes_a_sleeping_read() {
    let mut rig = Rig::registered();
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, false), ReadOutcome::Sleeps);
    rig.ask(get("a"));
    assert!(matches!(rig.read_with(0, MESSAGE_SIZE, true), ReadOutcome::Data(_)));
    assert_eq!(
        rig.device.take_violations(),
        ["hv_kvp_dev: read though poll reports no request: that blocks"]
    );
}

// contract K5
#[test]
fn a_token_survives_its_opener() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.device.close(DAEMON, rig.now);
    rig.open(DAEMON).unwrap();
    rig.register(DAEMON).unwrap();
    assert!(!rig.readable(), "opening resets what poll looks at");
    let stale = rig.read();
    assert_eq!(stale.bytes(), Message::request(OP_REGISTER, 0).bytes(), "what was written last");
    assert_eq!(
        rig.device.take_violations(),
        ["hv_kvp_dev: read though poll reports no request: that returns stale bytes"]
    );
}

// contract K6
#[test]
fn the_copied_size_follows_the_file_offset() {
    let size = u64::try_from(MESSAGE_SIZE).unwrap();
    for (offset, expected) in [(0, MESSAGE_SIZE), (1, MESSAGE_SIZE), (2, 7429), (size, 1), (size + 1, 0)] {
        let mut rig = Rig::registered();
        rig.ask(get("a"));
        let ReadOutcome::Data(bytes) = rig.read_with(offset, MESSAGE_SIZE, false) else { panic!() };
        assert_eq!(bytes.len(), expected, "at {offset}");
        assert_eq!(rig.device.take_violations().len(), usize::from(offset != 0));
    }
}

// contract K7
#[test]
fn a_larger_read_gets_a_byte_behind_the_buffer() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    let ReadOutcome::Data(bytes) = rig.read_with(0, 8192, false) else { panic!() };
    assert_eq!(bytes.len(), MESSAGE_SIZE + 1);
    assert!(rig.device.take_violations()[0].contains("one byte past its buffer"));
}

// contract K40
#[test]
fn the_host_gets_a_failure_after_five_seconds() {
    let mut rig = Rig::registered();
    let ticket = rig.ask(get("a"));
    rig.pass(Duration::from_millis(4999));
    assert_eq!(rig.device.take_answer(ticket), None);
    rig.pass(Duration::from_millis(1));
    let answer = rig.device.take_answer(ticket).unwrap();
    assert_eq!((answer.code, answer.timed_out), (STATUS_FAIL, true));
    assert_eq!(rig.device.statistics().timeouts, 1);
    assert_eq!(rig.device.violations(), [""; 0], "being late is no violation");
}

// contract K8
#[test]
fn a_late_answer_is_dropped_and_frees_the_device() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.read();
    rig.pass(KERNEL_TIMEOUT);
    assert!(rig.readable(), "the answer is still owed");
    assert_eq!(rig.answer(STATUS_OK, |_| {}), Ok(MESSAGE_SIZE));
    assert!(!rig.readable());
    let next = rig.ask(enumerate());
    assert!(rig.readable());
    rig.read();
    rig.answer(STATUS_CONT, clear).unwrap();
    assert_eq!(rig.device.take_answer(next).unwrap().code, STATUS_CONT);
    assert_eq!(rig.device.violations(), [""; 0]);
}

// contract K40
#[test]
fn a_request_during_an_unanswered_one_fails() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.read();
    let second = rig.ask(get("b"));
    rig.pass(KERNEL_TIMEOUT);
    rig.pass(Duration::from_secs(1));
    // The late answer to the first request does not help the second, which was never handed over.
    rig.answer(STATUS_OK, |_| {}).unwrap();
    assert!(!rig.readable());
    assert_eq!(rig.device.take_answer(second), None);
    rig.pass(KERNEL_TIMEOUT);
    assert!(rig.device.take_answer(second).unwrap().timed_out);
}

#[test]
fn request_behind_an_answered_one_is_delivered() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.ask(enumerate());
    assert_eq!(rig.read().u8_at(OPERATION), layout::OP_GET);
    rig.answer(STATUS_OK, |_| {}).unwrap();
    assert!(rig.readable());
    assert_eq!(rig.read().u8_at(OPERATION), layout::OP_ENUMERATE);
}

// contract K13
#[test]
fn keys_arrive_with_wrong_sizes() {
    let (long, whole) = ("日".repeat(170), 341);
    for (key, size) in [("abc", 4), ("é", 2), ("日本", 5), (long.as_str(), whole)] {
        let message = Rig::delivered(get(key));
        assert_eq!(message.u32_at(EXCHANGE.key_size()), size, "{key}");
        assert_eq!(message.text(EXCHANGE.key()), key.as_bytes());
        assert_eq!(message.u32_at(EXCHANGE.value_size()), 0, "GET has no value");

        let message = Rig::delivered(set(key, HostValue::String(String::new())));
        assert_eq!(message.u32_at(EXCHANGE.key_size()), size, "{key}");
        let message = Rig::delivered(set("k", HostValue::String(key.to_owned())));
        assert_eq!(message.u32_at(EXCHANGE.value_size()), size, "{key}");
        assert_eq!(message.text(EXCHANGE.value()), key.as_bytes());

        let message = Rig::delivered(HostRequest::Delete { pool: 1, key: key.to_owned() });
        assert_eq!(message.u32_at(DELETE_KEY_SIZE), size, "{key}");
        assert_eq!(message.text(DELETE_KEY), key.as_bytes());
    }
}

// contract K14
#[test]
fn the_value_begins_behind_the_nul_of_a_long_key() {
    let key = "k".repeat(140);
    let message = Rig::delivered(set(&key, HostValue::String("value".to_owned())));
    let behind = &message.part(EXCHANGE.key())[140..];
    assert_eq!(message.text(EXCHANGE.key()), key.as_bytes());
    assert_eq!(&behind[256 - 140..256 - 140 + 5], b"value");
}

// contract K15
#[test]
fn values_arrive_as_text_without_their_type() {
    let cases: [(HostValue, &str, u32); 5] = [
        (HostValue::String("v".to_owned()), "v", 2),
        (HostValue::U32(7), "7", 2),
        (HostValue::U32(u32::MAX), "-1", 3),
        (HostValue::U64(u64::MAX), "18446744073709551615", 21),
        (HostValue::Qword(7), "", 0),
    ];
    for (value, text, size) in cases {
        let message = Rig::delivered(set("k", value.clone()));
        assert_eq!(message.text(EXCHANGE.value()), text.as_bytes(), "{value:?}");
        assert_eq!(message.u32_at(EXCHANGE.value_size()), size, "{value:?}");
        assert_eq!(message.u32_at(EXCHANGE.value_type()), 0, "{value:?}");
    }
}

#[test]
fn the_host_reads_a_value_back() {
    let (answer, violations) =
        Rig::answered(get("k"), |message| put(message, EXCHANGE.value().start, "größer".as_bytes()));
    assert_eq!(answer.value(), Some("größer"));
    assert_eq!(violations, [""; 0]);
}

// contract K18
#[test]
fn texts_are_cut_but_their_full_size_is_reported() {
    let mut rig = Rig::registered();
    rig.ask(enumerate());
    rig.read();
    let mut answer = rig.device.handed.clone();
    put(&mut answer, ENUMERATED.key().start, "k".repeat(KEY_SIZE - 1).as_bytes());
    put(&mut answer, ENUMERATED.value().start, "v".repeat(VALUE_SIZE - 1).as_bytes());
    let mut host = rig.device.current.as_ref().unwrap().host.clone();
    convert::to_host(&answer, &mut host).unwrap();
    assert_eq!(host.u32_at(ENUMERATED.key_size()), 1024);
    assert_eq!(host.u32_at(ENUMERATED.value_size()), 4096);
    let units = |at: usize| host.units_from(at).take_while(|&unit| unit != 0).count();
    assert_eq!(units(ENUMERATED.key().start), KEY_UNITS);
    assert_eq!(units(ENUMERATED.value().start), VALUE_UNITS);
}

/// Answers that are allowed, and answers that are not.
#[test]
fn answers_against_the_contract_are_recorded() {
    type Change = fn(&mut Message);
    let cases: [(&str, HostRequest, Change, &str); 9] = [
        ("long key", enumerate(), |m| put(m, ENUMERATED.key().start, &[b'k'; 255]), "key of 255 UTF-16"),
        ("long value", get("k"), |m| put(m, EXCHANGE.value().start, &[b'v'; 1023]), "value of 1023 UTF-16"),
        ("no NUL", get("k"), |m| m.part_mut(EXCHANGE.value()).fill(b'v'), "without a NUL"),
        ("no UTF-8", get("k"), |m| put(m, EXCHANGE.value().start, b"a\xffb"), "no valid UTF-8: a\\xffb"),
        ("adapter", ip(), |m| put(m, IP_DAEMON.adapter().start, b"x"), "changed the adapter"),
        (
            "addresses",
            ip(),
            |m| put(m, IP_DAEMON.addresses().start, &[b'1'; 1024]),
            "list of addresses of 1024",
        ),
        ("gateways", ip(), |m| put(m, IP_DAEMON.gateways().start, &[b'1'; 512]), "list of gateways of 512"),
        ("masks", ip(), |m| m.part_mut(IP_DAEMON.masks()).fill(b'1'), "list of masks without a NUL"),
        ("servers", ip(), |m| put(m, IP_DAEMON.name_servers().start, b"\x80"), "no valid UTF-8"),
    ];
    for (name, request, change, expected) in cases {
        let (_, violations) = Rig::answered(request, change);
        assert_eq!(violations.len(), 1, "{name}: {violations:?}");
        assert!(violations[0].contains(expected), "{name}: {violations:?}");
    }
}

#[test]
fn answers_at_the_limits_are_allowed() {
    type Change = fn(&mut Message);
    let cases: [(HostRequest, Change); 4] = [
        (enumerate(), |m| put(m, ENUMERATED.key().start, &[b'k'; 254])),
        (get("k"), |m| put(m, EXCHANGE.value().start, &[b'v'; 1022])),
        (get("k"), |m| put(m, EXCHANGE.value().start, b"v\0\xff\xff")),
        (ip(), |m| put(m, IP_DAEMON.gateways().start, &[b'1'; 511])),
    ];
    for (request, change) in cases {
        let (answer, violations) = Rig::answered(request, change);
        assert_eq!((answer.code, violations), (STATUS_OK, vec![]));
    }
}

#[test]
fn an_unknown_status_is_recorded_and_reaches_the_host() {
    let mut rig = Rig::registered();
    let ticket = rig.ask(get("k"));
    rig.read();
    rig.answer(1, |_| {}).unwrap();
    assert_eq!(rig.device.take_answer(ticket).unwrap().code, 1);
    assert!(rig.device.take_violations()[0].contains("0x00000001"));
}

// contract K3
#[test]
fn an_answer_before_any_request_faults() {
    let mut rig = Rig::registered();
    assert_eq!(rig.answer(STATUS_OK, |_| {}), Err(Errno::EFAULT));
    assert!(rig.device.take_violations()[0].contains("the kernel faults here"));
}

#[test]
fn second_answer_is_recorded_and_changes_nothing() {
    let mut rig = Rig::registered();
    let ticket = rig.ask(get("a"));
    rig.read();
    rig.answer(STATUS_OK, |_| {}).unwrap();
    assert_eq!(rig.answer(STATUS_CONT, |_| {}), Ok(MESSAGE_SIZE));
    assert_eq!(rig.device.take_answer(ticket).unwrap().code, STATUS_OK);
    assert_eq!(rig.device.take_violations(), ["hv_kvp_dev: wrote a second answer to the same request"]);
}

#[test]
fn answer_to_an_unread_request_is_recorded() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.answer(STATUS_OK, |_| {}).unwrap();
    assert_eq!(
        rig.device.take_violations(),
        ["hv_kvp_dev: wrote an answer to a request that it had not read"]
    );
}

// contract K8
#[test]
fn the_answer_to_an_unknown_operation_fails_afterwards() {
    let mut rig = Rig::registered();
    let ticket = rig.ask(HostRequest::Raw { opcode: 77, pool: 9, body: vec![1; 40] });
    let message = rig.read();
    assert_eq!((message.u8_at(0), message.u8_at(1)), (77, 9));
    assert!(message.part(2..MESSAGE_SIZE).iter().all(|&byte| byte == 0), "its body is not handed on");
    assert_eq!(rig.answer(layout::STATUS_NOT_SUPPORTED, |_| {}), Err(Errno::EINVAL));
    assert_eq!(rig.device.take_answer(ticket).unwrap().code, layout::STATUS_NOT_SUPPORTED);
    assert!(!rig.readable());
    assert_eq!(rig.device.violations(), [""; 0]);
    rig.answer(layout::STATUS_NOT_SUPPORTED, |_| {}).unwrap();
    assert!(rig.device.take_violations()[0].contains("again after EINVAL"));
}

#[test]
fn wrong_sizes_and_offsets_of_an_answer_are_recorded() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.read();
    let answer = [0; MESSAGE_SIZE - 1];
    assert_eq!(rig.device.write(DAEMON, 8, &answer, rig.now), Ok(MESSAGE_SIZE - 1));
    let violations = rig.device.take_violations();
    assert!(
        violations[0].contains("file offset 8") && violations[1].contains("7429 bytes"),
        "{violations:?}"
    );
}

fn ip() -> HostRequest {
    HostRequest::GetIpInfo { adapter: "00:15:5D:0A:0B:0C".to_owned() }
}

// contract K33
#[test]
fn the_adapter_of_get_ip_info_arrives_unchanged() {
    let message = Rig::delivered(ip());
    assert_eq!(message.text(IP_DAEMON.adapter()), b"00:15:5D:0A:0B:0C");
    assert_eq!(message.u8_at(OPERATION), layout::OP_GET_IP_INFO);
}

#[test]
fn addresses_come_back_as_the_host_reads_them() {
    let (answer, violations) = Rig::answered(ip(), |message| {
        message.put_u8(IP_DAEMON.family(), 3);
        message.put_u8(IP_DAEMON.dhcp(), 1);
        put(message, IP_DAEMON.addresses().start, b"10.0.0.2;fd00::2");
        put(message, IP_DAEMON.masks().start, b"255.255.255.0;/64");
        put(message, IP_DAEMON.gateways().start, b"10.0.0.1;fd00::1");
        put(message, IP_DAEMON.name_servers().start, b"10.0.0.1");
    });
    let expected = IpInfo {
        adapter: "00:15:5D:0A:0B:0C".to_owned(),
        family: 3,
        dhcp: true,
        addresses: "10.0.0.2;fd00::2".to_owned(),
        masks: "255.255.255.0;/64".to_owned(),
        gateways: "10.0.0.1;fd00::1".to_owned(),
        name_servers: "10.0.0.1".to_owned(),
    };
    assert_eq!(answer.ip, Some(expected));
    assert_eq!(violations, [""; 0]);
}

// contract K35
#[test]
fn a_known_guid_becomes_the_interfaces_name() {
    let known = "{0a1b2c3d-0000-1111-2222-333344445555}";
    let upper = known.to_uppercase();
    let stranger = "{ffffffff-0000-1111-2222-333344445555}";
    for (adapter, expected) in
        [(known, "hn1"), (upper.as_str(), upper.as_str()), (stranger, stranger), ("", "")]
    {
        let info = IpInfo {
            adapter: adapter.to_owned(),
            family: 1,
            dhcp: false,
            addresses: "10.0.0.2; 10.0.0.3".to_owned(),
            masks: "255.0.0.0;255.0.0.0".to_owned(),
            gateways: "10.0.0.1".to_owned(),
            name_servers: "1.1.1.1".to_owned(),
        };
        let message = Rig::delivered(HostRequest::SetIpInfo { info });
        assert_eq!(message.text(IP_DAEMON.adapter()), expected.as_bytes());
        assert_eq!(message.text(IP_DAEMON.addresses()), b"10.0.0.2; 10.0.0.3");
        assert_eq!(message.text(IP_DAEMON.masks()), b"255.0.0.0;255.0.0.0");
        assert_eq!(message.text(IP_DAEMON.gateways()), b"10.0.0.1");
        assert_eq!(message.text(IP_DAEMON.name_servers()), b"1.1.1.1");
        assert_eq!((message.u8_at(IP_DAEMON.family()), message.u8_at(IP_DAEMON.dhcp())), (1, 0));
    }
}

#[test]
fn verbatim_message_arrives_untouched() {
    let mut bytes = vec![0xff; MESSAGE_SIZE];
    bytes[OPERATION] = layout::OP_GET;
    bytes[layout::POOL] = 200;
    let mut rig = Rig::registered();
    rig.ask(HostRequest::Verbatim { message: bytes.clone() });
    let message = rig.read();
    rig.answer(layout::STATUS_INVALID_ARGUMENT, clear).unwrap();
    assert_eq!(rig.device.violations(), [""; 0]);
    assert_eq!(message.bytes(), bytes);
}

#[test]
fn an_error_with_its_requests_bytes_is_a_violation() {
    let mut rig = Rig::registered();
    rig.ask(get("a"));
    rig.read();
    rig.answer(STATUS_CONT, |_| {}).unwrap();
    let said = rig.device.violations();
    assert!(said.iter().any(|text| text.contains("answered an error with")), "{said:?}");
}

// contract K9
#[test]
fn closing_unregisters() {
    let mut rig = Rig::registered();
    rig.device.close(DAEMON, rig.now);
    assert!(!rig.device.is_registered());
    let ticket = rig.ask(get("a"));
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.device.take_answer(ticket), None, "held for the next daemon");
}

#[test]
fn a_request_of_a_dead_daemon_fails_in_time() {
    let mut rig = Rig::registered();
    let first = rig.ask(get("a"));
    rig.read();
    rig.device.close(DAEMON, rig.now);
    rig.open(DAEMON).unwrap();
    rig.register(DAEMON).unwrap();
    assert!(!rig.readable());
    rig.pass(KERNEL_TIMEOUT);
    assert!(rig.device.take_answer(first).unwrap().timed_out);
    rig.ask(enumerate());
    assert!(rig.readable());
    assert_eq!(rig.device.violations(), [""; 0]);
}

// contract K10
#[test]
fn detach_returns_the_opener_and_fails_requests() {
    let mut rig = Rig::registered();
    let tickets = [rig.ask(get("a")), rig.ask(get("b"))];
    assert_eq!(rig.device.detach(), Some(Opener { pid: 4711 }));
    for ticket in tickets {
        assert!(rig.device.take_answer(ticket).unwrap().detached);
    }
    let late = rig.ask(get("c"));
    assert!(rig.device.take_answer(late).unwrap().detached);
    assert!(!rig.device.is_present());
    assert_eq!(rig.device.readiness(DAEMON), Readiness { readable: false, hung_up: true });
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, false), ReadOutcome::Failed(Errno::ENXIO));
    assert_eq!(rig.register(DAEMON), Err(Errno::ENXIO));
    assert_eq!(rig.open(OTHER), Err(Errno::ENXIO));
    rig.device.attach();
    rig.open(OTHER).unwrap();
    assert_eq!(rig.read_with(0, MESSAGE_SIZE, false), ReadOutcome::Failed(Errno::ENXIO), "of the old node");
}

#[test]
fn polls_without_progress_are_counted() {
    let mut rig = Rig::registered();
    for _ in 0..5 {
        rig.device.poll(DAEMON, rig.now);
    }
    rig.ask(get("a"));
    rig.device.poll(DAEMON, rig.now);
    let statistics = rig.device.statistics();
    assert_eq!((statistics.polls, statistics.most_polls_without_progress), (6, 5));
}
