//! A channel's book: who waits, in what order, and how many could still send or receive.
//!
//! Parties: whoever holds the channel's lock. Protocol: a place is entered once and left once,
//! either by being chosen or by withdrawal; a ticket for a place that has been left withdraws
//! nothing. Every operation costs the same whatever the length.

use crate::pid::Pid;

const NIL: u32 = u32::MAX;

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A message.
    Receivers = 0,
    /// Room for one.
    Senders = 1,
}

/// The right to withdraw from a place. Not copyable: a place is left once.
#[derive(Debug)]
pub(super) struct Ticket {
    index: u32,
    generation: u32,
    side: Side,
}

impl Ticket {
    pub(super) fn side(&self) -> Side {
        self.side
    }
}

struct Place {
    pid: Pid,
    forever: bool,
    taken: bool,
    generation: u32,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy)]
struct Line {
    head: u32,
    tail: u32,
    waiting: usize,
    forever: usize,
}

const EMPTY_LINE: Line = Line { head: NIL, tail: NIL, waiting: 0, forever: 0 };

/// Everything under a channel's lock.
pub(super) struct Book {
    pub(super) holders: usize,
    pub(super) transit: usize,
    /// Those in transit that the channel's own messages carry.
    pub(super) inside: usize,
    /// Nobody can reach it any more, and who found that out was told.
    pub(super) abandoned: bool,
    lines: [Line; 2],
    places: Vec<Place>,
    free: u32,
}

impl Book {
    pub(super) fn with_one_holder() -> Self {
        Self {
            holders: 1,
            transit: 0,
            inside: 0,
            abandoned: false,
            lines: [EMPTY_LINE; 2],
            places: Vec::new(),
            free: NIL,
        }
    }

    /// Nobody holds the channel, and nothing that is outside of itself carries it: nobody ever will.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.holders == 0 && (self.transit == 0 || self.transit == self.inside)
    }

    pub(super) fn waiting(&self, side: Side) -> usize {
        self.lines[side as usize].waiting
    }

    /// Does every holder wait on this side, without a limit? (False when nobody holds the channel.)
    pub(super) fn all_blocked(&self, side: Side) -> bool {
        self.holders > 0 && self.lines[side as usize].forever >= self.holders
    }

    pub(super) fn enter(&mut self, side: Side, pid: Pid, forever: bool) -> Ticket {
        let previous = self.lines[side as usize].tail;
        let (index, generation) = self.allocate(pid, forever, previous);
        match previous {
            NIL => self.lines[side as usize].head = index,
            tail => self.places[tail as usize].next = index,
        }
        let line = &mut self.lines[side as usize];
        line.tail = index;
        line.waiting += 1;
        line.forever += usize::from(forever);
        Ticket { index, generation, side }
    }

    fn allocate(&mut self, pid: Pid, forever: bool, previous: u32) -> (u32, u32) {
        let index = self.free;
        let place =
            |generation| Place { pid, forever, taken: true, generation, previous, next: NIL };
        if index != NIL {
            let old = &mut self.places[index as usize];
            let generation = old.generation;
            self.free = old.next;
            *old = place(generation);
            return (index, generation);
        }
        let index = u32::try_from(self.places.len()).expect("fewer waiters than processes");
        self.places.push(place(0));
        (index, 0)
    }

    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        let place = &self.places[ticket.index as usize];
        if place.taken && place.generation == ticket.generation {
            self.remove(ticket.side, ticket.index);
        }
    }

    /// Takes the one who has waited longest out of the book.
    pub(super) fn choose(&mut self, side: Side) -> Option<Pid> {
        match self.lines[side as usize].head {
            NIL => None,
            head => Some(self.remove(side, head)),
        }
    }

    /// Takes one out, whatever it waits for.
    pub(super) fn choose_any(&mut self) -> Option<Pid> {
        self.choose(Side::Receivers).or_else(|| self.choose(Side::Senders))
    }

    fn remove(&mut self, side: Side, index: u32) -> Pid {
        let free = self.free;
        let place = &mut self.places[index as usize];
        let (pid, forever, previous, next) = (place.pid, place.forever, place.previous, place.next);
        place.taken = false;
        place.generation = place.generation.wrapping_add(1);
        place.next = free;
        self.free = index;
        match previous {
            NIL => self.lines[side as usize].head = next,
            p => self.places[p as usize].next = next,
        }
        match next {
            NIL => self.lines[side as usize].tail = previous,
            n => self.places[n as usize].previous = previous,
        }
        let line = &mut self.lines[side as usize];
        line.waiting -= 1;
        line.forever -= usize::from(forever);
        pid
    }
}
