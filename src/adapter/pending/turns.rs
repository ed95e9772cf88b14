//! Whose turn it is among removals, states and stores' numbers.
//!
//! - Removals before states: those that are due when a run of them begins. Those that come during the run wait for the next
//!   one, which the states precede, so that a lasting stream of removals keeps no state waiting for ever.
//! - Between two batches of removals numbers go, for nothing depends on that order. Between states and numbers their places
//!   decide: first come, first served.
//! - What gets no answer steps back behind everything else that is due, until something is answered. So a PD that hangs
//!   over one kind of call is still told the rest.

use std::collections::BTreeSet;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Removals,
    Puts,
    Numbers,
}

/// What is due, by places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Those of the first removal and the last one.
    pub(super) removals: Option<(u64, u64)>,
    /// That of the first state.
    pub(super) put: Option<u64>,
    /// That of the oldest numbers.
    pub(super) numbers: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// The place of the last removal of this run.
    run_end: u64,
    /// A run has been given out and no state since.
    states_next: bool,
    last: Option<Kind>,
    /// The kinds that were given out since the last answer.
    unanswered: BTreeSet<Kind>,
}

impl Turns {
    /// Whose turn it is now, and so the next one's to come.
    pub(super) fn next(&mut self, due: Due) -> Option<Kind> {
        let states = due.put.map(|_| Kind::Puts);
        let numbers = due.numbers.map(|_| Kind::Numbers);
        let by_place = if due.numbers.is_some_and(|numbers| due.put.is_none_or(|put| numbers < put)) {
            [numbers, states]
        } else {
            [states, numbers]
        };
        let removals = due.removals.map(|_| Kind::Removals);
        let order = match due.removals {
            Some((first, last)) if !(self.states_next && states.is_some()) => {
                if first > self.run_end {
                    self.run_end = last;
                }
                if self.last == Some(Kind::Removals) {
                    [numbers, removals, states]
                } else {
                    [removals, by_place[0], by_place[1]]
                }
            }
            _ => [by_place[0], by_place[1], removals],
        };
        let mut due_kinds = order.into_iter().flatten();
        let first = due_kinds.clone().next()?;
        let kind = due_kinds.find(|kind| !self.unanswered.contains(kind)).unwrap_or_else(|| {
            self.unanswered.clear();
            first
        });
        self.unanswered.insert(kind);
        self.last = Some(kind);
        if kind == Kind::Puts {
            self.states_next = false;
        }
        Some(kind)
    }

    /// Notes the place of the last removal in a batch of them.
    pub(super) fn removals_given_out(&mut self, up_to: u64) {
        self.states_next = up_to >= self.run_end;
    }

    /// Something was answered.
    pub(super) fn note_answer(&mut self) {
        self.unanswered.clear();
    }
}
