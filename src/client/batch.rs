//! A message that is a list, written straight from regions or keys until it is full.
//!
//! Both lists of `pdlite.v1`, and the one region of a `pb.RegionHeartbeatRequest`, are field 1 of their message. Generated
//! code would build each region a second time, with an allocation for each key and for the peers, only to write it.

use std::io::Read;

use grpcio::{GrpcSlice, Marshaller, MessageReader, Method};

use super::retry::Request;
use crate::core::{Region, uvarint};

/// Protobuf's wire types: a number, and bytes behind their length.
const NUMBER: u64 = 0;
const BYTES: u64 = 2;

/// The bytes of a message whose field 1 is a list.
pub(super) struct Batch {
    bytes: Vec<u8>,
    bytes_max: usize,
    count: usize,
    /// The region that is being written: its length comes in front of it.
    element: Vec<u8>,
    /// The same for a peer.
    peer: Vec<u8>,
}

impl Batch {
    /// An empty message that is to have at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, count: 0, element: Vec::new(), peer: Vec::new() }
    }

    /// How many elements it has.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Appends the regions from the front of `regions` that fit.
    pub(super) fn fill_with_regions<'a>(&mut self, regions: impl IntoIterator<Item = &'a Region>) {
        let mut element = std::mem::take(&mut self.element);
        for region in regions {
            element.clear();
            write_region(&mut element, &mut self.peer, region);
            if !self.push(&element) {
                break;
            }
        }
        self.element = element;
    }

    /// Appends the keys from the front of `keys` that fit.
    pub(super) fn fill_with_keys<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) {
        for key in keys {
            if !self.push(key) {
                break;
            }
        }
    }

    /// Appends an element, if it fits.
    fn push(&mut self, element: &[u8]) -> bool {
        let before = self.bytes.len();
        write_bytes(&mut self.bytes, 1, element);
        let fits = self.bytes.len() <= self.bytes_max;
        if fits {
            self.count += 1;
        } else {
            self.bytes.truncate(before);
        }
        fits
    }
}

impl Request for Batch {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn write_region(out: &mut Vec<u8>, scratch: &mut Vec<u8>, region: &Region) {
    write_number(out, 1, region.id().0);
    if !region.start_key().is_empty() {
        write_bytes(out, 2, region.start_key());
    }
    if !region.end_key().is_empty() {
        write_bytes(out, 3, region.end_key());
    }
    write_number(out, 4, region.epoch().version);
    write_number(out, 5, region.epoch().conf_version);
    for peer in region.peers() {
        scratch.clear();
        write_number(scratch, 1, peer.store_id.0);
        write_number(scratch, 2, peer.peer_id.0);
        write_bytes(out, 6, scratch);
    }
}

/// 0 is what an absent field means.
fn write_number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        uvarint::push(out, field << 3 | NUMBER);
        uvarint::push(out, value);
    }
}

fn write_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    uvarint::push(out, field << 3 | BYTES);
    uvarint::push(out, u64::try_from(bytes.len()).expect("memory has fewer than 2^64 bytes"));
    out.extend_from_slice(bytes);
}

/// The same method, called with a message that is written already.
pub(super) const fn batched<Q, A>(method: &Method<Q, A>) -> Method<Batch, A> {
    fn serialize(batch: &Batch, out: &mut GrpcSlice) -> grpcio::Result<()> {
        *out = GrpcSlice::from(batch.bytes.clone());
        Ok(())
    }
    /// Only servers read requests.
    fn deserialize(mut reader: MessageReader) -> grpcio::Result<Batch> {
        let mut batch = Batch::new(0);
        reader.read_to_end(&mut batch.bytes).map_err(|error| grpcio::Error::Codec(Box::new(error)))?;
        Ok(batch)
    }
    Method {
        ty: method.ty,
        name: method.name,
        req_mar: Marshaller { ser: serialize, de: deserialize },
        resp_mar: Marshaller { ser: method.resp_mar.ser, de: method.resp_mar.de },
    }
}

#[cfg(test)]
mod tests {
    use protobuf::Message;

    use super::*;
    use crate::core::{Epoch, Peer, PeerId, RegionId, StoreId};
    use crate::proto::{pd, pdlite};

    fn regions() -> Vec<Region> {
        let edges = [0, 1, 127, 128, u64::MAX];
        let peer = |store, peer| Peer { store_id: StoreId(store), peer_id: PeerId(peer) };
        let region = |id| {
            let peers = edges.iter().flat_map(|&store| edges.map(|id| peer(store, id)));
            let epoch = Epoch { version: id, conf_version: u64::MAX - id };
            let (start, end) = if id % 2 == 0 { (vec![0; 127], vec![]) } else { (vec![], vec![0xff; 5_000]) };
            Region::new(RegionId(id), &start, &end, epoch, peers.take(usize::try_from(id % 26).unwrap()))
        };
        edges.map(region).into()
    }

    #[test]
    fn a_message_of_regions_is_what_generated_code_writes() {
        let regions = regions();
        let mut batch = Batch::new(usize::MAX);
        batch.fill_with_regions(&regions);
        assert_eq!(batch.count(), regions.len());
        let generated = pdlite::RegionHeartbeatsRequest {
            regions: regions.iter().map(pd::RegionMeta::from).collect(),
            ..Default::default()
        };
        assert_eq!(batch.bytes, generated.write_to_bytes().unwrap());
        assert_eq!(batch.len(), Request::len(&generated));
    }

    #[test]
    fn a_message_of_one_region_is_a_heartbeat_of_the_six_calls_too() {
        for region in &regions() {
            let mut batch = Batch::new(usize::MAX);
            batch.fill_with_regions([region]);
            let generated = pd::RegionHeartbeatRequest { region: Some(region.into()).into(), ..Default::default() };
            assert_eq!(batch.bytes, generated.write_to_bytes().unwrap());
        }
    }

    #[test]
    fn a_message_of_keys_is_what_generated_code_writes() {
        let keys = [vec![], vec![0], vec![7; 127], vec![7; 128], vec![0xff; 20_000]];
        let mut batch = Batch::new(usize::MAX);
        batch.fill_with_keys(keys.iter().map(Vec::as_slice));
        let generated = pdlite::GetRegionsByKeysRequest { keys: keys.into(), ..Default::default() };
        assert_eq!(batch.bytes, generated.write_to_bytes().unwrap());
    }

    #[test]
    fn a_message_ends_before_the_first_element_that_does_not_fit() {
        let keys: [&[u8]; 4] = [b"aa", b"bb", b"cccc", b""];
        // A tag and a length stand in front of each key.
        for (bytes_max, count) in [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (13, 2), (14, 3), (15, 3), (16, 4)] {
            let mut batch = Batch::new(bytes_max);
            batch.fill_with_keys(keys);
            assert_eq!(batch.count(), count, "{bytes_max}");
            assert!(batch.len() <= bytes_max);
        }
    }
}
