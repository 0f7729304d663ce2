//! The client of the control socket: one blocking call for each thing that the host or a test can do. It
//! interprets no answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::control::{Command, Hello, KvpCommand, Latencies, Reply, socket_path};
use crate::kvp::{HostAnswer, HostRequest, HostValue, IpInfo, Item, Statistics, layout};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no server.
    #[error("no simulated host answers at {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the simulated host does not answer any more")]
    Talk(#[source] io::Error),
    /// The reply cannot be parsed.
    #[error("the simulated host's reply is not understood")]
    Understand(#[source] serde_json::Error),
    /// The server refused.
    #[error("{0}")]
    Refused(String),
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, ClientError>;

/// A connection to a server. Every call blocks; calls at the same time need several clients.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    limit: Option<Duration>,
}

impl Client {
    /// Connects to the server in `dir`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(dir: &Path) -> Result<Self> {
        let path = socket_path(dir);
        let stream = UnixStream::connect(&path).map_err(|source| ClientError::Connect { path, source })?;
        Ok(Self::on(stream))
    }

    /// A client on a connected socket.
    pub(crate) fn on(stream: UnixStream) -> Self {
        Self { reader: BufReader::new(stream), limit: None }
    }

    /// Limits how long [`Client::ask`] and the calls based on it wait for an answer, also while no daemon is
    /// registered. Without a limit they wait for ever.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The limit of [`Client::with_limit`].
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Performs any command.
    ///
    /// # Errors
    /// For every call: the connection broke, or the server refused.
    pub fn call<T: DeserializeOwned>(&mut self, command: &Command) -> Result<T> {
        let mut line = serde_json::to_string(command).map_err(ClientError::Understand)?;
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).map_err(ClientError::Talk)?;
        line.clear();
        if self.reader.read_line(&mut line).map_err(ClientError::Talk)? == 0 {
            return Err(ClientError::Talk(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line).map_err(ClientError::Understand)? {
            Reply::Done(value) => serde_json::from_value(value).map_err(ClientError::Understand),
            Reply::Refused(reason) => Err(ClientError::Refused(reason)),
        }
    }

    /// Returns the server's process and directory.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn hello(&mut self) -> Result<Hello> {
        self.call(&Command::Hello)
    }

    /// Begins to measure the time that a program takes to start.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn starting(&mut self) -> Result<()> {
        self.call(&Command::Starting)
    }

    /// The time from the start of the latest daemon by `hvsim run` to its registration.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn start_up(&mut self) -> Result<Option<Duration>> {
        let took: Option<u64> = self.call(&Command::StartUp)?;
        Ok(took.map(Duration::from_nanos))
    }

    /// The violations of the contract by the guest's programs so far.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn violations(&mut self) -> Result<Vec<String>> {
        self.call(&Command::Violations { take: false })
    }

    /// The same, and clears them.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn take_violations(&mut self) -> Result<Vec<String>> {
        self.call(&Command::Violations { take: true })
    }

    /// Sends a request of the host and waits for its answer.
    ///
    /// # Errors
    /// See [`Client::call`]. Also an error if there is no answer within the limit.
    pub fn ask(&mut self, request: HostRequest) -> Result<HostAnswer> {
        let limit = self.limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.call(&Command::Kvp(KvpCommand::Ask { request, limit }))
    }

    /// GET.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn get(&mut self, pool: u8, key: &str) -> Result<HostAnswer> {
        self.ask(HostRequest::Get { pool, key: key.to_owned() })
    }

    /// SET of a text.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn set(&mut self, pool: u8, key: &str, value: &str) -> Result<HostAnswer> {
        self.set_value(pool, key, HostValue::String(value.to_owned()))
    }

    /// SET of any value.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn set_value(&mut self, pool: u8, key: &str, value: HostValue) -> Result<HostAnswer> {
        self.ask(HostRequest::Set { pool, key: key.to_owned(), value })
    }

    /// DELETE.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn delete(&mut self, pool: u8, key: &str) -> Result<HostAnswer> {
        self.ask(HostRequest::Delete { pool, key: key.to_owned() })
    }

    /// ENUMERATE of one index.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn enumerate_index(&mut self, pool: u8, index: u32) -> Result<HostAnswer> {
        self.ask(HostRequest::Enumerate { pool, index })
    }

    /// Enumerates a pool as the host does: indices from 0 on, up to the first error. Returns that error, too.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn enumerate(&mut self, pool: u8) -> Result<(Vec<Item>, HostAnswer)> {
        let mut items = Vec::new();
        for index in 0.. {
            let answer = self.enumerate_index(pool, index)?;
            match answer.item {
                Some(item) if answer.code == layout::STATUS_OK => items.push(item),
                _ => return Ok((items, answer)),
            }
        }
        Ok((items, HostAnswer::bare(layout::STATUS_CONT)))
    }

    /// `GET_IP_INFO` for a MAC address.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn ip_info(&mut self, mac: &str) -> Result<HostAnswer> {
        self.ask(HostRequest::GetIpInfo { adapter: mac.to_owned() })
    }

    /// `SET_IP_INFO`.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn set_ip_info(&mut self, info: IpInfo) -> Result<HostAnswer> {
        self.ask(HostRequest::SetIpInfo { info })
    }

    /// An operation with a body in the host's layout.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn raw(&mut self, opcode: u8, pool: u8, body: Vec<u8>) -> Result<HostAnswer> {
        self.ask(HostRequest::Raw { opcode, pool, body })
    }

    /// Sends a message that reaches the daemon without conversion.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn verbatim(&mut self, message: Vec<u8>) -> Result<HostAnswer> {
        self.ask(HostRequest::Verbatim { message })
    }

    /// Sends `count` requests in turn, as fast as they are answered. The server does it itself, so only
    /// device and daemon are measured.
    ///
    /// # Errors
    /// See [`Client::call`]. Also an error if a request is not answered in time.
    pub fn ask_many(&mut self, requests: Vec<HostRequest>, count: usize) -> Result<Latencies> {
        self.call(&Command::Kvp(KvpCommand::AskMany { requests, count }))
    }

    /// Waits until a daemon is registered. Returns whether one is.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn wait_registered(&mut self, limit: Duration) -> Result<bool> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.call(&Command::Kvp(KvpCommand::WaitRegistered { limit }))
    }

    /// The key-value device's counters.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn statistics(&mut self) -> Result<Statistics> {
        self.call(&Command::Kvp(KvpCommand::Statistics))
    }

    /// Changes how long the kernel waits for the key-value daemon, beginning with the next request.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<()> {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.call(&Command::Kvp(KvpCommand::SetTimeout { milliseconds }))
    }

    /// Removes the key-value device. Its daemon is killed.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn detach(&mut self) -> Result<()> {
        self.call(&Command::Kvp(KvpCommand::Detach))
    }

    /// Creates the key-value device again.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn attach(&mut self) -> Result<()> {
        self.call(&Command::Kvp(KvpCommand::Attach))
    }
}
