//! The limits of a configuration, by name and by number.
//!
//! One list for all who set them: the command line, a file of configuration, and guests, who know
//! them by number. [`NONE`] is no limit.

use lunatic_scheduler::MailboxLimit;

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
    /// Bytes of its stack; calls that go deeper are a trap.
    Stack = 6,
    /// Messages that wait for it; what becomes of one more [`Overflow`] says.
    Mailbox = 7,
    /// Bytes that the messages take which wait for it; while there are so many, the same becomes of one
    /// more.
    MailboxBytes = 8,
}

/// What becomes of a message that finds a mailbox full. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Overflow {
    /// Its sender waits until there is room.
    #[default]
    Block = 0,
    /// It is dropped.
    Drop = 1,
    /// It is dropped, and the receiver ends.
    Kill = 2,
}

impl Overflow {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Block, Self::Drop, Self::Kill];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As options call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Drop => "drop",
            Self::Kill => "kill",
        }
    }
}

/// The largest stack that a process may have, and the main process has.
pub(crate) const STACK_BYTES_MAX: usize = 8 << 20;

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Memory,
        Self::Fuel,
        Self::Children,
        Self::Resources,
        Self::Message,
        Self::Descriptors,
        Self::Stack,
        Self::Mailbox,
        Self::MailboxBytes,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The most that makes a difference.
    pub(crate) fn highest(self) -> u64 {
        match self {
            Self::Memory => lunatic_engine::MEMORY_BYTES_MAX as u64,
            Self::Message => crate::payload::BYTES_MAX as u64,
            Self::Stack => STACK_BYTES_MAX as u64,
            Self::Fuel
            | Self::Children
            | Self::Resources
            | Self::Descriptors
            | Self::Mailbox
            | Self::MailboxBytes => NONE,
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
            Self::Stack => "stack",
            Self::Mailbox => "mailbox",
            Self::MailboxBytes => "mailbox-bytes",
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
            Limit::Stack => self.stack_bytes_max.unwrap_or(STACK_BYTES_MAX) as u64,
            Limit::Mailbox => self.mailbox_max.map_or(NONE, u64::from),
            Limit::MailboxBytes => self.mailbox_bytes_max.unwrap_or(NONE),
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
            Limit::Stack => {
                self.stack_bytes_max = (value != NONE).then_some(size.min(STACK_BYTES_MAX));
            }
            // More than a mailbox can count is as good as none.
            Limit::Mailbox => {
                self.mailbox_max =
                    u32::try_from(value).ok().filter(|max| *max <= MailboxLimit::MOST);
            }
            Limit::MailboxBytes => self.mailbox_bytes_max = (value != NONE).then_some(value),
        }
    }
}
