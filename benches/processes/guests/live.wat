;; Many processes at once, each blocked in receive; the main process keeps their ids. At the marks
;; the driver reads how much memory the whole runtime has, while nothing else happens.
(data (i32.const 512) "live")
(data (i32.const 1024) "MARK start")
(data (i32.const 1056) "MARK blocked")
(data (i32.const 1088) "NS live spawn_to_blocked")
(data (i32.const 1120) "NS live send_collect")
(func (export "live") (param $main i64)
  (call $send (local.get $main) (i64.const 0)) ;; about to block
  (call $send (local.get $main) (call $receive)))
(func (export "_start")
  (local $n i64) (local $i i64) (local $me i64) (local $begun i64) (local $ended i64)
  (local $sum i64)
  (local.set $n (call $count))
  (local.set $me (call $self))
  (call $room (local.get $n))
  (call $print (i32.const 1024) (i32.const 10) (i64.const -1) (i64.const 0))
  (call $sleep (i64.const 300))
  (local.set $begun (call $now))
  (loop $next
    (i64.store (call $at (local.get $i)) (call $spawn1 (i32.const 512) (i32.const 4) (local.get $me)))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (loop $next
    (drop (call $receive))
    (br_if $next (i64.ne
      (local.tee $i (i64.sub (local.get $i) (i64.const 1))) (i64.const 0))))
  (local.set $ended (call $now))
  (call $print (i32.const 1056) (i32.const 12) (i64.const -1) (i64.const 0))
  (call $sleep (i64.const 700))
  (call $print (i32.const 1088) (i32.const 24) (local.get $n)
    (i64.sub (local.get $ended) (local.get $begun)))
  (local.set $begun (call $now))
  (loop $next
    (call $send (i64.load (call $at (local.get $i))) (local.get $i))
    (br_if $next (i64.lt_u
      (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
  (loop $next
    (local.set $sum (i64.add (local.get $sum) (call $receive)))
    (br_if $next (i64.ne
      (local.tee $i (i64.sub (local.get $i) (i64.const 1))) (i64.const 0))))
  (local.set $ended (call $now))
  (if (i64.ne (local.get $sum)
        (i64.div_u (i64.mul (local.get $n) (i64.sub (local.get $n) (i64.const 1))) (i64.const 2)))
    (then unreachable))
  (call $print (i32.const 1120) (i32.const 20) (local.get $n)
    (i64.sub (local.get $ended) (local.get $begun))))
