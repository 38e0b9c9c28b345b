//! A client with TLS: of the server at a port of localhost, trusting the right certificate, another one,
//! by another name, and for a short time only. Then a server, which nobody wants.

use lunatic::net::{TcpStream, TlsListener, TlsStream};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = args[0].parse().expect("a port");
    let (right, wrong) = (args[1].as_bytes(), args[2].as_bytes());

    let mut stream =
        TlsStream::connect_with_certs("localhost", port, &[right]).expect("it answers");
    stream.write_all(b"hello").expect("it reads");
    stream.flush().expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers, and says farewell");
    println!("{answer}");

    let error = TlsStream::connect_with_certs("localhost", port, &[wrong]).expect_err("a stranger");
    assert!(error.to_string().contains("certificate"), "{error}");
    println!("wrong certificate");

    let error =
        TlsStream::connect_with_certs("127.0.0.1", port, &[right]).expect_err("another name");
    assert!(error.to_string().contains("not valid for"), "{error}");
    println!("wrong name");

    let error = TlsStream::connect_timeout("127.0.0.1", port, &[right], SHORT)
        .expect_err("it says nothing");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    println!("timed out");

    let listener = TlsListener::bind("127.0.0.1:0", right, args[3].as_bytes()).expect("a good key");
    let error = listener.accept_timeout(SHORT).expect_err("there is nobody");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let _mute = TcpStream::connect(listener.local_addr().expect("it listens")).expect("it listens");
    let error = listener.accept_timeout(SHORT).expect_err("it says nothing");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    println!("nobody came");
}
