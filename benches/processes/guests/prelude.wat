;; What the guests of benches/processes.rs share. A bench adds a `_start` that prints
;; "NS <count> <nanoseconds>" (or "LATE <nanoseconds>" for each tick) through $report.
(import "lunatic::process" "spawn"
  (func $spawn_raw (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
(import "lunatic::process" "process_id" (func $self (result i64)))
(import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
(import "lunatic::process" "exists" (func $exists (param i64) (result i32)))
(import "lunatic::message" "create_data" (func $create (param i64 i64)))
(import "lunatic::message" "write_data" (func $write (param i32 i32) (result i32)))
(import "lunatic::message" "read_data" (func $read (param i32 i32) (result i32)))
(import "lunatic::message" "send" (func $send_raw (param i64) (result i32)))
(import "lunatic::message" "receive" (func $receive_raw (param i32 i32 i64) (result i32)))
(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(memory (export "memory") 1)
(data (i32.const 512) "nop")
(data (i32.const 528) "live")
(data (i32.const 544) "pong")
(data (i32.const 560) "spin")
(data (i32.const 576) "yielder")

(func $now (result i64)
  (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 40)))
  (i64.load (i32.const 40)))
(func $send (param $to i64) (param $value i64)
  (call $create (i64.const 0) (i64.const 8))
  (i64.store (i32.const 16) (local.get $value))
  (drop (call $write (i32.const 16) (i32.const 8)))
  (drop (call $send_raw (local.get $to))))
(func $receive (result i64)
  (drop (call $receive_raw (i32.const 0) (i32.const 0) (i64.const -1)))
  (drop (call $read (i32.const 24) (i32.const 8)))
  (i64.load (i32.const 24)))
;; Spawns the export named at $name with two i64 arguments of which it takes $params.
(func $spawn (param $name i32) (param $len i32) (param $params i32) (param $a i64) (param $b i64)
  (result i64)
  (i32.store8 (i32.const 256) (i32.const 0x7e))
  (i64.store (i32.const 257) (local.get $a)) (i64.store (i32.const 265) (i64.const 0))
  (i32.store8 (i32.const 273) (i32.const 0x7e))
  (i64.store (i32.const 274) (local.get $b)) (i64.store (i32.const 282) (i64.const 0))
  (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (local.get $name)
        (local.get $len) (i32.const 256) (i32.mul (local.get $params) (i32.const 17))
        (i32.const 32))
    (then unreachable))
  (i64.load (i32.const 32)))
;; Prints "<label, 5 bytes> <number>\n" in one write.
(func $print (param $label i64) (param $value i64) (local $p i32)
  (local.set $p (i32.const 231))
  (i32.store8 (i32.const 231) (i32.const 10))
  (loop $digit
    (local.set $p (i32.sub (local.get $p) (i32.const 1)))
    (i32.store8 (local.get $p)
      (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))))
    (br_if $digit (i64.ne
      (local.tee $value (i64.div_u (local.get $value) (i64.const 10))) (i64.const 0))))
  (local.set $p (i32.sub (local.get $p) (i32.const 5)))
  (i32.store (local.get $p) (i32.wrap_i64 (local.get $label)))
  (i32.store8 (i32.add (local.get $p) (i32.const 4)) (i32.const 32))
  (i32.store (i32.const 64) (local.get $p))
  (i32.store (i32.const 68) (i32.sub (i32.const 232) (local.get $p)))
  (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80))))
(func $nanoseconds (param $value i64) (call $print (i64.const 0x534e4e49) (local.get $value))) ;; INNS
(func $late (param $value i64) (call $print (i64.const 0x4554414c) (local.get $value)))        ;; LATE
(func $mark (call $print (i64.const 0x4b52414d) (i64.const 0)))                                ;; MARK

(func (export "nop"))
(func (export "live") (param $main i64)
  (call $send (local.get $main) (i64.const 0))
  (call $send (local.get $main) (call $receive)))
(func (export "pong") (param $from i64) (param $n i64)
  (loop $next
    (call $send (local.get $from) (call $receive))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
(func (export "spin") (local i64)
  (loop $for_ever
    (local.set 0 (i64.add (local.get 0) (i64.const 1)))
    (i64.store (i32.const 4000) (local.get 0))
    (br $for_ever)))
(func (export "yielder") (param $main i64) (param $n i64)
  (loop $next
    (drop (call $yield))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $send (local.get $main) (i64.const 0)))
