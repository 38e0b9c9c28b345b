//! `lunatic` 0.14.1: databases. The argument is a directory.
//!
//! Its client forgets the number of its connection and takes it for 0, so a process has use for one only.

#![allow(unused_parens, reason = "a macro of the crate wants them")]

use std::time::Duration;

use lunatic::sqlite::{Query, SqliteClient, SqliteCode, SqliteError, Value};
use lunatic::{sleep, spawn_link, Mailbox};

#[lunatic::main]
fn main(_: Mailbox<()>) {
    let dir = std::env::args().nth(1).expect("a directory");
    let values = format!("{dir}/values.db");
    let () = spawn_link!(@task |path = (values.clone())| write(&path)).result();
    let () = spawn_link!(@task |path = values| read(&path)).result();
    let () = spawn_link!(@task || parameters()).result();
    let () = spawn_link!(@task || errors()).result();

    let shared = format!("{dir}/shared.db");
    let () = spawn_link!(@task |path = (shared.clone())| begin_count(&path)).result();
    let counting: Vec<_> =
        (0..4).map(|_| spawn_link!(@task |path = (shared.clone())| count(&path))).collect();
    let waits: u32 = counting.into_iter().map(|task| task.result()).sum();
    let counted =
        spawn_link!(@task |path = shared| connect(&path).query("SELECT value FROM counter"));
    println!("counted {:?} {}", counted.result(), waits < u32::MAX);
}

fn connect(path: &str) -> SqliteClient {
    SqliteClient::connect(path).expect("the directory was granted")
}

fn write(path: &str) {
    let db = connect(path);
    db.execute("CREATE TABLE things (number INTEGER, name TEXT, weight REAL, bytes BLOB, rest)")
        .expect("valid SQL");
    for (number, name) in [(1i64, "one"), (i64::MAX, "zero\0inside"), (i64::MIN, "äöü")] {
        let rows = db
            .prepare_query("INSERT INTO things VALUES (?, ?, ?, ?, ?)")
            .bind(number)
            .bind(name)
            .bind(1.5f64)
            .bind(vec![0u8, 255, 7])
            .bind(())
            .execute();
        assert!(rows.is_empty());
    }
}

fn read(path: &str) {
    let db = connect(path);
    for row in db.query("SELECT * FROM things ORDER BY rowid") {
        println!("{row:?}");
    }
    let rows = db.prepare_query("SELECT number FROM things WHERE number > ?").bind(0i32).execute();
    println!("positive {}", rows.len());
    let mut rows =
        db.prepare_query("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3").execute_iter();
    println!("one by one {:?} {:?}", rows.next(), rows.next());
}

fn parameters() {
    let rows = connect("")
        .prepare_query("SELECT :a + $b, @c, ?4")
        .bind_named("a", 40)
        .bind_named("$b", 2i64)
        .bind_named("c", "text")
        .execute();
    println!("named {rows:?}");
}

fn errors() {
    println!("outside {}", SqliteClient::connect("/etc/passwd").is_err());
    let db = connect(":memory:");
    println!("no SQL {:?}", db.execute("SELEKT").map_err(|error| error.code));
    println!("last {:?}", SqliteError::last(db));
    db.execute("CREATE TABLE unique_ones (a UNIQUE); INSERT INTO unique_ones VALUES (1)")
        .expect("two statements");
    let twice = db.execute("INSERT INTO unique_ones VALUES (1)").expect_err("not twice");
    println!("twice {:?}", twice.code);
    println!("last {:?}", SqliteError::last(db));
    println!("rows {:?}", db.query("SELECT count(*) FROM unique_ones"));
}

fn begin_count(path: &str) {
    let db = connect(path);
    db.execute("PRAGMA journal_mode = WAL; CREATE TABLE counter (value)").expect("valid SQL");
    db.execute("INSERT INTO counter VALUES (0)").expect("valid SQL");
    assert_eq!(db.query("PRAGMA journal_mode"), [[Value::Text("wal".to_string())]]);
}

/// Counts to 25 beside others; how often one of them was in the way.
fn count(path: &str) -> u32 {
    let db = connect(path);
    let mut waits = 0;
    for _ in 0..25 {
        while let Err(error) = db.execute("UPDATE counter SET value = value + 1") {
            assert_eq!(error.code, SqliteCode::Busy);
            waits += 1;
            sleep(Duration::from_millis(1));
        }
    }
    waits
}
