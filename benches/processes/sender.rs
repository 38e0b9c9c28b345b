//! The other end of a connection: a thread of the driver that writes the time into it, now and then.
//!
//! Who reads it finds out how long the bytes were under way. Both sides ask the system for the time of
//! day, which all languages can.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Where peers find the port.
pub(crate) const PORT: &str = "BENCH_PORT";

/// From one time to the next, and in how many steps it grows to the double of that, over and over: no
/// pattern that a tick of a millisecond would fall into.
const PAUSE: Duration = Duration::from_millis(1);
const STEPS: u32 = 17;

/// Waits for one connection and writes to it for so long; which port that is.
pub(crate) fn start(milliseconds: u64) -> Result<u16, String> {
    let prepared = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let (listener, port) =
        prepared().map_err(|error: io::Error| format!("listening for the reader: {error}"))?;
    thread::spawn(move || {
        let accepted = listener.accept();
        // One that fails is a reader that has ended, which whoever started it finds out.
        let _ended = accepted.and_then(|(to, _)| write(to, Duration::from_millis(milliseconds)));
    });
    Ok(port)
}

fn write(mut to: TcpStream, time: Duration) -> io::Result<()> {
    to.set_nodelay(true)?;
    let start = Instant::now();
    for step in (0..STEPS).cycle() {
        thread::sleep(PAUSE + PAUSE * step / STEPS);
        if start.elapsed() >= time {
            break;
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
        to.write_all(&u64::try_from(now.as_nanos()).map_err(io::Error::other)?.to_le_bytes())?;
    }
    Ok(())
}
