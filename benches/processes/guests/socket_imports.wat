;; What a guest needs for sockets; stands before the prelude, as imports do.
(import "lunatic::networking" "tcp_connect"
  (func $connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
(import "lunatic::networking" "tcp_read"
  (func $read_stream (param i64 i32 i32 i32) (result i32)))
