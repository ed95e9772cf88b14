//! The cycles of the crash loop, one after the other on one workdir and port.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;

use super::caller::{Caller, Ended, Shared};
use super::history::{Answer, Call, Entry, Kind, Tick, Violation};
use super::points::{self, Armed, BATCH_POINTS, POINTS, Point};
use super::regions;
use super::values::Values;
use crate::support::rng::Rng;
use crate::support::{EXIT_DISK, Launch, Server, own_host};

const CALLERS: u64 = 16;
/// Callers of one connection.
const CALLERS_PER_CONNECTION: u64 = 4;
/// A cycle with fewer acknowledged changes or answers with values than this is repeated.
const CHANGES_MIN: u64 = 100;
const VALUES_MIN: u64 = 100;
/// How often a cycle is tried.
const ATTEMPTS: u64 = 3;
/// Changes more, at most, until a kill at a random moment.
const CHANGES_SPREAD: u64 = 500;
/// Changes more until a point counts as missed: a few seconds' worth, and some MiB where a rewrite is wanted.
const CHANGES_UNTIL_MISSED: u64 = 8_000;
/// The caller that looks at everything, and the one that knows what a run begins with.
const LOOKER: u64 = 100;
const KNOWN_BEFORE: u64 = 200;

/// How a run ends.
#[derive(Clone, Copy)]
enum End {
    Kill,
    Term,
    /// In the middle of a write, which fails.
    CutWrite,
    Point(Point),
}

impl End {
    fn name(&self) -> &'static str {
        match self {
            Self::Kill => "at a random moment",
            Self::Term => "by SIGTERM",
            Self::CutWrite => "in the middle of a write",
            Self::Point(point) => point.name,
        }
    }
}

/// What is known between two runs, and what came of all of them.
pub struct Cycles<'a> {
    workdir: &'a Path,
    launch: Launch,
    /// Known once the server has been started.
    addr: Option<String>,
    seed: u64,
    has_strace: bool,
    shared: Shared,
    timestamps: Values,
    ids: Values,
    /// The run that is not checked yet, and how it ended.
    entries: Vec<Entry>,
    last_end: &'static str,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    changes: u64,
    values: u64,
    unanswered: usize,
    lookups: usize,
    starts: u64,
    too_quiet: u64,
    /// How often each end was met, and each point was missed.
    ends: BTreeMap<&'static str, (u64, u64)>,
    killed_starts: BTreeMap<String, u64>,
}

impl<'a> Cycles<'a> {
    pub fn new(workdir: &'a Path, seed: u64) -> Self {
        Self {
            workdir,
            launch: Launch::durable(workdir),
            addr: None,
            seed,
            has_strace: points::has_strace(),
            shared: Shared::default(),
            timestamps: Values::new(Kind::Timestamp),
            ids: Values::new(Kind::Id),
            entries: Vec::new(),
            last_end: "before it began",
            totals: Totals::default(),
        }
    }

    /// Runs a cycle, again when it had too little traffic.
    pub fn cycle(&mut self, cycle: u64) -> Result<(), String> {
        for attempt in 1..=ATTEMPTS {
            let (changes, values) = self.attempt(cycle, attempt).map_err(|what| format!("cycle {cycle}: {what}"))?;
            if changes >= CHANGES_MIN && values >= VALUES_MIN {
                return Ok(());
            }
            self.totals.too_quiet += 1;
            println!(
                "cycle {cycle}, attempt {attempt}: {changes} changes and {values} answers with values are too few"
            );
        }
        Err(format!(
            "cycle {cycle}: too little traffic in {ATTEMPTS} attempts, {CHANGES_MIN} and {VALUES_MIN} are wanted"
        ))
    }

    /// Returns how many changes and answers with values were acknowledged.
    fn attempt(&mut self, cycle: u64, attempt: u64) -> Result<(u64, u64), String> {
        let end = self.choose_end(cycle);
        let mut rng = Rng::new(self.seed ^ (((cycle + 1) << 8) | attempt));
        // The very first start too: it creates the workdir.
        if cycle == 0 || rng.below(3) == 0 {
            for _ in 0..=rng.below(3) {
                let killed = points::interrupt_start(&self.launch_again(), self.has_strace, &mut rng)?;
                *self.totals.killed_starts.entry(killed).or_default() += 1;
            }
        }
        let behind_a_cut = self.last_end == End::CutWrite.name();
        let mut server = self.start_and_check(&mut rng)?;
        // Behind a write that was cut there is a piece of a batch to be dropped.
        if behind_a_cut || rng.below(3) == 0 {
            // What a start serves it serves again: nothing of it came from a piece that is not on the disk for good.
            server.kill();
            self.last_end = "before anything was changed";
            server = self.start_and_check(&mut rng)?;
        }
        self.run(server, end, &mut rng).map_err(|what| format!("the run that was to end {}: {what}", end.name()))
    }

