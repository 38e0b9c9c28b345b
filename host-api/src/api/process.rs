//! `lunatic::process`: making, ending and asking about processes.

use std::task::Poll;
use std::time::Duration;

use lunatic_engine::{RawValue, Type};
use lunatic_scheduler::Pid;

use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::process::{Entry, Start};
use crate::stats::Own;

/// Bytes of one parameter of a spawned function: its type and its value.
const PARAM_BYTES: usize = 17;

/// Most parameters of a spawned function.
const PARAMS_MAX: usize = 1000;

/// What a spawn costs the one who spawns, in reductions: about the time it takes. So a process that
/// spawns in a loop lets its children run while their slots are still warm, instead of leaving
/// thousands of cold ones behind.
const SPAWN_REDUCTIONS: i64 = 2_000;

/// "My own", where an id of a module or a configuration is asked for.
const OWN: i64 = -1;

host_functions! {
    /// Processes: instances of a module, each with its own memory, stack and mailbox.
    pub(crate) MODULE: "lunatic::process";

    /// Makes a process that runs the exported function `func_str` with the parameters. They are
    /// records of 17 bytes: the type (0x7F i32, 0x7E i64, 0x7B v128), then 16 bytes of the value,
    /// little-endian. `config_id` and `module_id` -1 mean the caller's own; `link` must be 0 in this
    /// version. 0: the process id (u64) is at `id_ptr`. 1: an error id is there. A function that is
    /// missing or of another type is found out by the new process, which then ends at once.
    fn spawn(
        call, link: i64, config_id: i64, module_id: i64,
        func_str_ptr: Ptr, func_str_len: u32, params_ptr: Ptr, params_len: u32, id_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        own_only(link, config_id, module_id)?;
        spawn_process(call, (func_str_ptr, func_str_len), (params_ptr, params_len), id_ptr, false)
    }

    /// Like `spawn`, and the caller's current message (see `lunatic::message`) becomes the first
    /// one of the new process, before anybody can send to it. On an error the message stays.
    fn spawn_with_message(
        call, link: i64, config_id: i64, module_id: i64,
        func_str_ptr: Ptr, func_str_len: u32, params_ptr: Ptr, params_len: u32, id_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        own_only(link, config_id, module_id)?;
        call.state.scratch()?;
        spawn_process(call, (func_str_ptr, func_str_len), (params_ptr, params_len), id_ptr, true)
    }

    /// Waits for so many milliseconds. 0 lets others run.
    [short] fn sleep_ms(call, millis: u64) -> Poll<Result<(), Fault>> {
        if millis == 0 {
            return yield_once(call);
        }
        if call.deadline_passed(Duration::from_millis(millis)) {
            return Poll::Ready(Ok(()));
        }
        call.wake_at_deadline();
        Poll::Pending
    }

    /// Answers the id of the process that calls. No other process, dead or alive, has the same one
    /// for as long as a slot's generations last (2^32 reuses).
    [short] fn process_id(call) -> Result<u64, Fault> {
        Ok(call.state.pid().as_u64())
    }

    /// 1 if the process lives, else 0. It may end the next moment.
    [short] fn exists(call, process_id: u64) -> Result<u32, Fault> {
        Ok(u32::from(call.worker.exists(Pid::from_u64(process_id))))
    }

    /// Ends a process, whatever it does. Nothing happens if there is no such process.
    fn kill(call, process_id: u64) -> Result<(), Fault> {
        call.worker.kill(Pid::from_u64(process_id));
        Ok(())
    }
}

/// Goes to the back of the run queue once.
pub(super) fn yield_once<T: Default>(call: &mut Call<'_, '_>) -> Poll<Result<T, Fault>> {
    if std::mem::replace(&mut call.state.wait.yields, true) {
        return Poll::Ready(Ok(T::default()));
    }
    call.worker.count(Own::Yielded as usize);
    Poll::Pending
}

fn own_only(link: i64, config_id: i64, module_id: i64) -> Result<(), Fault> {
    if link != 0 {
        return Err(Fault::new("links are not part of this version: link must be 0"));
    }
    if config_id != OWN {
        return Err(Fault::new(format!("the process has no configuration with id {config_id}")));
    }
    if module_id != OWN {
        return Err(Fault::new(format!("the process has no module with id {module_id}")));
    }
    Ok(())
}

fn spawn_process(
    call: &mut Call<'_, '_>,
    (name_ptr, name_len): (Ptr, u32),
    (params_ptr, params_len): (Ptr, u32),
    id_ptr: Ptr,
    with_message: bool,
) -> Poll<Result<u32, Fault>> {
    let name = call.memory.slice(name_ptr, name_len)?;
    let records = records(call.memory.slice(params_ptr, params_len)?)?;
    let params = records.clone().map(|record| record.1).collect();
    let types = records.map(|record| record.0);
    // Checked before there is a process whose id could not be told.
    call.memory.slice_mut(id_ptr, 8)?;
    let (module, config) = (call.state.module.clone(), call.state.config.clone());
    let form = call.state.node.form_for(&config);
    let Poll::Ready(image) = call.image(&module, form) else { return Poll::Pending };
    let image = match image {
        Ok(image) => image,
        Err(message) => return spawned(call, id_ptr, Err(message)),
    };
    let entry = Entry::new(&image, name, types, params);
    let start = Start {
        node: call.state.node,
        module,
        image,
        config,
        entry,
        first_message: with_message.then_some(&mut call.state.scratch),
        is_main: false,
    };
    let result = start.on_worker(call.worker).map_err(|error| error.to_string());
    spawned(call, id_ptr, result)
}

/// Tells the guest what has become of its spawn.
fn spawned(
    call: &mut Call<'_, '_>,
    id_ptr: Ptr,
    result: Result<Pid, String>,
) -> Poll<Result<u32, Fault>> {
    let (status, id) = match result {
        Ok(pid) => (0, pid.as_u64()),
        Err(message) => (1, call.state.errors.add(message)?),
    };
    call.memory.write_u64(id_ptr, id)?;
    call.state.charge(SPAWN_REDUCTIONS);
    Poll::Ready(Ok(status))
}

/// Types and values of parameters. All records are checked before the first is given out.
fn records(
    bytes: &[u8],
) -> Result<impl ExactSizeIterator<Item = (Type, RawValue)> + Clone + '_, Fault> {
    let records = bytes.chunks_exact(PARAM_BYTES);
    if !records.remainder().is_empty() || records.len() > PARAMS_MAX {
        return Err(Fault::new(format!(
            "{} bytes of parameters: they are at most {PARAMS_MAX} records of {PARAM_BYTES} bytes",
            bytes.len()
        )));
    }
    if let Some(wrong) = records.clone().find(|record| param_type(record[0]).is_none()) {
        return Err(Fault::new(format!(
            "a parameter of type {:#x}: they are 0x7f (i32), 0x7e (i64), 0x7b (v128)",
            wrong[0]
        )));
    }
    Ok(records.map(|record| {
        let value: [u8; 16] = record[1..].try_into().expect("a record is 1 + 16 bytes");
        let value = RawValue { u128: u128::from_le_bytes(value) };
        (param_type(record[0]).expect("checked above"), value)
    }))
}

fn param_type(byte: u8) -> Option<Type> {
    match byte {
        0x7f => Some(Type::I32),
        0x7e => Some(Type::I64),
        0x7b => Some(Type::V128),
        _ => None,
    }
}
