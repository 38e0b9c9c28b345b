//! Clocks.

use super::errno::Errno;
use crate::bind::Call;
use crate::memory::Ptr;

/// A clock that guests may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Realtime,
    Monotonic,
    /// Of the whole run. A guest's "thread" has none of its own: it moves between threads, and a
    /// thread's clock would seem to jump back.
    Processor,
}

impl Clock {
    pub(super) fn from_id(id: u32) -> Result<Self, Errno> {
        match id {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            2 | 3 => Ok(Self::Processor),
            _ => Err(Errno::Inval),
        }
    }

    /// Its time in nanoseconds.
    pub(super) fn now(self) -> Result<u64, Errno> {
        self.ask(libc::clock_gettime)
    }

    fn resolution(self) -> Result<u64, Errno> {
        self.ask(libc::clock_getres)
    }

    fn ask(
        self,
        question: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int,
    ) -> Result<u64, Errno> {
        let id = match self {
            Self::Realtime => libc::CLOCK_REALTIME,
            Self::Monotonic => libc::CLOCK_MONOTONIC,
            Self::Processor => libc::CLOCK_PROCESS_CPUTIME_ID,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both functions that come here write one `timespec`, and it is ours.
        if unsafe { question(id, &raw mut time) } != 0 {
            return Err(Errno::NotSup);
        }
        let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::Overflow)?;
        let nanos = u64::try_from(time.tv_nsec).map_err(|_| Errno::Overflow)?;
        let total = seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanos));
        total.ok_or(Errno::Overflow)
    }
}

pub(super) fn time_get(call: &mut Call<'_, '_>, id: u32, time: Ptr) -> Result<(), Errno> {
    let now = Clock::from_id(id)?.now()?;
    Ok(call.memory.write_u64(time, now)?)
}

pub(super) fn res_get(call: &mut Call<'_, '_>, id: u32, resolution: Ptr) -> Result<(), Errno> {
    let nanos = Clock::from_id(id)?.resolution()?;
    Ok(call.memory.write_u64(resolution, nanos)?)
}
