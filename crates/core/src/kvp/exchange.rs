//! The engine of the exchange: turns a request into an action, and the action's outcome into the answer.
//!
//! Pure: it owns the message buffer and knows whether a request waits for its answer. It does no I/O. The
//! driver reads into [`Exchange::buffer`], performs the action of [`Exchange::begin`], and writes the message
//! of [`Exchange::finish`]. Each happens exactly once: the kernel blocks a second read for ever, and refuses
//! an answer without a request.

use super::{KvpKey, KvpValue, PoolId};
use crate::abi::kvp::{Answer, Code, IpAnswer, IpRequest, MESSAGE_SIZE, Message, Request};

/// What the driver shall do for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look a key up in a pool file.
    Get(PoolId, KvpKey),
    /// Return the record at a position of a pool file.
    Enumerate(PoolId, u32),
    /// Write a record to a pool file.
    Set(PoolId, KvpKey, KvpValue),
    /// Remove a key from a pool file.
    Delete(PoolId, KvpKey),
    /// Look up an intrinsic item.
    GetIntrinsic(KvpKey),
    /// Return the intrinsic item at a position.
    EnumerateIntrinsic(u32),
    /// Report the network configuration of the adapter with this Ethernet address.
    ReportNetwork(String),
    /// Configure an adapter.
    ConfigureNetwork(NetworkRequest),
    /// Do nothing: the answer is this code.
    Refuse(Code, &'static str),
}

/// The texts of SET_IP_INFO unchecked, with invalid UTF-8 replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The interface's name.
    pub adapter: String,
    /// 1 for IPv4, 2 for IPv6, 3 for both.
    pub address_family: u8,
    /// Use DHCP.
    pub dhcp: bool,
    /// Addresses joined by `;`.
    pub addresses: String,
    /// Masks or prefix lengths.
    pub masks: String,
    /// Gateways.
    pub gateways: String,
    /// Name servers.
    pub name_servers: String,
}

/// The result of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The value of the requested key.
    Value(Vec<u8>),
    /// The item at the requested position.
    Item {
        /// Its key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The change was made and survives a power cut.
    Done,
    /// There is no such key or position.
    NoSuchItem,
    /// The network configuration.
    Network(IpAnswer),
    /// It failed, and nothing was changed.
    Failed(Code),
}

/// The state of the exchange: the buffer, and whether a request is in it.
#[derive(Debug, Default)]
pub struct Exchange {
    message: Message,
    in_hand: bool,
}

impl Exchange {
    /// An exchange without a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffer for the next request.
    pub fn buffer(&mut self) -> &mut [u8; MESSAGE_SIZE] {
        self.message.buffer()
    }

    /// Whether a request was read and is not answered yet.
    #[must_use]
    pub fn in_hand(&self) -> bool {
        self.in_hand
    }

    /// Decodes the request of `size` bytes that was read into the buffer.
    pub fn begin(&mut self, size: usize) -> Action {
        self.in_hand = true;
        if size != MESSAGE_SIZE {
            // The rest of the buffer is an earlier message, which must not become a part of this one.
            *self.message.buffer() = [0; MESSAGE_SIZE];
            return Action::Refuse(Code::Fail, "the message was cut short");
        }
        plan(&self.message.decode())
    }

    /// The answer to the request in the buffer. `None` without a request: then nothing may be written.
    pub fn finish(&mut self, outcome: &Outcome) -> Option<&Message> {
        if !std::mem::take(&mut self.in_hand) {
            return None;
        }
        self.message.answer(&match outcome {
            Outcome::Value(value) => Answer::Value(value),
            Outcome::Item { key, value } => Answer::Item { key, value },
            Outcome::Done => Answer::Code(Code::Ok),
            Outcome::NoSuchItem => Answer::Code(Code::NoMoreItems),
            Outcome::Network(info) => Answer::IpInfo(info),
            Outcome::Failed(code) => Answer::Code(*code),
        });
        Some(&self.message)
    }
}

fn plan(request: &Request<'_>) -> Action {
    const MALFORMED_KEY: Action = Action::Refuse(Code::InvalidArgument, "the key is empty or too long");
    const UNKNOWN_POOL: Action = Action::Refuse(Code::InvalidArgument, "there is no such pool");
    const NOT_WRITABLE: Action = Action::Refuse(Code::NoMoreItems, "the host cannot write this pool");
    let key_of = |key: &Option<&[u8]>| key.and_then(KvpKey::new);
    match request {
        Request::Get { pool, key } => match (PoolId::from_number(*pool), key_of(key)) {
            (None, _) => UNKNOWN_POOL,
            (_, None) => MALFORMED_KEY,
            (Some(PoolId::Auto), Some(key)) => Action::GetIntrinsic(key),
            (Some(pool), Some(key)) => Action::Get(pool, key),
        },
        Request::Enumerate { pool, index } => match PoolId::from_number(*pool) {
            None => UNKNOWN_POOL,
            Some(PoolId::Auto) => Action::EnumerateIntrinsic(*index),
            Some(pool) => Action::Enumerate(pool, *index),
        },
        Request::Set { pool, key, value } => match (PoolId::from_number(*pool), key_of(key)) {
            (None, _) => UNKNOWN_POOL,
            (_, None) => MALFORMED_KEY,
            (Some(PoolId::Auto), _) => NOT_WRITABLE,
            (Some(pool), Some(key)) => match value.and_then(KvpValue::new) {
                Some(value) => Action::Set(pool, key, value),
                None => Action::Refuse(Code::InvalidArgument, "the value is too long"),
            },
        },
        Request::Delete { pool, key } => match (PoolId::from_number(*pool), key_of(key)) {
            (None, _) => UNKNOWN_POOL,
            (_, None) => MALFORMED_KEY,
            (Some(PoolId::Auto), _) => NOT_WRITABLE,
            (Some(pool), Some(key)) => Action::Delete(pool, key),
        },
        Request::GetIpInfo { adapter_id } => Action::ReportNetwork(text(adapter_id)),
        Request::SetIpInfo(request) => Action::ConfigureNetwork(network_request(request)),
        Request::Unknown { .. } => Action::Refuse(Code::NotSupported, "the operation is unknown"),
    }
}

