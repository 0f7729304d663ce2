//! Fuzz target: messages of the host through the daemon's engine to the real pools, on a disk that fails,
//! dies and loses power. A model has the allowed contents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use hv_core::abi::kvp::{Code, KEY_SIZE, KEY_UNITS, MESSAGE_SIZE, VALUE_SIZE, VALUE_UNITS};
use hv_core::kvp::PoolId;
use hv_core::kvp::exchange::Exchange;
use hv_core::kvp::pool::disk::{Disk, Fault, POOL};
use hv_core::kvp::pool::storage::{FileId, Storage};
use hv_core::runtime::config::Config;
use kvp_daemon::service::Service;

use crate::Target;
use crate::input::{Behaviour, Choices, trace};

/// See the module.
pub const TARGET: Target = Target {
    name: "kvp",
    promise: "one answer a request, errors carry nothing, no record lost, torn, doubled or invented",
    check,
    words: &["key", "FullyQualifiedDomainName", "OSName", "\0", "hn0", "{", "00:15:5D:01:02:03"],
};

const BODY: usize = 4;
const MOST_RECORDS: usize = 12;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const DAY: Duration = Duration::from_secs(86_400);

/// A machine without anything: the one at work must not be asked.
static FACTS: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a scratch directory"));

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let facts = FACTS.path().display();
    let text = format!(
        "[facts]\ndir = \"{facts}\"\nresolv-conf = \"{facts}/none\"\n[kvp]\nip-injection = \"off\"\n\
         max-records = {MOST_RECORDS}\ngetent = \"/nonexistent\"\n"
    );
    Config::parse(&text, Path::new("fuzz")).expect("a good configuration")
});

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;
/// A change that was asked for when the process died: pool, key, and the value that it may have now.
type UnderWay = (usize, Vec<u8>, Option<Vec<u8>>);

struct World {
    disk: Disk,
    service: Service<Disk>,
    exchange: Exchange,
    pools: [Contents; 5],
    /// The last message that was sent, for the next one to be made of.
    message: Vec<u8>,
    seen: Behaviour,
    messages: u64,
}

/// Messages that this process has sent to the engine, for the driver's account.
pub static MESSAGES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let disk = Disk::with_pool(&[]);
    let disk = if choices.yes() { disk.watched() } else { disk };
    let mut world = World {
        service: Service::with_storage(&CONFIG, disk.clone()),
        disk,
        exchange: Exchange::new(),
        pools: Default::default(),
        message: vec![0; MESSAGE_SIZE],
        seen: Behaviour::default(),
        messages: 0,
    };
    while choices.left() && world.messages < 400 {
        world.step(&mut choices);
    }
    world.restart(None, choices.yes().then_some(7));
    MESSAGES.fetch_add(world.messages, std::sync::atomic::Ordering::Relaxed);
    world.seen.name()
}

impl World {
    fn step(&mut self, choices: &mut Choices<'_>) {
        if trace() {
            let size = self.disk.pool().len();
            eprintln!("step with {} keys, {} records, {size} bytes", self.pools[0].len(), size / 2560);
        }
        let what = choices.byte() % 64;
        if trace() {
            eprintln!("what {what} now {}", self.disk.now());
        }
        match what {
            0..=4 => {
                let fault = Fault::Error(choices.of(&[ENOSPC, EIO]), choices.of(&[0, 1, 512, 700, 2560]));
                self.disk.fail_at(choices.below(16), fault);
                self.request(choices, true);
                self.disk.restart();
            }
            5 => {
                // A kill ends a write between two blocks (ffs_write() in sys/ufs/ffs/ffs_vnops.c), never
                // within a sector.
                self.disk.fail_at(choices.below(16), Fault::Kill(choices.of(&[0, 512, 1024, 2048, 2560])));
                let under_way = self.request(choices, true);
                let power = choices.yes().then(|| u64::from(choices.byte()));
                if self.disk.is_dead() {
                    self.restart(under_way, power);
                }
                self.disk.restart();
            }
            6 => self.restart(None, choices.yes().then(|| u64::from(choices.byte()))),
            7..=10 => self.append_by_another(choices),
            11 => self.disk.pass(Duration::from_millis(u64::from(choices.byte()))),
            12 if choices.yes() => self.disk.pass(DAY),
            12 => self.disk.set_clock_back(DAY),
            _ => drop(self.request(choices, false)),
        }
    }

