//! Hand-over of the network between hn(4) and its VF (SR-IOV) in non-transparent mode.
//!
//! [`attach`] decides what a new interface means, [`plan`] how a lagg(4) of hnN and its VF comes about or goes away.
//! Both are pure; hyperv_vfattach and hyperv_vfup read the facts and perform what is decided.

pub mod attach;
pub mod facts;
pub mod load;
pub mod lock;
pub mod plan;

use std::fmt;
use std::str::FromStr;

use crate::net::{InterfaceName, ParseError};

/// A network interface of hn(4), such as `hn0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HnInterface {
    name: InterfaceName,
    lagg: InterfaceName,
    unit: u32,
}

impl HnInterface {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// The lagg that joins it with its VF: the one of the same number.
    #[must_use]
    pub fn lagg(&self) -> &InterfaceName {
        &self.lagg
    }

    /// The sysctl that names its VF.
    #[must_use]
    pub fn vf_sysctl(&self) -> String {
        format!("dev.hn.{}.vf", self.unit)
    }

    /// The description by which a lagg is known as ours. A lagg without it is the administrator's.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("hyperv_vfup: {} and its VF", self.name)
    }
}

impl FromStr for HnInterface {
    type Err = ParseError;

    /// Exactly `hn` and a number.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("interface of hn(4)", text);
        let name: InterfaceName = text.parse().map_err(|_| error())?;
        let unit = match name.driver_and_unit() {
            Some(("hn", unit)) => unit,
            _ => return Err(error()),
        };
        let lagg = format!("lagg{unit}").parse().map_err(|_| error())?;
        Ok(Self { name, lagg, unit })
    }
}

impl fmt::Display for HnInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hn_and_a_number_are_an_interface_of_hn() {
        let long = "h".repeat(300);
        for text in ["", "hn", "hn0; reboot", "../x", "hn00", "hn-1", "hnx0", "lagg0", "hn0 ", "hn0.5", &long]
        {
            assert!(text.parse::<HnInterface>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_the_number() {
        let hn: HnInterface = "hn10".parse().unwrap();
        assert_eq!((hn.lagg().as_str(), hn.vf_sysctl().as_str()), ("lagg10", "dev.hn.10.vf"));
        assert!(hn.mark().contains("hn10 "));
    }
}
