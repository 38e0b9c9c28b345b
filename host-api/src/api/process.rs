//! `lunatic::process`: making, ending and asking about processes.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lunatic_engine::{RawValue, Type};
use lunatic_scheduler::Pid;

use super::registry::{THIS_NODE, name};
use crate::account::Place;
use crate::bind::{Call, Fault, host_functions};
use crate::config::{ConfigRef, Right};
use crate::exit::ExitReason;
use crate::forms::ModuleRef;
use crate::guest_type::{Bytes, In, Out, Parameters, Text};
use crate::held;
use crate::jobs::Turn;
use crate::memory::Ptr;
use crate::modules::{CompileResult, Loaded, MODULE_BYTES_MAX, Modules, Order, Room};
use crate::process::{Entry, Start};
use crate::registry::Claim;
use crate::stats::Own;
use crate::ties::{ChildTags, TIES_MAX};

/// Bytes of one parameter of a spawned function: its type and its value.
const PARAM_BYTES: usize = 17;

/// Most parameters of a spawned function.
const PARAMS_MAX: usize = 1000;

/// The longest name of a function that is spawned. By feel: mangled names of Rust can be long.
const FUNCTION_NAME_BYTES_MAX: u32 = 64 * 1024;

/// What a spawn costs the one who spawns, in reductions: about the time it takes. So a process that
/// spawns in a loop lets its children run while their slots are still warm, instead of leaving
/// thousands of cold ones behind.
const SPAWN_REDUCTIONS: i64 = 2_000;

/// Large tables are copied into each new process, and the one who spawns it pays for that.
const BLOCK_BYTES_PER_REDUCTION: usize = 32;

/// "My own", where an id of a module or a configuration is asked for.
const OWN: i64 = -1;

/// `get_or_spawn` has found a process of that name.
const FOUND: u32 = 2;

