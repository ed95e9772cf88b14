//! Checks timestamps and ids: no value is given twice, and a value is higher than every one that a caller had before it was
//! asked for, over all restarts.

use super::history::{Entry, Kind, Violation};

/// One sequence of values, run after run.
pub struct Values {
    kind: Kind,
    /// The highest value of earlier runs.
    last: u64,
}

impl Values {
    pub fn new(kind: Kind) -> Self {
        Self { kind, last: 0 }
    }

    /// Checks a run. All its calls are over before the next run begins.
    pub fn check(&mut self, entries: &[Entry]) -> Result<(), Violation> {
        let given: Vec<Given> =
            entries.iter().enumerate().filter_map(|(at, entry)| Given::new(at, entry, self.kind)).collect();
        self.check_twice(&given)?;
        self.check_order(&given)?;
        self.last = given.iter().map(|given| given.last).fold(self.last, u64::max);
        Ok(())
    }

    fn check_twice(&self, given: &[Given]) -> Result<(), Violation> {
        let mut by_value: Vec<&Given> = given.iter().collect();
        by_value.sort_by_key(|given| given.first);
        for pair in by_value.windows(2) {
            if pair[1].first <= pair[0].last {
                // The later one of the two shows it.
                let at = if pair[0].invoked > pair[1].invoked { pair[0].at } else { pair[1].at };
                return Err(self.violation(at, format!("{} was given twice", pair[1].first)));
            }
        }
        Ok(())
    }

    fn check_order(&self, given: &[Given]) -> Result<(), Violation> {
        let mut invocations: Vec<&Given> = given.iter().collect();
        invocations.sort_by_key(|given| given.invoked);
        let mut answers: Vec<&Given> = given.iter().collect();
        answers.sort_by_key(|given| given.returned);
        let mut answers = answers.into_iter().peekable();
        let mut had = self.last;
        for given in invocations {
            while let Some(earlier) = answers.next_if(|answer| answer.returned < given.invoked) {
                had = had.max(earlier.last);
            }
            if given.first <= had {
                return Err(self.violation(given.at, format!("{} was given after {had}", given.first)));
            }
        }
        Ok(())
    }

    fn violation(&self, at: usize, what: String) -> Violation {
        Violation { what: format!("{:?}: {what}", self.kind), at, regions: Vec::new() }
    }
}

/// The values of one answer.
struct Given {
    at: usize,
    invoked: u64,
    returned: u64,
    first: u64,
    last: u64,
}

impl Given {
    fn new(at: usize, entry: &Entry, kind: Kind) -> Option<Self> {
        let (first, count) = entry.values(kind)?;
        let last = first.checked_add(count - 1).expect("no test comes near the end of the values");
        Some(Self { at, invoked: entry.invoked, returned: entry.returned, first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Answer, Call, NEVER, Tick};
    use super::*;

    fn take(invoked: Tick, returned: Tick, first: u64, count: u64) -> Entry {
        Entry { caller: 0, invoked, returned, call: Call::Take(Kind::Timestamp, count), answer: Answer::First(first) }
    }

    fn check(runs: &[Vec<Entry>]) -> Result<(), String> {
        let mut values = Values::new(Kind::Timestamp);
        runs.iter().try_for_each(|run| values.check(run)).map_err(|violation| violation.what)
    }

    fn is_caught(runs: &[Vec<Entry>], what: &str) {
        let found = check(runs).unwrap_err();
        assert!(found.contains(what), "{found}");
    }

    #[test]
    fn values_that_rise_are_right_whatever_is_skipped_and_however_calls_overlap() {
        let unanswered = Entry { answer: Answer::Unknown, ..take(2, NEVER, 0, 7) };
        let of_the_other_kind = Entry { call: Call::Take(Kind::Id, 3), ..take(5, 6, 1, 3) };
        // The second one overtook the first; a count of 0 is 1.
        let run = vec![take(0, 4, 11, 10), take(1, 3, 1, 10), unanswered, of_the_other_kind, take(7, 8, 30, 0)];
        check(&[run, vec![take(9, 10, 31, 1)]]).unwrap();
    }

    #[test]
    fn a_value_that_is_given_twice_is_caught() {
        is_caught(&[vec![take(0, 2, 1, 10), take(1, 3, 10, 5)]], "10 was given twice");
        is_caught(&[vec![take(0, 2, 1, 10), take(1, 3, 3, 1)]], "3 was given twice");
        is_caught(&[vec![take(0, 2, 7, 0), take(1, 3, 7, 0)]], "7 was given twice");
    }

    #[test]
    fn a_value_that_goes_back_in_a_run_is_caught() {
        is_caught(&[vec![take(0, 1, 11, 10), take(2, 3, 1, 10)]], "1 was given after 20");
    }

    #[test]
    fn a_value_that_is_given_again_or_goes_back_after_a_restart_is_caught() {
        is_caught(&[vec![take(0, 1, 1, 10)], vec![take(2, 3, 10, 1)]], "10 was given after 10");
        is_caught(&[vec![take(0, 1, 20, 10)], vec![], vec![take(2, 3, 1, 1)]], "1 was given after 29");
    }
}
