//! Compiled modules on disk, so that the second start of a program does not compile.
//!
//! One file for each entry, named by its key: the hash of everything that decides the machine code
//! (content, compiler version, CPU features, options, and the sources of our own middleware, so
//! that nobody has to remember to raise a number). An entry holds a header (magic, key, length and
//! checksum of the payload) and wasmer's serialized artifact, which carries everything that
//! validation and compilation found out.
//!
//! **Trust.** An entry is machine code that we will run, so it must come from us. A reader accepts
//! a file only when it is a regular file owned by this user that nobody else may write (asked of
//! the open file, not of its path), carries the key it was looked up by, and has the length and
//! checksum its header says. Ownership keeps strangers out; the checksum is against accidents:
//! truncation, a full disk, a bad block. Anything else is a miss, the module is compiled, and the
//! entry replaced.
//!
//! **Writers** never touch an entry in place: each writes a file of its own and renames it over the
//! name, so a reader sees the old entry, the new one or none, and of several writers the last wins
//! with the same content. No `fsync`: after a crash an entry may be short, and the checksum finds
//! that.
//!
//! A cache that does not work is never a reason for a program not to start: every failure is logged
//! and worked around.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What all entries together may take; the oldest go first.
const MAX_CACHE_BYTES: u64 = 1 << 30;
/// After an eviction this much is left, so that not every store evicts.
const KEPT_CACHE_BYTES: u64 = MAX_CACHE_BYTES / 4 * 3;
/// A larger entry is not stored: it would push out everything else.
const MAX_ENTRY_BYTES: u64 = MAX_CACHE_BYTES / 4;
/// A hit renews an entry's age, but writes to the disk at most this often.
const RENEW_AFTER: Duration = Duration::from_secs(3600);
/// A temporary file this old belongs to a writer that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

const MAGIC: &[u8; 8] = b"lunatic\x01";
/// BLAKE3, because SHA-256 took nine tenths of a cache hit: 25 ms for the 4.8 MB entry of a 677 KB
/// module.
const HASH_BYTES: usize = blake3::OUT_LEN;
/// Magic, key, payload length, payload checksum.
const HEADER_BYTES: usize = MAGIC.len() + HASH_BYTES + 8 + HASH_BYTES;
const ENTRY_SUFFIX: &str = ".module";
const TEMPORARY_PREFIX: &str = ".writing-";

/// Nobody but the owner.
const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Write permission of group and others.
const FOREIGN_WRITE: u32 = 0o022;

/// The hash of everything that decides an entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u8; HASH_BYTES]);

impl Key {
    /// Hashes `parts`, each with its length, so that no two lists look alike.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    fn file_name(&self) -> String {
        let mut name = String::with_capacity(2 * HASH_BYTES + ENTRY_SUFFIX.len());
        for byte in self.0 {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name + ENTRY_SUFFIX
    }
}

