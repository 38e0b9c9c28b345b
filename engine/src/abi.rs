//! The memory layout that wasmer's compiled code expects, in one place.
//!
//! Compiled code is handed a pointer to a `VMContext` and reaches everything else through offsets
//! that `VMOffsets` computes for the module. We lay that block out ourselves, so the sizes and
//! offsets below are promises between two crates: `wasmer` is pinned to one exact version, and
//! what can be checked is checked when this crate is compiled.
//!
//! ```text
//!   block ─► ┌──────────────────┐
//!            │ InstanceHeader   │  ours: memory slot, limits, hooks (negative offsets of VMContext)
//!   vmctx ─► ├──────────────────┤
//!            │ VMContext        │  wasmer's: imports, tables, memory, globals, builtins
//!            ├──────────────────┤
//!            │ tail             │  ours: table states, table elements, function references
//!            └──────────────────┘
//! ```

use wasmer::sys::vm::{
    VMBuiltinFunctionIndex, VMCallerCheckedAnyfunc, VMContext, VMMemoryDefinition, VMOffsets,
    VMTableDefinition,
};

/// The pointer that compiled code passes as the first argument of every call.
pub type VmCtx = *mut VMContext;

/// Compiled code runs on 64-bit targets only; every offset below is a multiple of this.
pub(crate) const POINTER_BYTES: usize = 8;

/// Number of entries of the builtin array that follows the globals in a `VMContext`.
pub(crate) const BUILTINS: usize =
    VMBuiltinFunctionIndex::builtin_functions_total_number() as usize;

/// Stands for "this module has none" where an offset into the `VMContext` is kept.
pub(crate) const NOWHERE: usize = usize::MAX;

/// A reference to a function as compiled code sees it: 32 bytes, compared by address.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FuncRef {
    /// Machine code, null in an empty slot of an inline table.
    pub(crate) code: usize,
    /// The signature's hash, compared by `call_indirect`.
    pub(crate) signature: u32,
    pub(crate) _padding: u32,
    /// First argument of the call.
    pub(crate) vmctx: usize,
    /// Entry with arguments in an array of 16-byte values.
    pub(crate) trampoline: usize,
}

impl FuncRef {
    /// An empty slot.
    pub(crate) const NULL: Self =
        Self { code: 0, signature: 0, _padding: 0, vmctx: 0, trampoline: 0 };
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<usize>() == POINTER_BYTES);
    assert!(size_of::<FuncRef>() == size_of::<VMCallerCheckedAnyfunc>());
    assert!(offset_of!(FuncRef, code) == offset_of!(VMCallerCheckedAnyfunc, func_ptr));
    assert!(
        offset_of!(FuncRef, signature) == offset_of!(VMCallerCheckedAnyfunc, type_signature_hash)
    );
    assert!(offset_of!(FuncRef, vmctx) == offset_of!(VMCallerCheckedAnyfunc, vmctx));
    assert!(offset_of!(FuncRef, trampoline) == offset_of!(VMCallerCheckedAnyfunc, call_trampoline));
    assert!(size_of::<VMMemoryDefinition>() == 2 * POINTER_BYTES);
    assert!(offset_of!(VMMemoryDefinition, base) == 0);
    assert!(offset_of!(VMMemoryDefinition, current_length) == POINTER_BYTES);
    assert!(size_of::<VMTableDefinition>() == 2 * POINTER_BYTES);
    assert!(BUILTINS == 36);
};

/// Checks at run time what `VMOffsets` only tells at run time.
///
/// # Panics
/// When the pinned wasmer no longer lays a `VMContext` out as this file says.
pub(crate) fn assert_layout(offsets: &VMOffsets) {
    assert_eq!(offsets.size_of_vmfunction_import(), 32, "imported function: four words");
    assert_eq!(offsets.vmfunction_import_body(), 0, "imported function: code comes first");
    assert_eq!(offsets.vmfunction_import_vmctx(), 8, "imported function: then the environment");
    assert_eq!(offsets.size_of_vmglobal_local(), 16, "globals are inline, 16 bytes each");
    assert_eq!(offsets.size_of_vmcaller_checked_anyfunc(), 32, "function references: four words");
    assert_eq!(offsets.vmctx_globals_begin() % 16, 0, "globals are aligned to 16");
}
