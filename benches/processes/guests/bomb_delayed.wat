;; Has delayed messages in the air for ever, 50,000 at a time: each is sent to the process itself, 1 to 50 ms
;; later, and when all have come it begins again.
(func (export "busy") (local $left i64)
  (loop $for_ever
    (local.set $left (i64.const 50000))
    (loop $next
      (call $create (i64.const 0) (i64.const 8))
      (drop (call $send_after (call $self)
        (i64.add (i64.const 1) (i64.rem_u (local.get $left) (i64.const 50)))))
      (br_if $next (i64.ne
        (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
    (local.set $left (i64.const 50000))
    (loop $next
      (drop (call $receive_raw (i32.const 0) (i32.const 0) (i64.const -1)))
      (br_if $next (i64.ne
        (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
    (br $for_ever)))
