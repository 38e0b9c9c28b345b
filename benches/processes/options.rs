//! What can be said on the command line, and which rows that means.

use std::path::PathBuf;

use clap::Parser;

use crate::rows::{ROWS, Row};

/// The rows that show growth with the workers; they are chosen and left out together.
const SCALING: &str = "scaling";

/// Benchmarks of processes, through the real binary
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(crate) struct Options {
    /// Only these rows; a word that is no row's name chooses all rows that contain it
    pub(crate) rows: Vec<String>,

    /// Run the peers found on this machine beside ours: Erlang, Go, tokio
    #[arg(long)]
    pub(crate) peers: bool,

    /// How often each figure is measured; the median is printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: u64,

    /// Divide all counts by a power of ten, to see that everything works; the figures mean little
    #[arg(long, value_name = "POWER OF TEN", default_value_t = 1, value_parser = power_of_ten)]
    pub(crate) smaller: u64,

    /// Also write everything, each run included, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) scaling: bool,
}

impl Options {
    pub(crate) fn chosen(&self) -> Result<Chosen, String> {
        choose(&self.rows)
    }
}

fn choose(words: &[String]) -> Result<Chosen, String> {
    if words.is_empty() {
        return Ok(Chosen { rows: ROWS.iter().collect(), scaling: true });
    }
    let is_name = |word: &str| word == SCALING || ROWS.iter().any(|row| row.name == word);
    let means = |word: &String, name: &str| {
        if is_name(word) { word == name } else { name.contains(word.as_str()) }
    };
    let all_names = || ROWS.iter().map(|row| row.name).chain([SCALING]);
    for word in words {
        if !all_names().any(|name| means(word, name)) {
            let known: Vec<&str> = all_names().collect();
            return Err(format!("no row is called {word:?}; there are {}", known.join(", ")));
        }
    }
    let is_wanted = |name: &str| words.iter().any(|word| means(word, name));
    Ok(Chosen {
        rows: ROWS.iter().filter(|row| is_wanted(row.name)).collect(),
        scaling: is_wanted(SCALING),
    })
}

/// Skynet divides its count by ten until one is left; with another count it would never end.
fn power_of_ten(text: &str) -> Result<u64, String> {
    let number: u64 = text.parse().map_err(|error| format!("{error}"))?;
    let mut power = 1_u64;
    while power < number {
        power = power.saturating_mul(10);
    }
    if power == number { Ok(number) } else { Err("it is not 1, 10, 100, …".to_string()) }
}
