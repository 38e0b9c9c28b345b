//! `lunatic` 0.14.1: abstract processes, requests, supervisors, the registry, timers.

use std::time::Duration;

use lunatic::ap::handlers::{Message, Request};
use lunatic::ap::{AbstractProcess, Config, MessageHandler, ProcessRef, RequestHandler, State};
use lunatic::serializer::{Json, MessagePack};
use lunatic::supervisor::{Supervisor, SupervisorConfig, SupervisorStrategy};
use lunatic::{sleep, Mailbox, ProcessName};

#[derive(ProcessName)]
struct Global;

struct Counter(u32);

#[derive(serde::Serialize, serde::Deserialize)]
struct Add(u32);
#[derive(serde::Serialize, serde::Deserialize)]
struct Get;
#[derive(serde::Serialize, serde::Deserialize)]
struct Fail;

impl AbstractProcess for Counter {
    type Arg = u32;
    type State = Self;
    type Serializer = Json;
    type Handlers = (Message<Add>, Request<Get>, Message<Fail>);
    type StartupError = String;

    fn init(_: Config<Self>, start: u32) -> Result<Self, String> {
        if start == 13 {
            return Err("an unlucky number".to_string());
        }
        Ok(Self(start))
    }

    fn terminate(state: Self) {
        println!("terminated at {}", state.0);
    }
}

impl MessageHandler<Add> for Counter {
    fn handle(mut state: State<Self>, Add(more): Add) {
        state.0 += more;
    }
}

impl RequestHandler<Get> for Counter {
    type Response = u32;
    fn handle(state: State<Self>, _: Get) -> u32 {
        state.0
    }
}

impl MessageHandler<Fail> for Counter {
    fn handle(_: State<Self>, _: Fail) {
        panic!("on purpose");
    }
}

struct Tree;

impl Supervisor for Tree {
    type Arg = ();
    type Children = (Counter, Counter);

    fn init(config: &mut SupervisorConfig<Self>, _: ()) {
        config.set_strategy(SupervisorStrategy::OneForOne);
        config.set_args((1, 100));
    }
}

struct Slow;

impl AbstractProcess for Slow {
    type Arg = ();
    type State = Self;
    type Serializer = MessagePack;
    type Handlers = (Request<u64>,);
    type StartupError = ();

    fn init(_: Config<Self>, (): ()) -> Result<Self, ()> {
        Ok(Self)
    }
}

impl RequestHandler<u64> for Slow {
    type Response = u64;
    fn handle(_: State<Self>, millis: u64) -> u64 {
        sleep(Duration::from_millis(millis));
        millis
    }
}

#[lunatic::main]
fn main(_: Mailbox<()>) {
    // Started, asked, shut down.
    let counter = Counter::link().start(1).unwrap();
    counter.send(Add(41));
    println!("counter {}", counter.request(Get));
    counter.shutdown();
    println!("startup error {:?}", Counter::start(13).is_err());

    // By name.
    let _named = Counter::link().start_as(&Global, 7).unwrap();
    let found = ProcessRef::<Counter>::lookup(&Global).unwrap();
    println!("by name {}", found.request(Get));
    println!("taken {}", Counter::link().start_as(&Global, 8).is_err());

    // A message later, and one that is cancelled.
    found.with_delay(Duration::from_millis(20)).send(Add(1));
    let timer = found.with_delay(Duration::from_millis(20)).send(Add(100));
    println!("cancelled {}", timer.cancel());
    sleep(Duration::from_millis(60));
    println!("later {}", found.request(Get));

    // A request that takes too long, and one that does not.
    let slow = Slow::link().start(()).unwrap();
    let impatient = slow.with_timeout(Duration::from_millis(20));
    println!("too slow {}", impatient.request(2_000).is_err());
    let slow = Slow::link().start(()).unwrap();
    println!("in time {}", slow.with_timeout(Duration::from_secs(60)).request(1).is_ok());

    // One child fails and begins anew; the other goes on.
    let tree = Tree::link().start(()).unwrap();
    let (first, second) = tree.children();
    first.send(Add(5));
    second.send(Add(5));
    println!("children {} {}", first.request(Get), second.request(Get));
    first.send(Fail);
    let again = loop {
        sleep(Duration::from_millis(5));
        let (first, _) = tree.children();
        if let Ok(count) = first.with_timeout(Duration::from_millis(500)).request(Get) {
            break count;
        }
    };
    println!("after a failure {again} {}", second.request(Get));
    tree.shutdown();
}
