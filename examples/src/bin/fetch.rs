//! Fetches pages at the same time, a process for each, and says how many bytes came:
//!
//! ```sh
//! lunatic run --allow-net target/guests/fetch.wasm -- https://example.org/ http://localhost:8000/
//! ```

use lunatic::net::{TcpStream, TlsStream};
use lunatic::{Channel, Process};
use std::io::{Read, Result, Write};
use std::time::Duration;

/// The longest that connecting, and each read, takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let results = Channel::new(0);
    for url in urls {
        Process::spawn((url, results.clone()), |(url, results): (String, Channel<String>)| {
            results.send(match fetch(&url) {
                Ok(page) => format!("{url}: {} bytes", page.len()),
                Err(error) => format!("{url}: {error}"),
            });
        })
        .expect("there is room");
    }
    for result in &results {
        println!("{result}");
    }
}

fn fetch(url: &str) -> Result<Vec<u8>> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    if scheme == "https" {
        let stream = TlsStream::connect_timeout(name, port.parse().unwrap_or(443), &[], PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(stream, &request)
    } else {
        let stream = TcpStream::connect((name, port.parse().unwrap_or(80)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(stream, &request)
    }
}

fn ask(mut stream: impl Read + Write, request: &str) -> Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)?;
    Ok(page)
}
