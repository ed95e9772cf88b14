//! The list of stores, page after page.

use super::retry::Repeat;
use super::{Error, Inner, Store};
use crate::proto::{pdlite, pdlite_methods};

impl Inner {
    /// The stores that the PD has heard, by ascending id.
    ///
    /// # Errors
    ///
    /// Those of [`Inner::call`]; `Malformed` for stores that are out of order, and for a page that is empty and not the last.
    pub(super) fn stores(&self) -> Result<Vec<Store>, Error> {
        let mut stores: Vec<Store> = Vec::new();
        let mut request = pdlite::GetStoresRequest::new();
        loop {
            let page = self.call(&pdlite_methods::GET_STORES, &request, Repeat::Always)?;
            if page.more && page.stores.is_empty() {
                return Err(self.malformed("no stores, yet more are said to follow".into()));
            }
            for store in page.stores.iter().map(Store::from) {
                if stores.last().is_some_and(|last| last.id >= store.id) {
                    return Err(self.malformed(format!("store {} is out of order", store.id)));
                }
                stores.push(store);
            }
            match stores.last().and_then(|last| last.id.0.checked_add(1)) {
                Some(next) if page.more => request.from_store_id = next,
                _ => return Ok(stores),
            }
        }
    }
}
