;; Processes that end at once, spawned one after the other. `total` ends when the last one is gone,
;; as other runtimes were measured; `all_gone` when each one is, asked for one by one.
(data (i32.const 512) "nop")
(data (i32.const 1024) "NS spawn spawn_call")
(data (i32.const 1056) "NS spawn total")
(data (i32.const 1088) "NS spawn all_gone")
(func (export "nop"))
(func $wait_for (param $process i64)
  (block $gone (loop $again
    (br_if $gone (i32.eqz (call $exists (local.get $process))))
    (call $sleep (i64.const 1))
    (br $again))))
(func (export "_start")
  (local $n i64) (local $i i64) (local $begun i64) (local $called i64) (local $last_gone i64)
  (local.set $n (call $count))
  ;; The list is touched now, so that what is measured does not pay for its pages.
  (call $room (local.get $n))
  (memory.fill (call $at (i64.const 0)) (i32.const 0)
    (i32.wrap_i64 (i64.shl (local.get $n) (i64.const 3))))
  (local.set $begun (call $now))
  (loop $next
    (i64.store (call $at (local.get $i)) (call $spawn0 (i32.const 512) (i32.const 3)))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (local.set $called (call $now))
  (call $wait_for (i64.load (call $at (i64.sub (local.get $n) (i64.const 1)))))
  (local.set $last_gone (call $now))
  (local.set $i (i64.const 0))
  (loop $next
    (call $wait_for (i64.load (call $at (local.get $i))))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (call $print (i32.const 1088) (i32.const 17) (local.get $n)
    (i64.sub (call $now) (local.get $begun)))
  (call $print (i32.const 1056) (i32.const 14) (local.get $n)
    (i64.sub (local.get $last_gone) (local.get $begun)))
  (call $print (i32.const 1024) (i32.const 19) (local.get $n)
    (i64.sub (local.get $called) (local.get $begun))))
