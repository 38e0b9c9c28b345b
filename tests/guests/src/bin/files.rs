//! Files of the main process and of a hundred others at once, with what std has for them
//! (`--dir X::/data`).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use lunatic::{Channel, Process};
use test_guests::{check, check_eq};

const PROCESSES: usize = 100;

fn main() {
    fs::create_dir_all("/data/a/b").expect("the directory can be written");
    fs::write("/data/shared", "shared").expect("it can be written");
    let done = Channel::new(0);
    for number in 0..PROCESSES {
        Process::spawn((number, done.clone()), work).expect("there is room");
    }
    let mut sum = 0;
    for _ in 0..PROCESSES {
        let length: u64 = done.receive();
        sum += length;
    }
    check_eq("each has read what it wrote", sum, (0..PROCESSES as u64).map(|n| 1000 * n).sum());
    let mut names: Vec<String> = fs::read_dir("/data/a")
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    check_eq("all files are there, and the directory", names.len(), PROCESSES + 1);
    let mut log = String::new();
    File::open("/data/log")
        .and_then(|mut log_file| log_file.read_to_string(&mut log))
        .expect("text");
    check_eq("lines that many append do not tear", log.lines().count(), PROCESSES);
    check("every line is whole", log.lines().all(|line| line.starts_with("process ")));
    let mut file =
        OpenOptions::new().read(true).write(true).open("/data/shared").expect("it is there");
    file.seek(SeekFrom::End(-3)).expect("it is long enough");
    file.write_all(b"RED").expect("there is room");
    file.set_len(10).expect("there is room");
    file.rewind().expect("it is a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("text");
    check_eq("a file is changed in place", text.as_str(), "shaRED\0\0\0\0");
    let age = SystemTime::now().duration_since(file.metadata().unwrap().modified().unwrap());
    check("it was changed just now", age.map_or(true, |age| age < Duration::from_secs(60)));
    let missing = File::open("/data/none").map(drop).map_err(|error| error.kind());
    check_eq("what is not there is not found", missing, Err(ErrorKind::NotFound));
    let outside = File::open("/data/../secret").map(drop).map_err(|error| error.kind());
    check_eq("nothing outside can be had", outside, Err(ErrorKind::PermissionDenied));
    fs::copy("/data/shared", "/data/copy").expect("there is room");
    fs::rename("/data/copy", "/data/a/b/copy").expect("it is there");
    check_eq("a copy is as long", fs::metadata("/data/a/b/copy").unwrap().len(), 10);
    fs::remove_dir_all("/data/a").expect("nobody else is in it");
    fs::remove_file("/data/shared").expect("it is there");
    fs::remove_file("/data/log").expect("it is there");
    check_eq("all is gone", fs::read_dir("/data").unwrap().count(), 0);
}

fn work((number, done): (usize, Channel<u64>)) {
    let path = format!("/data/a/{number}");
    let text = format!("{number:0>10}").repeat(100 * number);
    fs::write(&path, &text).expect("there is room");
    assert_eq!(fs::read_to_string("/data/shared").expect("text"), "shared");
    let mut log =
        OpenOptions::new().append(true).create(true).open("/data/log").expect("it can be");
    log.write_all(format!("process {number}\n").as_bytes()).expect("there is room");
    let read = fs::read_to_string(&path).expect("text");
    assert!(read == text, "process {number} has read something else");
    done.send(read.len() as u64);
}
