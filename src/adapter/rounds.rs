//! When the next round is to begin.

use std::time::{Duration, Instant};

/// How long a round waits, from the first thing on that it is begun for, for the rest of what the store reports at once.
const GATHER: Duration = Duration::from_millis(100);

/// Longer periods are as good as no rounds, and clocks might not reach their end.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A period at least from one round to the next, and none while nothing waits for it.
pub(super) struct Rounds {
    period: Duration,
    /// When the last one was begun.
    begun: Option<Instant>,
    /// When the next one is to be begun; `None`: nothing waits for it.
    due: Option<Instant>,
}

impl Rounds {
    pub(super) fn new(period: Duration) -> Self {
        Self { period: period.min(PERIOD_MAX), begun: None, due: None }
    }

    /// When the next round is to begin, given whether something waits for it now.
    pub(super) fn due(&mut self, now: Instant, is_waited_for: bool) -> Option<Instant> {
        if !is_waited_for {
            self.due = None;
        } else if self.due.is_none() {
            let gathered = now + GATHER.min(self.period);
            self.due = Some(self.begun.map_or(gathered, |begun| gathered.max(begun + self.period)));
        }
        self.due
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(3);

    #[test]
    fn a_round_gathers_what_comes_at_once_and_the_next_one_comes_a_period_later() {
        let mut rounds = Rounds::new(PERIOD);
        let start = Instant::now();
        assert_eq!(rounds.due(start, false), None);
        assert_eq!(rounds.due(start, true), Some(start + GATHER));
        assert_eq!(rounds.due(start + GATHER / 2, true), Some(start + GATHER), "later things do not put it off");
        let first = start + GATHER;
        rounds.begin(first);
        assert_eq!(rounds.due(first, false), None);
        assert_eq!(rounds.due(first + PERIOD / 2, true), Some(first + PERIOD));
        rounds.begin(first + PERIOD);
        let late = first + PERIOD * 5;
        assert_eq!(rounds.due(late, true), Some(late + GATHER));
    }

    #[test]
    fn a_round_that_nothing_waits_for_any_more_is_none() {
        let mut rounds = Rounds::new(PERIOD);
        let start = Instant::now();
        rounds.due(start, true);
        assert_eq!(rounds.due(start + GATHER / 2, false), None);
        let later = start + PERIOD;
        assert_eq!(rounds.due(later, true), Some(later + GATHER));
    }

    #[test]
    fn no_period_is_too_long_or_too_short() {
        let start = Instant::now();
        for period in [Duration::MAX, Duration::ZERO] {
            let mut rounds = Rounds::new(period);
            rounds.begin(start);
            assert!(rounds.due(start, true) >= Some(start));
        }
    }
}
