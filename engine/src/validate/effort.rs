//! What would keep the compiler busy for longer than a module's size lets expect.
//!
//! Cranelift gives a local one value for each place where ways of control meet, if it is used behind
//! it: a table of locals by joins, for each function. Both may be some ten thousand in a module of
//! 100 KB, and the table then takes minutes and gigabytes. Worst are loops in loops: each local lives
//! through all of them, and placing it in registers costs more than its part of the table. A module
//! declares its locals in a few bytes, too, however many functions have them.
//!
//! Measured on two busy cores at 2.5 GHz, one function: 5,700 joins one after the other by 5,700
//! locals 12 s and 1.1 GB; 1,000 nested loops by 1,000 locals 2.5 s, 300 by 3,000 8 s; 5,700 by 5,700
//! five minutes. The limits are far above what compilers make: the largest functions known
//! (interpreters' loops) have thousands of joins and hundreds of locals, and loops nest ten deep.
//!
//! What else a function makes the compiler hold grows with its operators, and with the values that
//! calls and branches take and give: a call of two bytes may have two thousand. A thousand of those took
//! a minute and a gigabyte, and functions may have millions. The compiler cannot be stopped in the middle
//! of a function, so what one takes is estimated before.

use wasmer::sys::wasmparser::{ModuleArity, Operator};

use super::error::LoadErrorKind;

/// The most joins of one function, times its locals.
const MAX_JOINS_TIMES_LOCALS: u64 = 16 << 20;

/// How deep loops nest in a function, times its locals.
const MAX_DEPTH_TIMES_LOCALS: u64 = 1 << 20;

/// The most locals of all functions together, parameters included.
const MAX_LOCALS: u64 = 20_000_000;

/// The most bytes that the compiler may take for one function, as estimated: some ten seconds at 2.5 GHz.
/// That is 300,000 calls without parameters, or a million other operators.
const MAX_FUNCTION_BYTES: u64 = 512 << 20;

/// Bytes that the compiler takes for a joint of the table of joins by locals, measured as above.
const JOINT_BYTES: u64 = 34;

/// Bytes that each function takes until its module is compiled, and for as long as that lives, however small
/// it is: measured with 100,000 and 999,000 that are empty, of four bytes each. With machine code and tables
/// of other functions the module's own size grows as many times.
const FUNCTION_BYTES: u64 = 800;
const FUNCTION_BYTES_KEPT: u64 = 500;
const TIMES_SIZE: u64 = 10;

/// About what a module makes the host hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// While one thread compiles it, what is kept included.
    pub compiling: u64,
    /// As long as it lives.
    pub kept: u64,
}

/// Bytes that the compiler takes for an operator: a part of its own, and one for each value that it takes
/// or gives. Measured as the growth of the resident memory with the number of operators; time goes with
/// it, from 5 s a gigabyte (loads and stores) to 25 s (calls with a thousand results).
fn bytes(operator: &Operator<'_>, module: &impl ModuleArity) -> u64 {
    use Operator as O;
    let (own, each) = match operator {
        O::Call { .. } => (1500, 600),
        O::CallIndirect { .. } => (6500, 600),
        O::Block { .. } | O::If { .. } | O::Else => (1300, 20),
        // Most of it where code has yield points.
        O::Loop { .. } => (9000, 60),
        O::End => (0, 20),
        O::Br { .. } | O::BrIf { .. } | O::Return => (1000, 10),
        O::BrTable { targets } => (1000 + u64::from(targets.len()) * 40, 10),
        // These call the runtime.
        O::MemoryGrow { .. }
        | O::MemoryFill { .. }
        | O::MemoryCopy { .. }
        | O::MemoryInit { .. }
        | O::DataDrop { .. }
        | O::TableGet { .. }
        | O::TableSet { .. }
        | O::TableGrow { .. }
        | O::TableFill { .. }
        | O::TableCopy { .. }
        | O::TableInit { .. }
        | O::ElemDrop { .. }
        | O::RefFunc { .. } => (3000, 0),
        _ => (400, 0),
    };
    if each == 0 {
        return own;
    }
    let (takes, gives) = operator.operator_arity(module).unwrap_or_default();
    own + each * (u64::from(takes) + u64::from(gives))
}

/// Counts, function by function.
#[derive(Default)]
pub(super) struct Effort {
    all_locals: u64,
    locals: u64,
    joins: u64,
    /// Whether each enclosing block is a loop.
    open: Vec<bool>,
    depth: u64,
    depth_max: u64,
    bytes: u64,
    functions: u64,
    /// The most bytes that one function takes.
    most_bytes: u64,
    refused: Option<(&'static str, u64, u64)>,
}

impl Effort {
    /// A function with so many locals begins.
    pub(super) fn begin_function(&mut self, locals: u32) {
        self.locals = u64::from(locals);
        self.all_locals += self.locals;
        self.joins = 1;
        (self.depth, self.depth_max, self.bytes) = (0, 0, 0);
        self.open.clear();
    }

    /// The next operator of the function, which the module's validator has yet to see.
    pub(super) fn operator(&mut self, operator: &Operator<'_>, module: &impl ModuleArity) {
        self.bytes += bytes(operator, module);
        match operator {
            Operator::Loop { .. } => {
                self.joins += 1;
                self.open.push(true);
                self.depth += 1;
                self.depth_max = self.depth_max.max(self.depth);
            }
            Operator::Block { .. } | Operator::If { .. } => {
                self.joins += 1;
                self.open.push(false);
            }
            // The last one is the function's own, which is not in the list.
            Operator::End => self.depth -= u64::from(self.open.pop() == Some(true)),
            _ => {}
        }
    }

    /// The function ends.
    pub(super) fn end_function(&mut self) {
        let table = self.joins * self.locals;
        let nested = self.depth_max * self.locals;
        self.functions += 1;
        self.most_bytes = self.most_bytes.max(self.bytes + table.saturating_mul(JOINT_BYTES));
        let refused = if table > MAX_JOINS_TIMES_LOCALS {
            ("blocks in a function, times its locals,", table, MAX_JOINS_TIMES_LOCALS)
        } else if nested > MAX_DEPTH_TIMES_LOCALS {
            (
                "loops inside each other, times their function's locals,",
                nested,
                MAX_DEPTH_TIMES_LOCALS,
            )
        } else if self.bytes > MAX_FUNCTION_BYTES {
            (
                "bytes for the compiler to hold in a function, as estimated,",
                self.bytes,
                MAX_FUNCTION_BYTES,
            )
        } else if self.all_locals > MAX_LOCALS {
            ("locals", self.all_locals, MAX_LOCALS)
        } else {
            return;
        };
        self.refused.get_or_insert(refused);
    }

    /// What the module weighs, which has so many bytes, when all its functions have been seen.
    pub(super) fn weight(&self, bytes: usize) -> Weight {
        let kept = bytes as u64 * TIMES_SIZE + self.functions * FUNCTION_BYTES_KEPT;
        let compiling = kept + self.functions * FUNCTION_BYTES + self.most_bytes;
        Weight { compiling, kept }
    }

    /// What was too much in a function that ends before this offset.
    pub(super) fn check(&self, offset: u64) -> Result<(), LoadErrorKind> {
        match self.refused {
            Some((what, count, limit)) => Err(LoadErrorKind::Limit { what, count, limit, offset }),
            None => Ok(()),
        }
    }
}
