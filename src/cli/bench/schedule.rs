//! When calls are to start: at once, one after the other, in a closed loop; at a fixed rate in an open one.
//!
//! In an open loop call number n is due at `begun + n / rate`, however long the calls before it take. A caller takes the next
//! number; it sleeps until that is due, or sends at once when it is late. Time counts from when a call was due, so what a
//! server that stalls delays is not left out (the coordinated omission of closed loops).
//!
//! Invariants: `next` counts the numbers taken; `sleepers` are in the order of their numbers, so of their times.
//!
//! The one lock guards the state, for one step. The thread `bench-pacer`, of an open loop only, wakes sleepers, and ends
//! with the schedule's end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, iter};

use futures::channel::oneshot;

const NANOS: u128 = 1_000_000_000;
/// So many groups tell well enough how long calls that were never sent have waited.
const UNSENT_PARTS: u64 = 1 << 16;

/// The starts of a run's calls.
pub struct Schedule {
    begun: Instant,
    /// Calls a second; `None`: a closed loop.
    rate: Option<u64>,
    is_stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    end: Instant,
    next: u64,
    sleepers: VecDeque<(Instant, oneshot::Sender<()>)>,
}

impl Schedule {
    /// Calls from `begun` on, for `length`.
    pub fn new(begun: Instant, length: Duration, rate: Option<u64>) -> Self {
        let state = State { end: begun + length, next: 0, sleepers: VecDeque::new() };
        Self { begun, rate, is_stopped: AtomicBool::new(false), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Starts the thread that wakes sleepers, if there can be any.
    pub fn start_pacer(self: &Arc<Self>) -> io::Result<Option<JoinHandle<()>>> {
        if self.rate.is_none() {
            return Ok(None);
        }
        let schedule = Arc::clone(self);
        thread::Builder::new().name("bench-pacer".to_owned()).spawn(move || schedule.wake_sleepers()).map(Some)
    }

    /// Waits for the next call's time, and returns when that was. `None`: there are no more calls.
    pub async fn next(&self) -> Option<Instant> {
        let Some(rate) = self.rate else {
            // The wait for the lock is none of the call.
            let is_over = self.is_stopped.load(Ordering::Relaxed) || Instant::now() >= self.end();
            return (!is_over).then(Instant::now);
        };
        let (due, woken) = {
            let mut state = self.state();
            let due = self.due(state.next, rate);
            let now = Instant::now();
            if due >= state.end || now >= state.end {
                return None;
            }
            state.next += 1;
            if due <= now {
                return Some(due);
            }
            let (sender, woken) = oneshot::channel();
            state.sleepers.push_back((due, sender));
            if state.sleepers.len() == 1 {
                self.changed.notify_one();
            }
            (due, woken)
        };
        woken.await.ok().map(|()| due)
    }

    /// Ends the run now. Calls that are under way stay so.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let now = Instant::now();
        state.end = state.end.min(now);
        state.wake(now);
        state.sleepers.clear();
        self.changed.notify_one();
    }

    /// When the last call may start.
    pub fn end(&self) -> Instant {
        self.state().end
    }

    /// How many calls are due and have found nobody to make them; none in a closed loop.
    pub fn overdue(&self) -> u64 {
        let state = self.state();
        let due = self.rate.map_or(0, |rate| self.due_before(state.end.min(Instant::now()), rate));
        due.saturating_sub(state.next)
    }

    /// The calls that nobody had time for until the end, some at a time: when the last of them was due, and how many they
    /// are. None in a closed loop.
    pub fn unsent(&self) -> impl Iterator<Item = (Instant, u64)> + '_ {
        let state = self.state();
        let (next, end) = (state.next, state.end);
        drop(state);
        let parts = self.rate.map(|rate| {
            let until = self.due_before(end, rate);
            let step = until.saturating_sub(next).div_ceil(UNSENT_PARTS).max(1);
            let mut from = next;
            iter::from_fn(move || {
                let count = until.saturating_sub(from).min(step);
                from += count;
                (count > 0).then(|| (self.due(from - 1, rate), count))
            })
        });
        parts.into_iter().flatten()
    }

    /// How many calls are due before `moment`.
    fn due_before(&self, moment: Instant, rate: u64) -> u64 {
        let nanos = moment.saturating_duration_since(self.begun).as_nanos();
        u64::try_from((nanos * u128::from(rate)).div_ceil(NANOS)).unwrap_or(u64::MAX)
    }

