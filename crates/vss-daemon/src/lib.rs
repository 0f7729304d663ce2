//! The live backup daemon: a thin driver around the freezer of `hv_core`.

pub mod check;
pub mod guest;
mod helper;
mod hook_dir;
pub mod port;
mod programs;
pub mod serve;
mod start;
pub mod trial;
mod wire;

pub use start::run;