    /// Makes a message, sends it and checks the answer. What is returned may or may not be on the disk if it
    /// died.
    fn request(&mut self, choices: &mut Choices<'_>, fault: bool) -> Option<UnderWay> {
        self.compose(choices);
        let full = choices.byte() != 255;
        let size = if full { MESSAGE_SIZE } else { choices.below(MESSAGE_SIZE) };
        let message = self.message.clone();
        let answer = self.exchange_one(&message, size);
        if self.disk.is_dead() {
            return change_of(&message).filter(|_| full);
        }
        let code = u32::from_le_bytes([answer[0], answer[1], answer[2], answer[3]]);
        self.seen.saw((message[0].min(6), message[1].min(6), code, fault));
        if code != Code::Ok as u32 {
            assert_error_is_empty(&message, &answer);
        }
        if !full {
            assert_eq!(code, Code::Fail as u32, "a short message fails");
            return None;
        }
        let excused = fault && code == Code::Fail as u32;
        match message[0] {
            0 => self.check_get(&message, &answer, code, excused),
            1 | 2 => self.check_change(&message, code, excused),
            3 => self.check_item(&message, &answer, code, excused),
            4 => assert!(code == 0 || code == Code::GuidNotFound as u32, "{code:#x}"),
            5 => assert_ne!(code, 0, "injection is off"),
            _ => assert_eq!(code, Code::NotSupported as u32),
        }
        None
    }

    fn exchange_one(&mut self, message: &[u8], size: usize) -> Vec<u8> {
        self.messages += 1;
        self.exchange.buffer()[..size].copy_from_slice(&message[..size]);
        let action = self.exchange.begin(size);
        if trace() {
            eprintln!("{:.120}", format!("{action:?}"));
        }
        let outcome = self.service.perform(&action);
        let answer = self.exchange.finish(&outcome).expect("an answer for each request").bytes().to_vec();
        assert!(self.exchange.finish(&outcome).is_none(), "no second answer");
        answer
    }