    fn due(&self, number: u64, rate: u64) -> Instant {
        let nanos = u128::from(number) * NANOS / u128::from(rate);
        self.begun + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn wake_sleepers(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            state.wake(now);
            let next = state.sleepers.front().map(|(due, _)| *due);
            if next.is_none() && now >= state.end {
                return;
            }
            let wait = next.unwrap_or(state.end).saturating_duration_since(now);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Wakes those whose calls are due.
    fn wake(&mut self, now: Instant) {
        let due = iter::from_fn(|| self.sleepers.pop_front_if(|(due, _)| *due <= now));
        for (_, sleeper) in due {
            // A caller whose task is gone sends nothing.
            let _ = sleeper.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A schedule that began `ago`.
    fn since(ago: Duration, length: Duration, rate: Option<u64>) -> Schedule {
        let begun = Instant::now().checked_sub(ago).expect("the machine runs that long");
        Schedule::new(begun, length, rate)
    }

    #[test]
    fn a_closed_loop_starts_at_once_until_it_ends() {
        let schedule = since(Duration::ZERO, LONG, None);
        let before = Instant::now();
        assert!(pollster::block_on(schedule.next()).unwrap() >= before);
        schedule.stop();
        assert_eq!(pollster::block_on(schedule.next()), None);
        assert_eq!(since(LONG / 60, LONG / 60, None).unsent().count(), 0);
        assert_eq!(pollster::block_on(since(LONG / 60, LONG / 60, None).next()), None);
    }

    #[test]
    fn a_call_that_is_late_starts_at_once_and_counts_from_when_it_was_due() {
        // A minute behind: no number sleeps.
        let schedule = since(Duration::from_secs(60), LONG, Some(3));
        for number in 0..7 {
            let due = schedule.begun + Duration::from_nanos(number * 1_000_000_000 / 3);
            assert_eq!(pollster::block_on(schedule.next()), Some(due));
        }
    }

    #[test]
    fn what_was_due_by_the_end_and_not_taken_is_unsent() {
        let schedule = since(Duration::from_secs(60), LONG, Some(10));
        for _ in 0..100 {
            pollster::block_on(schedule.next()).unwrap();
        }
        schedule.stop();
        assert_eq!(pollster::block_on(schedule.next()), None);
        let unsent: Vec<(Instant, u64)> = schedule.unsent().collect();
        assert_eq!(unsent[0], (schedule.begun + Duration::from_secs(10), 1), "number 100");
        assert!(unsent.iter().all(|(due, _)| *due < schedule.end()));
        let count: u64 = unsent.iter().map(|(_, count)| count).sum();
        assert!(count >= 500 && count == schedule.overdue(), "{count}");
        let whole = since(Duration::from_secs(60), Duration::from_secs(2), Some(10));
        assert_eq!(whole.unsent().count(), 20, "0 to 19; number 20 is due at the end");
    }

    #[test]
    fn unsent_calls_beyond_number_come_in_groups_of_which_the_last_was_due_latest() {
        let schedule = since(Duration::from_secs(60), Duration::from_secs(30), Some(1_000_001));
        let parts: Vec<(Instant, u64)> = schedule.unsent().collect();
        assert!(u64::try_from(parts.len()).unwrap() <= UNSENT_PARTS);
        assert_eq!(parts.iter().map(|(_, count)| count).sum::<u64>(), 30_000_030);
        assert!(parts.is_sorted() && parts.iter().all(|(due, _)| *due < schedule.end()));
        assert!(schedule.end() - parts[parts.len() - 1].0 <= Duration::from_micros(1));
    }

    #[test]
    fn the_calls_due_before_a_moment_are_those_whose_time_is_below_it() {
        for rate in [1, 3, 7, 999_999_999, 1_000_000_000, 3_000_000_000] {
            let schedule = since(Duration::ZERO, LONG, Some(rate));
            for nanos in [0, 1, 2, 333_333_333, 333_333_334, 1_000_000_000, 1_000_000_001] {
                let moment = schedule.begun + Duration::from_nanos(nanos);
                let count = schedule.due_before(moment, rate);
                assert!(count == 0 || schedule.due(count - 1, rate) < moment, "{rate} {nanos}");
                assert!(schedule.due(count, rate) >= moment, "{rate} {nanos}");
            }
        }
    }

    #[test]
    fn a_sleeper_is_woken_when_its_call_is_due_and_not_before() {
        let schedule = Arc::new(since(Duration::ZERO, Duration::from_millis(200), Some(100)));
        let pacer = schedule.start_pacer().unwrap().unwrap();
        let mut dues = Vec::new();
        while let Some(due) = pollster::block_on(schedule.next()) {
            assert!(Instant::now() >= due);
            dues.push(due);
        }
        dues.extend(schedule.unsent().map(|(due, _)| due));
        let all: Vec<Instant> = (0..20).map(|number| schedule.due(number, 100)).collect();
        assert_eq!(dues, all);
        pacer.join().unwrap();
    }

    #[test]
    fn a_stop_ends_sleepers_and_the_pacer() {
        // The first call is due at once, the second in an hour.
        let schedule = Arc::new(since(Duration::ZERO, LONG, Some(1)));
        let pacer = schedule.start_pacer().unwrap().unwrap();
        pollster::block_on(schedule.next()).unwrap();
        let sleeping = Arc::clone(&schedule);
        let sleeper = thread::spawn(move || while pollster::block_on(sleeping.next()).is_some() {});
        schedule.stop();
        sleeper.join().unwrap();
        pacer.join().unwrap();
    }
}
