//! `lunatic::sqlite` for those who try to get at what is not theirs, or to take everybody along.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;

use support::{Output, guest, lunatic, run_guest};

/// Has the guest make these calls; options in front. `None`: there are no guests.
fn run(options: &[&str], lines: &[&str]) -> Option<Output> {
    let stdin = lines.join("\n") + "\n";
    run_guest(options, "sql", &[], stdin.as_bytes())
}

/// Calls and their answers. With one worker and with four.
#[track_caller]
fn answers(options: &[&str], calls: &[(&str, &str)]) {
    for workers in ["1", "4"] {
        answers_on(workers, options, calls);
    }
}

/// With so many workers.
#[track_caller]
fn answers_on(workers: &str, options: &[&str], calls: &[(&str, &str)]) {
    let options = [&["--workers", workers][..], options].concat();
    let lines: Vec<&str> = calls.iter().map(|(line, _)| *line).collect();
    let Some(output) = run(&options, &lines) else { return };
    let output = output.expect(0);
    let said: Vec<&str> = output.stdout.lines().collect();
    for ((call, expected), said) in calls.iter().zip(&said) {
        assert!(said.contains(expected), "{call}: {said:?}, not {expected:?}\n{output:#?}");
    }
    assert_eq!(said.len(), calls.len(), "{output:#?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn sql_reaches_no_other_file() {
    let (dir, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let secret = other.path().join("secret.db");
    std::fs::write(&secret, "").expect("written");
    symlink(&secret, dir.path().join("link.db")).expect("a link");
    symlink(other.path(), dir.path().join("out")).expect("a link");
    symlink("real.db", dir.path().join("inside.db")).expect("a link");
    std::fs::create_dir(dir.path().join("sub")).expect("made");
    let in_dir = |name: &str| format!("open {}/{name}", text(dir.path()));
    let into = |name: &str| format!("exec 0 VACUUM INTO '{}/{name}'", text(dir.path()));
    let attach = format!("exec 0 ATTACH '{}' AS x", text(&secret));
    answers(
        &["--dir", text(dir.path())],
        &[
            (&format!("open {}", text(&secret)), "was given no directory that it lies in"),
            ("open file::memory:", "was given no directory"),
            (&in_dir("link.db"), "cannot open the database"),
            (&in_dir("out/secret.db"), "cannot open the database"),
            (&in_dir("sub/../../secret.db"), "cannot open the database"),
            (&in_dir("sub"), "cannot open the database"),
            (&in_dir("nowhere/a.db"), "cannot open the database"),
            (&in_dir("zero\\0.db"), "cannot open the database"),
            (&in_dir("sub/../real.db"), "connection 0"),
            (&attach, "not authorized"),
            ("exec 0 ATTACH 'real.db' AS x", "only \":memory:\" can"),
            ("exec 0 ATTACH 'file::memory:?cache=shared' AS x", "not authorized"),
            ("exec 0 ATTACH 'a' || 'b' AS x", "not authorized"),
            (&into("copy.db"), "not authorized"),
            ("exec 0 VACUUM INTO 'a' || 'b'", "not authorized"),
            ("exec 0 ATTACH ':memory:' AS x; CREATE TABLE x.a (b); DETACH x", "done"),
            ("exec 0 SELECT load_extension('x')", "not authorized"),
            ("exec 0 PRAGMA temp_store_directory = '/'", "not authorized"),
            ("exec 0 PRAGMA writable_schema = ON", "not authorized"),
            ("exec 0 PRAGMA trusted_schema = ON", "not authorized"),
            ("query 0 PRAGMA mmap_size = 1000000", ""),
            ("query 0 PRAGMA hard_heap_limit = 1", ""),
            (
                "exec 0 CREATE TABLE a (b); CREATE TEMP TABLE t (u); INSERT INTO t VALUES (1)",
                "done",
            ),
            ("exec 0 CREATE INDEX i ON a (b); VACUUM; DROP TABLE a", "done"),
            (&in_dir("inside.db"), "connection 1"),
            ("query 1 SELECT name FROM sqlite_schema", ""),
        ],
    );
    assert_eq!(std::fs::read(&secret).expect("there"), b"");
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("one").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dir.path()), ["inside.db", "link.db", "out", "real.db", "sub"]);
    assert_eq!(names(other.path()), ["secret.db"]);
}

