;; 1,000 processes send to one, so many messages together.
(data (i32.const 512) "consumer")
(data (i32.const 528) "producer")
(data (i32.const 1024) "NS fan-in per_message")
(func (export "consumer") (param $main i64) (param $n i64)
  (loop $next
    (drop (call $receive))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $send (local.get $main) (call $now)))
(func (export "producer") (param $consumer i64) (param $n i64)
  (loop $next
    (call $send (local.get $consumer) (local.get $n))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
(func (export "_start") (local $consumer i64) (local $i i32) (local $begun i64)
  (local.set $consumer (call $spawn2 (i32.const 512) (i32.const 8) (call $self) (call $count)))
  (local.set $i (i32.const 1000))
  (local.set $begun (call $now))
  (loop $next
    (drop (call $spawn2 (i32.const 528) (i32.const 8) (local.get $consumer)
      (i64.div_u (call $count) (i64.const 1000))))
    (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (call $print (i32.const 1024) (i32.const 21) (call $count)
    (i64.sub (call $receive) (local.get $begun))))
