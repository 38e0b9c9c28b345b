;; Spawn a process, wait for its message, spawn the next.
(data (i32.const 512) "reply")
(data (i32.const 1024) "NS spawn-wait latency")
(func (export "reply") (param $main i64) (call $send (local.get $main) (i64.const 1)))
(func (export "_start") (local $n i64) (local $me i64) (local $begun i64)
  (local.set $n (call $count))
  (local.set $me (call $self))
  (local.set $begun (call $now))
  (loop $next
    (drop (call $spawn1 (i32.const 512) (i32.const 5) (local.get $me)))
    (drop (call $receive))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $print (i32.const 1024) (i32.const 21) (call $count)
    (i64.sub (call $now) (local.get $begun))))
