//! Programs on the unmodified crates `lunatic` 0.14.1 and `submillisecond` 0.4.1.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use support::{Output, Running, guest, lunatic, run_guest};

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

#[test]
fn a_web_server_answers_a_thousand_requests_on_kept_connections() {
    let Some(module) = guest("old_http") else { return };
    for workers in ["1", "4"] {
        // A port of our own: bound, told, and free again when the server takes it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
        let address = port.expect("it is bound").to_string();
        let mut command = lunatic();
        let rule = format!("--allow-net=listen:{address}");
        command.args(["run", "--workers", workers, &rule]).arg(&module).arg("--").arg(&address);
        let mut server = Running::start(command);
        server.wait_for("Server started");
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
