;; Computes for ever.
(func (export "busy") (local i64)
  (loop $for_ever
    (local.set 0 (i64.add (local.get 0) (i64.const 1)))
    (i64.store (i32.const 4000) (local.get 0))
    (br $for_ever)))
