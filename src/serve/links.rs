//! The way to another store: a thread that makes the calls, and what waits for it.
//!
//! What waits is bounded: one offer a region, and the newest leads. All of it is said again at the next round, so nothing
//! that a store fails to hear is kept for it.
//!
//! After each answer the thread waits until the store has taken it in. So no copy of an offer is on its way when that offer is
//! withdrawn: one that arrived at the target's next process might be taken, while another store has been offered the term.
//!
//! Lock order: `waiting` is the only lock, held for a look or a change.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::leads::Offer;
use super::running::Event;
use super::store::{Answer, Message};
use super::wire;
use crate::client::{Error, StoreClient};
use crate::core::{Lead, RegionId, StoreId};

/// Leads in one call: well below what a server takes.
const LEADS_MAX: usize = 1000;

/// The near end of a way to another store.
pub(super) struct Link {
    waiting: Arc<Mutex<Waiting>>,
    wake: Sender<()>,
}

#[derive(Default)]
struct Waiting {
    offers: BTreeMap<RegionId, Offer>,
    leads: Vec<(RegionId, Lead)>,
}

impl Link {
    /// Starts the thread that calls `target` for `this` store and hands the answers over as events. It ends with the link.
    pub(super) fn start(
        this: StoreId,
        target: StoreId,
        client: StoreClient,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let waiting = Arc::<Mutex<Waiting>>::default();
        let (wake, woken) = bounded(1);
        let far = Far { this, target, client, events, waiting: Arc::clone(&waiting), last: Heard::Answers };
        thread::Builder::new().name(format!("store-{target}")).spawn(move || far.run(&woken))?;
        Ok(Self { waiting, wake })
    }

    /// Hands a message over, in the place of an older one about the same.
    pub(super) fn send(&self, message: Message) {
        let mut waiting = self.waiting();
        match message {
            Message::TakeLead(offer) => drop(waiting.offers.insert(offer.region, offer)),
            Message::ShareLeads(leads) => waiting.leads = leads,
        }
        drop(waiting);
        // A full channel holds a wake-up that the thread has not seen yet.
        let _ = self.wake.try_send(());
    }

    /// Forgets an offer that waits.
    pub(super) fn withdraw(&self, offer: Offer) {
        let mut waiting = self.waiting();
        if waiting.offers.get(&offer.region) == Some(&offer) {
            waiting.offers.remove(&offer.region);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end.
struct Far {
    this: StoreId,
    target: StoreId,
    client: StoreClient,
    events: Sender<Event>,
    waiting: Arc<Mutex<Waiting>>,
    /// How the last call ended.
    last: Heard,
}

/// What a store is heard to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Answers,
    /// It refuses, or makes no sense: that does not pass by itself.
    Refuses,
    Nothing,
}

impl Heard {
    fn of(called: Result<(), &Error>) -> Self {
        match called {
            Ok(()) => Self::Answers,
            Err(Error::Refused { .. } | Error::Unsupported { .. } | Error::Malformed { .. }) => Self::Refuses,
            Err(_) => Self::Nothing,
        }
    }
}

impl Far {
    fn run(mut self, woken: &Receiver<()>) {
        for () in woken {
            while let Some(message) = self.next() {
                let called = self.call(&message);
                self.note(called.as_ref().map(drop));
            }
        }
    }

    /// Offers first: somebody waits for them.
    fn next(&self) -> Option<Message> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offer)) = waiting.offers.pop_first() {
            return Some(Message::TakeLead(offer));
        }
        let leads = std::mem::take(&mut waiting.leads);
        (!leads.is_empty()).then_some(Message::ShareLeads(leads))
    }

    fn call(&self, message: &Message) -> Result<(), Error> {
        match message {
            Message::TakeLead(offer) => {
                let answer = self.client.take_lead(&wire::take_lead_request(self.this, offer))?;
                let lead = answer.lead.as_ref().map(wire::lead);
                if let Some((region, _)) = lead.filter(|(region, _)| *region != offer.region) {
                    let reason = format!("it was offered region {}, and answers for {region}", offer.region);
                    return Err(Error::Malformed { addr: format!("store {}", self.target), reason });
                }
                self.hand_over(Answer::Lead(*offer, lead.map(|(_, lead)| lead)));
            }
            Message::ShareLeads(leads) => {
                for leads in leads.chunks(LEADS_MAX) {
                    let answer = self.client.share_leads(&wire::share_leads_request(self.this, self.target, leads))?;
                    self.hand_over(Answer::Newer(wire::leads(&answer.newer)));
                }
            }
        }
        Ok(())
    }

    /// Returns once the store has taken the answer in, or has ended.
    fn hand_over(&self, answer: Answer) {
        let (taken_in, is_taken_in) = bounded(0);
        if self.events.send(Event::Answered { source: self.target, answer, taken_in }).is_ok() {
            // What is received is that the other end is gone.
            let _ = is_taken_in.recv();
        }
    }

    /// Logs when calls begin to end otherwise than the last one.
    fn note(&mut self, called: Result<(), &Error>) {
        let Self { this, target, .. } = *self;
        let now = Heard::of(called);
        if std::mem::replace(&mut self.last, now) == now {
            return;
        }
        match (now, called) {
            (Heard::Refuses, Err(error)) => log::warn!("store {this}: store {target} takes no calls: {error}"),
            (_, Err(error)) => {
                log::info!("store {this}: store {target} does not answer");
                log::debug!("store {this}: the call to store {target} failed: {error}");
            }
            (_, Ok(())) => log::info!("store {this}: store {target} answers"),
        }
    }
}
