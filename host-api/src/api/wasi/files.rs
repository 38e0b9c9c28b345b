//! Functions about open files: reading, writing, positions, attributes. Data go through buffers of
//! the host's; those of one call have a limit, behind which the guest's library comes again.

use std::sync::Arc;

use rustix::fs::{Advice, SeekFrom};

use super::errno::Errno;
use super::flags::fdflags;
use super::jobs::{is_running, on_pool};
use super::stdio::{self, Stream};
use super::table::Descriptor;
use super::{iovec, sockets};
use crate::bind::Call;
use crate::fs::{FileType, OpenFile, Place, SCRATCH_BYTES, Stat, Times};
use crate::memory::Ptr;
use crate::ready::Interest;

/// Bytes that one call reads or writes, and most that a job has in its buffer. By feel: the cost of handing it over is small beside this.
const BYTES_MAX: usize = 1 << 20;

/// Reductions of a system call that does not wait. About what it takes.
pub(super) const SYSTEM_CALL: i64 = 2_000;

/// A list of buffers, and where to write how many bytes were moved.
pub(super) type Transfer = ((Ptr, u32), Ptr);

pub(super) fn read(
    call: &mut Call<'_, '_>,
    fd: u32,
    (buffers, count): Transfer,
) -> Result<Option<()>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::Stdin => stdio::read(call, buffers, count),
        Descriptor::File(file) => read_file(call, &file, Place::Own, (buffers, count)),
        Descriptor::Socket(socket, flags) => {
            sockets::receive(call, (&socket, flags), (buffers, count), 0)
        }
        Descriptor::Output(_) | Descriptor::Dir(_) | Descriptor::Listener(..) => Err(Errno::BadF),
    }
}

pub(super) fn pread(
    call: &mut Call<'_, '_>,
    fd: u32,
    offset: u64,
    transfer: Transfer,
) -> Result<Option<()>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::File(file) => read_file(call, &file, Place::At(offset), transfer),
        Descriptor::Stdin | Descriptor::Socket(..) => Err(Errno::SPipe),
        Descriptor::Output(_) | Descriptor::Dir(_) | Descriptor::Listener(..) => Err(Errno::BadF),
    }
}

/// Reads piece by piece: what is in memory already on the worker, going to the back of the run queue
/// after each, the rest on the pool. A piece that is not full is the last: the file may end there.
fn read_file(
    call: &mut Call<'_, '_>,
    file: &Arc<OpenFile>,
    place: Place,
    (buffers, count): Transfer,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(count, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    let wanted = iovec::total(&buffers, BYTES_MAX);
    let done = usize::try_from(call.state.wasi.bytes_done).map_err(|_| Errno::Overflow)?;
    let (now, full) = match read_piece(call, file, place, &buffers, (done, wanted)) {
        Ok(Some(piece)) => piece,
        Ok(None) => return Ok(None),
        // What has been read before is not lost.
        Err(_) if done > 0 => (0, false),
        Err(error) => {
            return wait_or_fail(call, file, Interest::Read, error);
        }
    };
    let done = done + now;
    let bytes = u32::try_from(done).map_err(|_| Errno::Overflow)?;
    if full && done < wanted {
        call.state.wasi.bytes_done = bytes;
        // Woken before it parks, the process is queued again behind those that are ready.
        call.worker.wake(call.state.pid());
        return Ok(None);
    }
    call.state.wasi.bytes_done = 0;
    call.memory.write_u32(count, bytes)?;
    Ok(Some(()))
}

/// Reads a piece behind those that are done; how many bytes it has, and whether that is all that it
/// could have.
fn read_piece(
    call: &mut Call<'_, '_>,
    file: &Arc<OpenFile>,
    place: Place,
    buffers: &iovec::Buffers,
    (done, wanted): (usize, usize),
) -> Result<Option<(usize, bool)>, Errno> {
    let place = place.after(done)?;
    if !is_running(call) {
        let len = (wanted - done).min(SCRATCH_BYTES);
        let memory = &mut call.memory;
        let take = |bytes: &[u8]| iovec::scatter_behind(memory, buffers, done, bytes);
        if let Some(count) = file.read_cached(place, len, take) {
            let count = count?;
            call.state.charge(SYSTEM_CALL + i64::try_from(count).unwrap_or(0));
            return Ok(Some((count, count == len)));
        }
    }
    let len = wanted - done;
    let bytes = on_pool(call, |_| {
        let file = Arc::clone(file);
        Ok(move || file.read(place, len))
    })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let count = iovec::scatter_behind(&mut call.memory, buffers, done, &bytes)?;
    Ok(Some((count, count == len)))
}

pub(super) fn write(
    call: &mut Call<'_, '_>,
    fd: u32,
    (buffers, count): Transfer,
) -> Result<Option<()>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::Output(output) => stdio::write(call, output, buffers, count),
        Descriptor::File(file) => write_file(call, &file, Place::Own, (buffers, count)),
        Descriptor::Socket(socket, flags) => {
            sockets::send(call, (&socket, flags), (buffers, count))
        }
        Descriptor::Stdin | Descriptor::Dir(_) | Descriptor::Listener(..) => Err(Errno::BadF),
    }
}

