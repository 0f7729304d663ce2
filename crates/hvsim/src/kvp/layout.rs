//! The layout of key-value messages: `struct hv_kvp_msg` (for the daemon) and `struct hv_kvp_ip_msg` (for the
//! host), both packed and little endian. The source is `hv_kvp.h`; nothing is shared with `hv_core`.

use std::ops::Range;

/// `sizeof(struct hv_kvp_msg)`.
pub const MESSAGE_SIZE: usize = BODY + IP_SIZE;

/// Offset of the operation in a request.
pub const OPERATION: usize = 0;
/// Offset of the pool in a request.
pub const POOL: usize = 1;
/// Offset of the 32-bit error code in an answer.
pub const ERROR: usize = 0;
/// Offset of the body.
pub const BODY: usize = 4;

/// `HV_KVP_OP_GET`.
pub const OP_GET: u8 = 0;
/// `HV_KVP_OP_SET`.
pub const OP_SET: u8 = 1;
/// `HV_KVP_OP_DELETE`.
pub const OP_DELETE: u8 = 2;
/// `HV_KVP_OP_ENUMERATE`.
pub const OP_ENUMERATE: u8 = 3;
/// `HV_KVP_OP_GET_IP_INFO`.
pub const OP_GET_IP_INFO: u8 = 4;
/// `HV_KVP_OP_SET_IP_INFO`.
pub const OP_SET_IP_INFO: u8 = 5;
/// `HV_KVP_OP_REGISTER`: the same number as [`OP_GET_IP_INFO`]; the direction distinguishes them.
pub const OP_REGISTER: u8 = 4;

/// `HV_REG_SZ`: a text.
pub const REG_SZ: u32 = 1;
/// `HV_REG_U32`.
pub const REG_U32: u32 = 4;
/// `HV_REG_U64`.
pub const REG_U64: u32 = 8;
/// Windows' `REG_QWORD`, which the driver does not know.
pub const REG_QWORD: u32 = 11;

/// Bytes of a key's array.
pub const KEY_SIZE: usize = 512;
/// Bytes of a value's array.
pub const VALUE_SIZE: usize = 2048;
/// UTF-16 units of a key that the driver converts for the host: half the array less two.
pub const KEY_UNITS: usize = KEY_SIZE / 2 - 2;
/// UTF-16 units of a value that the driver converts for the host.
pub const VALUE_UNITS: usize = VALUE_SIZE / 2 - 2;

/// Offsets of the parts of a `struct hv_kvp_exchg_msg_value`.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    start: usize,
}

/// The exchange value of GET and SET.
pub const EXCHANGE: Exchange = Exchange { start: BODY };
/// The exchange value of ENUMERATE, after the index.
pub const ENUMERATED: Exchange = Exchange { start: BODY + 4 };
/// Offset of ENUMERATE's index.
pub const INDEX: usize = BODY;
/// Offset of DELETE's key size.
pub const DELETE_KEY_SIZE: usize = BODY;
/// DELETE's key.
pub const DELETE_KEY: Range<usize> = BODY + 4..BODY + 4 + KEY_SIZE;

impl Exchange {
    /// Offset of the value's type.
    #[must_use]
    pub const fn value_type(self) -> usize {
        self.start
    }
    /// Offset of the key's size.
    #[must_use]
    pub const fn key_size(self) -> usize {
        self.start + 4
    }
    /// Offset of the value's size.
    #[must_use]
    pub const fn value_size(self) -> usize {
        self.start + 8
    }
    /// The key's array.
    #[must_use]
    pub const fn key(self) -> Range<usize> {
        self.start + 12..self.start + 12 + KEY_SIZE
    }
    /// The value's array.
    #[must_use]
    pub const fn value(self) -> Range<usize> {
        let start = self.start + 12 + KEY_SIZE;
        start..start + VALUE_SIZE
    }
}

/// `MAX_ADAPTER_ID_SIZE`: elements, not bytes.
pub const ADAPTER_UNITS: usize = 128;
/// `MAX_IP_ADDR_SIZE`: elements of the lists of addresses, masks and name servers.
pub const LIST_UNITS: usize = 1024;
/// `MAX_GATEWAY_SIZE`.
pub const GATEWAY_UNITS: usize = 512;

/// `sizeof(struct hv_kvp_ipaddr_value)`.
pub const IP_SIZE: usize = 2 * ADAPTER_UNITS + 2 + 2 * (3 * LIST_UNITS + GATEWAY_UNITS);

/// Offsets of the parts of a `struct hv_kvp_ipaddr_value`.
#[derive(Debug, Clone, Copy)]
pub struct IpLayout {
    start: usize,
}

/// In messages for the daemon: after the four-byte header.
pub const IP_DAEMON: IpLayout = IpLayout { start: BODY };
/// In messages for the host: `struct hv_kvp_ip_msg` has a header of operation and pool only.
pub const IP_HOST: IpLayout = IpLayout { start: 2 };

