//! Making a process: first what can fail, then the slot, then its state.

use std::ptr::NonNull;
use std::sync::Arc;

use lunatic_engine::{Image, Limits, Prepared};
use lunatic_scheduler::{Bounds, Handle, Pid, Process, Worker};

use super::hooks::HOOKS;
use super::{Entry, ProcessState, Wait};
use crate::account::{self, Account, Place};
use crate::api::channel::ChannelTable;
use crate::api::error::ErrorTable;
use crate::api::seed::state::Seed;
use crate::api::wasi::WasiState;
use crate::bind::ShortCalls;
use crate::config::{ConfigRef, STACK_BYTES_MAX};
use crate::forms::ModuleRef;
use crate::kept::Kept;
use crate::message::{Mail, Message};
use crate::node::{NodeInner, RunError};
use crate::reentry::Away;
use crate::registry::Vacancy;
use crate::resources::Resources;
use crate::rights::RightsState;
use crate::ties::ChildTags;

/// Blocks up to this size lie in the process's slot, beside its stack.
const BLOCK_IN_SLOT_BYTES_MAX: usize = 16 * 1024;

/// A process that is to be made.
pub(crate) struct Start<'a> {
    pub(crate) node: Kept<Arc<NodeInner>>,
    pub(crate) module: ModuleRef,
    /// One of the module's forms.
    pub(crate) image: Kept<Image>,
    pub(crate) config: ConfigRef,
    pub(crate) entry: Entry,
    /// Taken when the process is made, left where it is when it cannot be.
    pub(crate) first_message: Option<&'a mut Option<Mail>>,
    /// How it is tied to the process that spawns it.
    pub(crate) tie: Option<(Pid, ChildTags)>,
    /// Its place among its parent's children, if they are counted.
    pub(crate) place: Option<Place>,
    /// What a process of the seed era is born with. Taken as the first message is.
    pub(crate) seed: Option<&'a mut Option<Box<Seed>>>,
    /// The branch that it belongs to; `None`: it begins one.
    pub(crate) branch: Option<Pid>,
    pub(crate) is_main: bool,
}

/// A process that is to be made, with its memory.
pub(crate) struct Ready<'a> {
    start: Start<'a>,
    prepared: Prepared<'a>,
}

impl<'a> Start<'a> {
    /// Makes the process from a worker.
    pub(crate) fn on_worker(self, worker: &Worker<'_, ProcessState>) -> Result<Pid, RunError> {
        self.ready()?.spawn(worker, None)
    }

    /// Does what may take its time.
    pub(crate) fn ready(self) -> Result<Ready<'a>, RunError> {
        Ok(Ready { prepared: self.prepare()?, start: self })
    }

    /// Makes the process from a thread that is no worker.
    pub(crate) fn by_handle(self, handle: &Handle<ProcessState>) -> Result<Pid, RunError> {
        let prepared = self.prepare()?;
        let extra = prepared.block_bytes();
        let bounds = self.config.bounds();
        let stack_bytes = bounds.stack_bytes.or(Some(STACK_BYTES_MAX));
        Ok(handle.spawn_bounded(extra, Bounds { stack_bytes, ..bounds }, |_, me, block| {
            self.state(prepared, me, block)
        })?)
    }

    #[inline]
    fn prepare(&self) -> Result<Prepared<'a>, RunError> {
        let fuel = i64::try_from(account::reductions(self.config.fuel_max)).unwrap_or(i64::MAX);
        let slice = self.node.slice.min(fuel);
        let limits = Limits { memory_bytes_max: self.config.memory_bytes_max, slice };
        Ok(Prepared::new(
            self.image.get(),
            &self.node.get().memory,
            limits,
            BLOCK_IN_SLOT_BYTES_MAX,
        )?)
    }

    fn state(
        self,
        prepared: Prepared<'_>,
        me: Process<ProcessState>,
        block: NonNull<u8>,
    ) -> ProcessState {
        // SAFETY: the block is the process's own part of its slot until `ended` has dropped the
        // state, which holds the image's module; the node keeps the pool; the hooks below take the
        // state's address as their
        // owner.
        let instance = unsafe { prepared.place(block, me.program().cast(), &HOOKS) };
        let (base, bytes) = instance.memory();
        me.tell_memory(base as usize, bytes);
        let branch = self.branch.unwrap_or(me.pid());
        me.tell_group(branch.as_u64());
        let first = self.first_message.as_ref().and_then(|message| message.as_deref());
        let seed = self.seed.as_ref().and_then(|seed| seed.as_ref());
        let held = self.config.bytes()
            + first.map_or(0, Message::bytes)
            + seed.map_or(0, |seed| seed.bytes());
        if held > 0 {
            me.tell_held(held as u64);
        }
        ProcessState {
            entry: self.entry,
            instance,
            me,
            short_calls: ShortCalls::on(&me.stack()),
            exit: None,
            news: None,
            is_main: self.is_main,
            branch,
            scratch: None,
            first_message: self.first_message.and_then(Option::take),
            channels: ChannelTable::default(),
            errors: ErrorTable::default(),
            resources: Resources::default(),
            seed: self.seed.and_then(Option::take),
            rights: RightsState::default(),
            account: Account::new(&self.config, self.place),
            wait: Wait::default(),
            wasi: WasiState::default(),
            config: self.config,
            away: Away::default(),
            module: self.module,
            node: self.node,
        }
    }
}

impl Ready<'_> {
    /// Makes the process. Its links and its name are there before it can run, and if it cannot be
    /// made, there are none.
    #[inline]
    pub(crate) fn spawn(
        self,
        worker: &Worker<'_, ProcessState>,
        name: Option<&Vacancy<'_>>,
    ) -> Result<Pid, RunError> {
        let Self { start, prepared } = self;
        let extra = prepared.block_bytes();
        let bounds = start.config.bounds();
        if start.tie.is_none() && name.is_none() {
            return Ok(worker
                .spawn_bounded(extra, bounds, |_, me, block| start.state(prepared, me, block))?);
        }
        let bounds = Bounds { watched: true, ..bounds };
        Ok(worker.spawn_bounded(extra, bounds, |pid, me, block| {
            let (node, tie) = (start.node, start.tie);
            let state = start.state(prepared, me, block);
            if let Some((parent, tags)) = tie {
                node.get().ties.tie_child(worker, parent, pid, tags);
            }
            if let Some(name) = name {
                node.get().ties.add_name_of_new(pid, name.name());
            }
            state
        })?)
    }
}
