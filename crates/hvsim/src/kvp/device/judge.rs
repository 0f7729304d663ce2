//! Judges the daemon's calls on the device: records every call that the contract forbids. The contents of
//! answers are judged in `audit`.

use super::super::audit::audit;
use super::super::layout::MESSAGE_SIZE;
use super::{KvpDevice, Progress};
use crate::device::ReadCall;

impl KvpDevice {
    /// Records what is wrong with an answer, before it is taken.
    pub(super) fn judge_answer(&mut self) {
        if self.daemon_busy && self.progress == Progress::Read {
            let faults = audit(&self.handed, &self.daemon_message);
            faults.into_iter().for_each(|fault| self.violation(fault));
            return;
        }
        self.violation(
            match self.progress {
                _ if !self.had_request => {
                    "wrote an answer before any request ever came: the kernel faults here"
                }
                Progress::Refused => "wrote an answer again after EINVAL, though the host has it already",
                Progress::Handed => "wrote an answer to a request that it had not read",
                Progress::Answered => "wrote a second answer to the same request",
                Progress::Nothing | Progress::Read => "wrote an answer that nobody had asked for",
            }
            .to_owned(),
        );
    }

    /// Records what is wrong with a read, before it takes its token.
    pub(super) fn judge_read(&mut self, call: ReadCall) {
        self.statistics.reads += 1;
        if call.size > MESSAGE_SIZE {
            let size = call.size;
            self.violation(format!("read with {size} bytes: the driver copies one byte past its buffer"));
        } else if call.size != MESSAGE_SIZE {
            self.violation(format!("read with {} bytes, not {MESSAGE_SIZE}", call.size));
        }
        if call.offset != 0 {
            self.violation(format!("read at file offset {}, not 0", call.offset));
        }
        if self.progress == Progress::Read && self.daemon_busy {
            let rest = if self.tokens == 0 { "that blocks for ever" } else { "that takes a stale token" };
            self.violation(format!("read the same request a second time: {rest}"));
        } else if !self.daemon_busy {
            let rest = if self.tokens == 0 { "that blocks" } else { "that returns stale bytes" };
            self.violation(format!("read though poll reports no request: {rest}"));
        }
    }
}
