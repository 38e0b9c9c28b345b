//! What calls of WASI cost: run it with a directory that may be written, as `--dir X::/`. Prints to
//! stderr, as stdout is measured too. Needs nothing of lunatic, so that other runtimes can run it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// Repeats until it has taken long enough; nanoseconds each.
fn measure(name: &str, mut once: impl FnMut()) {
    let begun = Instant::now();
    let mut count = 0u32;
    while begun.elapsed() < Duration::from_millis(400) {
        once();
        count += 1;
    }
    eprintln!("{name}: {} ns each, {count} times", begun.elapsed().as_nanos() / u128::from(count));
}

fn main() {
    fs::create_dir_all("/bench/dir").expect("the directory can be written");
    for number in 0..100 {
        fs::write(format!("/bench/dir/{number}"), "").expect("a file can be written");
    }
    fs::write("/bench/file", vec![7; 1 << 20]).expect("a file can be written");
    let mut stdout = std::io::stdout().lock();
    measure("fd_write of 100 bytes to stdout", || {
        let mut line = [b'x'; 100];
        line[99] = b'\n';
        stdout.write_all(&line).expect("somebody reads");
    });
    let mut file = File::open("/bench/file").expect("it was written");
    let mut buffer = vec![0; 1 << 20];
    measure("seek and read of 4 KiB", || {
        file.seek(SeekFrom::Start(4096)).expect("it is a file");
        file.read_exact(&mut buffer[..4096]).expect("it is as long");
    });
    measure("seek and read of 1 MiB", || {
        file.seek(SeekFrom::Start(0)).expect("it is a file");
        file.read_exact(&mut buffer).expect("it is as long");
    });
    let mut writer = File::create("/bench/written").expect("it can be made");
    measure("seek and write of 4 KiB", || {
        writer.seek(SeekFrom::Start(0)).expect("it is a file");
        writer.write_all(&buffer[..4096]).expect("there is room");
    });
    measure("stat of a path", || {
        assert_eq!(fs::metadata("/bench/file").expect("it is there").len(), 1 << 20);
    });
    measure("stat of an open file", || {
        assert_eq!(file.metadata().expect("it is open").len(), 1 << 20);
    });
    measure("open and close", || drop(File::open("/bench/file").expect("it is there")));
    measure("listing of 100 entries", || {
        assert_eq!(fs::read_dir("/bench/dir").expect("it is there").count(), 100);
    });
    fs::remove_dir_all("/bench").expect("nobody else is in it");
}
