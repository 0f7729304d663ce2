//! The host's requests, and its interpretation of answers: UTF-16, sizes in bytes with the NUL. It never
//! talks to a device.

use std::net::IpAddr;
use std::ops::Range;

use hv_core::net::{InterfaceAddress, ipv4_mask};
use serde::{Deserialize, Serialize};

use super::layout::{self, DELETE_KEY, ENUMERATED, EXCHANGE, Exchange, IP_HOST, IpLayout, Message};

/// A request of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum HostRequest {
    /// GET: the value of a key.
    Get {
        /// The pool's number; any number is sent.
        pool: u8,
        /// The key, at most 255 UTF-16 units.
        key: String,
    },
    /// SET: stores a value.
    Set {
        /// The pool's number.
        pool: u8,
        /// The key.
        key: String,
        /// The value.
        value: HostValue,
    },
    /// DELETE: removes a key.
    Delete {
        /// The pool's number.
        pool: u8,
        /// The key.
        key: String,
    },
    /// ENUMERATE: one item by its index.
    Enumerate {
        /// The pool's number.
        pool: u8,
        /// The index.
        index: u32,
    },
    /// `GET_IP_INFO`: addresses of an adapter.
    GetIpInfo {
        /// The adapter's MAC address as the host writes it: `00:15:5D:01:02:03`.
        adapter: String,
    },
    /// `SET_IP_INFO`: addresses for an adapter.
    SetIpInfo {
        /// The adapter and its new addresses; the adapter is a GUID in braces.
        info: IpInfo,
    },
    /// Any operation number, with a body in the host's layout that the kernel converts.
    Raw {
        /// The operation.
        opcode: u8,
        /// The pool.
        pool: u8,
        /// The body, from offset 4 on; cut at the message's end, padded with zeros.
        body: Vec<u8>,
    },
    /// A message that reaches the daemon unchanged, even if no kernel would send it.
    Verbatim {
        /// The message, padded with zeros.
        message: Vec<u8>,
    },
}

/// A value to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "kebab-case")]
pub enum HostValue {
    /// `REG_SZ`.
    String(String),
    /// `REG_U32`, which the kernel prints as a signed number.
    U32(u32),
    /// `REG_U64`.
    U64(u64),
    /// Windows' `REG_QWORD`, which the driver does not know.
    Qword(u64),
}

/// The addresses of an adapter. Lists are joined with `;`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct IpInfo {
    /// Which adapter: a MAC address when asking, a GUID in braces when setting.
    pub adapter: String,
    /// Bits: 1 for IPv4, 2 for IPv6.
    pub family: u8,
    /// Whether DHCP is used.
    pub dhcp: bool,
    /// Addresses.
    pub addresses: String,
    /// Masks, one for each address.
    pub masks: String,
    /// Default gateways.
    pub gateways: String,
    /// Name servers.
    pub name_servers: String,
}

impl IpInfo {
    /// A request of a host that gives `adapter` addresses such as `10.1.1.5/24` or `fd00::5/64`. The lists
    /// are written as hosts write them: dotted masks for IPv4, prefix lengths for IPv6.
    ///
    /// # Errors
    /// A text is no address with a prefix length.
    pub fn with_addresses(adapter: &str, addresses: &[&str]) -> Result<Self, String> {
        let mut info = Self { adapter: adapter.to_owned(), ..Self::default() };
        let (mut texts, mut masks) = (Vec::new(), Vec::new());
        for text in addresses {
            let error = || format!("{text:?} is no address with a prefix length");
            let address: InterfaceAddress =
                text.parse().ok().filter(|_| text.contains('/')).ok_or_else(error)?;
            texts.push(address.address.to_string());
            let (family, mask) = match address.address {
                IpAddr::V4(_) => (1, ipv4_mask(address.prefix).to_string()),
                IpAddr::V6(_) => (2, address.prefix.to_string()),
            };
            info.family |= family;
            masks.push(mask);
        }
        (info.addresses, info.masks) = (texts.join(";"), masks.join(";"));
        Ok(info)
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The key. For GET it is the requested one.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The answer as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAnswer {
    /// The status: 0 or one of [`layout::STATUSES`].
    pub code: u32,
    /// The kernel answered, because the daemon did not answer in time.
    pub timed_out: bool,
    /// The device was detached before there was an answer.
    pub detached: bool,
    /// The item of a successful GET or ENUMERATE.
    pub item: Option<Item>,
    /// The addresses of a successful `GET_IP_INFO`.
    pub ip: Option<IpInfo>,
}

impl HostAnswer {
    /// An answer without contents.
    #[must_use]
    pub fn bare(code: u32) -> Self {
        Self { code, timed_out: false, detached: false, item: None, ip: None }
    }

    /// Whether the request succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == layout::STATUS_OK
    }

    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.item.as_ref().map(|item| item.value.as_str())
    }
}

