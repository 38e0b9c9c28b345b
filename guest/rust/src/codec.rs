//! Between Rust values and the runtime's scratch message.
//!
//! The runtime keeps one scratch message for each process. Values are encoded straight into it: the encoder fills a small
//! buffer on the stack and hands it over whenever it is full, so that a small message uses no heap and a large one is not
//! copied while it grows. A `Channel` inside the value is attached on the way (`attach`) and taken out again on the way
//! back (`detach`).
//!
//! That leaves one bad interleaving: a `Serialize` or `Deserialize` implementation that itself sends or receives would
//! replace the scratch message under the outer value. `STATE` knows that an outer value is under way, and whoever starts
//! an inner one gets a clear panic (`assert_idle`).
//!
//! A failed message does not stay in the scratch slot: it may hold channels, and a channel that is held somewhere does
//! not close.

use crate::abi;
use crate::error::Error;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::any::type_name;
use std::cell::Cell;

/// Bytes that are collected before the runtime is called. Felt, not measured: covers nearly all messages that are not
/// bulk data, and is cheap to clear.
const BUFFER: usize = 128;

/// Bytes of an answer in front of its value: the number of the call.
const ANSWER_BEGINS: usize = size_of::<u64>();

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Idle) };
    /// What the message that is being decoded does not carry, and where it should: postcard keeps no words of others.
    static MISSING: Cell<Option<(Attachment, u64)>> = const { Cell::new(None) };
}

/// What the scratch message is being used for.
#[derive(Clone, Copy)]
enum State {
    Idle,
    /// A value is encoded. The message is created when the first bytes or the first channel go into it.
    Encoding {
        tag: i64,
        created: bool,
    },
    /// A value is decoded from the message.
    Decoding,
}

/// The scratch message is ours until this is dropped.
struct Claim;

impl Claim {
    #[track_caller]
    fn new(state: State) -> Claim {
        assert_idle();
        STATE.set(state);
        Claim
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        STATE.set(State::Idle);
    }
}

/// What a message can carry besides bytes, by the runtime's numbers.
#[derive(Clone, Copy)]
pub(crate) enum Attachment {
    Channel = 1,
    TcpListener = 2,
    TcpStream = 3,
    TlsStream = 4,
    UdpSocket = 5,
}

impl Attachment {
    /// The name of the type that it becomes.
    fn name(self) -> &'static str {
        match self {
            Attachment::Channel => "Channel",
            Attachment::TcpListener => "TcpListener",
            Attachment::TcpStream => "TcpStream",
            Attachment::TlsStream => "TlsStream",
            Attachment::UdpSocket => "UdpSocket",
        }
    }

    fn missing(self, index: u64) -> String {
        format!("the message has no {} at index {index}", self.name())
    }
}

/// Everything that replaces or takes the scratch message calls this first.
#[track_caller]
pub(crate) fn assert_idle() {
    let doing = match STATE.get() {
        State::Idle => return,
        State::Encoding { .. } => "Serialize",
        State::Decoding => "Deserialize",
    };
    panic!(
        "a `{doing}` implementation tried to spawn, send or receive while its own value is in a lunatic message; \
         do that before or after"
    );
}

/// Drops the scratch message with all it holds.
pub(crate) fn discard() {
    abi::message_create(0, 0);
}

/// Encodes `value` as the scratch message.
#[track_caller]
pub(crate) fn encode<T: Serialize>(value: &T, tag: i64) -> Result<(), Error> {
    encode_behind(&[], value, tag)
}

/// Encodes the answer to the call with this number.
#[track_caller]
pub(crate) fn encode_answer<T: Serialize>(answer: &T, tag: i64, number: u64) -> Result<(), Error> {
    encode_behind(&number.to_le_bytes(), answer, tag)
}

#[track_caller]
fn encode_behind<T: Serialize>(first: &[u8], value: &T, tag: i64) -> Result<(), Error> {
    let claim = Claim::new(State::Encoding { tag, created: false });
    let mut writer = Writer::new();
    writer.write(first);
    let result = format::write(value, &mut writer);
    if result.is_ok() && writer.flush() {
        return Ok(());
    }
    drop(claim);
    let limit = writer.refused.then(abi::message_size);
    discard();
    let type_name = type_name::<T>();
    Err(match (limit, result) {
        (Some(limit), _) => Error::MessageTooLarge { type_name, limit },
        (None, Err(reason)) => Error::Encode { type_name, reason },
        (None, Ok(())) => unreachable!("flush fails only when the runtime refuses bytes"),
    })
}

/// Whether the scratch message is an answer to the call with this number, which is read then.
pub(crate) fn is_answer_to(number: u64) -> bool {
    let mut first = [0; ANSWER_BEGINS];
    abi::message_read(&mut first) == ANSWER_BEGINS && u64::from_le_bytes(first) == number
}

/// Decodes the answer that the scratch message is, behind its number.
pub(crate) fn decode_answer<T: DeserializeOwned>() -> Result<T, Error> {
    decode_behind(ANSWER_BEGINS)
}

/// Decodes the scratch message as a `T`.
pub(crate) fn decode<T: DeserializeOwned>() -> Result<T, Error> {
    decode_behind(0)
}

