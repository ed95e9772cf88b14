//! Checks region changes, lookups and scans of one run against each other. The run begins with regions that are known
//! (entries of their own) and ends with a scan by whoever restarted the server.
//!
//! Each rule says only what is certain whatever the order of calls that overlap, so it raises no false alarm: a change is
//! *there* once it is acknowledged, or told to anybody, and until another one of its region may have begun to undo it. Every
//! new report carries peers that no other has, so a region that is told names the reports that it can come from.

use std::collections::BTreeMap;

use pd_lite::proto::pd::RegionMeta;

use super::history::{Answer, Call, Entry, NEVER, Tick, Violation, brief};

/// A key range; an empty end is no end.
type Range<'a> = (&'a [u8], &'a [u8]);

const ALL_KEYS: Range<'static> = (b"", b"");

/// Checks a run.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    let mut writes: BTreeMap<u64, Vec<Write>> = BTreeMap::new();
    for entry in entries {
        if let Some((id, write)) = Write::new(entry) {
            writes.entry(id).or_default().push(write);
        }
    }
    let lookups = entries.iter().filter(|entry| matches!(entry.answer, Answer::Found(_))).collect();
    let mut run = Run { writes, lookups };
    for entry in entries {
        run.note_told(entry);
    }
    for (at, entry) in entries.iter().enumerate() {
        run.check(entry).map_err(|(what, regions)| Violation { what, at, regions })?;
    }
    Ok(())
}

/// A change that happened or may have.
struct Write<'a> {
    invoked: Tick,
    /// When it had happened at the latest.
    returned: Tick,
    /// Whether it is certain that it happened.
    is_acknowledged: bool,
    /// `None`: the region goes.
    region: Option<&'a RegionMeta>,
}

impl<'a> Write<'a> {
    fn new(entry: &'a Entry) -> Option<(u64, Self)> {
        let (id, region, is_acknowledged) = match (&entry.call, &entry.answer) {
            (Call::Put(region), Answer::Accepted) => (region.id, Some(region), true),
            (Call::Put(region), Answer::Unknown) => (region.id, Some(region), false),
            (Call::Remove(id), Answer::Removed(true)) => (*id, None, true),
            (Call::Remove(id), Answer::Unknown) => (*id, None, false),
            _ => return None,
        };
        Some((id, Self { invoked: entry.invoked, returned: entry.returned, is_acknowledged, region }))
    }

    fn is_over_before(&self, tick: Tick) -> bool {
        self.is_acknowledged && self.returned < tick
    }

    /// Whether it may take effect between the two ticks.
    fn may_happen_in(&self, from: Tick, to: Tick) -> bool {
        self.returned >= from && self.invoked <= to
    }
}

/// What is wrong, and with which regions.
type Wrong = (String, Vec<u64>);

/// The changes of a run, by region, and its lookups.
struct Run<'a> {
    writes: BTreeMap<u64, Vec<Write<'a>>>,
    lookups: Vec<&'a Entry>,
}

