;; Round trips of pairs of processes, all pairs at once. The driver says how many pairs there are
;; with `(func $pairs (result i64) …)`.
(data (i32.const 512) "pong")
(data (i32.const 528) "ping")
(data (i32.const 1024) "NS ping-pong rtt")
(func (export "pong") (param $n i64) (local $from i64)
  (local.set $from (call $receive)) ;; who plays
  (loop $next
    (call $send (local.get $from) (call $receive))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
(func (export "ping") (param $main i64) (param $n i64) (local $pong i64)
  (local.set $pong (call $spawn1 (i32.const 512) (i32.const 4) (local.get $n)))
  (call $send (local.get $pong) (call $self))
  (drop (call $receive)) ;; go
  (loop $next
    (call $send (local.get $pong) (local.get $n))
    (if (i64.ne (call $receive) (local.get $n)) (then unreachable))
    (br_if $next (i64.ne
      (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $send (local.get $main) (i64.const 0)))
(func (export "_start") (local $n i64) (local $i i64) (local $begun i64)
  (local.set $n (call $pairs))
  (call $room (local.get $n))
  (loop $next
    (i64.store (call $at (local.get $i))
      (call $spawn2 (i32.const 528) (i32.const 4) (call $self) (call $count)))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (call $sleep (i64.const 10)) ;; all stand ready
  (local.set $begun (call $now))
  (loop $next
    (local.set $i (i64.sub (local.get $i) (i64.const 1)))
    (call $send (i64.load (call $at (local.get $i))) (i64.const 0))
    (br_if $next (i64.ne (local.get $i) (i64.const 0))))
  (loop $next
    (drop (call $receive))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (call $print (i32.const 1024) (i32.const 16) (call $count)
    (i64.sub (call $now) (local.get $begun))))
