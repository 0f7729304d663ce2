//! The live backup daemon: a thin driver around the freezer of `hv_core`. It owns the descriptors and helper
//! processes. The rules of a backup are not here.

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
