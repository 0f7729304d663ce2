//! Compares the table of `sys/freebsd_abi` with the values of libc and nix for this target, at compile time.
//! It produces no code.

use std::mem::offset_of;

use crate::sys::freebsd_abi as abi;

/// Asserts that pairs of numbers are equal, whatever their types.
macro_rules! equal {
    ($($left:expr, $right:expr;)*) => { $(const _: () = assert!($left as u64 == $right as u64, stringify!($left));)* };
}

equal! {
    abi::UFSSUSPEND, nix::request_code_write!(b'U', 1, size_of::<libc::fsid_t>());
    abi::UFSRESUME, nix::request_code_none!(b'U', 2);
    abi::IOCHVVSSREAD, nix::request_code_read!(b'v', 2, abi::VSS_MESSAGE_SIZE);
    abi::IOCHVVSSWRITE, nix::request_code_write!(b'v', 3, abi::VSS_MESSAGE_SIZE);

    abi::STATFS_SIZE, size_of::<libc::statfs>();
    abi::MNT_RDONLY, libc::MNT_RDONLY;
    abi::MNT_LOCAL, libc::MNT_LOCAL;
    abi::MNT_NOWAIT, libc::MNT_NOWAIT;

    abi::AF_INET, libc::AF_INET;
    abi::AF_INET6, libc::AF_INET6;
    abi::AF_LINK, libc::AF_LINK;
    abi::SA_FAMILY, offset_of!(libc::sockaddr, sa_family);
    abi::SIN_ADDR, offset_of!(libc::sockaddr_in, sin_addr);
    abi::SIN6_ADDR, offset_of!(libc::sockaddr_in6, sin6_addr);
    abi::SIN6_SCOPE_ID, offset_of!(libc::sockaddr_in6, sin6_scope_id);
    abi::SDL_INDEX, offset_of!(libc::sockaddr_dl, sdl_index);
    abi::SDL_TYPE, offset_of!(libc::sockaddr_dl, sdl_type);
    abi::SDL_NLEN, offset_of!(libc::sockaddr_dl, sdl_nlen);
    abi::SDL_ALEN, offset_of!(libc::sockaddr_dl, sdl_alen);
    abi::SDL_DATA, offset_of!(libc::sockaddr_dl, sdl_data);
    abi::IFNAMSIZ, libc::IFNAMSIZ;
    abi::IFF_UP, libc::IFF_UP;
    abi::IFF_LOOPBACK, libc::IFF_LOOPBACK;

    abi::RTM_VERSION, libc::RTM_VERSION;
    abi::RTM_GET, libc::RTM_GET;
    abi::SA_ALIGNMENT, size_of::<libc::c_long>();
    abi::RTAX_DST, libc::RTAX_DST;
    abi::RTAX_GATEWAY, libc::RTAX_GATEWAY;
    abi::RTAX_NETMASK, libc::RTAX_NETMASK;
    abi::RTAX_MAX, libc::RTAX_MAX;
    abi::RTA_DST, libc::RTA_DST;
    abi::RTA_GATEWAY, libc::RTA_GATEWAY;
    abi::RTA_NETMASK, libc::RTA_NETMASK;
    abi::RTF_UP, libc::RTF_UP;
    abi::RTF_GATEWAY, libc::RTF_GATEWAY;
    abi::RTF_HOST, libc::RTF_HOST;
    abi::RTF_REJECT, libc::RTF_REJECT;
    abi::RTF_STATIC, libc::RTF_STATIC;
    abi::RTF_BLACKHOLE, libc::RTF_BLACKHOLE;

    abi::CTL_NET, libc::CTL_NET;
    abi::PF_ROUTE, libc::PF_ROUTE;
    abi::NET_RT_FLAGS, libc::NET_RT_FLAGS;
    abi::CTL_KERN, libc::CTL_KERN;
    abi::KERN_OSTYPE, libc::KERN_OSTYPE;
    abi::KERN_OSRELEASE, libc::KERN_OSRELEASE;
    abi::KERN_VERSION, libc::KERN_VERSION;
    abi::KERN_HOSTNAME, libc::KERN_HOSTNAME;
    abi::KERN_PROC, libc::KERN_PROC;
    abi::KERN_PROC_ARGS, libc::KERN_PROC_ARGS;
    abi::KERN_OSRELDATE, libc::KERN_OSRELDATE;
    abi::KERN_PROC_PID, libc::KERN_PROC_PID;
    abi::KERN_PROC_PROC, libc::KERN_PROC_PROC;
    abi::KERN_PROC_VMMAP, libc::KERN_PROC_VMMAP;
    abi::CTL_HW, libc::CTL_HW;
    abi::HW_MACHINE, libc::HW_MACHINE;
    abi::HW_MACHINE_ARCH, libc::HW_MACHINE_ARCH;

    abi::KINFO_PROC_SIZE, size_of::<libc::kinfo_proc>();
    abi::KI_PID, offset_of!(libc::kinfo_proc, ki_pid);
    abi::KI_PPID, offset_of!(libc::kinfo_proc, ki_ppid);
    abi::KI_STAT, offset_of!(libc::kinfo_proc, ki_stat);
    abi::SZOMB, libc::SZOMB;
    abi::KI_FLAG, offset_of!(libc::kinfo_proc, ki_flag);
    abi::KI_COMM, offset_of!(libc::kinfo_proc, ki_comm);
    abi::COMMLEN, libc::COMMLEN;
    abi::KI_JID, offset_of!(libc::kinfo_proc, ki_jid);
    abi::KI_NUMTHREADS, offset_of!(libc::kinfo_proc, ki_numthreads);
    abi::P_SYSTEM, libc::P_SYSTEM;
    abi::KVE_STRUCTSIZE, offset_of!(libc::kinfo_vmentry, kve_structsize);
    abi::KVE_TYPE, offset_of!(libc::kinfo_vmentry, kve_type);
    abi::KVE_VN_FILEID, offset_of!(libc::kinfo_vmentry, kve_vn_fileid);
    abi::KVE_FLAGS, offset_of!(libc::kinfo_vmentry, kve_flags);
    abi::KVE_PROTECTION, offset_of!(libc::kinfo_vmentry, kve_protection);
    abi::KVE_VN_FSID, offset_of!(libc::kinfo_vmentry, kve_vn_fsid);
    abi::KVE_PATH, offset_of!(libc::kinfo_vmentry, kve_path);
    abi::KVME_TYPE_VNODE, libc::KVME_TYPE_VNODE;
    abi::KVME_PROT_WRITE, libc::KVME_PROT_WRITE;
    abi::KVME_FLAG_COW, libc::KVME_FLAG_COW;
    abi::KINFO_FILE_SIZE, size_of::<libc::kinfo_file>();
    abi::KF_TYPE, offset_of!(libc::kinfo_file, kf_type);
    abi::KF_PATH, offset_of!(libc::kinfo_file, kf_path);

    abi::EPERM, libc::EPERM;
    abi::ENOENT, libc::ENOENT;
    abi::ESRCH, libc::ESRCH;
    abi::EIO, libc::EIO;
    abi::ENXIO, libc::ENXIO;
    abi::EDEADLK, libc::EDEADLK;
    abi::ENOMEM, libc::ENOMEM;
    abi::EBUSY, libc::EBUSY;
    abi::EINVAL, libc::EINVAL;
    abi::EAGAIN, libc::EAGAIN;
}
