;; Ten thousand processes that sleep 1 ms, over and over.
(data (i32.const 544) "sleeper")
(func (export "sleeper") (loop $for_ever (call $sleep (i64.const 1)) (br $for_ever)))
(func (export "busy") (local $left i64)
  (local.set $left (i64.const 10000))
  (loop $next
    (drop (call $spawn0 (i32.const 544) (i32.const 7)))
    (br_if $next (i64.ne
      (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0)))))
