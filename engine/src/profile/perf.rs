//! Tells Linux's `perf` about code that it finds in no file.
//!
//! Two files. The *map* is text, a line for each function; `perf report` reads it after the run, so
//! it stays. The *dump* holds the machine code as well ("jitdump" version 2 of perf's
//! documentation); `perf inject --jit` makes of it the files that `perf annotate` disassembles. perf
//! learns of the dump by an executable mapping of it, which is made for nothing else.
//!
//! Code that is unloaded is not taken back: the map has no way to say so, and in the dump later code
//! at the same address wins from its time on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::listing::{Code, Listing};
use crate::os::OS_PAGE_BYTES;

/// The files of this program, once [`tell_perf`] has made them.
static FILES: Mutex<Option<PerfFiles>> = Mutex::new(None);

/// Where the files are.
#[derive(Debug, Clone)]
pub struct PerfPaths {
    /// The map, where perf looks for it.
    pub map: PathBuf,
    /// The dump.
    pub dump: PathBuf,
}

struct PerfFiles {
    map: BufWriter<File>,
    dump: BufWriter<File>,
    /// Numbers of the pieces of code in the dump.
    next_index: u64,
}

/// Makes the files, and describes there every module that is loaded from now on. The dump goes into
/// `dump_directory`.
///
/// # Errors
/// With the path of the file that cannot be made.
pub fn tell_perf(dump_directory: &Path) -> Result<PerfPaths, (PathBuf, io::Error)> {
    let pid = std::process::id();
    let paths = PerfPaths {
        map: PathBuf::from(format!("/tmp/perf-{pid}.map")),
        dump: dump_directory.join(format!("jit-{pid}.dump")),
    };
    let map = create(&paths.map).map_err(|error| (paths.map.clone(), error))?;
    let dump = create(&paths.dump)
        .and_then(|dump| begin_dump(dump, pid))
        .map_err(|error| (paths.dump.clone(), error))?;
    *FILES.lock() = Some(PerfFiles { map: BufWriter::new(map), dump, next_index: 0 });
    super::want_listings();
    Ok(paths)
}

/// A new file of this user's. In directories where everybody may write, others may have laid a
/// link there: whatever has the name is removed, never followed.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes the dump's header and shows the file to perf.
fn begin_dump(dump: File, pid: u32) -> io::Result<BufWriter<File>> {
    const MAGIC: u32 = 0x4A69_5444;
    const VERSION: u32 = 1;
    const HEADER_BYTES: u32 = 40;
    /// As in ELF.
    const MACHINE: u32 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut writer = BufWriter::new(dump);
    for word in [MAGIC, VERSION, HEADER_BYTES, MACHINE, 0, pid] {
        writer.write_all(&word.to_ne_bytes())?;
    }
    writer.write_all(&now().to_ne_bytes())?;
    writer.write_all(&0_u64.to_ne_bytes())?;
    writer.flush()?;
    let (protection, descriptor) =
        (libc::PROT_READ | libc::PROT_EXEC, writer.get_ref().as_raw_fd());
    // SAFETY: a fresh mapping, which nobody reads and which stays until the program ends.
    let mapped = unsafe {
        let anywhere = std::ptr::null_mut();
        libc::mmap(anywhere, OS_PAGE_BYTES, protection, libc::MAP_PRIVATE, descriptor, 0)
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(writer)
}

/// The clock that `perf record -k mono` uses.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Describes a module, if anybody has asked.
pub(super) fn code_loaded(listing: &Listing) {
    let mut files = FILES.lock();
    let Some(open) = &mut *files else { return };
    if let Err(error) = open.add(listing) {
        tracing::warn!("cannot write for perf any more: {error}");
        *files = None;
    }
}

impl PerfFiles {
    fn add(&mut self, listing: &Listing) -> io::Result<()> {
        for code in listing.code() {
            writeln!(self.map, "{:x} {:x} {}", code.start, code.end - code.start, code.name)?;
            self.dump(code)?;
        }
        self.map.flush()?;
        self.dump.flush()
    }

    /// A record of code that was loaded.
    fn dump(&mut self, code: &Code) -> io::Result<()> {
        const LOAD: u32 = 0;
        /// Up to the name.
        const FIXED_BYTES: usize = 56;
        let (start, length) = (code.start as u64, code.end - code.start);
        let bytes = FIXED_BYTES + code.name.len() + 1 + length;
        let bytes = u32::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let pid = std::process::id();
        for word in [LOAD, bytes] {
            self.dump.write_all(&word.to_ne_bytes())?;
        }
        self.dump.write_all(&now().to_ne_bytes())?;
        // The thread does not matter: code is run by all workers.
        for word in [pid, pid] {
            self.dump.write_all(&word.to_ne_bytes())?;
        }
        for word in [start, start, length as u64, self.next_index] {
            self.dump.write_all(&word.to_ne_bytes())?;
        }
        self.next_index += 1;
        self.dump.write_all(code.name.as_bytes())?;
        self.dump.write_all(&[0])?;
        // SAFETY: the code is loaded, as its module is being registered, and readable to the end of
        // its page; nobody writes to code.
        let machine_code = unsafe { std::slice::from_raw_parts(code.start as *const u8, length) };
        self.dump.write_all(machine_code)
    }
}
