//! Between messages and leads, and the calls of other stores as events.

use crossbeam_channel::Sender;
use futures::FutureExt;
use futures::channel::oneshot;

use super::leads::Offer;
use super::running::Event;
use crate::core::{Lead, RegionId, StoreId};
use crate::proto::serve as pb;
use crate::server::{StoreAnswer, StoreCallError, StoreCalls};

/// Where the calls of other stores come in.
pub(super) struct Door {
    store: StoreId,
    events: Sender<Event>,
}

impl Door {
    pub(super) fn new(store: StoreId, events: Sender<Event>) -> Self {
        Self { store, events }
    }

    /// Hands a call over, if it is for this store.
    fn ask<T: Send + 'static, A: Send + 'static>(
        &self,
        called: u64,
        event: impl FnOnce(oneshot::Sender<T>) -> Event,
        answer: impl FnOnce(T) -> A + Send + 'static,
    ) -> StoreAnswer<A> {
        let this = self.store.0;
        if called != this {
            return futures::future::ready(Err(StoreCallError::WrongStore { called, this })).boxed();
        }
        let (reply, asked) = oneshot::channel();
        // A full queue or a store that has ended drops the sender, and so fails the call.
        let _ = self.events.try_send(event(reply));
        asked.map(move |reply| reply.map(answer).map_err(|oneshot::Canceled| StoreCallError::NotNow)).boxed()
    }
}

impl StoreCalls for Door {
    fn take_lead(&self, request: &pb::TakeLeadRequest) -> StoreAnswer<pb::TakeLeadResponse> {
        let (source, region, term) = (StoreId(request.source_store_id), RegionId(request.region_id), request.term);
        let event = |reply| Event::TakeLead { source, region, term, reply };
        self.ask(request.target_store_id, event, move |lead| pb::TakeLeadResponse {
            lead: lead.map(|lead| message((region, lead))).into(),
            ..Default::default()
        })
    }

    fn share_leads(&self, request: &pb::ShareLeadsRequest) -> StoreAnswer<pb::ShareLeadsResponse> {
        let (source, told) = (StoreId(request.source_store_id), leads(&request.leads));
        let event = |reply| Event::ShareLeads { source, told, reply };
        self.ask(request.target_store_id, event, |newer: Vec<_>| pb::ShareLeadsResponse {
            newer: newer.into_iter().map(message).collect(),
            ..Default::default()
        })
    }
}

pub(super) fn take_lead_request(source: StoreId, offer: &Offer) -> pb::TakeLeadRequest {
    pb::TakeLeadRequest {
        source_store_id: source.0,
        target_store_id: offer.target.0,
        region_id: offer.region.0,
        term: offer.term,
        ..Default::default()
    }
}

pub(super) fn share_leads_request(
    source: StoreId,
    target: StoreId,
    leads: &[(RegionId, Lead)],
) -> pb::ShareLeadsRequest {
    pb::ShareLeadsRequest {
        source_store_id: source.0,
        target_store_id: target.0,
        leads: leads.iter().copied().map(message).collect(),
        ..Default::default()
    }
}

pub(super) fn leads(messages: &[pb::Lead]) -> Vec<(RegionId, Lead)> {
    messages.iter().map(lead).collect()
}

pub(super) fn lead(message: &pb::Lead) -> (RegionId, Lead) {
    (RegionId(message.region_id), Lead { term: message.term, leader: StoreId(message.leader_store_id) })
}

fn message((region, lead): (RegionId, Lead)) -> pb::Lead {
    pb::Lead { region_id: region.0, term: lead.term, leader_store_id: lead.leader.0, ..Default::default() }
}