    fn compose(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.of(&[0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 255]);
        if choices.byte() % 8 != 0 {
            self.message.fill(0);
        }
        self.message[0] = operation;
        self.message[1] = choices.of(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 255]);
        if operation == 3 {
            self.message[BODY] = choices.byte() % 16;
            self.message[BODY + 1] = u8::from(choices.byte() == 255);
        } else {
            let (at, room) = if operation == 2 { (BODY + 4, KEY_SIZE) } else { (BODY + 12, KEY_SIZE) };
            self.put(choices, at, room);
            self.put(choices, BODY + 12 + KEY_SIZE, VALUE_SIZE);
        }
        if choices.byte() % 32 == 31 {
            // Lying sizes, junk behind a NUL, no NUL at all.
            let at = choices.below(MESSAGE_SIZE - 2) + 2;
            let junk = choices.bytes(600);
            let end = (at + junk.len()).min(MESSAGE_SIZE);
            self.message[at..end].copy_from_slice(&junk[..end - at]);
        }
    }

    /// A text of a few that come again, or any bytes, in its field.
    fn put(&mut self, choices: &mut Choices<'_>, at: usize, room: usize) {
        let text: Vec<u8> = match choices.byte() % 8 {
            0 => choices.bytes(room).to_vec(),
            1 => vec![choices.of(b"kv"); room - choices.below(3)],
            2 => "日本é\u{1f600}".repeat(choices.below(400)).into_bytes(),
            3 => Vec::new(),
            _ => vec![b'a' + choices.byte() % 16; 1 + choices.below(3)],
        };
        let field = &mut self.message[at..at + room];
        field.fill(0);
        let size = text.len().min(room);
        field[..size].copy_from_slice(&text[..size]);
    }

    fn check_get(&mut self, message: &[u8], answer: &[u8], code: u32, excused: bool) {
        let key = text(&message[BODY + 12..], KEY_SIZE);
        let pool = usize::from(message[1]);
        if pool == 2 {
            return assert!(code == 0 || code == refusal(pool, key));
        }
        match (self.pools.get(pool), key.filter(|key| !key.is_empty())) {
            (Some(pool), Some(key)) if code == 0 => {
                let value = text(&answer[BODY + 12 + KEY_SIZE..], VALUE_SIZE).expect("a value with its NUL");
                let stored = pool.get(key).expect("only a key that is there has a value");
                assert_eq!(value, shown(stored, VALUE_SIZE, VALUE_UNITS), "the value as it was stored");
            }
            (Some(pool), Some(key)) => {
                assert!(
                    excused || (code == Code::NoMoreItems as u32 && !pool.contains_key(key)),
                    "{code:#x}"
                );
            }
            _ => assert_eq!(code, Code::InvalidArgument as u32),
        }
    }

    fn check_change(&mut self, message: &[u8], code: u32, excused: bool) {
        let pool = usize::from(message[1]);
        let Some((_, key, value)) = change_of(message) else {
            return assert!(
                code == Code::InvalidArgument as u32 || (pool == 2 && code == Code::NoMoreItems as u32)
            );
        };
        // A record that another program has added to a key counts, too.
        let records =
            PoolId::from_number(message[1]).map_or(0, |pool| self.disk.read(FileId::Pool(pool)).len());
        let is_full = records / (KEY_SIZE + VALUE_SIZE) >= MOST_RECORDS;
        let contents = &mut self.pools[pool];
        match (code, value) {
            (0, Some(value)) => drop(contents.insert(key, value)),
            (0, None) => assert!(contents.remove(&key).is_some(), "what was not there cannot be deleted"),
            (code, None) if code == Code::NoMoreItems as u32 => assert!(!contents.contains_key(&key)),
            (_, Some(_)) if is_full && !contents.contains_key(&key) => {}
            _ => assert!(excused, "refused without a reason, {code:#x}"),
        }
    }

    fn check_item(&mut self, message: &[u8], answer: &[u8], code: u32, excused: bool) {
        let pool = usize::from(message[1]);
        let index =
            u32::from_le_bytes([message[BODY], message[BODY + 1], message[BODY + 2], message[BODY + 3]]);
        if pool > 4 {
            return assert_eq!(code, Code::InvalidArgument as u32);
        }
        if code == 0 {
            let key = text(&answer[BODY + 16..], KEY_SIZE).expect("a key with its NUL");
            let value = text(&answer[BODY + 16 + KEY_SIZE..], VALUE_SIZE).expect("a value with its NUL");
            assert!(std::str::from_utf8(key).is_ok() && std::str::from_utf8(value).is_ok(), "valid text");
            let known = |(k, v): (&Vec<u8>, &Vec<u8>)| {
                shown(k, KEY_SIZE, KEY_UNITS) == key && shown(v, VALUE_SIZE, VALUE_UNITS) == value
            };
            assert!(pool == 2 || self.pools[pool].iter().any(known), "an item that nobody stored");
        } else if pool == 2 {
            assert!(code == Code::NoMoreItems as u32 && index > 9, "all intrinsic items are there");
        } else {
            let beyond = index as usize >= self.pools[pool].len();
            assert!(excused || (code == Code::NoMoreItems as u32 && beyond), "{code:#x} at {index}");
        }
    }

    /// The process ends, the power with it if `power` says so, and a new one must find every record.
    fn restart(&mut self, under_way: Option<UnderWay>, power: Option<u64>) {
        if trace() {
            eprintln!("restart, power {power:?}, under way {:.60}", format!("{under_way:?}"));
        }
        match power {
            Some(seed) => self.disk.lose_power(seed),
            None => self.disk.restart(),
        }
        self.service = Service::with_storage(&CONFIG, self.disk.clone());
        self.exchange = Exchange::new();
        self.seen.saw((under_way.is_some(), power.is_some()));
        let found: Vec<Contents> = PoolId::ALL.iter().map(|pool| self.walk(*pool)).collect();
        if let Some((pool, key, value)) = under_way {
            let now = found[pool].get(&key).cloned();
            let before = self.pools[pool].get(&key).cloned();
            assert!(now == before || now == value, "what was under way is old or new");
            match now {
                Some(now) => drop(self.pools[pool].insert(key, now)),
                None => drop(self.pools[pool].remove(&key)),
            }
        }
        for (pool, found) in found.iter().enumerate().filter(|(pool, _)| *pool != 2) {
            assert_eq!(found, &self.pools[pool], "pool {pool} after a restart");
        }
    }

    /// All of a pool as its file holds it, once the host has walked it.
    fn walk(&mut self, pool: PoolId) -> Contents {
        let mut contents = Contents::new();
        if pool == PoolId::Auto {
            return contents;
        }
        let mut count = 0;
        loop {
            let mut message = vec![0; MESSAGE_SIZE];
            message[0] = 3;
            message[1] = pool as u8;
            message[BODY..BODY + 4].copy_from_slice(&u32::to_le_bytes(count));
            if self.exchange_one(&message, MESSAGE_SIZE)[..4] != [0; 4] {
                break;
            }
            count += 1;
        }
        for record in self.disk.read(FileId::Pool(pool)).chunks_exact(KEY_SIZE + VALUE_SIZE) {
            let key = text(record, KEY_SIZE).expect("a key with its NUL");
            let value = text(&record[KEY_SIZE..], VALUE_SIZE).expect("a value with its NUL");
            if !key.is_empty() {
                contents.insert(key.to_vec(), value.to_vec());
            }
        }
        assert_eq!(contents.len(), count as usize, "the host sees each key once");
        contents
    }

    /// As cloud-init does: a record at the end, whether the key is there or not. The last one counts.
    fn append_by_another(&mut self, choices: &mut Choices<'_>) {
        let mut bytes = self.disk.pool();
        let whole = bytes.len() / (KEY_SIZE + VALUE_SIZE) * (KEY_SIZE + VALUE_SIZE);
        bytes.truncate(whole);
        let key = vec![b'a' + choices.byte() % 16; 1 + choices.below(3)];
        let value = choices.bytes(40).split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let mut record = [0; KEY_SIZE + VALUE_SIZE];
        record[..key.len()].copy_from_slice(&key);
        record[KEY_SIZE..KEY_SIZE + value.len()].copy_from_slice(&value);
        bytes.extend(record);
        if trace() {
            eprintln!("another program appends {:?}", String::from_utf8_lossy(&key));
        }
        self.disk.write_by_another(&bytes);
        // It synchronises, so that the model knows what a power cut leaves of it.
        self.disk.clone().sync(FileId::Pool(POOL)).expect("a good disk");
        self.pools[POOL.number()].insert(key, value);
    }
}

