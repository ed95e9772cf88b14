//! Figures out of repeated measurements: a median with its interval, and what a target says of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often two things are measured against each other.
pub const PAIRS: usize = 20;

/// The median of some measurements and the interval that holds the true median with at least 95 %.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Median {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Median {
    /// The interval is that of the sign test: it asks nothing of the distribution. With fewer than six values there is none
    /// of 95 %, and the whole range stands for it.
    ///
    /// # Panics
    ///
    /// When there is no value.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = interval(sorted.len());
        let half = sorted.len() / 2;
        let value = if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Self { value, low: sorted[low], high: sorted[high] }
    }

    /// A single exact figure, such as a count.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }
}

impl fmt::Display for Median {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", short(self.value))
        } else {
            write!(f, "{} [{}, {}]", short(self.value), short(self.low), short(self.high))
        }
    }
}

/// The places of the interval's ends among `count` sorted values: as far inside as leaves at most 2.5 % beyond either.
fn interval(count: usize) -> (usize, usize) {
    let mut ways = 1.0;
    let mut all_ways = 1.0;
    for _ in 0..count {
        all_ways *= 2.0;
    }
    let mut below = 0.0;
    let mut place = 0;
    while place < count / 2 {
        below += ways / all_ways;
        if below > 0.025 {
            break;
        }
        ways *= float(count - place) / float(place + 1);
        place += 1;
    }
    let place = place.saturating_sub(1);
    (place, count - 1 - place)
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It stands beside others to explain them.
    None,
}

impl Target {
    /// Says whether the target is reached; an interval that lies over the line decides nothing.
    pub fn verdict(self, figure: &Median) -> &'static str {
        let (all, none) = match self {
            Self::AtLeast(line) => (figure.low >= line, figure.high < line),
            Self::AtMost(line) => (figure.high <= line, figure.low > line),
            Self::None => return "-",
        };
        match (all, none) {
            (true, _) => "reached",
            (_, true) => "NOT REACHED",
            _ => "not decided",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(line) => write!(f, ">= {}", short(*line)),
            Self::AtMost(line) => write!(f, "<= {}", short(*line)),
            Self::None => write!(f, "-"),
        }
    }
}

/// Runs `a` and `b` in turns (A B, B A, A B, …), so that a drift of the machine meets both alike.
pub fn in_turns<T>(
    pairs: usize,
    mut a: impl FnMut() -> super::Result<T>,
    mut b: impl FnMut() -> super::Result<T>,
) -> super::Result<Vec<(T, T)>> {
    (0..pairs)
        .map(|pair| {
            if pair % 2 == 0 {
                let first = a()?;
                Ok((first, b()?))
            } else {
                let first = b()?;
                Ok((a()?, first))
            }
        })
        .collect()
}

/// A count for arithmetic. Counts of a bench lie far below 2^53, up to which this is exact.
#[expect(clippy::as_conversions, reason = "the standard library has no other way from usize to f64")]
pub fn float(count: usize) -> f64 {
    count as f64
}

/// As [`float`].
pub fn float64(count: u64) -> f64 {
    float(usize::try_from(count).expect("a bench runs on 64 bits"))
}

/// Microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Three digits or all whole ones: `0.953`, `12.3`, `48,210`.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len() - at;
        if at > 0 && left % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