impl IpLayout {
    /// The adapter's identity.
    #[must_use]
    pub const fn adapter(self) -> Range<usize> {
        self.start..self.start + 2 * ADAPTER_UNITS
    }
    /// Offset of the address families' bits.
    #[must_use]
    pub const fn family(self) -> usize {
        self.adapter().end
    }
    /// Offset of the DHCP flag.
    #[must_use]
    pub const fn dhcp(self) -> usize {
        self.family() + 1
    }
    /// The addresses.
    #[must_use]
    pub const fn addresses(self) -> Range<usize> {
        self.dhcp() + 1..self.dhcp() + 1 + 2 * LIST_UNITS
    }
    /// The masks.
    #[must_use]
    pub const fn masks(self) -> Range<usize> {
        self.addresses().end..self.addresses().end + 2 * LIST_UNITS
    }
    /// The gateways.
    #[must_use]
    pub const fn gateways(self) -> Range<usize> {
        self.masks().end..self.masks().end + 2 * GATEWAY_UNITS
    }
    /// The name servers.
    #[must_use]
    pub const fn name_servers(self) -> Range<usize> {
        self.gateways().end..self.gateways().end + 2 * LIST_UNITS
    }
}

/// `HV_S_OK`.
pub const STATUS_OK: u32 = 0;
/// `HV_E_FAIL`: also the kernel's own answer after its time-out.
pub const STATUS_FAIL: u32 = 0x8000_4005;
/// `HV_S_CONT`: no more items.
pub const STATUS_CONT: u32 = 0x8007_0103;
/// `HV_ERROR_NOT_SUPPORTED`.
pub const STATUS_NOT_SUPPORTED: u32 = 0x8007_0032;
/// `HV_INVALIDARG`.
pub const STATUS_INVALID_ARGUMENT: u32 = 0x8007_0057;
/// `HV_GUID_NOTFOUND`.
pub const STATUS_GUID_NOT_FOUND: u32 = 0x8004_1002;
/// `HV_ERROR_DEVICE_NOT_CONNECTED`.
pub const STATUS_NOT_CONNECTED: u32 = 0x8007_048f;
/// `HV_ERROR_MACHINE_LOCKED`.
pub const STATUS_MACHINE_LOCKED: u32 = 0x8007_04f7;

/// The codes that the host knows, with their names.
pub const STATUSES: [(u32, &str); 8] = [
    (STATUS_OK, "OK"),
    (STATUS_FAIL, "E_FAIL"),
    (STATUS_CONT, "S_CONT"),
    (STATUS_NOT_SUPPORTED, "NOT_SUPPORTED"),
    (STATUS_INVALID_ARGUMENT, "INVALIDARG"),
    (STATUS_GUID_NOT_FOUND, "GUID_NOTFOUND"),
    (STATUS_NOT_CONNECTED, "DEVICE_NOT_CONNECTED"),
    (STATUS_MACHINE_LOCKED, "MACHINE_LOCKED"),
];

/// The name of a status, if the host knows it.
#[must_use]
pub fn status_name(code: u32) -> Option<&'static str> {
    STATUSES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// A message's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Box<[u8; MESSAGE_SIZE]>);

impl Message {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self(Box::new([0; MESSAGE_SIZE]))
    }

    /// The first [`MESSAGE_SIZE`] bytes of `bytes`. Missing bytes are zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut message = Self::zeroed();
        let len = bytes.len().min(MESSAGE_SIZE);
        message.0[..len].copy_from_slice(&bytes[..len]);
        message
    }

    /// A request's first two bytes. The rest is zero.
    #[must_use]
    pub fn request(operation: u8, pool: u8) -> Self {
        let mut message = Self::zeroed();
        message.put_u8(OPERATION, operation);
        message.put_u8(POOL, pool);
        message
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// A part of the message. The offsets of this module are always inside.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }

    /// A part of the message, for changes.
    pub fn part_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.0[range]
    }

    /// The part up to its first NUL, or the whole part if it has none.
    #[must_use]
    pub fn text(&self, range: Range<usize>) -> &[u8] {
        let part = self.part(range);
        part.iter().position(|&byte| byte == 0).map_or(part, |end| &part[..end])
    }

    /// The byte at `offset`.
    #[must_use]
    pub fn u8_at(&self, offset: usize) -> u8 {
        self.0[offset]
    }

    /// The 32-bit number at `offset`.
    #[must_use]
    pub fn u32_at(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.part(offset..offset + 4));
        u32::from_le_bytes(bytes)
    }

    /// The 64-bit number at `offset`.
    #[must_use]
    pub fn u64_at(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.part(offset..offset + 8));
        u64::from_le_bytes(bytes)
    }

    /// The UTF-16 units from `offset` to the end of the message. The kernel reads them like this, beyond the
    /// end of an array.
    pub fn units_from(&self, offset: usize) -> impl Iterator<Item = u16> + '_ {
        self.0[offset..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// Sets the byte at `offset`.
    pub fn put_u8(&mut self, offset: usize, value: u8) {
        self.0[offset] = value;
    }

    /// Sets the 32-bit number at `offset`.
    pub fn put_u32(&mut self, offset: usize, value: u32) {
        self.part_mut(offset..offset + 4).copy_from_slice(&value.to_le_bytes());
    }

    /// Writes UTF-16 units at `offset`, as many as fit into the message.
    pub fn put_units(&mut self, offset: usize, units: impl IntoIterator<Item = u16>) {
        for (pair, unit) in self.0[offset..].chunks_exact_mut(2).zip(units) {
            pair.copy_from_slice(&unit.to_le_bytes());
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({:02x?}…)", self.part(0..16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // contract K11, K12
    #[test]
    fn sizes_match_the_header_file() {
        assert_eq!(IP_SIZE, 7426);
        assert_eq!(MESSAGE_SIZE, 7430);
        assert_eq!(EXCHANGE.value().end - BODY, 2572);
        assert_eq!(IP_DAEMON.name_servers().end, MESSAGE_SIZE);
    }
}