#[test]
fn what_may_be_read_only_is_read_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = format!("open {}/a.db", text(dir.path()));
    let new = format!("open {}/new.db", text(dir.path()));
    let write = ["exec 0 CREATE TABLE a (b); INSERT INTO a VALUES (7)"];
    let Some(output) = run(&["--dir", text(dir.path())], &[&open, write[0]]) else { return };
    output.expect(0).says(&[]);
    let before = std::fs::read(dir.path().join("a.db")).expect("made");
    answers(
        &["--dir", &format!("{0}::{0}:ro", text(dir.path()))],
        &[
            (&open, "connection 0"),
            (&new, "cannot open the database"),
            ("query 0 SELECT b FROM a", "[7]"),
            ("exec 0 INSERT INTO a VALUES (8)", "8: attempt to write a readonly database (8)"),
            ("exec 0 PRAGMA journal_mode = WAL", ""),
            ("exec 0 PRAGMA user_version = 9", "readonly"),
            ("exec 0 CREATE TEMP TABLE t (u); INSERT INTO t SELECT b FROM a", "done"),
            ("query 0 SELECT b FROM a", "[7]"),
        ],
    );
    assert_eq!(std::fs::read(dir.path().join("a.db")).expect("there"), before);
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
}

#[test]
fn wrong_numbers_and_bytes_end_one_process() {
    let one = "prepare 0 SELECT ?, :name, ?5";
    let with = |call: &str| format!("apart together open :memory: | {one} | {call}");
    let list = |bytes: &str| with(&format!("bind 0 {bytes}"));
    let mut calls = vec![("open :memory:".to_string(), "connection 0")];
    for call in [
        "query 7 SELECT 1",
        "exec 7 SELECT 1",
        "changes 7",
        "fail 7",
        "step 7",
        "row 7",
        "column 7 0",
        "reset 7",
        "finalize 7",
        "count 7",
        "names 7",
        "name 7 0",
        "bind 7 0000000000000000",
        // The parent's connection is none of its.
        "exec 0 SELECT 1",
        "step 18446744073709551615",
    ] {
        calls.push((format!("apart {call}"), "ended"));
    }
    for call in [
        "column 0 3",
        "column 0 4294967295",
        "name 0 3",
        "together finalize 0 | step 0",
        "together finalize 0 | finalize 0",
        "wild 0",
        "prepare 0 SELEKT",
        "prepare 0 ",
        "prepare 0 SELECT 1\\0",
        "prepare 0 -- nothing",
    ] {
        calls.push((with(call), "ended"));
    }
    for bytes in [
        "",
        "01",
        "0100000000000000",
        "ffffffffffffffff",
        // Number 0, 6, and more than there can be.
        "0100000000000000 01000000 0000000000000000 00000000",
        "0100000000000000 01000000 0600000000000000 00000000",
        "0100000000000000 01000000 ffffffffffffffff 00000000",
        // A name that is none; kinds that are none; a blob that is longer than the bytes.
        "0100000000000000 02000000 0100000000000000 78 00000000",
        "0100000000000000 03000000 00000000",
        "0100000000000000 00000000 06000000",
        "0100000000000000 00000000 01000000 ffffffff00000000 00",
        "0100000000000000 00000000 02000000 0100000000000000 ff",
    ] {
        calls.push((list(bytes), "ended"));
    }
    let good = "0300000000000000 00000000 04000000 feffffff \
                02000000 0500000000000000 3a6e616d65 05000000 0000000000000080 \
                01000000 0500000000000000 03000000 000000000000f07f";
    calls.push((
        format!("apart together open :memory: | {one} | bind 0 {good} | step 0 | row 0 | names 0"),
        "[-2, -9223372036854775808, inf] | [",
    ));
    // A row is read: no value can be bound before a reset. Without a row all is NULL.
    calls.push((list("0000000000000000"), "bound"));
    calls.push((with("row 0"), "[NULL, NULL, NULL"));
    calls.push((with(&format!("step 0 | bind 0 {good}")), "ended"));
    calls.push((with(&format!("step 0 | reset 0 | bind 0 {good} | step 0")), "100"));
    // SQL with a zero byte is an error of `exec`.
    calls.push(("exec 0 SELECT 1\\0".to_string(), "1: there is a zero byte in it, at 8 (1)"));
    calls.push(("fail 0".to_string(), "there is a zero byte"));
    calls.push(("exec 0 SELECT 1".to_string(), "done"));
    calls.push(("fail 0".to_string(), "(None, None)"));
    let calls: Vec<(&str, &str)> = calls.iter().map(|(call, said)| (&**call, *said)).collect();
    answers(&[], &calls);
}

