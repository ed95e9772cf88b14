//! What a store does about what it hears: makes a lead durable, and only then acts on it.
//!
//! One thread owns a [`Store`]. Everything that reaches out of the process goes through [`Outside`], so that a test can put
//! a network behind it that loses, doubles and reorders messages, and a disk that is full.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{Lead, LeadRow, LeaderTransfer, Region, RegionId, StoreId, StoreStats};
use crate::storage::leads::SaveError;

use super::leads::{Leads, NoOffer, Offer, Take};

/// A target that has not answered an offer for so many rounds is told of.
const ROUNDS_OWED: u32 = 10;

/// A message to another store; it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    TakeLead(Offer),
    ShareLeads(Vec<(RegionId, Lead)>),
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What became of an offer: the lead that its target knows now. `None`: the target does not have the region.
    Lead(Offer, Option<Lead>),
    /// What the other store knows better.
    Newer(Vec<(RegionId, Lead)>),
}

/// The world around a store.
pub trait Outside {
    /// Makes these rows, all of the store's, durable.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`].
    fn save(&mut self, rows: &mut dyn Iterator<Item = LeadRow>) -> Result<(), SaveError>;
    /// Reports a region to the placement driver.
    fn report_region(&mut self, region: Region);
    /// Reports the store's numbers to the placement driver.
    fn report_store(&mut self, store: StoreId, stats: StoreStats);
    /// Sends a message to one of the other stores.
    fn send(&mut self, store: StoreId, message: Message);
    /// Forgets what was to be sent of an offer that is withdrawn: it must not arrive any more.
    fn withdraw(&mut self, offer: Offer);
}

/// A store: its leads and the world around it.
pub struct Store<O> {
    leads: Leads,
    others: BTreeSet<StoreId>,
    /// Stores that leads are to go to and that are not among the others: so much was logged.
    unknown: BTreeSet<StoreId>,
    /// Stores that have told what cannot be (0: all that are not among the others): so much was logged.
    doubted: BTreeSet<StoreId>,
    /// By target: an offer, and how many rounds in a row it has found without its answer.
    owed: BTreeMap<StoreId, (Offer, u32)>,
    outside: O,
}

impl<O: Outside> Store<O> {
    /// A store that tells `others` of its leads. Its rows are durable already.
    pub fn new(leads: Leads, others: BTreeSet<StoreId>, outside: O) -> Self {
        let (unknown, doubted, owed) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { leads, others, unknown, doubted, owed, outside }
    }

    #[cfg(test)]
    pub fn leads(&self) -> &Leads {
        &self.leads
    }

    pub fn outside(&mut self) -> &mut O {
        &mut self.outside
    }

    /// What is due every few seconds. To the placement driver: all regions, then the store. To the other stores: the offers
    /// that have no answer yet, and all leads.
    pub fn round(&mut self) {
        for region in self.leads.reports() {
            self.outside.report_region(region);
        }
        self.outside.report_store(self.leads.store(), self.leads.stats());
        let offers: Vec<Offer> = self.leads.offers().collect();
        self.count_owed(&offers);
        for offer in offers {
            self.send_offer(offer);
        }
        for store in &self.others {
            self.outside.send(*store, Message::ShareLeads(self.leads.shared_with(*store).collect()));
        }
    }

    /// Follows a hint of the placement driver, if it can be followed.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`]; the hint is not followed then.
    pub fn follow(&mut self, hint: &LeaderTransfer) -> Result<(), SaveError> {
        let store = self.leads.store();
        match self.leads.offer(hint) {
            Ok((row, offer)) => {
                if self.has_way_to(offer.target) {
                    self.save(&[row])?;
                    self.send_offer(offer);
                }
            }
            Err(NoOffer::Pending(Offer { target, .. })) => {
                log::debug!("store {store}: {hint:?} has to wait: store {target} has not answered an earlier offer");
            }
            Err(reason) => log::debug!("store {store}: {hint:?} is not followed: {reason:?}"),
        }
        Ok(())
    }

    /// Answers another store's offer: what this store knows now.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`]; the offer is neither taken nor refused then.
    pub fn take(&mut self, source: StoreId, region: RegionId, term: u64) -> Result<Option<Lead>, SaveError> {
        match self.leads.take(source, region, term) {
            Take::New(row) => self.save(&[row]).map(|()| Some(row.lead)),
            Take::Known(lead) => Ok(Some(lead)),
            Take::Refused(lead) => {
                self.doubt(source, || format!("offers region {region} in term {term}, after {lead:?}"));
                Ok(Some(lead))
            }
            Take::NotHere => Ok(None),
        }
    }

