//! Every order of up to six events that can happen to a backup. The daemon's own loop runs on a simulated
//! kernel with a simulated clock.
//!
//! Orders that lead to the same state of daemon and kernel are continued together, so all of them run in
//! seconds. After each event no rule of the kernel may be broken: no mapped page is lost, nothing hangs, and
//! no thaw succeeds if writes were possible since the freeze. At the end of each order nothing stays frozen,
//! and the next backup is good.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod simulated_guest;

use std::collections::HashMap;

use hvsim::vss::{Operation, Outcome};
use simulated_guest::{Hooks, Layout, World};

/// How many events an order has at most.
const LENGTH: u32 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Check,
    Freeze,
    Thaw,
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Signal,
    /// Starts the daemon where none runs, and attaches the device where there is none.
    Restart,
    /// umount(8) of the youngest UFS.
    Unmount,
    /// The kernel detaches the device and kills the process that has it open.
    DeviceLoss,
    /// All deadlines pass.
    TimeOut,
    /// The UFSSUSPEND after the next one sleeps for longer than the kernel waits for an answer. In a guest
    /// with slow hooks, time passes until one of them ends.
    Delay,
}

const STEPS: [Step; 10] = [
    Step::Check,
    Step::Freeze,
    Step::Thaw,
    Step::Kill,
    Step::Signal,
    Step::Restart,
    Step::Unmount,
    Step::DeviceLoss,
    Step::TimeOut,
    Step::Delay,
];

fn take(world: &mut World, step: Step) {
    match step {
        Step::Check => drop(world.ask(Operation::Check)),
        Step::Freeze => drop(world.ask(Operation::Freeze)),
        Step::Thaw => drop(world.ask(Operation::Thaw)),
        Step::Kill => world.kill(),
        Step::Signal => world.terminate(),
        Step::Restart => world.restart(),
        Step::Unmount => world.unmount(),
        Step::DeviceLoss => world.lose_device(),
        Step::TimeOut => world.time_out(),
        Step::Delay => world.delay(),
    }
    world.assert_lawful();
}

fn replay(layout: &Layout, order: &[Step]) -> World {
    let mut world = World::new(layout);
    order.iter().for_each(|step| take(&mut world, *step));
    world
}

/// What must hold after every order.
fn assert_end(mut world: World) {
    world.time_out();
    world.assert_lawful();
    assert_eq!(world.suspended(), [""; 0], "it stays frozen");
    world.restart();
    world.quick_disk();
    for operation in [Operation::Check, Operation::Freeze, Operation::Thaw] {
        let wanted = if world.refuses(operation) { Outcome::Failure } else { Outcome::Success };
        assert_eq!(world.ask_and_wait(operation), wanted, "{operation:?} of the next backup");
        world.assert_lawful();
    }
    assert_eq!(world.suspended(), [""; 0], "it stays frozen behind the next backup");
}

/// The state that each step leads to, by number.
type Ways = [usize; STEPS.len()];

#[derive(Default)]
struct Walk {
    /// The number of each state, by its text.
    known: HashMap<String, usize>,
    /// For each state one order of steps that leads to it.
    orders: Vec<Vec<Step>>,
    ways: HashMap<usize, Ways>,
}

impl Walk {
    fn number(&mut self, state: String, order: impl FnOnce() -> Vec<Step>) -> usize {
        let orders = &mut self.orders;
        *self.known.entry(state).or_insert_with(|| {
            orders.push(order());
            orders.len() - 1
        })
    }

    /// The states that the steps lead to from a state. Each step is performed once.
    fn ways(&mut self, layout: &Layout, from: usize) -> Ways {
        if let Some(ways) = self.ways.get(&from) {
            return *ways;
        }
        let order = self.orders[from].clone();
        let ways = STEPS.map(|step| {
            let mut longer = order.clone();
            longer.push(step);
            let _told = Told(&longer, layout);
            let state = replay(layout, &longer).state();
            let known = self.known.contains_key(&state);
            if !known {
                assert_end(replay(layout, &longer));
            }
            self.number(state, || longer.clone())
        });
        self.ways.insert(from, ways);
        ways
    }
}

/// Prints the order of steps when an assertion fails.
struct Told<'a>(&'a [Step], &'a Layout);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the order was {:?}, the guest {:?}", self.0, self.1.name);
        }
    }
}

/// Performs all orders. Returns their number and the number of states.
fn walk(layout: &Layout) -> (u64, usize) {
    let mut walk = Walk::default();
    let start = walk.number(replay(layout, &[]).state(), Vec::new);
    // How many orders lead to each state.
    let mut level = HashMap::from([(start, 1_u64)]);
    let mut orders = 0;
    for _ in 0..LENGTH {
        let mut next = HashMap::new();
        for (from, count) in level {
            for to in walk.ways(layout, from) {
                *next.entry(to).or_insert(0) += count;
                orders += count;
            }
        }
        level = next;
    }
    (orders, walk.orders.len())
}

fn assert_all_orders(layout: &Layout) {
    let (orders, states) = walk(layout);
    eprintln!("{}: {orders} orders, {states} states", layout.name);
    let steps = u64::try_from(STEPS.len()).unwrap();
    assert_eq!(orders, (1..=LENGTH).map(|length| steps.pow(length)).sum::<u64>());
    assert!(states > 20, "the states tell nothing apart: {states}");
}

#[test]
fn no_order_leaves_nested_mounts_frozen() {
    assert_all_orders(&Layout::nested(Hooks::None));
}

#[test]
fn no_order_loses_mapped_pages() {
    assert_all_orders(&Layout::with_mapped_writer());
}

#[test]
fn no_order_hangs_file_systems_in_files() {
    assert_all_orders(&Layout::with_image());
    assert_all_orders(&Layout::with_image_below());
}

#[test]
fn no_order_with_hooks_stays_frozen() {
    assert_all_orders(&Layout::nested(Hooks::Quick));
    assert_all_orders(&Layout::nested(Hooks::Slow));
    assert_all_orders(&Layout::nested(Hooks::Hanging));
}
