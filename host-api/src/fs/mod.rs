//! The file system as guests reach it: every path beneath a directory that somebody granted.
//!
//! [`DirGrant`] is what a configuration says, [`OpenDir`] and [`OpenFile`] are what descriptors
//! stand for, [`Stat`] is what there is to know of a file. Paths are resolved by `cap-std`, in the
//! kernel (`openat2` with `RESOLVE_BENEATH`): `..`, absolute paths, links that lead out and renames
//! during the walk are all refused there, in one step that nobody can come in between.
//!
//! Everything here may block, and nothing here knows processes or their memory: it runs as jobs on
//! the blocking pool, with buffers of its own. What never blocks says so.

mod dir;
mod file;
mod grant;
mod limit;
mod listing;
mod procfs;
mod stat;

pub(crate) use dir::{Follow, Listing, OpenDir, OpenHow, Opened, Times};
pub(crate) use file::{OpenFile, Place, SCRATCH_BYTES};
pub use grant::{DirAccess, DirGrant};
pub use limit::raise_open_files_limit;
pub(crate) use listing::Batch;
pub(crate) use stat::{FileType, Stat};
