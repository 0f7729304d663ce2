//! A mount for tests: writable and local, with its number as its id. Only tests are given it.

use super::mounts::{FsId, Mount};

pub(super) fn mount(fs_type: &str, from: &str, on: &str, number: i32) -> Mount {
    Mount {
        fs_type: fs_type.into(),
        from: from.into(),
        on: on.into(),
        id: FsId([number, 0]),
        read_only: false,
        local: true,
    }
}
