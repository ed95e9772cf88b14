//! A caller of the mixed load: takes values, tells of regions that split, merge, grow, shrink and go, asks for routes, and notes
//! everything. All callers work on the same regions: what one knows of a region is what the last lookup said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use grpcio::{CallOption, ClientDuplexReceiver, ClientDuplexSender, RpcStatusCode, WriteFlags};
use pd_lite::proto::pd::{RegionMeta, RegionPeer, TsoRequest, TsoResponse};
use pd_lite::proto::pdlite::{GetRegionsByKeysRequest, RegionHeartbeatsRequest, ScanRegionsRequest};
use pd_lite::proto::pdlite_methods as methods;

use super::history::{Answer, Call, Clock, Entry, Kind, NEVER, Tick};
use crate::support::rng::Rng;
use crate::support::{Client, Failure};

/// Borders between regions. Those of the upper half are long: a change there is a record of some thousand bytes.
const BORDERS: u64 = 48;
const LONG_FROM: u64 = BORDERS / 2;
/// Bytes of a long border.
const LONG_LEN: usize = 3_000;
/// Region ids in use, so few that a removed one soon comes again.
const IDS: u64 = 40;
/// Timestamps asked for at a time over a stream.
const STREAMED: usize = 4;
/// A stream lasts for a whole run, which takes minutes on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// What all callers share.
#[derive(Default)]
pub struct Shared {
    pub clock: Clock,
    /// The last peer id that was used: it tells each report from all others.
    peers: AtomicU64,
    /// Acknowledged changes of regions, and answers with values, of this run.
    pub changes: AtomicU64,
    pub values: AtomicU64,
}

/// What came of a caller.
pub struct Ended {
    pub entries: Vec<Entry>,
    /// Of its last call, and when that failed.
    pub code: RpcStatusCode,
    pub returned: Tick,
}

pub struct Caller<'a> {
    number: u64,
    shared: &'a Shared,
    client: Client,
    rng: Rng,
    /// Whether most changes are of the regions with long borders.
    is_heavy: bool,
    stream: Option<(ClientDuplexSender<TsoRequest>, ClientDuplexReceiver<TsoResponse>)>,
    entries: Vec<Entry>,
}

impl<'a> Caller<'a> {
    pub fn new(number: u64, shared: &'a Shared, client: Client, rng: Rng, is_heavy: bool) -> Self {
        Self { number, shared, client, rng, is_heavy, stream: None, entries: Vec::new() }
    }

    /// Works until a call fails that no rule of the catalog refuses.
    pub fn run(mut self) -> Ended {
        loop {
            if let Err(failure) = self.step() {
                let returned = self.shared.clock.tick();
                return Ended { entries: self.entries, code: failure.code, returned };
            }
        }
    }

    fn step(&mut self) -> Result<(), Failure> {
        match self.rng.below(16) {
            0 | 1 => self.take(Kind::Timestamp),
            2 => self.take(Kind::Id),
            3 => self.take_streamed(),
            4 => {
                let (store, regions, leaders) = (1 + self.rng.below(3), self.rng.below(30), self.rng.below(9));
                self.client.store(store, regions, leaders).map(drop)
            }
            5 => self.look_up_many(),
            6 => self.scan(),
            _ => self.change(),
        }
    }

    fn take(&mut self, kind: Kind) -> Result<(), Failure> {
        let count = self.count();
        let invoked = self.shared.clock.tick();
        let first = match kind {
            Kind::Timestamp => self.client.tso(count),
            Kind::Id => self.client.alloc_id(count),
        };
        self.note(invoked, Call::Take(kind, count), first.map(Answer::First))
    }

    fn count(&mut self) -> u64 {
        match self.rng.below(40) {
            0 => 0,
            1 => 100_000,
            2 | 3 => 3_000,
            _ => 1 + self.rng.below(50),
        }
    }

