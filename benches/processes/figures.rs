//! Figures: the middle of several, and how they are written.

use crate::rows::Unit;

/// Values of several runs, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// `None` if there are no values.
    pub(crate) fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        if values.is_empty() { None } else { Some(Self(values)) }
    }

    /// Of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let count = self.0.len();
        f64::midpoint(self.0[(count - 1) / 2], self.0[count / 2])
    }

    pub(crate) fn least(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }
}

/// The value that this share of sorted values does not exceed.
pub(crate) fn at_share(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

/// With a unit that leaves one to three digits before the point.
pub(crate) fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{} bytes", grouped(value.max(0.0).round() as u64)),
        Unit::Nanoseconds => {
            // What would be written as 1000 of a unit is 1.00 of the next.
            let (scaled, unit) = match value.abs() {
                below if below < 999.5 => (value, "ns"),
                below if below < 999.5e3 => (value / 1e3, "us"),
                below if below < 999.5e6 => (value / 1e6, "ms"),
                _ => (value / 1e9, "s"),
            };
            format!("{} {unit}", three_digits(scaled))
        }
    }
}

/// The ratio of two figures, of which the first is to be the smaller.
pub(crate) fn ratio(ours: f64, theirs: f64) -> String {
    format!("x {}", three_digits(ours / theirs))
}

/// As many decimals as make three digits, but no more than four.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        below if below < 0.0995 => 4,
        below if below < 0.995 => 3,
        below if below < 9.995 => 2,
        below if below < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// `1,000,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
