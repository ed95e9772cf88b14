//! One run: callers on the clients' poll threads, and this thread, which tells each second how it goes.
//!
//! A caller makes one call after the other, when the schedule says so. Calls that were to start in the warm-up are left out of
//! the figures; those under way at the end are waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};

use super::args::Args;
use super::catalog::Catalog;
use super::checks::Timestamps;
use super::cpu::ProcessCpu;
use super::loads::{Caller, Load, OwnRegions};
use super::report::progress_line;
use super::schedule::Schedule;
use super::tally::{Tally, Times};
use crate::cli::{Exit, Failure, time};
use crate::client::ClientOptions;
use crate::client::bare::BareClient;

/// Between two lines that tell how it goes.
const PROGRESS: Duration = Duration::from_secs(1);

/// What a run measured.
pub struct Measured {
    pub tally: Tally,
    /// Calls that were due and never sent.
    pub unsent: u64,
    /// From the end of the warm-up to the last call's end.
    pub elapsed: Duration,
    /// A signal ended it.
    pub is_interrupted: bool,
    /// CPU time of the server in that time; `None`: nobody asked, or it has ended.
    pub server_cpu: Option<Duration>,
    /// CPU time of this program in that time.
    pub own_cpu: Option<Duration>,
}

impl Measured {
    /// Why a run with calls at that rate has no figures, unless it has some or was ended before it could.
    pub fn why_no_answer(&self, rate: Option<u64>) -> Option<String> {
        if self.tally.all().answered > 0 {
            return None;
        }
        if let Some(seen) = self.tally.errors().values().next() {
            return Some(format!("the first error: {}", seen.first));
        }
        // No call was made: none was due, or those of the warm-up held all callers until the end.
        let held = "those of the warm-up took until the end; a --duration longer than --timeout tells why";
        match (self.unsent, rate) {
            _ if self.is_interrupted => None,
            (0, Some(_)) => Some("none was due in --duration; a longer one, or a higher --rate, makes some".to_owned()),
            (0, None) => Some(format!("none was sent, for {held}")),
            (unsent, _) => Some(format!("{unsent} were due and never sent, for {held}")),
        }
    }
}

/// What the callers of a client share.
struct Shared {
    schedule: Arc<Schedule>,
    tally: Mutex<Tally>,
    /// The figures count from here on.
    counts_from: Instant,
}

/// Runs a load. A signal on `stop` ends it early.
///
/// # Errors
///
/// Exit code 1: no thread can be started; 6: the server is gone again.
pub fn run(
    load: Load,
    args: &Args,
    options: &ClientOptions,
    catalog: &Arc<Catalog>,
    server: Option<&ProcessCpu>,
    stop: &Receiver<&'static str>,
) -> Result<Measured, Failure> {
    let clients: Vec<Arc<BareClient>> =
        (0..args.clients).map(|_| BareClient::new(options).map(Arc::new)).collect::<Result<_, _>>()?;
    clients.iter().try_for_each(|client| client.connect())?;
    let own = ProcessCpu::of_this_process();
    let begun = Instant::now();
    let counts_from = begun + args.warm_up;
    let schedule = Arc::new(Schedule::new(begun, args.warm_up + args.duration, args.rate));
    let pacer = schedule
        .start_pacer()
        .map_err(|error| Failure::new(Exit::Runtime, format!("cannot start a thread: {error}")))?;
    let (done_sender, done) = bounded(0);
    let shared = start_callers(load, args, &clients, catalog, &schedule, counts_from, &done_sender);
    drop(done_sender);

    if !args.warm_up.is_zero() {
        super::tell(&format!("warming up for {}", time::short(args.warm_up)));
    }
    let mut watch = Watch { shared, total: Tally::default(), told: counts_from };
    let mut is_interrupted = watch.wait_until(counts_from, stop, &done);
    let cpu_before = [server, own.as_ref()].map(|process| process?.used());
    if !is_interrupted {
        is_interrupted = watch.follow(&schedule, stop, &done);
    }
    if is_interrupted {
        schedule.stop();
    }
    // The callers hold the sender until their last call is over; nothing is ever sent.
    let _ = done.recv();
    let ended = Instant::now().max(schedule.end());
    let cpu_after = [server, own.as_ref()].map(|process| process?.used());
    if let Some(pacer) = pacer {
        // A panic has ended the process already.
        let _ = pacer.join();
    }
    let rest = watch.collect();
    watch.total.add(rest);
    let [server_cpu, own_cpu] = [0, 1].map(|at| Some(cpu_after[at]?.saturating_sub(cpu_before[at]?)));
    let mut tally = watch.total;
    let unsent = note_unsent(&mut tally, load, &schedule, counts_from);
    Ok(Measured {
        tally,
        unsent,
        elapsed: ended.saturating_duration_since(counts_from),
        is_interrupted,
        server_cpu,
        own_cpu,
    })
}

