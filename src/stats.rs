//! `--stats`: what a run has counted, as a table for people or a line of JSON for programs.
//!
//! The keys of the JSON are an interface: `cargo xtask soak` and benches read them.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use lunatic_host_api::{Metric, Stats, Summary, Tally, TotalMemory};

use crate::cli::StatsFormat;

/// One counter: its key, what people call it, where it is.
type Row = (&'static str, &'static str, fn(&Tally) -> u64);

const GROUPS: [(&str, &[Row]); 4] = [
    (
        "processes",
        &[
            ("spawned", "spawned", |tally| tally.spawned),
            ("returned", "returned", |tally| tally.returned),
            ("exited", "exited", |tally| tally.exited),
            ("trapped", "trapped", |tally| tally.trapped),
            ("killed", "killed", |tally| tally.killed),
            ("linked", "died with a link", |tally| tally.linked),
            ("out_of_memory", "out of memory", |tally| tally.out_of_memory),
            ("out_of_fuel", "out of fuel", |tally| tally.out_of_fuel),
            ("stack_overflows", "stack overflow", |tally| tally.stack_overflows),
            ("message_limits", "too many messages", |tally| tally.message_limits),
            ("shut_down", "ended with the run", |tally| tally.shut_down),
            ("not_started", "could not start", |tally| tally.not_started),
            ("host_bugs", "ended by a bug", |tally| tally.host_bugs),
        ],
    ),
    (
        "messages",
        &[
            ("sent", "sent", |tally| tally.sent),
            ("received", "received", |tally| tally.received),
            ("dropped", "left in a mailbox", |tally| tally.dropped),
            ("refused", "sent to nobody", |tally| tally.refused),
        ],
    ),
    (
        "channels",
        &[
            ("channel_sent", "sent", |tally| tally.channel_sent),
            ("channel_received", "received", |tally| tally.channel_received),
        ],
    ),
    (
        "workers",
        &[
            ("switches", "switches", |tally| tally.switches),
            ("preempted", "preemptions", |tally| tally.preempted),
            ("yielded", "yields", |tally| tally.yielded),
            ("steals", "steals", |tally| tally.steals),
            ("parks", "parks", |tally| tally.parks),
            ("timers_fired", "timers fired", |tally| tally.timers_fired),
        ],
    ),
];

/// Workers side by side; more continue below.
const WORKERS_ABREAST: usize = 8;
/// Columns of the names.
const NAME_WIDTH: usize = 22;
/// Columns of a number, the space before it included; longer ones push.
const NUMBER_WIDTH: usize = 15;

/// Prints the numbers to stderr.
pub(crate) fn print(format: StatsFormat, stats: &Stats) {
    let memory = Memory::now(stats.total_memory);
    let mut stderr = std::io::stderr();
    let text = match format {
        StatsFormat::Json => json(stats, &memory),
        StatsFormat::Table => {
            let bold = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            table(stats, &memory, bold)
        }
    };
    // If nobody reads it, nobody misses it: the exit code is the program's.
    let _ = stderr.write_all(text.as_bytes());
}

/// Memory of this process of the operating system, in bytes; `None` where it cannot be told.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    resident: Option<u64>,
    resident_peak: Option<u64>,
    page_tables: Option<u64>,
    total: TotalMemory,
}

impl Memory {
    fn now(total: TotalMemory) -> Self {
        let status = std::fs::read_to_string("/proc/self/status");
        Self { total, ..status.map(|text| Self::parse(&text)).unwrap_or_default() }
    }

    /// Of the text of `/proc/PID/status`.
    fn parse(status: &str) -> Self {
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.trim_start_matches(':').trim().strip_suffix("kB")?;
            number.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Self {
            resident: kibibytes("VmRSS"),
            resident_peak: kibibytes("VmHWM"),
            page_tables: kibibytes("VmPTE"),
            total: TotalMemory::default(),
        }
    }

    /// Key, what people call it, bytes.
    fn rows(&self) -> [(&'static str, &'static str, Option<u64>); 6] {
        [
            ("resident_bytes", "resident at the end", self.resident),
            ("resident_peak_bytes", "resident at most", self.resident_peak),
            ("page_table_bytes", "page tables", self.page_tables),
            ("asked_peak_bytes", "asked for at most", Some(self.total.asked_peak)),
            ("taken_peak_bytes", "of processes at most", Some(self.total.taken_peak)),
            ("total_limit_bytes", "of processes, limit", Some(self.total.limit)),
        ]
    }
}

/// One line: `{"stats":{"total":{…},"workers":[{…},…],"others":{…},"alive_peak":N,"memory":{…},"metrics":[…]}}`.
fn json(stats: &Stats, memory: &Memory) -> String {
    let tally = |tally: &Tally| {
        let rows = GROUPS.iter().flat_map(|(_, rows)| rows.iter());
        let fields: Vec<String> =
            rows.map(|(key, _, get)| format!("\"{key}\":{}", get(tally))).collect();
        format!("{{{}}}", fields.join(","))
    };
    let workers: Vec<String> = stats.workers.iter().map(tally).collect();
    let memory: Vec<String> = memory
        .rows()
        .iter()
        .map(|(key, _, bytes)| {
            format!("\"{key}\":{}", bytes.map_or("null".to_string(), |bytes| bytes.to_string()))
        })
        .chain(std::iter::once(format!("\"memory_refused\":{}", memory.total.refused)))
        .collect();
    let metrics: Vec<String> = stats.metrics.iter().map(metric_json).collect();
    format!(
        "{{\"stats\":{{\"total\":{},\"workers\":[{}],\"others\":{},\"alive_peak\":{},\"memory\":{{{}}},\"metrics\":[{}]}}}}\n",
        tally(&stats.total),
        workers.join(","),
        tally(&stats.others),
        stats.alive_peak,
        memory.join(","),
        metrics.join(",")
    )
}

