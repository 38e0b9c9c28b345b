//! The limits of a configuration, by name and by number.
//!
//! One list for all who set them: the command line, a file of configuration, and guests, who know
//! them by number. [`NONE`] is no limit.

use super::ProcessConfig;

/// No limit.
pub(crate) const NONE: u64 = u64::MAX;

/// Something of which a process may have a certain amount. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Limit {
    /// Bytes of linear memory; `memory.grow` beyond it answers -1.
    Memory = 0,
    /// Units of fuel, in all its life; then the process ends.
    Fuel = 1,
    /// Living processes that it has spawned; one more spawn answers an error.
    Children = 2,
    /// Open resources; one more ends the process.
    Resources = 3,
    /// Bytes of a message; a longer one is refused.
    Message = 4,
    /// Open descriptors; one more is answered with an error number.
    Descriptors = 5,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Fuel,
        Self::Children,
        Self::Resources,
        Self::Message,
        Self::Descriptors,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The most that makes a difference.
    pub(crate) fn highest(self) -> u64 {
        match self {
            Self::Memory => lunatic_engine::MEMORY_BYTES_MAX as u64,
            Self::Message => crate::payload::BYTES_MAX as u64,
            Self::Fuel | Self::Children | Self::Resources | Self::Descriptors => NONE,
        }
    }

    /// As options call it, behind `--max-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fuel => "fuel",
            Self::Children => "children",
            Self::Resources => "resources",
            Self::Message => "message",
            Self::Descriptors => "descriptors",
        }
    }
}

impl ProcessConfig {
    /// How much of it the process may have; `u64::MAX`: any amount.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Memory => self.memory_bytes_max as u64,
            Limit::Fuel => self.fuel_max.unwrap_or(NONE),
            Limit::Children => self.children_max.map_or(NONE, |max| max as u64),
            Limit::Resources => self.resources_max as u64,
            Limit::Message => self.message_bytes_max as u64,
            Limit::Descriptors => self.descriptors_max as u64,
        }
    }

    /// Sets it; `u64::MAX` takes it away.
    pub fn set_limit(&mut self, limit: Limit, value: u64) {
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match limit {
            Limit::Memory => self.memory_bytes_max = size.min(lunatic_engine::MEMORY_BYTES_MAX),
            Limit::Fuel => self.fuel_max = (value != NONE).then_some(value),
            Limit::Children => self.children_max = (value != NONE).then_some(size),
            Limit::Resources => self.resources_max = size,
            Limit::Message => self.message_bytes_max = size.min(crate::payload::BYTES_MAX),
            Limit::Descriptors => self.descriptors_max = size,
        }
    }
}
