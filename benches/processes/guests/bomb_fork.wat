;; Spawns itself for ever, and so do its children. At the limit of processes a spawn answers an error,
;; which is dropped, and it goes on.
(func (export "busy")
  (loop $for_ever
    (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 512)
          (i32.const 4) (i32.const 256) (i32.const 0) (i32.const 32))
      (then (call $drop_error (i64.load (i32.const 32)))))
    (br $for_ever)))