pub(super) fn pwrite(
    call: &mut Call<'_, '_>,
    fd: u32,
    offset: u64,
    transfer: Transfer,
) -> Result<Option<()>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::File(file) => write_file(call, &file, Place::At(offset), transfer),
        Descriptor::Output(_) | Descriptor::Socket(..) => Err(Errno::SPipe),
        Descriptor::Stdin | Descriptor::Dir(_) | Descriptor::Listener(..) => Err(Errno::BadF),
    }
}

fn write_file(
    call: &mut Call<'_, '_>,
    file: &Arc<OpenFile>,
    place: Place,
    (buffers, count): Transfer,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(count, 4)?;
    let job = on_pool(call, |call| {
        let buffers = iovec::list(&call.memory, buffers)?;
        let bytes = iovec::gather(&call.memory, &buffers, BYTES_MAX)?.into_owned();
        let file = Arc::clone(file);
        Ok(move || file.write(place, &bytes))
    });
    match job {
        Ok(Some(written)) => {
            let written = u32::try_from(written).map_err(|_| Errno::Overflow)?;
            call.memory.write_u32(count, written)?;
            Ok(Some(()))
        }
        Ok(None) => Ok(None),
        Err(error) => wait_or_fail(call, file, Interest::Write, error),
    }
}

/// What a pipe has nothing of yet is waited for, unless the guest does not want to wait.
fn wait_or_fail(
    call: &mut Call<'_, '_>,
    file: &Arc<OpenFile>,
    interest: Interest,
    error: Errno,
) -> Result<Option<()>, Errno> {
    let wants_to_wait = file.flags() & fdflags::NONBLOCK == 0;
    if error == Errno::Again
        && wants_to_wait
        && !file.is_regular()
        && call.wait_for(&**file, &file.source, interest)?
    {
        return Ok(None);
    }
    Err(error)
}

/// `whence` as in preview 1: 0 from the beginning, 1 from here, 2 from the end.
pub(super) fn seek(
    call: &mut Call<'_, '_>,
    fd: u32,
    (offset, whence): (i64, u32),
    new: Ptr,
) -> Result<Option<()>, Errno> {
    let to = match whence {
        0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Inval)?),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        _ => return Err(Errno::Inval),
    };
    let file = seekable(call, fd)?;
    call.memory.slice_mut(new, 8)?;
    let position = if let SeekFrom::End(_) = to {
        let Some(position) = on_pool(call, |_| Ok(move || file.seek(to)))? else {
            return Ok(None);
        };
        position
    } else {
        file.seek(to)?
    };
    call.memory.write_u64(new, position)?;
    Ok(Some(()))
}

pub(super) fn tell(call: &mut Call<'_, '_>, fd: u32, offset: Ptr) -> Result<(), Errno> {
    let position = seekable(call, fd)?.tell()?;
    Ok(call.memory.write_u64(offset, position)?)
}

fn seekable(call: &Call<'_, '_>, fd: u32) -> Result<Arc<OpenFile>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::File(file) => Ok(file),
        Descriptor::Dir(_) => Err(Errno::BadF),
        Descriptor::Stdin
        | Descriptor::Output(_)
        | Descriptor::Socket(..)
        | Descriptor::Listener(..) => Err(Errno::SPipe),
    }
}

pub(super) fn advise(
    call: &mut Call<'_, '_>,
    fd: u32,
    (offset, len): (u64, u64),
    advice: u32,
) -> Result<Option<()>, Errno> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval),
    };
    let file = call.file(fd)?;
    on_pool(call, |_| Ok(move || file.advise(offset, len, advice)))
}

pub(super) fn allocate(
    call: &mut Call<'_, '_>,
    fd: u32,
    (offset, len): (u64, u64),
) -> Result<Option<()>, Errno> {
    let file = call.file(fd)?;
    to_change(call, file.may_change())?;
    on_pool(call, |_| Ok(move || file.allocate(offset, len)))
}

