//! Making an instance: what can fail first, then its block.

use std::ptr::NonNull;

use super::{Hooks, Instance, InstanceHeader};
use crate::abi::NOWHERE;
use crate::forms::MemoryForm;
use crate::image::Image;
use crate::memory::{MemoryError, MemoryPool, MemorySlot, PAGE_BYTES};

/// Limits of one instance.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of linear memory; most bytes of tables, too.
    pub memory_bytes_max: usize,
    /// Reductions of one slice, about one wasm instruction each.
    pub slice: i64,
}

/// An instance could not be made. Whoever knows how a limit is set says how it is raised.
#[derive(Debug, thiserror::Error)]
pub enum InstantiateError {
    /// The module wants more memory than the process may have.
    #[error("the module declares {wanted} bytes of memory, the limit of this process is {limit}")]
    MemoryLimit {
        /// Declared minimum.
        wanted: usize,
        /// [`Limits::memory_bytes_max`].
        limit: usize,
    },
    /// The module's tables are larger than the process's memory may be.
    #[error(
        "the module's tables take {bytes} bytes from the start, the limit of this process is {limit}, \
         as for its memory"
    )]
    TableLimit {
        /// Size of the instance's block.
        bytes: usize,
        /// [`Limits::memory_bytes_max`].
        limit: usize,
    },
    /// No room for the tables of the module.
    #[error("no memory for an instance with tables of {bytes} bytes; end some processes")]
    Block {
        /// Size of the instance's block.
        bytes: usize,
    },
    /// All processes together have what they may have.
    #[error(
        "no room for a process with {wanted} bytes of memory: all processes together have {used}, and \
         may have {limit}"
    )]
    TotalMemory {
        /// Declared minimum, and a block of tables that is too large for the process's slot.
        wanted: usize,
        /// What is in use.
        used: u64,
        /// [`Room::limit`](crate::Room::limit).
        limit: u64,
    },
    /// No memory to be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Everything an instance needs but the place for its block: what can fail has been done.
pub struct Prepared<'a> {
    image: &'a Image,
    pool: &'a MemoryPool,
    limits: Limits,
    slot: Option<MemorySlot>,
    /// Bytes taken of the pool's room.
    charged: u64,
    own_block: Option<Box<[u128]>>,
}

impl<'a> Prepared<'a> {
    /// Takes a memory for an instance of `image`, and a block on the heap if it would be larger
    /// than `block_bytes_max`.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(
        image: &'a Image,
        pool: &'a MemoryPool,
        limits: Limits,
        block_bytes_max: usize,
    ) -> Result<Self, InstantiateError> {
        let plan = image.memory_plan();
        if plan.bytes_min > limits.memory_bytes_max {
            return Err(InstantiateError::MemoryLimit {
                wanted: plan.bytes_min,
                limit: limits.memory_bytes_max,
            });
        }
        let charged = take_room(pool, plan.bytes_min)?;
        let mut new = Self { image, pool, limits, slot: None, charged, own_block: None };
        let bytes = image.block_bytes();
        if bytes > block_bytes_max {
            let limit = limits.memory_bytes_max;
            if bytes > limit {
                return Err(InstantiateError::TableLimit { bytes, limit });
            }
            // Unlike a declared memory, all of it is touched at once.
            if !pool.room().take(bytes as u64) {
                return Err(no_room(pool, plan.bytes_min + bytes));
            }
            new.charged += bytes as u64;
            new.own_block = Some(heap_block(bytes)?);
        }
        new.slot = match image.form().memory {
            _ if plan.definition_offset == NOWHERE => None,
            // Even an empty one: that is what faults.
            MemoryForm::Guarded => Some(pool.allocate_guarded(plan.bytes_min, Some(image.data()))?),
            MemoryForm::Dense if plan.bytes_min == 0 => None,
            MemoryForm::Dense => Some(pool.allocate(plan.bytes_min, Some(image.data()))?),
        };
        Ok(new)
    }

    /// Bytes that [`Self::place`] wants to be given.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        if self.own_block.is_some() { 0 } else { self.image.block_bytes() }
    }

    /// Makes the instance.
    ///
    /// # Safety
    /// - `block` is aligned to 16, holds [`Self::block_bytes`] bytes, and nobody else uses it until
    ///   the instance is dropped.
    /// - The image and the pool outlive the instance.
    /// - `hooks` can be called with `owner` while compiled code runs.
    pub unsafe fn place(
        mut self,
        block: NonNull<u8>,
        owner: *mut (),
        hooks: &'static Hooks,
    ) -> Instance {
        let image = self.image;
        let mut own_block = self.own_block.take();
        let block = own_block.as_mut().map_or(block, |own| NonNull::from(&mut **own).cast());
        // SAFETY: forwards the caller's promise, or it is our own block.
        unsafe { image.stamp(block) };
        let plan = image.memory_plan();
        let header = block.cast::<InstanceHeader>();
        let fresh = InstanceHeader {
            owner,
            hooks,
            image: image.as_ptr(),
            pool: self.pool,
            slot: self.slot.take(),
            charged: std::mem::take(&mut self.charged),
            pages_max: plan.pages_max.min(self.limits.memory_bytes_max / PAGE_BYTES),
            memory_offset: plan.definition_offset,
            reductions_offset: image.reductions_offset(),
            slice: self.limits.slice,
            reductions_done: 0,
            dropped: image.dropped_in(block),
            tables: image.tables_in(block),
            table_bytes: 0,
            table_bytes_max: self.limits.memory_bytes_max as u64,
            funcrefs: None,
            _padding: 0,
            exit_frame_pointer: 0,
            exit_stack_pointer: 0,
        };
        // SAFETY: the block begins with room for a header, aligned; the old contents are bytes.
        unsafe { header.write(fresh) };
        let mut instance = Instance { header, _own_block: own_block };
        instance.place_memory(plan.bytes_min);
        if let Some(reductions) = instance.reductions() {
            // SAFETY: points at the reductions global of this block.
            unsafe { reductions.write(self.limits.slice) };
        }
        instance
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.release(slot, self.image.memory_plan().bytes_min);
        }
        self.pool.room().give(self.charged);
    }
}

/// Room for what a module declares: how much of it was taken.
#[inline]
fn take_room(pool: &MemoryPool, bytes: usize) -> Result<u64, InstantiateError> {
    let room = pool.room();
    let charge = room.birth_charge(bytes);
    if charge == 0 && !room.is_full() || charge > 0 && room.take(charge) {
        return Ok(charge);
    }
    if charge == 0 {
        room.note_refusal();
    }
    Err(no_room(pool, bytes))
}

#[cold]
fn no_room(pool: &MemoryPool, wanted: usize) -> InstantiateError {
    let (used, limit) = (pool.room().used_or_taken(), pool.room().limit());
    InstantiateError::TotalMemory { wanted, used, limit }
}

/// A block that is too large for its owner's place.
fn heap_block(bytes: usize) -> Result<Box<[u128]>, InstantiateError> {
    let mut block = Vec::new();
    let units = bytes / size_of::<u128>();
    block.try_reserve_exact(units).map_err(|_| InstantiateError::Block { bytes })?;
    block.resize(units, 0);
    Ok(block.into_boxed_slice())
}