fn start_callers(
    load: Load,
    args: &Args,
    clients: &[Arc<BareClient>],
    catalog: &Arc<Catalog>,
    schedule: &Arc<Schedule>,
    counts_from: Instant,
    done: &Sender<()>,
) -> Vec<Arc<Shared>> {
    let timestamps = Arc::<Mutex<Timestamps>>::default();
    let callers = u64::try_from(args.in_flight()).unwrap_or(u64::MAX);
    let mut all = Vec::with_capacity(clients.len());
    let mut numbers = 0..callers;
    for client in clients {
        let shared = Arc::new(Shared { schedule: Arc::clone(schedule), tally: Mutex::default(), counts_from });
        for (place, number) in numbers.by_ref().take(args.concurrency).enumerate() {
            let own = OwnRegions::new(number, callers, catalog.len(), args.changes);
            let (timestamps, catalog) = (Arc::clone(&timestamps), Arc::clone(catalog));
            let caller = Caller::new(Arc::clone(client), timestamps, catalog, load, args.batch, place, own);
            let (shared, done) = (Arc::clone(&shared), done.clone());
            client.spawn(async move {
                shared.make_calls(caller).await;
                drop(done);
            });
        }
        all.push(shared);
    }
    all
}

impl Shared {
    async fn make_calls(&self, mut caller: Caller) {
        while let Some(due) = self.schedule.next().await {
            let kind = caller.kind();
            let sent = Instant::now();
            let outcome = caller.call().await;
            let done = Instant::now();
            let times = Times { from_due: done - due, from_send: done - sent };
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.note(kind, times, outcome, due >= self.counts_from);
        }
    }
}

/// Takes over what the callers note.
struct Watch {
    shared: Vec<Arc<Shared>>,
    total: Tally,
    told: Instant,
}

impl Watch {
    /// Waits for the end of the warm-up. Returns whether a signal came.
    fn wait_until(&self, moment: Instant, stop: &Receiver<&'static str>, done: &Receiver<()>) -> bool {
        select! {
            recv(stop) -> _ => true,
            recv(done) -> _ => false,
            recv(crossbeam_channel::at(moment)) -> _ => false,
        }
    }

    /// Tells each second how it goes, until the callers are done. Returns whether a signal came.
    fn follow(&mut self, schedule: &Schedule, stop: &Receiver<&'static str>, done: &Receiver<()>) -> bool {
        let ticks = tick(PROGRESS);
        loop {
            select! {
                recv(stop) -> _ => return true,
                recv(done) -> _ => return false,
                recv(ticks) -> _ => {
                    let part = self.collect();
                    let now = Instant::now();
                    let since_told = now.saturating_duration_since(self.told);
                    self.told = now;
                    let so_far = now.saturating_duration_since(self.shared[0].counts_from);
                    super::tell(&progress_line(so_far, &part, since_told, schedule.overdue()));
                    self.total.add(part);
                }
            }
        }
    }