    /// Checks the last run, and that a clean stop and one more start change nothing. All points were once missed, and nobody
    /// noticed: strace 6.1 drops a signal that stands beside a delay.
    pub fn finish(&mut self) -> Result<(), String> {
        let of_points = self.totals.ends.iter().filter(|(name, _)| POINTS.iter().any(|point| point.name == **name));
        let (met, missed) = of_points.fold((0, 0), |sum, (_, end)| (sum.0 + end.0, sum.1 + end.1));
        if missed > met {
            return Err(format!("of the named points {met} were met and {missed} missed: strace does not do its part"));
        }
        for _ in 0..2 {
            let server = self.start_and_check(&mut Rng::new(0))?;
            let exit = server.term();
            if exit.code != Some(0) {
                return Err(format!("SIGTERM is a clean end: {exit:#?}"));
            }
        }
        Ok(())
    }

    /// A round of cycles goes through every end, in an order of its own.
    fn choose_end(&self, cycle: u64) -> End {
        let batch_points = POINTS.iter().take(BATCH_POINTS);
        let mut ends: Vec<End> = POINTS.iter().chain(batch_points).copied().map(End::Point).collect();
        ends.extend([[End::Term, End::CutWrite, End::Kill]; 3].concat());
        ends.push(End::Kill);
        let len = u64::try_from(ends.len()).expect("a short list");
        let mut rng = Rng::new(self.seed ^ (cycle / len));
        for at in (1..ends.len()).rev() {
            ends.swap(at, points::index(&mut rng, at + 1));
        }
        match ends[usize::try_from(cycle % len).expect("less than the length")] {
            End::Point(_) if !self.has_strace => End::Kill,
            end => end,
        }
    }

    /// As it was started before.
    fn launch_again(&self) -> Launch {
        match &self.addr {
            Some(addr) => self.launch.clone().on(addr),
            None => self.launch.clone().on(&format!("{}:0", own_host())),
        }
    }

    /// Starts the server, looks at everything, and checks the run that this closes.
    fn start_and_check(&mut self, rng: &mut Rng) -> Result<Server, String> {
        let server = self
            .launch_again()
            .try_start()
            .map_err(|exit| format!("the server does not start after a run that ended {}: {exit:#?}", self.last_end))?;
        self.totals.starts += 1;
        self.addr = Some(server.addr().to_owned());
        let looker = Caller::new(LOOKER, &self.shared, server.client(), Rng::new(rng.below(1 << 40)), false);
        let (entries, found) = looker.look_at_all().map_err(|failure| format!("nobody answers: {failure:?}"))?;
        self.entries.extend(entries);
        self.check()
            .map_err(|violation| format!("the run that ended {}: {}", self.last_end, violation.tell(&self.entries)))?;
        let now = self.shared.clock.tick();
        self.entries = found.into_iter().map(|region| known(region, now)).collect();
        Ok(server)
    }

    fn check(&mut self) -> Result<(), Violation> {
        regions::check(&self.entries)?;
        self.timestamps.check(&self.entries)?;
        self.ids.check(&self.entries)
    }

    /// Lets all callers work and ends the server under them. Returns how many changes and answers with values there were.
    fn run(&mut self, server: Server, end: End, rng: &mut Rng) -> Result<(u64, u64), String> {
        let is_heavy = matches!(end, End::Point(Point { is_heavy: true, .. })) || rng.below(4) == 0;
        let shared = &self.shared;
        shared.changes.store(0, Ordering::Relaxed);
        shared.values.store(0, Ordering::Relaxed);
        let workdir = self.workdir;
        let (ended, began_to_end, result) = thread::scope(|scope| {
            let mut connection = server.client();
            let mut threads = Vec::new();
            for number in 1..=CALLERS {
                if number % CALLERS_PER_CONNECTION == 0 {
                    connection = server.client();
                }
                let caller = Caller::new(number, shared, connection.clone(), Rng::new(rng.below(1 << 40)), is_heavy);
                threads.push(scope.spawn(|| caller.run()));
            }
            let (began_to_end, result) = end_under_load(server, end, workdir, shared, rng);
            let ended: Vec<Ended> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            (ended, began_to_end, result)
        });
        let missed = result?;
        let totals = &mut self.totals;
        let traffic = (shared.changes.load(Ordering::Relaxed), shared.values.load(Ordering::Relaxed));
        totals.changes += traffic.0;
        totals.values += traffic.1;
        self.last_end = end.name();
        let (met_count, missed_count) = totals.ends.entry(end.name()).or_default();
        *if missed { missed_count } else { met_count } += 1;
        for ended in ended {
            if ended.returned < began_to_end || !is_of_an_end(ended.code, end) {
                return Err(format!("a caller was turned away with {} while the server served", ended.code));
            }
            totals.unanswered += ended.entries.iter().filter(|entry| matches!(entry.answer, Answer::Unknown)).count();
            totals.lookups += ended.entries.iter().filter(|entry| matches!(entry.answer, Answer::Found(_))).count();
            self.entries.extend(ended.entries);
        }
        Ok(traffic)
    }

