//! What descriptors are and may do, which there are, closing and renumbering. Never waits, but for
//! the closing of files.

use std::sync::Arc;

use super::errno::Errno;
use super::files::SYSTEM_CALL;
use super::flags::{fdflags, rights};
use super::jobs;
use super::stdio::{self, Stream};
use super::table::{Descriptor, DirDescriptor};
use crate::bind::Call;
use crate::fs::{DirAccess, FileType};
use crate::memory::Ptr;

/// The name of a directory that the process was given.
fn name(call: &Call<'_, '_>, fd: u32, otherwise: Errno) -> Result<Arc<str>, Errno> {
    match call.descriptor(fd)? {
        Descriptor::Dir(DirDescriptor { name: Some(name), .. }) => Ok(name),
        _ => Err(otherwise),
    }
}

/// Writes a `prestat`: the kind (0: a directory) and the length of its name.
pub(super) fn prestat_get(call: &mut Call<'_, '_>, fd: u32, buf: Ptr) -> Result<(), Errno> {
    let name = name(call, fd, Errno::BadF)?;
    let len = u32::try_from(name.len()).map_err(|_| Errno::NameTooLong)?;
    let mut record = [0; 8];
    record[4..].copy_from_slice(&len.to_le_bytes());
    Ok(call.memory.write(buf, &record)?)
}

/// Writes the directory's name, without a terminator.
pub(super) fn prestat_dir_name(
    call: &mut Call<'_, '_>,
    fd: u32,
    (path, len): (Ptr, u32),
) -> Result<(), Errno> {
    let name = name(call, fd, Errno::NotDir)?;
    if name.len() > len as usize {
        return Err(Errno::NameTooLong);
    }
    Ok(call.memory.write(path, name.as_bytes())?)
}

/// Writes an `fdstat`.
pub(super) fn fdstat_get(call: &mut Call<'_, '_>, fd: u32, stat: Ptr) -> Result<(), Errno> {
    let mut flags = 0;
    let (file_type, base, inheriting) = match call.descriptor(fd)? {
        Descriptor::Stdin => {
            let (file_type, rights) = stdio::fdstat(call, Stream::In);
            (file_type, rights, 0)
        }
        Descriptor::Output(output) => {
            let (file_type, rights) = stdio::fdstat(call, Stream::Out(output));
            (file_type, rights, 0)
        }
        Descriptor::Dir(DirDescriptor { dir, .. }) => match dir.access() {
            DirAccess::ReadWrite => (FileType::Directory, rights::DIRECTORY, rights::INHERITED),
            DirAccess::ReadOnly => {
                (FileType::Directory, rights::READ_ONLY_DIRECTORY, rights::READ_ONLY_INHERITED)
            }
        },
        Descriptor::File(file) => {
            flags = file.flags();
            let mut base = if file.is_regular() { rights::REGULAR } else { rights::STREAM };
            base |= if file.readable { rights::FD_READ } else { 0 };
            base |= if file.writable { rights::FD_WRITE } else { 0 };
            if file.may_change().is_err() {
                base &= rights::READ_ONLY_INHERITED;
            }
            (file.file_type, base, base)
        }
        Descriptor::Listener(_, set) => {
            flags = set;
            (FileType::SocketStream, rights::LISTENER, rights::SOCKET)
        }
        Descriptor::Socket(_, set) => {
            flags = set;
            (FileType::SocketStream, rights::SOCKET, 0)
        }
    };
    let mut record = [0; 24];
    record[0] = file_type as u8;
    record[2..4].copy_from_slice(&flags.to_le_bytes());
    record[8..16].copy_from_slice(&base.to_le_bytes());
    record[16..24].copy_from_slice(&inheriting.to_le_bytes());
    Ok(call.memory.write(stat, &record)?)
}

/// The flags, if the specification knows them.
pub(super) fn known_flags(flags: u32) -> Result<u16, Errno> {
    u16::try_from(flags).ok().filter(|flags| flags & !fdflags::ALL == 0).ok_or(Errno::Inval)
}

pub(super) fn fdstat_set_flags(call: &mut Call<'_, '_>, fd: u32, flags: u32) -> Result<(), Errno> {
    let flags = known_flags(flags)?;
    match call.descriptor(fd)? {
        // They are shared: what one process wants is not for the others.
        Descriptor::Stdin | Descriptor::Output(_) => Ok(()),
        Descriptor::Dir(_) => Err(Errno::BadF),
        _ if flags & !fdflags::CHANGEABLE != 0 => Err(Errno::Inval),
        Descriptor::File(file) => {
            file.set_flags(flags);
            Ok(())
        }
        Descriptor::Listener(listener, _) => {
            call.replace(fd, Descriptor::Listener(listener, flags)).map(drop)
        }
        Descriptor::Socket(socket, _) => {
            call.replace(fd, Descriptor::Socket(socket, flags)).map(drop)
        }
    }
}

pub(super) fn close(call: &mut Call<'_, '_>, fd: u32) -> Result<Option<()>, Errno> {
    drop_slowly(call, |call| {
        let closed = call.remove(fd)?;
        call.state.flush_lines();
        Ok(closed)
    })
}

/// As reference runtimes have it: both must be open, and the old `to` is closed.
pub(super) fn renumber(call: &mut Call<'_, '_>, from: u32, to: u32) -> Result<Option<()>, Errno> {
    drop_slowly(call, |call| {
        let moved = call.descriptor(from)?;
        let replaced = call.replace(to, moved)?;
        if from != to {
            drop(call.remove(from)?);
        }
        Ok(replaced)
    })
}

/// Takes a descriptor away, once, and gives it up: on the pool if that may block. The last closing
/// of a file that has no name any more frees its blocks, of which there may be many.
fn drop_slowly(
    call: &mut Call<'_, '_>,
    take: impl FnOnce(&mut Call<'_, '_>) -> Result<Descriptor, Errno>,
) -> Result<Option<()>, Errno> {
    if jobs::is_running(call) {
        return jobs::result(call);
    }
    let taken = take(call)?;
    let at_once = match &taken {
        Descriptor::File(file) => file.closes_at_once(),
        _ => true,
    };
    if at_once {
        call.state.charge(SYSTEM_CALL);
        return Ok(Some(()));
    }
    jobs::on_pool(call, |_| {
        Ok(move || {
            drop(taken);
            Ok(())
        })
    })
}
