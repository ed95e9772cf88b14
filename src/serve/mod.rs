//! The control half of a store: its regions, their leaders, heartbeats to the placement driver, and leader transfers that
//! are carried out with the other stores. It holds no data.
//!
//! # Who leads a region
//!
//! A region begins in term 1 with the leader that the configuration names, else with the store of its first peer; all stores
//! have to begin from the same configuration. There is no election: a leader that is down stays the leader until it is back.
//! What moves a lead is a transfer, which the placement driver hints at and the leader carries out:
//!
//! ```text
//!   leader S of term t                         target T
//!   offer t+1 to T: durable
//!   TakeLead(region, t+1) ───────────────────► nothing newer known: leads in t+1, durable
//!   T leads in t+1: durable  ◄──────────────── the lead that T knows now
//! ```
//!
//! Each round every store also tells every other one its leads (ShareLeads), and gets back what that one knows better. Of two
//! leads the one with the higher term counts, wherever it is heard.
//!
//! # Invariants
//!
//! 1. A store says and does nothing by a lead that is not on its disk. So a process may be killed at any moment.
//! 2. What a store takes for the lead of a region never goes back.
//! 3. A term of a region has at most one leader. Term t+1 begins only with an offer by the leader of t; the offer is durable
//!    before it is sent, and binds: no other store is offered t+1 until this one has answered for good. It has when it tells a
//!    lead of t+1 or above, or that it does not have the region, which stays so as long as its process lives.
//!
//! 4. What cannot be is ignored, and told once: a lead of a store without a peer of the region, a term far beyond the known one,
//!    an offer by another store than the leader that is known. That finds mistakes; the port trusts whoever can reach it.
//!
//! What follows from them when something is lost:
//!
//! - The offer, or its answer: S sends it again each round, also after a restart. T answers the second one as the first.
//! - Until S hears the answer both S and T lead, in different terms; whoever is asked by both knows which one counts.
//! - T is down, or cannot be reached: S goes on leading, and offers the region to nobody else. After ten rounds it says so. As
//!   the PD may hint at this region again and again, no other lead of S may move meanwhile.
//! - S is down for long: when it is back, the first round tells it the newer lead, whatever became of its offer.
//!
//! # Threads
//!
//! | thread | what it does | how it ends |
//! |---|---|---|
//! | store | owns the leads; takes events, and does a round every few seconds | [`Running::stop`], or a disk that fails |
//! | one a peer | makes the calls to that store, one after the other | with the store's thread |
//!
//! The gRPC poll threads of the server hand events over and never wait; the thread of the store never waits for a call.

mod leads;
mod links;
mod pd_line;
mod running;
mod setup;
mod standalone;
mod store;
#[cfg(test)]
mod tests;
mod wire;

pub use self::pd_line::PdLine;
pub use self::running::{Inbox, Running};
pub use self::setup::{FirstRegion, Setup, SetupError};
