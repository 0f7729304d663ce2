//! Messages of `/dev/hv_kvp_dev` (`struct hv_kvp_msg`, sys/dev/hyperv/utilities/hv_kvp.h): packed, little
//! endian. Decodes requests and encodes answers in one buffer. Does no I/O and judges no content.
//!
//! A text ends at its NUL. The size fields beside the texts are never read: the kernel counts UTF-16 units in
//! them where it should count bytes.

use std::fmt;

use crate::sys::freebsd_abi::Row;

/// Size of every message in both directions, in bytes. The driver copies one byte past its buffer for a
/// larger read and refuses a write of another size.
pub const MESSAGE_SIZE: usize = 7430;
/// Size of a key with its NUL, in bytes.
pub const KEY_SIZE: usize = 512;
/// Size of a value with its NUL, in bytes.
pub const VALUE_SIZE: usize = 2048;
/// The most UTF-16 units of a key that the kernel converts for the host. For a longer key the kernel still
/// reports the full length, which makes some hosts drop the channel, so nothing longer is ever sent.
pub const KEY_UNITS: usize = 254;
/// The most UTF-16 units of a value that the kernel converts for the host.
pub const VALUE_UNITS: usize = 1022;
/// The most characters of an address, mask or name-server list towards the host.
pub const LIST_UNITS: usize = 1023;
/// The most characters of a gateway list towards the host.
pub const GATEWAY_UNITS: usize = 511;

const BODY: usize = 4;
const DATA_SIZES: usize = 12;
const REGISTER: u8 = 4;
const REG_SZ: u32 = 1;

/// Fields of the IP message: offset of the first byte, size.
const ADAPTER_ID: (usize, usize) = (BODY, 256);
const ADDRESS_FAMILY: usize = BODY + 256;
const DHCP_ENABLED: usize = BODY + 257;
const ADDRESSES: (usize, usize) = (BODY + 258, 2048);
const MASKS: (usize, usize) = (ADDRESSES.0 + ADDRESSES.1, 2048);
const GATEWAYS: (usize, usize) = (MASKS.0 + MASKS.1, 1024);
const NAME_SERVERS: (usize, usize) = (GATEWAYS.0 + GATEWAYS.1, 2048);

/// The layout that this module relies on, with C expressions over sys/dev/hyperv/utilities/hv_kvp.h that must
/// have the same values. That header is not installed.
pub const LAYOUT: &[Row] = &[
    row("MESSAGE_SIZE", MESSAGE_SIZE, "sizeof(struct hv_kvp_msg)"),
    row("OPERATION", 0, "offsetof(struct hv_kvp_msg, hdr.kvp_hdr.operation)"),
    row("POOL", 1, "offsetof(struct hv_kvp_msg, hdr.kvp_hdr.pool)"),
    row("ERROR", 0, "offsetof(struct hv_kvp_msg, hdr.error)"),
    row("BODY", BODY, "offsetof(struct hv_kvp_msg, body)"),
    row("KEY_SIZE", KEY_SIZE, "HV_KVP_EXCHANGE_MAX_KEY_SIZE"),
    row("VALUE_SIZE", VALUE_SIZE, "HV_KVP_EXCHANGE_MAX_VALUE_SIZE"),
    row("GET.key", BODY + DATA_SIZES, "offsetof(struct hv_kvp_msg, body.kvp_get.data.key)"),
    row(
        "SET.value",
        BODY + DATA_SIZES + KEY_SIZE,
        "offsetof(struct hv_kvp_msg, body.kvp_set.data.msg_value)",
    ),
    row("DELETE.key", BODY + 4, "offsetof(struct hv_kvp_msg, body.kvp_delete.key)"),
    row("ENUMERATE.index", BODY, "offsetof(struct hv_kvp_msg, body.kvp_enum_data.index)"),
    row("ENUMERATE.data", BODY + 4, "offsetof(struct hv_kvp_msg, body.kvp_enum_data.data)"),
    row("REGISTER.version", BODY, "offsetof(struct hv_kvp_msg, body.kvp_register.version)"),
    row("REGISTER", REGISTER as usize, "HV_KVP_OP_REGISTER"),
    row("ADAPTER_ID", ADAPTER_ID.0, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.adapter_id)"),
    row("ADDRESS_FAMILY", ADDRESS_FAMILY, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.addr_family)"),
    row("DHCP_ENABLED", DHCP_ENABLED, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.dhcp_enabled)"),
    row("ADDRESSES", ADDRESSES.0, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.ip_addr)"),
    row("MASKS", MASKS.0, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.sub_net)"),
    row("GATEWAYS", GATEWAYS.0, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.gate_way)"),
    row("NAME_SERVERS", NAME_SERVERS.0, "offsetof(struct hv_kvp_msg, body.kvp_ip_val.dns_addr)"),
];

const fn row(name: &'static str, value: usize, c: &'static str) -> Row {
    Row { name, value: value as u64, c }
}

