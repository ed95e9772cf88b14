//! The thread of a store. See the module's page for the protocol.
//!
//! Loop: begin a round when it is due; follow the placement driver's hints that have come since; then wait for an event, but
//! not beyond the next look at the hints. It ends by [`Running::stop`], or when the disk fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use futures::channel::oneshot;

use super::leads::Offer;
use super::links::Link;
use super::pd_line::PdLine;
use super::setup::{Kept, Ready, Setup};
use super::store::{Answer, Message, Outside, Store};
use super::wire::Door;
use crate::client::StoreClient;
use crate::core::{Lead, LeadRow, Region, RegionId, StoreId, StoreStats};
use crate::server::StoreCalls;
use crate::storage::StorageError;
use crate::storage::leads::SaveError;

/// Events that may wait; a call that finds the queue full is to be made again.
const EVENTS_MAX: usize = 1024;
/// For so many rounds a removal is said again while the placement driver refuses something.
const ROUNDS_OF_REMOVAL: u32 = 10;
/// So often a round's time the store looks for hints: the answer to its heartbeat is on its way while it waits.
const LOOKS: u32 = 10;

/// What reaches a store.
pub(super) enum Event {
    /// Another store offers a lead.
    TakeLead {
        source: StoreId,
        region: RegionId,
        term: u64,
        reply: oneshot::Sender<Option<Lead>>,
    },
    /// Another store tells its leads.
    ShareLeads {
        source: StoreId,
        told: Vec<(RegionId, Lead)>,
        reply: oneshot::Sender<Vec<(RegionId, Lead)>>,
    },
    /// Another store has answered. `taken_in` is dropped once it is dealt with.
    Answered {
        source: StoreId,
        answer: Answer,
        taken_in: Sender<()>,
    },
    Stop,
}

/// Where a store's events come in, before it runs.
pub struct Inbox {
    store: StoreId,
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

/// A store that runs. Dropping it ends nothing: the process is about to.
pub struct Running {
    events: Sender<Event>,
    thread: JoinHandle<()>,
    fatal: Receiver<StorageError>,
}

impl Inbox {
    #[must_use]
    pub fn new(store: StoreId) -> Self {
        let (sender, receiver) = bounded(EVENTS_MAX);
        Self { store, sender, receiver }
    }

    /// What a server calls for the other stores. Calls wait until the store runs.
    #[must_use]
    pub fn door(&self) -> Arc<dyn StoreCalls> {
        Arc::new(Door::new(self.store, self.sender.clone()))
    }
}

impl Running {
    /// Makes everything durable that the store begins with, and starts it: a round every `round` over `pd`, and the
    /// calls to `others`.
    ///
    /// # Errors
    ///
    /// What the workdir meets, or `Io` when a thread cannot be started.
    pub fn start(
        setup: Setup,
        inbox: Inbox,
        others: BTreeMap<StoreId, StoreClient>,
        pd: PdLine,
        round: Duration,
    ) -> Result<Self, StorageError> {
        let path = setup.workdir().to_owned();
        let Ready { kept, leads } = setup.commit()?;
        for row in &kept.gone {
            log::info!("store {}: region {} is gone; the PD is told to forget it", leads.store(), row.region);
            pd.adapter.remove_region(row.region);
        }
        let start = || -> io::Result<Self> {
            let Inbox { store, sender, receiver } = inbox;
            let link = |(target, client)| Ok((target, Link::start(store, target, client, sender.clone())?));
            let links: BTreeMap<StoreId, Link> = others.into_iter().map(link).collect::<io::Result<_>>()?;
            let others = links.keys().copied().collect();
            let store = Store::new(leads, others, World { kept, pd, links, rounds: 0, has_space: true });
            let (fatal_sender, fatal) = bounded(1);
            let run = move || {
                if let Err(error) = (Life { store }).run(&receiver, round) {
                    let _ = fatal_sender.try_send(error);
                }
            };
            let thread = thread::Builder::new().name("store".to_owned()).spawn(run)?;
            Ok(Self { events: sender, thread, fatal })
        };
        start().map_err(|source| StorageError::Io { action: "start the threads of", path, source })
    }

    /// Gets the error that ends the store, if one does.
    #[must_use]
    pub fn fatal(&self) -> &Receiver<StorageError> {
        &self.fatal
    }

