//! Hand-over of the network between hn(4) and its VF (SR-IOV) in non-transparent mode.
//!
//! [`attach`] decides what a new interface means, and [`plan`] how a lagg(4) of hnN and its VF is created or
//! destroyed. Both are pure. hyperv_vfattach and hyperv_vfup read the facts and perform the decisions.

pub mod attach;
pub mod facts;
pub mod load;
pub mod plan;
