//! The table: what is measured, what is aimed at, and what others were measured with.
//!
//! Published figures come from one machine of the developers' kind (2 virtual cores of an AMD EPYC,
//! 24 GiB, Linux 6.18) on a quiet day: Erlang/OTP 25 and 29 (the better of the two), Go 1.27, tokio
//! 1.54, may 0.3.51, smol 2.0.2, Lunatic 0.13.2, RUSM 0.7. Bytes of peers are resident bytes without
//! page tables where not measured here.

use crate::guest::Guest;

/// One program, run with one count.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is done, with `{}` for the count.
    pub(crate) title: &'static str,
    pub(crate) guest: Guest,
    /// How often, or for timers how many milliseconds.
    pub(crate) count: u64,
    /// Below this the guest makes no sense.
    pub(crate) least: u64,
    pub(crate) metrics: &'static [Metric],
    /// Whose programs in benches/peers know this row.
    pub(crate) peers: &'static [&'static str],
}

/// One figure of a row.
#[derive(Debug)]
pub(crate) struct Metric {
    /// As the guest calls it.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) aim: Aim,
    /// Figures of others, as published.
    pub(crate) published: &'static [(&'static str, f64)],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

/// What a figure should not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// It only explains another one.
    None,
    AtMost(f64),
    /// Two times the price of the first touches of all pages that a process has touched, measured
    /// in the same session: see `touch.rs`.
    TwiceTheTouches,
}

pub(crate) const BEAM: &str = "BEAM";
pub(crate) const GO: &str = "Go";
pub(crate) const TOKIO: &str = "tokio";
const MAY: &str = "may";
const SMOL: &str = "smol";
const RUSM: &str = "RUSM";
const LUNATIC_0_13: &str = "Lunatic 0.13";

const ALL: &[&str] = &[BEAM, GO, TOKIO];
/// Without preemption an endless loop stops the others for ever.
const PREEMPTIVE: &[&str] = &[BEAM, GO];
/// For sockets only one of them has a program.
const SOCKETS: &[&str] = &[GO];
const NONE: &[&str] = &[];

const MILLION: u64 = 1_000_000;
const US: f64 = 1e3;
const MS: f64 = 1e6;
const S: f64 = 1e9;

