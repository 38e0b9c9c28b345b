;; A process with links to many others traps, and all of them die of it. The main process waits until
;; the one is gone that is told last.
(data (i32.const 512) "hub")
(data (i32.const 528) "leaf")
(data (i32.const 1024) "NS linked-star death")
(func (export "leaf") (call $sleep (i64.const -1)))
(func (export "hub") (param $main i64) (local $left i64) (local $leaf i64) (local $last i64)
  (local.set $left (call $count))
  (loop $next
    (local.set $leaf (call $spawn_linked (i32.const 528) (i32.const 4) (i64.const 0) (i64.const -1)))
    (if (i64.gt_u (local.get $leaf) (local.get $last))
      (then (local.set $last (local.get $leaf))))
    (br_if $next (i64.ne
      (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
  (call $send (local.get $main) (local.get $last))
  (drop (call $receive))
  unreachable)
(func (export "_start") (local $hub i64) (local $last i64) (local $begun i64)
  (local.set $hub (call $spawn1 (i32.const 512) (i32.const 3) (call $self)))
  (local.set $last (call $receive))
  (local.set $begun (call $now))
  (call $send (local.get $hub) (i64.const 1))
  (loop $wait
    (drop (call $yield))
    (br_if $wait (call $exists (local.get $last))))
  (call $print (i32.const 1024) (i32.const 20) (call $count)
    (i64.sub (call $now) (local.get $begun))))
