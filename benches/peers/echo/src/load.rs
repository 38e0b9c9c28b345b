//! The load: one thread, all connections, each with a message under way.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Before anything is counted; and each connection has had its first echo, so that what accepting ten
/// thousand takes is not counted as the time of an echo.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) struct Outcome {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    /// Bytes of the echo that have come.
    come: usize,
    /// There has been one.
    is_warm: bool,
}

pub(crate) fn run(to: SocketAddr, count: usize, time: Duration) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(count);
    for number in 0..count {
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        connections.push(Connection { stream, sent: Instant::now(), come: 0, is_warm: false });
    }
    for connection in &mut connections {
        connection.send()?;
    }
    let warm = Instant::now() + WARM_UP;
    let (mut begin, mut waiting) = (None, count);
    let mut micros: Vec<u32> = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let now = Instant::now();
        if waiting == 0 && now >= warm {
            let begin = *begin.get_or_insert(now);
            if now >= begin + time {
                break;
            }
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            while let Some(taken) = connection.receive()? {
                waiting -= usize::from(!std::mem::replace(&mut connection.is_warm, true));
                if begin.is_some() {
                    micros.push(u32::try_from(taken.as_nanos() / 100).unwrap_or(u32::MAX));
                }
                connection.send()?;
            }
        }
    }
    if micros.is_empty() {
        return Err(io::Error::other("no echo has come"));
    }
    micros.sort_unstable();
    let at = |part: f64| {
        let place = (micros.len() as f64 * part) as usize;
        Duration::from_nanos(u64::from(micros[place.min(micros.len() - 1)]) * 100)
    };
    let rate = micros.len() as f64 / time.as_secs_f64();
    Ok(Outcome { rate, p50: at(0.5), p99: at(0.99) })
}

impl Connection {
    fn send(&mut self) -> io::Result<()> {
        self.sent = Instant::now();
        self.come = 0;
        self.stream.write_all(&MESSAGE) // there is room: nothing else is under way
    }

    /// How long the round trip took, when it is complete.
    fn receive(&mut self) -> io::Result<Option<Duration>> {
        let mut buffer = [0; MESSAGE.len()];
        while self.come < MESSAGE.len() {
            match self.stream.read(&mut buffer[self.come..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.come += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(self.sent.elapsed()))
    }
}
