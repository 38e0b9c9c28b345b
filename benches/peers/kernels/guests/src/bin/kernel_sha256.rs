//! SHA-256 over 64 MB.

use sha2::{Digest, Sha256};

fn main() {
    let piece = kernel_guests::text(1 << 20);
    let mut hash = Sha256::new();
    for _ in 0..64 {
        hash.update(&piece);
    }
    assert_ne!(hash.finalize()[..8], [0; 8]);
}
