//! A simulated guest network: its state, the relevant part of the kernel, and stand-ins for the programs of
//! the base system that read and change it. Nothing of the machine's own network is used.
//!
//! The programs behave like FreeBSD's in syntax, output, exit status and error texts, as far as the suite and
//! base's scripts use them. One executable, `hvsim-tools`, plays all of them under different names. Its path
//! tells the guest: `GUEST/sbin/ifconfig` works on the guest in `GUEST`.

pub mod cost;
pub mod devd;
mod facts;
pub mod faults;
pub mod guest;
pub mod kernel;
pub mod process_list;
mod processes;
pub mod root;
pub mod state;
pub mod tools;

pub use guest::Guest;
pub use root::Root;
pub use state::State;
