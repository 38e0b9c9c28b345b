//! A directory that a process is given.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::dir::OpenDir;
use super::procfs;
use crate::api::wasi::Errno;

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
    /// When it is not there, is no directory, may not be read, or is a process's in `/proc`.
    pub fn open(host: &Path, guest: &str, access: DirAccess) -> io::Result<Self> {
        let file = File::open(host)?;
        if !file.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if procfs::check(&file).is_err() {
            return Err(io::Error::other(
                "it is about a process of the system, and opens its memory",
            ));
        }
        let dir = Arc::new(OpenDir::granted(Dir::from_std_file(file), access));
        Ok(Self { name: guest.into(), dir })
    }

    /// The directory that the path lies in by the longest name, and what remains of the path.
    pub(crate) fn find(dirs: &[Self], path: &str) -> Option<(Self, String)> {
        let found = dirs.iter().filter_map(|grant| Some((grant, grant.rest_of(path)?)));
        let (grant, rest) = found.max_by_key(|(grant, _)| grant.name.len())?;
        Some((grant.clone(), rest.to_string()))
    }

    /// What remains of `path` in this directory, if it begins with its name.
    fn rest_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        if &*self.name == "." {
            return (!path.starts_with('/')).then_some(path);
        }
        let rest = path.strip_prefix(self.name.trim_end_matches('/'))?;
        let inside = rest.is_empty() || rest.starts_with('/') || rest.len() == path.len();
        let rest = rest.trim_start_matches('/');
        inside.then_some(if rest.is_empty() { "." } else { rest })
    }

    /// A directory beneath this one, to be given away with at most the same rights. May block.
    pub(crate) fn beneath(&self, path: &str, name: &str, access: DirAccess) -> Result<Self, Errno> {
        let access = match self.dir.access() {
            DirAccess::ReadWrite => access,
            DirAccess::ReadOnly => DirAccess::ReadOnly,
        };
        Ok(Self { name: name.into(), dir: Arc::new(self.dir.grant_beneath(path, access)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::{DirAccess, DirGrant};
    use std::path::Path;

    #[test]
    fn a_path_is_in_the_directory_whose_name_it_begins_with() {
        for (name, path, rest) in [
            ("/data", "/data", Some(".")),
            ("/data", "/data/", Some(".")),
            ("/data", "/data/a/b", Some("a/b")),
            ("/data/", "/data/a", Some("a")),
            ("/data", "/database", None),
            ("/data", "/dat", None),
            ("/data", "data", None),
            ("/", "/a", Some("a")),
            ("/", "a", Some("a")),
            (".", ".", Some(".")),
            (".", "./a", Some("./a")),
            (".", ".hidden", Some(".hidden")),
            (".", "a/b", Some("a/b")),
            (".", "/a", None),
            ("src", "src/a", Some("a")),
            ("src", "a", None),
        ] {
            let grant = DirGrant::open(Path::new("."), name, DirAccess::ReadOnly).expect("it is");
            assert_eq!(grant.rest_of(path), rest, "{path} in {name}");
        }
    }
}
