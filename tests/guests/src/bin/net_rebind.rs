//! Names whose meaning changes while they are asked for: this program is the name server, too. Needs a network of its
//! own. Prints `ok <behaviour>` for each.

use lunatic::net::{resolve, TcpListener, TcpStream, TlsStream, UdpSocket};
use lunatic::{Event, ExitReason, Mailbox, Process, ProcessConfig, Spawn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use test_guests::{check, check_eq};

const PORT: u16 = 5432;

fn main() {
    let names = UdpSocket::bind("127.0.0.1:53").expect("nobody serves names here");
    Process::spawn(names, serve).expect("there is room");
    let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("nobody listens here");
    let by_name = ProcessConfig::new().connect(&format!("db.test:{PORT}"));
    run(&by_name, who_has_a_rule_about_the_name);
    let by_address = ProcessConfig::new().connect(&format!("127.0.0.2:{PORT}"));
    run(&by_address, who_has_a_rule_about_an_address);
    // Whatever got through is there by now.
    let accept = || listener.accept_timeout(Duration::from_millis(1)).ok();
    let reached: Vec<String> = std::iter::from_fn(accept)
        .map(|(stream, _)| stream.local_addr().expect("it is connected").ip().to_string())
        .collect();
    check_eq("nothing else was reached", reached, vec!["127.0.0.2".into(), "127.0.0.3".into()]);
}

/// Runs a child with this configuration to its end.
fn run(config: &ProcessConfig, child: fn(())) {
    Spawn::new().config(config).monitor().start((), child).expect("there is room");
    match Mailbox::<()>::own().next() {
        Ok(Event::Ended(notice)) if notice.reason == ExitReason::Code(0) => {}
        other => panic!("FAILED: it ends well: {other:?}"),
    }
}

fn at(last: u8) -> SocketAddr {
    ([127, 0, 0, last], PORT).into()
}

fn denied<T>(result: std::io::Result<T>, address: &str) -> bool {
    result.err().is_some_and(|error| {
        let says = format!("may not connect to {address}");
        error.kind() == ErrorKind::PermissionDenied && error.to_string().contains(&says)
    })
}

fn who_has_a_rule_about_the_name((): ()) {
    let db = || resolve(&format!("db.test:{PORT}")).expect("it is served");
    check("an address is not the name's before it is looked up", denied(connect(2), "127.0.0.2"));
    check_eq("the name leads somewhere", db(), vec![at(2)]);
    check("there the rule leads", connect(2).is_ok());
    let evil = resolve(&format!("evil.test:{PORT}")).expect("it is served");
    check_eq("another name leads elsewhere", evil, vec![at(4)]);
    check("there no rule leads", denied(connect(4), "127.0.0.4"));
    check_eq("the name leads elsewhere later", db(), vec![at(3)]);
    check("the rule follows it", connect(3).is_ok());
    check("and nobody else", denied(connect(4), "127.0.0.4"));
    let other_port = TcpStream::connect(SocketAddr::from(([127, 0, 0, 3], PORT + 1)));
    check("to its ports", denied(other_port, "127.0.0.3"));
    let name = format!("evil.test:{PORT}");
    check("by another name", denied(TcpStream::connect(name.as_str()), "127.0.0.4"));
}

/// From the third question on, the name leads to 127.0.0.4 and further: never where the rule does.
fn who_has_a_rule_about_an_address((): ()) {
    let name = format!("db.test:{PORT}");
    let by_name = TcpStream::connect(name.as_str());
    check("a name is no way around a rule about addresses", denied(by_name, "127.0.0.4"));
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a client's");
    check("nor with datagrams", denied(socket.send_to(b"x", name.as_str()), "127.0.0.5"));
    check("nor a connected socket", denied(socket.connect(name.as_str()), "127.0.0.6"));
    check("nor with TLS", denied(TlsStream::connect("db.test", PORT), "127.0.0.7"));
    let found = resolve(&name).expect("it is served");
    check_eq("what was found", found, vec![at(8)]);
    check("is denied as an address", denied(connect(8), "127.0.0.8"));
    let mapped: SocketAddr = format!("[::ffff:127.0.0.8]:{PORT}").parse().expect("an address");
    check("and as an IPv6 one", denied(TcpStream::connect(mapped), "[::ffff:127.0.0.8]"));
    check("also for datagrams", denied(socket.send_to(b"x", at(8)), "127.0.0.8"));
}

fn connect(last: u8) -> std::io::Result<TcpStream> {
    TcpStream::connect(at(last))
}

/// Serves names: `db.test` is 127.0.0.2 at first, and the next address each time somebody asks.
fn serve(server: UdpSocket) {
    const HEADER: usize = 12;
    let mut packet = [0; 512];
    let mut next = 2;
    loop {
        let (count, from) = server.recv_from(&mut packet).expect("it receives");
        let Some(end) = packet[HEADER..count].iter().position(|&byte| byte == 0) else { continue };
        let is_db = packet[HEADER..].starts_with(b"\x02db");
        // Behind the name: its type, of which 1 is an IPv4 address, and its class.
        let is_ipv4 = packet[HEADER + end + 1..HEADER + end + 3] == [0, 1];
        let mut answer = packet[..HEADER + end + 5].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        if is_ipv4 {
            let last = if is_db { next } else { 4 };
            next += u8::from(is_db);
            // The name of the question, an address, for no time, of four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, last]);
        }
        let _gone = server.send_to(&answer, from);
    }
}
