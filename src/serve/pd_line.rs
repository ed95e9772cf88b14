//! The way to the placement driver, which says in the store's name when that is lost and when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::standalone::Standalone;
use crate::adapter::{Action, Adapter, AdapterOptions, Mirror};
use crate::client::{Client, Error};
use crate::core::StoreId;

/// An adapter for one store.
pub struct PdLine {
    store: StoreId,
    pub(super) adapter: Adapter,
    /// A call has failed since the placement driver last answered to everything.
    is_lost: Arc<AtomicBool>,
}

impl PdLine {
    /// The way to the placement driver behind `client`, with a round every `round`; without one, a scheduler in this process.
    #[must_use]
    pub fn new(store: StoreId, client: Option<Client>, round: Duration) -> Self {
        let is_lost = Arc::<AtomicBool>::default();
        let lost = Arc::clone(&is_lost);
        let on_error = move |action: Action, error: &Error| {
            log::warn!("store {store}: {action}: {error}");
            // A refusal is an answer.
            if !matches!(error, Error::Refused { .. } | Error::Invalid(_)) {
                lost.store(true, Ordering::Relaxed);
            }
        };
        let mirror = client.is_none().then(|| -> Arc<dyn Mirror> { Arc::<Standalone>::default() });
        let options = AdapterOptions { round, mirror, on_error: Arc::new(on_error), ..AdapterOptions::default() };
        Self { store, adapter: Adapter::start(client, options), is_lost }
    }

    /// Tells that the placement driver answers again, once it has answered to everything that it was to be told.
    pub(super) fn note_answers(&self) {
        if self.is_lost.load(Ordering::Relaxed) && self.adapter.flush(Duration::ZERO) {
            self.is_lost.store(false, Ordering::Relaxed);
            log::info!("store {}: the PD answers again", self.store);
        }
    }
}
