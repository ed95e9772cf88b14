//! One of two servers that are measured in turns.

use crate::support::Result;
use crate::support::figures::{Median, float64, micros, short};
use crate::support::load::{Load, LoadClient};
use crate::support::process::PdProcess;

/// A server and its load generator.
pub struct Side {
    pub process: PdProcess,
    pub client: LoadClient,
}

/// What one side did in its turn.
pub struct Turn {
    pub load: Load,
    /// Server CPU a call, in µs.
    pub cost: f64,
}

impl Side {
    pub fn new(process: PdProcess) -> Result<Self> {
        let client = LoadClient::connect(process.addr())?;
        Ok(Self { process, client })
    }

    /// Measures a load.
    pub fn run(&self, load: impl FnOnce(&LoadClient) -> Result<Load>) -> Result<Turn> {
        let before = self.process.cpu()?;
        let load = load(&self.client)?;
        let used = self.process.cpu()?.saturating_sub(before);
        Ok(Turn { load, cost: micros(used) / float64(load.calls) })
    }
}

/// The median of a figure of some turns.
pub fn median<'a>(turns: impl Iterator<Item = &'a Turn>, figure: impl Fn(&Turn) -> f64) -> Median {
    Median::of(&turns.map(figure).collect::<Vec<_>>())
}

/// Medians of one side.
pub fn text<'a>(turns: impl Iterator<Item = &'a Turn> + Clone) -> String {
    format!(
        "{} µs of server CPU a call, {}/s (generator {:.0} %)",
        short(median(turns.clone(), |turn| turn.cost).value),
        short(median(turns.clone(), |turn| turn.load.rate()).value),
        100.0 * median(turns, |turn| turn.load.generator_share()).value
    )
}
