//! 64 MB compressed and decompressed, a megabyte at a time.

fn main() {
    let piece = kernel_guests::text(1 << 20);
    for _ in 0..64 {
        let small = lz4_flex::compress_prepend_size(&piece);
        let again = lz4_flex::decompress_size_prepended(&small).expect("what was compressed");
        assert!(small.len() < piece.len() && again == piece);
    }
}
