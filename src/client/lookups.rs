//! Lookups by key: many in a message where the PD offers that, else some calls at a time.

use futures::{StreamExt, stream};

use super::batch::{Batch, batched};
use super::retry::{Repeat, Request, Span};
use super::{Error, Inner};
use crate::core::Region;
use crate::proto::{pd, pd_methods, pdlite_methods};

/// Lookups that are under way at once at a PD that answers one a call.
const LOOKUPS_MAX: usize = 32;

impl Inner {
    /// The region that holds `key`.
    ///
    /// # Errors
    ///
    /// Those of [`Inner::call`]; `Malformed` for a region that does not hold the key, and for neither a region nor none.
    pub(super) fn region_by_key(&self, key: &[u8]) -> Result<Option<Region>, Error> {
        self.region_by_key_within(Span::new(self.options.timeout), key)
    }

    fn region_by_key_within(&self, span: Span, key: &[u8]) -> Result<Option<Region>, Error> {
        self.found(key, &self.call_within(span, &pd_methods::GET_REGION_BY_KEY, &lookup(key), Repeat::Always)?)
    }

    /// The regions that hold `keys`.
    ///
    /// # Errors
    ///
    /// Those of [`Inner::region_by_key`], of the first key that has one; `Malformed` for an answer about no key, or about more
    /// than were asked for.
    pub(super) fn regions_by_keys<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Region>>, Error> {
        let mut regions = Vec::with_capacity(keys.len());
        let mut bytes_max = usize::MAX;
        while regions.len() < keys.len() {
            self.regions_of_front(&keys[regions.len()..], &mut bytes_max, &mut regions)?;
        }
        Ok(regions)
    }

    /// Looks up the keys at the front of `rest` that one message of `bytes_max` or less has room for, or fewer of them.
    fn regions_of_front<K: AsRef<[u8]>>(
        &self,
        rest: &[K],
        bytes_max: &mut usize,
        regions: &mut Vec<Option<Region>>,
    ) -> Result<(), Error> {
        let span = Span::new(self.options.timeout);
        *bytes_max = self.request_bytes_max(span)?.min(*bytes_max);
        let mut request = Batch::new(*bytes_max);
        request.fill_with_keys(rest.iter().map(AsRef::as_ref));
        let front = &rest[..request.count()];
        if front.is_empty() {
            let len = rest[0].as_ref().len();
            return Err(Error::Invalid(format!("a key of {len} bytes is too long: a message may have {bytes_max}")));
        }
        match self.call_within(span, &batched(&pdlite_methods::GET_REGIONS_BY_KEYS), &request, Repeat::Always) {
            Ok(answer) if (1..=front.len()).contains(&answer.results.len()) => {
                for (key, result) in front.iter().zip(&answer.results) {
                    regions.push(self.found(key.as_ref(), result)?);
                }
                Ok(())
            }
            Ok(answer) => Err(self.malformed(format!("{} results for {} keys", answer.results.len(), front.len()))),
            Err(Error::Unsupported { .. }) => self.some_at_a_time(front, regions),
            Err(Error::Invalid(_)) => {
                // Too long after all, for the PD in use is another one by now: a shorter one will do.
                *bytes_max = request.len() - 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Looks up `keys` at a PD without `pdlite.v1`.
    fn some_at_a_time<K: AsRef<[u8]>>(&self, keys: &[K], regions: &mut Vec<Option<Region>>) -> Result<(), Error> {
        let calls = stream::iter(keys).map(async |key| {
            let (request, span) = (lookup(key.as_ref()), Span::new(self.options.timeout));
            (span, self.call_once(&pd_methods::GET_REGION_BY_KEY, &request, span).await)
        });
        let mut answers = calls.buffered(LOOKUPS_MAX).enumerate();
        pollster::block_on(async {
            while let Some((at, (span, answer))) = answers.next().await {
                let key = keys[at].as_ref();
                regions.push(match answer {
                    Ok(answer) => self.found(key, &answer)?,
                    // Once more, and with all that a call by itself does.
                    Err(error) if error.retryable() => self.region_by_key_within(span, key)?,
                    Err(error) => return Err(error),
                });
            }
            Ok(())
        })
    }

    fn found(&self, key: &[u8], answer: &pd::GetRegionByKeyResponse) -> Result<Option<Region>, Error> {
        let region = answer.region.as_ref().map(Region::from);
        match &region {
            Some(region) if !region.range().contains(key) => {
                Err(self.malformed(format!("region {} does not hold the key that it was found by", region.id())))
            }
            _ if region.is_some() == answer.not_found => {
                Err(self.malformed("a lookup found both a region and none, or neither".into()))
            }
            _ => Ok(region),
        }
    }
}

fn lookup(key: &[u8]) -> pd::GetRegionByKeyRequest {
    pd::GetRegionByKeyRequest { key: key.to_vec(), ..Default::default() }
}