    /// What was noted since the last time.
    fn collect(&self) -> Tally {
        let mut part = Tally::default();
        for shared in &self.shared {
            let noted = std::mem::take(&mut *shared.tally.lock().unwrap_or_else(PoisonError::into_inner));
            part.add(noted);
        }
        part
    }
}

/// Notes the calls that were never sent as ones that took until the end, so that a server that stops answering does not
/// look fast. Returns how many they are.
fn note_unsent(tally: &mut Tally, load: Load, schedule: &Schedule, counts_from: Instant) -> u64 {
    let (end, kinds) = (schedule.end(), load.kinds());
    let kinds_count = u64::try_from(kinds.len()).unwrap_or(u64::MAX);
    // A group is often a single call: the kinds go on from one group to the next.
    let mut upcoming = kinds.iter().cycle();
    let mut unsent = 0;
    for (due, count) in schedule.unsent().filter(|(due, _)| *due >= counts_from) {
        unsent += count;
        let (rounds, rest) = (count / kinds_count, count % kinds_count);
        if rounds > 0 {
            kinds.iter().for_each(|kind| tally.note_unsent(*kind, end - due, rounds));
        }
        for (_, kind) in (0..rest).zip(&mut upcoming) {
            tally.note_unsent(*kind, end - due, 1);
        }
    }
    unsent
}

#[cfg(test)]
mod tests {
    use super::super::loads::Kind;
    use super::super::tally::Outcome;
    use super::*;
    use crate::client::Error;

    const LENGTH: Duration = Duration::from_secs(10);

    /// The unsent calls of a mixed run of 10 s that is over, and of which no call was ever sent, by kind.
    fn unsent_by_kind(rate: u64) -> [u64; 3] {
        let begun = Instant::now().checked_sub(LENGTH * 2).expect("the machine runs that long");
        let schedule = Schedule::new(begun, LENGTH, Some(rate));
        let mut tally = Tally::default();
        assert_eq!(note_unsent(&mut tally, Load::Mixed, &schedule, begun), rate * 10);
        [Kind::Tso, Kind::Route, Kind::Heartbeat].map(|kind| tally.kinds()[&kind].from_due.len())
    }

    #[test]
    fn unsent_calls_of_a_mixed_load_are_of_its_kinds_in_their_proportion() {
        assert_eq!(unsent_by_kind(100), [600, 300, 100], "one at a time");
        // Groups of 46 calls.
        assert_eq!(unsent_by_kind(300_001), [1_800_006, 900_003, 300_001]);
    }

    /// A run of calls that ended so.
    fn measured(outcomes: impl IntoIterator<Item = Outcome>, unsent: u64) -> Measured {
        let mut tally = Tally::default();
        let times = Times { from_due: LENGTH, from_send: LENGTH };
        outcomes.into_iter().for_each(|outcome| tally.note(Kind::Tso, times, outcome, true));
        Measured { tally, unsent, elapsed: LENGTH, is_interrupted: false, server_cpu: None, own_cpu: None }
    }

    #[test]
    fn a_run_without_an_answer_says_why_unless_a_signal_ended_it_before_any_call_failed() {
        let failed = || Outcome::Failed(Error::Lost { addr: "a:1".into(), reason: "gone".into() });
        assert_eq!(measured([failed(), Outcome::Right], 3).why_no_answer(None), None);
        for (mut measured, rate, what, is_failure_after_signal) in [
            (measured([failed()], 3), Some(10), "the first error: ", true),
            (
                measured([], 3),
                Some(10),
                "3 were due and never sent, for those of the warm-up took until the end",
                false,
            ),
            (measured([], 0), Some(10), "none was due in --duration", false),
            (measured([], 0), None, "none was sent, for those of the warm-up took until the end", false),
        ] {
            let why = measured.why_no_answer(rate).unwrap();
            assert!(why.starts_with(what), "{what}: {why}");
            measured.is_interrupted = true;
            assert_eq!(measured.why_no_answer(rate).is_some(), is_failure_after_signal, "{what}");
        }
    }
}
