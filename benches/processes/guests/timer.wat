;; A process that sleeps 1 ms, over and over for so many milliseconds, and tells the main process how
;; late it woke; nothing is printed before the end. The driver says what runs beside it, with an export
;; "busy" and how many there are of it, `(func $loops (result i64) …)`.
(data (i32.const 512) "busy")
(data (i32.const 528) "ticker")
(data (i32.const 1024) "LATE")
(func (export "ticker") (param $main i64) (param $milliseconds i64)
  (local $end i64) (local $before i64) (local $after i64)
  (call $sleep (i64.const 100))
  (local.set $end
    (i64.add (call $now) (i64.mul (local.get $milliseconds) (i64.const 1000000))))
  (loop $next
    (local.set $before (call $now))
    (call $sleep (i64.const 1))
    (local.set $after (call $now))
    (call $send (local.get $main)
      (i64.sub (i64.sub (local.get $after) (local.get $before)) (i64.const 1000000)))
    (br_if $next (i64.lt_u (local.get $after) (local.get $end))))
  (call $send (local.get $main) (i64.const -1000000000000))) ;; the end
(func (export "_start") (local $n i64) (local $i i64) (local $late i64)
  ;; Twice as much room as ticks: each sleeps 1 ms, give or take the grain of the clock.
  (call $room (i64.add (i64.mul (call $count) (i64.const 2)) (i64.const 16)))
  ;; First, while there is room for it; it begins when the others are under way.
  (drop (call $spawn2 (i32.const 528) (i32.const 6) (call $self) (call $count)))
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