const _: () = assert!(NAME_SERVERS.0 + NAME_SERVERS.1 == MESSAGE_SIZE);
const _: () = assert!(BODY + 4 + DATA_SIZES + KEY_SIZE + VALUE_SIZE <= MESSAGE_SIZE);

/// One message as it lies in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Box<[u8; MESSAGE_SIZE]>);

/// A request of the kernel. Every number is allowed: an unknown operation is a value, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'m> {
    /// Operation 0: the value of a key.
    Get {
        /// The pool's number, any.
        pool: u8,
        /// The key; `None` where its array has no NUL.
        key: Option<&'m [u8]>,
    },
    /// Operation 1: set a key, which may be new.
    Set {
        /// The pool's number, any.
        pool: u8,
        /// The key; `None` where its array has no NUL.
        key: Option<&'m [u8]>,
        /// The value; `None` where its array has no NUL.
        value: Option<&'m [u8]>,
    },
    /// Operation 2: remove a key.
    Delete {
        /// The pool's number, any.
        pool: u8,
        /// The key; `None` where its array has no NUL.
        key: Option<&'m [u8]>,
    },
    /// Operation 3: the item at a position.
    Enumerate {
        /// The pool's number, any.
        pool: u8,
        /// The position from 0.
        index: u32,
    },
    /// Operation 4: the network configuration of an adapter.
    GetIpInfo {
        /// Its Ethernet address as text.
        adapter_id: &'m [u8],
    },
    /// Operation 5: configure an adapter.
    SetIpInfo(IpRequest<'m>),
    /// Any other number.
    Unknown {
        /// The number.
        operation: u8,
    },
}

/// The texts of SET_IP_INFO up to their NULs, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRequest<'m> {
    /// The interface's name, or a GUID in braces where the kernel found none for it.
    pub adapter_id: &'m [u8],
    /// 1 for IPv4, 2 for IPv6, 3 for both.
    pub address_family: u8,
    /// Non-zero: use DHCP.
    pub dhcp_enabled: u8,
    /// Addresses joined by `;`.
    pub addresses: &'m [u8],
    /// Masks or prefix lengths, by position.
    pub masks: &'m [u8],
    /// Gateways.
    pub gateways: &'m [u8],
    /// Name servers.
    pub name_servers: &'m [u8],
}

/// The error code of an answer (HV_* in hv_kvp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// It failed.
    Fail = 0x8000_4005,
    /// No such item: ends the host's enumeration. Base's daemon also answers an unknown key with it, and a
    /// pool that the host may not write.
    NoMoreItems = 0x8007_0103,
    /// Not supported.
    NotSupported = 0x8007_0032,
    /// A malformed request.
    InvalidArgument = 0x8007_0057,
    /// No adapter of that name.
    GuidNotFound = 0x8004_1002,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ok => "OK",
            Self::Fail => "E_FAIL",
            Self::NoMoreItems => "S_CONT",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::InvalidArgument => "INVALIDARG",
            Self::GuidNotFound => "GUID_NOTFOUND",
        };
        f.write_str(name)
    }
}

/// The content of an answer. Texts are cut to what the kernel converts, and are made valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A code without data.
    Code(Code),
    /// OK to a GET.
    Value(&'a [u8]),
    /// OK to an ENUMERATE.
    Item {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// OK to a GET_IP_INFO.
    IpInfo(&'a IpAnswer),
}

/// The data of a GET_IP_INFO answer: lists joined by `;`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpAnswer {
    /// Whether a DHCP client serves the interface.
    pub dhcp: bool,
    /// 1 for IPv4, 2 for IPv6, 3 for both.
    pub families: u8,
    /// Addresses.
    pub addresses: String,
    /// Masks (IPv4) and `/n` (IPv6) in the order of the addresses.
    pub masks: String,
    /// Default gateways.
    pub gateways: String,
    /// Name servers.
    pub name_servers: String,
}

impl Default for Message {
    fn default() -> Self {
        Self(Box::new([0; MESSAGE_SIZE]))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?})", self.decode())
    }
}

impl Message {
    /// The message that registers a daemon of this version. It must be the first message that is written.
    #[must_use]
    pub fn registration(version: &str) -> Self {
        let mut message = Self::default();
        message.0[0] = REGISTER;
        message.put_text((BODY, KEY_SIZE), version.as_bytes(), KEY_UNITS);
        message
    }

    /// The bytes of the whole message.
    #[must_use]
    pub fn bytes(&self) -> &[u8; MESSAGE_SIZE] {
        &self.0
    }

    /// The buffer for the next read.
    pub fn buffer(&mut self) -> &mut [u8; MESSAGE_SIZE] {
        &mut self.0
    }

