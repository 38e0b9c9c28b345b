//! Whether a soak was good: the counts balance, everything has happened, memory stayed flat.

use std::collections::BTreeMap;

/// What was seen of a run.
pub(crate) struct Observed {
    /// None: a signal ended it.
    pub(crate) code: Option<i32>,
    /// The guest's lines.
    pub(crate) stdout: Vec<String>,
    /// None: it printed none.
    pub(crate) totals: Option<Totals>,
    /// KiB, at even intervals.
    pub(crate) resident: Vec<u64>,
}

/// The sums of `--stats=json`, by key.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<String, u64>);

/// The ways in which a process can end.
const ENDS: [&str; 12] = [
    "returned",
    "exited",
    "trapped",
    "killed",
    "linked",
    "out_of_memory",
    "out_of_fuel",
    "stack_overflows",
    "message_limits",
    "shut_down",
    "not_started",
    "host_bugs",
];

/// What a soak without them has not soaked.
const MUST_HAPPEN: [&str; 12] = [
    "spawned",
    "exited",
    "trapped",
    "killed",
    "sent",
    "received",
    "dropped",
    "refused",
    "channel_sent",
    "channel_received",
    "preempted",
    "timers_fired",
];

/// What a soak must not see: at the end all are dead, and nothing was our fault.
const MUST_NOT_HAPPEN: [(&str, &str); 3] = [
    ("shut_down", "processes still lived at the end"),
    ("not_started", "processes could not start"),
    ("host_bugs", "processes were ended by a bug in the runtime"),
];

/// How much more memory the end may take than the beginning, beside a fifth.
const RESIDENT_SLACK_KIB: u64 = 64 << 10;
/// Fewer samples say nothing about memory.
const SAMPLES_MIN: usize = 40;

impl Totals {
    /// From the line of JSON; the form is the runtime's own (`src/stats.rs`), no other is understood.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (fields, _) = line.strip_prefix("{\"stats\":{\"total\":{")?.split_once('}')?;
        let pairs = fields.split(',').map(|field| {
            let (key, number) = field.split_once(':')?;
            Some((key.trim_matches('"').to_string(), number.parse().ok()?))
        });
        pairs.collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    fn get(&self, key: &str) -> u64 {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn ended(&self) -> u64 {
        ENDS.iter().map(|key| self.get(key)).sum()
    }
}

impl Observed {
    /// A line for a run that was good.
    pub(crate) fn summary(&self) -> String {
        let none = Totals::default();
        let totals = self.totals.as_ref().unwrap_or(&none);
        let said = self.stdout.last().map_or("", String::as_str);
        let (early, late) = self.resident_medians().unwrap_or_default();
        format!(
            "{said}: {} processes ({} trapped, {} killed), {} messages ({} dropped), {} through channels; \
             {} MiB resident, then {} MiB",
            totals.get("spawned"),
            totals.get("trapped"),
            totals.get("killed"),
            totals.get("sent"),
            totals.get("dropped"),
            totals.get("channel_received"),
            early >> 10,
            late >> 10
        )
    }

    /// Medians of the second and of the last quarter; the first is for warming up.
    fn resident_medians(&self) -> Option<(u64, u64)> {
        let quarter = self.resident.len() / 4;
        (self.resident.len() >= SAMPLES_MIN).then(|| {
            let second = &self.resident[quarter..2 * quarter];
            (median(second), median(&self.resident[self.resident.len() - quarter..]))
        })
    }
}

/// Everything that is wrong, each as a sentence.
pub(crate) fn complaints(observed: &Observed) -> Vec<String> {
    let mut complaints = Vec::new();
    match observed.code {
        Some(0) => {}
        Some(code) => complaints.push(format!("the exit code is {code}, not 0")),
        None => complaints.push("a signal ended the runtime: it crashed or was killed".to_string()),
    }
    complaints.extend(observed.stdout.iter().filter(|line| line.starts_with("FAILED")).cloned());
    if !observed.stdout.iter().any(|line| line.starts_with("all are dead")) {
        complaints.push("the guest did not say at the end that all are dead".to_string());
    }
    match &observed.totals {
        Some(totals) => balance(totals, &mut complaints),
        None => complaints.push("the runtime printed no statistics".to_string()),
    }
    if let Some((early, late)) = observed.resident_medians()
        && late > early + early / 5 + RESIDENT_SLACK_KIB
    {
        complaints.push(format!(
            "resident memory is not flat: a median of {early} KiB in the second quarter, of {late} KiB in the last; \
             a fifth and {RESIDENT_SLACK_KIB} KiB more are allowed"
        ));
    }
    complaints
}

fn balance(totals: &Totals, complaints: &mut Vec<String>) {
    let (spawned, ended) = (totals.get("spawned"), totals.ended());
    if spawned != ended {
        complaints.push(format!(
            "processes do not balance: {spawned} spawned, {ended} ended ({})",
            ENDS.map(|key| format!("{} {key}", totals.get(key))).join(", ")
        ));
    }
    let [sent, received, dropped] = ["sent", "received", "dropped"].map(|key| totals.get(key));
    if sent != received + dropped {
        complaints.push(format!(
            "messages do not balance: {sent} sent, {received} received and {dropped} dropped with their mailbox"
        ));
    }
    let [into, out] = ["channel_sent", "channel_received"].map(|key| totals.get(key));
    if out > into {
        complaints.push(format!("channels do not balance: {into} messages sent, {out} received"));
    }
    for (key, what) in MUST_NOT_HAPPEN {
        match totals.get(key) {
            0 => {}
            number => complaints.push(format!("{number} {what}")),
        }
    }
    for key in MUST_HAPPEN.iter().filter(|key| totals.get(key) == 0) {
        complaints.push(format!("nothing was counted as {key}: the soak did not do its work"));
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, u64); 16] = [
        ("spawned", 100),
        ("returned", 10),
        ("exited", 40),
        ("trapped", 20),
        ("killed", 30),
        ("shut_down", 0),
        ("not_started", 0),
        ("host_bugs", 0),
        ("sent", 50),
        ("received", 45),
        ("dropped", 5),
        ("refused", 3),
        ("channel_sent", 9),
        ("channel_received", 8),
        ("preempted", 7),
        ("timers_fired", 6),
    ];

