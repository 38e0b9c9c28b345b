//! Binds TLS listeners with as many certificates or keys as there may be. `hoard CERTIFICATE KEY` keeps all of them;
//! `crowd CERTIFICATE KEY` has many processes bind at the same time, says `done`, and waits for its input to end.

use lunatic::net::TlsListener;
use lunatic::{Mailbox, Process};
use std::io::Read;

/// The most that certificates may have together, and keys.
const BYTES_MAX: usize = 1 << 20;
const KEYS_MAX: usize = 256;

const CROWD: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, cert, key] = &args[..] else { panic!("hoard or crowd, a certificate, a key") };
    match &mode[..] {
        "hoard" => {
            let certs = cert.repeat(BYTES_MAX / cert.len());
            let mut kept = Vec::new();
            loop {
                kept.push(bind(&certs, key));
            }
        }
        "crowd" => {
            let mailbox = Mailbox::<()>::own();
            let own = mailbox.process();
            for _ in 0..CROWD {
                let context = (own, cert.clone(), key.repeat(KEYS_MAX));
                Process::spawn(context, |(main, cert, keys)| {
                    bind(&cert, &keys);
                    main.send(());
                })
                .expect("there is room");
            }
            for _ in 0..CROWD {
                mailbox.receive();
            }
            println!("done");
            std::io::stdin().read_to_end(&mut Vec::new()).expect("it ends");
        }
        other => panic!("{other}?"),
    }
}

fn bind(certs: &str, keys: &str) -> TlsListener {
    TlsListener::bind("127.0.0.1:0", certs.as_bytes(), keys.as_bytes()).expect("it can listen")
}
