//! Programs on the unmodified crates `lunatic` 0.14.1 and `submillisecond` 0.4.1.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use support::{Output, Running, guest, lunatic, run, run_guest};

#[test]
fn all_140_functions_have_their_types() {
    let expected = include_str!("lunatic_0_14/functions.txt").lines();
    let expected: Vec<(&str, String)> = expected
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, types) = line.split_once(" (").expect("NAME (TYPES)");
            (name, format!("({types}"))
        })
        .collect();
    assert_eq!(expected.len(), 140);
    // Theirs have names: `(len_ptr: i32, id: i64) -> i32`.
    let list = run(&["imports"], b"").expect_quiet_success().stdout;
    let ours: BTreeMap<&str, String> = list
        .lines()
        .map(|line| {
            let (name, types) = line.split_once('(').expect("NAME(TYPES)");
            let (params, result) = types.split_once(')').expect("the types end");
            let params: Vec<&str> = params
                .split(", ")
                .filter_map(|param| param.split_once(": ").map(|(_, ty)| ty))
                .collect();
            (name, format!("({}){result}", params.join(", ")))
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, theirs) in &expected {
        match ours.get(name) {
            None => wrong.push(format!("{name}: {theirs} there, missing here")),
            Some(ours) if ours == theirs => {}
            Some(ours) => wrong.push(format!("{name}: {theirs} there, {ours} here")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a program with one worker and with four, and compares what it prints.
fn prints(name: &str, options: &[&str], args: &[&str], lines: &[&str]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for workers in ["1", "4"] {
        let options = [&["--workers", workers][..], options].concat();
        let Some(output) = run_guest(&options, name, args, b"") else { continue };
        let output = output.expect(0);
        assert_eq!(output.stdout.lines().collect::<Vec<_>>(), lines, "{output:#?}");
        outputs.push(output);
    }
    outputs
}

#[test]
fn processes_links_mailboxes_protocols_and_locals() {
    prints(
        "old_processes",
        &[],
        &[],
        &[
            "sum 42",
            "second",
            "first",
            "true",
            "product 42",
            "theirs 1 ours 2",
            "total 999000",
            "link died: true",
            "monitored process died: true",
        ],
    );
}

#[test]
fn abstract_processes_supervisors_names_and_timers() {
    prints(
        "old_servers",
        &[],
        &[],
        &[
            "counter 42",
            "terminated at 42",
            "startup error true",
            "by name 7",
            "taken true",
            "cancelled true",
            "later 8",
            "too slow true",
            "in time true",
            "children 6 105",
            "after a failure 1 105",
            "terminated at 105",
            "terminated at 1",
        ],
    );
}

#[test]
fn configurations_caught_panics_modules_and_metrics() {
    let outputs = prints(
        "old_rights",
        &["--stats=json"],
        &[],
        &[
            "caught Err(Panicked)",
            "fine Ok((true, \"fine\"))",
            "no module true",
            "plugin says 42",
            "and again 42",
            "false false",
            "true 8000000",
            "child [\"one\"]",
            "may not compile true",
        ],
    );
    for output in outputs {
        output.says(&[
            "{\"name\":\"requests\",\"counter\":41}",
            "{\"name\":\"depth\",\"gauge\":2.5}",
            "{\"name\":\"latency\",\"histogram\":{\"count\":1,",
        ]);
    }
}

#[test]
fn tcp_udp_and_names_of_hosts() {
    prints(
        "old_net",
        &["--allow-net"],
        &[],
        &[
            "all echoed true",
            "peeked (2, 5) read 5",
            "no limit None None",
            "limits true",
            "read TimedOut",
            "peek TimedOut",
            "write TimedOut",
            "nobody listens true",
            "from the other process TEXT",
            "both halves 300000",
            "two modules there here",
            "taken true",
            "ended 0",
            "gone true",
            "sent 4",
            "received 4 true",
            "peer NotConnected",
            "send true",
            "connected true",
            "cut off 3",
            "empty 0",
            "options 42 true",
            "too long true",
            "answered 6",
            "address [127.0.0.1:80]",
            "localhost true",
            "no port true",
            "nonsense true",
            "unknown Other",
        ],
    );
}

#[test]
fn tls_with_certificates_of_its_own() {
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_string()]).expect("a good name");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((cert, key), (other, _)) = (certificate("localhost"), certificate("localhost"));
    prints(
        "old_tls",
        &["--allow-net"],
        &[&cert, &key, &other],
        &[
            "from here true",
            "answer \"HELLO\"",
            "told true",
            "told true",
            "told true",
            "refused true true",
            "no limit None None",
            "limits true",
            "silent TimedOut",
            "no key true",
            "nonsense true",
            "nobody true",
        ],
    );
}

#[test]
fn databases_with_values_errors_and_many_processes() {
    for workers in ["1", "4"] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("text");
        let options = ["--workers", workers, "--dir", path];
        let Some(output) = run_guest(&options, "old_sqlite", &[path], b"") else { return };
        let output = output.expect(0);
        let values = "Double(1.5), Blob([0, 255, 7]), Null]";
        let lines = [
            &format!("[Int64(1), Text(\"one\"), {values}"),
            &format!("[Int64(9223372036854775807), Text(\"zero\\0inside\"), {values}"),
            &format!("[Int64(-9223372036854775808), Text(\"äöü\"), {values}"),
            "positive 2",
            "one by one Some([Int64(1)]) Some([Int64(2)])",
            "named [[Int64(42), Text(\"text\"), Null]]",
            "outside true",
            "no SQL Err(Error)",
            "last SqliteError { code: Error, message: Some(\"near \\\"SELEKT\\\": syntax error\") }",
            "twice Constraint",
            "last SqliteError { code: Constraint, message: \
             Some(\"UNIQUE constraint failed: unique_ones.a\") }",
            "rows [[Int64(1)]]",
            "counted [[Int64(100)]] true",
        ];
        assert_eq!(output.stdout.lines().collect::<Vec<_>>(), lines, "{output:#?}");
    }
}

#[test]
fn serializers_functions_names_limits_and_no_other_nodes() {
    let mut version = env!("CARGO_PKG_VERSION").split('.').map(|number| number.parse::<u32>());
    let version: (u32, u32, u32) =
        std::array::from_fn(|_| version.next().expect("three").expect("numbers")).into();
    prints(
        "old_more",
        &[],
        &[],
        &[
            "json (\"text\", Some(1.5))",
            "msgpack [1, 2, 255]",
            "protobuf text",
            "undecodable true",
            "functions 41",
            "nobody true",
            "tagged 8",
            "later 7",
            "cancelled true",
            "nothing true",
            "links (true, true)",
            "fuel 1",
            "out of fuel true",
            "no room true",
            "may not configure true",
            "deferred [42, 42, 42]",
            "nodes 0 []",
            "no control true",
            "my id true",
            &format!("version {version:?}"),
            "calls [\"serializers\", \"functions\", \"names\", \"links\", \"limits\", \"deferred\", \"alone\"]",
        ],
    );
}

/// An HTTP connection that is kept alive: as much of a client as these tests need.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        Self(BufReader::new(stream))
    }

    /// Status and body.
    fn request(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).expect("the server reads");
        let (mut status, mut length) = (0, 0);
        for number in 0.. {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("the server answers");
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
            } else if line.is_empty() {
                break;
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the whole body comes");
        (status, String::from_utf8(body).expect("text"))
    }
}