    /// A good run, but for these counters.
    fn observed(changes: &[(&str, u64)]) -> Observed {
        let totals = GOOD.iter().chain(changes).map(|&(key, n)| (key.to_string(), n)).collect();
        Observed {
            code: Some(0),
            stdout: vec!["all are dead after 3 scenarios".to_string()],
            totals: Some(Totals(totals)),
            resident: vec![100_000; 100],
        }
    }

    /// One complaint, which says this.
    #[track_caller]
    fn assert_complains(observed: &Observed, text: &str) {
        let complaints = complaints(observed);
        assert!(complaints.len() == 1 && complaints[0].contains(text), "{complaints:?}");
    }

    #[test]
    fn a_good_run_is_good() {
        assert_eq!(complaints(&observed(&[])), Vec::<String>::new());
    }

    #[test]
    fn a_process_that_was_lost_or_ended_twice_is_seen() {
        for spawned in [99, 101] {
            assert_complains(&observed(&[("spawned", spawned)]), "processes do not balance");
        }
    }

    #[test]
    fn a_message_that_was_lost_or_came_twice_is_seen() {
        for (received, dropped) in [(44, 5), (45, 6), (46, 5)] {
            let observed = observed(&[("received", received), ("dropped", dropped)]);
            assert_complains(&observed, "messages do not balance");
        }
        assert_complains(&observed(&[("channel_received", 10)]), "channels do not balance");
    }

    #[test]
    fn processes_that_outlive_the_soak_are_seen() {
        assert_complains(&observed(&[("shut_down", 1), ("killed", 29)]), "still lived");
    }

    #[test]
    fn a_bug_of_the_runtime_is_seen() {
        assert_complains(&observed(&[("host_bugs", 1), ("killed", 29)]), "a bug in the runtime");
        assert_complains(&observed(&[("not_started", 1), ("killed", 29)]), "could not start");
    }

    #[test]
    fn a_soak_that_does_nothing_is_seen() {
        assert_complains(&observed(&[("trapped", 0), ("killed", 50)]), "counted as trapped");
        assert_complains(&observed(&[("timers_fired", 0)]), "counted as timers_fired");
    }

    #[test]
    fn a_run_that_fails_says_so() {
        assert_complains(&Observed { code: Some(134), ..observed(&[]) }, "134");
        assert_complains(&Observed { code: None, ..observed(&[]) }, "signal");
        assert_complains(&Observed { totals: None, ..observed(&[]) }, "no statistics");
        assert_complains(&Observed { stdout: Vec::new(), ..observed(&[]) }, "all are dead");
        let mut failed = observed(&[]);
        failed.stdout.insert(0, "FAILED: a message arrived changed".to_string());
        assert_complains(&failed, "arrived changed");
    }

    #[test]
    fn memory_that_grows_is_seen_and_a_start_that_does_is_not() {
        let growing: Vec<u64> = (0..100).map(|sample| sample * 10_000).collect();
        assert_complains(&Observed { resident: growing, ..observed(&[]) }, "not flat");
        let warming: Vec<u64> = (0..100).map(|sample| 1_000_000.min(sample * 50_000)).collect();
        assert!(complaints(&Observed { resident: warming, ..observed(&[]) }).is_empty());
    }

    #[test]
    fn the_runtimes_line_is_understood() {
        let line = r#"{"stats":{"total":{"spawned":7,"returned":5},"workers":[{"spawned":7}]}}"#;
        let totals = Totals::parse(line).expect("it is what src/stats.rs prints");
        assert_eq!((totals.get("spawned"), totals.ended()), (7, 5));
        assert!(Totals::parse("{\"stats\":{\"total\":{\"spawned\":x}}}").is_none());
        assert!(Totals::parse("lunatic: something else").is_none());
    }
}
