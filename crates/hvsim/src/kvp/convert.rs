//! The driver's conversions: of the host's message for the daemon, and of the daemon's answer for the host,
//! with the driver's mistakes. It keeps no state.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)` below `sys`. The tests are in `device/tests.rs`.
//!
//! | contract | what a program or the host sees | FreeBSD | test |
//! |---|---|---|---|
//! | K13 | sizes are half of the converted length, and bytes behind the NUL are converted, too | `dev/hyperv/utilities/hv_kvp.c:416 (hv_kvp_convert_hostmsg_to_usermsg)` | `keys_arrive_with_wrong_sizes` |
//! | K14 | behind a key of more than 128 characters is the beginning of the value | `dev/hyperv/utilities/hv_kvp.c:415 (hv_kvp_convert_hostmsg_to_usermsg)` | `the_value_begins_behind_the_nul_of_a_long_key` |
//! | K15 | numbers arrive as decimal text, and the type of a value always as 0 | `dev/hyperv/utilities/hv_kvp.c:399 (hv_kvp_convert_hostmsg_to_usermsg)`, `dev/hyperv/utilities/hv_kvp.c:405 (hv_kvp_convert_hostmsg_to_usermsg)` | `values_arrive_as_text_without_their_type` |
//! | K18 | texts for the host are cut, and the size of the whole text is reported | `dev/hyperv/utilities/hv_kvp.c:485 (hv_kvp_convert_usermsg_to_hostmsg)`, `dev/hyperv/utilities/hv_kvp.c:489 (hv_kvp_convert_usermsg_to_hostmsg)` | `texts_are_cut_but_their_full_size_is_reported` |
//! | K33 | the adapter of GET_IP_INFO arrives as the host sent it | `dev/hyperv/utilities/hv_kvp.c:372 (hv_kvp_convert_hostmsg_to_usermsg)` | `the_adapter_of_get_ip_info_arrives_unchanged` |
//! | | address lists go back to the host in UTF-16 | `dev/hyperv/utilities/hv_kvp.c:223 (hv_kvp_convert_utf8_ipinfo_to_utf16)` | `addresses_come_back_as_the_host_reads_them` |
//! | K35 | the GUID of an adapter becomes the name of its interface, by an exact comparison | `dev/hyperv/utilities/hv_kvp.c:311 (hv_kvp_convert_utf16_ipinfo_to_utf8)` | `a_known_guid_becomes_the_interfaces_name` |

use std::ops::Range;

use hv_core::net::InterfaceName;
use nix::errno::Errno;

use super::layout::{
    self, DELETE_KEY, DELETE_KEY_SIZE, ENUMERATED, EXCHANGE, Exchange, IP_DAEMON, IP_HOST, Message,
};
use super::unicode::{utf8_to_utf16, utf16_to_utf8};

/// A network adapter that the driver knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its channel's GUID, without braces. The kernel prints it in lower case and compares exactly.
    pub guid: String,
    /// Its interface: `hn0`.
    pub interface: InterfaceName,
}

/// `hv_kvp_convert_hostmsg_to_usermsg`.
pub(super) fn to_daemon(host: &Message, adapters: &[Adapter]) -> Message {
    let operation = host.u8_at(layout::OPERATION);
    let mut message = Message::request(operation, host.u8_at(layout::POOL));
    match operation {
        layout::OP_SET_IP_INFO => set_ip_info(host, &mut message, adapters),
        layout::OP_GET_IP_INFO => {
            copy_ip_text(host, &mut message, IP_HOST.adapter(), IP_DAEMON.adapter());
            message.put_u8(IP_DAEMON.family(), host.u8_at(IP_HOST.family()));
        }
        layout::OP_SET => {
            set_value(host, &mut message);
            copy_key(host, &mut message, EXCHANGE.key_size(), EXCHANGE.key());
        }
        layout::OP_GET => copy_key(host, &mut message, EXCHANGE.key_size(), EXCHANGE.key()),
        layout::OP_DELETE => copy_key(host, &mut message, DELETE_KEY_SIZE, DELETE_KEY),
        layout::OP_ENUMERATE => message.put_u32(layout::INDEX, host.u32_at(layout::INDEX)),
        _ => {}
    }
    message
}

fn copy_key(host: &Message, message: &mut Message, size_at: usize, array: Range<usize>) {
    let size = copy_text(host, message, host.u32_at(size_at), array);
    message.put_u32(size_at, size);
}

/// Converts as many *units* as the host gave *bytes*, so the bytes after the NUL are copied, too. Returns
/// half of the resulting length, which the driver takes for a size.
fn copy_text(host: &Message, message: &mut Message, host_size: u32, array: Range<usize>) -> u32 {
    let units = usize::try_from(host_size).unwrap_or(usize::MAX);
    // The driver keeps the last byte of the array for the NUL.
    let room = array.start..array.end - 1;
    let len = utf16_to_utf8(message.part_mut(room), host.units_from(array.start).take(units));
    u32::try_from(len / 2).unwrap_or(u32::MAX)
}

