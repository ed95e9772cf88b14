//! `pdlite.v1` of a real server over real sockets: each call beside what `pb.PD` says about the same.

mod heartbeats;
mod routing;
mod status;
mod streams;

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;
use pd_lite::proto::pdlite::{
    GetStatusRequest, GetStatusResponse, RegionHeartbeatsRequest, ScanRegionsRequest, ScanRegionsResponse,
};
use pd_lite::proto::pdlite_methods as methods;

use crate::support::{Client, Failure};

/// The code and the text of each region's verdict.
fn report(client: &Client, regions: &[RegionMeta]) -> Result<Vec<(RpcStatusCode, String)>, Failure> {
    let request = RegionHeartbeatsRequest { regions: regions.to_vec(), ..Default::default() };
    let answer = client.call(&methods::REGION_HEARTBEATS, &request)?;
    assert_eq!(answer.verdicts.len(), regions.len());
    let code = |code: u32| RpcStatusCode::from(i32::try_from(code).unwrap());
    Ok(answer.verdicts.into_iter().map(|verdict| (code(verdict.code), verdict.message)).collect())
}

/// Reports regions that must be taken in.
fn report_all(client: &Client, regions: &[RegionMeta]) {
    for chunk in regions.chunks(200) {
        for (region, (code, message)) in chunk.iter().zip(report(client, chunk).unwrap()) {
            assert_eq!(code, RpcStatusCode::OK, "{region:?}: {message}");
        }
    }
}

fn scan(client: &Client, start: &[u8], end: &[u8], limit: u32) -> Result<ScanRegionsResponse, Failure> {
    let request = ScanRegionsRequest { start_key: start.into(), end_key: end.into(), limit, ..Default::default() };
    client.call(&methods::SCAN_REGIONS, &request)
}

/// Every region, answer by answer.
fn scan_all(client: &Client) -> Vec<RegionMeta> {
    let mut regions: Vec<RegionMeta> = Vec::new();
    loop {
        let start = regions.last().map_or(&[][..], |last| &last.end_key);
        let answer = scan(client, start, b"", 0).unwrap();
        regions.extend(answer.regions);
        if !answer.more {
            return regions;
        }
    }
}

fn status(client: &Client) -> GetStatusResponse {
    client.call(&methods::GET_STATUS, &GetStatusRequest::new()).unwrap()
}
