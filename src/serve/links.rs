//! The way to another store: a thread that makes the calls, and what waits for it.
//!
//! What waits is bounded: one offer a region, and the newest leads. All of it is said again at the next round, so nothing
//! that a store fails to hear is kept for it.
//!
//! Lock order: `waiting` is the only lock, held for a look or a change.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
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
        let far = Far { this, target, client, events, waiting: Arc::clone(&waiting), is_heard: true };
        thread::Builder::new().name(format!("store-{target}")).spawn(move || far.run(&woken))?;
        Ok(Self { waiting, wake })
    }

    /// Hands a message over, in the place of an older one about the same.
    pub(super) fn send(&self, message: Message) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Message::TakeLead(offer) => drop(waiting.offers.insert(offer.region, offer)),
            Message::ShareLeads(leads) => waiting.leads = leads,
        }
        drop(waiting);
        // A full channel holds a wake-up that the thread has not seen yet.
        let _ = self.wake.try_send(());
    }
}

/// The thread's end.
struct Far {
    this: StoreId,
    target: StoreId,
    client: StoreClient,
    events: Sender<Event>,
    waiting: Arc<Mutex<Waiting>>,
    /// Whether the last call was answered.
    is_heard: bool,
}

impl Far {
    fn run(mut self, woken: &Receiver<()>) {
        for () in woken {
            while let Some(message) = self.next() {
                let answers = self.call(&message);
                self.note(answers.as_ref().err());
                for answer in answers.into_iter().flatten() {
                    if self.events.send(Event::Answered(answer)).is_err() {
                        return;
                    }
                }
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

    fn call(&self, message: &Message) -> Result<Vec<Answer>, Error> {
        match message {
            Message::TakeLead(offer) => {
                let answer = self.client.take_lead(&wire::take_lead_request(self.this, offer))?;
                let lead = answer.lead.as_ref().map(|lead| wire::lead(lead).1);
                Ok(vec![Answer::Lead(*offer, lead)])
            }
            Message::ShareLeads(leads) => {
                let share = |leads: &[(RegionId, Lead)]| {
                    let request = wire::share_leads_request(self.this, self.target, leads);
                    self.client.share_leads(&request).map(|answer| Answer::Newer(wire::leads(&answer.newer)))
                };
                leads.chunks(LEADS_MAX).map(share).collect()
            }
        }
    }

    /// Logs the first failure, and the first success after it.
    fn note(&mut self, error: Option<&Error>) {
        let Self { this, target, .. } = *self;
        match error {
            Some(error) if std::mem::replace(&mut self.is_heard, false) => {
                log::info!("store {this}: store {target} does not answer");
                log::debug!("store {this}: the call to store {target} failed: {error}");
            }
            None if !std::mem::replace(&mut self.is_heard, true) => log::info!("store {this}: store {target} answers"),
            _ => {}
        }
    }
}
