//! `lunatic` 0.14.1: what the other programs leave out. Serializers, references to functions, names,
//! links with tags, limits that end a child, deferred requests, and what there is without other nodes.

use std::cell::RefCell;
use std::time::Duration;

use lunatic::ap::{AbstractProcess, Config, DeferredResponse};
use lunatic::function::FuncRef;
use lunatic::serializer::{Json, MessagePack, ProtocolBuffers};
use lunatic::{
    abstract_process, distributed, host, process_local, spawn_link, test, Mailbox, Process,
    ProcessConfig, ProcessName, Tag,
};
use protobuf::well_known_types::wrappers::StringValue;

process_local!(static CALLS: RefCell<Vec<&'static str>> = RefCell::new(Vec::new()));

#[derive(ProcessName)]
struct Greeter;

#[lunatic::main]
fn main(mailbox: Mailbox<u64>) {
    serializers();
    functions();
    names(&mailbox);
    links();
    limits();
    deferred();
    alone();
    CALLS.with_borrow(|calls| println!("calls {calls:?}"));
}

fn note(call: &'static str) {
    CALLS.with_borrow_mut(|mut calls| calls.push(call));
}

fn serializers() {
    note("serializers");
    let json = Process::<(String, Option<f64>), Json>::spawn(
        (),
        |(), mailbox: Mailbox<(String, Option<f64>), Json>| {
            println!("json {:?}", mailbox.receive());
        },
    );
    json.send(("text".to_string(), Some(1.5)));
    wait_for(json.id());
    let pack =
        Process::<Vec<u8>, MessagePack>::spawn((), |(), mailbox: Mailbox<Vec<u8>, MessagePack>| {
            println!("msgpack {:?}", mailbox.receive());
        });
    pack.send(vec![1, 2, 255]);
    wait_for(pack.id());
    // A spawn cannot be told to use protocol buffers: its own first message is none.
    let proto = spawn_link!(@task || {
        // SAFETY: the task has no other mailbox in use.
        #[allow(unsafe_code)]
        let mailbox = unsafe { Mailbox::<StringValue, ProtocolBuffers>::new() };
        mailbox.this().send(StringValue { value: "text".to_string(), ..StringValue::default() });
        mailbox.receive().value
    });
    println!("protobuf {}", proto.result());
    // What is no message of the type is an error of the receiver's.
    let wrong = Process::<Vec<u8>, Json>::spawn((), |(), mailbox: Mailbox<Vec<u8>, Json>| {
        println!("undecodable {}", mailbox.try_receive().is_err());
    });
    // SAFETY: only the type of its messages is another.
    #[allow(unsafe_code)]
    let same = unsafe { Process::<String, Json>::new(wrong.node_id(), wrong.id()) };
    same.send("not a list".to_string());
    wait_for(wrong.id());
}

/// Until the process is gone.
fn wait_for(id: u64) {
    // SAFETY: no message is sent to it.
    #[allow(unsafe_code)]
    let process = unsafe { Process::<()>::new(host::node_id(), id) };
    while process.is_alive() {
        lunatic::sleep(Duration::from_millis(1));
    }
}

fn functions() {
    note("functions");
    fn double(x: i32) -> i32 {
        x * 2
    }
    let child = spawn_link!(@task || {
        let functions = [FuncRef::new(double as fn(i32) -> i32), FuncRef::new(|x| x + 1)];
        let grandchild = spawn_link!(@task |functions| {
            let functions: [FuncRef<fn(i32) -> i32>; 2] = functions;
            functions.iter().fold(20, |value, function| function(value))
        });
        grandchild.result()
    });
    println!("functions {}", child.result());
}

fn names(mailbox: &Mailbox<u64>) {
    note("names");
    println!("nobody {}", Process::<u64>::lookup(&Greeter).is_none());
    mailbox.this().register(&Greeter);
    let child = spawn_link!(@task || {
        let me: Process<u64> = Process::lookup(&Greeter).unwrap();
        me.send_after(7, Duration::from_millis(5));
        me.tag_send(Tag::special(65).unwrap(), 8);
    });
    child.result();
    println!("tagged {}", mailbox.tag_receive(&[Tag::special(65).unwrap()]));
    println!("later {}", mailbox.receive());
    let timer = mailbox.this().tag_send_after(Tag::new(), 9, Duration::from_secs(3600));
    println!("cancelled {}", timer.cancel());
    println!("nothing {}", mailbox.receive_timeout(Duration::from_millis(5)).is_err());
}

fn links() {
    note("links");
    let watcher = spawn_link!(@task || {
        // SAFETY: the task has no other mailbox in use.
        #[allow(unsafe_code)]
        let mailbox = unsafe { Mailbox::<()>::new() }.catch_link_failure();
        let tag = Tag::new();
        let victim = Process::spawn_link_tag((), tag, |(), _: Mailbox<()>| {
            lunatic::sleep(Duration::from_secs(3600));
        });
        victim.kill();
        let died = mailbox.receive().unwrap_signal();
        let unlinked = Process::spawn_link((), |(), _: Mailbox<()>| {
            lunatic::sleep(Duration::from_secs(3600));
        });
        unlinked.unlink();
        unlinked.kill();
        let told = mailbox.receive_timeout(Duration::from_millis(20));
        (died.0 == tag, told.is_err_and(|error| error.is_timed_out()))
    });
    println!("links {:?}", watcher.result());
}

fn limits() {
    note("limits");
    let mut config = ProcessConfig::new().unwrap();
    config.set_max_fuel(1);
    println!("fuel {}", config.get_max_fuel());
    let busy = Process::spawn_config(&config, (), |(), _: Mailbox<()>| {
        let mut number = 1u64;
        loop {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
    });
    wait_for(busy.id());
    println!("out of fuel true");
    let mut config = ProcessConfig::new().unwrap();
    config.set_max_memory(4 << 20);
    let large = Process::spawn_config(&config, (), |(), _: Mailbox<()>| {
        println!("no room {}", Vec::<u8>::new().try_reserve(64 << 20).is_err());
    });
    wait_for(large.id());
    config.set_can_create_configs(false);
    let denied = spawn_link!(@task &config, || ProcessConfig::new().is_err());
    println!("may not configure {}", denied.result());
}

struct Oracle {
    waiting: Vec<DeferredResponse<u32, Oracle>>,
}

#[abstract_process(visibility = pub(crate))]
impl Oracle {
    #[init]
    fn init(_: Config<Self>, (): ()) -> Result<Self, ()> {
        Ok(Self { waiting: Vec::new() })
    }

    #[handle_deferred_request]
    fn ask(&mut self, response: DeferredResponse<u32, Self>) {
        self.waiting.push(response);
    }

    #[handle_message]
    fn answer(&mut self, number: u32) {
        for response in self.waiting.drain(..) {
            response.send_response(number);
        }
    }
}

fn deferred() {
    note("deferred");
    let oracle = Oracle::link().start(()).unwrap();
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let oracle = oracle;
            spawn_link!(@task |oracle| oracle.ask())
        })
        .collect();
    // Not before all of them wait: each round answers those that do.
    let answering = spawn_link!(|oracle, _mailbox: Mailbox<()>| loop {
        oracle.answer(42);
        lunatic::sleep(Duration::from_millis(1));
    });
    println!("deferred {:?}", asking.into_iter().map(|task| task.result()).collect::<Vec<_>>());
    answering.unlink();
    answering.kill();
    oracle.shutdown();
}

fn alone() {
    note("alone");
    println!("nodes {} {:?}", distributed::node_id(), distributed::nodes());
    println!("no control {}", distributed::lookup_nodes("name=one").is_err());
    println!("my id {}", host::process_id() != 0);
    // SAFETY: they take nothing and give numbers.
    #[allow(unsafe_code)]
    let version = unsafe {
        (host::api::version::major(), host::api::version::minor(), host::api::version::patch())
    };
    println!("version {version:?}");
}

/// For `lunatic test`.
#[test]
fn a_test_beside_a_program() {
    assert_eq!(host::node_id(), 0);
}
