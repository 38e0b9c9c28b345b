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

use wasmer::sys::wasmparser::Operator;

use super::error::LoadErrorKind;

/// The most joins of one function, times its locals.
const MAX_JOINS_TIMES_LOCALS: u64 = 16 << 20;

/// How deep loops nest in a function, times its locals.
const MAX_DEPTH_TIMES_LOCALS: u64 = 1 << 20;

/// The most locals of all functions together, parameters included.
const MAX_LOCALS: u64 = 20_000_000;

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
    refused: Option<(&'static str, u64, u64)>,
}

impl Effort {
    /// A function with so many locals begins.
    pub(super) fn begin_function(&mut self, locals: u32) {
        self.locals = u64::from(locals);
        self.all_locals += self.locals;
        self.joins = 1;
        (self.depth, self.depth_max) = (0, 0);
        self.open.clear();
    }

    pub(super) fn operator(&mut self, operator: &Operator<'_>) {
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
        let refused = if table > MAX_JOINS_TIMES_LOCALS {
            ("blocks in a function, times its locals,", table, MAX_JOINS_TIMES_LOCALS)
        } else if nested > MAX_DEPTH_TIMES_LOCALS {
            (
                "loops inside each other, times their function's locals,",
                nested,
                MAX_DEPTH_TIMES_LOCALS,
            )
        } else if self.all_locals > MAX_LOCALS {
            ("locals", self.all_locals, MAX_LOCALS)
        } else {
            return;
        };
        self.refused.get_or_insert(refused);
    }

    /// What was too much in a function that ends before this offset.
    pub(super) fn check(&self, offset: u64) -> Result<(), LoadErrorKind> {
        match self.refused {
            Some((what, count, limit)) => Err(LoadErrorKind::Limit { what, count, limit, offset }),
            None => Ok(()),
        }
    }
}