host_functions! {
    /// Processes: instances of a module, each with its own memory, stack and mailbox.
    pub(crate) MODULE: "lunatic::process";

    /// Compiles a module (binary or text) for `spawn`, while others run. 0: its id (u64) is at
    /// `id_ptr`. 1: an error id is there: the module is not valid, imports what lunatic does not
    /// provide, or is too large. -1: the process may not compile modules. At most 64 MiB. A module
    /// that takes longer than a minute is given up. What the compiler holds, as estimated, and the module
    /// then, count as what the host holds for the process (`--max-host-memory`).
    fn compile_module(
        call, module_data_ptr: In<Bytes>, module_data_len: u32, id_ptr: Out<u64>,
    ) -> Poll<Result<i32, Fault>> {
        if call.state.may(Right::Compile).is_err() {
            return Poll::Ready(Ok(-1));
        }
        let compiled = call.job(|call, turn| {
            // Checked before there is a module whose id could not be told.
            call.memory.slice_mut(id_ptr, 8)?;
            order_module(call, (module_data_ptr, module_data_len), turn)
        });
        compiled.map(|result| {
            let (status, id) = match result? {
                Ok(module) => (0, call.add(module)?),
                Err(words) => (1, call.state.keep_error(words)?),
            };
            call.memory.write_u64(id_ptr, id)?;
            Ok(status)
        })
    }

    /// Forgets a module. Processes that run it go on. Traps if there is no such module.
    fn drop_module(call, module_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<Loaded>>(module_id)
    }

    /// Makes a process that runs the exported function `func_str` with the parameters. They are
    /// records of 17 bytes: the type (0x7F i32, 0x7E i64, 0x7B v128), then 16 bytes of the value,
    /// little-endian. `config_id` (see `create_config`) and `module_id` -1 mean the caller's own. `link`
    /// other than 0 links the caller with the new process, before that can run; it is the link's tag
    /// for the caller (see `link`), the new process has none. 0:
    /// the process id (u64) is at `id_ptr`. 1: an error id is there. A function that is missing or of
    /// another type is found out by the new process, which then ends at once.
    fn spawn(
        call, link: i64, config_id: i64, module_id: i64,
        func_str_ptr: In<Text>, func_str_len: u32, params_ptr: In<Parameters>, params_len: u32, id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let config = call.config_for_child(config_id)?;
        let function = (func_str_ptr, func_str_len);
        let params = (params_ptr, params_len);
        let tags = ChildTags { link, monitor: 0 };
        let child = Child { tags, module_id, config, function, params, with_message: false };
        spawn_process(call, child, id_ptr)
    }

    /// Like `spawn`, and the caller's current message (see `lunatic::message`) becomes the first
    /// one of the new process, before anybody can send to it. On an error the message stays.
    fn spawn_with_message(
        call, link: i64, config_id: i64, module_id: i64,
        func_str_ptr: In<Text>, func_str_len: u32, params_ptr: In<Parameters>, params_len: u32, id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let config = call.config_for_child(config_id)?;
        call.state.check_sendable()?;
        let function = (func_str_ptr, func_str_len);
        let params = (params_ptr, params_len);
        let tags = ChildTags { link, monitor: 0 };
        let child = Child { tags, module_id, config, function, params, with_message: true };
        spawn_process(call, child, id_ptr)
    }

    /// Like `spawn_with_message`, and the caller monitors the new process before that can run: the
    /// notice of its end has the tag `monitor`, which must not be 0.
    fn spawn_monitored(
        call, link: i64, monitor: i64, config_id: i64, module_id: i64,
        func_str_ptr: In<Text>, func_str_len: u32, params_ptr: In<Parameters>, params_len: u32, id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let config = call.config_for_child(config_id)?;
        call.state.check_sendable()?;
        if monitor == 0 {
            return Poll::Ready(Err(Fault::new("the tag of a monitor must not be 0")));
        }
        let function = (func_str_ptr, func_str_len);
        let tags = ChildTags { link, monitor };
        let params = (params_ptr, params_len);
        let child = Child { tags, module_id, config, function, params, with_message: true };
        spawn_process(call, child, id_ptr)
    }

    /// Finds the living process of a name (see `lunatic::registry`) or, if there is none, spawns one
    /// as `spawn` does and gives it the name. Nobody else can take the name in between. 0: spawned; 2:
    /// found; then the node (u64, always 0) is at `node_id_ptr` and the process id (u64) at `id_ptr`.
    /// 1: an error id is at `id_ptr`.
    fn get_or_spawn(
        call, name_ptr: In<Text>, name_len: u32, link: i64, config_id: i64, module_id: i64,
        func_str_ptr: In<Text>, func_str_len: u32, params_ptr: In<Parameters>, params_len: u32,
        node_id_ptr: Out<u64>, id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let config = call.config_for_child(config_id)?;
        let name = name(call, name_ptr, name_len)?;
        let function = (func_str_ptr, func_str_len);
        let params = (params_ptr, params_len);
        let tags = ChildTags { link, monitor: 0 };
        let child = Child { tags, module_id, config, function, params, with_message: false };
        spawn_named(call, child, name, (node_id_ptr, id_ptr))
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

    /// Ends a process at its next scheduling point, whatever it does; it cannot refuse. Its links
    /// fail. Nothing happens if there is no such process.
    fn kill(call, process_id: u64) -> Result<(), Fault> {
        if process_id != call.state.pid().as_u64() && call.state.may(Right::Kill).is_err() {
            return Ok(());
        }
        let by = Some(call.state.pid());
        let pid = Pid::from_u64(process_id);
        call.state.node.ties.kill(call.worker, pid, ExitReason::Killed { by });
        Ok(())
    }

    /// Links the caller with a process: when one of them fails (it traps, exits with a code other than
    /// 0, is killed, …), the other dies too, or is told, as `die_when_link_dies` says. When one ends
    /// normally, it is unlinked. `tag` (0: none) comes back to the caller with the notice; to the other
    /// too, unless that has linked itself with a tag of its own. Linking again changes the tag. A
    /// process that does not exist, or has ended, is a link that fails at once. A link with oneself is
    /// none. Who may not kill others does not end them in this way either: of a link that it makes the
    /// other process notices nothing, and the log is told. Traps beyond a million links and monitors.
    fn link(call, tag: i64, process_id: u64) -> Result<(), Fault> {
        let me = call.state.pid();
        let one_way = process_id != me.as_u64() && call.state.may(Right::Kill).is_err();
        let peer = Pid::from_u64(process_id);
        call.state.node.ties.link(call.worker, me, peer, (tag, one_way))
    }

    /// Takes the link between the caller and a process away. From then on its end does nothing to the
    /// caller; a notice of it may wait in the mailbox already. Nothing happens if there is no link.
    fn unlink(call, process_id: u64) -> Result<(), Fault> {
        call.state.node.ties.unlink(call.state.pid(), Pid::from_u64(process_id));
        Ok(())
    }

    /// Has the caller told when a process ends, however it ends: `lunatic::message::receive` answers
    /// 2. At once, if it does not exist or has ended. There is one notice, however often it is
    /// monitored. Traps beyond a million links and monitors.
    fn monitor(call, process_id: u64) -> Result<(), Fault> {
        let me = call.state.pid();
        call.state.node.ties.monitor(call.worker, me, Pid::from_u64(process_id))
    }

    /// Takes `monitor` back. A notice may wait in the mailbox already.
    fn stop_monitoring(call, process_id: u64) -> Result<(), Fault> {
        call.state.node.ties.stop_monitoring(call.state.pid(), Pid::from_u64(process_id));
        Ok(())
    }

    /// As `monitor`, with a notice of its own that has this tag, so that it can be waited for: one more
    /// for each call. At most 1000 for one process.
    fn monitor_with_tag(call, tag: i64, process_id: u64) -> Result<(), Fault> {
        let me = call.state.pid();
        call.state.node.ties.monitor_tagged(call.worker, me, Pid::from_u64(process_id), tag)
    }

    /// Takes one `monitor_with_tag` with this tag back. A notice may wait in the mailbox already.
    fn stop_monitoring_with_tag(call, tag: i64, process_id: u64) -> Result<(), Fault> {
        let (me, peer) = (call.state.pid(), Pid::from_u64(process_id));
        call.state.node.ties.stop_monitoring_tagged(me, peer, tag);
        Ok(())
    }

    /// Asks a process to end, in the way that a failing link does: it is killed, unless it has called
    /// `die_when_link_dies` with 0. Then `lunatic::message::receive` answers 1 in it, the notice is of
    /// kind 11 (see `get_exit_reason`) and names the caller, and it may end when it has finished what
    /// it does. Nothing happens if there is no such process.
    fn send_exit(call, process_id: u64) -> Result<(), Fault> {
        let by = call.state.pid();
        if process_id != by.as_u64() && call.state.may(Right::Kill).is_err() {
            return Ok(());
        }
        call.state.node.ties.ask_to_end(call.worker, by, Pid::from_u64(process_id));
        Ok(())
    }

    /// Whether the caller dies when a link of its fails: not 0, as it is at first; or is told: 0. Then
    /// `lunatic::message::receive` answers 1 and the message has the link's tag.
    fn die_when_link_dies(call, trap: u32) -> Result<(), Fault> {
        call.state.node.ties.set_survives(call.worker, call.state.pid(), trap == 0);
        Ok(())
    }

    /// A number for all the processes that can know of each other. A run has one such environment.
    fn environment_id(_call) -> Result<u64, Fault> {
        Ok(1)
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

/// Gives a module to those who compile. What is known to be wrong at once is their answer, too.
fn order_module(
    call: &mut Call<'_, '_>,
    (at, len): (Ptr, u32),
    turn: Turn<CompileResult>,
) -> Result<(), Fault> {
    let bytes = call.memory.slice(at, len)?;
    if len > MODULE_BYTES_MAX {
        turn.finish(Err(format!(
            "a module of {len} bytes; one that is compiled at run time may have {MODULE_BYTES_MAX}"
        )));
        return Ok(());
    }
    match Room::take(&call.state.node, bytes.len()) {
        Ok(room) => {
            let form = call.state.node.form_for(&call.state.config);
            let (bytes, asked) = (bytes.to_vec(), call.compiles());
            let order = Order::Module { form, bytes, room, turn, asked };
            Modules::order(&call.state.node, order)
                .map_err(|error| Fault::new(format!("no thread to compile in: {error}")))
        }
        Err(words) => {
            turn.finish(Err(words));
            Ok(())
        }
    }
}

/// The module that a number stands for.
fn module(call: &Call<'_, '_>, module_id: i64) -> Result<ModuleRef, Fault> {
    if module_id == OWN {
        return Ok(call.state.module.clone());
    }
    let loaded = call.state.resources.get::<Arc<Loaded>>(module_id.cast_unsigned())?;
    Ok(ModuleRef::Own(Arc::clone(loaded)))
}

/// A process that a guest asks for.
struct Child {
    tags: ChildTags,
    module_id: i64,
    config: ConfigRef,
    function: (Ptr, u32),
    params: (Ptr, u32),
    /// The current message goes with it.
    with_message: bool,
}

impl Child {
    /// What it takes to make it, or why that cannot be. Waits until its module has the right form.
    fn start<'s>(
        self,
        call: &'s mut Call<'_, '_>,
    ) -> Poll<Result<Result<Start<'s>, String>, Fault>> {
        let (name_ptr, name_len) = self.function;
        if name_len > FUNCTION_NAME_BYTES_MAX {
            return Poll::Ready(Err(Fault::new(format!(
                "a function name of {name_len} bytes, the longest has {FUNCTION_NAME_BYTES_MAX}"
            ))));
        }
        let name = call.memory.slice(name_ptr, name_len)?;
        let records = records(call.memory.slice(self.params.0, self.params.1)?)?;
        let params = records.clone().map(|record| record.1).collect();
        let types = records.map(|record| record.0);
        let me = call.state.pid();
        if self.tags.any() && !call.state.node.ties.has_room(me) {
            return Poll::Ready(Err(Fault::new(format!(
                "the process has made links or monitors with {TIES_MAX} others, the most there can be"
            ))));
        }
        let module = module(call, self.module_id)?;
        call.state.wait.yields = false;
        let form = call.state.node.form_to_spawn(&module, &self.config);
        let Poll::Ready(image) = call.image(&module, form) else { return Poll::Pending };
        let image = match image {
            Ok(image) => image,
            Err(message) => return Poll::Ready(Ok(Err(message))),
        };
        // The parent may drop it, and make the next.
        if self.config.bytes() > 0 && held::is_full() {
            return Poll::Ready(Ok(Err(format!(
                "cannot spawn a process with a configuration of its own: the host holds {} bytes for \
                 all processes, and may hold {} (--max-host-memory)",
                held::total(),
                held::max()
            ))));
        }
        call.state.charge((image.block_bytes() / BLOCK_BYTES_PER_REDUCTION) as i64);
        let place = match admit(call) {
            Ok(place) => place,
            Err(message) => return Poll::Ready(Ok(Err(message))),
        };
        let branch = call.state.branch_of_children();
        Poll::Ready(Ok(Ok(Start {
            node: call.state.node,
            entry: Entry::new(&image, name, types, params),
            module,
            image,
            config: self.config,
            place,
            first_message: self.with_message.then_some(&mut call.state.scratch),
            tie: self.tags.any().then_some((me, self.tags)),
            seed: None,
            branch,
            is_main: false,
        })))
    }
}

/// Whether the process may spawn one more; its place, if they are counted.
pub(super) fn admit(call: &mut Call<'_, '_>) -> Result<Option<Place>, String> {
    call.state.may(Right::Spawn).map_err(|denied| denied.to_string())?;
    let Some(max) = call.state.config.children_max else { return Ok(None) };
    let place = call.state.account.claim_place(max).ok_or_else(|| {
        format!(
            "cannot spawn a process: {max} children of this one live, the most there may be \
             (--max-children)"
        )
    })?;
    Ok(Some(place))
}

fn spawn_process(call: &mut Call<'_, '_>, child: Child, id_ptr: Ptr) -> Poll<Result<u32, Fault>> {
    // Checked before there is a process whose id could not be told.
    call.memory.slice_mut(id_ptr, 8)?;
    let (worker, node) = (call.worker, call.state.node.get());
    let with_message = child.with_message;
    let Poll::Ready(start) = child.start(call)? else { return Poll::Pending };
    let mut again = false;
    let pid = start.and_then(|start| {
        start.on_worker(worker).map_err(|error| {
            again = node.may_spawn_dense(&error);
            error.to_string()
        })
    });
    if again {
        return call.spawn_again();
    }
    if with_message {
        call.state.tell_held();
    }
    spawned(call, id_ptr, pid.map(|pid| (0, pid)))
}

/// As [`spawn_process`], unless somebody has the name.
fn spawn_named(
    call: &mut Call<'_, '_>,
    child: Child,
    name: &str,
    (node_id_ptr, id_ptr): (Ptr, Ptr),
) -> Poll<Result<u32, Fault>> {
    call.memory.slice_mut(node_id_ptr, 8)?;
    call.memory.slice_mut(id_ptr, 8)?;
    let (worker, node, me) = (call.worker, call.state.node.get(), call.state.pid());
    // Nothing is written before the names have been read: they may lie in the same place.
    if let Some(pid) = node.registry.get(worker, name) {
        call.memory.write_u64(node_id_ptr, THIS_NODE)?;
        call.memory.write_u64(id_ptr, pid.as_u64())?;
        return Poll::Ready(Ok(FOUND));
    }
    if let Err(denied) = call.state.may(Right::Names) {
        return spawned(call, id_ptr, Err(denied.to_string()));
    }
    let Poll::Ready(start) = child.start(call)? else { return Poll::Pending };
    // All that may take long is done before the name is held.
    let mut again = false;
    let ready = start.and_then(|start| {
        start.ready().map_err(|error| {
            again = node.may_spawn_dense(&error);
            error.to_string()
        })
    });
    if again {
        drop(ready);
        return call.spawn_again();
    }
    let result = ready.and_then(|ready| match node.registry.claim(worker, &node.ties, name, me) {
        Ok(Claim::Taken(pid)) => Ok((FOUND, pid)),
        Ok(Claim::Vacant(vacancy)) => {
            let pid = ready.spawn(worker, Some(&vacancy)).map_err(|error| error.to_string())?;
            vacancy.fill(pid);
            Ok((0, pid))
        }
        Err(error) => Err(error.to_string()),
    });
    if result.is_ok() {
        call.memory.write_u64(node_id_ptr, THIS_NODE)?;
    }
    spawned(call, id_ptr, result)
}

impl Call<'_, '_> {
    /// The spawn is tried again, with another kind of memory, after others have run.
    #[cold]
    pub(super) fn spawn_again<T>(&mut self) -> Poll<T> {
        self.state.wait.yields = true;
        Poll::Pending
    }
}

/// Tells the guest what has become of its spawn.
fn spawned(
    call: &mut Call<'_, '_>,
    id_ptr: Ptr,
    result: Result<(u32, Pid), String>,
) -> Poll<Result<u32, Fault>> {
    let (status, id) = match result {
        Ok((status, pid)) => (status, pid.as_u64()),
        Err(message) => (1, call.state.keep_error(message)?),
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