    /// Ends the store, and its adapter, which tells the placement driver what it has not been told, for a while. Calls of
    /// other stores fail from now on.
    pub fn stop(self) {
        // An error means that it has ended already.
        let _ = self.events.send(Event::Stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

struct World {
    kept: Kept,
    pd: PdLine,
    links: BTreeMap<StoreId, Link>,
    /// Rounds in which some region was gone.
    rounds: u32,
    /// Whether the last rows could be saved.
    has_space: bool,
}

impl Outside for World {
    fn save(&mut self, rows: &mut dyn Iterator<Item = LeadRow>) -> Result<(), SaveError> {
        let saved = self.kept.save(rows);
        let has_space = !matches!(saved, Err(SaveError::NoSpace(_)));
        // The first failure is logged, and the first success after it.
        match &saved {
            Err(SaveError::NoSpace(error)) if self.has_space => {
                log::warn!("no lead changes until there is space: {error}")
            }
            Ok(()) if !self.has_space => log::warn!("there is space again, and leads change"),
            _ => {}
        }
        self.has_space = has_space;
        saved
    }

    fn report_region(&mut self, region: Region) {
        self.pd.adapter.region_heartbeat(region);
    }

    fn report_store(&mut self, store: StoreId, stats: StoreStats) {
        self.pd.adapter.store_heartbeat(store, stats);
    }

    fn send(&mut self, store: StoreId, message: Message) {
        if let Some(link) = self.links.get(&store) {
            link.send(message);
        }
    }

    fn withdraw(&mut self, offer: Offer) {
        if let Some(link) = self.links.get(&offer.target) {
            link.withdraw(offer);
        }
    }
}

/// A store on its thread.
struct Life {
    store: Store<World>,
}

impl Life {
    fn run(&mut self, events: &Receiver<Event>, round: Duration) -> Result<(), StorageError> {
        let mut due = Instant::now();
        loop {
            if due <= Instant::now() {
                self.store.outside().pd.note_answers();
                self.forget_gone()?;
                self.store.round();
                due = Instant::now() + round;
            }
            for hint in self.store.outside().pd.adapter.plan() {
                unless_full(self.store.follow(&hint))?;
            }
            let wait = due.saturating_duration_since(Instant::now()).min(round / LOOKS);
            match events.recv_timeout(wait) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.store.outside().pd.adapter.stop();
                    return Ok(());
                }
                Ok(event) => self.take_in(event)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// A caller whose event is not saved gets no answer.
    fn take_in(&mut self, event: Event) -> Result<(), StorageError> {
        match event {
            Event::TakeLead { source, region, term, reply } => {
                unless_full(self.store.take(source, region, term))?.map(|lead| reply.send(lead));
            }
            Event::ShareLeads { source, told, reply } => {
                unless_full(self.store.share(source, &told))?.map(|newer| reply.send(newer));
            }
            Event::Answered { source, answer, taken_in: _taken_in } => {
                unless_full(self.store.answered(source, &answer))?;
            }
            Event::Stop => {}
        }
        Ok(())
    }

    /// Takes the row of each region that is gone out of the file once the placement driver has forgotten it. Not at once, where
    /// it refuses something: another store that has not heard of a merge may have reported the region again, in the way of what
    /// took its place, so the removal is said again, for some rounds. And not later, whatever is refused then: with a row that
    /// stays the region would be removed at each start, also when its id is back in use.
    fn forget_gone(&mut self) -> Result<(), StorageError> {
        let world = self.store.outside();
        let gone = world.kept.gone.len();
        let adapter = &world.pd.adapter;
        if world.kept.gone.is_empty() {
            return Ok(());
        }
        world.rounds = world.rounds.saturating_add(1);
        if world.rounds <= ROUNDS_OF_REMOVAL && adapter.unacknowledged() > 0 {
            world.kept.gone.iter().for_each(|row| adapter.remove_region(row.region));
            return Ok(());
        }
        world.kept.gone.retain(|row| adapter.removal_is_pending(row.region));
        if world.kept.gone.len() == gone {
            return Ok(());
        }
        unless_full(self.store.save_again()).map(drop)
    }
}

/// `None`: there was no space, which is not the store's end.
fn unless_full<T>(result: Result<T, SaveError>) -> Result<Option<T>, StorageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SaveError::NoSpace(_)) => Ok(None),
        Err(SaveError::Final(error)) => Err(error),
    }
}
