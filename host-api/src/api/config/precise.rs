//! `lunatic::config`: what Lunatic 0.13 has no functions for.

use std::task::Poll;

use super::OWN;
use super::dirs::{self, DirToGive};
use crate::bind::{Call, Fault, host_functions};
use crate::config::{Limit, NetworkRule, Overflow, Right, Used};
use crate::fs::DirAccess;
use crate::guest_type::{In, Out, Text};
use crate::memory::Ptr;

host_functions! {
    /// More about configurations (see `lunatic::process::create_config`, whose ids these are). Nothing
    /// can be granted that the caller has not itself: such a call answers 1, with an error id (u64) at
    /// `id_ptr`, and sets the most that may be had. An unknown configuration is a trap.
    pub(crate) MODULE: "lunatic::config";

    /// Makes a configuration that grants the standard streams and nothing else, within the caller's
    /// limits. Answers its id, or -1 if the caller may not make any.
    fn create(call) -> Result<i64, Fault> {
        call.add_config(|mine| mine.nothing_for_child())
    }

    /// Makes a configuration that grants what the caller has, to take something away from. Answers
    /// its id, or -1 if the caller may not make any.
    fn copy_own(call) -> Result<i64, Fault> {
        call.add_config(|mine| mine.same_for_child())
    }

    /// Sets a limit; 2^64-1 is none. 0: bytes of linear memory, and of tables. 1: fuel, in units of 100,000
    /// instructions. 2: living children. 3: open resources. 4: bytes of a message. 5: open
    /// descriptors. 6: bytes of the stack, between 16 KiB and 8 MiB. 7: messages that wait (see
    /// `set_overflow`). 8: bytes that they take; no more come while there are so many. Traps if there is no such limit.
    fn set_limit(
        call, config_id: u64, limit: u32, value: u64, id_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let limit = known(limit, Limit::from_number, "limit")?;
        let result = call.set_limit(config_id, limit, value)?;
        status(call, result, id_ptr)
    }

    /// A limit of a configuration, by the number that `set_limit` gives it.
    fn get_limit(call, config_id: u64, limit: u32) -> Result<u64, Fault> {
        Ok(call.config(config_id)?.limit(known(limit, Limit::from_number, "limit")?))
    }

    /// Sets what becomes of a message that finds the mailbox full. 0: its sender waits. 1: it is
    /// dropped. 2: it is dropped, and the receiver ends. Traps if there is no such choice.
    fn set_overflow(call, config_id: u64, overflow: u32) -> Result<(), Fault> {
        let overflow = known(overflow, Overflow::from_number, "overflow")?;
        call.change_config(config_id, |config| config.mailbox_overflow = overflow)
    }

    /// Gives a right, or takes it if `has` is 0. 0: to spawn processes. 1: to compile modules. 2: to
    /// make configurations. 3: to kill other processes. 4: to give names to processes, and take them
    /// away. Traps if there is no such right.
    fn set_right(call, config_id: u64, right: u32, has: u32, id_ptr: Out<u64>) -> Result<u32, Fault> {
        let right = known(right, Right::from_number, "right")?;
        let result = call.set_right(config_id, right, has != 0)?;
        status(call, result, id_ptr)
    }

    /// 1 if a configuration grants the right of this number (see `set_right`), else 0; -1 is the
    /// caller's own.
    fn has_right(call, config_id: u64, right: u32) -> Result<u32, Fault> {
        let right = known(right, Right::from_number, "right")?;
        if config_id.cast_signed() == OWN {
            return Ok(call.state.config.has(right).into());
        }
        Ok(call.config(config_id)?.has(right).into())
    }

    /// Grants a directory. `path` is a path as the caller knows it, in a directory that it was given
    /// itself; the child calls it `name`, and may only read there unless `writes` is not 0.
    fn add_dir(
        call, config_id: u64, path_ptr: In<Text>, path_len: u32, name_ptr: In<Text>, name_len: u32,
        writes: u32, id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let access = if writes == 0 { DirAccess::ReadOnly } else { DirAccess::ReadWrite };
        let dir = DirToGive { path: (path_ptr, path_len), name: (name_ptr, name_len), access };
        match dirs::give(call, config_id, &dir) {
            Ok(Some(result)) => Poll::Ready(status(call, result, id_ptr)),
            Ok(None) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }

    /// Allows what a rule says: `[listen:|connect:]HOST:PORT`. HOST is an address (IPv6 in brackets),
    /// a net (`10.0.0.0/8`, `[fd00::/8]`), a name, `*.NAME` or `*`; PORT is a number, a range
    /// (`8000-9000`) or `*`. Without `listen:` or `connect:` it is about both. A rule by name is about
    /// what the runtime finds for that name when the process asks for it.
    fn add_network_rule(
        call, config_id: u64, rule_ptr: In<Text>, rule_len: u32, id_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let text = call.config_text((rule_ptr, rule_len), "a network rule")?;
        let result = add_rule(call, config_id, &text)?;
        status(call, result, id_ptr)
    }

    /// Takes all network rules away: the network is closed.
    fn clear_network_rules(call, config_id: u64) -> Result<(), Fault> {
        call.change_config(config_id, |config| config.network = Default::default())
    }

    /// What the processes that were spawned with a configuration have used, all together and up to
    /// their last wait or slice. 0: fuel, in units of 100,000 instructions, rounded up. 1: bytes of
    /// linear memory at present. 2: the most that this was. 3: processes spawned. 4: processes that
    /// live. Traps if there is no such number.
    fn usage(call, config_id: u64, what: u32) -> Result<u64, Fault> {
        let what = known(what, Used::from_number, "usage")?;
        Ok(call.config(config_id)?.usage.as_ref().map_or(0, |usage| usage.get(what)))
    }
}

fn known<T>(number: u32, from: impl Fn(u32) -> Option<T>, what: &str) -> Result<T, Fault> {
    from(number).ok_or_else(|| Fault::new(format!("there is no {what} with number {number}")))
}

fn add_rule(
    call: &mut Call<'_, '_>,
    config_id: u64,
    text: &str,
) -> Result<Result<(), String>, Fault> {
    let rule: NetworkRule = match text.parse() {
        Ok(rule) => rule,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if !call.state.config.network.cover(&rule) {
        let denied = call.state.denied(format!(
            "a configuration with the network rule \"{rule}\": no rule of the process itself covers it"
        ));
        return Ok(Err(denied.to_string()));
    }
    let added = call.change_config(config_id, |config| config.network.add(rule))?;
    Ok(added.map_err(|error| error.to_string()))
}

/// 0, or 1 and an error id.
fn status<E: ToString>(
    call: &mut Call<'_, '_>,
    result: Result<(), E>,
    id_ptr: Ptr,
) -> Result<u32, Fault> {
    match result {
        Ok(()) => Ok(0),
        Err(error) => {
            call.memory.slice_mut(id_ptr, 8)?;
            let id = call.state.keep_error(error.to_string())?;
            call.memory.write_u64(id_ptr, id)?;
            Ok(1)
        }
    }
}
