//! Channels that hold much, for those who have to find out whose doing a shortage is.
//!
//! A sender notes a channel that it finds with more in it than a little, and who it is: the branch that
//! fills it. Most channels never hold so much, and are never noted. Those that hold little by now, or are
//! closed, are forgotten when there are twice as many as were left the last time.

use std::collections::HashMap;

use lunatic_scheduler::channel::Channel;
use parking_lot::Mutex;

use crate::message::Mail;
use crate::warden::ENVELOPE_BYTES;

/// A channel that holds more is noted. By feel: eight times what is counted for its handle, so that who
/// keeps below it in very many channels is found by those.
const NOTED_BYTES: u64 = 4 * 1024;
/// So many locks. By feel.
const SHARDS: usize = 16;
/// Fewer than this are not worth looking through. By feel.
const WEED_MIN: usize = 256;

/// The channels of a node that hold much, or have.
#[derive(Debug, Default)]
pub(crate) struct LargeChannels([Mutex<Noted>; SHARDS]);

#[derive(Debug, Default)]
struct Noted {
    /// With the branch of who has noted it.
    channels: Vec<(Channel<Mail>, u64)>,
    weed_at: usize,
}

impl Noted {
    fn weed(&mut self) {
        self.channels.retain(|(channel, _)| {
            let large = bytes_in(channel) > NOTED_BYTES / 2 && !channel.is_closed();
            large || !channel.mark(false)
        });
        self.weed_at = (2 * self.channels.len()).max(WEED_MIN);
    }
}

/// What a channel's messages take.
pub(crate) fn bytes_in(channel: &Channel<Mail>) -> u64 {
    channel.bytes() + (channel.len() * ENVELOPE_BYTES) as u64
}

impl LargeChannels {
    /// Notes the channel if it holds much, for a sender of this branch.
    #[cold]
    pub(crate) fn note(&self, channel: &Channel<Mail>, group: u64) {
        if bytes_in(channel) > NOTED_BYTES && channel.mark(true) {
            // The lowest bits of an address say nothing.
            let mut noted = self.0[(channel.id() >> 7) % SHARDS].lock();
            if noted.channels.len() >= noted.weed_at {
                noted.weed();
            }
            noted.channels.push((channel.clone(), group));
        }
    }

    /// The channels of the branch that has filled them most, the fullest first, and what is in all.
    pub(crate) fn fullest(&self) -> Option<(u64, Vec<Channel<Mail>>)> {
        let mut groups: HashMap<u64, (u64, Vec<Channel<Mail>>)> = HashMap::new();
        for shard in &self.0 {
            let mut noted = shard.lock();
            noted.weed();
            for (channel, group) in &noted.channels {
                let (bytes, channels) = groups.entry(*group).or_default();
                *bytes += bytes_in(channel);
                channels.push(channel.clone());
            }
        }
        let (bytes, mut channels) = groups.into_values().max_by_key(|(bytes, _)| *bytes)?;
        channels.sort_by_cached_key(|channel| std::cmp::Reverse(bytes_in(channel)));
        Some((bytes, channels))
    }
}
