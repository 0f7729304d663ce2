//! Messages of `/dev/hv_fsvss_dev` and `/dev/hv_appvss_dev` (`struct hv_vss_opt_msg` of
//! dev/hyperv/hv_snapshot.h). Encodes and decodes them from both sides, without I/O.
//!
//! The numbers are the kernel's own integers in a structure without padding: operation u32, status u32, id
//! u64 and 48 reserved bytes.

use std::fmt;

/// Bytes of one message, in both directions.
pub const MESSAGE_SIZE: usize = 64;

/// Bytes behind the id, which the kernel wants zero.
const RESERVED: usize = 48;

const _: () = assert!(4 + 4 + 8 + RESERVED == MESSAGE_SIZE);

/// The host's request. The kernel passes on only the first three. An unknown number is kept, because the
/// answer must carry the number that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// HV_VSS_CHECK: can this guest be backed up live?
    Check,
    /// HV_VSS_FREEZE: bring the disks to rest.
    Freeze,
    /// HV_VSS_THAW: the backup is done, writes may go on.
    Thaw,
    /// Any other number, such as HV_VSS_NONE (0).
    Other(u32),
}

impl From<u32> for Operation {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Check,
            2 => Self::Freeze,
            3 => Self::Thaw,
            other => Self::Other(other),
        }
    }
}

impl From<Operation> for u32 {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Check => 1,
            Operation::Freeze => 2,
            Operation::Thaw => 3,
            Operation::Other(number) => number,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check => f.write_str("check"),
            Self::Freeze => f.write_str("freeze"),
            Self::Thaw => f.write_str("thaw"),
            Self::Other(number) => write!(f, "operation {number}"),
        }
    }
}

/// One request as read(2) delivers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Identifies the request in the answer. The kernel takes it from the real-time clock when the request
    /// arrives from the host, in nanoseconds. See [`Request::age`].
    pub id: u64,
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// HV_VSS success.
    Success,
    /// HV_VSS failure: the host gives up the backup.
    Failure,
}

impl From<Status> for u32 {
    fn from(status: Status) -> Self {
        match status {
            Status::Success => 0,
            Status::Failure => 1,
        }
    }
}

impl Request {
    /// The request in a message that was read. `None` if its status says that no request waited, because it
    /// timed out between poll(2) and read(2).
    #[must_use]
    pub fn decode(message: &[u8; MESSAGE_SIZE]) -> Option<Self> {
        let (operation, status, id) = split(message);
        (status == u32::from(Status::Success)).then(|| Self { operation: operation.into(), id })
    }

    /// The kernel's side: the message with which read(2) delivers this request. `None`: no request waits.
    #[must_use]
    pub fn encode(request: Option<Self>) -> [u8; MESSAGE_SIZE] {
        request.map_or_else(
            || join(0, Status::Failure.into(), 0),
            |request| join(request.operation.into(), Status::Success.into(), request.id),
        )
    }

    /// How long the kernel has had this request, in nanoseconds, if the real-time clock shows `now_ns` since
    /// 1970. An application's daemon may have used a part of the time that both share. 0 if the id cannot be
    /// such a time, which means in the future or over 15 s ago: the clock was set, or another kernel makes
    /// other ids.
    #[must_use]
    pub fn age(self, now_ns: u64) -> u64 {
        now_ns.checked_sub(self.id).filter(|age| *age <= 15_000_000_000).unwrap_or(0)
    }
}

/// One answer as write(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The request that it answers. A debugging kernel panics on an operation that was not the one read.
    pub request: Request,
    /// The result.
    pub status: Status,
}

impl Answer {
    /// The message for write(2), with zeros in the reserved bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_SIZE] {
        join(self.request.operation.into(), self.status.into(), self.request.id)
    }

    /// The kernel's side: the answer in a message that was written. Every status but 0 is a failure.
    #[must_use]
    pub fn decode(message: &[u8; MESSAGE_SIZE]) -> Self {
        let (operation, status, id) = split(message);
        let status = if status == 0 { Status::Success } else { Status::Failure };
        Self { request: Request { operation: operation.into(), id }, status }
    }
}

/// Whether the bytes that the kernel wants zero are zero.
#[must_use]
pub fn reserved_is_zero(message: &[u8; MESSAGE_SIZE]) -> bool {
    message.iter().skip(MESSAGE_SIZE - RESERVED).all(|byte| *byte == 0)
}

fn split(message: &[u8; MESSAGE_SIZE]) -> (u32, u32, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *message;
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    )
}

fn join(operation: u32, status: u32, id: u64) -> [u8; MESSAGE_SIZE] {
    let mut message = [0; MESSAGE_SIZE];
    let fields = operation.to_ne_bytes().into_iter().chain(status.to_ne_bytes()).chain(id.to_ne_bytes());
    message.iter_mut().zip(fields).for_each(|(byte, value)| *byte = value);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_keep_their_numbers() {
        for number in [0, 1, 2, 3, 4, 77, u32::MAX] {
            assert_eq!(u32::from(Operation::from(number)), number);
        }
        assert_eq!(Operation::from(2), Operation::Freeze);
        assert_eq!(Operation::Other(9).to_string(), "operation 9");
    }

    #[test]
    fn a_request_lies_where_the_kernel_puts_it() {
        let mut message = [0xaa; MESSAGE_SIZE];
        message[..4].copy_from_slice(&3u32.to_ne_bytes());
        message[4..8].fill(0);
        message[8..16].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_ne_bytes());
        let request = Request { operation: Operation::Thaw, id: 0x0123_4567_89ab_cdef };
        assert_eq!(Request::decode(&message), Some(request));
        assert_eq!(Request::decode(&Request::encode(Some(request))), Some(request));
    }

    // contract B3
    #[test]
    fn a_status_other_than_zero_means_no_request() {
        assert_eq!(Request::decode(&Request::encode(None)), None);
        let mut message = Request::encode(Some(Request { operation: Operation::Check, id: 1 }));
        message[7] = 1;
        assert_eq!(Request::decode(&message), None);
    }

    // contract B4, B5
    #[test]
    fn an_answer_has_operation_and_id_of_its_request() {
        let request = Request { operation: Operation::Other(9), id: u64::MAX };
        let answer = Answer { request, status: Status::Failure };
        let message = answer.encode();
        assert!(reserved_is_zero(&message));
        assert_eq!(message[4..8], 1u32.to_ne_bytes());
        assert_eq!(Answer::decode(&message), answer);
    }

    #[test]
    fn non_zero_reserved_bytes_are_detected() {
        let mut message = [0; MESSAGE_SIZE];
        message[63] = 1;
        assert!(!reserved_is_zero(&message));
    }

    #[test]
    fn an_implausible_id_gives_age_zero() {
        let request = |id| Request { operation: Operation::Freeze, id };
        let now = 1_700_000_000_000_000_000;
        assert_eq!(request(now - 4_000_000_000).age(now), 4_000_000_000);
        assert_eq!(request(now).age(now), 0);
        assert_eq!(request(now + 1).age(now), 0);
        assert_eq!(request(now - 15_000_000_001).age(now), 0);
        assert_eq!(request(7).age(now), 0);
    }
}