#[test]
fn room_in_the_guest_is_the_guests_business() {
    let with = |mode: &str| {
        format!(
            "apart together open :memory: | prepare 0 SELECT 1, 'two' UNION SELECT 2, '' | step 0 | alloc {mode} 0 | row 0"
        )
    };
    let modes = ["1", "2", "3", "4", "6", "8"].map(with);
    let mut calls: Vec<(&str, &str)> = modes[..5].iter().map(|call| (&**call, "ended")).collect();
    let (waits, inside) = (with("5"), with("7"));
    calls.push((&waits, "set | [1, \"two\"]"));
    // What was asked for is given, whatever has become of the statement meanwhile.
    calls.push((&inside, "set | [1, \"two\"]"));
    calls.push((&modes[5], "set | [1, \"two\"]"));
    for workers in ["1", "4"] {
        let lines: Vec<&str> = calls.iter().map(|(line, _)| *line).collect();
        let Some(output) = run(&["--workers", workers], &lines) else { return };
        let output = output.expect(0);
        let said = output.stdout.lines().filter(|line| !line.starts_with("inside: "));
        for ((call, expected), said) in calls.iter().zip(said) {
            assert!(said.contains(expected), "{call}: {said:?}, not {expected:?}\n{output:#?}");
        }
        assert!(output.stdout.contains("inside: [1, \"two\"]"), "{output:#?}");
    }
}

#[test]
fn queries_of_the_killed_end_and_leave_their_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    // More than the pool has threads, three times.
    let endless = format!("endless 100 {}/a.txt", text(dir.path()));
    answers(
        &["--dir", text(dir.path())],
        &[
            (&endless, "killed"),
            (&endless, "killed"),
            (&endless, "killed"),
            ("open :memory:", "connection 0"),
            ("query 0 SELECT 6 * 7", "[42]"),
        ],
    );
}

#[test]
fn trimming_is_sqlites_and_takes_no_product_of_two_lengths() {
    // A million characters, of each of which 80,000 others are not what it is: by pairs, minutes.
    let long = "replace(hex(zeroblob(500000)), '0', 'a')";
    let set = "replace(hex(zeroblob(40000)), '0', 'b') || 'a'";
    let trims = |what: &str| format!("query 0 SELECT {what}");
    answers(
        &[],
        &[
            ("open :memory:", "connection 0"),
            (&trims(&format!("length(trim({long}, {set}))")), "[0]"),
            (
                &trims(&format!("length(ltrim({long}, {set})), length(rtrim({long}, {set}))")),
                "[0, 0]",
            ),
            (&trims("trim('  a b ')||'|'||ltrim('  a ')||'|'||rtrim(' a  ')"), "a b|a | a"),
            (
                &trims("trim('xyaxy', 'yx')||'|'||ltrim('xax', 'x')||'|'||rtrim('xax', 'x')"),
                "a|ax|xa",
            ),
            (&trims("length(trim('\u{e4}\u{20ac}a\u{e4}', '\u{20ac}\u{e4}'))"), "[1]"),
            (&trims("trim(12.50, '0')||'|'||trim(-11, '1')||'|'||trim(x'2061', ' ')"), "12.5|-|a"),
            (&trims("trim(NULL) IS NULL, trim('a', NULL) IS NULL, trim('a', '')"), "[1, 1, "),
            (
                "exec 0 CREATE TABLE t (a); CREATE INDEX i ON t (trim(a)); CREATE VIEW v AS SELECT trim(a) \
              AS a FROM t; INSERT INTO t VALUES (' x ')",
                "done",
            ),
            (&trims("count(*) FROM v WHERE a = 'x'"), "[1]"),
        ],
    );
}

