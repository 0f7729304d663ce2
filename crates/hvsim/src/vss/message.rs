//! `struct hv_vss_opt_msg`, as the driver reads and writes it. Nothing is shared with `hv_core`, so that two
//! readings of the header are compared.

/// Bytes of a message.
pub(super) const SIZE: usize = 64;

/// The fields of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) operation: u32,
    pub(super) status: u32,
    pub(super) id: u64,
    pub(super) reserved_is_zero: bool,
}

impl Message {
    /// Parses the bytes that the daemon passed to WRITE. `None` if they are no message.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut id = [0; 8];
        id.copy_from_slice(&bytes[8..16]);
        Some(Self {
            operation: word(0),
            status: word(4),
            id: u64::from_ne_bytes(id),
            reserved_is_zero: bytes[16..].iter().all(|byte| *byte == 0),
        })
    }

    /// The bytes that READ returns.
    pub(super) fn bytes(operation: u32, status: u32, id: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend(operation.to_ne_bytes());
        bytes.extend(status.to_ne_bytes());
        bytes.extend(id.to_ne_bytes());
        bytes.resize(SIZE, 0);
        bytes
    }
}
