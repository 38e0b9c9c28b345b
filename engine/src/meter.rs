//! Yield points: the compiler middleware that makes every function entry and every loop header pay for what follows.
//!
//! The module gets one more global, an `i64` that holds the reductions left in the slice. A check subtracts the static
//! cost of the region that it opens ([`Costs`]) and, when the rest is negative, calls the host:
//!
//! ```wat
//! global.get $reductions  i64.const COST  i64.sub  global.set $reductions
//! global.get $reductions  i64.const 0     i64.lt_s
//! if  data.drop 0xffffffff  end
//! ```
//!
//! Cranelift forwards the store to the second load, so a check is a load, an addition, a store and a branch.
//!
//! Why `data.drop`: a middleware cannot add an import (every function index would shift) nor a table (wasmer fixes table
//! styles before it asks). `data.drop` compiles to an indirect call of *our* builtin with `(vmctx, index)`, and no module
//! can have a segment `u32::MAX`: [`crate::validate`] reads the original bytes, without what is added here, and neither
//! wasmer's translator nor cranelift looks the index up. So the pair (builtin, index) is a door that only we can open.
//!
//! The global comes after all of the module's own, so no index shifts; it is neither exported nor reachable for the guest,
//! since a validated body cannot name an index that its module does not have. Whoever sets an instance up gives it its
//! first value; in the module it is 0, which yields at once.

use std::sync::{Arc, OnceLock};

use wasmer::sys::wasmparser::{BlockType, Operator};
use wasmer::sys::{FunctionMiddleware, MiddlewareError, MiddlewareReaderState, ModuleMiddleware};
use wasmer_types::entity::EntityRef;
use wasmer_types::{
    GlobalIndex, GlobalInit, GlobalType, LocalFunctionIndex, ModuleInfo, Mutability, Type,
};

use crate::validate::Costs;

/// The segment index by which the `data.drop` builtin knows that it was called by a yield point.
pub(crate) const YIELD_SEGMENT: u32 = u32::MAX;

/// For the messages of wasmer.
const NAME: &str = "lunatic yield points";

/// Adds the yield points of one module. Belongs to one compilation: it knows that module's costs.
#[derive(Debug)]
pub(crate) struct Meter {
    costs: Arc<Costs>,
    /// Known once wasmer has shown us the module.
    reductions: OnceLock<GlobalIndex>,
}

impl Meter {
    pub(crate) fn new(costs: Costs) -> Self {
        Self { costs: Arc::new(costs), reductions: OnceLock::new() }
    }
}

/// The global that holds the reductions of a module compiled with yield points: always the last one.
pub(crate) fn reductions_global(module: &ModuleInfo) -> Option<GlobalIndex> {
    module.globals.len().checked_sub(1).map(GlobalIndex::new)
}

impl ModuleMiddleware for Meter {
    fn generate_function_middleware<'a>(
        &self,
        local_function_index: LocalFunctionIndex,
    ) -> Box<dyn FunctionMiddleware<'a> + 'a> {
        Box::new(FunctionMeter {
            costs: Arc::clone(&self.costs),
            function: local_function_index.index(),
            reductions: self.reductions.get().copied(),
            next_region: 0,
        })
    }

    fn transform_module_info(&self, module: &mut ModuleInfo) -> Result<(), MiddlewareError> {
        let global = module.globals.push(GlobalType::new(Type::I64, Mutability::Var));
        module.global_initializers.push(GlobalInit::I64Const(0));
        self.reductions.set(global).map_err(|_| {
            MiddlewareError::new(NAME, "one set of yield points was used for two modules")
        })
    }
}

/// Adds the yield points of one function.
#[derive(Debug)]
struct FunctionMeter {
    costs: Arc<Costs>,
    function: usize,
    reductions: Option<GlobalIndex>,
    /// 0 before the first operator; then one more than the loops seen.
    next_region: usize,
}

impl FunctionMeter {
    /// The check for the next region, if that region wants one.
    fn check(&mut self, state: &mut MiddlewareReaderState<'_>) -> Result<(), MiddlewareError> {
        let disagree = || {
            MiddlewareError::new(
                NAME,
                format!("function {} has regions that nobody counted", self.function),
            )
        };
        let regions = self.costs.of_function(self.function).ok_or_else(disagree)?;
        let cost = *regions.get(self.next_region).ok_or_else(disagree)?;
        let global_index = self.reductions.ok_or_else(disagree)?.as_u32();
        self.next_region += 1;
        if cost > 0 {
            state.extend([
                Operator::GlobalGet { global_index },
                Operator::I64Const { value: i64::from(cost) },
                Operator::I64Sub,
                Operator::GlobalSet { global_index },
                Operator::GlobalGet { global_index },
                Operator::I64Const { value: 0 },
                Operator::I64LtS,
                Operator::If { blockty: BlockType::Empty },
                Operator::DataDrop { data_index: YIELD_SEGMENT },
                Operator::End,
            ]);
        }
        Ok(())
    }
}

impl<'a> FunctionMiddleware<'a> for FunctionMeter {
    fn feed(
        &mut self,
        operator: Operator<'a>,
        state: &mut MiddlewareReaderState<'a>,
    ) -> Result<(), MiddlewareError> {
        if self.next_region == 0 {
            self.check(state)?;
        }
        let opens_region = matches!(operator, Operator::Loop { .. });
        state.push_operator(operator);
        if opens_region {
            // Behind the header, so that every back edge passes it. In dead code the translator skips it like the rest.
            self.check(state)?;
        }
        Ok(())
    }
}