/// Locks that a program has on a file, as the system lists them.
fn locks_on(file: &Path) -> usize {
    let inode = format!(":{} ", std::fs::metadata(file).expect("it is there").ino());
    let all = std::fs::read_to_string("/proc/locks").expect("Linux");
    all.lines().filter(|line| line.contains(" WRITE ") && line.contains(&inode)).count()
}

#[test]
fn a_database_stays_locked_for_other_programs_whatever_guests_do_with_its_file() {
    let Some(guest) = guest("sql") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.db");
    let mut command = lunatic();
    command.args(["run", "--dir", text(dir.path()), "--dir"]);
    command.arg(format!("{}::/ro:ro", text(dir.path()))).arg(guest);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut run = command.spawn().expect("it can be run");
    let mut answers = BufReader::new(run.stdout.take().expect("piped")).lines();
    let mut asked = run.stdin.take().expect("piped");
    let mut ask = |line: &str| {
        writeln!(asked, "{line}").expect("it listens");
        answers.next().expect("it answers").expect("text")
    };
    ask(&format!("open {}", text(&file)));
    assert_eq!(ask("exec 0 CREATE TABLE a (b); INSERT INTO a VALUES (1)"), "done");
    assert_eq!(locks_on(&file), 1);
    // Read and closed by a guest, and by connections that may only read.
    let bytes = std::fs::metadata(&file).expect("it is there").len();
    assert_eq!(ask(&format!("cut {bytes} {}", text(&file))), "cut true");
    assert_eq!(locks_on(&file), 1);
    ask("open /ro/a.db");
    assert_eq!(ask("query 1 SELECT b FROM a"), "[1]");
    let apart = ask("apart together open /ro/a.db | query 0 SELECT b FROM a");
    assert_eq!(apart, "connection 0 | [1]");
    assert_eq!(locks_on(&file), 1);
    drop(asked);
    assert!(run.wait().expect("it ends").success());
    assert_eq!(locks_on(&file), 0);
    // Who only reads lets others write, and makes way for those.
    answers_on(
        "1",
        &["--dir", text(dir.path()), "--dir", &format!("{}::/ro:ro", text(dir.path()))],
        &[
            ("open /ro/a.db", "connection 0"),
            ("prepare 0 SELECT 1 FROM a", "0"),
            ("step 0", "100"),
            (&format!("open {}", text(&file)), "connection 1"),
            ("exec 1 BEGIN IMMEDIATE; INSERT INTO a VALUES (2)", "done"),
            ("step 0", "101"),
            ("exec 1 COMMIT", "done"),
            ("query 0 SELECT count(*) FROM a", "[2]"),
        ],
    );
}

#[test]
fn files_that_change_under_sqlite_are_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| format!("{}/{name}", text(dir.path()));
    let setup = |name: &str, journal: &str| {
        format!(
            "apart together open {0} | exec 0 PRAGMA journal_mode = {journal}; PRAGMA cache_size = 1; \
             CREATE TABLE a (b); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT \
             2000) INSERT INTO a SELECT randomblob(500) FROM n",
            path(name)
        )
    };
    let mut calls = Vec::new();
    for (number, journal) in ["DELETE", "WAL", "PERSIST"].iter().enumerate() {
        for (kind, change) in
            ["cut 0", "cut 5000", "scribble 4096", "scribble 900000"].iter().enumerate()
        {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let name = format!("{number}{kind}{suffix}.db");
                calls.push((setup(&name, journal), "done"));
                let file = path(&name);
                calls.push((
                    format!(
                        "apart together open {file} | exec 0 BEGIN; UPDATE a SET b = 1 WHERE rowid = 9 | \
                         {change} {file}{suffix} | exec 0 SELECT sum(length(b)) FROM a | exec 0 COMMIT | \
                         exec 0 PRAGMA integrity_check | exec 0 DELETE FROM a"
                    ),
                    "",
                ));
                calls.push((format!("apart together open {file} | exec 0 VACUUM"), ""));
            }
        }
    }
    calls.push(("open :memory:".to_string(), "connection 0"));
    calls.push(("query 0 SELECT 1".to_string(), "[1]"));
    let calls: Vec<(&str, &str)> = calls.iter().map(|(call, said)| (&**call, *said)).collect();
    answers_on("4", &["--dir", text(dir.path())], &calls);
}

