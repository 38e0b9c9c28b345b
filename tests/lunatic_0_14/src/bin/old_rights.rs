//! `lunatic` 0.14.1: configurations, caught panics, modules at run time, metrics, versions.

use lunatic::metrics::{
    counter, decrement_gauge, gauge, histogram, increment_counter, increment_gauge,
};
use lunatic::panic::catch_panic;
use lunatic::serializer::Bincode;
use lunatic::{sleep, spawn_link, Mailbox, Param, Process, ProcessConfig, WasmModule};
use std::time::Duration;

/// Sends 42 to the process whose id is in the parameter, in the serializer's format.
const PLUGIN: &[u8] = br#"(module
  (import "lunatic::message" "create_data" (func $create (param i64 i64)))
  (import "lunatic::message" "write_data" (func $write (param i32 i32) (result i32)))
  (import "lunatic::message" "send" (func $send (param i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "tell") (param i64)
    (call $create (i64.const 0) (i64.const 0))
    (i32.store (i32.const 0) (i32.const 42))
    (drop (call $write (i32.const 0) (i32.const 4)))
    (drop (call $send (local.get 0)))))"#;

#[lunatic::main]
fn main(mailbox: Mailbox<u32>) {
    // A panic in a call, also after a wait; the process goes on.
    println!("caught {:?}", catch_panic(|| -> u32 { panic!("on purpose") }));
    let slow = catch_panic(|| {
        sleep(Duration::from_millis(5));
        let inner = catch_panic(|| -> u32 { panic!("inside") });
        (inner.is_err(), "fine".to_string())
    });
    println!("fine {slow:?}");

    // Modules.
    println!("no module {}", WasmModule::new(b"garbage").is_err());
    let module = WasmModule::new(PLUGIN).unwrap();
    let me = Param::I64(mailbox.this().id() as i64);
    module.spawn::<(), Bincode>("tell", &[me]).unwrap();
    println!("plugin says {}", mailbox.receive());
    // In a message to a process that runs it, too.
    let runner = Process::spawn(mailbox.this(), |parent, runner: Mailbox<WasmModule>| {
        let module = runner.receive();
        let parent = Param::I64(parent.id() as i64);
        module.spawn::<(), Bincode>("tell", &[parent]).unwrap();
    });
    runner.send(module);
    println!("and again {}", mailbox.receive());

    // Configurations.
    let mut config = ProcessConfig::new().unwrap();
    println!("{} {}", config.can_spawn_processes(), config.can_compile_modules());
    config.set_can_spawn_processes(true);
    config.set_max_memory(8_000_000);
    config.set_max_fuel(1_000);
    println!("{} {}", config.can_spawn_processes(), config.get_max_memory());
    config.add_environment_variable("WHO", "child");
    config.add_command_line_argument("one");
    let seen = spawn_link!(@task &config, || {
        let args: Vec<String> = std::env::args().collect();
        format!("{} {args:?}", std::env::var("WHO").unwrap_or_default())
    });
    println!("{}", seen.result());
    let refused = spawn_link!(@task &config, || WasmModule::new(PLUGIN).is_err());
    println!("may not compile {}", refused.result());

    // Metrics.
    counter("requests", 40);
    increment_counter("requests");
    gauge("depth", 1.0);
    increment_gauge("depth", 3.0);
    decrement_gauge("depth", 1.5);
    histogram("latency", 2.0);
}
