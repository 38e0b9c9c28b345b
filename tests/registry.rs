//! Names of processes: given, found, taken over, and gone with the process.

mod support;

use support::{Output, program, run_wat_with, spawn, spawn_with, times};

#[track_caller]
fn run(text: &str, check: impl Fn(Output)) {
    for workers in ["1", "2", "8"] {
        check(run_wat_with(&["--workers", workers], text));
    }
}

/// A name at 1024, and ways to use it; and a second one at 1040. Ids are left at 1104.
const ITEMS: &str = r#"
  (data (i32.const 1024) "server")
  (data (i32.const 1040) "wait")
  (func $name (param i64) (call $put_name (i32.const 1024) (i32.const 6) (i64.const 0) (local.get 0)))
  (func $found (result i64)
    (if (result i64)
      (call $get_name (i32.const 1024) (i32.const 6) (i32.const 1096) (i32.const 1104))
      (then (i64.const -1))
      (else
        (if (i64.ne (i64.load (i32.const 1096)) (i64.const 0)) (then unreachable))
        (i64.load (i32.const 1104)))))
  (func $unname (call $remove_name (i32.const 1024) (i32.const 6)))
  (func $get_or (param $link i64) (result i32)
    (call $get_or_spawn (i32.const 1024) (i32.const 6) (local.get $link) (i64.const -1) (i64.const -1)
      (i32.const 1040) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1096) (i32.const 1104)))
  (func (export "wait") (drop (call $recv)))
  (func (export "exit") (call $exit (i32.const 1)))"#;

#[test]
fn a_name_leads_to_a_process_until_it_is_removed_or_given_to_another() {
    let body = format!(
        "(local $one i64) (local $two i64)
         (local.set $one {}) (local.set $two {})
         (call $say (call $found))
         (call $name (local.get $one)) (call $name (local.get $one))
         (call $say32 (i64.eq (call $found) (local.get $one)))
         (call $name (local.get $two))
         (call $say32 (i64.eq (call $found) (local.get $two)))
         (call $kill (local.get $one)) (call $join (local.get $one))
         (call $say32 (i64.eq (call $found) (local.get $two)))
         (call $unname) (call $unname)
         (call $say (call $found))",
        spawn("wait"),
        spawn("wait")
    );
    run(&program(ITEMS, &body), |output| {
        drop(output.expect_quiet_success().prints(&[-1, 1, 1, 1, -1]));
    });
}

#[test]
fn a_name_that_somebody_has_is_left_alone_if_that_is_wanted() {
    let import = r#"(module (import "lunatic::registry" "put_if_free"
      (func $put_if_free (param i32 i32 i64) (result i32)))"#;
    let items = format!(
        "{ITEMS} (func $claim (param i64)
           (call $say32 (call $put_if_free (i32.const 1024) (i32.const 6) (local.get 0))))"
    );
    let body = format!(
        "(local $one i64) (local $two i64)
         (local.set $one {}) (local.set $two {})
         (call $claim (local.get $one)) (call $claim (local.get $one)) (call $claim (local.get $two))
         (call $say32 (i64.eq (call $found) (local.get $one)))
         (call $kill (local.get $one)) (call $join (local.get $one))
         (call $claim (local.get $one)) (call $say (call $found))
         (call $claim (local.get $two))
         (call $say32 (i64.eq (call $found) (local.get $two)))",
        spawn("wait"),
        spawn("wait")
    );
    run(&program(&items, &body).replacen("(module", import, 1), |output| {
        drop(output.expect_quiet_success().prints(&[0, 0, 1, 1, 0, -1, 0, 1]));
    });
}

#[test]
fn a_name_vanishes_with_its_process_and_the_dead_get_none() {
    let body = format!(
        "(local $i i64) (local $child i64)
         {}
         (call $name (local.get $child)) (call $say (call $found))
         (call $name (i64.const 0)) (call $name (i64.const -1)) (call $say (call $found))",
        times(
            500,
            &format!(
                "(local.set $child {})
                 (call $name (local.get $child))
                 (call $kill (local.get $child)) (call $join (local.get $child))
                 (if (i64.ne (call $found) (i64.const -1)) (then unreachable))",
                spawn("wait")
            )
        )
    );
    run(&program(ITEMS, &body), |output| {
        drop(output.expect_quiet_success().prints(&[-1, -1]));
    });
}