#[test]
fn sql_costs_fuel() {
    let endless = "query 0 WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                   SELECT count(*) FROM n";
    let lines = ["open :memory:", "query 0 SELECT 1", endless];
    let Some(output) = run(&["--max-fuel", "1000"], &lines) else { return };
    output.expect(134).says(&["fuel"]);
}

#[test]
fn sizes_memory_and_depth_have_limits() {
    let nested = |kind: &str| format!("apart together open :memory: | nested 0 100000 {kind}");
    let kinds = ["brackets", "not", "and", "select"].map(nested);
    let too_wide = format!(
        "apart together open :memory: | query 0 SELECT {}1",
        "zeroblob(1000000), ".repeat(70)
    );
    let mut calls: Vec<(&str, &str)> = kinds.iter().map(|call| (&**call, "refused")).collect();
    calls.extend([
        ("apart views 5", "done"),
        ("apart views 40", ": "),
        ("open :memory:", "connection 0"),
        ("exec 0 SELECT zeroblob(100000000)", "18: string or blob too big (18)"),
        ("exec 0 CREATE TABLE a (b); INSERT INTO a VALUES (zeroblob(1000000))", "done"),
        ("exec 0 INSERT INTO a SELECT a.b FROM a, a x, a y", "done"),
        (
            "exec 0 WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 600) \
             INSERT INTO a SELECT zeroblob(1000000) FROM n",
            "7: out of memory (7)",
        ),
        ("query 0 SELECT count(*) FROM a", "[2]"),
        // Rows of many of the largest values are larger than an answer may be.
        (&too_wide, "ended"),
        ("query 0 SELECT 1", "[1]"),
    ]);
    answers(&[], &calls);
}

#[test]
fn addresses_are_neither_told_nor_taken() {
    answers(
        &[],
        &[
            ("open :memory:", "connection 0"),
            (
                "exec 0 SELECT fts3_tokenizer('simple')",
                "not authorized to use function: fts3_tokenizer",
            ),
            // With values that are bound, SQLite itself would allow it.
            ("apart together open :memory: | prepare 0 SELECT fts3_tokenizer(?1)", "ended"),
            ("apart together open :memory: | prepare 0 SELECT FTS3_Tokenizer('evil', ?1)", "ended"),
            ("exec 0 CREATE VIRTUAL TABLE t USING fts3(x); INSERT INTO t VALUES ('a b')", "done"),
            ("query 0 SELECT count(*) FROM t WHERE x MATCH 'b'", "[1]"),
        ],
    );
}

