//! `lunatic::distributed`: a node that stands alone.
//!
//! All functions are there, so that programs that would use a cluster if there were one run without.
//! Each answers what Lunatic 0.13 answers on a node that is not part of one.

use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{In, Out, Parameters, Text};
use crate::memory::Ptr;
use crate::message::Message;

/// "There is no such node."
const NO_NODE: u32 = 2;

const ALONE: &str = "this node is not part of a cluster";

host_functions! {
    /// Other nodes. This version of lunatic knows none: every node stands alone, and the functions
    /// answer so.
    pub(crate) MODULE: "lunatic::distributed";

    /// The number of other nodes: 0, as this node is part of no cluster.
    fn nodes_count(_call) -> Result<u32, Fault> {
        Ok(0)
    }

    /// Writes the ids (u64) of at most `nodes_len` nodes and answers how many: none.
    fn get_nodes(call, nodes_ptr: Out<u64>, nodes_len: u32) -> Result<u32, Fault> {
        // The guest's promise, whatever of it is needed.
        let bytes = nodes_len.checked_mul(8).ok_or_else(|| {
            Fault::new(format!("{nodes_len} ids of nodes do not fit a memory"))
        })?;
        call.memory.slice_mut(nodes_ptr, bytes)?;
        Ok(0)
    }

    /// This node's id: 0, as it is part of no cluster.
    fn node_id(_call) -> Result<u64, Fault> {
        Ok(0)
    }

    /// The id that the caller's module has in the cluster: 0, as there is none.
    fn module_id(_call) -> Result<u64, Fault> {
        Ok(0)
    }

    /// Spawns a process on another node. Traps, as there is none.
    fn spawn(
        _call, _node_id: u64, _config_id: i64, _module_id: u64,
        _func_str_ptr: In<Text>, _func_str_len: u32, _params_ptr: In<Parameters>, _params_len: u32, _id_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        Err(Fault::new(format!("cannot spawn on another node: {ALONE}")))
    }

    /// Sends the current message to a process on another node. 2, and the message is dropped: there
    /// is no such node.
    fn send(call, _node_id: u64, _process_id: u64) -> Result<u32, Fault> {
        drop_message(call)
    }

    /// Like `send`, and waits for an answer. 2, and the message is dropped: there is no such node.
    fn send_receive_skip_search(
        call, _node_id: u64, _process_id: u64, _wait_on_tag: i64, _timeout: u64,
    ) -> Result<u32, Fault> {
        drop_message(call)
    }

    /// Asks the cluster for nodes. 1, and an error id (u64) at `error_ptr`.
    fn exec_lookup_nodes(
        call, query_ptr: In<Text>, query_len: u32, _query_id_ptr: Out<u64>, _nodes_len_ptr: Out<u64>,
        error_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        call.memory.slice(query_ptr, query_len)?;
        write_error(call, error_ptr)?;
        Ok(1)
    }

    /// Copies what such a question found. -1, and an error id (u64) at `error_ptr`.
    fn copy_lookup_nodes_results(
        call, _query_id: u64, _nodes_ptr: Out<u64>, _nodes_len: u32, error_ptr: Out<u64>,
    ) -> Result<i32, Fault> {
        write_error(call, error_ptr)?;
        Ok(-1)
    }

    /// Makes a certificate for a cluster of tests. Traps: that is not part of this version.
    fn test_root_cert(_call, _len_ptr: Out<u32>) -> Result<u32, Fault> {
        Err(no_certificates())
    }

    /// Makes certificates for a cluster's control server. Traps: that is not part of this version.
    fn default_server_certificates(
        _call, _cert_pem_ptr: In<Text>, _cert_pem_len: u32, _pk_pem_ptr: In<Text>, _pk_pem_len: u32,
        _len_ptr: Out<u32>,
    ) -> Result<u32, Fault> {
        Err(no_certificates())
    }

    /// Signs a node's certificate. Traps: that is not part of this version.
    fn sign_node(
        _call, _cert_pem_ptr: In<Text>, _cert_pem_len: u32, _pk_pem_ptr: In<Text>, _pk_pem_len: u32,
        _csr_pem_ptr: In<Text>, _csr_pem_len: u32, _len_ptr: Out<u32>,
    ) -> Result<u32, Fault> {
        Err(no_certificates())
    }
}

fn drop_message(call: &mut Call<'_, '_>) -> Result<u32, Fault> {
    let message = call.state.take_scratch()?;
    Message::discard(message, call.worker);
    Ok(NO_NODE)
}

fn write_error(call: &mut Call<'_, '_>, error_ptr: Ptr) -> Result<(), Fault> {
    let error = call.state.keep_error(format!("cannot ask for nodes: {ALONE}"))?;
    call.memory.write_u64(error_ptr, error)
}

fn no_certificates() -> Fault {
    Fault::new(format!("cannot make certificates for a cluster: {ALONE}"))
}
