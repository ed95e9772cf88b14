//! What callers asked and what they were told, dated by one clock that only counts. A call takes effect, if it does, between
//! the tick in front of it and the tick behind its answer; of two calls the first is over before the second begins when the
//! ticks say so.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use pd_lite::proto::pd::RegionMeta;

/// A point in the order of all events.
pub type Tick = u64;

/// Behind every answer: when an unanswered call may take effect at the latest. The checks of a run are made behind its end.
pub const NEVER: Tick = u64::MAX;

/// Counts up, over all restarts.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn tick(&self) -> Tick {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Timestamp,
    Id,
}

pub enum Call {
    /// So many values; 0 is taken as 1.
    Take(Kind, u64),
    Put(RegionMeta),
    Remove(u64),
    Lookup(Vec<u8>),
    /// From one key to the other.
    Scan(Vec<u8>, Vec<u8>),
}

pub enum Answer {
    /// The first value given.
    First(u64),
    Accepted,
    /// FAILED_PRECONDITION: nothing changed.
    Refused,
    /// Whether the region was there.
    Removed(bool),
    Found(Option<RegionMeta>),
    /// Regions in key order, and whether there are more behind them.
    Scanned(Vec<RegionMeta>, bool),
    /// None that tells what became of the call: it may have happened or not.
    Unknown,
}

/// A call and its answer.
pub struct Entry {
    pub caller: u64,
    pub invoked: Tick,
    /// [`NEVER`] without an answer.
    pub returned: Tick,
    pub call: Call,
    pub answer: Answer,
}

impl Entry {
    /// Whether it has to do with one of these regions.
    pub fn names(&self, ids: &[u64]) -> bool {
        let asked = match &self.call {
            Call::Put(region) => Some(region.id),
            Call::Remove(id) => Some(*id),
            _ => None,
        };
        let told = match &self.answer {
            Answer::Found(Some(region)) => std::slice::from_ref(region),
            Answer::Scanned(regions, _) => regions,
            _ => &[],
        };
        asked.into_iter().chain(told.iter().map(|region| region.id)).any(|id| ids.contains(&id))
    }

    /// The first value that it got and how many, when it asked for this kind.
    pub fn values(&self, of: Kind) -> Option<(u64, u64)> {
        match (&self.call, &self.answer) {
            (Call::Take(kind, count), Answer::First(first)) if *kind == of => Some((*first, (*count).max(1))),
            _ => None,
        }
    }
}

/// A promise that was broken.
#[derive(Debug)]
pub struct Violation {
    pub what: String,
    /// The entry that shows it.
    pub at: usize,
    /// The regions that it is about.
    pub regions: Vec<u64>,
}

impl Violation {
    /// The violation with the part of the history that led to it.
    pub fn tell(&self, entries: &[Entry]) -> String {
        const BEFORE: usize = 60;
        let shown = &entries[self.at];
        let mut lines: Vec<&Entry> = entries
            .iter()
            .filter(|entry| match shown.call {
                Call::Take(of, _) => entry.values(of).is_some(),
                _ => entry.names(&self.regions),
            })
            .filter(|entry| entry.invoked <= shown.returned && !std::ptr::eq(*entry, shown))
            .collect();
        lines.sort_by_key(|entry| entry.invoked);
        let lines = &lines[lines.len().saturating_sub(BEFORE)..];
        let history: String = lines.iter().map(|entry| format!("  {entry}\n")).collect();
        format!("{}\nbefore it (invoked..returned, caller: call -> answer):\n{history}it:\n  {shown}", self.what)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.returned {
            NEVER => write!(f, "{}..      ", self.invoked)?,
            returned => write!(f, "{}..{returned}", self.invoked)?,
        }
        write!(f, " {}: ", self.caller)?;
        match &self.call {
            Call::Take(kind, count) => write!(f, "{count} {kind:?}")?,
            Call::Put(region) => write!(f, "put {}", brief(region))?,
            Call::Remove(id) => write!(f, "remove {id}")?,
            Call::Lookup(key) => write!(f, "look up {}", brief_key(key))?,
            Call::Scan(start, end) => write!(f, "scan [{},{})", brief_key(start), brief_key(end))?,
        }
        match &self.answer {
            Answer::First(first) => write!(f, " -> {first}"),
            Answer::Accepted => write!(f, " -> accepted"),
            Answer::Refused => write!(f, " -> refused"),
            Answer::Removed(existed) => write!(f, " -> {}", if *existed { "removed" } else { "was not there" }),
            Answer::Found(Some(region)) => write!(f, " -> {}", brief(region)),
            Answer::Found(None) => write!(f, " -> none"),
            Answer::Scanned(regions, more) => {
                let regions: Vec<String> = regions.iter().map(brief).collect();
                write!(f, " -> {}{}", regions.join(", "), if *more { " and more" } else { "" })
            }
            Answer::Unknown => write!(f, " -> ?"),
        }
    }
}

/// A region on one line. The first peer tells which report it comes from.
pub fn brief(region: &RegionMeta) -> String {
    let peers: Vec<String> = region.peers.iter().map(|peer| format!("{}:{}", peer.store_id, peer.peer_id)).collect();
    format!(
        "{} [{},{}) {}/{} {}",
        region.id,
        brief_key(&region.start_key),
        brief_key(&region.end_key),
        region.epoch_version,
        region.epoch_conf_version,
        peers.join(" ")
    )
}

/// A key without its padding.
fn brief_key(key: &[u8]) -> String {
    String::from_utf8_lossy(key).trim_end_matches('-').to_owned()
}
