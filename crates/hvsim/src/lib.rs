//! The simulated Hyper-V host: the guest's device files, and a host that talks through them.
//!
//! ```text
//!  host                                  │ guest
//!  hvsim host, tests ── control.sock ──> │
//!        (client)        (server)        │
//!                            │           │
//!                     Station<KvpDevice> ── nodes (FUSE) ── DIR/dev/hv_kvp_dev ── hv_kvp_daemon
//!                                        │       or in_process::KvpPort, inside a test
//! ```
//!
//! * [`kvp`] is the driver's state machine, with the driver's conversions and mistakes. It records every
//!   violation of the device's contract by the guest's program, and `testing` makes a test fail for it.
//! * [`device`] is the trait of a device file, and [`station`] shares a device between both sides. Another
//!   device is another [`device::DeviceFile`], added to [`host::Host`].
//! * [`nodes`] makes device files, `namespace` the private mount. [`server`] and [`client`] are the host's
//!   side.
//! * `in_process` replaces FUSE where it cannot be used: the same device without the file. `session` starts a
//!   real daemon on either.
//! * `syscalls` kills a real program at its n-th system call or makes that call fail.
//! * [`cli`] is the program `hvsim`, `bench` its measurements.
//!
//! # What it needs
//!
//! Linux; on FreeBSD the two subcommands that make a host, see below. `/dev/fuse` must exist (the kernel's
//! module `fuse`; a container must be given the device), and
//!
//! * as root: the right to mount (`CAP_SYS_ADMIN`), or user namespaces as below;
//! * as an ordinary user: `/dev/fuse` with mode 0666, as distributions set it, and user namespaces
//!   (`/proc/sys/user/max_user_namespaces` not 0; Debian's `kernel.unprivileged_userns_clone` 1; Ubuntu's
//!   `kernel.apparmor_restrict_unprivileged_userns` 0). In the namespace the user is root, as the guest's
//!   daemons are on FreeBSD.
//!
//! No helper such as `fusermount` is used. The mount is in a private mount namespace of the server. Only
//! programs that `hvsim run` starts see it, and it disappears with the last of them, also after `kill -9`.
//!
//! # On FreeBSD
//!
//! `hvsim serve` creates `/dev/hv_kvp_dev`, `/dev/hv_fsvss_dev` and `/dev/hv_appvss_dev` by cuse(3), as root,
//! if the kernel itself has not created them. `/dev/ufssuspend` is the kernel's, so freezes are real. `hvsim
//! host` works as on Linux. Commands that start processes or simulate a network are missing. `tests/freebsd`
//! uses this.
//!
//! # Where it differs from the drivers
//!
//! * On Linux the nodes are regular files, because Linux would pass character devices to its own drivers.
//! * A second opener gets `EBUSY`, not the negated number that FreeBSD's driver returns.
//! * An answer before the first request makes the kernel fault; here it fails with `EFAULT`.
//! * A registration of a wrong size fails with `EINVAL`. The driver takes it, and uses whatever is in memory
//!   for the missing bytes.
//! * When the server ends, calls on the device fail with `ENOTCONN` or `ECONNABORTED`.

#[cfg(target_os = "linux")]
pub mod attacker;
#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod both;
pub mod cli;
pub mod client;
pub mod control;
#[cfg(target_os = "linux")]
pub mod demo;
pub mod device;
pub mod host;
#[cfg(target_os = "linux")]
pub mod in_process;
pub mod kvp;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod network;
pub mod nodes;
#[cfg(target_os = "linux")]
pub mod root;
pub mod server;
#[cfg(target_os = "linux")]
pub mod session;
#[cfg(target_os = "linux")]
pub mod soak;
pub mod station;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod syscalls;
#[cfg(target_os = "linux")]
pub mod testing;
pub mod vss;
