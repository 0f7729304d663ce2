//! The key-value exchange daemon: a thin driver around the engines of `hv_core`. It owns device, files and
//! programs. The rules of the exchange are not here.

mod books;
mod guest;
mod injection;
pub mod intrinsic;
mod linux_path;
pub mod port;
pub mod serve;
pub mod service;
mod start;

pub use start::run;