    /// The request in the buffer. Decoding cannot fail.
    #[must_use]
    pub fn decode(&self) -> Request<'_> {
        let [operation, pool, ..] = *self.0;
        match operation {
            0 => Request::Get { pool, key: self.key(BODY + DATA_SIZES) },
            1 => Request::Set {
                pool,
                key: self.key(BODY + DATA_SIZES),
                value: terminated(self.field((BODY + DATA_SIZES + KEY_SIZE, VALUE_SIZE))),
            },
            2 => Request::Delete { pool, key: self.key(BODY + 4) },
            3 => {
                let [a, b, c, d] = [self.0[BODY], self.0[BODY + 1], self.0[BODY + 2], self.0[BODY + 3]];
                Request::Enumerate { pool, index: u32::from_le_bytes([a, b, c, d]) }
            }
            4 => Request::GetIpInfo { adapter_id: self.text(ADAPTER_ID) },
            5 => Request::SetIpInfo(IpRequest {
                adapter_id: self.text(ADAPTER_ID),
                address_family: self.0[ADDRESS_FAMILY],
                dhcp_enabled: self.0[DHCP_ENABLED],
                addresses: self.text(ADDRESSES),
                masks: self.text(MASKS),
                gateways: self.text(GATEWAYS),
                name_servers: self.text(NAME_SERVERS),
            }),
            operation => Request::Unknown { operation },
        }
    }

    /// Turns the request into its answer: the code overwrites operation and pool, and the data is written to
    /// its fields.
    ///
    /// A fulfilled request keeps its other fields. An error clears the request. The kernel converts the
    /// answer of a GET, an ENUMERATE and a GET_IP_INFO even if its code is an error, and looks for NULs
    /// without a bound (`hv_kvp_convert_usermsg_to_hostmsg`, sys/dev/hyperv/utilities/hv_kvp.c). Only the
    /// adapter of a GET_IP_INFO stays, if it is text with a NUL: the kernel sends it back to the host.
    pub fn answer(&mut self, answer: &Answer<'_>) {
        let code = match answer {
            Answer::Code(code) => {
                if *code != Code::Ok {
                    self.clear();
                }
                *code
            }
            Answer::Value(value) => {
                self.put_data(BODY, None, value);
                Code::Ok
            }
            Answer::Item { key, value } => {
                self.put_data(BODY + 4, Some(key), value);
                Code::Ok
            }
            Answer::IpInfo(info) => {
                self.put_ip_info(info);
                Code::Ok
            }
        };
        self.0[..4].copy_from_slice(&(code as u32).to_le_bytes());
    }

    /// Clears everything of the request, except the adapter of a GET_IP_INFO.
    fn clear(&mut self) {
        let adapter = match self.decode() {
            Request::GetIpInfo { adapter_id } if std::str::from_utf8(adapter_id).is_ok() => adapter_id.len(),
            _ => 0,
        };
        let (at, size) = ADAPTER_ID;
        let kept = at + if adapter < size { adapter } else { 0 };
        self.0[kept..].fill(0);
    }

    fn put_data(&mut self, at: usize, key: Option<&[u8]>, value: &[u8]) {
        self.0[at..at + 4].copy_from_slice(&REG_SZ.to_le_bytes());
        if let Some(key) = key {
            let size = self.put_text((at + DATA_SIZES, KEY_SIZE), key, KEY_UNITS);
            self.0[at + 4..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        let size = self.put_text((at + DATA_SIZES + KEY_SIZE, VALUE_SIZE), value, VALUE_UNITS);
        self.0[at + 8..at + 12].copy_from_slice(&size.to_le_bytes());
    }

    fn put_ip_info(&mut self, info: &IpAnswer) {
        // adapter_id stays unchanged: the kernel converts it back with the bound of another field.
        self.0[ADDRESS_FAMILY] = info.families;
        self.0[DHCP_ENABLED] = u8::from(info.dhcp);
        self.put_text(ADDRESSES, info.addresses.as_bytes(), LIST_UNITS);
        self.put_text(MASKS, info.masks.as_bytes(), LIST_UNITS);
        self.put_text(GATEWAYS, info.gateways.as_bytes(), GATEWAY_UNITS);
        self.put_text(NAME_SERVERS, info.name_servers.as_bytes(), LIST_UNITS);
    }

    fn field(&self, (at, size): (usize, usize)) -> &[u8] {
        &self.0[at..at + size]
    }

    fn key(&self, at: usize) -> Option<&[u8]> {
        terminated(self.field((at, KEY_SIZE)))
    }

    fn text(&self, field: (usize, usize)) -> &[u8] {
        let bytes = self.field(field);
        terminated(bytes).unwrap_or(bytes)
    }

    /// Writes a text with its NUL and clears the rest of its array. Returns the size with the NUL.
    fn put_text(&mut self, (at, size): (usize, usize), text: &[u8], units: usize) -> u32 {
        let field = &mut self.0[at..at + size];
        let mut used = 0;
        let mut room = units;
        for c in text.utf8_chunks().flat_map(|chunk| {
            let replacement = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(replacement)
        }) {
            if c.len_utf16() > room || used + c.len_utf8() >= size {
                break;
            }
            c.encode_utf8(&mut field[used..]);
            used += c.len_utf8();
            room -= c.len_utf16();
        }
        field[used..].fill(0);
        u32::try_from(used + 1).unwrap_or(u32::MAX)
    }
}

/// The bytes before the first NUL, if there is one.
fn terminated(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[..end])
}

#[cfg(test)]
mod tests;
