//! An echo server, a process for each connection. The first argument says how:
//!
//! - `spawn`: the stream travels with the spawn;
//! - `message`: it travels in a message to a process that waits for it;
//! - `tls CERTS KEYS`: with TLS; a handshake that fails is told and not minded.
//!
//! A connection that sends `crash` ends its process, `never` is not read from any more, `spin` computes
//! for ever; `stuck` is written to for ever, and killed when a later connection sends `kill`.

use lunatic::net::{TcpListener, TcpStream, TlsListener, TlsStream};
use lunatic::{Channel, Process};
use std::io::{Read, Write};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "tls" => return serve_tls(&args[1], &args[2]),
        "spawn" => {}
        "message" => {}
        other => panic!("there is no way {other:?}"),
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("it may listen");
    println!("listening on {}", listener.local_addr().expect("it listens"));
    let victims: Channel<Process> = Channel::new(0);
    loop {
        match listener.accept() {
            Ok((stream, _)) if args[0] == "spawn" => {
                Process::spawn((stream, victims.clone()), echo).expect("there is room");
            }
            Ok((stream, _)) => {
                let channel = Channel::new(0);
                let context = (channel.clone(), victims.clone());
                Process::spawn(context, |(channel, victims): (Channel<TcpStream>, _)| {
                    echo((channel.receive(), victims));
                })
                .expect("there is room");
                channel.send(stream);
            }
            Err(error) => println!("accept: {error}"),
        }
    }
}

fn echo((mut stream, victims): (TcpStream, Channel<Process>)) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                command(&buffer[..count], &mut stream, &victims);
                if let Err(error) = stream.write_all(&buffer[..count]) {
                    println!("write: {}", error.kind());
                    break;
                }
            }
            Err(error) => {
                println!("read: {}", error.kind());
                break;
            }
        }
    }
}

fn command(text: &[u8], stream: &mut TcpStream, victims: &Channel<Process>) {
    match text {
        b"crash" => panic!("as it was told"),
        b"never" => loop {
            lunatic::sleep(Duration::from_secs(3600));
        },
        b"stuck" => {
            victims.send(Process::current());
            println!("stuck");
            loop {
                stream.write_all(&[7; 64 * 1024]).expect("it waits");
            }
        }
        b"spin" => {
            println!("spins");
            let mut number = 1u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        }
        b"kill" => {
            let victim = victims.receive();
            victim.kill();
            println!("killed");
        }
        _ => {}
    }
}

fn serve_tls(certs: &str, keys: &str) {
    let listener = TlsListener::bind("127.0.0.1:0", certs.as_bytes(), keys.as_bytes());
    let listener = listener.expect("certificates and keys are good");
    println!("listening on {}", listener.local_addr().expect("it listens"));
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                Process::spawn(stream, echo_tls).expect("there is room");
            }
            Err(error) => println!("accept: {error}"),
        }
    }
}

fn echo_tls(mut stream: TlsStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => stream.write_all(&buffer[..count]).expect("the other side reads"),
            Err(error) => {
                println!("read: {error}");
                break;
            }
        }
    }
}