pub(super) fn set_size(call: &mut Call<'_, '_>, fd: u32, size: u64) -> Result<Option<()>, Errno> {
    let file = call.file(fd)?;
    to_change(call, file.may_change())?;
    on_pool(call, |_| Ok(move || file.set_len(size)))
}

/// Whether something may be changed; if not, the log is told.
fn to_change(call: &mut Call<'_, '_>, may: Result<(), Errno>) -> Result<(), Errno> {
    may.inspect_err(|_| {
        let _answered = call.state.denied(
            "a change of what lies in a directory that may only be read; lunatic run --dir without \
             :ro would allow it"
                .to_string(),
        );
    })
}

/// Directories too: databases do that after a rename.
pub(super) fn sync(call: &mut Call<'_, '_>, fd: u32, data_only: bool) -> Result<Option<()>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::File(file) => on_pool(call, |_| Ok(move || file.sync(data_only))),
        Descriptor::Dir(found) => on_pool(call, |_| Ok(move || found.dir.sync(data_only))),
        _ => Err(Errno::BadF),
    }
}

pub(super) fn set_times(
    call: &mut Call<'_, '_>,
    fd: u32,
    (atim, mtim, flags): (u64, u64, u32),
) -> Result<Option<()>, Errno> {
    let times = Times::from_flags(atim, mtim, flags)?;
    match call.descriptor(fd)? {
        Descriptor::File(file) => {
            to_change(call, file.may_change())?;
            on_pool(call, |_| Ok(move || file.set_times(times)))
        }
        Descriptor::Dir(found) => {
            to_change(call, found.dir.may_change())?;
            on_pool(call, |_| Ok(move || found.dir.set_times(times)))
        }
        _ => Err(Errno::BadF),
    }
}

/// The attributes of what a descriptor stands for. Of streams and sockets only the type is known.
pub(super) fn stat(call: &mut Call<'_, '_>, fd: u32) -> Result<Option<Stat>, Errno> {
    let file_type = match call.descriptor(fd)? {
        Descriptor::File(file) => {
            if let Some(stat) = file.stat_cached() {
                call.state.charge(SYSTEM_CALL);
                return stat.map(Some);
            }
            return on_pool(call, |_| Ok(move || file.stat()));
        }
        Descriptor::Dir(found) => return on_pool(call, |_| Ok(move || found.dir.stat())),
        Descriptor::Stdin => stdio::file_type(Stream::In, &call.state.config.stdio),
        Descriptor::Output(output) => {
            stdio::file_type(Stream::Out(output), &call.state.config.stdio)
        }
        Descriptor::Listener(..) | Descriptor::Socket(..) => FileType::SocketStream,
    };
    Ok(Some(Stat::of_type(file_type)))
}

/// Where a `filestat` goes, and how it is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatAt {
    pub(super) at: Ptr,
    /// The older snapshot has 32 bits for the number of links.
    pub(super) is_snapshot_0: bool,
}

impl StatAt {
    fn bytes(self) -> u32 {
        if self.is_snapshot_0 { 56 } else { 64 }
    }

    /// Before the call does anything.
    pub(super) fn check(self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        call.memory.slice_mut(self.at, self.bytes())?;
        Ok(())
    }

    pub(super) fn write(self, call: &mut Call<'_, '_>, stat: &Stat) -> Result<(), Errno> {
        let mut record = Vec::with_capacity(64);
        record.extend(stat.dev.to_le_bytes());
        record.extend(stat.ino.to_le_bytes());
        record.extend([stat.file_type as u8, 0, 0, 0]);
        if self.is_snapshot_0 {
            record.extend(u32::try_from(stat.nlink).unwrap_or(u32::MAX).to_le_bytes());
        } else {
            record.extend([0; 4]);
            record.extend(stat.nlink.to_le_bytes());
        }
        for number in [stat.size, stat.atim, stat.mtim, stat.ctim] {
            record.extend(number.to_le_bytes());
        }
        Ok(call.memory.write(self.at, &record)?)
    }
}

pub(super) fn filestat_get(
    call: &mut Call<'_, '_>,
    fd: u32,
    to: StatAt,
) -> Result<Option<()>, Errno> {
    to.check(call)?;
    let Some(stat) = stat(call, fd)? else { return Ok(None) };
    to.write(call, &stat)?;
    Ok(Some(()))
}
