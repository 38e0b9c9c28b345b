//! `lunatic::error`: the texts behind error ids.
//!
//! Texts are cut off where they are kept, and what they take counts as what the host holds for the
//! process (`held.rs`).

use std::collections::HashMap;

use lunatic_engine::text::cut;

use crate::bind::{Fault, host_functions};
use crate::guest_type::{Out, Text};
use crate::held;
use crate::process::ProcessState;

/// Errors that a process may keep unread; a guest that never drops them ends here.
const ERRORS_MAX: usize = 10_000;

/// What an error takes besides its text. By feel.
const ERROR_BYTES: usize = 64;

/// The errors that a process was told of, by id.
#[derive(Debug, Default)]
pub(crate) struct ErrorTable {
    #[allow(clippy::box_collection, reason = "one word in every process instead of six")]
    texts: Option<Box<HashMap<u64, KeptError>>>,
    next: u64,
    /// What the texts take.
    bytes: usize,
}

impl Drop for ErrorTable {
    fn drop(&mut self) {
        held::sub(self.bytes);
    }
}

#[derive(Debug)]
struct KeptError {
    text: String,
    code: u16,
}

impl KeptError {
    /// What it takes, about.
    fn bytes(&self) -> usize {
        self.text.capacity() + ERROR_BYTES
    }
}

impl ErrorTable {
    fn add(&mut self, text: String, code: u16) -> Result<u64, Fault> {
        let texts = self.texts.get_or_insert_default();
        if texts.len() >= ERRORS_MAX {
            return Err(Fault::new(format!(
                "the process holds {ERRORS_MAX} errors; call lunatic::error::drop on each"
            )));
        }
        let id = self.next;
        self.next += 1;
        let text = KeptError { text: cut(text), code };
        self.bytes += text.bytes();
        held::add(text.bytes());
        texts.insert(id, text);
        Ok(id)
    }

    fn remove(&mut self, id: u64) -> Result<(), Fault> {
        let removed = self.texts.as_mut().and_then(|texts| texts.remove(&id));
        let bytes = removed.ok_or_else(|| unknown(id))?.bytes();
        self.bytes -= bytes;
        held::sub(bytes);
        Ok(())
    }

    /// What the host holds for them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn get(&self, id: u64) -> Result<&KeptError, Fault> {
        self.texts.as_ref().and_then(|texts| texts.get(&id)).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: u64) -> Fault {
    Fault::new(format!("the process has no error with id {id}"))
}

impl ProcessState {
    /// Keeps a text until the guest drops it; its id.
    pub(crate) fn keep_error(&mut self, text: String) -> Result<u64, Fault> {
        self.keep_error_with_code(text, 0)
    }

    /// The same with WASI's number for it.
    pub(crate) fn keep_error_with_code(&mut self, text: String, code: u16) -> Result<u64, Fault> {
        let id = self.errors.add(text, code)?;
        self.tell_held();
        Ok(id)
    }
}

host_functions! {
    /// What went wrong in a call that answered with an error id. An id belongs to the process that
    /// got it and lives until it is dropped.
    pub(crate) MODULE: "lunatic::error";

    /// Length of the error's text in bytes. Traps if there is no such error.
    fn string_size(call, error_id: u64) -> Result<u32, Fault> {
        let len = call.state.errors.get(error_id)?.text.len();
        u32::try_from(len).map_err(|_| Fault::new("an error text of more than 4 GiB"))
    }

    /// Writes the error's text (UTF-8, no terminator) to `text_ptr`, which must have room for
    /// `string_size` bytes. Traps if there is no such error.
    fn to_string(call, error_id: u64, text_ptr: Out<Text>) -> Result<(), Fault> {
        let text = &call.state.errors.get(error_id)?.text;
        call.memory.write(text_ptr, text.as_bytes())
    }

    /// WASI's number (as in `wasi_snapshot_preview1`) of an error that the operating system or a rule
    /// gave: 14 for a refused connection, 73 for a time that has passed, 76 for a missing right. 0 if
    /// there is none. Traps if there is no such error.
    fn code(call, error_id: u64) -> Result<u32, Fault> {
        Ok(call.state.errors.get(error_id)?.code.into())
    }

    /// Forgets the error. Traps if there is no such error.
    fn drop(call, error_id: u64) -> Result<(), Fault> {
        call.state.errors.remove(error_id)?;
        call.state.tell_held();
        Ok(())
    }
}
