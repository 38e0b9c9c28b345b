//! Which kind of memory a new process gets: guarded ones while few are alive, dense ones beyond.
//!
//! Code for a guarded memory is faster, but each takes 8 GiB of addresses and some mappings, so
//! there are few; code for dense ones is made when they are needed. A spawn never waits for the
//! better form if the other one is there. Half of the guarded memories in use is the sign to make
//! the dense form, in the background; if all are in use before it is there, the spawning process
//! waits for it.

use std::sync::Arc;

use lunatic_engine::{Form, GuardedBudget, GuardedRoom, InstantiateError, MemoryForm, MemoryPool};

use crate::config::ProcessConfig;
use crate::forms::ModuleRef;
use crate::node::{NodeInner, RunError};

/// Guarded memories at most where dense ones are a choice. By feel: a program with so many
/// processes is one with very many, and those should be small.
const GUARDED_BESIDE_DENSE_MAX: usize = 1024;

/// The kinds of memory that processes may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Memories {
    /// Guarded ones while few processes are alive, dense ones beyond.
    #[default]
    Auto,
    /// Guarded ones only: a spawn beyond what there is room for answers an error.
    Guarded,
    /// Dense ones only.
    Dense,
}

impl Memories {
    /// The kind that the main process should have.
    pub(crate) fn first(self) -> MemoryForm {
        match self {
            Self::Dense => MemoryForm::Dense,
            Self::Guarded => MemoryForm::Guarded,
            Self::Auto if GuardedBudget::of_this_program().memories == 0 => MemoryForm::Dense,
            Self::Auto => MemoryForm::Guarded,
        }
    }

    /// What there is room for, of what was asked for; tells the log.
    ///
    /// # Errors
    /// When only guarded memories may be used, and there is no room for one.
    pub(crate) fn settle(self, pool: &MemoryPool) -> Result<Self, RunError> {
        if self == Self::Dense {
            return Ok(self);
        }
        let (budget, room) = (GuardedBudget::of_this_program(), pool.guarded_max());
        if room == 0 && self == Self::Guarded {
            return Err(RunError::NoGuardedMemory);
        }
        if room == 0 {
            tracing::info!("memories are dense: no room for guarded ones ({})", budget.reason);
            return Ok(Self::Dense);
        }
        if self == Self::Guarded {
            tracing::info!("memories are guarded, {room} at most ({})", budget.reason);
            return Ok(self);
        }
        pool.limit_guarded(GUARDED_BESIDE_DENSE_MAX);
        let most = room.min(GUARDED_BESIDE_DENSE_MAX);
        tracing::info!(
            "memories are guarded while there are at most {most}, and dense beyond; there is room \
             for {room} guarded ones ({})",
            budget.reason
        );
        Ok(self)
    }
}

impl NodeInner {
    /// The form in which a new process with this configuration runs the module.
    #[inline]
    pub(crate) fn form_to_spawn(
        self: &Arc<Self>,
        module: &ModuleRef,
        config: &ProcessConfig,
    ) -> Form {
        let form = self.form_for(config);
        if self.memories != Memories::Auto {
            return form;
        }
        let [dense, guarded] =
            [MemoryForm::Dense, MemoryForm::Guarded].map(|memory| Form { memory, ..form });
        match self.memory.guarded_room() {
            GuardedRoom::None => dense,
            room => {
                if room == GuardedRoom::Scarce {
                    self.make_in_background(module, dense);
                }
                if module.ready(guarded).is_some() { guarded } else { self.instead(module, form) }
            }
        }
    }

    /// What runs until the guarded form is there.
    #[cold]
    fn instead(self: &Arc<Self>, module: &ModuleRef, form: Form) -> Form {
        let [dense, guarded] =
            [MemoryForm::Dense, MemoryForm::Guarded].map(|memory| Form { memory, ..form });
        if module.failure(guarded).is_some() {
            return dense;
        }
        if module.ready(dense).is_none() {
            return guarded;
        }
        self.make_in_background(module, guarded);
        dense
    }

    /// Whether a spawn failed only because somebody else took the last guarded memory.
    pub(crate) fn may_spawn_dense(&self, error: &RunError) -> bool {
        self.memories == Memories::Auto
            && matches!(error, RunError::Instantiate(InstantiateError::Memory(memory))
                if memory.is_for_guarded())
    }
}
