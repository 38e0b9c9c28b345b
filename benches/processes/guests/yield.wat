;; Four processes that yield so many times each, on two workers: each worker does two times as many.
(data (i32.const 512) "yielder")
(data (i32.const 1024) "NS yield per_yield")
(func (export "yielder") (param $main i64) (param $n i64)
  (loop $next
    (drop (call $yield))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $send (local.get $main) (i64.const 0)))
(func (export "_start") (local $i i32) (local $begun i64)
  (local.set $begun (call $now))
  (local.set $i (i32.const 4))
  (loop $next
    (drop (call $spawn2 (i32.const 512) (i32.const 7) (call $self) (call $count)))
    (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (local.set $i (i32.const 4))
  (loop $next
    (drop (call $receive))
    (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (call $print (i32.const 1024) (i32.const 18) (i64.mul (call $count) (i64.const 2))
    (i64.sub (call $now) (local.get $begun))))