/// The value's type is not passed on: it stays 0.
fn set_value(host: &Message, message: &mut Message) {
    let value = EXCHANGE.value();
    let printed = match host.u32_at(EXCHANGE.value_type()) {
        layout::REG_SZ => {
            let size = copy_text(host, message, host.u32_at(EXCHANGE.value_size()), value);
            message.put_u32(EXCHANGE.value_size(), size);
            return;
        }
        // The kernel prints an unsigned number with "%d".
        layout::REG_U32 => host.u32_at(value.start).cast_signed().to_string(),
        layout::REG_U64 => host.u64_at(value.start).to_string(),
        _ => return,
    };
    message.part_mut(value.start..value.start + printed.len()).copy_from_slice(printed.as_bytes());
    message.put_u32(EXCHANGE.value_size(), u32::try_from(printed.len() + 1).unwrap_or(0));
}

fn set_ip_info(host: &Message, message: &mut Message, adapters: &[Adapter]) {
    copy_ip_text(host, message, IP_HOST.addresses(), IP_DAEMON.addresses());
    copy_ip_text(host, message, IP_HOST.adapter(), IP_DAEMON.adapter());
    copy_ip_text(host, message, IP_HOST.masks(), IP_DAEMON.masks());
    copy_ip_text(host, message, IP_HOST.gateways(), IP_DAEMON.gateways());
    copy_ip_text(host, message, IP_HOST.name_servers(), IP_DAEMON.name_servers());
    message.put_u8(IP_DAEMON.family(), host.u8_at(IP_HOST.family()));
    message.put_u8(IP_DAEMON.dhcp(), host.u8_at(IP_HOST.dhcp()));

    // The comparison skips the opening brace and ignores the closing one.
    let named = message.text(IP_DAEMON.adapter()).get(1..).unwrap_or_default();
    let known = adapters.iter().rev().find(|adapter| named.starts_with(adapter.guid.as_bytes()));
    if let Some(adapter) = known {
        // The kernel copies name and NUL by strlcpy. The rest of the GUID stays behind them.
        let name = adapter.interface.as_str().as_bytes();
        let start = IP_DAEMON.adapter().start;
        message.part_mut(start..start + name.len()).copy_from_slice(name);
        message.put_u8(start + name.len(), 0);
    }
}

/// Converts a whole array of units, with its NULs, into at most as many *bytes* as the array has units.
fn copy_ip_text(host: &Message, message: &mut Message, from: Range<usize>, to: Range<usize>) {
    let units = from.len() / 2;
    let room = to.start..to.start + units;
    utf16_to_utf8(message.part_mut(room), host.units_from(from.start).take(units));
}

/// `hv_kvp_convert_usermsg_to_hostmsg`: changes the host's own message. The operation is the host's; the
/// daemon's bytes there are the error code.
///
/// # Errors
/// `EINVAL` for an operation that the driver does not know. The host gets its answer nevertheless.
pub(super) fn to_host(answer: &Message, host: &mut Message) -> Result<(), Errno> {
    match host.u8_at(layout::OPERATION) {
        layout::OP_GET_IP_INFO => {
            put_ip_text(answer, host, IP_DAEMON.addresses(), IP_HOST.addresses(), layout::LIST_UNITS);
            put_ip_text(answer, host, IP_DAEMON.masks(), IP_HOST.masks(), layout::LIST_UNITS);
            put_ip_text(answer, host, IP_DAEMON.gateways(), IP_HOST.gateways(), layout::GATEWAY_UNITS);
            put_ip_text(answer, host, IP_DAEMON.name_servers(), IP_HOST.name_servers(), layout::LIST_UNITS);
            // Drivers before 14.0-STABLE limit the adapter by the size of an address list, so a long one
            // reaches into the next field. 14.0-STABLE limits it by its own array. The older rule is played:
            // it is the less forgiving one.
            put_ip_text(answer, host, IP_DAEMON.adapter(), IP_HOST.adapter(), layout::LIST_UNITS);
            host.put_u8(IP_HOST.dhcp(), answer.u8_at(IP_DAEMON.dhcp()));
            host.put_u8(IP_HOST.family(), answer.u8_at(IP_DAEMON.family()));
        }
        layout::OP_SET_IP_INFO | layout::OP_SET | layout::OP_DELETE => {}
        layout::OP_ENUMERATE => {
            put_text(answer, host, ENUMERATED.key_size(), ENUMERATED.key(), layout::KEY_UNITS);
            put_answered_value(answer, host, ENUMERATED);
        }
        layout::OP_GET => put_answered_value(answer, host, EXCHANGE),
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn put_answered_value(answer: &Message, host: &mut Message, at: Exchange) {
    put_text(answer, host, at.value_size(), at.value(), layout::VALUE_UNITS);
    host.put_u32(at.value_type(), layout::REG_SZ);
}

/// Stores at most `limit` units but reports the size of all of them.
fn put_text(answer: &Message, host: &mut Message, size_at: usize, array: Range<usize>, limit: usize) {
    let units = utf8_to_utf16(answer.text(array.clone()));
    host.put_u32(size_at, u32::try_from(2 * (units.len() + 1)).unwrap_or(u32::MAX));
    host.put_units(array.start, units.into_iter().take(limit));
}

fn put_ip_text(answer: &Message, host: &mut Message, from: Range<usize>, to: Range<usize>, limit: usize) {
    host.put_units(to.start, utf8_to_utf16(answer.text(from)).into_iter().take(limit));
}
