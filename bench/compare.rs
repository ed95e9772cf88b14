//! Two servers under the same load in turns (A B, B A, …): which of them does more, answers sooner, and takes less CPU time.
//!
//! `compare [--pairs N] [--durable] [--a-pid PID] [--b-pid PID] A B LOAD…`: A and B are programs, each of which is started as
//! `A pd`, or addresses of running servers of `pb.PD`; LOAD is what comes behind `pd-lite bench`, with `--duration 2s
//! --warm-up 500ms` unless it says otherwise. The load comes from this build, whatever A and B are.

#[path = "support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lexopt::prelude::{Long, Value, ValueExt};
use serde::Deserialize;

use support::figures::{Median, float64, in_turns, short};
use support::machine;
use support::process::PdProcess;
use support::table::aligned;
use support::{Result, exit_code};

const NAMES: [&str; 2] = ["A", "B"];

/// Fewer pairs than this have an interval that says little.
const PAIRS_MIN: usize = 10;

const USAGE: &str =
    "compare two servers: make compare A=<program or HOST:PORT> B=<the same> LOAD='tso --concurrency 64'";

fn main() -> ExitCode {
    exit_code("compare", run())
}

/// A command line.
struct Args {
    pairs: usize,
    is_durable: bool,
    /// A and B, and the processes of those that are addresses, where they are of this machine.
    sides: [OsString; 2],
    pids: [Option<u32>; 2],
    load: Vec<OsString>,
}

impl Args {
    /// `None`: nothing is asked for.
    fn read() -> Result<Option<Self>> {
        let (mut pairs, mut is_durable, mut pids, mut sides) = (PAIRS_MIN, false, [None; 2], Vec::new());
        let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
        // Cargo adds this one to every bench, at the end.
        words.pop_if(|word| word == "--bench");
        if words.is_empty() {
            return Ok(None);
        }
        let mut words = lexopt::Parser::from_args(words);
        while sides.len() < 2 {
            match words.next()?.ok_or(USAGE)? {
                Long("pairs") => pairs = words.value()?.parse()?,
                Long("durable") => is_durable = true,
                Long("a-pid") => pids[0] = Some(words.value()?.parse()?),
                Long("b-pid") => pids[1] = Some(words.value()?.parse()?),
                Value(side) => sides.push(side),
                other => return Err(other.unexpected().into()),
            }
        }
        let sides = <[OsString; 2]>::try_from(sides).expect("there are two");
        let load: Vec<OsString> = words.raw_args()?.collect();
        if pairs < PAIRS_MIN {
            return Err(format!("--pairs must be at least {PAIRS_MIN}, not {pairs}").into());
        }
        if load.is_empty() {
            return Err(USAGE.into());
        }
        for ((name, side), pid) in NAMES.into_iter().zip(&sides).zip(pids) {
            if pid.is_some() && Path::new(side).is_file() {
                return Err(format!("{name}: a program that is started here needs no number of a process").into());
            }
        }
        Ok(Some(Self { pairs, is_durable, sides, pids, load }))
    }
}

fn run() -> Result<()> {
    let Some(args) = Args::read()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(parent)?;
    let workdir = |name: &str| args.is_durable.then(|| dir.path().join(name));
    let [name_a, name_b] = NAMES;
    let a = Side::start(name_a, &args.sides[0], args.pids[0], workdir("a"))?;
    let b = Side::start(name_b, &args.sides[1], args.pids[1], workdir("b"))?;
    println!("{}", machine::describe(parent));
    for Side { name, what, keeps, .. } in [&a, &b] {
        println!("{name}: {what} ({keeps})");
    }
    // The first run of each fills caches and opens connections.
    a.load(&args.load)?;
    b.load(&args.load)?;
    let pairs = in_turns(args.pairs, || a.load(&args.load), || b.load(&args.load))?;
    print(&args.load, &pairs);
    Ok(())
}

/// One of the two.
struct Side {
    name: &'static str,
    what: String,
    /// Where it keeps what it is told: two that differ in this are compared only if somebody wants that.
    keeps: &'static str,
    addr: String,
    pid: Option<u32>,
    /// Runs until it is dropped.
    _process: Option<PdProcess>,
}

