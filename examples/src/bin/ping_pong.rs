//! Two processes and two channels: a number goes back and forth and grows by one at each side.

use lunatic::{Channel, Process};

const ROUNDS: u32 = 1_000;

fn main() {
    let ping = Channel::new(1);
    let pong = Channel::new(1);
    Process::spawn((ping.clone(), pong.clone()), player).unwrap();
    let mut number = 0;
    for _ in 0..ROUNDS {
        ping.send(number);
        number = pong.receive() + 1;
    }
    println!("{ROUNDS} rounds, the number is {number}");
}

/// Plays until nobody can send any more: then `ping` is closed and the loop ends.
fn player((ping, pong): (Channel<u32>, Channel<u32>)) {
    for number in &ping {
        pong.send(number + 1);
    }
}