fn network_request(request: &IpRequest<'_>) -> NetworkRequest {
    NetworkRequest {
        adapter: text(request.adapter_id),
        address_family: request.address_family,
        dhcp: request.dhcp_enabled != 0,
        addresses: text(request.addresses),
        masks: text(request.masks),
        gateways: text(request.gateways),
        name_servers: text(request.name_servers),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(operation: u8, pool: u8, at: usize, bytes: &[u8]) -> (Exchange, Action) {
        let mut exchange = Exchange::new();
        exchange.buffer()[0] = operation;
        exchange.buffer()[1] = pool;
        exchange.buffer()[at..at + bytes.len()].copy_from_slice(bytes);
        let action = exchange.begin(MESSAGE_SIZE);
        (exchange, action)
    }

    fn refusal(action: &Action) -> Option<Code> {
        match action {
            Action::Refuse(code, _) => Some(*code),
            _ => None,
        }
    }

    // contract K17
    #[test]
    fn requests_become_actions() {
        let key = KvpKey::new(b"key").unwrap();
        assert_eq!(begin(0, 1, 16, b"key").1, Action::Get(PoolId::Guest, key.clone()));
        assert_eq!(begin(0, 2, 16, b"key").1, Action::GetIntrinsic(key.clone()));
        let set = Action::Set(PoolId::External, key.clone(), KvpValue::default());
        assert_eq!(begin(1, 0, 16, b"key").1, set);
        assert_eq!(begin(2, 4, 8, b"key").1, Action::Delete(PoolId::AutoInternal, key));
        assert_eq!(begin(3, 3, 4, &[9]).1, Action::Enumerate(PoolId::AutoExternal, 9));
        assert_eq!(begin(3, 2, 4, &[9]).1, Action::EnumerateIntrinsic(9));
        assert_eq!(begin(4, 0, 4, b"00:15").1, Action::ReportNetwork("00:15".into()));
        assert!(matches!(begin(5, 0, 4, b"hn0").1, Action::ConfigureNetwork(r) if r.adapter == "hn0"));
        for (byte, on) in [(0, false), (1, true), (255, true)] {
            assert!(matches!(begin(5, 0, 261, &[byte]).1, Action::ConfigureNetwork(r) if r.dhcp == on));
        }
    }

    #[test]
    fn malformed_requests_are_refused_with_the_right_code() {
        for operation in 0..=3 {
            for pool in [5, 6, 255] {
                let (_, action) = begin(operation, pool, 16, b"k");
                assert_eq!(refusal(&action), Some(Code::InvalidArgument), "{operation} {pool}");
            }
        }
        for (operation, at) in [(0, 16), (1, 16), (2, 8)] {
            assert_eq!(refusal(&begin(operation, 1, at, b"").1), Some(Code::InvalidArgument));
            assert_eq!(refusal(&begin(operation, 1, at, &[b'k'; 512]).1), Some(Code::InvalidArgument));
        }
        assert_eq!(refusal(&begin(1, 1, 528, &[b'v'; 2048]).1), Some(Code::InvalidArgument));
        assert_eq!(refusal(&begin(6, 0, 4, b"").1), Some(Code::NotSupported));
        assert_eq!(refusal(&begin(255, 0, 4, b"").1), Some(Code::NotSupported));
    }

    // contract K23
    #[test]
    fn the_host_cannot_write_the_auto_pool() {
        assert_eq!(refusal(&begin(1, 2, 16, b"FullyQualifiedDomainName").1), Some(Code::NoMoreItems));
        assert_eq!(refusal(&begin(2, 2, 8, b"OSName").1), Some(Code::NoMoreItems));
    }

    #[test]
    fn a_short_read_is_answered_with_a_failure() {
        let mut exchange = Exchange::new();
        exchange.buffer()[0] = 1;
        assert_eq!(refusal(&exchange.begin(100)), Some(Code::Fail));
        let answer = exchange.finish(&Outcome::Failed(Code::Fail)).unwrap();
        assert_eq!(answer.bytes()[..5], [0x05, 0x40, 0x00, 0x80, 0]);
    }

    // contract K5
    #[test]
    fn there_is_one_answer_for_each_request() {
        let (mut exchange, _) = begin(0, 1, 16, b"key");
        assert!(exchange.in_hand());
        assert!(exchange.finish(&Outcome::NoSuchItem).is_some());
        assert!(!exchange.in_hand());
        assert!(exchange.finish(&Outcome::NoSuchItem).is_none());
        assert!(Exchange::new().finish(&Outcome::Done).is_none());
    }
}
