//! The suite behind `make bench`: criterion warms up, plans the samples and keeps its own statistics. Beside it each sample is
//! noted for the table; where there is a floor, each takes as many calls at the floor, in turns with those of the server.

use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use super::machine::Machine;
use super::over_grpc::{Run, Sides};
use super::rows::{self, Level, Row, Sample, Theme};
use super::{Result, exit_code};

/// Set to anything: fewer sizes and samples, for `make bench-quick`.
const QUICK: &str = "PD_LITE_BENCH_QUICK";
/// A directory in which each theme leaves its figures; without it, it prints them.
pub const ROWS: &str = "PD_LITE_BENCH_ROWS";

const SIZES: [u64; 3] = [1000, 100_000, 1_000_000];

/// Criterion plans a sample by the time that this many of them are to take.
const SAMPLES: usize = 30;
const SAMPLES_QUICK: usize = 10;
const TIME: Duration = Duration::from_millis(2000);
const TIME_QUICK: Duration = Duration::from_millis(500);

/// What is measured.
pub struct What {
    level: Level,
    what: String,
    regions: Option<u64>,
    items: u64,
    is_long: bool,
}

impl What {
    pub fn new(level: Level, what: impl Into<String>) -> Self {
        Self { level, what: what.into(), regions: None, items: 1, is_long: false }
    }

    /// With so many regions.
    pub fn at(self, regions: u64) -> Self {
        Self { regions: Some(regions), ..self }
    }

    /// Each call is about so many items, and the figure is that of one.
    pub fn items(self, items: u64) -> Self {
        Self { items, ..self }
    }

    /// It may take so long that a sample is one call, without a warm-up.
    pub fn long(self) -> Self {
        Self { is_long: true, ..self }
    }
}

/// One theme of the suite.
pub struct Suite {
    theme: &'static str,
    criterion: Criterion,
    is_quick: bool,
    rows: Vec<Row>,
    /// Holds the workdirs; on the disk that counts.
    dir: tempfile::TempDir,
}

/// Why a bench ends early. It unwinds through criterion, which has no other way out.
struct Failure(String);

fn fail(what: &str, error: impl Display) -> ! {
    resume_unwind(Box::new(Failure(format!("{what}: {error}"))))
}

impl Suite {
    /// Runs a theme, and leaves or prints its figures.
    pub fn run(theme: &'static str, measure: impl FnOnce(&mut Self) -> Result<()>) -> ExitCode {
        let ended = catch_unwind(AssertUnwindSafe(|| Self::run_inside(theme, measure)));
        let result = ended.unwrap_or_else(|panic| match panic.downcast::<Failure>() {
            Ok(failure) => Err(failure.0.into()),
            Err(panic) => resume_unwind(panic),
        });
        exit_code(&format!("bench: {theme}"), result)
    }

    fn run_inside(theme: &'static str, measure: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let is_quick = env::var_os(QUICK).is_some();
        let (samples, time) = if is_quick { (SAMPLES_QUICK, TIME_QUICK) } else { (SAMPLES, TIME) };
        let criterion = Criterion::default()
            .sample_size(samples)
            .warm_up_time(time / 6)
            .measurement_time(time)
            .nresamples(2000)
            .configure_from_args();
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let machine = Machine::of(parent);
        let dir = tempfile::tempdir_in(parent)?;
        let mut suite = Self { theme, criterion, is_quick, rows: Vec::new(), dir };
        measure(&mut suite)?;
        let Self { mut rows, .. } = suite;
        rows::sort(&mut rows);
        match env::var_os(ROWS) {
            _ if rows.is_empty() => Ok(()),
            None => {
                println!("\n{machine}\n\n{}", rows::table(&rows));
                Ok(())
            }
            Some(dir) => {
                fs::create_dir_all(&dir)?;
                let file = File::create(Path::new(&dir).join(format!("{theme}.json")))?;
                Ok(serde_json::to_writer(file, &Theme { machine, is_quick, rows })?)
            }
        }
    }

