//! `lunatic` 0.14.1 with its feature `sqlite`.

use lunatic::sqlite::{Query, SqliteClient, Value};
use lunatic::{spawn_link, Mailbox};

#[lunatic::main]
fn main(_: Mailbox<()>) {
    let path = std::env::args().nth(1).unwrap_or_default();
    let client = SqliteClient::connect(&path).unwrap();
    client
        .execute("create table if not exists t (id integer primary key, name text, x real, b blob)")
        .unwrap();
    for n in 0..3 {
        let rows = client
            .prepare_query("insert into t (name, x, b) values (?, ?, ?)")
            .bind(format!("name {n}"))
            .bind(n as f64 / 2.0)
            .bind(Value::Blob(vec![n as u8; 3]))
            .execute();
        assert!(rows.is_empty());
    }
    for row in client.query("select name, x, b, null from t order by id desc limit 3") {
        println!("{row:?}");
    }
    println!("error {}", client.execute("select from nothing").is_err());
    // From another process, by the file.
    if !path.is_empty() {
        let count = spawn_link!(@task |path| {
            let client = SqliteClient::connect(&path).unwrap();
            format!("{:?}", client.query("select count(*) > 2 from t"))
        });
        println!("{}", count.result());
    }
}