/// A directory of compiled modules that belongs to this user.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Opens the cache in `directory`, creating it (readable by this user only) when it does not
    /// exist. `None`, and a warning in the log, when it cannot be created or when somebody else
    /// could put machine code into it.
    pub fn open(directory: impl Into<PathBuf>) -> Option<Self> {
        let directory = directory.into();
        match prepare(&directory) {
            Ok(()) => Some(Self { directory }),
            Err(reason) => {
                let directory = directory.display();
                tracing::warn!("compiling without the cache \"{directory}\": {reason}");
                None
            }
        }
    }

    /// The payload stored under `key`, if there is one that can be trusted.
    pub(crate) fn load(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.directory.join(key.file_name());
        match read_entry(&path, key) {
            Ok(payload) => Some(payload),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!("ignoring the cached module \"{}\": {error}", path.display());
                None
            }
        }
    }

    /// Stores `payload` under `key`, replacing what was there.
    pub(crate) fn store(&self, key: &Key, payload: &[u8]) {
        if payload.len() as u64 > MAX_ENTRY_BYTES {
            tracing::debug!("not caching a module of {} bytes", payload.len());
            return;
        }
        let path = self.directory.join(key.file_name());
        if let Err(error) = self.write_entry(&path, key, payload) {
            tracing::warn!("cannot write the cached module \"{}\": {error}", path.display());
        }
        if let Err(error) = self.evict(MAX_CACHE_BYTES, KEPT_CACHE_BYTES) {
            tracing::warn!("cannot clean up the cache \"{}\": {error}", self.directory.display());
        }
    }

    fn write_entry(&self, path: &Path, key: &Key, payload: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = self.create_temporary()?;
        let written = file
            .write_all(&header(key, payload))
            .and_then(|()| file.write_all(payload))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // It would be found abandoned later; a full disk wants it gone now.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// A file that no other writer has, in this process or in another.
    fn create_temporary(&self) -> io::Result<(PathBuf, File)> {
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        const ATTEMPTS: usize = 16;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..ATTEMPTS {
            // Relaxed: only uniqueness matters.
            let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
            // Process ids come round again and may be shared between containers; the clock tells
            // those apart.
            let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
            let name = format!("{TEMPORARY_PREFIX}{}-{writer}-{nanos}", std::process::id());
            let path = self.directory.join(name);
            let created =
                OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(&path);
            match created {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Removes abandoned temporary files, and the oldest entries until `kept` bytes are left, if
    /// there are more than `max`.
    fn evict(&self, max: u64, kept: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Another process may be cleaning up as well.
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMPORARY_PREFIX) {
                if modified.elapsed().is_ok_and(|age| age > ABANDONED_AFTER) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if name.ends_with(ENTRY_SUFFIX) {
                total += metadata.len();
                entries.push((modified, metadata.len(), entry.path()));
            }
        }
        if total > max {
            entries.sort();
            for (_, length, path) in entries {
                if total <= kept {
                    break;
                }
                let _ = fs::remove_file(path);
                total -= length;
            }
        }
        Ok(())
    }
}

/// Makes sure that `directory` exists and that nobody but us can write to it; else says why not.
fn prepare(directory: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(directory)
        .map_err(|error| format!("it cannot be created: {error}"))?;
    let metadata =
        fs::metadata(directory).map_err(|error| format!("it cannot be examined: {error}"))?;
    if !metadata.is_dir() {
        return Err("it is not a directory".to_string());
    }
    check_private(&metadata)
}

/// Whether the owner and the permissions of a file or directory keep everybody else from changing
/// it.
fn check_private(metadata: &fs::Metadata) -> Result<(), String> {
    let user = user();
    if metadata.uid() != user {
        return Err(format!("it belongs to user {}, this is user {user}", metadata.uid()));
    }
    let mode = metadata.permissions().mode();
    if mode & FOREIGN_WRITE != 0 {
        return Err(format!("others may write to it (mode {:o}); chmod go-w it", mode & 0o7777));
    }
    Ok(())
}

/// The user whose rights this process has.
fn user() -> u32 {
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}

fn header(key: &Key, payload: &[u8]) -> Vec<u8> {
    let checksum = blake3::hash(payload);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&key.0);
    header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    header.extend_from_slice(checksum.as_bytes());
    header
}

/// Reads and verifies one entry.
fn read_entry(path: &Path, key: &Key) -> io::Result<Vec<u8>> {
    let refuse = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    // Never through a link: what it points to may be a device or a pipe that blocks.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refuse("it is not a regular file".to_string()));
    }
    check_private(&metadata).map_err(refuse)?;
    let Some(length) = metadata.len().checked_sub(HEADER_BYTES as u64) else {
        return Err(refuse(format!("{} bytes are no header", metadata.len())));
    };
    if length > MAX_ENTRY_BYTES {
        return Err(refuse(format!("{length} bytes are above the limit of {MAX_ENTRY_BYTES}")));
    }
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found)?;
    let mut payload = Vec::with_capacity(length as usize + 1);
    // One byte more than there should be, to notice a longer file without reading all of it.
    (&file).take(length + 1).read_to_end(&mut payload)?;
    // The header is a function of key and payload, so comparing it whole checks every field of it.
    if found != *header(key, &payload) {
        return Err(refuse("its header does not match its content".to_string()));
    }
    renew(&file, &metadata);
    Ok(payload)
}

/// Marks an entry as used, so that eviction takes others first.
fn renew(file: &File, metadata: &fs::Metadata) {
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    if age.is_some_and(|age| age > RENEW_AFTER) {
        // An entry that looks older than it is may be evicted early; nothing worse.
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests;