    /// The sizes of a catalog.
    pub fn sizes(&self) -> &'static [u64] {
        if self.is_quick { &SIZES[..2] } else { &SIZES }
    }

    /// A workdir of this run; it does not exist yet.
    pub fn workdir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Measures what has no floor. `prepare` is called when it is among what was asked for.
    pub fn alone<'a>(&mut self, what: What, prepare: impl FnOnce() -> Result<Run<'a>>) {
        self.measure(what, || Ok((prepare()?, None)));
    }

    /// Measures something and its floor in turns. `prepare` is called when it is among what was asked for.
    pub fn beside_floor<'a>(&mut self, what: What, prepare: impl FnOnce() -> Result<Sides<'a>>) {
        self.measure(what, || prepare().map(|(run, floor)| (run, Some(floor))));
    }

    fn measure<'a>(&mut self, what: What, prepare: impl FnOnce() -> Result<(Run<'a>, Option<Run<'a>>)>) {
        let What { level, what, regions, items, is_long } = what;
        let name = format!("{}/{what}", level.name());
        let mut group = self.criterion.benchmark_group(self.theme);
        group.sampling_mode(SamplingMode::Flat);
        if items > 1 {
            group.throughput(Throughput::Elements(items));
        }
        if is_long {
            // Criterion plans more calls than one for each sample, and gets one, told as so many: of a plan of one it warns.
            group.sample_size(SAMPLES_QUICK).warm_up_time(Duration::from_nanos(1)).measurement_time(TIME * 100);
        }
        let id = match regions {
            None => BenchmarkId::from_parameter(&name),
            Some(regions) => BenchmarkId::new(&name, regions),
        };
        let mut prepare = Some(prepare);
        let mut sides = None;
        let mut samples: Vec<(u64, Sample)> = Vec::new();
        group.bench_function(id, |bencher| {
            let sides = sides.get_or_insert_with(|| {
                let prepare = prepare.take().expect("it is prepared once");
                prepare().unwrap_or_else(|error| fail(&name, error))
            });
            bencher.iter_custom(|planned| {
                let calls = if is_long { 1 } else { planned };
                let (took, floor) =
                    in_turn(sides, calls, samples.len().is_multiple_of(2)).unwrap_or_else(|e| fail(&name, e));
                samples.push((planned, Sample { done: calls * items, took, floor }));
                took * u32::try_from(planned / calls).unwrap_or(u32::MAX)
            });
        });
        group.finish();
        // All samples have the same plan; in front of them is the warm-up, whose plans double.
        let Some(&(plan, _)) = samples.last() else { return };
        let warm_up = samples.iter().rposition(|(planned, _)| *planned != plan).map_or(0, |last| last + 1);
        let samples: Vec<Sample> = samples.into_iter().skip(warm_up).map(|(_, sample)| sample).collect();
        self.rows.push(Row::new(self.theme, level, &what, regions, &samples));
    }
}

/// Makes calls at both sides.
fn in_turn(
    (run, floor): &mut (Run<'_>, Option<Run<'_>>),
    calls: u64,
    run_is_first: bool,
) -> Result<(Duration, Option<Duration>)> {
    if run_is_first {
        let took = run(calls)?;
        Ok((took, floor.as_mut().map(|floor| floor(calls)).transpose()?))
    } else {
        let floor = floor.as_mut().map(|floor| floor(calls)).transpose()?;
        Ok((run(calls)?, floor))
    }
}

/// Something costly that several benches share, made for the first of them that is among what was asked for.
pub struct Shared<'a, T> {
    made: std::cell::OnceCell<T>,
    make: Box<dyn Fn() -> Result<T> + 'a>,
}

impl<'a, T> Shared<'a, T> {
    pub fn new(make: impl Fn() -> Result<T> + 'a) -> Self {
        Self { made: std::cell::OnceCell::new(), make: Box::new(make) }
    }

    pub fn get(&self) -> Result<&T> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = (self.make)()?;
        Ok(self.made.get_or_init(|| made))
    }

    /// What was made, if it was.
    pub fn into_made(self) -> Option<T> {
        self.made.into_inner()
    }
}
