//! What one process wants to be told about others, and what that takes.
//!
//! A tie is an entry with each of the two. Whoever made it is charged for both, so that nobody can use
//! up what another may have; tags are charged to who is told them. All of it counts as held by the host
//! (`held.rs`), here and nowhere else: whatever changes an entry goes through [`Peers`].

use std::collections::BTreeMap;

use lunatic_scheduler::Pid;

use crate::bind::Fault;
use crate::held;

/// Ties that a process may have made.
pub(crate) const TIES_MAX: usize = 1_000_000;

/// Monitors with tags that a process may have of one other.
const MONITORS_OF_ONE_MAX: usize = 1000;

/// What both entries of a tie take: each 40 bytes, in a tree whose nodes are two thirds full.
const TIE_BYTES: usize = 2 * 64;

/// What tags take besides themselves.
const TAGS_BYTES: usize = 40;

/// What the owner of a book wants to be told about the end of a peer.
#[derive(Default)]
pub(super) struct Wish {
    /// They are linked; the tag comes back with the notice.
    pub(super) link: Option<i64>,
    pub(super) monitor: bool,
    /// The owner has made the tie, not the peer.
    made: bool,
    /// Monitors with tags of their own; each gets a notice.
    #[allow(clippy::box_collection, reason = "one word in every entry instead of three")]
    tagged: Option<Box<Vec<i64>>>,
}

impl Wish {
    pub(super) fn linked(link: Option<i64>) -> Self {
        Self { link, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.link.is_none() && !self.monitor && self.tagged.is_none()
    }

    pub(super) fn tags(&self) -> &[i64] {
        self.tagged.as_ref().map_or(&[], |tags| tags.as_slice())
    }

    pub(super) fn add_tag(&mut self, tag: i64) -> Result<(), Fault> {
        let tags = self.tagged.get_or_insert_default();
        if tags.len() >= MONITORS_OF_ONE_MAX {
            return Err(Fault::new(format!(
                "the process monitors one other {MONITORS_OF_ONE_MAX} times with tags, the most there \
                 can be; take some back with stop_monitoring_with_tag"
            )));
        }
        tags.push(tag);
        Ok(())
    }

    pub(super) fn remove_tag(&mut self, tag: i64) {
        if let Some(tags) = &mut self.tagged {
            if let Some(at) = tags.iter().position(|&known| known == tag) {
                tags.swap_remove(at);
            }
            if tags.is_empty() {
                self.tagged = None;
            }
        }
    }

    /// What it costs its owner.
    fn bytes(&self) -> usize {
        let tags = self.tagged.as_ref();
        let tags = tags.map_or(0, |tags| TAGS_BYTES + tags.capacity() * size_of::<i64>());
        tags + if self.made { TIE_BYTES } else { 0 }
    }
}

/// The entries of one book.
#[derive(Default)]
pub(super) struct Peers {
    wishes: BTreeMap<Pid, Wish>,
    /// How many of them the owner has made.
    made: usize,
    /// What they cost it.
    bytes: usize,
}

impl Drop for Peers {
    fn drop(&mut self) {
        held::sub(self.bytes);
    }
}

impl Peers {
    pub(super) fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// What it all costs the owner.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the owner may make one more tie.
    pub(super) fn has_room(&self) -> bool {
        self.made < TIES_MAX
    }

    pub(super) fn get(&self, peer: Pid) -> Option<&Wish> {
        self.wishes.get(&peer)
    }

    /// The owner ties itself to a peer; there is no entry yet.
    pub(super) fn make(&mut self, peer: Pid, wish: Wish) {
        let wish = Wish { made: true, ..wish };
        self.made += 1;
        self.count(0, wish.bytes());
        self.wishes.insert(peer, wish);
    }

    /// A peer ties itself to the owner; there is no entry yet.
    pub(super) fn accept(&mut self, peer: Pid, wish: Wish) {
        self.count(0, wish.bytes());
        self.wishes.insert(peer, wish);
    }

    /// Changes what is wanted, if they are tied.
    pub(super) fn change<R>(
        &mut self,
        peer: Pid,
        change: impl FnOnce(&mut Wish) -> R,
    ) -> Option<R> {
        let wish = self.wishes.get_mut(&peer)?;
        let before = wish.bytes();
        let result = change(wish);
        let after = wish.bytes();
        self.count(before, after);
        Some(result)
    }

    pub(super) fn remove(&mut self, peer: Pid) -> Option<Wish> {
        let wish = self.wishes.remove(&peer)?;
        self.forget(&wish);
        Some(wish)
    }

    /// Takes any of them out.
    pub(super) fn pop(&mut self) -> Option<Pid> {
        let (peer, wish) = self.wishes.pop_first()?;
        self.forget(&wish);
        Some(peer)
    }

    fn forget(&mut self, wish: &Wish) {
        self.made -= usize::from(wish.made);
        self.count(wish.bytes(), 0);
    }

    fn count(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        held::add(after);
        held::sub(before);
    }
}
