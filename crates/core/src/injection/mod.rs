//! Injection: the host's addresses are put into effect, kept over a reboot, and taken back. The modules are
//! given a typed request and facts. They never read the host's text, and only `apply`, `load` and `file`
//! touch the system.
//!
//! # Glossary
//! * *injection*: SET_IP_INFO of the host, and everything that follows from it.
//! * *adapter*: a device of hn(4); *interface*: its name in the guest, which can be renamed.
//! * *target*: where the addresses go: the interface, or the lagg of hyperv_vfup that joins it with its VF.
//! * *method*: DHCP, or static addresses with gateways and name servers.
//! * *record*: the undo file: what injections changed in rc.conf(5), and what was there before.
//! * *restore*: taking back all injections of an interface by its record (`hv_kvp_daemon -R`).
//! * *rival*: a script of rc(8) or a dhclient(8) that works on the same interface at the same time.
//! * *settle*: looking at the interface until it is twice as it should be, without a rival at work.
//! * *foreign*: a DHCP client, lagg or address that this suite did not make and leaves alone.
//! * *label*: the name under which resolvconf(8) keeps name servers; the host's is `IF.hyperv`.

pub mod advice;
pub mod apply;
pub mod file;
pub mod json;
pub mod load;
pub mod persist;
pub mod plan;
pub mod rc_file;
pub mod record;
pub mod report;
pub mod step;
pub mod transaction;
