;; The kernels of `kernels.rs` and of `peers/kernels`: one exported function each. What they read they have
;; written before: pages that were never written are all the same page of zeros to the system, and to the cache.
(module (memory 130)
  (func $fib (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "fib(35)") (drop (call $fib (i32.const 35))))

  (func (export "integer loop") (local $i i32) (local $n i64) (local $steps i64)
    (loop $outer
      (local.set $n (i64.add (i64.extend_i32_u (local.get $i)) (i64.const 1)))
      (block $done (loop $collatz
        (br_if $done (i64.le_u (local.get $n) (i64.const 1)))
        (local.set $steps (i64.add (local.get $steps) (i64.const 1)))
        (local.set $n (select
          (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1))
          (i64.shr_u (local.get $n) (i64.const 1))
          (i32.eqz (i64.eqz (i64.and (local.get $n) (i64.const 1))))))
        (br $collatz)))
      (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300000)))))

  (func (export "two-instruction loop") (local $i i32)
    (local.set $i (i32.const 200000000))
    (loop $again (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))

  (func (export "sieve 1 MB") (local $round i32) (local $p i32) (local $k i32)
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 1000000))
      (local.set $p (i32.const 2))
      (loop $primes
        (if (i32.load8_u (local.get $p)) (then
          (local.set $k (i32.mul (local.get $p) (local.get $p)))
          (block $out (loop $strike
            (br_if $out (i32.ge_u (local.get $k) (i32.const 1000000)))
            (i32.store8 (local.get $k) (i32.const 0))
            (local.set $k (i32.add (local.get $k) (local.get $p)))
            (br $strike)))))
        (br_if $primes (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (i32.const 1000))))
      (br_if $again (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 40)))))

  (func (export "sieve 8 MB") (local $round i32) (local $p i32) (local $k i32)
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 8000000))
      (local.set $p (i32.const 2))
      (loop $primes
        (if (i32.load8_u (local.get $p)) (then
          (local.set $k (i32.mul (local.get $p) (local.get $p)))
          (block $out (loop $strike
            (br_if $out (i32.ge_u (local.get $k) (i32.const 8000000)))
            (i32.store8 (local.get $k) (i32.const 0))
            (local.set $k (i32.add (local.get $k) (local.get $p)))
            (br $strike)))))
        (br_if $primes (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (i32.const 2828))))
      (br_if $again (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 4)))))

  (func (export "f32 matrix multiply 256") (local $i i32) (local $j i32) (local $k i32) (local $s f32)
    (loop $fill
      (f32.store (i32.shl (local.get $k) (i32.const 2)) (f32.convert_i32_u (i32.and (local.get $k) (i32.const 7))))
      (br_if $fill (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 131072))))
    (loop $rows (local.set $j (i32.const 0))
      (loop $columns (local.set $k (i32.const 0)) (local.set $s (f32.const 0))
        (loop $sum
          (local.set $s (f32.add (local.get $s) (f32.mul
            (f32.load (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 8)) (local.get $k)) (i32.const 2)))
            (f32.load offset=262144 (i32.shl (i32.add (i32.shl (local.get $k) (i32.const 8)) (local.get $j)) (i32.const 2))))))
          (br_if $sum (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 256))))
        (f32.store offset=524288 (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 8)) (local.get $j)) (i32.const 2)) (local.get $s))
        (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 256))))
      (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256)))))

  (func (export "f64 matrix multiply 256") (local $i i32) (local $j i32) (local $k i32) (local $s f64)
    (loop $fill
      (f64.store (i32.shl (local.get $k) (i32.const 3)) (f64.convert_i32_u (i32.and (local.get $k) (i32.const 7))))
      (br_if $fill (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 131072))))
    (loop $rows (local.set $j (i32.const 0))
      (loop $columns (local.set $k (i32.const 0)) (local.set $s (f64.const 0))
        (loop $sum
          (local.set $s (f64.add (local.get $s) (f64.mul
            (f64.load (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 8)) (local.get $k)) (i32.const 3)))
            (f64.load offset=524288 (i32.shl (i32.add (i32.shl (local.get $k) (i32.const 8)) (local.get $j)) (i32.const 3))))))
          (br_if $sum (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 256))))
        (f64.store offset=1048576 (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 8)) (local.get $j)) (i32.const 3)) (local.get $s))
        (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 256))))
      (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256)))))
)
