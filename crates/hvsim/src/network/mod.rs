//! A simulated guest network: its state, the part of the kernel that matters, and stand-ins for the programs
//! of the base system that read and change it.
//!
//! The programs behave like those of FreeBSD in syntax, output, exit status and error texts as far as the
//! suite and base's own scripts use them. One executable, `hvsim-tools`, is all of them, under the name it is
//! called by. Where it is called from tells which guest it belongs to: `GUEST/sbin/ifconfig` works on the
//! guest in `GUEST`.

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
