//! HTTP servers under load, on this machine only: each server alone, asked by `wrk` for a text and for
//! JSON. Prints requests in a second and the 50th and 99th percentile of their time.

mod axum_server;

use std::env;
use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Threads of each server.
const WORKERS: usize = 2;

/// Says that this process is to be the server in axum.
const SERVE_AXUM: &str = "serve-axum";

/// What `wrk` sends for JSON.
const POST: &str = r#"
wrk.method = "POST"
wrk.body = '{"name":"somebody","age":41}'
wrk.headers["content-type"] = "application/json"
"#;

struct Arguments {
    seconds: u64,
    connections: Vec<usize>,
    servers: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [word, address] = &words[..]
        && word == SERVE_AXUM
    {
        return Ok(axum_server::serve(address, WORKERS)?);
    }
    let arguments = arguments(&words)?;
    let script = env::temp_dir().join(format!("bench-http-{}.lua", std::process::id()));
    std::fs::write(&script, POST)?;
    println!("| request | connections | server | requests/s | p50 | p99 |");
    println!("| --- | ---: | --- | ---: | ---: | ---: |");
    for (request, path, script) in [("text", "/", None), ("JSON", "/birthday", Some(&script))] {
        for &connections in &arguments.connections {
            for name in &arguments.servers {
                let mut server = start(name)?;
                let url = format!("http://{}{path}", server.address);
                let result = load(&url, connections, arguments.seconds, script);
                let _ended = server.child.kill();
                let _ended = server.child.wait();
                let Outcome { rate, p50, p99 } = result?;
                println!("| {request} | {connections} | {name} | {rate} | {p50} | {p99} |");
            }
        }
    }
    std::fs::remove_file(&script)?;
    Ok(())
}

fn arguments(words: &[String]) -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        seconds: 5,
        connections: vec![1, 50],
        servers: ["lunatic", "axum"].map(str::to_string).to_vec(),
    };
    for pair in words.chunks(2) {
        let [word, value] = pair else { return Err("each option has a value".into()) };
        let values = || value.split(',').map(str::to_string);
        match word.as_str() {
            "--seconds" => arguments.seconds = value.parse::<u64>()?.clamp(1, 60),
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

/// A server that accepts connections.
fn start(name: &str) -> Result<Server, Box<dyn Error>> {
    // A port that the system has just had free.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = match name {
        "lunatic" => {
            let target = repository().join("target");
            let mut command = Command::new(target.join("release/lunatic"));
            command.args(["run", "--workers", &WORKERS.to_string()]);
            command.arg(format!("--allow-net=listen:{address}"));
            command.arg(target.join("guests/old_http.wasm")).arg("--");
            command
        }
        "axum" => {
            let mut command = Command::new(env::current_exe()?);
            command.arg(SERVE_AXUM);
            command
        }
        other => return Err(format!("no server is called {other}").into()),
    };
    command.arg(address.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("{name} does not run: {status}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(Server { child, address })
}

struct Outcome {
    rate: String,
    p50: String,
    p99: String,
}

/// One run of `wrk`, on one thread. An answer that is no success is an error.
fn load(
    url: &str,
    connections: usize,
    seconds: u64,
    script: Option<&PathBuf>,
) -> Result<Outcome, Box<dyn Error>> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s")]);
    if let Some(script) = script {
        wrk.arg("-s").arg(script);
    }
    let output = wrk.arg(url).output().map_err(|error| format!("wrk does not run: {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("requests have failed:\n{text}").into());
    }
    let after = |sign: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(sign));
        line.map(|rest| rest.trim().to_string()).ok_or_else(|| format!("no \"{sign}\" in:\n{text}"))
    };
    Ok(Outcome { rate: after("Requests/sec:")?, p50: after("50%")?, p99: after("99%")? })
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}
