//! The numbers of FreeBSD's ABI that this crate relies on, in one table. It has values only.
//!
//! It is compiled on every platform, because the parsers of kernel records are pure and tested everywhere. It
//! is checked twice: `sys/freebsd/abi_check.rs` compares it at compile time with the libc and nix crates, and
//! [`c_source`] makes a C file of static assertions for FreeBSD's own headers (run `cargo run -p hv_core
//! --example freebsd-abi-check`).
//!
//! The layouts are those of the 64-bit platforms (amd64, arm64) since FreeBSD 12.

use std::fmt::Write as _;

use crate::abi::kvp;

/// One number and the C expression that must have the same value.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name of the Rust constant.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The C expression over the headers in [`HEADERS`].
    pub c: &'static str,
}

macro_rules! abi_table {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr, $c:literal;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*

        /// Every number of this module.
        pub const TABLE: &[Row] = &[$(Row { name: stringify!($name), value: $name as u64, c: $c }),*];
    };
}

abi_table! {
    // Suspending UFS: ufs/ffs/fs.h.
    /// Suspends writes to the file system with this `fsid_t`.
    UFSSUSPEND: u64 = 0x8008_5501, "UFSSUSPEND";
    /// Ends the suspension that this descriptor made.
    UFSRESUME: u64 = 0x2000_5502, "UFSRESUME";

    // Live backup: dev/hyperv/hv_snapshot.h.
    /// Reads the waiting request.
    IOCHVVSSREAD: u64 = 0x4040_7602, "IOCHVVSSREAD";
    /// Answers a request.
    IOCHVVSSWRITE: u64 = 0x8040_7603, "IOCHVVSSWRITE";
    /// Bytes of one message.
    VSS_MESSAGE_SIZE: usize = 64, "sizeof(struct hv_vss_opt_msg)";
    /// Offset of the operation, u32.
    VSS_OPT: usize = 0, "offsetof(struct hv_vss_opt_msg, opt)";
    /// Offset of the status, u32.
    VSS_STATUS: usize = 4, "offsetof(struct hv_vss_opt_msg, status)";
    /// Offset of the message id, u64.
    VSS_MSGID: usize = 8, "offsetof(struct hv_vss_opt_msg, msgid)";
    /// Offset of the bytes that stay zero.
    VSS_RESERVED: usize = 16, "offsetof(struct hv_vss_opt_msg, reserved)";
    /// Status of success.
    VSS_SUCCESS: u32 = 0, "VSS_SUCCESS";
    /// Status of failure.
    VSS_FAIL: u32 = 1, "VSS_FAIL";
    /// Can the guest be backed up?
    HV_VSS_CHECK: u32 = 1, "HV_VSS_CHECK";
    /// Freeze the file systems.
    HV_VSS_FREEZE: u32 = 2, "HV_VSS_FREEZE";
    /// Thaw them.
    HV_VSS_THAW: u32 = 3, "HV_VSS_THAW";

    // The mount table: sys/mount.h.
    /// Bytes of one entry of getfsstat(2).
    STATFS_SIZE: usize = 2344, "sizeof(struct statfs)";
    /// Bytes of the two paths with their NUL.
    MNAMELEN: usize = 1024, "MNAMELEN";
    /// Mounted read-only.
    MNT_RDONLY: u64 = 0x1, "MNT_RDONLY";
    /// Stored on this machine.
    MNT_LOCAL: u64 = 0x1000, "MNT_LOCAL";
    /// getfsstat(2): use the values that the kernel has. It never waits for a dead file server.
    MNT_NOWAIT: i32 = 2, "MNT_NOWAIT";

    // Socket addresses: sys/socket.h, netinet/in.h, net/if_dl.h, net/if_types.h, net/if.h.
    /// IPv4.
    AF_INET: u8 = 2, "AF_INET";
    /// IPv6.
    AF_INET6: u8 = 28, "AF_INET6";
    /// Link level.
    AF_LINK: u8 = 18, "AF_LINK";
    /// Offset of the family byte of every address.
    SA_FAMILY: usize = 1, "offsetof(struct sockaddr, sa_family)";
    /// Offset of the four bytes of the IPv4 address.
    SIN_ADDR: usize = 4, "offsetof(struct sockaddr_in, sin_addr)";
    /// Offset of the sixteen bytes of the IPv6 address.
    SIN6_ADDR: usize = 8, "offsetof(struct sockaddr_in6, sin6_addr)";
    /// Offset of the scope, u32.
    SIN6_SCOPE_ID: usize = 24, "offsetof(struct sockaddr_in6, sin6_scope_id)";
    /// Offset of the interface's index, u16.
    SDL_INDEX: usize = 2, "offsetof(struct sockaddr_dl, sdl_index)";
    /// Offset of the interface's type, u8.
    SDL_TYPE: usize = 4, "offsetof(struct sockaddr_dl, sdl_type)";
    /// Offset of the length of the name, u8.
    SDL_NLEN: usize = 5, "offsetof(struct sockaddr_dl, sdl_nlen)";
    /// Offset of the length of the address, u8.
    SDL_ALEN: usize = 6, "offsetof(struct sockaddr_dl, sdl_alen)";
    /// Offset of the name, which the address follows.
    SDL_DATA: usize = 8, "offsetof(struct sockaddr_dl, sdl_data)";
    /// Ethernet.
    IFT_ETHER: u8 = 6, "IFT_ETHER";
    /// Loopback.
    IFT_LOOP: u8 = 24, "IFT_LOOP";
    /// Bytes of an interface's name with its NUL.
    IFNAMSIZ: usize = 16, "IFNAMSIZ";
    /// The interface is up.
    IFF_UP: u32 = 0x1, "IFF_UP";
    /// The interface is a loopback.
    IFF_LOOPBACK: u32 = 0x8, "IFF_LOOPBACK";

    // Routes: net/route.h.
    /// Bytes of a route's header.
    RT_MSGHDR_SIZE: usize = 152, "sizeof(struct rt_msghdr)";
    /// Offset of the record's length, u16.
    RTM_MSGLEN: usize = 0, "offsetof(struct rt_msghdr, rtm_msglen)";
    /// Offset of the version, u8.
    RTM_VERSION_OFFSET: usize = 2, "offsetof(struct rt_msghdr, rtm_version)";
    /// Offset of the type, u8.
    RTM_TYPE: usize = 3, "offsetof(struct rt_msghdr, rtm_type)";
    /// Offset of the interface's index, u16.
    RTM_INDEX: usize = 4, "offsetof(struct rt_msghdr, rtm_index)";
    /// Offset of the flags, i32.
    RTM_FLAGS: usize = 8, "offsetof(struct rt_msghdr, rtm_flags)";
    /// Offset of the bits that say which addresses follow, i32.
    RTM_ADDRS: usize = 12, "offsetof(struct rt_msghdr, rtm_addrs)";
    /// The version of these records.
    RTM_VERSION: u8 = 5, "RTM_VERSION";
    /// The type of the records of a dump.
    RTM_GET: u8 = 4, "RTM_GET";
    /// Addresses follow the header in steps of this many bytes.
    SA_ALIGNMENT: usize = 8, "sizeof(long)";
    /// Number of the destination among the addresses.
    RTAX_DST: usize = 0, "RTAX_DST";
    /// Number of the gateway.
    RTAX_GATEWAY: usize = 1, "RTAX_GATEWAY";
    /// Number of the mask.
    RTAX_NETMASK: usize = 2, "RTAX_NETMASK";
    /// The number of kinds of addresses.
    RTAX_MAX: usize = 8, "RTAX_MAX";
    /// The bit of the destination.
    RTA_DST: u32 = 0x1, "RTA_DST";
    /// The bit of the gateway.
    RTA_GATEWAY: u32 = 0x2, "RTA_GATEWAY";
    /// The bit of the mask.
    RTA_NETMASK: u32 = 0x4, "RTA_NETMASK";
    /// The route is usable.
    RTF_UP: u32 = 0x1, "RTF_UP";
    /// The route goes through a gateway.
    RTF_GATEWAY: u32 = 0x2, "RTF_GATEWAY";
    /// The route is to one host.
    RTF_HOST: u32 = 0x4, "RTF_HOST";
    /// The route refuses packets.
    RTF_REJECT: u32 = 0x8, "RTF_REJECT";
    /// The route was set by hand.
    RTF_STATIC: u32 = 0x800, "RTF_STATIC";
    /// The route drops packets.
    RTF_BLACKHOLE: u32 = 0x1000, "RTF_BLACKHOLE";

    // sysctl(3): sys/sysctl.h, sys/socket.h.
    /// `net`.
    CTL_NET: i32 = 4, "CTL_NET";
    /// `net.route`.
    PF_ROUTE: i32 = 17, "PF_ROUTE";
    /// The routes that have one of the given flags.
    NET_RT_FLAGS: i32 = 2, "NET_RT_FLAGS";
    /// `net.link`: net/if_mib.h.
    PF_LINK: i32 = 18, "PF_LINK";
    /// `net.link.generic`.
    NETLINK_GENERIC: i32 = 0, "NETLINK_GENERIC";
    /// `net.link.generic.ifdata`: a table by interface index.
    IFMIB_IFDATA: i32 = 2, "IFMIB_IFDATA";
    /// The driver's name and the unit of the device that made the interface.
    IFDATA_DRIVERNAME: i32 = 3, "IFDATA_DRIVERNAME";
    /// `kern`.
    CTL_KERN: i32 = 1, "CTL_KERN";
    /// `kern.ostype`.
    KERN_OSTYPE: i32 = 1, "KERN_OSTYPE";
    /// `kern.osrelease`.
    KERN_OSRELEASE: i32 = 2, "KERN_OSRELEASE";
    /// `kern.version`.
    KERN_VERSION: i32 = 4, "KERN_VERSION";
    /// `kern.hostname`.
    KERN_HOSTNAME: i32 = 10, "KERN_HOSTNAME";
    /// `kern.proc`.
    KERN_PROC: i32 = 14, "KERN_PROC";
    /// `kern.proc.args`.
    KERN_PROC_ARGS: i32 = 7, "KERN_PROC_ARGS";
    /// `kern.proc.pid`: one process.
    KERN_PROC_PID: i32 = 1, "KERN_PROC_PID";
    /// `kern.proc.proc`: all processes, one record each.
    KERN_PROC_PROC: i32 = 8, "KERN_PROC_PROC";
    /// `kern.proc.vmmap`: the mappings of one process.
    KERN_PROC_VMMAP: i32 = 32, "KERN_PROC_VMMAP";
    /// `kern.osreldate`.
    KERN_OSRELDATE: i32 = 24, "KERN_OSRELDATE";
    /// `hw`.
    CTL_HW: i32 = 6, "CTL_HW";
    /// `hw.machine`.
    HW_MACHINE: i32 = 1, "HW_MACHINE";
    /// `hw.machine_arch`.
    HW_MACHINE_ARCH: i32 = 11, "HW_MACHINE_ARCH";

    // Processes, their mappings and their descriptors: sys/user.h, sys/proc.h.
    /// Bytes of one process; each record begins with this number.
    KINFO_PROC_SIZE: usize = 1088, "sizeof(struct kinfo_proc)";
    /// Offset of the process id, i32.
    KI_PID: usize = 72, "offsetof(struct kinfo_proc, ki_pid)";
    /// Offset of the parent's process id, i32.
    KI_PPID: usize = 76, "offsetof(struct kinfo_proc, ki_ppid)";
    /// Offset of the P_* flags, long.
    KI_FLAG: usize = 368, "offsetof(struct kinfo_proc, ki_flag)";
    /// Offset of the state, char.
    KI_STAT: usize = 388, "offsetof(struct kinfo_proc, ki_stat)";
    /// Offset of the command's name.
    KI_COMM: usize = 447, "offsetof(struct kinfo_proc, ki_comm)";
    /// Bytes of the command's name without its NUL.
    COMMLEN: usize = 19, "COMMLEN";
    /// Offset of the jail's id, i32; 0 outside jails.
    KI_JID: usize = 592, "offsetof(struct kinfo_proc, ki_jid)";
    /// Offset of the number of threads, i32.
    KI_NUMTHREADS: usize = 596, "offsetof(struct kinfo_proc, ki_numthreads)";
    /// The state of a process that has ended and was not collected.
    SZOMB: u8 = 5, "SZOMB";
    /// A process of the kernel.
    P_SYSTEM: u64 = 0x200, "P_SYSTEM";
    /// Offset of the record's size, i32: mappings are packed.
    KVE_STRUCTSIZE: usize = 0, "offsetof(struct kinfo_vmentry, kve_structsize)";
    /// Offset of the kind of the mapped object, i32.
    KVE_TYPE: usize = 4, "offsetof(struct kinfo_vmentry, kve_type)";
    /// Offset of the file's number, u64, which stat(2) calls `st_ino`.
    KVE_VN_FILEID: usize = 32, "offsetof(struct kinfo_vmentry, kve_vn_fileid)";
    /// Offset of the flags, i32.
    KVE_FLAGS: usize = 44, "offsetof(struct kinfo_vmentry, kve_flags)";
    /// Offset of the protection, i32.
    KVE_PROTECTION: usize = 56, "offsetof(struct kinfo_vmentry, kve_protection)";
    /// Offset of the file system's number, u64, which stat(2) calls `st_dev`.
    KVE_VN_FSID: usize = 88, "offsetof(struct kinfo_vmentry, kve_vn_fsid)";
    /// Offset of the path, up to the end of the record.
    KVE_PATH: usize = 136, "offsetof(struct kinfo_vmentry, kve_path)";
    /// The mapped object is a file.
    KVME_TYPE_VNODE: i32 = 2, "KVME_TYPE_VNODE";
    /// The mapping is writable.
    KVME_PROT_WRITE: i32 = 0x2, "KVME_PROT_WRITE";
    /// Stores stay private to the process.
    KVME_FLAG_COW: i32 = 0x1, "KVME_FLAG_COW";
    /// Bytes of a descriptor's F_KINFO record.
    KINFO_FILE_SIZE: usize = 1392, "sizeof(struct kinfo_file)";
    /// Offset of its kind, i32.
    KF_TYPE: usize = 4, "offsetof(struct kinfo_file, kf_type)";
    /// Offset of its path.
    KF_PATH: usize = 368, "offsetof(struct kinfo_file, kf_path)";
    /// A pipe of pipe(2), which has no name.
    KF_TYPE_PIPE: i32 = 3, "KF_TYPE_PIPE";

    // Character devices served by a program: fs/cuse/cuse_ioctl.h and fs/cuse/cuse_defs.h.
    /// Waits for the next call of a client.
    CUSE_GET_COMMAND: u64 = 0x4030_4300, "CUSE_IOCTL_GET_COMMAND";
    /// Writes into the memory of the client.
    CUSE_WRITE_DATA: u64 = 0x8018_4301, "CUSE_IOCTL_WRITE_DATA";
    /// Reads from the memory of the client.
    CUSE_READ_DATA: u64 = 0x8018_4302, "CUSE_IOCTL_READ_DATA";
    /// Lets the client's call return.
    CUSE_SYNC_COMMAND: u64 = 0x8004_4303, "CUSE_IOCTL_SYNC_COMMAND";
    /// Gives the client's open file a number.
    CUSE_SET_PFH: u64 = 0x8008_4307, "CUSE_IOCTL_SET_PFH";
    /// Makes a device.
    CUSE_CREATE_DEV: u64 = 0x8068_4308, "CUSE_IOCTL_CREATE_DEV";
    /// Wakes every process that polls a device of this server.
    CUSE_SELWAKEUP: u64 = 0x8004_430c, "CUSE_IOCTL_SELWAKEUP";
    /// Offset of the device's identity, a pointer that the kernel does not follow.
    CUSE_COMMAND_DEV: usize = 0, "offsetof(struct cuse_command, dev)";
    /// Offset of the open file's number.
    CUSE_COMMAND_HANDLE: usize = 16, "offsetof(struct cuse_command, per_file_handle)";
    /// Offset of the address of the client's data.
    CUSE_COMMAND_DATA: usize = 24, "offsetof(struct cuse_command, data_pointer)";
    /// Offset of the size of a read or write, the number of an ioctl, the events of a poll.
    CUSE_COMMAND_ARGUMENT: usize = 32, "offsetof(struct cuse_command, argument)";
    /// Offset of the kind of call.
    CUSE_COMMAND_KIND: usize = 40, "offsetof(struct cuse_command, command)";
    /// Offset of the server's address.
    CUSE_CHUNK_LOCAL: usize = 0, "offsetof(struct cuse_data_chunk, local_ptr)";
    /// Offset of the client's address.
    CUSE_CHUNK_PEER: usize = 8, "offsetof(struct cuse_data_chunk, peer_ptr)";
    /// Offset of the number of bytes.
    CUSE_CHUNK_LENGTH: usize = 16, "offsetof(struct cuse_data_chunk, length)";
    /// Offset of the owner of a new device.
    CUSE_CREATE_USER: usize = 8, "offsetof(struct cuse_create_dev, user_id)";
    /// Offset of its group.
    CUSE_CREATE_GROUP: usize = 12, "offsetof(struct cuse_create_dev, group_id)";
    /// Offset of its mode.
    CUSE_CREATE_MODE: usize = 16, "offsetof(struct cuse_create_dev, permissions)";
    /// Offset of its name.
    CUSE_CREATE_NAME: usize = 20, "offsetof(struct cuse_create_dev, devname)";
    /// open(2).
    CUSE_CMD_OPEN: u64 = 1, "CUSE_CMD_OPEN";
    /// The last close(2) of an open file.
    CUSE_CMD_CLOSE: u64 = 2, "CUSE_CMD_CLOSE";
    /// read(2).
    CUSE_CMD_READ: u64 = 3, "CUSE_CMD_READ";
    /// write(2).
    CUSE_CMD_WRITE: u64 = 4, "CUSE_CMD_WRITE";
    /// ioctl(2).
    CUSE_CMD_IOCTL: u64 = 5, "CUSE_CMD_IOCTL";
    /// poll(2).
    CUSE_CMD_POLL: u64 = 6, "CUSE_CMD_POLL";
    /// Result of a poll: there is something to read.
    CUSE_POLL_READ: i32 = 1, "CUSE_POLL_READ";
    /// Result of a poll: the device is gone.
    CUSE_POLL_ERROR: i32 = 4, "CUSE_POLL_ERROR";
    /// The client's call fails with EBUSY.
    CUSE_ERR_BUSY: i32 = -1, "CUSE_ERR_BUSY";
    /// It fails with EWOULDBLOCK.
    CUSE_ERR_WOULDBLOCK: i32 = -2, "CUSE_ERR_WOULDBLOCK";
    /// It fails with EINVAL.
    CUSE_ERR_INVALID: i32 = -3, "CUSE_ERR_INVALID";
    /// It fails with ENOMEM.
    CUSE_ERR_NO_MEMORY: i32 = -4, "CUSE_ERR_NO_MEMORY";
    /// It fails with EFAULT.
    CUSE_ERR_FAULT: i32 = -5, "CUSE_ERR_FAULT";
    /// It fails with ENXIO.
    CUSE_ERR_OTHER: i32 = -7, "CUSE_ERR_OTHER";

    // errno(2).
    /// Not permitted: a read before registration; UFSSUSPEND in a jail.
    EPERM: i32 = 1, "EPERM";
    /// No such file, file system or sysctl.
    ENOENT: i32 = 2, "ENOENT";
    /// No such process.
    ESRCH: i32 = 3, "ESRCH";
    /// Input or output failed: the device went away.
    EIO: i32 = 5, "EIO";
    /// No such device: the device went away.
    ENXIO: i32 = 6, "ENXIO";
    /// UFSSUSPEND by a process with threads or with a descriptor open for writing there.
    EDEADLK: i32 = 11, "EDEADLK";
    /// sysctl(3): the buffer is too small.
    ENOMEM: i32 = 12, "ENOMEM";
    /// The device has an opener; the file system is suspended already.
    EBUSY: i32 = 16, "EBUSY";
    /// Not UFS; a wrong message.
    EINVAL: i32 = 22, "EINVAL";
    /// Nothing there yet.
    EAGAIN: i32 = 35, "EAGAIN";
}