/// The change that a message asks for, where it is a good one.
fn change_of(message: &[u8]) -> Option<UnderWay> {
    let pool = usize::from(message[1]);
    let at = if message[0] == 2 { BODY + 4 } else { BODY + 12 };
    let key = text(&message[at..], KEY_SIZE).filter(|key| !key.is_empty())?;
    let value = match message[0] {
        1 => Some(text(&message[BODY + 12 + KEY_SIZE..], VALUE_SIZE)?.to_vec()),
        2 => None,
        _ => return None,
    };
    (pool < 5 && pool != 2).then(|| (pool, key.to_vec(), value))
}

/// The code that a GET of an unknown or impossible key has.
fn refusal(pool: usize, key: Option<&[u8]>) -> u32 {
    let good = pool < 5 && key.is_some_and(|key| !key.is_empty());
    if good { Code::NoMoreItems as u32 } else { Code::InvalidArgument as u32 }
}

/// Nothing but the code goes back; the adapter of GET_IP_INFO stays, as the kernel wants it.
fn assert_error_is_empty(message: &[u8], answer: &[u8]) {
    let from = if message[0] == 4 { BODY + 256 } else { BODY };
    assert!(answer[from..].iter().all(|byte| *byte == 0), "the body of an error answer is zero");
}

/// The bytes before the NUL of a field.
fn text(bytes: &[u8], room: usize) -> Option<&[u8]> {
    let field = &bytes[..room];
    field.iter().position(|byte| *byte == 0).map(|end| &field[..end])
}

/// What the host is to see of stored bytes: valid text, at most so many UTF-16 units, with room for the NUL.
fn shown(stored: &[u8], room: usize, units: usize) -> Vec<u8> {
    let (mut shown, mut left) = (String::new(), units);
    for character in String::from_utf8_lossy(stored).chars() {
        if character.len_utf16() > left || shown.len() + character.len_utf8() >= room {
            break;
        }
        left -= character.len_utf16();
        shown.push(character);
    }
    shown.into_bytes()
}