#[test]
fn what_is_nested_deeply_takes_no_more_stack_than_there_is() {
    // Parts of a compound are compiled one inside of the other.
    let arms = |levels: usize, parts: usize, begin: &str, end: &str| {
        (0..levels).fold("SELECT 1 AS x".to_string(), |inner, _| {
            format!("{begin}({inner}){end}{}", " UNION ALL SELECT 1".repeat(parts))
        })
    };
    let mut calls = vec![("open :memory:".to_string(), "connection 0")];
    for (levels, parts) in [(5, 499), (12, 99), (20, 99), (60, 50)] {
        calls.push((format!("exec 0 {}", arms(levels, parts, "SELECT ", "")), ""));
        calls.push((format!("exec 0 {}", arms(levels, parts, "SELECT DISTINCT x FROM ", "")), ""));
    }
    for depth in [10, 60, 90] {
        calls.push((format!("exec 0 CREATE VIEW v{depth}x0 AS SELECT 1 AS x"), "done"));
        for view in 1..=195 {
            let below = view - 1;
            let sql = arms(depth, 0, "SELECT DISTINCT x FROM ", "");
            let sql = sql.replace("SELECT 1 AS x", &format!("SELECT x FROM v{depth}x{below}"));
            calls.push((format!("exec 0 CREATE VIEW v{depth}x{view} AS {sql}"), ""));
        }
        calls.push((format!("exec 0 SELECT x FROM v{depth}x195"), ""));
        calls.push((format!("exec 0 SELECT x FROM v{depth}x5"), ""));
    }
    calls.push(("query 0 SELECT 1".to_string(), "[1]"));
    let calls: Vec<(&str, &str)> = calls.iter().map(|(call, said)| (&**call, *said)).collect();
    answers_on("2", &[], &calls);
}

#[test]
fn functions_that_take_the_product_of_two_lengths_are_few_in_a_statement() {
    let sql = |count: usize| {
        format!("query 0 SELECT ('ab' LIKE '%b'){}", " + ('ab' LIKE '%b')".repeat(count - 1))
    };
    let (some, many) = (sql(32), format!("apart together open :memory: | {}", sql(33)));
    answers(
        &[],
        &[
            ("open :memory:", "connection 0"),
            (&some, "[32]"),
            (&many, "ended"),
            ("query 0 SELECT 'ab' LIKE printf('%.*c', 99, '_') || '%'", "[0]"),
            (
                "exec 0 SELECT 'ab' GLOB printf('%.*c', 101, 'a')",
                "1: LIKE or GLOB pattern too complex (1)",
            ),
            (&some, "[32]"),
        ],
    );
}

#[test]
fn texts_are_searched_in_time_that_grows_with_their_length() {
    // Each of these takes many minutes if each character is compared with each, or each place with a part.
    let rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 200), \
                t(a) AS MATERIALIZED (SELECT printf('%.*c', 1000000, 'a')), \
                u(b) AS MATERIALIZED (SELECT printf('%.*c', 500000, 'a') || 'b')";
    let members = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 80000), \
                   d(j) AS MATERIALIZED (SELECT json_group_object('' || x, 1) FROM n), \
                   m(space) AS (SELECT substr('                    ', x) FROM n LIMIT 20)";
    let sum = |what: &str| format!("query 0 {rows} SELECT sum({what}) FROM n, t, u");
    answers(
        &[],
        &[
            ("open :memory:", "connection 0"),
            (&sum("instr(a, b || x)"), "[0]"),
            (&sum("instr(CAST(a AS BLOB), CAST(b || x AS BLOB))"), "[0]"),
            (&sum("length(replace(a, b || x, 'c'))"), "[200000000]"),
            (
                "query 0 SELECT length(unhex(printf('%.*c', 1000000, '-'), printf('%.*c', 1000000, '.') || '-'))",
                "[0]",
            ),
            (
                &format!(
                    "query 0 {members} SELECT sum(length(json_patch('{{}}', j || space))) FROM d, m"
                ),
                "[15777900]",
            ),
            (
                &format!(
                    "query 0 {members} SELECT length(json(jsonb_patch(j, '{{\"1\":null}}'))), length(json_pretty(j, '')) FROM d"
                ),
                "[788889, 948896]",
            ),
            (
                "query 0 SELECT instr('a\u{e4}b\u{e4}', 'b\u{e4}'), replace('aXbX', 'X', 'YZ'), hex(unhex('4a-4B', '-'))",
                "[3, \"aYZbYZ\", \"4A4B\"]",
            ),
            (
                "query 0 SELECT unhex('4a-4'), instr(NULL, 'a'), replace('a', '', 'b')",
                "[NULL, NULL, \"a\"]",
            ),
        ],
    );
}
