//! Misses share lookups: one call of the source at a time, for all that wait.
//!
//! Who misses first leads: it makes the call, takes the answers into the cache and hands them out. Who misses meanwhile waits.
//! When the call is over, those that wait look at the cache again; of those that still miss, the first one leads the next
//! call, with the keys of all. So threads that miss one region make one call, and however many miss at once, about two.
//!
//! A miss takes part in a call that is sent after it began, never in one under way. What is invalidated during a call is kept
//! out of the cache when the call brings it: no hit and no later miss is answered with it.
//!
//! A call that fails fails its own misses. When the source panics, the panic goes through the caller that led, and another
//! one makes the call again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crossbeam_channel::Sender;

use super::{RegionSource, Router};
use crate::client::Error;
use crate::core::{Epoch, Region, RegionId};

/// Keys of one call ...
pub(super) const KEYS_MAX: usize = 1024;
/// ... and their bytes, but for a longer key, which goes alone: should it be too long for the source, nobody else fails.
const KEYS_BYTES_MAX: usize = 16 << 10;

type Found = Result<Option<Arc<Region>>, Error>;

/// The misses under way.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// Somebody makes a call, or is about to.
    led: bool,
    /// Misses that no call was sent for yet, the oldest first. Empty when nobody leads.
    waiting: VecDeque<Waiter>,
    /// What was invalidated since the call under way was put together.
    invalid: HashMap<RegionId, Epoch>,
}

/// A miss whose thread waits for its turn.
#[derive(Debug)]
struct Waiter {
    key: Box<[u8]>,
    turn: Sender<Turn>,
}

/// Why a thread that waits is woken.
enum Turn {
    Answered(Found),
    /// It leads the next call. It is not among those that wait any more.
    Lead,
}

impl Lookups {
    /// Remembers, while a call is under way, what it must not bring back.
    pub(super) fn note_invalid(&mut self, id: RegionId, epoch: Epoch) {
        if self.led {
            let highest = self.invalid.entry(id).or_insert(epoch);
            *highest = epoch.max(*highest);
        }
    }

    fn is_invalid(&self, region: &Region) -> bool {
        self.invalid.get(&region.id()).is_some_and(|epoch| region.epoch() <= *epoch)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Waiter {
    fn wake(&self, turn: Turn) {
        // It has room for the one turn, and its thread waits for that.
        let _ = self.turn.try_send(turn);
    }
}

impl<S: RegionSource> Router<S> {
    /// Answers a miss.
    pub(super) fn look_up(&self, key: &[u8]) -> Found {
        let turn = {
            let mut lookups = self.lookups();
            // Whoever led may have brought it since the caller looked.
            if let Some(region) = self.cached(key) {
                return Ok(Some(region));
            }
            if mem::replace(&mut lookups.led, true) {
                let (sender, turn) = crossbeam_channel::bounded(1);
                lookups.waiting.push_back(Waiter { key: key.into(), turn: sender });
                Some(turn)
            } else {
                None
            }
        };
        match turn.map(|turn| turn.recv().expect("a waiter goes when it is answered or leads, even after a panic")) {
            Some(Turn::Answered(found)) => found,
            Some(Turn::Lead) | None => self.lead(key),
        }
    }

    /// Makes a call for `key` and for all that wait.
    fn lead(&self, key: &[u8]) -> Found {
        let mut call = Call { router: self, joined: self.join(key) };
        let mut keys: Vec<&[u8]> = call.joined.iter().map(|waiter| &waiter.key[..]).chain([key]).collect();
        keys.sort_unstable();
        keys.dedup();
        let answers: Vec<Found> = match self.ask(&keys) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            // A key is too long for a message: the other keys are not to blame.
            Err(Error::Invalid(_)) if keys.len() > 1 => {
                keys.iter().map(|key| Ok(self.ask(&[key])?.remove(0))).collect()
            }
            Err(error) => vec![Err(error); keys.len()],
        };
        self.take_in(answers.iter().filter_map(|answer| answer.as_ref().ok()?.as_ref()));
        let found = |key: &[u8]| {
            let at = keys.binary_search(&key).expect("each of these keys was asked for");
            // Of two answers that exclude each other, the cache has the one that counts.
            answers[at].clone().map(|answer| self.cached(key).or(answer))
        };
        call.joined.iter().for_each(|waiter| waiter.wake(Turn::Answered(found(&waiter.key))));
        let own = found(key);
        call.joined.clear();
        own
    }

    /// Puts a call together: those that wait and have room beside `key`.
    fn join(&self, key: &[u8]) -> Vec<Waiter> {
        let mut lookups = self.lookups();
        lookups.invalid.clear();
        let mut bytes = key.len();
        let room = lookups.waiting.iter().take(KEYS_MAX - 1).take_while(|waiter| {
            bytes += waiter.key.len();
            bytes <= KEYS_BYTES_MAX
        });
        let count = room.count();
        lookups.waiting.drain(..count).collect()
    }

    /// As many answers as `keys`.
    fn ask(&self, keys: &[&[u8]]) -> Result<Vec<Option<Arc<Region>>>, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.source.regions_by_keys(keys).and_then(|answers| check(keys, answers))
    }

    fn take_in<'a>(&self, regions: impl Iterator<Item = &'a Arc<Region>>) {
        let lookups = self.lookups();
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        for region in regions.filter(|region| !lookups.is_invalid(region)) {
            cache.put(Arc::clone(region));
        }
    }
}

/// A call under way. When it goes, the next one is led by one of those that wait, if any do.
struct Call<'a, S: RegionSource> {
    router: &'a Router<S>,
    /// Those that take part and have no answer yet, beside the one that leads.
    joined: Vec<Waiter>,
}

impl<S: RegionSource> Drop for Call<'_, S> {
    fn drop(&mut self) {
        let mut waiting = mem::take(&mut self.router.lookups().waiting);
        waiting.retain(|waiter| match self.router.cached(&waiter.key) {
            Some(region) => {
                waiter.wake(Turn::Answered(Ok(Some(region))));
                false
            }
            None => true,
        });
        let mut lookups = self.router.lookups();
        // Only a panic leaves any that joined; they are the oldest.
        let all = self.joined.drain(..).chain(waiting).chain(mem::take(&mut lookups.waiting)).collect();
        lookups.waiting = all;
        match lookups.waiting.pop_front() {
            Some(next) => next.wake(Turn::Lead),
            None => lookups.led = false,
        }
    }
}

/// The answers, shared, if they are answers to `keys`.
fn check(keys: &[&[u8]], answers: Vec<Option<Region>>) -> Result<Vec<Option<Arc<Region>>>, Error> {
    let malformed = |reason| Err(Error::Malformed { addr: "an unknown address".to_owned(), reason });
    if answers.len() != keys.len() {
        return malformed(format!("{} answers to {} keys", answers.len(), keys.len()));
    }
    let misplaced = |(key, answer): (&&[u8], &Option<Region>)| {
        answer.as_ref().filter(|region| !region.range().contains(key)).map(Region::id)
    };
    if let Some(id) = keys.iter().zip(&answers).find_map(misplaced) {
        return malformed(format!("region {id} does not hold the key that it was given for"));
    }
    Ok(answers.into_iter().map(|answer| answer.map(Arc::new)).collect())
}