    /// Takes in what another store knows, and returns what this one knows better.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`]; nothing is taken in then.
    pub fn share(&mut self, source: StoreId, told: &[(RegionId, Lead)]) -> Result<Vec<(RegionId, Lead)>, SaveError> {
        self.learn(source, told)?;
        Ok(self.leads.newer_than(told))
    }

    /// Takes in `source`'s answer to a message.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`]; it is as if the answer was lost then.
    pub fn answered(&mut self, source: StoreId, answer: &Answer) -> Result<(), SaveError> {
        match answer {
            Answer::Lead(Offer { region, .. }, Some(lead)) => self.learn(source, &[(*region, *lead)]),
            Answer::Lead(offer, None) => {
                let Some(row) = self.leads.withdraw(*offer) else { return Ok(()) };
                log::warn!(
                    "store {}: keeps the lead of region {}, which store {} does not have",
                    self.leads.store(),
                    offer.region,
                    offer.target
                );
                self.save(&[row])?;
                self.outside.withdraw(*offer);
                Ok(())
            }
            Answer::Newer(told) => self.learn(source, told),
        }
    }

    /// Makes the rows durable as they are: what the outside keeps beside them has changed.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`].
    pub fn save_again(&mut self) -> Result<(), SaveError> {
        self.outside.save(&mut self.leads.rows())
    }

    fn send_offer(&mut self, offer: Offer) {
        if self.has_way_to(offer.target) {
            self.outside.send(offer.target, Message::TakeLead(offer));
        }
    }

    fn has_way_to(&mut self, target: StoreId) -> bool {
        let is_known = self.others.contains(&target);
        if !is_known && self.unknown.insert(target) {
            log::warn!("store {}: no lead can go to store {target}, which no --peer names", self.leads.store());
        }
        is_known
    }

    /// Counts the rounds that each target has let an offer wait, and tells of it once.
    fn count_owed(&mut self, offers: &[Offer]) {
        let mut owed = BTreeMap::new();
        for offer in offers {
            owed.entry(offer.target).or_insert((*offer, 0));
        }
        for (target, (offer, rounds)) in &mut owed {
            let before = self.owed.get(target).filter(|(before, _)| before == offer);
            *rounds = before.map_or(0, |(_, rounds)| rounds.saturating_add(1));
            if *rounds == ROUNDS_OWED {
                log::warn!(
                    "store {}: store {target} has not answered the offer of region {} for {ROUNDS_OWED} rounds; until it \
                     does, the region is offered to no other store, and leaders may stay uneven",
                    self.leads.store(),
                    offer.region
                );
            }
        }
        self.owed = owed;
    }

    /// Tells once a store that what it says is ignored.
    fn doubt(&mut self, source: StoreId, what: impl FnOnce() -> String) {
        let known = if self.others.contains(&source) { source } else { StoreId(0) };
        if self.doubted.insert(known) {
            log::warn!(
                "store {}: ignores what store {source} says, which cannot be: it {}; check the --peer addresses, \
                 and that all stores have the same regions",
                self.leads.store(),
                what()
            );
        }
    }

    fn learn(&mut self, source: StoreId, told: &[(RegionId, Lead)]) -> Result<(), SaveError> {
        if let Some((region, lead)) = told.iter().copied().find(|told| self.leads.is_absurd(told)) {
            self.doubt(source, || format!("tells {lead:?} of region {region}"));
        }
        let rows = self.leads.learn(told);
        if rows.is_empty() { Ok(()) } else { self.save(&rows) }
    }

    /// Durable first, then known, then told: a region whose leader is another one now is reported at once.
    fn save(&mut self, changes: &[LeadRow]) -> Result<(), SaveError> {
        self.outside.save(&mut self.leads.rows_with(changes))?;
        let before: Vec<Option<Lead>> = changes.iter().map(|row| self.leads.lead(row.region)).collect();
        self.leads.apply(changes);
        for (row, before) in changes.iter().zip(before) {
            if Some(row.lead) == before {
                continue;
            }
            let Lead { term, leader } = row.lead;
            let region = row.region;
            if leader == self.leads.store() {
                log::info!("store {leader} leads region {region} in term {term}");
            } else {
                log::debug!("store {}: store {leader} leads region {region} in term {term}", self.leads.store());
            }
            if let Some(region) = self.leads.report(row.region) {
                self.outside.report_region(region);
            }
        }
        Ok(())
    }
}
