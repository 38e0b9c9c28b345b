//! Functions about paths. A path is UTF-8, relative, and leads nowhere outside of its directory.

use std::sync::Arc;

use super::descriptors::known_flags;
use super::errno::Errno;
use super::files::{SYSTEM_CALL, StatAt};
use super::flags::{SYMLINK_FOLLOW, oflags, rights};
use super::jobs::{is_running, on_pool, result};
use super::table::{Descriptor, DirDescriptor};
use crate::bind::Call;
use crate::fs::{Follow, Listing, OpenDir, OpenHow, Opened, Times};
use crate::memory::Ptr;

/// A path as it stands in the guest's memory.
pub(super) type Path = (Ptr, u32);

/// Bytes of a path: one more than the kernel takes, so that it can say so.
const PATH_BYTES_MAX: u32 = 4096;

/// A copy of a path.
fn text(call: &Call<'_, '_>, (at, len): Path) -> Result<String, Errno> {
    let bytes = call.memory.slice(at, len)?;
    if len > PATH_BYTES_MAX {
        return Err(Errno::NameTooLong);
    }
    Ok(std::str::from_utf8(bytes).map_err(|_| Errno::IlSeq)?.to_string())
}

fn follow(flags: u32) -> Result<Follow, Errno> {
    match flags {
        0 => Ok(Follow::No),
        SYMLINK_FOLLOW => Ok(Follow::Yes),
        _ => Err(Errno::Inval),
    }
}

/// A directory in which something is to be changed, at this path.
fn dir_to_change(call: &mut Call<'_, '_>, fd: u32, path: &str) -> Result<Arc<OpenDir>, Errno> {
    let dir = call.dir(fd)?;
    dir.may_change().inspect_err(|_| change_denied(call, path))?;
    Ok(dir)
}

/// Tells the log of a change that the directory is not granted for.
#[cold]
fn change_denied(call: &mut Call<'_, '_>, path: &str) {
    let _answered = call.state.denied(format!(
        "a change at \"{}\" in a directory that may only be read; lunatic run --dir without :ro would \
         allow it",
        path.escape_default()
    ));
}

/// The answer about these paths. That one of them leads out is told as reference runtimes do, and
/// to the log.
fn inside<T>(
    call: &mut Call<'_, '_>,
    paths: &[Path],
    result: Result<T, Errno>,
) -> Result<T, Errno> {
    match result {
        Err(Errno::NotCapable) => Err(leads_out(call, paths)),
        other => other,
    }
}

#[cold]
fn leads_out(call: &mut Call<'_, '_>, paths: &[Path]) -> Errno {
    let quoted = paths.iter().filter_map(|path| text(call, *path).ok());
    let quoted: Vec<_> = quoted.map(|path| format!("\"{}\"", path.escape_default())).collect();
    let _answered = call.state.denied(format!(
        "{} leads out of the directory that it is looked for in",
        quoted.join(" or ")
    ));
    Errno::Perm
}

/// What `path_open` is told besides the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) dirflags: u32,
    pub(super) oflags: u32,
    pub(super) rights: u64,
    pub(super) fdflags: u32,
}

impl Open {
    fn how(self) -> Result<OpenHow, Errno> {
        let oflags = u16::try_from(self.oflags).map_err(|_| Errno::Inval)?;
        if oflags & !oflags::ALL != 0 {
            return Err(Errno::Inval);
        }
        Ok(OpenHow {
            follow: follow(self.dirflags)?,
            oflags,
            fdflags: known_flags(self.fdflags)?,
            read: self.rights & rights::FD_READ != 0,
            write: self.rights & rights::FD_WRITE != 0,
        })
    }
}

pub(super) fn open(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
    open: Open,
    opened_fd: Ptr,
) -> Result<Option<()>, Errno> {
    let opened =
        if is_running(call) { result(call) } else { begin_open(call, fd, path, open, opened_fd) };
    let descriptor = match inside(call, &[path], opened)? {
        None => return Ok(None),
        Some(Opened::File(file)) => Descriptor::File(Arc::new(file)),
        Some(Opened::Dir(dir)) => {
            Descriptor::Dir(DirDescriptor { dir: Arc::new(dir), name: None, place: None })
        }
    };
    let fd = call.insert(descriptor)?;
    call.memory.write_u32(opened_fd, fd)?;
    Ok(Some(()))
}

/// Opens at once what can be, and begins to open the rest.
fn begin_open(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
    open: Open,
    opened_fd: Ptr,
) -> Result<Option<Opened>, Errno> {
    call.memory.slice_mut(opened_fd, 4)?;
    let path = text(call, path)?;
    let how = open.how()?;
    let dir = match call.descriptor(fd)? {
        Descriptor::Dir(found) => found.dir,
        Descriptor::File(_) => return Err(Errno::NotDir),
        _ => return Err(Errno::BadF),
    };
    if how.writes() {
        dir.may_change().inspect_err(|_| change_denied(call, &path))?;
    }
    // Before a file is made that the process would have no number for.
    call.has_room()?;
    if let Some(opened) = dir.open_cached(&path, how) {
        call.state.charge(SYSTEM_CALL);
        return opened.map(Some);
    }
    on_pool(call, |_| Ok(move || dir.open(&path, how)))
}

pub(super) fn create_directory(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let path = text(call, path)?;
        let dir = dir_to_change(call, fd, &path)?;
        Ok(move || dir.create_dir(&path))
    });
    inside(call, &[path], done)
}

pub(super) fn remove_directory(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let path = text(call, path)?;
        let dir = dir_to_change(call, fd, &path)?;
        Ok(move || dir.remove_dir(&path))
    });
    inside(call, &[path], done)
}

