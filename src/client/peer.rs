//! The calls that the stores of `pd-lite serve` make to each other.

use std::time::Duration;

use super::retry::Repeat;
use super::{Client, ClientOptions, Error};
use crate::proto::{serve as pb, serve_methods as methods};

/// The connection to another store. Each call may be made twice with the same outcome as once.
pub struct StoreClient(Client);

impl StoreClient {
    /// A connection that the first call makes. A call takes at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `addr` is not `HOST:PORT`, or `timeout` is 0.
    pub fn new(addr: &str, timeout: Duration) -> Result<Self, Error> {
        Client::new(ClientOptions { timeout, ..ClientOptions::new(addr) }).map(Self)
    }

    /// Offers the lead of a region.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn take_lead(&self, request: &pb::TakeLeadRequest) -> Result<pb::TakeLeadResponse, Error> {
        self.0.inner.call(&methods::TAKE_LEAD, request, Repeat::Always)
    }

    /// Tells leads, and asks for better knowledge of them.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn share_leads(&self, request: &pb::ShareLeadsRequest) -> Result<pb::ShareLeadsResponse, Error> {
        self.0.inner.call(&methods::SHARE_LEADS, request, Repeat::Always)
    }
}