/// The headers that the C expressions need, in the order in which they compile on FreeBSD.
pub const HEADERS: &[&str] = &[
    "sys/param.h",
    "sys/types.h",
    "sys/socket.h",
    "sys/sysctl.h",
    "sys/mount.h",
    "sys/proc.h",
    "sys/user.h",
    "net/if.h",
    "net/if_mib.h",
    "net/if_dl.h",
    "net/if_types.h",
    "net/route.h",
    "netinet/in.h",
    "ufs/ufs/dinode.h",
    "ufs/ffs/fs.h",
    "dev/hyperv/hv_snapshot.h",
    "fs/cuse/cuse_defs.h",
    "fs/cuse/cuse_ioctl.h",
    "errno.h",
    "stddef.h",
    "stdint.h",
];

/// A C file that compiles only if every row of [`TABLE`] is true.
#[must_use]
pub fn c_source() -> String {
    c_assertions(HEADERS, TABLE)
}

/// The same for the messages of the key-value exchange. Their header is only in the system's source tree.
#[must_use]
pub fn c_source_of_kvp() -> String {
    c_assertions(&["sys/types.h", "stddef.h", "dev/hyperv/utilities/hv_kvp.h"], kvp::LAYOUT)
}

fn c_assertions(headers: &[&str], rows: &[Row]) -> String {
    let mut text = String::new();
    for header in headers {
        let _ = writeln!(text, "#include <{header}>");
    }
    for Row { name, value, c } in rows {
        let _ = writeln!(text, "_Static_assert((unsigned long long)({c}) == {value}ULL, \"{name}: {c}\");");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_source_asserts_every_row_with_its_value() {
        let text = c_source();
        assert_eq!(text.matches("_Static_assert").count(), TABLE.len());
        assert!(text.contains("(UFSSUSPEND) == 2148029697ULL"));
        assert!(text.contains("(sizeof(struct statfs)) == 2344ULL"));
    }

    /// The code that makes messages and the assertions about their layout must use the same numbers.
    #[test]
    fn live_backup_messages_match_the_table() {
        use crate::abi::vss::{Answer, MESSAGE_SIZE, Operation, Request, Status};
        assert_eq!(MESSAGE_SIZE, VSS_MESSAGE_SIZE);
        for (operation, number) in [
            (Operation::Check, HV_VSS_CHECK),
            (Operation::Freeze, HV_VSS_FREEZE),
            (Operation::Thaw, HV_VSS_THAW),
        ] {
            assert_eq!(u32::from(operation), number);
            for (status, code) in [(Status::Success, VSS_SUCCESS), (Status::Failure, VSS_FAIL)] {
                let bytes = Answer { request: Request { operation, id: 0x0102_0304_0506_0708 }, status };
                let bytes = bytes.encode();
                assert_eq!(bytes[VSS_OPT..VSS_OPT + 4], number.to_le_bytes());
                assert_eq!(bytes[VSS_STATUS..VSS_STATUS + 4], code.to_le_bytes());
                assert_eq!(bytes[VSS_MSGID..VSS_RESERVED], 0x0102_0304_0506_0708_u64.to_le_bytes());
                assert!(bytes[VSS_RESERVED..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn names_of_rows_are_unique() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
