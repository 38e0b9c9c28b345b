//! A process image: everything about a module that all its processes share, laid out so that making
//! an instance is one copy.
//!
//! The *template* is the instance's block (see `abi.rs`) as it looks at start, in which every word
//! that points into the block itself holds an offset; `relocations` lists those words. The initial
//! memory is the business of `data.rs`.

mod build;
mod indirect;

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;

use wasmer_types::{
    DataIndex, ElemIndex, ExportIndex, FunctionIndex, FunctionType, Type, VMOffsets,
    entity::EntityRef,
};

use crate::abi::{FuncRef, POINTER_BYTES};
use crate::code_map::Registration;
use crate::compile::Compiled;
use crate::data::InitialData;
use crate::forms::Form;
use crate::link::{HostFunctions, LinkError};
use crate::table::TableState;

pub use indirect::TableFunction;

/// Most elements of one table, whatever the module says.
pub(crate) const TABLE_ELEMENTS_MAX: u32 = 10_000_000;

/// How wasmer writes `ref.null` in an element segment.
pub(crate) fn is_null_function(index: FunctionIndex) -> bool {
    index.as_u32() == u32::MAX
}

/// A module that is linked with the host's functions and ready to become instances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Image(Arc<ImageInner>);

/// What an image is made of.
#[derive(Debug)]
pub(crate) struct ImageInner {
    // Dropped before the code it lists.
    _registration: Registration,
    compiled: Compiled,
    /// The block at start, in 16-byte units so that it is aligned.
    template: Box<[u128]>,
    /// Offsets of the words that hold an offset from the block.
    relocations: Box<[u32]>,
    layout: Layout,
    memory: MemoryPlan,
    data: InitialData,
    exports: HashMap<String, ExportIndex>,
    /// Sorted by length, then name: found in a few comparisons, mostly of numbers.
    functions: Box<[ExportedFunction]>,
    start: Option<Callable>,
    /// Function references that the template holds: function index to offset in the block.
    funcrefs: HashMap<u32, u32>,
    function_by_code: HashMap<usize, u32>,
    host_code: Box<[usize]>,
}

/// Where things are in a block, in bytes from its start.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// From the `VMContext`; `NOWHERE` in code without yield points.
    reductions_offset: usize,
    /// From the `VMContext`; `NOWHERE` if the module has no such global, or it is not known which.
    shadow_stack_offset: usize,
    dropped: usize,
    data_bits: u32,
    dropped_bits: u32,
    tables: usize,
    table_count: usize,
}

/// How much memory an instance begins with and may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryPlan {
    pub(crate) bytes_min: usize,
    pub(crate) pages_max: usize,
    /// From the `VMContext`; `NOWHERE` for a module without memory.
    pub(crate) definition_offset: usize,
}

/// A function of an image, ready to be called in an instance of that image.
#[derive(Debug, Clone, Copy)]
pub struct Callable {
    pub(crate) code: usize,
    pub(crate) trampoline: usize,
    signature: u32,
}

/// An exported function, with what its callers have to know.
#[derive(Debug)]
pub struct ExportedFunction {
    name: Box<str>,
    /// To be called in an instance of the image.
    pub callable: Callable,
    /// Types of its parameters.
    pub params: Box<[Type]>,
    /// How many values it takes or gives, whichever are more.
    pub values: usize,
}

impl Image {
    /// Binds a compiled module to the host's functions.
    ///
    /// # Errors
    /// An import that nobody provides or that has another type; a data or element segment outside
    /// of its memory or table.
    pub fn new(compiled: Compiled, host: &HostFunctions) -> Result<Self, LinkError> {
        let inner = build::build(compiled, host)?;
        Ok(Self(Arc::new(inner)))
    }