impl HostRequest {
    /// The message that the host puts into the channel.
    #[must_use]
    pub fn to_message(&self) -> Message {
        match self {
            Self::Get { pool, key } => {
                let mut message = Message::request(layout::OP_GET, *pool);
                put_sized(&mut message, EXCHANGE.key_size(), EXCHANGE.key(), key);
                message
            }
            Self::Set { pool, key, value } => {
                let mut message = Message::request(layout::OP_SET, *pool);
                put_sized(&mut message, EXCHANGE.key_size(), EXCHANGE.key(), key);
                put_value(&mut message, value);
                message
            }
            Self::Delete { pool, key } => {
                let mut message = Message::request(layout::OP_DELETE, *pool);
                put_sized(&mut message, layout::DELETE_KEY_SIZE, DELETE_KEY, key);
                message
            }
            Self::Enumerate { pool, index } => {
                let mut message = Message::request(layout::OP_ENUMERATE, *pool);
                message.put_u32(layout::INDEX, *index);
                message
            }
            Self::GetIpInfo { adapter } => {
                let mut message = Message::request(layout::OP_GET_IP_INFO, 0);
                put_text(&mut message, IP_HOST.adapter(), adapter);
                message
            }
            Self::SetIpInfo { info } => set_ip_message(info),
            Self::Raw { opcode, pool, body } => {
                let mut message = Message::request(*opcode, *pool);
                let len = body.len().min(layout::MESSAGE_SIZE - layout::BODY);
                message.part_mut(layout::BODY..layout::BODY + len).copy_from_slice(&body[..len]);
                message
            }
            Self::Verbatim { message } => Message::from_bytes(message),
        }
    }

    /// The host's interpretation of `message`, which the kernel sent back with `code`.
    #[must_use]
    pub fn answer(&self, code: u32, message: &Message) -> HostAnswer {
        let mut answer = HostAnswer::bare(code);
        if code != layout::STATUS_OK {
            return answer;
        }
        match message.u8_at(layout::OPERATION) {
            layout::OP_GET => answer.item = Some(item(message, EXCHANGE)),
            layout::OP_ENUMERATE => answer.item = Some(item(message, ENUMERATED)),
            layout::OP_GET_IP_INFO => answer.ip = Some(ip_info(message, IP_HOST)),
            _ => {}
        }
        answer
    }
}

fn set_ip_message(info: &IpInfo) -> Message {
    let mut message = Message::request(layout::OP_SET_IP_INFO, 0);
    message.put_u8(IP_HOST.family(), info.family);
    message.put_u8(IP_HOST.dhcp(), u8::from(info.dhcp));
    put_text(&mut message, IP_HOST.adapter(), &info.adapter);
    put_text(&mut message, IP_HOST.addresses(), &info.addresses);
    put_text(&mut message, IP_HOST.masks(), &info.masks);
    put_text(&mut message, IP_HOST.gateways(), &info.gateways);
    put_text(&mut message, IP_HOST.name_servers(), &info.name_servers);
    message
}

fn put_value(message: &mut Message, value: &HostValue) {
    let (kind, bytes) = match value {
        HostValue::String(text) => {
            message.put_u32(EXCHANGE.value_type(), layout::REG_SZ);
            put_sized(message, EXCHANGE.value_size(), EXCHANGE.value(), text);
            return;
        }
        HostValue::U32(number) => (layout::REG_U32, number.to_le_bytes().to_vec()),
        HostValue::U64(number) => (layout::REG_U64, number.to_le_bytes().to_vec()),
        HostValue::Qword(number) => (layout::REG_QWORD, number.to_le_bytes().to_vec()),
    };
    let start = EXCHANGE.value().start;
    message.put_u32(EXCHANGE.value_type(), kind);
    message.put_u32(EXCHANGE.value_size(), u32::try_from(bytes.len()).unwrap_or(0));
    message.part_mut(start..start + bytes.len()).copy_from_slice(&bytes);
}

/// Writes a text into an array, and its size in bytes with the NUL into the size field.
fn put_sized(message: &mut Message, size_at: usize, array: Range<usize>, text: &str) {
    let units = put_text(message, array, text);
    message.put_u32(size_at, u32::try_from(2 * (units + 1)).unwrap_or(0));
}

/// Writes the units that fit before the NUL. Returns their number.
fn put_text(message: &mut Message, array: Range<usize>, text: &str) -> usize {
    let room = array.len() / 2 - 1;
    let units: Vec<u16> = text.encode_utf16().take(room).collect();
    message.put_units(array.start, units.iter().copied());
    units.len()
}

fn item(message: &Message, exchange: Exchange) -> Item {
    Item { key: host_text(message, exchange.key()), value: host_text(message, exchange.value()) }
}

fn ip_info(message: &Message, at: IpLayout) -> IpInfo {
    IpInfo {
        adapter: host_text(message, at.adapter()),
        family: message.u8_at(at.family()),
        dhcp: message.u8_at(at.dhcp()) != 0,
        addresses: host_text(message, at.addresses()),
        masks: host_text(message, at.masks()),
        gateways: host_text(message, at.gateways()),
        name_servers: host_text(message, at.name_servers()),
    }
}

fn host_text(message: &Message, array: Range<usize>) -> String {
    let units = message.units_from(array.start).take(array.len() / 2).take_while(|&unit| unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
