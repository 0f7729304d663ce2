//! The kernel's facts about the machine under the guest. It reads sysctls only.

use hv_core::runtime::config::Config;
use hv_core::sys::system_facts::FactsSource;
use serde::Serialize;

/// The machine under the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Machine {
    /// Whether it is Hyper-V.
    pub(crate) hyper_v: bool,
    /// kern.vm_guest: the hypervisor that the kernel recognised.
    pub(crate) vm_guest: Option<String>,
    /// 1 for BIOS, 2 for UEFI. Always 2 on processors other than x86.
    pub(crate) generation: Option<u8>,
    /// The version of the bus between guest and host, such as 5.3.
    pub(crate) vmbus: Option<String>,
    /// kern.osrelease.
    pub(crate) release: Option<String>,
}

/// Where facts come from.
pub(crate) fn facts(config: &Config) -> FactsSource {
    config.facts.dir.clone().into()
}

impl Machine {
    pub(crate) fn look(facts: &FactsSource) -> Self {
        let text = |name: &str| facts.sysctl_text(name).ok().flatten().filter(|text| !text.is_empty());
        let vm_guest = text("kern.vm_guest");
        // sys/dev/hyperv/vmbus/hyperv.c sets vm_guest if the processor reports "Microsoft Hv".
        let hyper_v = vm_guest.as_deref() == Some("hv");
        let generation = match text("machdep.bootmethod").as_deref() {
            Some("BIOS") => Some(1),
            Some("UEFI") => Some(2),
            _ => None,
        };
        Self {
            hyper_v,
            generation: generation.filter(|_| hyper_v),
            vmbus: text("dev.vmbus.0.version").filter(|_| hyper_v),
            vm_guest,
            release: text("kern.osrelease"),
        }
    }

    /// The machine in one line.
    pub(crate) fn line(&self) -> String {
        if !self.hyper_v {
            return match self.vm_guest.as_deref() {
                Some("none") | None => "this is no guest of Hyper-V".to_owned(),
                Some(other) => format!("this is no guest of Hyper-V: the kernel says \"{other}\""),
            };
        }
        let generation = self.generation.map(|n| format!(", generation {n}")).unwrap_or_default();
        let vmbus = self.vmbus.as_ref().map(|version| format!(", VMBus {version}")).unwrap_or_default();
        format!("a guest of Hyper-V{generation}{vmbus}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Machine {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("sysctl"), text).unwrap();
        Machine::look(&FactsSource::Directory(directory.path().to_owned()))
    }

    #[test]
    fn the_machine_is_described_in_one_line() {
        for (sysctl, line) in [
            (
                "kern.vm_guest=hv\nmachdep.bootmethod=UEFI\ndev.vmbus.0.version=5.3\n",
                "a guest of Hyper-V, generation 2, VMBus 5.3",
            ),
            ("kern.vm_guest=hv\nmachdep.bootmethod=BIOS\n", "a guest of Hyper-V, generation 1, VMBus 5.3"),
            ("kern.vm_guest=hv\n", "a guest of Hyper-V, generation 2, VMBus 5.3"),
            (
                "kern.vm_guest=kvm\nmachdep.bootmethod=UEFI\n",
                "this is no guest of Hyper-V: the kernel says \"kvm\"",
            ),
            ("kern.vm_guest=none\n", "this is no guest of Hyper-V"),
        ] {
            assert_eq!(look(sysctl).line(), line);
        }
    }
}
