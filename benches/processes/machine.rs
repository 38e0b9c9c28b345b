//! The machine and its day: what a reader must know to judge a figure.

use std::fs;
use std::process::Command;
use std::thread;

use crate::options::Options;
use crate::{WORKERS, figures, memory};

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) model: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) mappings_max: String,
    pub(crate) huge_pages: String,
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            commit: said(Command::new("git").args(["describe", "--always", "--dirty"])),
            model: model
                .map_or("unknown", |model| model.trim_start_matches([':', ' ', '\t']))
                .into(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory::total().unwrap_or(0),
            kernel: setting("/proc/sys/kernel/osrelease"),
            mappings_max: setting("/proc/sys/vm/max_map_count"),
            huge_pages: setting("/sys/kernel/mm/transparent_hugepage/enabled"),
            load: load(),
        }
    }

    pub(crate) fn header(&self, options: &Options) -> String {
        let mut text = format!(
            "lunatic {}, {}; `x` is ours divided by theirs, or by what it should not exceed\n{}, {} cores, {} MiB, Linux {}, vm.max_map_count {}, huge pages {}\n\
             {WORKERS} workers, {} of {} run{}, load {}",
            self.commit,
            self.date,
            self.model,
            self.cores,
            figures::grouped(self.memory_bytes >> 20),
            self.kernel,
            self.mappings_max,
            self.huge_pages,
            if options.runs > 1 { "medians (least .. most)" } else { "the figures" },
            options.runs,
            if options.runs > 1 { "s" } else { "" },
            self.load,
        );
        if options.smaller > 1 {
            let divided =
                format!("\ncounts divided by {}: the figures mean little", options.smaller);
            text.push_str(&divided);
        }
        text
    }
}

/// Of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let load = setting("/proc/loadavg");
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn setting(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
}

/// What a program prints, or "unknown".
pub(crate) fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_string()
        }
        _ => "unknown".to_string(),
    }
}