impl Run<'_> {
    /// What was told to anybody had happened by then.
    fn note_told(&mut self, entry: &Entry) {
        let told = match &entry.answer {
            Answer::Found(Some(region)) => std::slice::from_ref(region),
            Answer::Scanned(regions, _) => regions,
            _ => return,
        };
        for region in told {
            let writes = self.writes.get_mut(&region.id).into_iter().flatten();
            let mut reports = writes.filter(|write| write.region == Some(region));
            if let (Some(report), None) = (reports.next(), reports.next()) {
                report.is_acknowledged = true;
                report.returned = report.returned.min(entry.returned);
            }
        }
    }

    fn check(&self, entry: &Entry) -> Result<(), Wrong> {
        match (&entry.call, &entry.answer) {
            (Call::Put(region), Answer::Accepted) => {
                if self.is_stale(region, entry) {
                    let what = format!("accepted, though a newer epoch was acknowledged: {}", brief(region));
                    return Err((what, vec![region.id]));
                }
                self.check_free(range(region), &[region.id], entry)
            }
            (Call::Put(region), Answer::Refused) => {
                let in_the_way = |other: &RegionMeta| match other.id == region.id {
                    true => epoch(other) > epoch(region),
                    false => overlap(range(other), range(region)),
                };
                let may_be_there = |(id, writes): (&u64, &Vec<Write>)| {
                    let mut regions = writes.iter().filter_map(|write| write.region);
                    regions.any(|other| in_the_way(other) && self.may_be_there(*id, other, entry))
                };
                match self.writes.iter().any(may_be_there) {
                    true => Ok(()),
                    false => {
                        Err((format!("refused, though nothing is in its way: {}", brief(region)), vec![region.id]))
                    }
                }
            }
            (Call::Remove(id), Answer::Removed(true)) => {
                let mut regions = self.of(*id).iter().filter_map(|write| write.region);
                match regions.any(|region| self.may_be_there(*id, region, entry)) {
                    true => Ok(()),
                    false => Err((format!("region {id} was removed, but was not there"), vec![*id])),
                }
            }
            (Call::Remove(id), Answer::Removed(false)) => match self.is_there(*id, ALL_KEYS, entry) {
                Some(region) => Err((format!("a removal did not find {}", brief(region)), vec![*id])),
                None => Ok(()),
            },
            (Call::Lookup(key), Answer::Found(found)) => {
                if let Some(found) = found {
                    if !contains(range(found), key) {
                        return Err((format!("the route does not hold its key: {}", brief(found)), vec![found.id]));
                    }
                    self.check_told(found, entry)?;
                }
                let after: Vec<u8> = [key, &b"\0"[..]].concat();
                self.check_free((key, &after), found.as_ref().map(|found| found.id).as_slice(), entry)
            }
            (Call::Scan(start, end), Answer::Scanned(regions, more)) => {
                for pair in regions.windows(2) {
                    if pair[0].end_key.is_empty() || pair[0].end_key > pair[1].start_key {
                        let what = format!("two regions overlap: {} and {}", brief(&pair[0]), brief(&pair[1]));
                        return Err((what, vec![pair[0].id, pair[1].id]));
                    }
                }
                let mut ids: Vec<u64> = regions.iter().map(|region| region.id).collect();
                for region in regions {
                    self.check_told(region, entry)?;
                }
                let told_to = match regions.last() {
                    Some(last) if *more => &last.end_key,
                    _ => end,
                };
                ids.sort_unstable();
                if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err((format!("region {} is told twice", pair[0]), vec![pair[0]]));
                }
                self.check_free((start, told_to), &ids, entry)
            }
            _ => Ok(()),
        }
    }

    fn of(&self, id: u64) -> &[Write<'_>] {
        self.writes.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Checks a region that was told.
    fn check_told(&self, region: &RegionMeta, entry: &Entry) -> Result<(), Wrong> {
        let mut reports = self.of(region.id).iter().filter(|write| write.region == Some(region)).peekable();
        let what = if reports.peek().is_none() {
            "was told, but nobody reported it, or it was refused"
        } else if reports.all(|write| write.invoked > entry.returned) {
            "was told before it was reported"
        } else if self.is_stale(region, entry) {
            "was told, though a newer epoch was acknowledged"
        } else if !self.may_be_there(region.id, region, entry) {
            "was told, though it was replaced or removed"
        } else if self.is_over(region, entry) {
            "was told, though an earlier lookup showed that it is gone"
        } else {
            return Ok(());
        };
        Err((format!("{} {what}", brief(region)), vec![region.id]))
    }

    /// Checks that no region but those named is certain to hold keys of the range.
    fn check_free(&self, keys: Range<'_>, but: &[u64], entry: &Entry) -> Result<(), Wrong> {
        for &id in self.writes.keys().filter(|id| !but.contains(id)) {
            if let Some(region) = self.is_there(id, keys, entry) {
                let what = format!("{} was acknowledged and is in nobody's way, but is not there", brief(region));
                return Err((what, but.iter().copied().take(3).chain([id]).collect()));
            }
        }
        Ok(())
    }

    /// The region, if it is certain to hold keys of the range all the time that the entry took.
    fn is_there(&self, id: u64, keys: Range<'_>, entry: &Entry) -> Option<&RegionMeta> {
        // An earlier change is no better: whatever may undo this one may undo that one too.
        let over = self.of(id).iter().filter(|write| write.is_over_before(entry.invoked));
        let last = over.max_by_key(|write| write.invoked)?;
        let holds = |write: &Write| write.region.is_some_and(|region| overlap(range(region), keys));
        let mut around = self.of(id).iter().filter(|write| write.may_happen_in(last.invoked, entry.returned));
        around.all(holds).then_some(last.region)?
    }

    /// Whether the region may be there, as it is given, at some moment of the entry's time.
    fn may_be_there(&self, id: u64, region: &RegionMeta, entry: &Entry) -> bool {
        let is_undone = |write: &Write| {
            self.of(id).iter().any(|other| {
                other.is_over_before(entry.invoked) && write.is_acknowledged && write.returned < other.invoked
            })
        };
        let mut reports = self.of(id).iter().filter(|write| write.region == Some(region));
        reports.any(|write| write.invoked < entry.returned && !is_undone(write)) && !self.is_stale(region, entry)
    }

    /// Whether a lookup behind all reports of the region, and in front of the entry, showed that it is not there.
    fn is_over(&self, region: &RegionMeta, entry: &Entry) -> bool {
        let reports = self.of(region.id).iter().filter(|write| write.region == Some(region));
        let reported = reports.map(|write| write.returned).max().unwrap_or(NEVER);
        let shows = |lookup: &&Entry| match (&lookup.call, &lookup.answer) {
            (Call::Lookup(key), Answer::Found(found)) => contains(range(region), key) && found.as_ref() != Some(region),
            _ => false,
        };
        let mut between =
            self.lookups.iter().filter(|lookup| lookup.invoked > reported && lookup.returned < entry.invoked);
        between.any(shows)
    }

    /// Whether a newer epoch is certain to be known for the region, and not forgotten by a removal.
    fn is_stale(&self, region: &RegionMeta, entry: &Entry) -> bool {
        let writes = self.of(region.id);
        let is_newer = |write: &&Write| write.region.is_some_and(|other| epoch(other) > epoch(region));
        let is_forgotten = |newer: &Write| {
            let mut removals = writes.iter().filter(|write| write.region.is_none());
            removals.any(|removal| removal.may_happen_in(newer.invoked, entry.returned))
        };
        let mut newer = writes.iter().filter(is_newer).filter(|write| write.is_over_before(entry.invoked));
        newer.any(|newer| !is_forgotten(newer))
    }
}

fn range(region: &RegionMeta) -> Range<'_> {
    (&region.start_key, &region.end_key)
}

fn epoch(region: &RegionMeta) -> (u64, u64) {
    (region.epoch_version, region.epoch_conf_version)
}

fn overlap(a: Range<'_>, b: Range<'_>) -> bool {
    (a.1.is_empty() || b.0 < a.1) && (b.1.is_empty() || a.0 < b.1)
}

fn contains(range: Range<'_>, key: &[u8]) -> bool {
    range.0 <= key && (range.1.is_empty() || key < range.1)
}
