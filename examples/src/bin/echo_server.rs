//! An echo server, a process for each connection. Run it with `--allow-net`; the first argument may say
//! where to listen:
//!
//! ```sh
//! lunatic run --allow-net target/guests/echo_server.wasm -- 127.0.0.1:7777
//! ```

use lunatic::net::{TcpListener, TcpStream};
use lunatic::Process;
use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let at = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_string());
    let listener = TcpListener::bind(at)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = Process::spawn(stream, echo) {
                    eprintln!("{error}");
                }
            }
            Err(error) => eprintln!("{error}"), // too many open files, for example
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}
