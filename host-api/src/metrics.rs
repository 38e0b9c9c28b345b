//! What guests measure about themselves: counters, gauges and histograms by name, kept by the node
//! until the run is over, and shown with its statistics.
//!
//! All processes share the names. A name is made when it is first used; beyond [`NAMES_MAX`] of a
//! kind new ones are left out (and the log is told once), as no guest is to blame for the names of
//! others. Values change without a lock but the shared one on the table of names.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunatic_engine::text::shown;
use parking_lot::{Mutex, RwLock};

/// Names of each kind. By feel: people read them.
const NAMES_MAX: usize = 1_000;

/// Bytes of a name.
pub(crate) const NAME_BYTES_MAX: u32 = 256;

/// Buckets for each doubling of a value: a quantile is right to an eighth.
const BUCKETS_PER_DOUBLING: f64 = 8.0;
/// What lies beyond 2^-40 and 2^40 is not told apart.
const DOUBLINGS: f64 = 40.0;

/// The node's part.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: Table<AtomicU64>,
    gauges: Table<Gauge>,
    histograms: Table<Histogram>,
}

/// A metric, at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Metric {
    /// What was added up.
    Counter(u64),
    /// The last value.
    Gauge(f64),
    /// A distribution.
    Histogram(Summary),
}

/// What a histogram tells about the values that it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// A value that half of them do not exceed, right to an eighth.
    pub p50: f64,
    /// The same for 99 in 100.
    pub p99: f64,
}

#[derive(Debug)]
struct Table<T> {
    by_name: RwLock<HashMap<Box<str>, T>>,
    /// The log knows that there are too many names.
    is_logged: AtomicBool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_name: RwLock::default(), is_logged: AtomicBool::new(false) }
    }
}

impl<T: Default> Table<T> {
    fn with(&self, name: &str, change: impl FnOnce(&T)) {
        if let Some(metric) = self.by_name.read().get(name) {
            return change(metric);
        }
        let mut by_name = self.by_name.write();
        if by_name.len() >= NAMES_MAX && !by_name.contains_key(name) {
            // Relaxed: a message more or less.
            if !self.is_logged.swap(true, Ordering::Relaxed) {
                let name = shown(name);
                tracing::warn!("no metric \"{name}\": there are {NAMES_MAX} of its kind already");
            }
            return;
        }
        change(by_name.entry(name.into()).or_default());
    }
}

/// A number, as its bits.
#[derive(Debug, Default)]
struct Gauge(AtomicU64);

#[derive(Debug, Default)]
struct Histogram(Mutex<Distribution>);

#[derive(Debug, Default)]
struct Distribution {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// How many values in each bucket: at most 640 above zero, and one for all others.
    buckets: BTreeMap<i32, u64>,
}

impl Metrics {
    pub(crate) fn count(&self, name: &str, by: u64) {
        // Relaxed, here and below: numbers that stand for themselves.
        self.counters.with(name, |counter| {
            counter.fetch_add(by, Ordering::Relaxed);
        });
    }

    pub(crate) fn set_gauge(&self, name: &str, value: f64) {
        self.gauges.with(name, |gauge| gauge.0.store(value.to_bits(), Ordering::Relaxed));
    }

    pub(crate) fn add_to_gauge(&self, name: &str, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        self.gauges.with(name, |gauge| {
            let _always = gauge.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        });
    }

    /// What is no number is left out: it has no place in a distribution.
    pub(crate) fn record(&self, name: &str, value: f64) {
        if !value.is_nan() {
            self.histograms.with(name, |histogram| histogram.0.lock().record(value));
        }
    }

    /// All of them by name.
    pub(crate) fn all(&self) -> Vec<(String, Metric)> {
        fn of<T>(table: &Table<T>, read: impl Fn(&T) -> Metric) -> Vec<(String, Metric)> {
            let by_name = table.by_name.read();
            let mut all: Vec<_> =
                by_name.iter().map(|(name, metric)| (name.to_string(), read(metric))).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        }
        let mut all = of(&self.counters, |count| Metric::Counter(count.load(Ordering::Relaxed)));
        all.extend(of(&self.gauges, |gauge| {
            Metric::Gauge(f64::from_bits(gauge.0.load(Ordering::Relaxed)))
        }));
        all.extend(of(&self.histograms, |all| Metric::Histogram(all.0.lock().summary())));
        all
    }
}

impl Distribution {
    fn record(&mut self, value: f64) {
        let first = self.count == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        *self.buckets.entry(bucket(value)).or_default() += 1;
    }

    fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            sum: self.sum,
            min: self.min,
            max: self.max,
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
        }
    }

    fn quantile(&self, part: f64) -> f64 {
        let wanted = (part * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (&bucket, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                let upper = if bucket == i32::MIN {
                    0.0
                } else {
                    (f64::from(bucket + 1) / BUCKETS_PER_DOUBLING).exp2()
                };
                return upper.clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// Logarithmic; what is not above zero has one of its own.
fn bucket(value: f64) -> i32 {
    if value <= 0.0 {
        return i32::MIN;
    }
    (value.log2().clamp(-DOUBLINGS, DOUBLINGS) * BUCKETS_PER_DOUBLING).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let metrics = Metrics::default();
        for value in 1..=1000 {
            metrics.record("latency", f64::from(value));
        }
        metrics.record("latency", f64::NAN);
        let all = metrics.all();
        let [(name, Metric::Histogram(summary))] = &all[..] else { panic!("{all:?}") };
        assert_eq!(name, "latency");
        assert_eq!((summary.count, summary.sum), (1000, 500_500.0));
        assert_eq!((summary.min, summary.max), (1.0, 1000.0));
        assert!((500.0..=562.5).contains(&summary.p50), "{summary:?}");
        assert!((990.0..=1000.0).contains(&summary.p99), "{summary:?}");
    }

    #[test]
    fn values_of_all_sizes_have_a_place() {
        let metrics = Metrics::default();
        for value in [f64::MIN, -1.0, 0.0, f64::MIN_POSITIVE, 1e-300, 1e300, f64::INFINITY] {
            metrics.record("odd", value);
        }
        let all = metrics.all();
        let [(_, Metric::Histogram(summary))] = &all[..] else { panic!("{all:?}") };
        assert_eq!((summary.min, summary.max, summary.count), (f64::MIN, f64::INFINITY, 7));
    }

    #[test]
    fn one_name_too_many_is_left_out_and_the_others_go_on() {
        let metrics = Metrics::default();
        for number in 0..=NAMES_MAX {
            metrics.count(&format!("{number:05}"), 1);
        }
        metrics.count("00000", 41);
        let all = metrics.all();
        assert_eq!(all.len(), NAMES_MAX);
        assert_eq!(all[0], ("00000".to_string(), Metric::Counter(42)));
    }
}
