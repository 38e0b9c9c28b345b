//! Who holds how much of the host's memory, for those who have to find out whose doing a shortage is.
//!
//! What a process takes itself it tells the scheduler, which knows its mail as well. Ties and names
//! belong to two processes each and are counted where they are, for whoever has made them: they are
//! added here, when somebody asks.

use std::collections::HashMap;

use lunatic_scheduler::{Holder, Pid};

use crate::node::NodeInner;

/// Who has less than this part of what there may be is not to blame alone: its branch may be. By feel.
pub(crate) const FAIR_SHARE: u64 = 16;

/// Ties that take less are nothing to end a process for.
const TIES_BYTES_MIN: usize = 64 * 1024;

/// All living processes of a node with all that is held for them, in no order. Takes a cache miss for
/// each process, and a look at each name.
pub(crate) fn holders(node: &NodeInner) -> impl Iterator<Item = Holder> {
    let beside = beside(node);
    node.handle().holders().map(move |mut holder| {
        holder.own_bytes += beside.get(&holder.pid).map_or(0, |&bytes| bytes as u64);
        holder
    })
}

fn beside(node: &NodeInner) -> HashMap<Pid, usize> {
    let mut bytes = node.registry.givers(|pid| node.handle().exists(pid));
    for (maker, of_ties) in node.ties.makers(TIES_BYTES_MIN) {
        *bytes.entry(maker).or_default() += of_ties;
    }
    bytes
}