/// Where nobody listens. None of those ports that the system gives to clients, of which other tests have
/// many thousand: it could be taken before the server has it.
fn free_address() -> String {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() % 2_500 * 8 + ASKED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", 10_000 + number % 20_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Starts the web server; with its address.
fn web_server(workers: &str) -> Option<(Running, String)> {
    let module = guest("old_http")?;
    let address = free_address();
    let mut command = lunatic();
    let rule = format!("--allow-net=listen:{address}");
    command.args(["run", "--workers", workers, &rule]).arg(&module).arg("--").arg(&address);
    let mut server = Running::start(command);
    server.wait_for("Server started");
    Some((server, address))
}

/// Under a load generator; that one says so if a request fails, or waits for a minute.
#[test]
fn no_request_of_wrk_fails_in_ten_seconds() {
    if Command::new("wrk").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no wrk");
        return;
    }
    let Some((server, address)) = web_server("2") else { return };
    let mut wrk = Command::new("wrk");
    wrk.args(["-t2", "-c100", "-d10s", "--timeout", "60s"])
        .arg(format!("http://{address}/hello/wrk"));
    let output = wrk.output().expect("it was there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let count: u32 = count.expect("it counts").0.parse().expect("a number");
    assert!(count > 0, "{text}");
    // And it serves on.
    let (status, body) = Client::connect(&address).request("GET", "/hello/after", "");
    assert_eq!((status, body.as_str()), (200, "Hello, after!"));
    server.signal(libc::SIGINT);
    server.finish().expect(130);
}

#[test]
fn a_web_server_answers_a_thousand_requests_on_kept_connections() {
    for workers in ["1", "4"] {
        let Some((server, address)) = web_server(workers) else { return };
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(&address)).collect();
        for number in 0..100 {
            for client in &mut clients {
                let (path, body, expected) = match number % 3 {
                    0 => ("/".to_string(), String::new(), "Hello, world!".to_string()),
                    1 => (format!("/hello/{number}"), String::new(), format!("Hello, {number}!")),
                    _ => (
                        "/birthday".to_string(),
                        format!("{{\"name\":\"x\",\"age\":{number}}}"),
                        format!("{{\"name\":\"x\",\"age\":{}}}", number + 1),
                    ),
                };
                let method = if body.is_empty() { "GET" } else { "POST" };
                assert_eq!(client.request(method, &path, &body), (200, expected));
            }
        }
        assert_eq!(clients[0].request("GET", "/nowhere", "").0, 404);
        server.signal(libc::SIGINT);
        server.finish().expect(130);
    }
}
