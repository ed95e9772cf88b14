//! What came of the calls: counts, times and errors, by kind of call.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::loads::Kind;
use crate::client::{Error, Refusal};

/// Times with an error of at most 0.1 %.
const DIGITS: u8 = 3;
/// The code of calls that timed out.
pub const TIMED_OUT: &str = "DEADLINE_EXCEEDED";
/// Longer times, of weeks, are cut to this: a histogram has its end.
const NANOS_MAX: u64 = 1 << 50;

/// What came of a call.
#[derive(Debug)]
pub enum Outcome {
    Right,
    /// No answer, or a refusal.
    Failed(Error),
    /// An answer that no server that keeps its promises gives.
    Wrong(String),
}

/// When a call was to start, and how long it took, from that and from when it did start.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub from_due: Duration,
    pub from_send: Duration,
}

/// What came of some calls.
#[derive(Default)]
pub struct Tally {
    kinds: BTreeMap<Kind, Figures>,
    /// By code.
    errors: BTreeMap<String, Seen>,
    wrong: Seen,
}

/// How often something was seen, and the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub count: u64,
    pub first: String,
}

/// The figures of one kind of call.
pub struct Figures {
    pub answered: u64,
    pub failed: u64,
    pub wrong: u64,
    /// In ns from when they were due: of the calls answered, and of those that timed out or were never sent, which took at
    /// least as long as is noted here.
    pub from_due: Histogram<u64>,
    /// Of the calls answered, in ns from when they were sent.
    pub from_send: Histogram<u64>,
}

impl Default for Figures {
    fn default() -> Self {
        let empty = || Histogram::new(DIGITS).expect("1 to 5 digits are allowed");
        Self { answered: 0, failed: 0, wrong: 0, from_due: empty(), from_send: empty() }
    }
}

impl Figures {
    /// All calls that were made.
    pub fn made(&self) -> u64 {
        self.answered + self.failed + self.wrong
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.wrong += other.wrong;
        for (sum, part) in [(&mut self.from_due, &other.from_due), (&mut self.from_send, &other.from_send)] {
            sum.add(part).expect("a histogram that grows takes every value of another one");
        }
    }
}

impl Seen {
    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = what();
        }
        self.count += 1;
    }

    fn add(&mut self, later: Self) {
        if self.count == 0 {
            self.first = later.first;
        }
        self.count += later.count;
    }
}

impl Tally {
    /// Notes a call. Before the figures count, in the warm-up, only wrong answers do.
    ///
    /// A call that timed out has its time: left out, it would make a server that stalls look fast. Every other failure says
    /// nothing about how long an answer takes.
    pub fn note(&mut self, kind: Kind, times: Times, outcome: Outcome, counts: bool) {
        if let Outcome::Wrong(what) = &outcome {
            self.wrong.note(|| what.clone());
        }
        if !counts {
            return;
        }
        let figures = self.kinds.entry(kind).or_default();
        match outcome {
            Outcome::Right => {
                figures.answered += 1;
                record(&mut figures.from_due, times.from_due, 1);
                record(&mut figures.from_send, times.from_send, 1);
            }
            Outcome::Failed(error) => {
                figures.failed += 1;
                if matches!(error, Error::TimedOut { .. }) {
                    record(&mut figures.from_due, times.from_due, 1);
                }
                self.errors.entry(code(&error)).or_default().note(|| error.to_string());
            }
            Outcome::Wrong(_) => figures.wrong += 1,
        }
    }

    /// Notes calls that were due and never sent: each took at least this long.
    pub fn note_unsent(&mut self, kind: Kind, waited: Duration, count: u64) {
        record(&mut self.kinds.entry(kind).or_default().from_due, waited, count);
    }

    /// Adds what came later.
    pub fn add(&mut self, later: Self) {
        for (kind, figures) in &later.kinds {
            self.kinds.entry(*kind).or_default().add(figures);
        }
        for (code, seen) in later.errors {
            self.errors.entry(code).or_default().add(seen);
        }
        self.wrong.add(later.wrong);
    }

    pub fn kinds(&self) -> &BTreeMap<Kind, Figures> {
        &self.kinds
    }

    /// All kinds in one.
    pub fn all(&self) -> Figures {
        let mut all = Figures::default();
        self.kinds.values().for_each(|figures| all.add(figures));
        all
    }

    pub fn errors(&self) -> &BTreeMap<String, Seen> {
        &self.errors
    }

    /// Answers that were wrong, those of the warm-up included.
    pub fn wrong(&self) -> &Seen {
        &self.wrong
    }
}

fn record(times: &mut Histogram<u64>, time: Duration, count: u64) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(NANOS_MAX).min(NANOS_MAX);
    times.record_n(nanos, count).expect("a histogram that grows takes every time up to the longest");
}

