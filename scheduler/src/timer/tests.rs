//! Wheels by themselves: order, lateness, cancelling, messages that find no room.

use super::{
    wheel::{FIRED_IN_ONE_GO, FOREVER, MAIL_MAX, RETRY_SHIFT},
    *,
};

fn fire(timers: &Timers<&'static str>, now: u64) -> Vec<u64> {
    let (mut fired, mut mail) = (Vec::new(), Vec::new());
    let mut wake = |pid: Pid| fired.push(pid.as_u64());
    while timers.fire(now, &mut mail, &mut wake, admit) == FIRED_IN_ONE_GO {}
    assert!(mail.is_empty());
    fired
}

fn admit<M>(_to: Pid, _envelope: &mut Envelope<M>) -> Option<Room> {
    Some(Room::Unlimited)
}

fn mail<M>(from: u64, message: M) -> Delayed<M> {
    let from = Some(Sender { pid: Pid::from_u64(from), group: 0 });
    Delayed { from, to: Pid::from_u64(7), envelope: Envelope::new(message) }
}

#[test]
fn messages_come_out_in_the_order_of_their_deadlines() {
    let wheels = Wheels::<&str>::new(2);
    let insert =
        |wheel, deadline, text| wheels.insert_mail(wheel, deadline, mail(1, text)).expect("room").0;
    insert(0, 90_000_000, "fourth");
    insert(1, 70_000_000, "second");
    insert(0, 80_000_000, "third");
    insert(1, 60_000_000, "first");
    let cancelled = insert(0, 65_000_000, "never");
    insert(0, 1 << 40, "later");
    assert!(wheels.is_pending(cancelled));
    assert!(wheels.cancel(cancelled));
    assert!(!wheels.cancel(cancelled));
    assert!(!wheels.is_pending(cancelled));
    let (fired, mail) = wheels.fire(1, 100_000_000, |pid| panic!("woke {pid}"), admit);
    let texts: Vec<&str> = mail.into_iter().map(|due| due.envelope.into_inner()).collect();
    assert_eq!(texts, ["first", "second", "third", "fourth"]);
    assert_eq!(fired, 4);
    wheels.drop_mail();
    assert!(wheels.fire(0, 1 << 41, |_| {}, admit).1.is_empty());
}

#[test]
fn one_message_too_many_is_given_back() {
    let timers = Timers::new(0);
    for _ in 0..MAIL_MAX {
        let inserted = timers.insert_mail(1 << 40, mail(1, ()));
        let _ = inserted.expect("room");
    }
    let insert = |timers: &Timers<()>| timers.insert_mail(5, mail(1, ())).is_ok();
    assert!(!insert(&timers));
    let mut mail = Vec::new();
    while timers.fire(1 << 41, &mut mail, |_| {}, admit) == FIRED_IN_ONE_GO {}
    assert_eq!(mail.len(), MAIL_MAX);
    assert!(insert(&timers));
}

#[test]
fn what_finds_no_room_tries_again_later_and_later_and_can_be_cancelled() {
    let timers = Timers::new(0);
    let (id, _) = timers.insert_mail(100, mail(1, "late")).expect("room");
    let mut mail = Vec::new();
    let (mut now, mut tried_at) = (1 << 20, Vec::new());
    while tried_at.len() < 11 {
        timers.fire(
            now,
            &mut mail,
            |_| {},
            |_, _| {
                tried_at.push(now);
                None
            },
        );
        assert!(mail.is_empty() && timers.is_pending(id));
        now = timers.next();
    }
    let delays: Vec<u64> =
        tried_at.windows(2).map(|pair| (pair[1] - pair[0]) >> RETRY_SHIFT).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
    timers.fire(1 << 40, &mut mail, |_| {}, admit);
    assert_eq!(mail.len(), 1);
    assert!(!timers.is_pending(id));
}

#[test]
fn orphans_make_room_and_no_others() {
    let timers = Timers::new(0);
    let ids: Vec<_> = (0..20_000)
        .map(|n| timers.insert_mail(1 << 40, mail(n % 2 + 1, n)).expect("room").0)
        .collect();
    let mut dropped = 0;
    loop {
        let (some, whole) = timers.drop_orphans(|pid| pid == Pid::from_u64(2));
        dropped += some;
        if whole {
            break;
        }
    }
    assert_eq!(dropped, 10_000);
    let pending = ids.iter().filter(|id| timers.is_pending(**id)).count();
    assert_eq!(pending, 10_000);
    assert!(!timers.is_pending(ids[0]) && timers.is_pending(ids[1]));
}

#[test]
fn a_hundred_thousand_timers_fire_at_their_time_and_not_before() {
    let timers = Timers::new(0);
    let mut seed = 1u64;
    let mut deadlines = Vec::new();
    for n in 0..100_000u64 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // Spread over all magnitudes, from nanoseconds to hours.
        let deadline = seed >> (20 + n % 40);
        let _ = timers.insert(deadline, Pid::from_u64(n + 1));
        deadlines.push(deadline);
    }
    let mut sorted = deadlines.clone();
    sorted.sort_unstable();
    let (mut now, mut count) = (0, 0);
    while timers.next() != NEVER {
        // Whoever sleeps until `next` and then fires never fires late, and wakes for nothing
        // only to move entries.
        now = timers.next().max(now);
        for n in fire(&timers, now) {
            assert_eq!(deadlines[n as usize - 1], now, "on time to the nanosecond");
            assert_eq!(sorted[count], now);
            count += 1;
        }
    }
    assert_eq!(count, deadlines.len());
}

#[test]
fn a_late_look_fires_all_that_is_due_and_keeps_the_rest() {
    let timers = Timers::new(0);
    for n in 1..=1000u64 {
        let _ = timers.insert(n * 1_000_000, Pid::from_u64(n));
    }
    assert_eq!(fire(&timers, 500_500_000).len(), 500);
    // Never later than the earliest that is left.
    assert!((500_500_001..=501_000_000).contains(&timers.next()));
    assert_eq!(fire(&timers, u64::MAX).len(), 500);
    assert_eq!(timers.next(), NEVER);
}

#[test]
fn cancelled_timers_stay_silent_and_their_ids_stale() {
    let timers = Timers::new(0);
    let ids: Vec<_> = (1..=100).map(|n| timers.insert(n, Pid::from_u64(n)).0).collect();
    for id in ids.iter().step_by(2) {
        assert!(timers.cancel(*id));
        assert!(!timers.cancel(*id));
    }
    let _ = timers.insert(1000, Pid::from_u64(1000)); // takes a cancelled entry's place
    assert!(!timers.cancel(ids[98]));
    assert_eq!(fire(&timers, 100).len(), 50);
    assert!(!timers.cancel(ids[1]));
    assert_eq!(fire(&timers, 1000), [1000]);
}

#[test]
fn the_past_and_the_end_of_time_are_deadlines_too() {
    let timers = Timers::new(0);
    assert_eq!(fire(&timers, 1 << 40), []);
    let (_, inserted) = timers.insert(0, Pid::from_u64(1));
    assert_eq!(inserted, Inserted::Earliest);
    let _ = timers.insert(u64::MAX, Pid::from_u64(2));
    assert_eq!(fire(&timers, 1 << 40), [1]);
    assert_eq!(fire(&timers, FOREVER), [2]);
}
