//! `lunatic::registry`: names of processes.

use lunatic_scheduler::Pid;

use crate::bind::{Call, Fault, host_functions};
use crate::config::Right;
use crate::guest_type::{In, Out, Text};
use crate::memory::Ptr;
use crate::registry::NAME_BYTES_MAX;

/// The node that this run is: there is no other.
pub(super) const THIS_NODE: u64 = 0;

/// A name that a guest gives.
pub(super) fn name<'a>(call: &Call<'a, '_>, ptr: Ptr, len: u32) -> Result<&'a str, Fault> {
    if len as usize > NAME_BYTES_MAX {
        return Err(Fault::new(format!(
            "a name of {len} bytes for a process, the longest has {NAME_BYTES_MAX}"
        )));
    }
    let bytes = call.memory.slice(ptr, len)?;
    std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(format!("the name of a process is not UTF-8: {error}")))
}

host_functions! {
    /// Names of processes, the same for all processes of a run. A name leads to one process and
    /// vanishes when that ends. Names are UTF-8, of 4096 bytes at most. Who may not name processes
    /// finds them; what changes names does nothing then but tell the log.
    pub(crate) MODULE: "lunatic::registry";

    /// Makes a name lead to a process, which it takes away from another that had it; if the process
    /// has ended, the name leads to nobody. `node_id` must be 0. Traps if there is no room: for the
    /// names of all processes 256 MiB, for one process 1000 names.
    fn put(
        call, name_ptr: In<Text>, name_len: u32, node_id: u64, process_id: u64,
    ) -> Result<(), Fault> {
        if node_id != THIS_NODE {
            return Err(Fault::new(format!(
                "there is no node {node_id}: this run is node {THIS_NODE}, and the only one"
            )));
        }
        let name = name(call, name_ptr, name_len)?;
        if call.state.may(Right::Names).is_err() {
            return Ok(());
        }
        let node = call.state.node.get();
        node.registry
            .put(call.worker, &node.ties, name, (Pid::from_u64(process_id), call.state.pid()))
            .map_err(|error| Fault::new(error.to_string()))
    }

    /// As `put`, unless the name leads to another process that lives. 0: it leads to this one. 1: it
    /// leads to the other, as before. -1: the caller may not name processes.
    fn put_if_free(
        call, name_ptr: In<Text>, name_len: u32, process_id: u64,
    ) -> Result<i32, Fault> {
        let name = name(call, name_ptr, name_len)?;
        if call.state.may(Right::Names).is_err() {
            return Ok(-1);
        }
        let node = call.state.node.get();
        node.registry
            .put_if_free(call.worker, &node.ties, name, (Pid::from_u64(process_id), call.state.pid()))
            .map(|put| i32::from(!put))
            .map_err(|error| Fault::new(error.to_string()))
    }

    /// Finds the living process of a name. 0: its node (u64, always 0) is at `node_id_ptr` and its
    /// id (u64) at `process_id_ptr`. 1: there is none.
    fn get(
        call, name_ptr: In<Text>, name_len: u32, node_id_ptr: Out<u64>, process_id_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let name = name(call, name_ptr, name_len)?;
        let node = call.state.node.get();
        let Some(pid) = node.registry.get(call.worker, name) else { return Ok(1) };
        call.memory.write_u64(node_id_ptr, THIS_NODE)?;
        call.memory.write_u64(process_id_ptr, pid.as_u64())?;
        Ok(0)
    }

    /// Makes a name lead to nobody. Nothing happens if it does already.
    fn remove(call, name_ptr: In<Text>, name_len: u32) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        if call.state.may(Right::Names).is_err() {
            return Ok(());
        }
        let node = call.state.node.get();
        node.registry.remove(&node.ties, name);
        Ok(())
    }
}
