;; What all guests of the benches share: the imports, of which all but `sched_yield` are those that
;; other runtimes with this interface are measured with, and helpers that cost the same as there.
;; The driver puts `(func $count (result i64) …)` and the guest behind it.
;;
;; Memory below 512 belongs to these functions, 2048 to 2303 to $print. A guest keeps the names of
;; what it spawns at 512 and its labels at 1024, so that a process touches one page and no more.
;; Beyond the first 64 KiB there is nothing until $room asks for it.
(import "lunatic::process" "spawn"
  (func $spawn_raw (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
(import "lunatic::process" "process_id" (func $self (result i64)))
(import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
(import "lunatic::process" "kill" (func $kill (param i64)))
(import "lunatic::process" "exists" (func $exists (param i64) (result i32)))
(import "lunatic::process" "die_when_link_dies" (func $die_with_links (param i32)))
(import "lunatic::message" "create_data" (func $create (param i64 i64)))
(import "lunatic::message" "write_data" (func $write (param i32 i32) (result i32)))
(import "lunatic::message" "read_data" (func $read (param i32 i32) (result i32)))
(import "lunatic::message" "send" (func $send_raw (param i64) (result i32)))
(import "lunatic::message" "receive" (func $receive_raw (param i32 i32 i64) (result i32)))
(import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
(import "lunatic::error" "drop" (func $drop_error (param i64)))
(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(memory (export "memory") 1)

(func $now (result i64)
  (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 40)))
  (i64.load (i32.const 40)))

;; A message is one number.
(func $send (param $to i64) (param $value i64)
  (call $create (i64.const 0) (i64.const 8))
  (i64.store (i32.const 16) (local.get $value))
  (drop (call $write (i32.const 16) (i32.const 8)))
  (drop (call $send_raw (local.get $to))))
(func $receive (result i64)
  (drop (call $receive_raw (i32.const 0) (i32.const 0) (i64.const -1)))
  (drop (call $read (i32.const 24) (i32.const 8)))
  (i64.load (i32.const 24)))

;; Spawns the export with this name, with so many arguments of those that were stored, each a record
;; of 17 bytes at 256.
(func $spawn_stored (param $name i32) (param $len i32) (param $arguments i32) (result i64)
  (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (local.get $name)
        (local.get $len) (i32.const 256) (i32.mul (local.get $arguments) (i32.const 17))
        (i32.const 32))
    (then unreachable))
  (i64.load (i32.const 32)))
(func $store_argument (param $at i32) (param $value i64)
  (i32.store8 (local.get $at) (i32.const 0x7e))
  (i64.store offset=1 (local.get $at) (local.get $value))
  (i64.store offset=9 (local.get $at) (i64.const 0)))
(func $spawn0 (param $name i32) (param $len i32) (result i64)
  (call $spawn_stored (local.get $name) (local.get $len) (i32.const 0)))
(func $spawn1 (param $name i32) (param $len i32) (param $a i64) (result i64)
  (call $store_argument (i32.const 256) (local.get $a))
  (call $spawn_stored (local.get $name) (local.get $len) (i32.const 1)))
(func $spawn2 (param $name i32) (param $len i32) (param $a i64) (param $b i64) (result i64)
  (call $store_argument (i32.const 256) (local.get $a))
  (call $store_argument (i32.const 273) (local.get $b))
  (call $spawn_stored (local.get $name) (local.get $len) (i32.const 2)))
;; The same as $spawn2, linked; with no arguments if the second is -1.
(func $spawn_linked (param $name i32) (param $len i32) (param $a i64) (param $b i64) (result i64)
  (call $store_argument (i32.const 256) (local.get $a))
  (call $store_argument (i32.const 273) (local.get $b))
  (if (call $spawn_raw (i64.const 1) (i64.const -1) (i64.const -1) (local.get $name)
        (local.get $len) (i32.const 256)
        (select (i32.const 0) (i32.const 34) (i64.eq (local.get $b) (i64.const -1)))
        (i32.const 32))
    (then unreachable))
  (i64.load (i32.const 32)))
(func $spawn3 (param $name i32) (param $len i32) (param $a i64) (param $b i64) (param $c i64)
  (result i64)
  (call $store_argument (i32.const 256) (local.get $a))
  (call $store_argument (i32.const 273) (local.get $b))
  (call $store_argument (i32.const 290) (local.get $c))
  (call $spawn_stored (local.get $name) (local.get $len) (i32.const 3)))

;; A list of so many numbers, which begins at 65,536.
(func $room (param $numbers i64)
  (if (i32.eq (i32.const -1)
        (memory.grow (i32.add (i32.const 1)
          (i32.wrap_i64 (i64.div_u (local.get $numbers) (i64.const 8192))))))
    (then unreachable)))
(func $at (param $index i64) (result i32)
  (i32.add (i32.const 65536) (i32.wrap_i64 (i64.shl (local.get $index) (i64.const 3)))))

;; Prints "<label> <count> <value>\n" in one write; a label that needs no count is given count -1.
(func $print (param $label i32) (param $len i32) (param $count i64) (param $value i64)
  (memory.copy (i32.const 2048) (local.get $label) (local.get $len))
  (local.set $len (i32.add (local.get $len) (i32.const 2048)))
  (if (i64.ge_s (local.get $count) (i64.const 0))
    (then (local.set $len (call $digits (local.get $len) (local.get $count)))))
  (local.set $len (call $digits (local.get $len) (local.get $value)))
  (i32.store8 (local.get $len) (i32.const 10))
  (i32.store (i32.const 64) (i32.const 2048))
  (i32.store (i32.const 68) (i32.sub (local.get $len) (i32.const 2047)))
  (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80))))
;; Writes a blank and a signed number to $at and gives where they end. They are made at 200, backwards.
(func $digits (param $at i32) (param $value i64) (result i32) (local $p i32) (local $minus i32)
  (local.set $p (i32.const 200))
  (if (i64.lt_s (local.get $value) (i64.const 0))
    (then
      (local.set $minus (i32.const 1))
      (local.set $value (i64.sub (i64.const 0) (local.get $value)))))
  (loop $next
    (local.set $p (i32.sub (local.get $p) (i32.const 1)))
    (i32.store8 (local.get $p)
      (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))))
    (br_if $next (i64.ne
      (local.tee $value (i64.div_u (local.get $value) (i64.const 10))) (i64.const 0))))
  (if (local.get $minus)
    (then
      (local.set $p (i32.sub (local.get $p) (i32.const 1)))
      (i32.store8 (local.get $p) (i32.const 45))))
  (local.set $p (i32.sub (local.get $p) (i32.const 1)))
  (i32.store8 (local.get $p) (i32.const 32))
  (memory.copy (local.get $at) (local.get $p) (i32.sub (i32.const 200) (local.get $p)))
  (i32.add (local.get $at) (i32.sub (i32.const 200) (local.get $p))))
