//! AllocID and Tso: below the durable limit a value is given at once, else the call is parked until the writer raises it.

use futures::channel::oneshot;

use super::{Answer, Error, Pd, Reply};
use crate::core::{Kind, Take};

impl Pd {
    /// Takes `count` values and answers with `reply`, which gets the first value and how many there are.
    pub(super) fn allocate<T: 'static>(&self, kind: Kind, count: u64, reply: fn(u64, u64) -> T) -> Answer<T> {
        self.check_serving()?;
        let count = self.limits.check_count(count)?;
        let writer = self.writer()?;
        let mut parked = None;
        let take = self.lock(&self.state.allocators)?.take(kind, count, || {
            let (sender, receiver) = oneshot::channel();
            parked = Some(receiver);
            sender
        });
        let refused = move |error| Error::not_allocated(error, kind, count);
        let take = take.map_err(refused)?;
        let (Take::Given { poke, .. } | Take::Parked { poke }) = take;
        if let Some(writer) = writer.filter(|_| poke) {
            writer.poke();
        }
        match take {
            Take::Given { first, .. } => Ok(Reply::Now(reply(first, count))),
            Take::Parked { .. } => {
                let receiver = parked.expect("whoever is parked has built a waiter");
                Ok(Reply::Later(Box::pin(async move {
                    match receiver.await {
                        Ok(Ok(first)) => Ok(reply(first, count)),
                        Ok(Err(error)) => Err(refused(error)),
                        Err(oneshot::Canceled) => Err(Error::OutcomeUnknown),
                    }
                })))
            }
        }
    }
}
