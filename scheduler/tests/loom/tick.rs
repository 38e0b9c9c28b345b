//! What the tick thread relies on: alarms that disturb sleepers, and the beats of workers.

use crate::{
    alarm::Alarm,
    barrier::Barrier,
    beat::Beat,
    loom::{
        sync::{
            Arc,
            atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        },
        thread,
    },
    model,
};

/// The last time that is asked for: without a limit.
const NEVER: u64 = u64::MAX;

#[test]
fn alarm_news_wake_a_sleeper_that_means_to_sleep_longer() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let earliest = Arc::new(AtomicU64::new(NEVER));
        let setters: Vec<_> = [7, 5]
            .map(|time| {
                let (alarm, earliest) = (alarm.clone(), earliest.clone());
                thread::spawn(move || {
                    earliest.fetch_min(time, Relaxed);
                    alarm.rouse_for(time);
                })
            })
            .into();
        // Until it knows of the earliest: a lost wake-up shows as a deadlock, as there is no limit.
        loop {
            let until = earliest.load(Relaxed);
            if until == 5 {
                break;
            }
            alarm.sleep(until, None, || earliest.load(Relaxed) >= until);
        }
        setters.into_iter().for_each(|setter| setter.join().unwrap());
    });
}

#[test]
fn alarm_each_request_is_followed_by_a_look_that_sees_what_it_is_about() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let work = Arc::new(AtomicUsize::new(0));
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let (alarm, work) = (alarm.clone(), work.clone());
                thread::spawn(move || {
                    work.fetch_add(1, Relaxed);
                    alarm.ask();
                })
            })
            .collect();
        let mut done = 0;
        while done < 2 {
            if alarm.take_request() {
                // It may not see all at once, but then somebody asks again.
                done += work.swap(0, Relaxed);
            }
            if done < 2 {
                alarm.sleep(NEVER, None, || !alarm.is_asked());
            }
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

#[test]
fn alarm_a_sound_sleeper_is_disturbed_by_news_that_have_no_fence() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let news = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let bearers: Vec<_> = (0..2)
            .map(|id| {
                let (alarm, news) = (alarm.clone(), news.clone());
                thread::spawn(move || {
                    news[id].store(1, Relaxed);
                    alarm.stir();
                })
            })
            .collect();
        let barrier = Barrier::new().expect("loom has fences");
        let look = || news.iter().map(|news| news.load(Relaxed)).sum();
        // A lost disturbance shows as a deadlock.
        let mut seen: usize = look();
        while seen < 2 {
            alarm.sleep_soundly(NEVER, None, &barrier, || look() == seen);
            seen = look();
        }
        bearers.into_iter().for_each(|bearer| bearer.join().unwrap());
    });
}

#[test]
fn beat_a_long_turn_is_claimed_once_and_the_next_one_is_left_alone() {
    model(|| {
        let beat = Arc::new(Beat::new());
        let header = std::ptr::NonNull::<u64>::dangling().cast();
        beat.begin(header, true, false);
        let claimers: Vec<_> = (0..2)
            .map(|_| {
                let beat = beat.clone();
                thread::spawn(move || usize::from(beat.claim()))
            })
            .collect();
        beat.end();
        beat.begin(header, false, false);
        // Seen by who knows that the first turn is over.
        assert!(!beat.claim(), "the second turn is not long");
        let claims: usize = claimers.into_iter().map(|claimer| claimer.join().unwrap()).sum();
        assert!(claims <= 1, "{claims} claims of one turn");
    });
}

#[test]
fn beat_a_mark_that_comes_too_late_ends_no_later_turn() {
    model(|| {
        let beat = Arc::new(Beat::new());
        let header = std::ptr::NonNull::<u64>::dangling().cast();
        beat.begin(header, false, false);
        let ticks = beat.clone();
        let tick = thread::spawn(move || {
            let turn = ticks.turn();
            ticks.mark(turn);
        });
        beat.end();
        beat.begin(header, false, false);
        tick.join().unwrap();
        // If it saw the second turn its mark is right, and good for one claim.
        let claims = usize::from(beat.claim()) + usize::from(beat.claim());
        assert!(claims <= 1);
        beat.end();
        assert!(!beat.claim(), "nobody runs");
        beat.begin(header, false, false);
        assert!(!beat.claim(), "a mark of an earlier turn");
    });
}