    /// Size of the block that [`crate::Prepared::place`] wants, aligned to 16.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        size_of_val(&*self.0.template)
    }

    /// The exported function of this name.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<Callable> {
        self.exported(name.as_bytes()).map(|function| function.callable)
    }

    /// The same with its type, by the bytes of its name.
    #[must_use]
    pub fn exported(&self, name: &[u8]) -> Option<&ExportedFunction> {
        self.0.exported(name)
    }

    /// The type of a function of this image.
    #[must_use]
    pub fn function_type(&self, function: Callable) -> &FunctionType {
        self.0.function_type(function)
    }

    /// What its code was compiled for.
    #[must_use]
    pub fn form(&self) -> Form {
        self.0.compiled.form()
    }

    /// The function that runs before any other in each instance.
    #[must_use]
    pub fn start(&self) -> Option<Callable> {
        self.0.start()
    }

    /// Names of the exported functions.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        self.0.functions.iter().map(|function| &*function.name)
    }

    /// The offset of an exported global in bytes from the `VMContext`, and its type.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<(usize, Type)> {
        let ExportIndex::Global(index) = self.0.exports.get(name)? else { return None };
        let module = self.0.compiled.module();
        let local = module.local_global_index(*index)?;
        let offsets = VMOffsets::new(POINTER_BYTES as u8, module);
        Some((offsets.vmctx_vmglobal_definition(local) as usize, module.globals[*index].ty))
    }

    /// Whether the linear memory is exported under the name that WASI asks for.
    #[must_use]
    pub fn exports_memory(&self) -> bool {
        matches!(self.0.exports.get("memory"), Some(ExportIndex::Memory(_)))
    }

    /// Writes a fresh block.
    ///
    /// # Safety
    /// `block` is aligned to 16, holds [`Self::block_bytes`] bytes and is nobody else's.
    pub(crate) unsafe fn stamp(&self, block: NonNull<u8>) {
        let inner = &*self.0;
        let bytes = size_of_val(&*inner.template);
        // SAFETY: the block has room, by the caller's promise, and does not overlap the template.
        unsafe {
            inner.template.as_ptr().cast::<u8>().copy_to_nonoverlapping(block.as_ptr(), bytes)
        };
        let base = block.as_ptr() as usize;
        for &offset in &inner.relocations {
            let word: *mut usize = block.as_ptr().wrapping_add(offset as usize).cast();
            // SAFETY: the builder lists aligned words inside the template only.
            unsafe { *word += base };
        }
    }

    /// What an instance's memory holds at the start.
    pub(crate) fn data(&self) -> &InitialData {
        &self.0.data
    }

    pub(crate) fn memory_plan(&self) -> MemoryPlan {
        self.0.memory
    }

    pub(crate) fn reductions_offset(&self) -> usize {
        self.0.layout.reductions_offset
    }

    pub(crate) fn dropped_in(&self, block: NonNull<u8>) -> *mut u64 {
        block.as_ptr().wrapping_add(self.0.layout.dropped).cast()
    }

    pub(crate) fn tables_in(&self, block: NonNull<u8>) -> *mut TableState {
        block.as_ptr().wrapping_add(self.0.layout.tables).cast()
    }

    pub(crate) fn as_ptr(&self) -> *const ImageInner {
        Arc::as_ptr(&self.0)
    }
}

impl ImageInner {
    /// The exported function of this name.
    pub(crate) fn exported(&self, name: &[u8]) -> Option<&ExportedFunction> {
        let functions = &self.functions;
        let order = |function: &ExportedFunction| {
            let known = function.name.as_bytes();
            known.len().cmp(&name.len()).then_with(|| known.cmp(name))
        };
        let at = functions.binary_search_by(order);
        at.ok().map(|at| &functions[at])
    }

    pub(crate) fn function_type(&self, function: Callable) -> &FunctionType {
        let module = self.compiled.module();
        &module.signatures[wasmer_types::SignatureIndex::from_u32(function.signature)]
    }

    pub(crate) fn start(&self) -> Option<Callable> {
        self.start
    }

    pub(crate) fn table_count(&self) -> usize {
        self.layout.table_count
    }

    /// Where the global is in which LLVM's code keeps its stack pointer, from the `VMContext`.
    pub(crate) fn shadow_stack_offset(&self) -> usize {
        self.layout.shadow_stack_offset
    }

    /// Offset of the reference that the template holds for a function.
    pub(crate) fn funcref_offset(&self, function: u32) -> Option<u32> {
        self.funcrefs.get(&function).copied()
    }

    /// The function whose code begins at this address.
    pub(crate) fn function_at(&self, code: usize) -> Option<u32> {
        self.function_by_code.get(&code).copied()
    }

    /// A reference to a function, for an instance with this context.
    pub(crate) fn funcref(&self, function: u32, vmctx: usize) -> FuncRef {
        let callable = self.callable(FunctionIndex::from_u32(function));
        FuncRef {
            code: callable.code,
            signature: self.signature_hash(callable.signature),
            _padding: 0,
            vmctx,
            trampoline: callable.trampoline,
        }
    }

    fn signature_hash(&self, signature: u32) -> u32 {
        let module = self.compiled.module();
        module.signature_hashes[wasmer_types::SignatureIndex::from_u32(signature)].as_u32()
    }

    fn callable(&self, index: FunctionIndex) -> Callable {
        callable(&self.compiled, &self.host_code, index)
    }

    /// A passive data segment; active and dropped ones are empty.
    pub(crate) fn passive_data(&self, segment: u32) -> &[u8] {
        let index = DataIndex::from_u32(segment);
        self.compiled.module().passive_data.get(&index).map_or(&[], |bytes| bytes)
    }

    /// A passive element segment; active and declared ones are empty.
    pub(crate) fn passive_elements(&self, segment: u32) -> &[FunctionIndex] {
        let index = ElemIndex::from_u32(segment);
        self.compiled.module().passive_elements.get(&index).map_or(&[], |elements| elements)
    }

    /// Bits of `dropped` in all.
    pub(crate) fn dropped_bits(&self) -> u32 {
        self.layout.dropped_bits
    }

    /// Bits of `dropped` that stand for data segments; those of elements follow.
    pub(crate) fn data_bits(&self) -> u32 {
        self.layout.data_bits
    }
}

fn callable(compiled: &Compiled, host_code: &[usize], index: FunctionIndex) -> Callable {
    let module = compiled.module();
    let artifact = compiled.artifact();
    let signature = module.functions[index];
    let code = match module.local_func_index(index) {
        Some(local) => artifact.finished_functions()[local].0 as usize,
        None => host_code[index.index()],
    };
    let trampoline = artifact.finished_function_call_trampolines()[signature] as *const () as usize;
    Callable { code, trampoline, signature: signature.as_u32() }
}
