//! The directories that a process was given, as far as WASI names them.
//!
//! They have the descriptors from 3 on, in the order of the configuration. Opening files in them
//! comes with the file system; until then a program learns what it was given, and no more.

use super::errno::Errno;
use crate::bind::Call;
use crate::memory::Ptr;

/// The first descriptor behind the standard streams.
const FIRST: u32 = 3;

const FILE_TYPE_DIRECTORY: u8 = 3;

/// The name of the directory with this descriptor.
fn name<'a>(call: &'a Call<'_, '_>, fd: u32) -> Result<&'a str, Errno> {
    let index = fd.checked_sub(FIRST).ok_or(Errno::BadF)?;
    let index = usize::try_from(index).map_err(|_| Errno::BadF)?;
    call.state.config.dirs.get(index).map(String::as_str).ok_or(Errno::BadF)
}

/// Writes a `prestat`: the kind (0: a directory) and the length of its name.
pub(super) fn prestat_get(call: &mut Call<'_, '_>, fd: u32, buf: Ptr) -> Result<(), Errno> {
    let len = u32::try_from(name(call, fd)?.len()).map_err(|_| Errno::NameTooLong)?;
    let mut record = [0; 8];
    record[4..].copy_from_slice(&len.to_le_bytes());
    Ok(call.memory.write(buf, &record)?)
}

/// Writes the directory's name, without a terminator.
pub(super) fn dir_name(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Ptr,
    path_len: u32,
) -> Result<(), Errno> {
    let name = name(call, fd)?.to_string();
    if name.len() > path_len as usize {
        return Err(Errno::NameTooLong);
    }
    Ok(call.memory.write(path, name.as_bytes())?)
}

/// Writes the `fdstat` of a directory, which grants nothing yet.
pub(super) fn fdstat_get(call: &mut Call<'_, '_>, fd: u32, stat: Ptr) -> Result<(), Errno> {
    name(call, fd)?;
    let mut record = [0; 24];
    record[0] = FILE_TYPE_DIRECTORY;
    Ok(call.memory.write(stat, &record)?)
}