/// The code that errors are counted by: the gRPC status's, or `NOT_CONNECTED` for a call that was never sent.
fn code(error: &Error) -> String {
    let name = match error {
        Error::Unreachable { .. } => "NOT_CONNECTED",
        Error::TimedOut { .. } => TIMED_OUT,
        Error::Lost { .. } => "UNAVAILABLE",
        Error::Unsupported { .. } => "UNIMPLEMENTED",
        Error::Refused { refusal: Refusal::Other(12), .. } => "UNIMPLEMENTED",
        Error::Refused { refusal, .. } => return refusal.to_string(),
        Error::Invalid(_) => "INVALID",
        Error::NotSent { .. }
        | Error::Malformed { .. }
        | Error::QueueFull { .. }
        | Error::TimestampWentBack { .. }
        | Error::Closed
        | Error::Failed { .. } => "OTHER",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { from_due: Duration::from_millis(50), from_send: Duration::from_millis(1) };

    fn timed_out() -> Outcome {
        Outcome::Failed(Error::TimedOut { addr: "a:1".into(), waited: Duration::from_secs(2) })
    }

    #[test]
    fn every_call_is_counted_once_under_its_kind_and_outcome() {
        let mut first = Tally::default();
        first.note(Kind::Tso, TIMES, Outcome::Right, true);
        first.note(Kind::Tso, TIMES, timed_out(), true);
        let mut later = Tally::default();
        later.note(Kind::Tso, TIMES, Outcome::Right, true);
        later.note(Kind::Route, TIMES, Outcome::Wrong("odd".into()), true);
        later.note(Kind::Route, TIMES, timed_out(), true);
        first.add(later);
        let tso = &first.kinds()[&Kind::Tso];
        assert_eq!((tso.answered, tso.failed, tso.wrong, tso.made()), (2, 1, 0, 3));
        assert_eq!((tso.from_due.len(), tso.from_send.len()), (3, 2), "one has timed out");
        assert_eq!(first.all().made(), 5);
        assert_eq!(first.errors()[TIMED_OUT].count, 2);
        assert_eq!(*first.wrong(), Seen { count: 1, first: "odd".into() });
    }

    #[test]
    fn of_the_calls_that_fail_only_those_that_time_out_are_in_the_times_and_only_from_when_they_were_due() {
        let mut tally = Tally::default();
        tally.note(Kind::Tso, TIMES, timed_out(), true);
        for error in [
            Error::Unreachable { addrs: "a:1".into(), waited: Duration::from_secs(2) },
            Error::Lost { addr: "a:1".into(), reason: "gone".into() },
            Error::Refused { refusal: Refusal::ResourceExhausted, message: "full".into() },
        ] {
            tally.note(Kind::Tso, TIMES, Outcome::Failed(error), true);
        }
        let all = tally.all();
        assert_eq!((all.failed, all.from_due.len(), all.from_send.len()), (4, 1, 0));
        assert!((50_000_000..50_100_000).contains(&all.from_due.max()), "as long as it took");
    }

    #[test]
    fn any_time_has_its_place() {
        let mut tally = Tally::default();
        for from_due in [Duration::ZERO, Duration::from_millis(50), Duration::MAX] {
            tally.note(Kind::Tso, Times { from_due, ..TIMES }, Outcome::Right, true);
        }
        let times = tally.all().from_due;
        assert_eq!((times.len(), times.min(), times.max() >= NANOS_MAX), (3, 0, true));
        assert!((50_000_000..50_100_000).contains(&times.value_at_quantile(0.5)));
    }

    #[test]
    fn of_the_warm_up_only_wrong_answers_count() {
        let mut tally = Tally::default();
        tally.note(Kind::Tso, TIMES, Outcome::Right, false);
        tally.note(Kind::Tso, TIMES, timed_out(), false);
        tally.note(Kind::Tso, TIMES, Outcome::Wrong("odd".into()), false);
        assert_eq!((tally.all().made(), tally.errors().len(), tally.wrong().count), (0, 0, 1));
    }

    #[test]
    fn what_was_due_and_never_sent_is_in_the_times_from_when_it_was_due_alone() {
        let mut tally = Tally::default();
        tally.note(Kind::Tso, TIMES, Outcome::Right, true);
        tally.note_unsent(Kind::Tso, Duration::from_secs(9), 3);
        let all = tally.all();
        assert_eq!((all.made(), all.from_due.len(), all.from_send.len()), (1, 4, 1));
        assert!(all.from_due.max() >= 9_000_000_000 && all.from_send.max() < 1_100_000);
    }
}
