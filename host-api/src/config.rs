//! What a process is given: arguments, environment, standard streams, limits.

use std::ops::Deref;
use std::sync::Arc;

use lunatic_engine::MEMORY_BYTES_MAX;

use crate::fs::DirGrant;
use crate::kept::Kept;
use crate::net::ListenGrant;
use crate::stdio::Stdio;

/// What a process of an operating system usually has.
const DESCRIPTORS_MAX: usize = 1024;

/// Rights and limits of a process; its children share them unless told otherwise.
///
/// A new configuration grants nothing but the standard streams it is made with.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Command-line arguments, the program's name first. Default: none.
    pub args: Vec<String>,
    /// Environment variables. Default: none.
    pub env: Vec<(String, String)>,
    /// Directories, which get the descriptors from 3 on. Default: none.
    pub dirs: Vec<DirGrant>,
    /// Listening sockets, which get the descriptors behind the directories. Default: none.
    pub listeners: Vec<ListenGrant>,
    /// Where standard input, output and error lead.
    pub stdio: Stdio,
    /// Most bytes of linear memory. Default: 4 GiB.
    pub memory_bytes_max: usize,
    /// Most descriptors that are open at once, those above among them; one more is answered with
    /// error 33 (`mfile`). Default: 1024.
    pub descriptors_max: usize,
}

impl ProcessConfig {
    /// Grants the standard streams only.
    #[must_use]
    pub fn new(stdio: Stdio) -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            listeners: Vec::new(),
            stdio,
            memory_bytes_max: MEMORY_BYTES_MAX,
            descriptors_max: DESCRIPTORS_MAX,
        }
    }
}

/// A process's configuration.
#[derive(Clone)]
pub(crate) enum ConfigRef {
    /// The main process's, which all inherit that were not given another.
    Main(Kept<ProcessConfig>),
    /// One that was made for it.
    #[allow(dead_code, reason = "until processes can make configurations")]
    Own(Arc<ProcessConfig>),
}

impl Deref for ConfigRef {
    type Target = ProcessConfig;
    fn deref(&self) -> &ProcessConfig {
        match self {
            Self::Main(config) => config,
            Self::Own(config) => config,
        }
    }
}
