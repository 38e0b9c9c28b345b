;; Floods the mailbox of a process that receives nothing, kills it, and does it again, for ever.
(data (i32.const 544) "deaf")
(func (export "deaf") (call $sleep (i64.const -1)))
(func (export "busy") (local $deaf i64) (local $left i64)
  (loop $for_ever
    (local.set $deaf (call $spawn0 (i32.const 544) (i32.const 4)))
    (local.set $left (i64.const 1000000))
    (loop $flood
      (call $send (local.get $deaf) (local.get $left))
      (br_if $flood (i64.ne
        (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
    (call $kill (local.get $deaf))
    (br $for_ever)))
