//! The lines that programs print, ours and the peers' alike.
//!
//! ```text
//! NS <row> <metric> <count> <nanoseconds>   so many took so long together
//! LATE <nanoseconds>                        a timer woke so late, or bytes came
//! MARK start                                a while of rest begins: look at the memory now
//! MARK blocked                              the same, and all processes wait
//! ```

/// One line. The row's name is for human readers: whoever started the program knows it.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    Nanoseconds { metric: String, each: f64 },
    Late(f64),
    Start,
    Blocked,
}

pub(crate) fn parse(line: &str) -> Result<Line, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let parsed = match words[..] {
        ["NS", _, metric, count, nanoseconds] => each(count, nanoseconds)
            .map(|each| Line::Nanoseconds { metric: metric.to_string(), each }),
        ["LATE", nanoseconds] => nanoseconds.parse().ok().map(Line::Late),
        // Guests in text form print a number behind each label.
        ["MARK", "start"] | ["MARK", "start", "0"] => Some(Line::Start),
        ["MARK", "blocked"] | ["MARK", "blocked", "0"] => Some(Line::Blocked),
        _ => None,
    };
    parsed.ok_or_else(|| format!("it printed {line:?}, which is no line of a bench"))
}

fn each(count: &str, nanoseconds: &str) -> Option<f64> {
    let (count, nanoseconds): (f64, f64) = (count.parse().ok()?, nanoseconds.parse().ok()?);
    (count > 0.0 && nanoseconds >= 0.0).then(|| nanoseconds / count)
}
