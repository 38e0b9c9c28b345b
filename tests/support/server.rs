//! Guests that listen, and those who talk to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use super::{guest, lunatic};

/// A guest that listens; ended when it is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    stdout: BufReader<ChildStdout>,
    /// Kept open: who writes to it would be told otherwise.
    _stderr: Option<BufReader<ChildStderr>>,
}

/// What both sides print in front of the address.
const SIGN: &str = "listening on ";

impl Server {
    /// Starts `net_echo`, which says where it listens.
    pub(crate) fn echo(workers: &str, args: &[&str]) -> Option<Self> {
        let mut command = lunatic();
        command.args(["run", "--allow-net", "--workers", workers]);
        command.arg(guest("net_echo")?).arg("--").args(args);
        Some(Self::that_says_so(command))
    }

    /// Starts a guest that prints where it listens.
    pub(crate) fn that_says_so(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary was built");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let address = find_address(&mut stdout);
        Self { child, address, stdout, _stderr: None }
    }

    /// Starts a guest that is given a socket (`--listen`); `-v` makes the runtime say where.
    pub(crate) fn that_was_given_a_socket(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let address = find_address(&mut stderr);
        Self { child, address, stdout, _stderr: Some(stderr) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("it listens")
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim_end().to_string()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is a pipe, taken once")
    }

    /// Sockets that the runtime has open.
    pub(crate) fn sockets(&self) -> usize {
        sockets_of(&self.child)
    }

    /// Waits until so many sockets are open.
    pub(crate) fn wait_for_sockets(&self, count: usize) {
        while self.sockets() != count {
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sockets that a child has open.
pub(crate) fn sockets_of(child: &Child) -> usize {
    let is_socket =
        |path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
    open_files_of(child).filter(|entry| is_socket(entry.path())).count()
}

/// All that a child has open.
pub(crate) fn open_files_of(child: &Child) -> impl Iterator<Item = std::fs::DirEntry> {
    let fds = format!("/proc/{}/fd", child.id());
    std::fs::read_dir(fds).expect("it runs").flatten()
}

/// Has a connection end with a reset when it is closed.
pub(crate) fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of_val(&linger)).expect("it is small");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: the descriptor is open, and the option is a value of this type and size.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const linger).cast(), size)
    };
    assert_eq!(done, 0);
}

fn find_address(from: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    loop {
        line.clear();
        let count = from.read_line(&mut line).expect("text");
        assert!(count > 0, "it has said nothing of where it listens");
        if let Some((_, rest)) = line.split_once(SIGN) {
            let address = rest.split([',', '\n']).next().expect("a first part");
            return address.parse().expect("an address");
        }
    }
}

/// Sends a text and waits for it to come back.
pub(crate) fn ask(mut connection: impl Read + Write, text: &[u8]) {
    connection.write_all(text).expect("it reads");
    let mut answer = vec![0; text.len()];
    connection.read_exact(&mut answer).expect("it answers");
    assert_eq!(answer, text);
}

/// The same with much at once, in both directions: the other side has to wait for room, too.
pub(crate) fn ask_for_much(mut connection: TcpStream) {
    let data: Vec<u8> = (0..5_000_000u32).map(|number| number as u8).collect();
    let mut writer = connection.try_clone().expect("it can be");
    let sent = data.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("it reads");
        writer.shutdown(Shutdown::Write).expect("it is open");
    });
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("it answers");
    writing.join().expect("it only writes");
    assert!(answer == data, "{} bytes came back", answer.len());
}