    /// Sends several requests before it reads the answers.
    fn take_streamed(&mut self) -> Result<(), Failure> {
        let counts: Vec<u64> = (0..STREAMED).map(|_| self.count()).collect();
        let (requests, answers) = self.stream.get_or_insert_with(|| {
            let option = CallOption::default().timeout(RUN_MAX);
            self.client.raw().duplex_streaming(&methods::TSO, option).expect("a stream is opened by its first request")
        });
        let mut invoked = Vec::new();
        // grpcio panics when one goes on with a stream that has ended. Its answers tell why it has.
        let mut takes_more = true;
        for &count in &counts {
            invoked.push(self.shared.clock.tick());
            let request = TsoRequest { count, ..Default::default() };
            takes_more = takes_more && pollster::block_on(requests.send((request, WriteFlags::default()))).is_ok();
        }
        let mut failure = None;
        let mut results = Vec::new();
        for _ in &counts {
            let result = match &failure {
                Some(failure) => Err(Failure::clone(failure)),
                None => streamed(pollster::block_on(answers.next())),
            };
            failure = result.as_ref().err().cloned();
            results.push((result, self.shared.clock.tick()));
        }
        for ((count, invoked), (result, returned)) in counts.into_iter().zip(invoked).zip(results) {
            let _ = self.note_at(invoked, returned, Call::Take(Kind::Timestamp, count), result.map(Answer::First));
        }
        failure.map_or(Ok(()), Err)
    }

    fn look_up(&mut self, key: Vec<u8>) -> Result<Option<RegionMeta>, Failure> {
        let invoked = self.shared.clock.tick();
        let found = self.client.lookup(&key);
        self.note(invoked, Call::Lookup(key), found.clone().map(Answer::Found))?;
        found
    }