impl Side {
    /// Starts a program, in memory without a workdir, or takes an address.
    fn start(name: &'static str, side: &OsString, pid: Option<u32>, workdir: Option<PathBuf>) -> Result<Self> {
        let what = side.to_string_lossy().into_owned();
        let program = Path::new(side);
        if program.is_file() {
            let keeps = if workdir.is_some() { "on a new workdir" } else { "in memory" };
            let process = PdProcess::of_program(program, workdir.as_deref())
                .map_err(|error| format!("{name}: cannot start {what} pd: {error}"))?;
            let (addr, pid) = (process.addr().to_owned(), Some(process.id()));
            return Ok(Self { name, what, keeps, addr, pid, _process: Some(process) });
        }
        if !what.contains(':') || what.contains('/') {
            return Err(format!("{name}: {what} is neither a program nor a HOST:PORT").into());
        }
        Ok(Self { name, addr: what.clone(), what, keeps: "as it runs already", pid, _process: None })
    }

    /// Loads it once.
    fn load(&self, load: &[OsString]) -> Result<Figures> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
        command.arg("bench").args(&load[..1]).args(["--duration", "2s", "--warm-up", "500ms"]).args(&load[1..]);
        command.args(["--addr", &self.addr, "-o", "json"]);
        if let Some(pid) = self.pid {
            command.args(["--server-pid", &pid.to_string()]);
        }
        let output = command.output()?;
        let failed = |what: &str| format!("{} ({}): {what}", self.name, self.what).into();
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(failed(told.trim_end().lines().last().unwrap_or("pd-lite bench says nothing")));
        }
        let figures: Figures = serde_json::from_slice(&output.stdout)?;
        match figures.errors.first() {
            None => Ok(figures),
            Some(error) => Err(failed(&format!("{} calls failed with {}: {}", error.count, error.code, error.first))),
        }
    }
}

/// What is used of the report of `pd-lite bench`.
#[derive(Deserialize)]
struct Figures {
    clients: u64,
    total: Total,
    errors: Vec<CodeSeen>,
    server_cpu: Option<ServerCpu>,
    own_cpus: Option<f64>,
}

#[derive(Deserialize)]
struct Total {
    answered_per_s: f64,
    latency_us: Percentiles,
}

#[derive(Deserialize)]
struct Percentiles {
    p99: f64,
}

#[derive(Deserialize)]
struct CodeSeen {
    code: String,
    count: u64,
    first: String,
}

#[derive(Deserialize)]
struct ServerCpu {
    us_per_call: f64,
}

fn print(load: &[OsString], pairs: &[(Figures, Figures)]) {
    let words: Vec<_> = load.iter().map(|word| word.to_string_lossy()).collect();
    println!("load: pd-lite bench {}; {} pairs of runs\n", words.join(" "), pairs.len());
    let rows = [
        row("calls answered a second", pairs, |run| Some(run.total.answered_per_s)),
        row("p99, µs", pairs, |run| Some(run.total.latency_us.p99)),
        row("server CPU a call, µs", pairs, |run| run.server_cpu.as_ref().map(|cpu| cpu.us_per_call)),
    ];
    println!("{}", aligned(["WHAT", "A", "B", "A TO B [95 %]", "VERDICT"], &rows));
    let busy = |run: &Figures| run.own_cpus.unwrap_or_default() / float64(run.clients);
    let busy: Vec<f64> = pairs.iter().flat_map(|(a, b)| [busy(a), busy(b)]).collect();
    println!(
        "\nthe load's own threads were busy for {:.0} % of the time (near 100 %, they are what was measured)",
        100.0 * Median::of(&busy).value
    );
}

/// A figure of both sides. Without it in any run there is nothing to compare.
fn row(what: &str, pairs: &[(Figures, Figures)], figure: fn(&Figures) -> Option<f64>) -> [String; 5] {
    let of = |side: fn(&(Figures, Figures)) -> &Figures| -> Option<Vec<f64>> {
        pairs.iter().map(|pair| figure(side(pair)).filter(|value| *value > 0.0)).collect()
    };
    let (a, b) = (of(|pair| &pair.0), of(|pair| &pair.1));
    let text = |values: &Option<Vec<f64>>| {
        values.as_ref().map_or_else(|| "unknown".to_owned(), |values| short(Median::of(values).value))
    };
    let mut cells = [what.to_owned(), text(&a), text(&b), "-".to_owned(), "not measured".to_owned()];
    if let (Some(a), Some(b)) = (&a, &b) {
        let ratio = Median::of(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>());
        cells[3] = ratio.to_string();
        cells[4] = verdict(&ratio).to_owned();
    }
    cells
}

/// An interval that holds 1 decides nothing.
fn verdict(ratio: &Median) -> &'static str {
    if ratio.low > 1.0 {
        "A has more"
    } else if ratio.high < 1.0 {
        "A has less"
    } else {
        "not decided"
    }
}
