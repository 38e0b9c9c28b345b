;; A process that reads the times which the driver sends, one by one, and tells the main process how
;; long each was under way; nothing is printed before the end. The driver says what runs beside it, as
;; for the timer, and where it listens, `(func $port (result i32) …)`.
(data (i32.const 512) "busy")
(data (i32.const 528) "reader")
(data (i32.const 544) "\7f\00\00\01")
(data (i32.const 1024) "LATE")
(func $time_of_day (result i64)
  (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 40)))
  (i64.load (i32.const 40)))
(func (export "reader") (param $main i64) (local $stream i64) (local $now i64)
  (call $sleep (i64.const 100)) ;; until the others are under way
  (if (call $connect (i32.const 4) (i32.const 544) (call $port) (i32.const 0) (i32.const 0)
        (i64.const -1) (i32.const 560))
    (then unreachable))
  (local.set $stream (i64.load (i32.const 560)))
  (block $ended (loop $next
    (if (call $read_stream (local.get $stream) (i32.const 568) (i32.const 8) (i32.const 576))
      (then unreachable))
    (local.set $now (call $time_of_day))
    (br_if $ended (i64.eqz (i64.load (i32.const 576))))
    (call $send (local.get $main) (i64.sub (local.get $now) (i64.load (i32.const 568))))
    (br $next)))
  (call $send (local.get $main) (i64.const -1000000000000))) ;; the end
(func (export "_start") (local $n i64) (local $i i64) (local $late i64)
  (call $room (i64.add (call $count) (i64.const 16))) ;; at most one each millisecond
  (drop (call $spawn1 (i32.const 528) (i32.const 6) (call $self)))
  (local.set $i (call $loops))
  (block $no_more (loop $next
    (br_if $no_more (i64.eqz (local.get $i)))
    (drop (call $spawn0 (i32.const 512) (i32.const 4)))
    (local.set $i (i64.sub (local.get $i) (i64.const 1)))
    (br $next)))
  (block $ended (loop $next
    (local.set $late (call $receive))
    (br_if $ended (i64.eq (local.get $late) (i64.const -1000000000000)))
    (i64.store (call $at (local.get $n)) (local.get $late))
    (local.set $n (i64.add (local.get $n) (i64.const 1)))
    (br $next)))
  (loop $next
    (call $print (i32.const 1024) (i32.const 4) (i64.const -1)
      (i64.load (call $at (local.get $i))))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n)))))
