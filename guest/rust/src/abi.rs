//! The border to the runtime: every host function this crate imports, the one function it exports, and nothing else.
//! All unsafe code of the crate is in this file and its rooms.
//!
//! Rules:
//! - a wrapper takes slices and references, so that a pointer and its length cannot disagree;
//! - a wrapper adds no policy: status codes are given names in `Status`, and what they mean is decided by the caller;
//! - the runtime keeps ONE scratch message for each process. `message_create` replaces it, sending takes it, receiving
//!   fills it. `codec` decides who may touch it when;
//! - each import is declared once, by `imports!`, with the name that the runtime has for it.

/// Declares functions of one of the runtime's modules. On any target but WebAssembly they are stand-ins, so that
/// `cargo doc`, `cargo check`, doc examples and editors work there; calling one says what to do instead.
macro_rules! imports {
    ($module:tt; $($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        #[cfg(target_family = "wasm")]
        #[link(wasm_import_module = $module)]
        extern "C" {
            $(pub(super) fn $name($($arg: $ty),*) $(-> $ret)?;)*
        }

        $(
            #[cfg(not(target_family = "wasm"))]
            #[allow(clippy::too_many_arguments, reason = "the runtime's signature")]
            pub(super) unsafe fn $name($(_: $ty),*) $(-> $ret)? {
                panic!(
                    "called `{}` of the lunatic runtime in a program that was not compiled for it; \
                     build with `--target wasm32-wasip1` and run with `lunatic`",
                    stringify!($name)
                )
            }
        )*
    };
}

use imports;

mod channel;
mod config;
mod entry;
mod error;
mod message;
pub(crate) mod net;
mod process;
mod registry;

pub(crate) use channel::*;
pub(crate) use config::*;
pub(crate) use entry::*;
pub(crate) use error::version;
use error::{error_code, take_error_text};
pub(crate) use message::*;
pub(crate) use process::*;
pub(crate) use registry::*;

/// No limit on the time to wait.
pub(crate) const FOREVER: u64 = u64::MAX;

/// A wait ended because its time was over.
const TIMED_OUT: i32 = 9027;

/// How a host call that may wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The message was sent, or a message is now the scratch message.
    Done,
    /// Nobody can ever take the other side again.
    Closed,
    /// The time was over first.
    TimedOut,
    /// A status this version of the crate does not know.
    Other(i32),
}

impl Status {
    fn of_channel(code: i32) -> Status {
        match code {
            0 => Status::Done,
            1 => Status::Closed,
            TIMED_OUT => Status::TimedOut,
            other => Status::Other(other),
        }
    }

    /// A mailbox is never closed: its 1 means something else than a channel's 1.
    fn of_mailbox(code: i32) -> Status {
        match code {
            0 => Status::Done,
            TIMED_OUT => Status::TimedOut,
            other => Status::Other(other),
        }
    }
}
