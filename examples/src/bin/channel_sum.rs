//! A thousand processes, one channel: each child is given its number, a copy of the data and the channel, and sends back
//! the sum of the first `i + 1` values.

use lunatic::{Channel, Process};

fn main() {
    let vec: Vec<i32> = (0..1_000).collect();
    let channel = Channel::new(0);
    for i in 0..vec.len() {
        Process::spawn((i, vec.clone(), channel.clone()), child).unwrap();
    }
    for _ in 0..vec.len() {
        let (i, sum) = channel.receive();
        println!("Sum until {i}: {sum}");
    }
}

fn child((i, vec, channel): (usize, Vec<i32>, Channel<(usize, i32)>)) {
    let sum = vec[..=i].iter().sum();
    channel.send((i, sum));
}