/// The same, behind so many bytes, which were read.
fn decode_behind<T: DeserializeOwned>(begins: usize) -> Result<T, Error> {
    let claim = Claim::new(State::Decoding);
    MISSING.set(None);
    let mut small = [0; BUFFER];
    let mut large = Vec::new();
    let read = abi::message_read(&mut small);
    let bytes = if read < BUFFER {
        &small[..read]
    } else {
        let size = abi::message_size() - begins;
        large.reserve_exact(size);
        large.extend_from_slice(&small);
        abi::message_read_append(&mut large, size - BUFFER);
        &large[..]
    };
    format::read(bytes).map_err(|reason| {
        drop(claim);
        discard();
        let reason = MISSING.get().map_or(reason, |(kind, index)| kind.missing(index));
        Error::Decode { type_name: type_name::<T>(), size: bytes.len(), reason }
    })
}

/// Encodes a value that is to be sent later, perhaps several times: it must not hold channels.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    assert_idle();
    format::to_bytes(value).map_err(|reason| Error::Encode { type_name: type_name::<T>(), reason })
}

/// Puts a channel into the message that is being encoded; `None` if none is.
pub(crate) fn attach(handle: u64) -> Option<u64> {
    attach_with(|| abi::message_push_channel(handle))
}

/// Puts something into the message that is being encoded; `None` if none is.
pub(crate) fn attach_with(push: impl FnOnce() -> u64) -> Option<u64> {
    matches!(STATE.get(), State::Encoding { .. }).then(|| {
        ensure_created(0);
        push()
    })
}

/// Takes what lies at `index` of the message that is being decoded, if it is of this kind. The index comes from the
/// sender, who may have meant another type or no good: a wrong one is the message's mistake, not this process's.
pub(crate) fn detach<E: serde::de::Error>(
    kind: Attachment,
    index: u64,
    take: impl FnOnce(u64) -> u64,
) -> Result<u64, E> {
    if !matches!(STATE.get(), State::Decoding) {
        let name = kind.name();
        return Err(E::custom(format_args!(
            "a lunatic {name} can be deserialised only from a message"
        )));
    }
    if abi::message_attachment_kind(index) != kind as u32 {
        MISSING.set(Some((kind, index)));
        return Err(E::custom(kind.missing(index)));
    }
    Ok(take(index))
}

fn ensure_created(capacity: usize) {
    if let State::Encoding { tag, created: false } = STATE.get() {
        abi::message_create(tag, capacity);
        STATE.set(State::Encoding { tag, created: true });
    }
}

/// Collects bytes and hands them to the scratch message.
struct Writer {
    buffer: [u8; BUFFER],
    len: usize,
    /// The runtime has taken fewer bytes than it was given: the message is too large.
    refused: bool,
}

impl Writer {
    fn new() -> Writer {
        Writer { buffer: [0; BUFFER], len: 0, refused: false }
    }

    /// False if the message is too large.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> bool {
        if let Some(room) = self.buffer[self.len..].get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
            return true;
        }
        self.write_slow(bytes)
    }

    #[cold]
    fn write_slow(&mut self, bytes: &[u8]) -> bool {
        if !self.flush() {
            return false;
        }
        if bytes.len() < BUFFER {
            self.write(bytes)
        } else {
            self.hand_over(bytes) // the flush has created the message
        }
    }

    fn flush(&mut self) -> bool {
        let len = std::mem::take(&mut self.len);
        ensure_created(len);
        if len > 0 {
            self.refused |= abi::message_write(&self.buffer[..len]) < len;
        }
        !self.refused
    }

    fn hand_over(&mut self, bytes: &[u8]) -> bool {
        self.refused |= abi::message_write(bytes) < bytes.len();
        !self.refused
    }
}

#[cfg(not(feature = "bincode"))]
mod format {
    //! postcard, the default.

    use super::Writer;
    use serde::{de::DeserializeOwned, Serialize};

    struct Flavor<'a>(&'a mut Writer);

    impl postcard::ser_flavors::Flavor for Flavor<'_> {
        type Output = ();

        #[inline]
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.try_extend(&[byte])
        }

        #[inline]
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.write(bytes).then_some(()).ok_or(postcard::Error::SerializeBufferFull)
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }

    pub(super) fn write<T: Serialize>(value: &T, writer: &mut Writer) -> Result<(), String> {
        postcard::serialize_with_flavor(value, Flavor(writer)).map_err(|error| error.to_string())
    }

    pub(super) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
        postcard::to_allocvec(value).map_err(|error| error.to_string())
    }

    pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
        super::nothing_left(rest.len())?;
        Ok(value)
    }
}

#[cfg(feature = "bincode")]
mod format {
    //! bincode 2, standard configuration.

    use super::Writer;
    use bincode::config::standard;
    use bincode::error::EncodeError;
    use serde::{de::DeserializeOwned, Serialize};

    impl bincode::enc::write::Writer for &mut Writer {
        #[inline]
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            Writer::write(self, bytes).then_some(()).ok_or(EncodeError::UnexpectedEnd)
        }
    }

    pub(super) fn write<T: Serialize>(value: &T, writer: &mut Writer) -> Result<(), String> {
        bincode::serde::encode_into_writer(value, writer, standard()).map_err(|e| e.to_string())
    }

    pub(super) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
        bincode::serde::encode_to_vec(value, standard()).map_err(|error| error.to_string())
    }

    pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        let (value, read) =
            bincode::serde::decode_from_slice(bytes, standard()).map_err(|e| e.to_string())?;
        super::nothing_left(bytes.len() - read)?;
        Ok(value)
    }
}

/// Bytes behind a value mean that another type was sent: better said than swallowed.
fn nothing_left(count: usize) -> Result<(), String> {
    if count == 0 {
        Ok(())
    } else {
        Err(format!("{count} bytes are left behind the value"))
    }
}