#[test]
fn a_process_is_spawned_once_however_many_ask_at_once() {
    // All who ask send the id that they got; all must be the same, and one has spawned.
    let items = format!(
        "{ITEMS}
         (func (export \"ask\") (param $main i64) (local $status i32)
           (local.set $status (call $get_or (i64.const 0)))
           (if (i32.eq (local.get $status) (i32.const 1)) (then unreachable))
           (call $send_tagged (local.get $main) (i64.extend_i32_u (i32.eqz (local.get $status)))
             (i64.load (i32.const 1104))))"
    );
    let body = format!(
        "(local $i i64) (local $round i64) (local $id i64) (local $spawned i64)
         (loop $rounds
           (local.set $id (i64.const 0))
           {}
           {}
           (call $kill (local.get $id)) (call $join (local.get $id))
           (local.set $round (i64.add (local.get $round) (i64.const 1)))
           (br_if $rounds (i64.lt_u (local.get $round) (i64.const 100))))
         (call $say (local.get $spawned))",
        times(20, &format!("(drop {})", spawn_with("ask", "(call $self)"))),
        times(
            20,
            "(if (i64.eqz (local.get $id))
               (then (local.set $id (call $recv)))
               (else (if (i64.ne (local.get $id) (call $recv)) (then unreachable))))
             (local.set $spawned (i64.add (local.get $spawned) (call $tag)))"
        )
        .replace("$again", "$collect"),
    );
    run(&program(&items, &body), |output| {
        drop(output.expect_quiet_success().prints(&[100]));
    });
}

#[test]
fn get_or_spawn_links_and_answers_errors() {
    let body = "
        (call $die_with_links (i32.const 0))
        (call $say32 (call $get_or (i64.const 7)))
        (call $say32 (i64.eq (call $found) (i64.load (i32.const 1104))))
        (call $say32 (call $get_or (i64.const 8)))
        (call $kill (i64.load (i32.const 1104)))
        (call $say32 (call $notice)) (call $say (call $tag))
        (call $say (call $found))";
    run(&program(ITEMS, body), |output| {
        drop(output.expect_quiet_success().prints(&[0, 1, 2, 1, 7, -1]));
    });
    // No room for another process: an error, and the name stays free.
    let body = format!(
        "(local $i i64) {}
         (call $say32 (call $get_or (i64.const 7)))
         (call $say (call $found))",
        times(
            20_000,
            "(drop (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1)
            (i32.const 1040) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 288)))
            (if (i64.ge_u (local.get $i) (i64.const 1)) (then (br $stop)))"
        ),
    );
    let body = body.replace("(loop $again", "(block $stop (loop $again").replacen(
        "(i64.const 20000))))",
        "(i64.const 20000)))))",
        1,
    );
    let text = program(ITEMS, &body);
    let output = run_wat_with(&["--workers", "1", "--processes-max", "2"], &text);
    drop(output.expect(0).prints(&[1, -1]));
}

#[test]
fn names_have_limits() {
    let long = "(call $put_name (i32.const 1024) (i32.const 4097) (i64.const 0) (call $self))";
    run(&program(ITEMS, long), |output| {
        output.expect(134).says(&["a name of 4097 bytes for a process, the longest has 4096"]);
    });
    let other_node = "(call $put_name (i32.const 1024) (i32.const 6) (i64.const 1) (call $self))";
    run(&program(ITEMS, other_node), |output| drop(output.expect(134).says(&["no node 1"])));
    let not_utf8 = "(i32.store8 (i32.const 1024) (i32.const 255)) (call $name (call $self))";
    run(&program(ITEMS, not_utf8), |output| drop(output.expect(134).says(&["not UTF-8"])));
    let many = format!(
        "(local $i i64) {}",
        times(
            2000,
            "(i32.store (i32.const 1024)
               (i32.add (i32.const 0x20202020) (i32.wrap_i64 (local.get $i))))
             (i32.store8 (i32.const 1026) (i32.const 32))
             (i32.store8 (i32.const 1024)
               (i32.add (i32.const 32) (i32.and (i32.wrap_i64 (local.get $i)) (i32.const 63))))
             (i32.store8 (i32.const 1025)
               (i32.add (i32.const 32) (i32.shr_u (i32.wrap_i64 (local.get $i)) (i32.const 6))))
             (call $name (call $self))"
        )
    );
    run(&program(ITEMS, &many), |output| drop(output.expect(134).says(&["has 1000 names"])));
}
