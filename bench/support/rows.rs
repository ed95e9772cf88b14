//! The figures of `make bench`, as each theme leaves them for the table, and the table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::{Median, float64, short};
use super::machine::Machine;
use super::table::aligned;

/// How much of the server is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The state alone: allocators, catalog, planner, records.
    InProcess,
    /// The service's calls, without a network.
    NoNetwork,
    /// A served call, with its client in the same process.
    OverGrpc,
    /// A server process.
    Process,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in process",
            Self::NoNetwork => "no network",
            Self::OverGrpc => "over gRPC",
            Self::Process => "process",
        }
    }
}

/// One figure. Its names are those of the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub theme: String,
    pub level: Level,
    pub what: String,
    /// In the catalog, where their number matters.
    pub regions: Option<u64>,
    /// Elapsed time divided by what was done in it; with calls side by side not what one takes.
    pub time_ns: Median,
    pub per_second: f64,
    /// The same of the floor, in turns with it.
    pub floor_ns: Option<f64>,
    /// Of the time to the floor's.
    pub ratio: Option<Median>,
}

/// One measurement: what was done, and how long it took.
pub struct Sample {
    pub done: u64,
    pub took: Duration,
    /// What as much took at the floor, right before or after.
    pub floor: Option<Duration>,
}

impl Row {
    /// The figure of some samples.
    ///
    /// # Panics
    ///
    /// When there is no sample.
    pub fn new(theme: &str, level: Level, what: &str, regions: Option<u64>, samples: &[Sample]) -> Self {
        let ns = |time: Duration, done: u64| 1e9 * time.as_secs_f64() / float64(done);
        let time_ns = Median::of(&samples.iter().map(|sample| ns(sample.took, sample.done)).collect::<Vec<_>>());
        let with_floor = || samples.iter().filter_map(|sample| Some((sample, sample.floor?)));
        let floors: Vec<f64> = with_floor().map(|(sample, floor)| ns(floor, sample.done)).collect();
        let ratios: Vec<f64> =
            with_floor().map(|(sample, floor)| sample.took.as_secs_f64() / floor.as_secs_f64()).collect();
        Self {
            theme: theme.to_owned(),
            level,
            what: what.to_owned(),
            regions,
            time_ns,
            per_second: 1e9 / time_ns.value,
            floor_ns: (!floors.is_empty()).then(|| Median::of(&floors).value),
            ratio: (!ratios.is_empty()).then(|| Median::of(&ratios)),
        }
    }

    fn cells(&self) -> [String; 8] {
        let none = || "-".to_owned();
        [
            self.theme.clone(),
            self.level.name().to_owned(),
            self.what.clone(),
            self.regions.map_or_else(none, |regions| short(float64(regions))),
            time(self.time_ns.value),
            short(self.per_second),
            self.floor_ns.map_or_else(none, time),
            self.ratio.map_or_else(none, |ratio| ratio.to_string()),
        ]
    }
}

/// Sorts the rows of a theme: by level, then by what is measured in the order of the bench, then by regions.
pub fn sort(rows: &mut [Row]) {
    let order: Vec<String> = rows.iter().map(|row| row.what.clone()).collect();
    let place = |row: &Row| order.iter().position(|what| *what == row.what);
    rows.sort_by_key(|row| (row.level, place(row), row.regions));
}

/// The rows for people.
pub fn table(rows: &[Row]) -> String {
    let header = ["THEME", "LEVEL", "WHAT", "REGIONS", "TIME", "A SECOND", "FLOOR", "RATIO TO FLOOR"];
    aligned(header, &rows.iter().map(Row::cells).collect::<Vec<_>>())
}

/// What a run of one theme leaves.
#[derive(Serialize, Deserialize)]
pub struct Theme {
    /// As it was when the run began.
    pub machine: Machine,
    pub is_quick: bool,
    pub rows: Vec<Row>,
}

/// Three digits and a unit.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        small if small < 1e3 => (small, "ns"),
        middle if middle < 1e6 => (middle / 1e3, "µs"),
        large if large < 1e9 => (large / 1e6, "ms"),
        huge => (huge / 1e9, "s"),
    };
    format!("{} {unit}", short(value))
}
