//! cuse(3) against a simulated kernel: calls enter by [`Guest::call`], and each waits for its own end.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::*;
use crate::device::DeviceFile;
use crate::kvp::layout::{MESSAGE_SIZE, Message, OP_REGISTER};
use crate::kvp::{HostRequest, KvpDevice, Settings};
use crate::station::Station;

const PATIENCE: Duration = Duration::from_secs(20);
/// FreeBSD's ioctl numbers with four bytes in, four bytes out, eight bytes in both directions, and none.
const PUT: u64 = 0x8004_5801;
const TAKE: u64 = 0x4004_5802;
const SWAP: u64 = 0xc008_5803;
const BARE: u64 = 0x2000_5804;

struct Pending {
    call: Call,
    input: Vec<u8>,
    output: Vec<u8>,
    number: usize,
    done: Sender<Done>,
}

#[derive(Debug, PartialEq, Eq)]
struct Done {
    result: i32,
    output: Vec<u8>,
    number: usize,
}

#[derive(Default)]
struct Tables {
    /// The calls under way, by the thread that serves each.
    current: HashMap<ThreadId, Pending>,
    wakes: usize,
}

#[derive(Clone)]
struct Played {
    calls: Arc<Mutex<Receiver<Pending>>>,
    tables: Arc<Mutex<Tables>>,
}

impl Played {
    fn with<R>(&self, act: impl FnOnce(&mut Pending) -> R) -> R {
        act(lock(&self.tables).current.get_mut(&thread::current().id()).expect("this thread has no call"))
    }
}

impl Kernel for Played {
    fn next(&self) -> io::Result<Call> {
        let pending = lock(&self.calls).recv().map_err(|_| io::Error::from(Errno::ENXIO))?;
        let call = pending.call;
        lock(&self.tables).current.insert(thread::current().id(), pending);
        Ok(call)
    }

    fn set_handle(&self, handle: usize) -> io::Result<()> {
        self.with(|pending| pending.number = handle);
        Ok(())
    }

    fn copy_in(&self, call: &Call, bytes: &mut [u8]) -> io::Result<()> {
        self.with(|pending| {
            assert_eq!(pending.call, *call);
            let found = pending.input.get(..bytes.len()).ok_or(Errno::EFAULT)?;
            bytes.copy_from_slice(found);
            Ok(())
        })
    }

    fn copy_out(&self, call: &Call, bytes: &[u8]) -> io::Result<()> {
        self.with(|pending| {
            assert_eq!(pending.call, *call);
            pending.output = bytes.to_vec();
        });
        Ok(())
    }

    fn finish(&self, result: i32) -> io::Result<()> {
        let pending = lock(&self.tables).current.remove(&thread::current().id()).expect("no call to finish");
        let done = Done { result, output: pending.output, number: pending.number };
        pending.done.send(done).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn wake_pollers(&self) -> io::Result<()> {
        lock(&self.tables).wakes += 1;
        Ok(())
    }
}

/// A program that uses the devices.
struct Guest {
    calls: Sender<Pending>,
    tables: Arc<Mutex<Tables>>,
}

impl Guest {
    fn of(devices: Vec<SharedDevice>) -> Self {
        let (calls, incoming) = channel();
        let tables = Arc::default();
        serve(devices, Played { calls: Arc::new(Mutex::new(incoming)), tables: Arc::clone(&tables) });
        Self { calls, tables }
    }

    fn begin(&self, kind: u64, handle: usize, argument: u64, input: &[u8]) -> Receiver<Done> {
        let (done, end) = channel();
        let handle = u64::try_from(handle).unwrap();
        let call = Call { device: 0, handle, kind, argument, data: 0x1_0000 };
        let pending = Pending { call, input: input.to_vec(), output: Vec::new(), number: 0, done };
        self.calls.send(pending).expect("nobody serves");
        end
    }

    fn call(&self, kind: u64, handle: usize, argument: u64, input: &[u8]) -> Done {
        self.begin(kind, handle, argument, input).recv_timeout(PATIENCE).expect("the call sleeps")
    }

    /// Opens a device and returns the number of the open file.
    fn open(&self) -> Result<usize, i32> {
        let done = self.call(abi::CUSE_CMD_OPEN, 0, 0, &[]);
        if done.result == 0 { Ok(done.number) } else { Err(done.result) }
    }

    fn write(&self, handle: usize, bytes: &[u8]) -> i32 {
        self.call(abi::CUSE_CMD_WRITE, handle, u64::try_from(bytes.len()).unwrap(), bytes).result
    }

    fn poll(&self, handle: usize) -> i32 {
        self.call(abi::CUSE_CMD_POLL, handle, 0, &[]).result
    }

