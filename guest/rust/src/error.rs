//! What can go wrong, as one type: the caller can match on it, and each text says what was tried, on what, and what to do.

use crate::exit::Notice;
use std::fmt;
use std::time::Duration;

/// Why an operation of this crate failed.
///
/// ```no_run
/// use lunatic::{Channel, Error};
/// use std::time::Duration;
///
/// let channel: Channel<u32> = Channel::new(1);
/// match channel.receive_timeout(Duration::from_millis(10)) {
///     Ok(value) => println!("got {value}"),
///     Err(Error::Timeout(_)) => println!("nothing came"),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Nobody can ever take the other side: no other process holds the channel, and no message waits in it.
    Closed,
    /// The operation would have had to wait, and was told not to (`try_send`, `try_receive`).
    WouldWait,
    /// The time was over before the operation could be done.
    Timeout(Duration),
    /// The encoded message is longer than the runtime lets a message be.
    MessageTooLarge {
        /// The Rust type that was encoded.
        type_name: &'static str,
        /// The bytes the runtime took before it refused.
        limit: usize,
    },
    /// The value could not be encoded.
    Encode {
        /// The Rust type that was encoded.
        type_name: &'static str,
        /// What serde or the encoder said.
        reason: String,
    },
    /// A message arrived whose bytes are not a value of the type expected; the message is gone.
    Decode {
        /// The Rust type that was expected.
        type_name: &'static str,
        /// The length of the message in bytes.
        size: usize,
        /// What serde or the decoder said.
        reason: String,
    },
    /// The runtime refused to start a process.
    Spawn {
        /// The runtime's own words.
        reason: String,
    },
    /// The runtime refused to grant something in a [`ProcessConfig`](crate::ProcessConfig).
    Config {
        /// The runtime's own words.
        reason: String,
    },
    /// The process that was asked for an answer has ended, or never lived.
    Ended {
        /// Which, and why.
        notice: Box<Notice>,
    },
    /// The mailbox gave something that is not a message: the notice of another's end; it is gone. A process that
    /// monitors others, or survives its links, takes its messages with [`Mailbox::next`](crate::Mailbox::next).
    NotAMessage {
        /// The runtime's code for it.
        code: i32,
    },
}

impl Error {
    /// Is this the end of a wait, after which the same call may succeed later?
    ///
    /// ```
    /// assert!(lunatic::Error::WouldWait.is_temporary());
    /// assert!(!lunatic::Error::Closed.is_temporary());
    /// ```
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::WouldWait | Error::Timeout(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => write!(
                f,
                "the channel is closed: no other process holds it, so nobody can take the other side; \
                 keep a clone where the other side is"
            ),
            Error::WouldWait => write!(
                f,
                "the operation cannot be done without waiting; use the form that waits, or one with a timeout"
            ),
            Error::Timeout(after) => write!(f, "nothing happened within {after:?}"),
            Error::MessageTooLarge { type_name, limit } => write!(
                f,
                "encoding a `{type_name}`: the message is longer than the limit of {limit} bytes; \
                 send less, or raise the limit with `lunatic run --max-message`"
            ),
            Error::Encode { type_name, reason } => {
                write!(f, "encoding a `{type_name}` into a message: {reason}")
            }
            Error::Decode { type_name, size, reason } => write!(
                f,
                "decoding a `{type_name}` from a message of {size} bytes: {reason}; \
                 do sender and receiver mean the same type?"
            ),
            Error::Spawn { reason } => write!(f, "spawning a process: {reason}"),
            Error::Config { reason } => write!(f, "configuring a process: {reason}"),
            Error::NotAMessage { code } => write!(
                f,
                "receiving from the mailbox: the runtime gave the notice of another's end (code {code}), not a \
                 message; a process that monitors others, or survives its links, calls `Mailbox::next`"
            ),
            Error::Ended { notice } => write!(f, "waiting for an answer: {notice}"),
        }
    }
}

impl std::error::Error for Error {}
