//! A process image: everything about a module that all its processes share, laid out so that making
//! an instance is one copy.
//!
//! The *template* is the instance's block (see `abi.rs`) as it looks at start, in which every word
//! that points into the block itself holds an offset; `relocations` lists those words. The initial
//! memory is the business of `data.rs`.

mod indirect;

use std::collections::{HashMap, HashSet};
use std::ptr::NonNull;
use std::sync::Arc;

use wasmer_types::{
    DataIndex, DataInitializerLike, DataInitializerLocationLike, ElemIndex, ExportIndex,
    FunctionIndex, FunctionType, GlobalIndex, GlobalInit, InitExpr, InitExprOp, LocalGlobalIndex,
    ModuleInfo, TableIndex, Type, VMOffsets, entity::EntityRef,
};

use wasmer::sys::vm::TrapCode;
use wasmer_compiler::ArtifactCreate;

use crate::abi::{FuncRef, NOWHERE, POINTER_BYTES, assert_layout};
use crate::builtins;
use crate::code_map::Registration;
use crate::compile::Compiled;
use crate::data::InitialData;
use crate::forms::Form;
use crate::instance::HEADER_BYTES;
use crate::link::{HostFunctions, LinkError};
use crate::memory::PAGE_BYTES;
use crate::os::OS_PAGE_BYTES;
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

/// Builds an [`ImageInner`]; the fields are what grows on the way.
struct Builder<'a> {
    compiled: &'a Compiled,
    module: &'a ModuleInfo,
    offsets: VMOffsets,
    block: Vec<u8>,
    relocations: Vec<u32>,
    host_code: Vec<usize>,
    funcrefs: HashMap<u32, u32>,
}

