//! Floating-point and SIMD state must survive preemption and moving between threads: children compute at the same time
//! what main has computed before anybody else ran, and every bit must be the same.

use lunatic::{Channel, Process};
use std::hint::black_box;

const CHILDREN: u32 = 16;
const ROUNDS: u32 = 20_000_000;

fn main() {
    let undisturbed: Vec<Vec<u64>> = (0..4).map(compute).collect();
    let results = Channel::new(0);
    for number in 0..CHILDREN {
        Process::spawn((number, results.clone()), |(number, results)| {
            Channel::send(&results, (number, compute(number % 4)));
        })
        .unwrap();
    }
    let mut same = 0;
    for (number, result) in &results {
        let expected = &undisturbed[number as usize % 4];
        assert_eq!(&result, expected, "FAILED: child {number} has computed something else");
        same += 1;
    }
    println!("{same} of {CHILDREN} children computed the same bits");
}

/// Bits of sums that depend on every single operation and its order.
fn compute(seed: u32) -> Vec<u64> {
    let seed = black_box(seed) as f64;
    let mut bits = vec![sum_f64(seed).to_bits(), u64::from(sum_f32(seed as f32).to_bits())];
    bits.extend(sum_simd(seed as f32).map(|lane| u64::from(lane.to_bits())));
    bits
}

fn sum_f64(seed: f64) -> f64 {
    let (mut x, mut sum) = (0.3 + seed / 10.0, 0.0);
    for i in 0..ROUNDS {
        x = 3.9 * x * (1.0 - x) * 0.999 + 0.0001;
        sum += x * f64::from(i % 7);
    }
    sum
}

fn sum_f32(seed: f32) -> f32 {
    let (mut x, mut sum) = (0.3 + seed / 10.0, 0.0f32);
    for _ in 0..ROUNDS {
        x = 3.7 * x * (1.0 - x) + 0.0001;
        sum = sum * 0.999 + x;
    }
    sum
}

#[cfg(target_family = "wasm")]
#[target_feature(enable = "simd128")]
fn sum_simd(seed: f32) -> [f32; 4] {
    use std::arch::wasm32::*;
    let mut x = f32x4(0.1 + seed / 10.0, 0.2, 0.3, 0.4);
    let mut sum = f32x4_splat(0.0);
    for _ in 0..ROUNDS {
        let rest = f32x4_sub(f32x4_splat(1.0), x);
        x = f32x4_add(f32x4_mul(f32x4_mul(f32x4_splat(3.7), x), rest), f32x4_splat(0.0001));
        sum = f32x4_add(f32x4_mul(sum, f32x4_splat(0.999)), x);
    }
    [
        f32x4_extract_lane::<0>(sum),
        f32x4_extract_lane::<1>(sum),
        f32x4_extract_lane::<2>(sum),
        f32x4_extract_lane::<3>(sum),
    ]
}

#[cfg(not(target_family = "wasm"))]
fn sum_simd(seed: f32) -> [f32; 4] {
    [seed; 4]
}
