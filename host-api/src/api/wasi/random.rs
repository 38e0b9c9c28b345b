//! Randomness.

use super::errno::Errno;
use crate::bind::Call;
use crate::memory::Ptr;

/// Bytes that are made in one go. The system makes some 400 MB a second, so this is a slice.
const PIECE_BYTES: u32 = 64 * 1024;

/// Fills the buffer piece by piece, going to the back of the run queue after each.
pub(super) fn get(call: &mut Call<'_, '_>, at: Ptr, len: u32) -> Result<Option<()>, Errno> {
    let done = call.state.wasi.bytes_done;
    let buffer = call.memory.slice_mut(at, len)?;
    let piece = (len - done).min(PIECE_BYTES);
    // By a buffer of ours: the system's own writing to a guest's memory could fail.
    let mut bytes = vec![0; piece as usize];
    let filled = getrandom::fill(&mut bytes);
    buffer[done as usize..(done + piece) as usize].copy_from_slice(&bytes);
    filled.map_err(|_| {
        call.state.wasi.bytes_done = 0;
        Errno::Io
    })?;
    if done + piece == len {
        call.state.wasi.bytes_done = 0;
        return Ok(Some(()));
    }
    call.state.wasi.bytes_done = done + piece;
    // Woken before it parks, the process is queued again behind those that are ready.
    call.worker.wake(call.state.pid());
    Ok(None)
}
