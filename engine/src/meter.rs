//! Yield points: the compiler middleware that makes every function entry and every loop header pay
//! for what follows.
//!
//! The module gets one more global, an `i64` that holds the reductions left in the slice. A check
//! takes the static cost of the region that it opens ([`Costs`]) and calls the host when the global
//! is negative. At a function's entry it pays first:
//!
//! ```wat
//! global.get $reductions  i64.const COST  i64.sub  global.set $reductions
//! global.get $reductions  i64.const 0     i64.lt_s
//! if  data.drop 0xffffffff  end
//! ```
//!
//! At a loop's header it asks first, and goes back to the header when the host has answered:
//!
//! ```wat
//! loop $again
//!   global.get $reductions  i64.const 0  i64.lt_s
//!   if  data.drop 0xffffffff  br $again  end
//!   global.get $reductions  i64.const COST  i64.sub  global.set $reductions
//! ```
//!
//! The jump back is for cranelift's sake: the call then leads nowhere but to the header, so its
//! block is laid out behind the loop, and the loop falls through `mov; test; jl; sub [mem], COST`.
//! Time against the same code without checks, on a Xeon at 2.5 GHz (the least of 2,400 short runs):
//!
//! | shape              | fib  | integers | sieve | f32 matrix |
//! | ------------------ | ---- | -------- | ----- | ---------- |
//! | pays first         | 1.13 | 1.01     | 1.79  | 1.31       |
//! | asks first         | 1.31 | 1.02     | 1.63  | 1.25       |
//! | as here, each once | 1.13 | 1.00     | 1.68  | 1.01       |
//!
//! What is left in the sieve is the counter's way through memory, about five cycles for each turn
//! of a loop that takes three. A middleware cannot add a local to keep it in a register.
//!
//! A loop that paid first and jumped back could also starve: with a slice below its cost it would
//! be in debt again at each return to the header. A loop with parameters takes the first shape,
//! because a jump to it would need them on the stack.
//!
//! Why `data.drop`: a middleware cannot add an import (every function index would shift) nor a
//! table (wasmer fixes table styles before it asks). `data.drop` compiles to an indirect call of
//! *our* builtin with `(vmctx, index)`, and no module can have a segment `u32::MAX`:
//! [`crate::validate`] reads the original bytes, without what is added here, and neither wasmer's
//! translator nor cranelift looks the index up. So the pair (builtin, index) is a door that only we
//! can open.
//!
//! The global comes after all of the module's own, so no index shifts; it is neither exported nor
//! reachable for the guest, since a validated body cannot name an index that its module does not
//! have. Whoever sets an instance up gives it its first value; in the module it is 0, which yields
//! at once.

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

/// The global that holds the reductions of a module compiled with yield points: always the last
/// one.
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

/// Where a check stands, which decides its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where there is no header to go back to.
    Straight,
    /// At the header of a loop without parameters.
    Header,
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
    fn check(
        &mut self,
        place: Place,
        state: &mut MiddlewareReaderState<'_>,
    ) -> Result<(), MiddlewareError> {
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
        if cost == 0 {
            return Ok(());
        }
        let pay = [
            Operator::GlobalGet { global_index },
            Operator::I64Const { value: i64::from(cost) },
            Operator::I64Sub,
            Operator::GlobalSet { global_index },
        ];
        let ask = [
            Operator::GlobalGet { global_index },
            Operator::I64Const { value: 0 },
            Operator::I64LtS,
            Operator::If { blockty: BlockType::Empty },
            Operator::DataDrop { data_index: YIELD_SEGMENT },
        ];
        match place {
            Place::Straight => {
                state.extend(pay);
                state.extend(ask);
                state.push_operator(Operator::End);
            }
            Place::Header => {
                state.extend(ask);
                // Out of the `if`, to the loop that it stands in.
                state.push_operator(Operator::Br { relative_depth: 1 });
                state.push_operator(Operator::End);
                state.extend(pay);
            }
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
            self.check(Place::Straight, state)?;
        }
        let opens = match operator {
            Operator::Loop { blockty: BlockType::Empty | BlockType::Type(_) } => {
                Some(Place::Header)
            }
            Operator::Loop { blockty: BlockType::FuncType(_) } => Some(Place::Straight),
            _ => None,
        };
        state.push_operator(operator);
        match opens {
            // Behind the header, so that every back edge passes it. In dead code the translator
            // skips it like the rest.
            Some(place) => self.check(place, state),
            None => Ok(()),
        }
    }
}
