//! The descriptors of a process.
//!
//! Those that a process is born with follow from its configuration: 0, 1 and 2 are the standard
//! streams, then come the directories, then the listening sockets. A table of its own it gets only
//! when it changes something, so a process that never opens a file pays a null pointer for all this.

use std::fs::File;
use std::sync::Arc;

use lunatic_scheduler::Pid;

use super::errno::Errno;
use super::jobs::Job;
use super::state::{Output, WasiState};
use crate::bind::Call;
use crate::config::ProcessConfig;
use crate::fs::{Batch, OpenDir, OpenFile};
use crate::net::{Listener, Socket};
use crate::ready::Waits;

/// The first descriptor behind the standard streams.
const FIRST: usize = 3;

/// What a descriptor stands for. Clones share it.
#[derive(Debug, Clone)]
pub(super) enum Descriptor {
    Stdin,
    Output(Output),
    Dir(DirDescriptor),
    File(Arc<OpenFile>),
    /// With the flags that this process has given it.
    Listener(Arc<Listener>, u16),
    Socket(Arc<Socket>, u16),
}

/// A directory.
#[derive(Debug, Clone)]
pub(super) struct DirDescriptor {
    pub(super) dir: Arc<OpenDir>,
    /// The name of one that the process was given.
    pub(super) name: Option<Arc<str>>,
    /// Where it is read from, if it is shared.
    pub(super) place: Option<Arc<File>>,
}

/// What a process has that opens files, or waits for them.
#[derive(Debug)]
pub(crate) struct Files {
    table: Vec<Option<Descriptor>>,
    /// What runs on the blocking pool for the current call.
    pub(super) job: Option<Job>,
    /// What the current call waits for.
    pub(super) waits: Waits,
    /// Entries of the directory that was listed last, by its descriptor.
    pub(super) listed: Option<(u32, Batch)>,
}

/// What a process is born with.
fn inborn(config: &ProcessConfig, at: usize) -> Option<Descriptor> {
    let Some(at) = at.checked_sub(FIRST) else {
        return Some(match at {
            0 => Descriptor::Stdin,
            1 => Descriptor::Output(Output::Out),
            _ => Descriptor::Output(Output::Err),
        });
    };
    if let Some(grant) = config.dirs.get(at) {
        return Some(Descriptor::Dir(DirDescriptor {
            dir: Arc::clone(&grant.dir),
            name: Some(Arc::clone(&grant.name)),
            place: None,
        }));
    }
    let grant = config.listeners.get(at - config.dirs.len())?;
    Some(Descriptor::Listener(Arc::clone(&grant.0), 0))
}

impl Files {
    fn new(config: &ProcessConfig, pid: Pid) -> Self {
        let table = (0..).map_while(|at| inborn(config, at)).map(Some).collect();
        Self { table, job: None, waits: Waits::new(pid), listed: None }
    }

    /// Whether one of them is a file, whose last closing may free its blocks, or write them.
    pub(super) fn closing_may_block(&self) -> bool {
        self.table.iter().flatten().any(
            |descriptor| matches!(descriptor, Descriptor::File(file) if !file.closes_at_once()),
        )
    }

    /// Puts it in the first free place.
    fn insert(&mut self, descriptor: Descriptor, max: usize) -> Result<u32, Errno> {
        let free = self.table.iter().position(Option::is_none).unwrap_or(self.table.len());
        if free >= max {
            return Err(Errno::MFile);
        }
        let fd = u32::try_from(free).map_err(|_| Errno::MFile)?;
        if free == self.table.len() {
            self.table.push(Some(descriptor));
        } else {
            self.table[free] = Some(descriptor);
        }
        Ok(fd)
    }

    /// The place of one that is about to be changed.
    fn slot(&mut self, fd: u32) -> Result<&mut Option<Descriptor>, Errno> {
        let at = usize::try_from(fd).map_err(|_| Errno::BadF)?;
        self.listed = None;
        match self.table.get_mut(at) {
            Some(slot) if slot.is_some() => Ok(slot),
            _ => Err(Errno::BadF),
        }
    }
}

impl WasiState {
    /// What a descriptor stands for.
    pub(super) fn descriptor(&self, config: &ProcessConfig, fd: u32) -> Result<Descriptor, Errno> {
        let at = usize::try_from(fd).map_err(|_| Errno::BadF)?;
        match &self.files {
            Some(files) => files.table.get(at).and_then(Clone::clone),
            None => inborn(config, at),
        }
        .ok_or(Errno::BadF)
    }
}

impl Call<'_, '_> {
    /// What a descriptor of the process stands for.
    pub(super) fn descriptor(&self, fd: u32) -> Result<Descriptor, Errno> {
        self.state.wasi.descriptor(&self.state.config, fd)
    }

    /// The process's own table, from now on.
    pub(super) fn files(&mut self) -> &mut Files {
        let pid = self.state.pid();
        let config = &self.state.config;
        self.state.wasi.files.get_or_insert_with(|| Box::new(Files::new(config, pid)))
    }

    /// Whether there is room for another descriptor.
    pub(super) fn has_room(&mut self) -> Result<(), Errno> {
        let max = self.state.config.descriptors_max;
        let used = self.files().table.iter().flatten().count();
        if used < max { Ok(()) } else { Err(Errno::MFile) }
    }

    /// Gives it the lowest number that is free.
    pub(super) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let max = self.state.config.descriptors_max;
        self.files().insert(descriptor, max)
    }

    /// Takes it away.
    pub(super) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.descriptor(fd)?;
        self.files().slot(fd)?.take().ok_or(Errno::BadF)
    }

    /// Replaces what it stands for; the old one.
    pub(super) fn replace(&mut self, fd: u32, new: Descriptor) -> Result<Descriptor, Errno> {
        self.descriptor(fd)?;
        self.files().slot(fd)?.replace(new).ok_or(Errno::BadF)
    }

    /// The directory with this number.
    pub(super) fn dir(&self, fd: u32) -> Result<Arc<OpenDir>, Errno> {
        match self.descriptor(fd)? {
            Descriptor::Dir(descriptor) => Ok(descriptor.dir),
            _ => Err(Errno::BadF),
        }
    }

    /// The file with this number.
    pub(super) fn file(&self, fd: u32) -> Result<Arc<OpenFile>, Errno> {
        match self.descriptor(fd)? {
            Descriptor::File(file) => Ok(file),
            _ => Err(Errno::BadF),
        }
    }
}