pub(super) fn unlink_file(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let path = text(call, path)?;
        let dir = dir_to_change(call, fd, &path)?;
        Ok(move || dir.remove_file(&path))
    });
    inside(call, &[path], done)
}

pub(super) fn rename(
    call: &mut Call<'_, '_>,
    (from_fd, from): (u32, Path),
    (to_fd, to): (u32, Path),
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let (from, to) = (text(call, from)?, text(call, to)?);
        let from_dir = dir_to_change(call, from_fd, &from)?;
        let to_dir = dir_to_change(call, to_fd, &to)?;
        Ok(move || from_dir.rename(&from, &to_dir, &to))
    });
    inside(call, &[from, to], done)
}

/// Links are not followed: a link to a link is one to the link itself.
pub(super) fn link(
    call: &mut Call<'_, '_>,
    flags: u32,
    (from_fd, from): (u32, Path),
    (to_fd, to): (u32, Path),
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let (from, to) = (text(call, from)?, text(call, to)?);
        // Both: a second name in a writable directory would make the file itself writable.
        let from_dir = dir_to_change(call, from_fd, &from)?;
        let to_dir = dir_to_change(call, to_fd, &to)?;
        if follow(flags)? == Follow::Yes {
            return Err(Errno::Inval);
        }
        Ok(move || from_dir.hard_link(&from, &to_dir, &to))
    });
    inside(call, &[from, to], done)
}

pub(super) fn symlink(
    call: &mut Call<'_, '_>,
    target: Path,
    (fd, path): (u32, Path),
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let (target, path) = (text(call, target)?, text(call, path)?);
        let dir = dir_to_change(call, fd, &path)?;
        Ok(move || dir.symlink(&target, &path))
    });
    inside(call, &[target, path], done)
}

/// What does not fit the buffer is cut off.
pub(super) fn readlink(
    call: &mut Call<'_, '_>,
    fd: u32,
    path: Path,
    (buf, buf_len): (Ptr, u32),
    used: Ptr,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(buf, buf_len)?;
    call.memory.slice_mut(used, 4)?;
    let target = on_pool(call, |call| {
        let (path, dir) = (text(call, path)?, call.dir(fd)?);
        Ok(move || dir.read_link(&path))
    });
    let Some(mut target) = inside(call, &[path], target)? else { return Ok(None) };
    target.truncate(buf_len as usize);
    write_used(call, &target, buf, used)
}

pub(super) fn filestat_get(
    call: &mut Call<'_, '_>,
    fd: u32,
    flags: u32,
    path: Path,
    to: StatAt,
) -> Result<Option<()>, Errno> {
    to.check(call)?;
    let stat = if is_running(call) {
        result(call)
    } else {
        let (path, dir, follow) = (text(call, path)?, call.dir(fd)?, follow(flags)?);
        match dir.stat_at_cached(&path, follow) {
            Some(stat) => {
                call.state.charge(SYSTEM_CALL);
                stat.map(Some)
            }
            None => on_pool(call, |_| Ok(move || dir.stat_at(&path, follow))),
        }
    };
    let Some(stat) = inside(call, &[path], stat)? else { return Ok(None) };
    to.write(call, &stat)?;
    Ok(Some(()))
}

pub(super) fn filestat_set_times(
    call: &mut Call<'_, '_>,
    fd: u32,
    flags: u32,
    path: Path,
    (atim, mtim, times): (u64, u64, u32),
) -> Result<Option<()>, Errno> {
    let done = on_pool(call, |call| {
        let times = Times::from_flags(atim, mtim, times)?;
        let path = text(call, path)?;
        let (dir, follow) = (dir_to_change(call, fd, &path)?, follow(flags)?);
        Ok(move || dir.set_times_at(&path, follow, times))
    });
    inside(call, &[path], done)
}

/// Entries of the directory behind a cookie; the last is cut off if there are more.
pub(super) fn readdir(
    call: &mut Call<'_, '_>,
    fd: u32,
    (buf, buf_len): (Ptr, u32),
    cookie: u64,
    used: Ptr,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(buf, buf_len)?;
    call.memory.slice_mut(used, 4)?;
    let Descriptor::Dir(found) = call.descriptor(fd)? else { return Err(Errno::BadF) };
    // Who begins anew wants to see what is new.
    if cookie != 0
        && !is_running(call)
        && let Some((listed, batch)) = &call.files().listed
        && *listed == fd
        && let Some(part) = batch.part(cookie, buf_len as usize)
    {
        let part = part.to_vec();
        call.state.charge(SYSTEM_CALL);
        return write_used(call, &part, buf, used);
    }
    let listing = on_pool(call, |_| {
        let (dir, place) = (Arc::clone(&found.dir), found.place.clone());
        Ok(move || dir.list(place, cookie, buf_len as usize))
    })?;
    let Some(Listing { batch, place }) = listing else { return Ok(None) };
    if place.is_some() && found.place.is_none() {
        call.replace(fd, Descriptor::Dir(DirDescriptor { place, ..found }))?;
    }
    let part = batch.part(cookie, buf_len as usize).expect("it was read for that");
    let written = write_used(call, part, buf, used);
    call.files().listed = batch.may_be_kept().then_some((fd, batch));
    written
}

fn write_used(
    call: &mut Call<'_, '_>,
    bytes: &[u8],
    buf: Ptr,
    used: Ptr,
) -> Result<Option<()>, Errno> {
    call.memory.write(buf, bytes)?;
    call.memory.write_u32(used, u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?)?;
    Ok(Some(()))
}
