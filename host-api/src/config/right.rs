//! What a process may do or not, by name and by number: one list for the command line, a file of
//! configuration, and guests, who know them by number.

use super::ProcessConfig;

/// Something that a process may do, or not. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Right {
    /// Spawn processes.
    Spawn = 0,
    /// Compile modules.
    Compile = 1,
    /// Make configurations for its children.
    Configs = 2,
    /// Kill other processes than itself.
    Kill = 3,
    /// Give names to processes, and take them away.
    Names = 4,
}

impl Right {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Spawn, Self::Compile, Self::Configs, Self::Kill, Self::Names];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As `--deny` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Compile => "compile",
            Self::Configs => "configs",
            Self::Kill => "kill",
            Self::Names => "names",
        }
    }

    /// For messages: what may not be done.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Spawn => "spawn processes",
            Self::Compile => "compile modules",
            Self::Configs => "make configurations",
            Self::Kill => "kill other processes",
            Self::Names => "name processes",
        }
    }
}

impl ProcessConfig {
    /// Whether the process has the right.
    #[must_use]
    pub fn has(&self, right: Right) -> bool {
        match right {
            Right::Spawn => self.can_spawn_processes,
            Right::Compile => self.can_compile_modules,
            Right::Configs => self.can_create_configs,
            Right::Kill => self.can_kill_processes,
            Right::Names => self.can_name_processes,
        }
    }

    /// Gives or takes the right.
    pub fn set_right(&mut self, right: Right, has: bool) {
        match right {
            Right::Spawn => self.can_spawn_processes = has,
            Right::Compile => self.can_compile_modules = has,
            Right::Configs => self.can_create_configs = has,
            Right::Kill => self.can_kill_processes = has,
            Right::Names => self.can_name_processes = has,
        }
    }
}