    /// What came of all cycles.
    pub fn summary(&self) -> String {
        let Totals { changes, values, unanswered, lookups, starts, too_quiet, ends, killed_starts } = &self.totals;
        let mut text = format!(
            "{starts} starts on one workdir, and {} more that were killed on the way; {changes} changes, {values} answers \
             with values and {lookups} routes acknowledged, {unanswered} calls unanswered; {too_quiet} cycles were repeated \
             for too little traffic\n",
            killed_starts.values().sum::<u64>()
        );
        if !self.has_strace {
            text.push_str("  there is no strace: no kill at a named point\n");
        }
        for (name, (met, missed)) in ends {
            _ = writeln!(text, "  ended {met} times {name}; missed {missed} times");
        }
        for (name, times) in killed_starts {
            _ = writeln!(text, "  start killed {times} times {name}");
        }
        text
    }
}

/// Waits for traffic and ends the server. Returns the tick before it began to, and whether a point was missed (the server was
/// killed at a random moment then).
fn end_under_load(
    server: Server,
    end: End,
    workdir: &Path,
    shared: &Shared,
    rng: &mut Rng,
) -> (Tick, Result<bool, String>) {
    let probe = server.client();
    let wait = |changes: u64, goes_on: &dyn Fn() -> bool| {
        let is_reached =
            || shared.changes.load(Ordering::Relaxed) >= changes && shared.values.load(Ordering::Relaxed) >= VALUES_MIN;
        while !is_reached() && goes_on() {}
        is_reached()
    };
    // A point is near by itself.
    let spread = if matches!(end, End::Point(_)) { 1 } else { CHANGES_SPREAD };
    let goal = CHANGES_MIN + rng.below(spread);
    // Each look waits for as long as the server needs for one.
    let answers = || probe.lookup(b"").is_ok();
    let is_up = wait(goal, &answers);
    let began = shared.clock.tick();
    if !is_up {
        return (began, Err(format!("the server ended by itself: {:#?}", server.wait())));
    }
    let armed = match end {
        End::Term => {
            let exit = server.term();
            let clean =
                if exit.code == Some(0) { Ok(false) } else { Err(format!("SIGTERM is a clean end: {exit:#?}")) };
            return (began, clean);
        }
        End::Kill => {
            server.kill();
            return (began, Ok(false));
        }
        End::CutWrite => {
            points::cut_writes(&server, workdir, rng);
            None
        }
        End::Point(point) => Some(point.arm(&server, workdir, rng)),
    };
    let is_held = || armed.as_ref().is_some_and(Armed::holds);
    // What is held may keep a look waiting.
    let is_under_way = || {
        thread::sleep(Duration::from_millis(1));
        !is_held() && !server.has_ended()
    };
    let missed = wait(goal + CHANGES_UNTIL_MISSED, if armed.is_some() { &is_under_way } else { &answers });
    if missed || is_held() {
        server.signal("KILL");
        // What strace holds is buried by strace alone.
        drop(armed);
        server.wait();
        return (began, Ok(missed));
    }
    let exit = server.wait();
    let by_itself = matches!(end, End::CutWrite) && exit.code == Some(EXIT_DISK);
    (began, if by_itself { Ok(false) } else { Err(format!("the server ended by itself: {exit:#?}")) })
}

/// Whether calls may fail like this when the server ends.
fn is_of_an_end(code: RpcStatusCode, end: End) -> bool {
    match code {
        RpcStatusCode::UNAVAILABLE => true,
        RpcStatusCode::CANCELLED => matches!(end, End::Term),
        // A change whose write was cut: whether it happened is unknown.
        RpcStatusCode::INTERNAL => matches!(end, End::CutWrite),
        _ => false,
    }
}

/// A region that is known to be there before a run.
fn known(region: RegionMeta, now: Tick) -> Entry {
    Entry { caller: KNOWN_BEFORE, invoked: now, returned: now, call: Call::Put(region), answer: Answer::Accepted }
}