    fn look_up_many(&mut self) -> Result<(), Failure> {
        let keys: Vec<Vec<u8>> = (0..4).map(|_| self.key()).collect();
        let request = GetRegionsByKeysRequest { keys: keys.clone(), ..Default::default() };
        let invoked = self.shared.clock.tick();
        let response = self.client.call(&methods::GET_REGIONS_BY_KEYS, &request);
        let returned = self.shared.clock.tick();
        for (key, found) in keys.into_iter().zip(response?.results) {
            assert_eq!(found.region.is_none(), found.not_found);
            let answer = Answer::Found(found.region.into_option());
            self.note_at(invoked, returned, Call::Lookup(key), Ok(answer))?;
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<(), Failure> {
        let from = self.rng.below(BORDERS);
        let to = from + 1 + self.rng.below(BORDERS - from);
        let limit = 1 + self.rng.below(9);
        self.scan_range(border(from), border(to), limit).map(drop)
    }

    fn scan_range(&mut self, start: Vec<u8>, end: Vec<u8>, limit: u64) -> Result<(Vec<RegionMeta>, bool), Failure> {
        let limit = u32::try_from(limit).expect("a short list");
        let request =
            ScanRegionsRequest { start_key: start.clone(), end_key: end.clone(), limit, ..Default::default() };
        let invoked = self.shared.clock.tick();
        let scanned = self.client.call(&methods::SCAN_REGIONS, &request).map(|answer| (answer.regions, answer.more));
        let noted = scanned.clone().map(|(regions, more)| Answer::Scanned(regions, more));
        self.note(invoked, Call::Scan(start, end), noted)?;
        scanned
    }

    /// Looks at everything, while nobody else calls: all regions, the route of every border, and a value of each kind.
    /// Returns the regions.
    pub fn look_at_all(mut self) -> Result<(Vec<Entry>, Vec<RegionMeta>), Failure> {
        let mut regions: Vec<RegionMeta> = Vec::new();
        loop {
            let start = regions.last().map_or_else(Vec::new, |last| last.end_key.clone());
            let (slice, more) = self.scan_range(start, Vec::new(), 0)?;
            regions.extend(slice);
            if !more {
                break;
            }
        }
        for at in 0..BORDERS {
            self.look_up(border(at))?;
        }
        self.take(Kind::Timestamp)?;
        self.take(Kind::Id)?;
        Ok((self.entries, regions))
    }

    /// Changes regions as their stores would report it, or as no sane store would.
    fn change(&mut self) -> Result<(), Failure> {
        let key = self.key();
        let Some(mut found) = self.look_up(key.clone())? else {
            let start = number(&key);
            let end = start + 1 + self.rng.below(3);
            let (id, version) = (self.id(), self.rng.below(4));
            return self.put(self.region(id, start, end, (version, 1)));
        };
        let (start, end) = (number(&found.start_key), end_number(&found.end_key));
        let (version, conf_version) = (found.epoch_version, found.epoch_conf_version);
        match self.rng.below(12) {
            // A split: the child is new, or takes over an id that was removed.
            0 | 1 if end - start > 1 => {
                let middle = start + 1 + self.rng.below(end - start - 1);
                let child = self.id();
                let parent = self.region(found.id, start, middle, (version + 1, conf_version));
                let child = self.region(child, middle, end, (version + 1, conf_version));
                if self.rng.below(2) == 0 {
                    return self.put_all(vec![parent, child]);
                }
                self.put(parent)?;
                self.put(child)
            }
            // A merge with the neighbour on the right.
            2 | 3 if end < BORDERS => {
                let Some(neighbour) = self.look_up(border(end))? else { return self.grow(&found, end) };
                self.remove(neighbour.id)?;
                self.grow(&found, end_number(&neighbour.end_key))
            }
            // What each of three replicas says.
            4 => self.put_all(vec![found.clone(), found]),
            5 => self.put(found),
            6 => self.put(self.region(found.id, start, end, (version, conf_version + 1))),
            7 => self.put(self.region(found.id, start, end, (version, conf_version))),
            8 => {
                found.epoch_version = version.saturating_sub(self.rng.below(2));
                found.peers.truncate(1);
                self.put(found)
            }
            9 => self.remove(found.id),
            10 => {
                let id = self.id();
                self.remove(id)
            }
            _ => {
                let start = self.rng.below(BORDERS);
                let (id, end) = (self.id(), start + 1 + self.rng.below(4));
                let other_id = self.id();
                let epoch = (self.rng.below(version + 3), conf_version);
                let regions = [id, other_id].map(|id| self.region(id, start, end, epoch));
                self.put_all(regions.into())
            }
        }
    }

    /// Lets a region reach up to a border further right.
    fn grow(&mut self, region: &RegionMeta, end: u64) -> Result<(), Failure> {
        let end = (end + self.rng.below(2)).min(BORDERS);
        let epoch = (region.epoch_version + 1, region.epoch_conf_version);
        self.put(self.region(region.id, number(&region.start_key), end, epoch))
    }

    /// A region that nobody has reported before.
    fn region(&self, id: u64, start: u64, end: u64, (version, conf_version): (u64, u64)) -> RegionMeta {
        let used = self.shared.peers.fetch_add(3, Ordering::Relaxed);
        let peer = |store_id| RegionPeer { store_id, peer_id: used + store_id, ..Default::default() };
        RegionMeta {
            id,
            start_key: border(start),
            end_key: border(end.min(BORDERS)),
            epoch_version: version,
            epoch_conf_version: conf_version,
            peers: (1..=3).map(peer).collect(),
            ..Default::default()
        }
    }

    fn put(&mut self, region: RegionMeta) -> Result<(), Failure> {
        let invoked = self.shared.clock.tick();
        let answer = match self.client.put(&region) {
            Err(failure) if failure.code == RpcStatusCode::FAILED_PRECONDITION => Ok(Answer::Refused),
            answer => answer.map(|()| Answer::Accepted),
        };
        self.note(invoked, Call::Put(region), answer)
    }

    /// Several heartbeats in one call.
    fn put_all(&mut self, regions: Vec<RegionMeta>) -> Result<(), Failure> {
        let request = RegionHeartbeatsRequest { regions: regions.clone(), ..Default::default() };
        let invoked = self.shared.clock.tick();
        let response = self.client.call(&methods::REGION_HEARTBEATS, &request);
        let returned = self.shared.clock.tick();
        let verdicts = response.map(|answer| {
            let codes = answer.verdicts.iter().map(|verdict| i32::try_from(verdict.code).expect("a small number"));
            codes.map(RpcStatusCode::from).collect::<Vec<_>>()
        });
        let mut failed = None;
        for (at, region) in regions.into_iter().enumerate() {
            let answer = match verdicts.as_ref().map(|codes| codes[at]) {
                Ok(RpcStatusCode::OK) => Ok(Answer::Accepted),
                Ok(RpcStatusCode::FAILED_PRECONDITION) => Ok(Answer::Refused),
                Ok(code) => Err(Failure { code, message: "a verdict".into() }),
                Err(failure) => Err(failure.clone()),
            };
            self.note_at(invoked, returned, Call::Put(region), answer).unwrap_or_else(|failure| failed = Some(failure));
        }
        failed.map_or(Ok(()), Err)
    }

    fn remove(&mut self, id: u64) -> Result<(), Failure> {
        let invoked = self.shared.clock.tick();
        let answer = self.client.remove(id).map(Answer::Removed);
        self.note(invoked, Call::Remove(id), answer)
    }

    fn note(&mut self, invoked: Tick, call: Call, answer: Result<Answer, Failure>) -> Result<(), Failure> {
        let returned = self.shared.clock.tick();
        self.note_at(invoked, returned, call, answer)
    }

    fn note_at(
        &mut self,
        invoked: Tick,
        returned: Tick,
        call: Call,
        answer: Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        match answer {
            Ok(Answer::Accepted | Answer::Removed(true)) => _ = self.shared.changes.fetch_add(1, Ordering::Relaxed),
            Ok(Answer::First(_)) => _ = self.shared.values.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
        let (answer, returned, result) = match answer {
            Ok(answer) => (answer, returned, Ok(())),
            Err(failure) => (Answer::Unknown, NEVER, Err(failure)),
        };
        self.entries.push(Entry { caller: self.number, invoked, returned, call, answer });
        result
    }

    fn id(&mut self) -> u64 {
        1 + self.rng.below(IDS)
    }

    fn key(&mut self) -> Vec<u8> {
        let mostly_long = self.rng.below(10) < if self.is_heavy { 9 } else { 1 };
        let at = self.rng.below(BORDERS - LONG_FROM);
        let mut key = border(if mostly_long { LONG_FROM + at } else { at });
        if self.rng.below(2) == 0 {
            key.push(b'.');
        }
        key
    }
}

/// The first timestamp of the next answer of a stream.
fn streamed(answer: Option<grpcio::Result<TsoResponse>>) -> Result<u64, Failure> {
    let (code, message) = match answer {
        Some(Ok(answer)) => return Ok(answer.timestamp),
        Some(Err(grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status)))) => {
            (status.code(), status.message().to_owned())
        }
        Some(Err(other)) => (RpcStatusCode::UNKNOWN, other.to_string()),
        None => (RpcStatusCode::OK, "the stream has ended".to_owned()),
    };
    Err(Failure { code, message })
}

/// The key of a border. The first and the last one are the ends of the key space.
fn border(number: u64) -> Vec<u8> {
    match number {
        0 | BORDERS => Vec::new(),
        _ => {
            let mut key = format!("b{number:02}").into_bytes();
            if number >= LONG_FROM {
                key.resize(LONG_LEN, b'-');
            }
            key
        }
    }
}

/// The border that a key is at or behind.
fn number(key: &[u8]) -> u64 {
    let digits = key.get(1..3).map(|digits| std::str::from_utf8(digits).expect("a key of this file"));
    digits.map_or(0, |digits| digits.parse().expect("a key of this file"))
}

fn end_number(key: &[u8]) -> u64 {
    if key.is_empty() { BORDERS } else { number(key) }
}
