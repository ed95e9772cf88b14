//! Disk trouble: a disk that is full, read-only, slow or broken under the real program. What was acknowledged is there after
//! the next start, what was refused is not, no value is given twice, and whatever needs no disk goes on.

mod failing;
mod full;
mod read_only;
mod slow;

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;

use crate::support::client::region;
use crate::support::{Client, Failure};

/// Long borders: a few such regions fill a disk, and none fits into the rest of a page.
const LONG: usize = 4_000;

/// What a caller knows of the server. Each region is changed once.
#[derive(Clone, Default)]
struct Ledger {
    regions: u64,
    stored: Vec<RegionMeta>,
    /// Refused or removed.
    absent: Vec<RegionMeta>,
    last_id: u64,
    last_timestamp: u64,
}

impl Ledger {
    /// A region that was not there before, with borders longer by `padding` bytes. It may have been stored all the same when
    /// the answer is INTERNAL or UNAVAILABLE.
    fn put(&mut self, client: &Client, padding: usize) -> Result<(), Failure> {
        self.regions += 1;
        let border = |mark: char| format!("{:06}{mark}{}", self.regions, "-".repeat(padding)).into_bytes();
        let new = region(self.regions, &border('a'), &border('b'), 1);
        let answer = client.put(&new);
        match &answer {
            Ok(()) => self.stored.push(new),
            Err(failure) if failure.code == RpcStatusCode::RESOURCE_EXHAUSTED => self.absent.push(new),
            Err(_) => {}
        }
        answer
    }

    /// Removes the region that was stored last.
    fn remove(&mut self, client: &Client) -> Result<(), Failure> {
        let last = self.stored.last().expect("a region was stored");
        assert!(client.remove(last.id)?);
        self.absent.extend(self.stored.pop());
        Ok(())
    }

    fn tso(&mut self, client: &Client, count: u64) -> Result<(), Failure> {
        let first = client.tso(count)?;
        assert!(first > self.last_timestamp, "{first} was given before");
        self.last_timestamp = first + count - 1;
        Ok(())
    }

    fn alloc_id(&mut self, client: &Client, count: u64) -> Result<(), Failure> {
        let first = client.alloc_id(count)?;
        assert!(first > self.last_id, "{first} was given before");
        self.last_id = first + count - 1;
        Ok(())
    }

    /// Everything acknowledged is served, and nothing that was refused or removed.
    fn check_regions(&self, client: &Client) {
        for region in &self.stored {
            assert_eq!(client.lookup(&region.start_key).unwrap().as_ref(), Some(region));
        }
        for region in &self.absent {
            assert_eq!(client.lookup(&region.start_key).unwrap(), None);
        }
    }

    /// The same, and no value comes again.
    fn check(&mut self, client: &Client) {
        self.check_regions(client);
        self.tso(client, 1).unwrap();
        self.alloc_id(client, 1).unwrap();
    }
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(answer: Result<T, Failure>) {
    let failure = answer.expect_err("refused");
    assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED, "{failure:?}");
    assert!(!failure.message.contains('/'), "{failure:?} names no file of the server");
}