impl Image {
    /// Binds a compiled module to the host's functions.
    ///
    /// # Errors
    /// An import that nobody provides or that has another type; a data or element segment outside
    /// of its memory or table.
    pub fn new(compiled: Compiled, host: &HostFunctions) -> Result<Self, LinkError> {
        let inner = build(compiled, host)?;
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

fn data_bits(module: &ModuleInfo) -> u32 {
    module.passive_data.keys().next_back().map_or(0, |last| last.as_u32() + 1)
}

fn element_bits(module: &ModuleInfo) -> u32 {
    module.passive_elements.keys().map(|index| index.as_u32() + 1).max().unwrap_or(0)
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

fn build(compiled: Compiled, host: &HostFunctions) -> Result<ImageInner, LinkError> {
    let module = compiled.module();
    let host_code = host.resolve(module)?;
    let offsets = VMOffsets::new(POINTER_BYTES as u8, module);
    assert_layout(&offsets);
    let block_bytes = HEADER_BYTES + offsets.size_of_vmctx() as usize;
    let mut builder = Builder {
        compiled: &compiled,
        module,
        offsets,
        block: vec![0; block_bytes],
        relocations: Vec::new(),
        host_code,
        funcrefs: HashMap::new(),
    };
    builder.imports();
    builder.builtins();
    builder.globals()?;
    let dropped = builder.dropped();
    let tables = builder.tables()?;
    let memory = builder.memory_plan();
    let data = builder.data(&memory)?;
    let reductions_offset = builder.reductions_offset();
    let shadow_stack_offset = builder.shadow_stack_offset();
    let template = builder.template();
    let Builder { relocations, host_code, funcrefs, .. } = builder;

    let functions = exported_functions(&compiled, &host_code);
    let start = module.start_function.map(|index| callable(&compiled, &host_code, index));
    let function_by_code = (0..module.functions.len() as u32)
        .rev() // Imports bound to one host function share their code: the first stands for all.
        .map(|index| (callable(&compiled, &host_code, FunctionIndex::from_u32(index)).code, index))
        .collect();
    Ok(ImageInner {
        _registration: Registration::new(compiled.artifact()),
        template,
        relocations: relocations.into(),
        layout: Layout {
            reductions_offset,
            shadow_stack_offset,
            dropped,
            data_bits: data_bits(module),
            dropped_bits: data_bits(module) + element_bits(module),
            tables,
            table_count: module.tables.len(),
        },
        memory,
        data,
        exports: module.exports.iter().map(|(name, &index)| (name.clone(), index)).collect(),
        functions,
        start,
        funcrefs,
        function_by_code,
        host_code: host_code.into(),
        compiled,
    })
}

fn exported_functions(compiled: &Compiled, host_code: &[usize]) -> Box<[ExportedFunction]> {
    let module = compiled.module();
    let mut functions: Vec<_> = module
        .exports
        .iter()
        .filter_map(|(name, export)| {
            let ExportIndex::Function(index) = export else { return None };
            let ty = &module.signatures[module.functions[*index]];
            Some(ExportedFunction {
                name: name.as_str().into(),
                callable: callable(compiled, host_code, *index),
                params: ty.params().into(),
                values: ty.params().len().max(ty.results().len()),
            })
        })
        .collect();
    functions.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    functions.into()
}

impl Builder<'_> {
    fn put(&mut self, offset: usize, word: usize) {
        self.block[offset..offset + POINTER_BYTES].copy_from_slice(&word.to_le_bytes());
    }

    /// A word that will hold the address of `target`, an offset in the block.
    fn put_address(&mut self, offset: usize, target: usize) {
        self.put(offset, target);
        self.relocations.push(u32::try_from(offset).expect("blocks are far below 4 GiB"));
    }

    fn vmctx(offset: u32) -> usize {
        HEADER_BYTES + offset as usize
    }

    fn put_funcref(&mut self, offset: usize, function: FunctionIndex) {
        let callable = callable(self.compiled, &self.host_code, function);
        let signature = wasmer_types::SignatureIndex::from_u32(callable.signature);
        self.put(offset, callable.code);
        self.put(offset + 8, self.module.signature_hashes[signature].as_u32() as usize);
        self.put_address(offset + 16, HEADER_BYTES);
        self.put(offset + 24, callable.trampoline);
    }

    /// The offset of a reference to `function`, made in the tail if there is none yet.
    fn funcref(&mut self, function: FunctionIndex) -> usize {
        if let Some(&offset) = self.funcrefs.get(&function.as_u32()) {
            return offset as usize;
        }
        let offset = self.extend(size_of::<FuncRef>());
        self.put_funcref(offset, function);
        let known = u32::try_from(offset).expect("blocks are far below 4 GiB");
        self.funcrefs.insert(function.as_u32(), known);
        offset
    }

    /// More zeroed bytes at the end of the block, aligned to 16.
    fn extend(&mut self, bytes: usize) -> usize {
        let offset = self.block.len().next_multiple_of(16);
        self.block.resize(offset + bytes, 0);
        offset
    }

    fn imports(&mut self) {
        for index in 0..self.module.num_imported_functions {
            let function = FunctionIndex::from_u32(index as u32);
            let import = Self::vmctx(self.offsets.vmctx_vmfunction_import(function));
            self.put(import, self.host_code[index]);
            self.put_address(import + 8, HEADER_BYTES);
        }
    }

    fn builtins(&mut self) {
        let begin = Self::vmctx(self.offsets.vmctx_builtin_functions_begin());
        for (index, address) in builtins::addresses().into_iter().enumerate() {
            self.put(begin + index * POINTER_BYTES, address);
        }
    }

    fn globals(&mut self) -> Result<(), LinkError> {
        let module = self.module;
        let mut references: HashSet<usize> = HashSet::new();
        for (index, init) in module.global_initializers.iter() {
            let offset = self.global_offset(index);
            match init {
                GlobalInit::I32Const(value) => self.put(offset, value.cast_unsigned() as usize),
                GlobalInit::I64Const(value) => self.put(offset, value.cast_unsigned() as usize),
                GlobalInit::F32Const(value) => self.put(offset, value.to_bits() as usize),
                GlobalInit::F64Const(value) => self.put(offset, value.to_bits() as usize),
                GlobalInit::V128Const(value) => {
                    self.block[offset..offset + 16].copy_from_slice(value.bytes());
                }
                GlobalInit::GetGlobal(source) => {
                    let source = self.local_global(*source)?;
                    self.block.copy_within(source..source + 16, offset);
                    if references.contains(&source) {
                        references.insert(offset);
                        self.relocations.push(offset as u32);
                    }
                }
                GlobalInit::RefNullConst => {}
                GlobalInit::RefFunc(function) => {
                    let target = self.funcref(*function);
                    self.put_address(offset, target);
                    references.insert(offset);
                }
                GlobalInit::Expr(expression) => {
                    let value = self.evaluate(expression)?;
                    self.put(offset, value.cast_unsigned() as usize);
                }
            }
        }
        Ok(())
    }

    fn global_offset(&self, index: LocalGlobalIndex) -> usize {
        Self::vmctx(self.offsets.vmctx_vmglobal_definition(index))
    }

    fn local_global(&self, index: wasmer_types::GlobalIndex) -> Result<usize, LinkError> {
        let local = self.module.local_global_index(index).ok_or(LinkError::ImportedGlobal)?;
        Ok(self.global_offset(local))
    }

    /// A constant expression; 32-bit results are zero-extended.
    fn evaluate(&self, expression: &InitExpr) -> Result<i64, LinkError> {
        let mut stack: Vec<i64> = Vec::new();
        let mut is_32_bit = false;
        for op in expression.ops() {
            is_32_bit = op.is_32bit_expression();
            let value = match *op {
                InitExprOp::I32Const(value) => i64::from(value),
                InitExprOp::I64Const(value) => value,
                InitExprOp::GlobalGetI32(index) | InitExprOp::GlobalGetI64(index) => {
                    let offset = self.local_global(index)?;
                    let bytes = self.block[offset..offset + 8].try_into().expect("eight bytes");
                    i64::from_le_bytes(bytes)
                }
                _ => {
                    let right = stack.pop().unwrap_or_default();
                    let left = stack.pop().unwrap_or_default();
                    match op {
                        InitExprOp::I32Add | InitExprOp::I64Add => left.wrapping_add(right),
                        InitExprOp::I32Sub | InitExprOp::I64Sub => left.wrapping_sub(right),
                        _ => left.wrapping_mul(right),
                    }
                }
            };
            stack.push(value);
        }
        let value = stack.pop().unwrap_or_default();
        Ok(if is_32_bit { i64::from(value as u32) } else { value })
    }

    /// A start offset: an unsigned 32-bit number.
    fn evaluate_offset(&self, expression: &InitExpr) -> Result<usize, LinkError> {
        Ok(self.evaluate(expression)? as u32 as usize)
    }

    /// Bits for the segments that `data.drop` and `elem.drop` mark.
    fn dropped(&mut self) -> usize {
        let bits = data_bits(self.module) + element_bits(self.module);
        self.extend((bits as usize).div_ceil(64) * 8)
    }

    fn tables(&mut self) -> Result<usize, LinkError> {
        let states = self.extend(self.module.tables.len() * size_of::<TableState>());
        let module = self.module;
        for (index, table) in module.tables.iter() {
            let local = module.local_table_index(index).ok_or(LinkError::ImportedTable)?;
            let definition = self.offsets.vmctx_vmtable_definition(local);
            let inline = self.offsets.vmctx_fixed_funcref_table_anyfuncs(local);
            let elements = match inline {
                Some(offset) => Self::vmctx(offset),
                None => self.extend(table.minimum as usize * POINTER_BYTES),
            };
            let state = TableState::template(
                elements,
                table.minimum,
                table.maximum,
                inline.is_some(),
                definition,
            );
            self.put_state(states + index.index() * size_of::<TableState>(), &state);
            self.put_address(Self::vmctx(definition), elements);
            self.put(Self::vmctx(definition) + POINTER_BYTES, table.minimum as usize);
            self.fill_table(index, elements, inline.is_some())?;
        }
        Ok(states)
    }

    fn put_state(&mut self, offset: usize, state: &TableState) {
        let (words, bytes) = (std::ptr::from_ref(state).cast::<u8>(), size_of::<TableState>());
        // SAFETY: a plain structure of integers and a pointer; its padding is copied as it is.
        let image = unsafe { std::slice::from_raw_parts(words, bytes) };
        self.block[offset..offset + bytes].copy_from_slice(image);
        let elements = std::mem::offset_of!(TableState, elements);
        self.relocations.push((offset + elements) as u32);
    }

    /// Applies the active element segments of one table.
    fn fill_table(
        &mut self,
        table: TableIndex,
        elements: usize,
        inline: bool,
    ) -> Result<(), LinkError> {
        let module = self.module;
        let minimum = module.tables[table].minimum as usize;
        // A later segment may overwrite an earlier one's elements: only the last one counts.
        let mut functions: Vec<Option<FunctionIndex>> = vec![None; minimum];
        for segment in module.table_initializers.iter().filter(|s| s.table_index == table) {
            let start = self.evaluate_offset(&segment.offset_expr)?;
            let end = start + segment.elements.len();
            let Some(place) = functions.get_mut(start..end) else {
                return Err(LinkError::Segment {
                    code: TrapCode::TableAccessOutOfBounds,
                    what: "element",
                    start,
                    len: segment.elements.len(),
                    limit: minimum,
                });
            };
            for (to, &function) in place.iter_mut().zip(&segment.elements) {
                *to = (!is_null_function(function)).then_some(function);
            }
        }
        for (at, function) in functions.into_iter().enumerate() {
            match function {
                Some(function) if inline => {
                    self.put_funcref(elements + at * size_of::<FuncRef>(), function);
                }
                Some(function) => {
                    let target = self.funcref(function);
                    self.put_address(elements + at * POINTER_BYTES, target);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn memory_plan(&self) -> MemoryPlan {
        let Some((index, memory)) = self.module.memories.iter().next() else {
            return MemoryPlan { bytes_min: 0, pages_max: 0, definition_offset: NOWHERE };
        };
        let local = self
            .module
            .local_memory_index(index)
            .expect("imported memories are refused before this");
        let pages_max = memory.maximum.map_or(65_536, |pages| pages.0 as usize);
        MemoryPlan {
            bytes_min: memory.minimum.0 as usize * PAGE_BYTES,
            pages_max,
            definition_offset: self.offsets.vmctx_vmmemory_definition(local) as usize,
        }
    }

    /// Applies the active data segments and keeps what is not zero.
    fn data(&self, plan: &MemoryPlan) -> Result<InitialData, LinkError> {
        let mut pages: HashMap<usize, Box<[u8; OS_PAGE_BYTES]>> = HashMap::new();
        for segment in self.compiled.artifact().data_initializers() {
            let start = self.evaluate_offset(&segment.location().offset_expr())?;
            let bytes = segment.data();
            if start + bytes.len() > plan.bytes_min {
                return Err(LinkError::Segment {
                    code: TrapCode::HeapAccessOutOfBounds,
                    what: "data",
                    start,
                    len: bytes.len(),
                    limit: plan.bytes_min,
                });
            }
            let mut at = start;
            let mut rest = bytes;
            while !rest.is_empty() {
                let (page, offset) = (at / OS_PAGE_BYTES, at % OS_PAGE_BYTES);
                let (now, later) = rest.split_at(rest.len().min(OS_PAGE_BYTES - offset));
                let page = pages.entry(page).or_insert_with(|| Box::new([0; OS_PAGE_BYTES]));
                page[offset..offset + now.len()].copy_from_slice(now);
                at += now.len();
                rest = later;
            }
        }
        Ok(InitialData::new(pages))
    }

    fn reductions_offset(&self) -> usize {
        let global = self.compiled.reductions_global();
        global
            .and_then(|index| self.module.local_global_index(index))
            .map_or(NOWHERE, |local| self.offsets.vmctx_vmglobal_definition(local) as usize)
    }

    /// The global in which LLVM's code keeps the stack pointer of its linear memory: exported as
    /// `__stack_pointer` or, as linkers do unless told otherwise, the first one and not exported.
    fn shadow_stack_offset(&self) -> usize {
        let module = self.module;
        let index = match module.exports.get("__stack_pointer") {
            Some(ExportIndex::Global(index)) => *index,
            _ => GlobalIndex::from_u32(0),
        };
        let is_pointer = module
            .globals
            .get(index)
            .is_some_and(|global| global.ty == Type::I32 && global.mutability.is_mutable());
        let exported = module.exports.iter().any(|(name, export)| {
            *export == ExportIndex::Global(index) && name != "__stack_pointer"
        });
        match module.local_global_index(index) {
            Some(local) if is_pointer && !exported => {
                self.offsets.vmctx_vmglobal_definition(local) as usize
            }
            _ => NOWHERE,
        }
    }

    fn template(&mut self) -> Box<[u128]> {
        self.extend(0);
        let mut template = vec![0_u128; self.block.len().div_ceil(16)].into_boxed_slice();
        for (unit, bytes) in template.iter_mut().zip(self.block.chunks(16)) {
            let mut whole = [0; 16];
            whole[..bytes.len()].copy_from_slice(bytes);
            *unit = u128::from_ne_bytes(whole);
        }
        template
    }
}
