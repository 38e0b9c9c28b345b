//! What each function and each loop costs, counted while the module is validated.
//!
//! The unit is one operator of the binary. A *region* is the code that one check pays for: the part
//! of a function outside all loops (paid at entry), or a loop's body without the loops inside it
//! (paid at each arrival at its header). Costs are known before compilation because the check
//! stands in front of the code it pays for, and a middleware cannot look ahead.
//!
//! Leaves are free of checks: a function without loops and calls, at most [`LEAF_OPERATORS`] long,
//! cannot keep anybody waiting. Its callers pay for it at the call, so the sum stays exact; only an
//! indirect call pays nothing for a leaf. This matters: a check holds a call, so it gives an
//! accessor of three instructions a frame and spills.

use wasmer::sys::wasmparser::Operator;

/// The longest function that may go without a check. By feel: about what an optimiser would have
/// inlined. A higher figure makes slices less even by that factor for code that only calls leaves
/// indirectly.
pub(super) const LEAF_OPERATORS: u32 = 16;

/// The costs of all functions of a module.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    /// For each local function the place of its entry region in `regions`; one more at the end.
    starts: Vec<u32>,
    /// Entry region of a function, then its loops in the order of their headers, and so for each
    /// function.
    regions: Vec<u32>,
}

impl Costs {
    /// The costs of local function `index`: its entry, then its loops in the order of their
    /// headers. The entry of a leaf costs 0 and wants no check. `None` when there is no such
    /// function.
    pub(crate) fn of_function(&self, index: usize) -> Option<&[u32]> {
        let start = *self.starts.get(index)? as usize;
        let end = *self.starts.get(index + 1)? as usize;
        self.regions.get(start..end)
    }
}

/// Counts, function by function, in the order of the code section.
#[derive(Default)]
pub(super) struct Counter {
    costs: Costs,
    /// Regions of the enclosing blocks of the function at hand, innermost last.
    open: Vec<u32>,
    current: u32,
    calls_or_loops: bool,
    /// Direct calls: (calling region, callee).
    calls: Vec<(u32, u32)>,
    /// By local function: its cost when it is a leaf, else 0.
    leaves: Vec<u32>,
}

impl Counter {
    pub(super) fn begin_function(&mut self) {
        self.open.clear();
        self.calls_or_loops = false;
        self.current = self.costs.regions.len() as u32;
        self.costs.starts.push(self.current);
        self.costs.regions.push(0);
    }

    /// Counts one operator of a function that has been validated up to here.
    pub(super) fn operator(&mut self, operator: &Operator<'_>) {
        let region = &mut self.costs.regions[self.current as usize];
        *region = region.saturating_add(1);
        match operator {
            Operator::Loop { .. } => {
                self.calls_or_loops = true;
                self.open.push(self.current);
                self.current = self.costs.regions.len() as u32;
                self.costs.regions.push(0);
            }
            Operator::Block { .. } | Operator::If { .. } => self.open.push(self.current),
            Operator::End => self.current = self.open.pop().unwrap_or(self.current),
            Operator::Call { function_index } => {
                self.calls_or_loops = true;
                self.calls.push((self.current, *function_index));
            }
            Operator::CallIndirect { .. } => self.calls_or_loops = true,
            _ => {}
        }
    }

    pub(super) fn end_function(&mut self) {
        let entry = self.costs.starts.last().map_or(0, |&start| start as usize);
        let cost = self.costs.regions[entry];
        let is_leaf = !self.calls_or_loops && cost <= LEAF_OPERATORS;
        self.leaves.push(if is_leaf { cost } else { 0 });
    }

    /// Moves the costs of leaves to those who call them.
    pub(super) fn finish(self, imported_functions: u32) -> Costs {
        let Self { mut costs, calls, leaves, .. } = self;
        for (region, callee) in calls {
            let local = callee.checked_sub(imported_functions).map(|index| index as usize);
            let cost = local.and_then(|index| leaves.get(index)).copied().unwrap_or(0);
            let region = &mut costs.regions[region as usize];
            *region = region.saturating_add(cost);
        }
        for (index, &cost) in leaves.iter().enumerate() {
            if cost > 0 {
                costs.regions[costs.starts[index] as usize] = 0;
            }
        }
        costs.starts.push(costs.regions.len() as u32);
        costs
    }
}
