//! Laying out an image: the template word by word, and what was initialised before the first instruction runs.

use std::collections::{HashMap, HashSet};

use wasmer::sys::vm::TrapCode;
use wasmer_compiler::ArtifactCreate;
use wasmer_types::{
    DataInitializerLike, DataInitializerLocationLike, ExportIndex, FunctionIndex, GlobalIndex,
    GlobalInit, InitExpr, InitExprOp, LocalGlobalIndex, ModuleInfo, TableIndex, Type, VMOffsets,
    entity::EntityRef,
};

use super::{ExportedFunction, ImageInner, Layout, MemoryPlan, callable, is_null_function};
use crate::abi::{FuncRef, NOWHERE, POINTER_BYTES, assert_layout};
use crate::builtins;
use crate::code_map::Registration;
use crate::compile::Compiled;
use crate::data::InitialData;
use crate::instance::HEADER_BYTES;
use crate::link::{HostFunctions, LinkError};
use crate::memory::PAGE_BYTES;
use crate::os::OS_PAGE_BYTES;
use crate::table::TableState;

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

fn data_bits(module: &ModuleInfo) -> u32 {
    module.passive_data.keys().next_back().map_or(0, |last| last.as_u32() + 1)
}

fn element_bits(module: &ModuleInfo) -> u32 {
    module.passive_elements.keys().map(|index| index.as_u32() + 1).max().unwrap_or(0)
}

/// Binds a compiled module to the host's functions and lays it out.
pub(super) fn build(compiled: Compiled, host: &HostFunctions) -> Result<ImageInner, LinkError> {
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
