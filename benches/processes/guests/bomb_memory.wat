;; Has children that take all the memory they may have, touch it and die, one after the other for ever.
(data (i32.const 544) "eater")
(func (export "eater") (param $parent i64) (local $at i32)
  (loop $more
    (local.set $at (memory.grow (i32.const 1)))
    (if (i32.ne (local.get $at) (i32.const -1))
      (then
        (i32.store (i32.shl (local.get $at) (i32.const 16)) (i32.const 1))
        (i32.store offset=32768 (i32.shl (local.get $at) (i32.const 16)) (i32.const 1))
        (br $more))))
  (call $send (local.get $parent) (i64.const 1))
  unreachable)
(func (export "busy")
  (loop $for_ever
    (drop (call $spawn1 (i32.const 544) (i32.const 5) (call $self)))
    (drop (call $receive))
    (br $for_ever)))
