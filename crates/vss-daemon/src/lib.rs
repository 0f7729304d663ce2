//! The live backup daemon: a thin driver around the freezer of `hv_core`.

mod check;
mod history;
mod hook_dir;
pub mod port;
mod programs;
pub mod serve;
mod start;

pub use start::run;
