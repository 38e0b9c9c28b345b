//! A directory for a child: one of the maker's own, or one beneath it.
//!
//! The path is the guest's, and begins with the name of a directory that it was given. What remains of
//! it is walked beneath that directory by the kernel, as every path of a guest is: so nothing can be
//! given away that the giver could not open.

use super::{CONFIGS_MAX, TEXT_BYTES_MAX};
use crate::api::wasi::{Errno, on_pool};
use crate::bind::{Call, Fault};
use crate::config::ProcessConfig;
use crate::fs::{DirAccess, DirGrant};
use crate::memory::Ptr;
use crate::rights::Denied;
use std::sync::Arc;

/// Directories of one configuration. By feel.
const DIRS_MAX: usize = 64;

/// What is asked for, as it stands in the guest's memory.
pub(super) struct DirToGive {
    pub(super) path: (Ptr, u32),
    /// What the child will call it.
    pub(super) name: (Ptr, u32),
    /// At most this; less if the giver has less.
    pub(super) access: DirAccess,
}

/// Adds a directory to a configuration; `None`: not yet, as it has to be opened.
pub(super) fn give(
    call: &mut Call<'_, '_>,
    config_id: u64,
    dir: &DirToGive,
) -> Result<Option<Result<(), Denied>>, Fault> {
    let path = call.config_text(dir.path, "a directory's path")?;
    let name = call.config_text(dir.name, "a directory's name")?;
    check_room(call, config_id)?;
    call.check_text_room(config_id, name.len())?;
    let Some((grant, rest)) = DirGrant::find(&call.state.config.dirs, &path) else {
        return Ok(Some(Err(call.state.denied(format!(
            "a configuration with the directory \"{path}\": the process has none that it lies in"
        )))));
    };
    let access = dir.access;
    let opened = on_pool(call, |_| Ok(move || grant.beneath(&rest, &name, access)));
    match opened {
        Ok(None) => Ok(None),
        Ok(Some(opened)) => {
            call.change_config(config_id, |config| config.dirs.push(opened))?;
            Ok(Some(Ok(())))
        }
        Err(Errno::NotCapable) => Ok(Some(Err(call.state.denied(format!(
            "a configuration with the directory \"{path}\": it leads out of the one that it begins with"
        ))))),
        Err(errno) => Ok(Some(Err(call.state.denied(format!(
            "a configuration with the directory \"{path}\": opening it, error {} ({errno:?})",
            errno as u16
        ))))),
    }
}

/// Each directory is a descriptor of the system's, of which all processes together have so many.
fn check_room(call: &Call<'_, '_>, config_id: u64) -> Result<(), Fault> {
    let dirs = call.config(config_id)?.dirs.len();
    if dirs >= DIRS_MAX {
        return Err(Fault::new(format!("a configuration grants at most {DIRS_MAX} directories")));
    }
    let configs = call.state.resources.all::<Arc<ProcessConfig>>();
    let all: usize = configs.map(|config| config.dirs.len()).sum();
    let max = call.state.config.descriptors_max;
    if all >= max {
        return Err(Fault::new(format!(
            "the process's configurations grant {all} directories, and may {max}, as many as it may \
             have descriptors; drop some (drop_config)"
        )));
    }
    Ok(())
}

const _: () = assert!(CONFIGS_MAX * TEXT_BYTES_MAX <= 256 << 20);
