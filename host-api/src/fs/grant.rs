//! A directory that a process is given.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::dir::OpenDir;

/// What a process may do in a directory that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirAccess {
    /// Look and read. Whatever would change something is answered with error 63 (`perm`).
    ReadOnly,
    /// Everything that the user of the runtime may.
    ReadWrite,
}

/// A directory that a process is given, opened once; clones, and all processes, share it.
#[derive(Debug, Clone)]
pub struct DirGrant {
    pub(crate) name: Arc<str>,
    pub(crate) dir: Arc<OpenDir>,
}

impl DirGrant {
    /// Opens `host`, which the guest will know as `guest`.
    ///
    /// # Errors
    /// When it is not there, is no directory, or may not be read.
    pub fn open(host: &Path, guest: &str, access: DirAccess) -> io::Result<Self> {
        let file = File::open(host)?;
        if !file.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let dir = Arc::new(OpenDir::granted(Dir::from_std_file(file), access));
        Ok(Self { name: guest.into(), dir })
    }
}
