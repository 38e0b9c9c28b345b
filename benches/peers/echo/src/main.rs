//! Echo servers under load, on this machine only: each server alone, with so many connections, all of
//! which send a message as soon as they have its echo. Prints round trips in a second and how long the
//! slowest of a hundred takes.
//!
//! The load is made on the same processors, by one thread that is the same for all servers; so the
//! figures compare, and say little of a server that has its machine to itself. With 10,000 connections
//! that all have a message under way, a round trip takes 10,000 turns: that is the line, not the server.

mod load;
mod tokio_server;

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Threads of each server.
const WORKERS: &str = "2";

/// Says that this process is to be the server in tokio.
const SERVE_TOKIO: &str = "serve-tokio";

struct Arguments {
    seconds: u64,
    connections: Vec<usize>,
    servers: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).is_some_and(|word| word == SERVE_TOKIO) {
        return Ok(tokio_server::serve()?);
    }
    let arguments = arguments()?;
    raise_open_files_limit();
    println!(
        "| server | connections | round trips/s | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for &connections in &arguments.connections {
        for name in &arguments.servers {
            let mut server = match start(name) {
                Ok(server) => server,
                Err(error) => {
                    eprintln!("{name} does not run: {error}");
                    continue;
                }
            };
            let time = Duration::from_secs(arguments.seconds);
            let result = load::run(server.address, connections, time);
            let _ended = server.child.kill();
            let _ended = server.child.wait();
            let result = result?;
            println!(
                "| {name} | {connections} | {:.0} | {:.0?} | {:.0?} |",
                result.rate, result.p50, result.p99
            );
        }
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        seconds: 3,
        connections: vec![1, 100, 10_000],
        servers: ["lunatic", "go", "tokio"].map(str::to_string).to_vec(),
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or("each option has a value")?;
        let values = || value.split(',').map(str::to_string);
        match word.as_str() {
            "--seconds" => arguments.seconds = value.parse::<u64>()?.min(60),
            "--connections" => {
                arguments.connections =
                    values().map(|number| number.parse()).collect::<Result<_, _>>()?;
            }
            "--servers" => arguments.servers = values().collect(),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(arguments)
}

struct Server {
    child: Child,
    address: SocketAddr,
}

fn start(name: &str) -> Result<Server, Box<dyn Error>> {
    let mut command = match name {
        "lunatic" => {
            let target = repository().join("target");
            let mut command = Command::new(target.join("release/lunatic"));
            command.args(["run", "--allow-net", "--workers", WORKERS]);
            command.arg(target.join("guests/echo_server.wasm"));
            command
        }
        "go" => {
            let program = env::temp_dir().join(format!("bench-echo-go-{}", std::process::id()));
            let mut build = Command::new("go");
            build.current_dir(repository().join("benches/peers/echo/go"));
            build.env("GOTOOLCHAIN", "local").env("GOWORK", "off").args(["build", "-o"]);
            if !build.arg(&program).arg(".").status()?.success() {
                return Err("it cannot be built".into());
            }
            let mut command = Command::new(program);
            command.env("GOMAXPROCS", WORKERS);
            command
        }
        "tokio" => {
            let mut command = Command::new(env::current_exe()?);
            command.arg(SERVE_TOKIO);
            command
        }
        other => return Err(format!("no server is called {other}").into()),
    };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.trim().rsplit(' ').next().ok_or("no address")?.parse()?;
    Ok(Server { child, address })
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// As servers do.
pub(crate) fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