    fn wakes(&self) -> usize {
        lock(&self.tables).wakes
    }
}

fn kvp() -> (Arc<Station<KvpDevice>>, Guest, usize) {
    let station = Arc::new(Station::new(KvpDevice::new(Settings::default())));
    let guest = Guest::of(vec![Arc::clone(&station) as SharedDevice]);
    let handle = guest.open().unwrap();
    let registration = Message::request(OP_REGISTER, 0);
    assert_eq!(guest.write(handle, registration.bytes()), count(MESSAGE_SIZE));
    (station, guest, handle)
}

const READ_SIZE: u64 = MESSAGE_SIZE as u64;

#[test]
fn a_request_and_its_answer_go_through() {
    let (station, guest, handle) = kvp();
    assert_eq!(guest.poll(handle), 0);
    let woken = guest.wakes();
    let ticket =
        station.with(|device, now| device.submit(HostRequest::Get { pool: 0, key: "k".into() }, now));
    assert!(guest.wakes() > woken, "nobody woke those who poll");
    assert_eq!(guest.poll(handle), abi::CUSE_POLL_READ);
    let request = guest.call(abi::CUSE_CMD_READ, handle, READ_SIZE, &[]);
    assert_eq!((request.result, request.output.len()), (count(MESSAGE_SIZE), MESSAGE_SIZE));
    assert_eq!(guest.write(handle, &request.output), count(MESSAGE_SIZE));
    let answer = station.wait(Some(PATIENCE), |device, _| device.take_answer(ticket));
    assert!(!answer.expect("no answer").timed_out);
    assert_eq!(station.peek(|device, _| device.take_violations()), Vec::<String>::new());
}

#[test]
fn a_sleeping_read_blocks_no_other_call() {
    let (station, guest, handle) = kvp();
    let sleeping = guest.begin(abi::CUSE_CMD_READ, handle, READ_SIZE, &[]);
    // Another thread serves it, and only after the read was taken.
    assert_eq!(guest.poll(handle), 0);
    assert!(sleeping.try_recv().is_err());
    station.with(|device, now| device.submit(HostRequest::Get { pool: 0, key: "k".into() }, now));
    let request = sleeping.recv_timeout(PATIENCE).expect("nothing woke the read");
    assert_eq!(request.output.len(), MESSAGE_SIZE);
    assert_eq!(station.peek(|device, _| device.statistics().reads), 1);
}

#[test]
fn unknown_errors_become_enxio() {
    let (station, guest, handle) = kvp();
    assert_eq!(guest.open(), Err(abi::CUSE_ERR_BUSY));
    station.with(|device, _| device.detach());
    assert_eq!(guest.poll(handle), abi::CUSE_POLL_ERROR);
    assert_eq!(guest.write(handle, &[0; MESSAGE_SIZE]), abi::CUSE_ERR_OTHER);
    assert_eq!(guest.open(), Err(abi::CUSE_ERR_OTHER));
    station.with(|device, _| device.attach());
    assert!(guest.open().unwrap() > handle);
}

#[test]
fn a_file_that_is_closed_is_free_again() {
    let (_, guest, handle) = kvp();
    assert_eq!(guest.call(abi::CUSE_CMD_CLOSE, handle, 0, &[]).result, 0);
    assert!(guest.open().is_ok());
}

#[test]
fn calls_without_device_and_long_writes_fail() {
    let (_, guest, handle) = kvp();
    let far = Call { device: 7, handle: 0, kind: abi::CUSE_CMD_OPEN, argument: 0, data: 0 };
    let (done, end) = channel();
    let pending = Pending { call: far, input: Vec::new(), output: Vec::new(), number: 0, done };
    guest.calls.send(pending).unwrap();
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().result, abi::CUSE_ERR_OTHER);
    let long = u64::try_from(LARGEST_WRITE + 1).unwrap();
    assert_eq!(guest.call(abi::CUSE_CMD_WRITE, handle, long, &[]).result, abi::CUSE_ERR_NO_MEMORY);
    assert_eq!(guest.call(abi::CUSE_CMD_WRITE, handle, 4, &[1]).result, abi::CUSE_ERR_FAULT);
}

/// Records what it gets, and returns what it was given.
struct Echo(Vec<(u32, Vec<u8>)>);

impl DeviceFile for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn open(&mut self, _: Handle, _: Opener, _: Instant) -> Result<(), Errno> {
        Ok(())
    }

    fn close(&mut self, _: Handle, _: Instant) {}

    fn poll(&mut self, handle: Handle, _: Instant) -> Readiness {
        self.readiness(handle)
    }

    fn readiness(&self, _: Handle) -> Readiness {
        Readiness::default()
    }

    fn ioctl(&mut self, _: Handle, command: u32, input: &[u8], _: Instant) -> Result<Vec<u8>, Errno> {
        self.0.push((command, input.to_vec()));
        Ok(input.iter().rev().copied().collect())
    }
}

#[test]
fn the_number_of_an_ioctl_decides_what_is_copied() {
    let station = Arc::new(Station::new(Echo(Vec::new())));
    let guest = Guest::of(vec![Arc::clone(&station) as SharedDevice]);
    let handle = guest.open().unwrap();
    let input = [1, 2, 3, 4, 5, 6, 7, 8];
    for (number, taken, given) in
        [(PUT, 4, vec![]), (TAKE, 0, vec![0; 4]), (SWAP, 8, vec![8, 7, 6, 5, 4, 3, 2, 1]), (BARE, 0, vec![])]
    {
        let done = guest.call(abi::CUSE_CMD_IOCTL, handle, number, &input);
        assert_eq!((done.result, done.output), (0, given), "{number:#x}");
        let (command, bytes) = station.peek(|device, _| device.0.pop()).expect("no ioctl came");
        assert_eq!((u64::from(command), bytes), (number, input[..taken].to_vec()));
    }
}