/// `{"name":…,"counter":N}`, and so on: an object for each metric.
fn metric_json((name, metric): &(String, Metric)) -> String {
    let value = match metric {
        Metric::Counter(count) => format!("\"counter\":{count}"),
        Metric::Gauge(value) => format!("\"gauge\":{}", json_number(*value)),
        Metric::Histogram(summary) => {
            let fields = histogram_fields(summary)
                .map(|(key, value)| format!("\"{key}\":{}", json_number(value)));
            format!("\"histogram\":{{\"count\":{},{}}}", summary.count, fields.join(","))
        }
        _ => "\"unknown\":null".to_string(),
    };
    format!("{{\"name\":{},{value}}}", json_text(name))
}

fn histogram_fields(summary: &Summary) -> [(&'static str, f64); 5] {
    [
        ("sum", summary.sum),
        ("min", summary.min),
        ("p50", summary.p50),
        ("p99", summary.p99),
        ("max", summary.max),
    ]
}

/// JSON has no word for what is not finite.
fn json_number(value: f64) -> String {
    if value.is_finite() { number(value) } else { "null".to_string() }
}

/// With an exponent where all digits would be hundreds.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (1e-5..1e16).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// A guest chose this text.
fn json_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if (character as u32) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

/// A column for the total, one for each worker and, if they did anything, one for other threads.
fn table(stats: &Stats, memory: &Memory, bold: bool) -> String {
    let mut columns: Vec<(String, &Tally)> = stats
        .workers
        .iter()
        .enumerate()
        .map(|(id, tally)| (format!("worker {id}"), tally))
        .collect();
    if stats.others != Tally::default() {
        columns.push(("others".to_string(), &stats.others));
    }
    let mut text = String::new();
    for (number, abreast) in columns.chunks(WORKERS_ABREAST).enumerate() {
        let total = (number == 0).then(|| ("total".to_string(), &stats.total));
        let columns: Vec<&(String, &Tally)> = total.iter().chain(abreast).collect();
        let names = columns.iter().map(|(name, _)| name.clone());
        line(&mut text, "statistics of the run", names, bold);
        for (group, rows) in &GROUPS {
            line(&mut text, group, std::iter::empty(), bold);
            for (at, (_, name, get)) in rows.iter().enumerate() {
                let numbers = columns.iter().map(|(_, tally)| grouped(get(tally)));
                line(&mut text, &format!("  {name}"), numbers, false);
                if number == 0 && *group == "processes" && at == 0 {
                    let peak = std::iter::once(grouped(stats.alive_peak));
                    line(&mut text, "  alive at most", peak, false);
                }
            }
        }
    }
    line(&mut text, "memory", std::iter::empty(), bold);
    for (_, name, bytes) in memory.rows() {
        let size = bytes.map_or("unknown".to_string(), mebibytes);
        line(&mut text, &format!("  {name}"), std::iter::once(size), false);
    }
    let refused = grouped(memory.total.refused);
    line(&mut text, "  memory refused", std::iter::once(refused), false);
    if !stats.metrics.is_empty() {
        line(&mut text, "metrics", std::iter::empty(), bold);
    }
    for (name, metric) in &stats.metrics {
        // Names are a guest's, and a terminal may obey what it is shown.
        let name = name.escape_debug();
        let value = match metric {
            Metric::Counter(count) => grouped(*count),
            Metric::Gauge(value) => number(*value),
            Metric::Histogram(summary) => {
                let fields = histogram_fields(summary)
                    .map(|(key, value)| format!("{key} {}", number(value)));
                format!("{} values: {}", grouped(summary.count), fields.join(", "))
            }
            _ => String::new(),
        };
        line(&mut text, &format!("  {name}"), std::iter::once(value), false);
    }
    text
}

fn line(text: &mut String, name: &str, cells: impl Iterator<Item = String>, bold: bool) {
    let mut line = format!("{name:NAME_WIDTH$}");
    for cell in cells {
        let _ = write!(line, " {cell:>width$}", width = NUMBER_WIDTH - 1);
    }
    let line = line.trim_end();
    let _ = if bold { writeln!(text, "\x1b[1m{line}\x1b[0m") } else { writeln!(text, "{line}") };
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", grouped(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (12345, "12,345"), (1234567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(mebibytes(1536 * 1024), "1.5 MiB");
    }

    #[test]
    fn a_status_of_the_kernel_is_read() {
        let memory = Memory::parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t  1024 kB\nVmPTE:\tx\n");
        assert_eq!(memory.resident, Some(1 << 20));
        assert_eq!(memory.resident_peak, Some(2 << 20));
        assert_eq!(memory.page_tables, None);
    }

    #[test]
    fn each_key_is_there_once() {
        let mut keys: Vec<&str> =
            GROUPS.iter().flat_map(|(_, rows)| rows.iter().map(|(key, ..)| *key)).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