const fn time(name: &'static str, aim: Aim, published: &'static [(&'static str, f64)]) -> Metric {
    Metric { name, unit: Unit::Nanoseconds, aim, published }
}

/// A figure without aim or peers.
const fn note(name: &'static str) -> Metric {
    time(name, Aim::None, &[])
}

/// How late a timer is while a guest does its worst.
const fn bomb(name: &'static str, title: &'static str, guest: Guest) -> Row {
    const LATE: &[Metric] = &[note(LATE_P50), note(LATE_P99), note(LATE_MAX)];
    Row { name, title, guest, count: 4_000, least: 40, metrics: LATE, peers: NONE }
}

/// The page tables, which are in the bytes of one process already.
const PAGE_TABLES: Metric =
    Metric { name: PAGE_TABLES_EACH, unit: Unit::Bytes, aim: Aim::None, published: &[] };

/// The bytes of one process: resident and page tables, as the driver sees them from outside.
pub(crate) const BYTES_EACH: &str = "bytes_each";
/// The part of them that is page tables.
pub(crate) const PAGE_TABLES_EACH: &str = "page_tables_each";
/// How late a timer woke, or how long bytes were under way, of all times of a run.
pub(crate) const LATE_P50: &str = "late_p50";
pub(crate) const LATE_P99: &str = "late_p99";
pub(crate) const LATE_MAX: &str = "late_max";

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "spawn",
        title: "{} processes that end at once, spawned in a row (WAT)",
        guest: Guest::Wat(&[include_str!("guests/spawn.wat")]),
        count: MILLION,
        least: 1,
        metrics: &[
            time(
                "total",
                Aim::AtMost(400.0),
                &[
                    (SMOL, 409.0),
                    (GO, 580.0),
                    (TOKIO, 1.09 * US),
                    (BEAM, 1.55 * US),
                    (RUSM, 11.2 * US),
                    (LUNATIC_0_13, 127.0 * US),
                ],
            ),
            note("spawn_call"),
            note("all_gone"),
        ],
        peers: ALL,
    },
    Row {
        name: "spawn-rust",
        title: "the same {} with a captured context (compiled Rust)",
        guest: Guest::Rust("bench_spawn"),
        count: MILLION,
        least: 1,
        metrics: &[
            time("total", Aim::AtMost(2.0 * US), &[]),
            note("all_gone"),
            note("one_by_one"),
            note("with_channel"),
        ],
        peers: NONE,
    },
    Row {
        name: "spawn-wait",
        title: "spawn one, wait for its message, {} times (WAT)",
        guest: Guest::Wat(&[include_str!("guests/spawn_wait.wat")]),
        count: MILLION,
        least: 1,
        metrics: &[time(
            "latency",
            Aim::AtMost(400.0),
            &[(TOKIO, 372.0), (GO, 432.0), (BEAM, 1.58 * US), (LUNATIC_0_13, 129.0 * US)],
        )],
        peers: ALL,
    },
    Row {
        name: "live",
        title: "{} alive at once, each blocked in receive, one touched page of memory (WAT)",
        guest: Guest::Wat(&[include_str!("guests/live.wat")]),
        count: MILLION,
        least: 1,
        metrics: &[
            Metric {
                name: BYTES_EACH,
                unit: Unit::Bytes,
                aim: Aim::AtMost(8_700.0),
                published: &[
                    (TOKIO, 1_544.0),
                    (BEAM, 2_731.0),
                    (GO, 2_892.0),
                    ("wasmtime with slabs", 14_600.0),
                    (LUNATIC_0_13, 37_500.0),
                ],
            },
            PAGE_TABLES,
            time(
                "spawn_to_blocked",
                Aim::TwiceTheTouches,
                &[(TOKIO, 2.8 * US), (BEAM, 3.3 * US), (GO, 3.4 * US), (LUNATIC_0_13, 131.0 * US)],
            ),
            time(
                "send_collect",
                Aim::AtMost(900.0),
                &[
                    (TOKIO, 569.0),
                    (GO, 1.036 * US),
                    (BEAM, 1.8 * US),
                    (RUSM, 39.0 * US),
                    (LUNATIC_0_13, 87.0 * US),
                ],
            ),
        ],
        peers: ALL,
    },
    Row {
        name: "live-rust",
        title: "the same {}, alive and blocked (compiled Rust)",
        guest: Guest::Rust("bench_live"),
        count: MILLION,
        least: 1,
        metrics: &[
            Metric {
                name: BYTES_EACH,
                unit: Unit::Bytes,
                aim: Aim::AtMost(16_000.0),
                published: &[],
            },
            PAGE_TABLES,
            time("spawn_to_blocked", Aim::TwiceTheTouches, &[]),
            time("send_collect", Aim::None, &[]),
        ],
        peers: NONE,
    },
    Row {
        name: "ping-pong",
        title: "{} round trips of one pair (WAT)",
        guest: Guest::Wat(&[
            include_str!("guests/pairs.wat"),
            "(func $pairs (result i64) (i64.const 1))",
        ]),
        count: MILLION,
        least: 1,
        metrics: &[time(
            "rtt",
            Aim::AtMost(200.0),
            &[
                (MAY, 223.0),
                (TOKIO, 270.0),
                (GO, 343.0),
                (BEAM, 622.0),
                (RUSM, 1.72 * US),
                (LUNATIC_0_13, 2.2 * US),
            ],
        )],
        peers: ALL,
    },
    Row {
        name: "ping-pong-2",
        title: "{} round trips of two pairs at once, time for each trip of a pair (WAT)",
        guest: Guest::Wat(&[
            include_str!("guests/pairs.wat"),
            "(func $pairs (result i64) (i64.const 2))",
        ]),
        count: MILLION,
        least: 1,
        metrics: &[time(
            "rtt",
            Aim::AtMost(210.0),
            &[(TOKIO, 214.0), (GO, 495.0), (BEAM, 734.0), (LUNATIC_0_13, 1.7 * US)],
        )],
        peers: ALL,
    },
    Row {
        name: "ping-pong-busy",
        title: "round trips of one pair beside 2 endless loops, for {} ms (WAT)",
        guest: Guest::Wat(&[include_str!("guests/ping_pong_busy.wat")]),
        count: 2_000,
        least: 20,
        metrics: &[
            time(
                "rtt",
                Aim::AtMost(10.0 * US),
                &[(GO, 620.0), (BEAM, 14.0 * US), (LUNATIC_0_13, 15.5 * US)],
            ),
            time("worst", Aim::AtMost(3.0 * MS), &[(BEAM, 3.3 * MS), (GO, 26.0 * MS)]),
        ],
        peers: PREEMPTIVE,
    },
    Row {
        name: "ping-pong-rust",
        title: "{} round trips of one pair (compiled Rust)",
        guest: Guest::Rust("bench_pingpong"),
        count: MILLION,
        least: 1,
        metrics: &[note("mailbox"), note("channel_unbounded"), note("channel_of_1")],
        peers: NONE,
    },
    Row {
        name: "ring",
        title: "{} hops of a token round 1,000 processes (WAT)",
        guest: Guest::Wat(&[include_str!("guests/ring.wat")]),
        count: MILLION,
        least: 1,
        metrics: &[time(
            "hop",
            Aim::AtMost(130.0),
            &[(TOKIO, 135.0), (GO, 210.0), (BEAM, 298.0), (LUNATIC_0_13, 5.3 * US)],
        )],
        peers: ALL,
    },
    Row {
        name: "fan-in",
        title: "{} messages from 1,000 processes to one (WAT)",
        guest: Guest::Wat(&[include_str!("guests/fan_in.wat")]),
        count: MILLION,
        least: 1_000,
        metrics: &[time(
            "per_message",
            Aim::AtMost(68.0),
            &[(GO, 68.0), (TOKIO, 114.0), (BEAM, 156.0), (LUNATIC_0_13, 483.0)],
        )],
        peers: ALL,
    },
    Row {
        name: "skynet",
        title: "a tree of processes with {} leaves (WAT)",
        guest: Guest::Wat(&[include_str!("guests/skynet.wat")]),
        count: MILLION,
        least: 10,
        metrics: &[time(
            "total",
            Aim::AtMost(0.9 * S),
            &[(TOKIO, 0.96 * S), (GO, 0.97 * S), (BEAM, 2.63 * S)],
        )],
        peers: ALL,
    },
    Row {
        name: "yield",
        title: "{} yields of each of 4 processes, time for each and core (WAT)",
        guest: Guest::Wat(&[include_str!("guests/yield.wat")]),
        count: MILLION,
        least: 1,
        metrics: &[time(
            "per_yield",
            Aim::AtMost(45.0),
            &[(MAY, 45.0), (BEAM, 177.0), (SMOL, 207.0), (GO, 238.0), (TOKIO, 291.0)],
        )],
        peers: ALL,
    },
    Row {
        name: "timer-busy",
        title: "how late a timer of 1 ms is among 8 endless loops, for {} ms (WAT)",
        guest: Guest::Wat(&[
            include_str!("guests/timer.wat"),
            include_str!("guests/busy.wat"),
            "(func $loops (result i64) (i64.const 8))",
        ]),
        count: 4_000,
        least: 40,
        metrics: &[
            time(
                LATE_P50,
                Aim::AtMost(0.15 * MS),
                &[(BEAM, 1.0 * MS), (LUNATIC_0_13, 1.01 * MS), (RUSM, 9.0 * MS), (GO, 19.2 * MS)],
            ),
            time(
                LATE_P99,
                Aim::AtMost(1.0 * MS),
                &[
                    (BEAM, 1.02 * MS),
                    (LUNATIC_0_13, 1.56 * MS),
                    (GO, 39.5 * MS),
                    (RUSM, 605.0 * MS),
                ],
            ),
            time(
                LATE_MAX,
                Aim::AtMost(3.0 * MS),
                &[(BEAM, 3.4 * MS), (LUNATIC_0_13, 5.6 * MS), (GO, 39.5 * MS), (RUSM, 605.0 * MS)],
            ),
        ],
        peers: PREEMPTIVE,
    },
    Row {
        name: "timer-idle",
        title: "the same timer with nothing else to do, for {} ms (WAT)",
        guest: Guest::Wat(&[
            include_str!("guests/timer.wat"),
            include_str!("guests/busy.wat"),
            "(func $loops (result i64) (i64.const 0))",
        ]),
        count: 4_000,
        least: 40,
        metrics: &[
            time(
                LATE_P50,
                Aim::AtMost(0.1 * MS),
                &[(GO, 0.13 * MS), (BEAM, 1.0 * MS), (LUNATIC_0_13, 1.25 * MS)],
            ),
            time(
                LATE_P99,
                Aim::AtMost(0.6 * MS),
                &[(GO, 0.7 * MS), (BEAM, 1.28 * MS), (LUNATIC_0_13, 3.8 * MS)],
            ),
            note(LATE_MAX),
        ],
        peers: PREEMPTIVE,
    },
    Row {
        name: "socket-busy",
        title: "how long bytes need to a process that reads them, among 4 endless loops, for {} ms (WAT)",
        guest: Guest::Reader(&[
            include_str!("guests/socket.wat"),
            include_str!("guests/busy.wat"),
            "(func $loops (result i64) (i64.const 4))",
        ]),
        count: 4_000,
        least: 40,
        metrics: &[
            time(LATE_P50, Aim::AtMost(0.1 * MS), &[]),
            time(LATE_P99, Aim::AtMost(1.0 * MS), &[]),
            note(LATE_MAX),
        ],
        peers: SOCKETS,
    },
    Row {
        name: "socket-idle",
        title: "the same bytes with nothing else to do, for {} ms (WAT)",
        guest: Guest::Reader(&[
            include_str!("guests/socket.wat"),
            include_str!("guests/busy.wat"),
            "(func $loops (result i64) (i64.const 0))",
        ]),
        count: 4_000,
        least: 40,
        metrics: &[
            time(LATE_P50, Aim::AtMost(0.1 * MS), &[]),
            time(LATE_P99, Aim::AtMost(0.6 * MS), &[]),
            note(LATE_MAX),
        ],
        peers: SOCKETS,
    },
    Row {
        name: "failure",
        title: "{} processes that fail, their reason told; restarts by a supervisor (compiled Rust)",
        guest: Guest::Rust("bench_failure"),
        count: 100_000,
        least: 10,
        metrics: &[note("exit_told"), note("trap_told"), note("restart")],
        peers: NONE,
    },
    Row {
        name: "linked-chain",
        title: "the death of {} processes in a chain of links, each (WAT)",
        guest: Guest::Wat(&[include_str!("guests/chain.wat")]),
        count: 100_000,
        least: 10,
        metrics: &[note("death")],
        peers: NONE,
    },
    Row {
        name: "linked-star",
        title: "the death of {} processes that are linked with one, each (WAT)",
        guest: Guest::Wat(&[include_str!("guests/star.wat")]),
        count: 100_000,
        least: 10,
        metrics: &[note("death")],
        peers: NONE,
    },
    bomb(
        "bomb-fork",
        "the timer beside a fork bomb of at most 20,000 processes, for {} ms (WAT)",
        Guest::Limited(
            &[
                include_str!("guests/timer.wat"),
                include_str!("guests/bomb_fork.wat"),
                "(func $loops (result i64) (i64.const 1))",
            ],
            &["--processes-max", "20000"],
        ),
    ),
    bomb(
        "bomb-memory",
        "the timer beside four memory bombs of 64 MiB each, for {} ms (WAT)",
        Guest::Limited(
            &[
                include_str!("guests/timer.wat"),
                include_str!("guests/bomb_memory.wat"),
                "(func $loops (result i64) (i64.const 4))",
            ],
            &["--max-memory", "64M"],
        ),
    ),
    bomb(
        "bomb-mailbox",
        "the timer beside floods of a million messages, for {} ms (WAT)",
        Guest::Wat(&[
            include_str!("guests/timer.wat"),
            include_str!("guests/bomb_flood.wat"),
            "(func $loops (result i64) (i64.const 2))",
        ]),
    ),
    bomb(
        "bomb-delayed",
        "the timer beside floods of 50,000 delayed messages, for {} ms (WAT)",
        Guest::Wat(&[
            include_str!("guests/timer.wat"),
            include_str!("guests/bomb_delayed.wat"),
            "(func $loops (result i64) (i64.const 4))",
        ]),
    ),
    bomb(
        "bomb-sleepers",
        "the timer beside ten thousand others, for {} ms (WAT)",
        Guest::Wat(&[
            include_str!("guests/timer.wat"),
            include_str!("guests/bomb_timers.wat"),
            "(func $loops (result i64) (i64.const 1))",
        ]),
    ),
];

/// Pairs enough for eight workers; only `scaling` runs it.
pub(crate) const PAIRS_8: Row = Row {
    name: "ping-pong-8",
    title: "{} round trips of each of 8 pairs (WAT)",
    guest: Guest::Wat(&[
        include_str!("guests/pairs.wat"),
        "(func $pairs (result i64) (i64.const 8))",
    ]),
    count: 200_000,
    least: 1,
    metrics: &[note("rtt")],
    peers: NONE,
};

impl Row {
    /// The count, divided, but never less than makes sense.
    pub(crate) fn count(&self, smaller: u64) -> u64 {
        (self.count / smaller).max(self.least)
    }

    pub(crate) fn title(&self, count: u64) -> String {
        self.title.replace("{}", &crate::figures::grouped(count))
    }

    /// A row of this name; only for those that are named in the code.
    pub(crate) fn named(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("a row of the table")
    }
}
