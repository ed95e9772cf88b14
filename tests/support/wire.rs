//! Messages as the recordings write them: JSON with every field present, bytes as lower-case hex, enums by name, an absent
//! message as null.

use pd_lite::proto::pd::{
    AllocIDRequest, GetRegionByKeyRequest, RegionHeartbeatRequest, RegionMeta, RegionPeer, RemoveRegionRequest,
    SchedulerOperation, StoreHeartbeatRequest, TsoRequest,
};
use pd_lite::proto::pd_methods;
use protobuf::{EnumFull, MessageField};
use serde_json::{Value, json};

use super::client::{Client, Failure};

/// Makes the recorded call and gives the answer as a recording would.
pub fn call(client: &Client, method: &str, request: &Value) -> Result<Value, Failure> {
    let number = |name: &str| field(request, name).as_u64().unwrap_or_else(|| panic!("{name} is no u64: {request}"));
    match method {
        "StoreHeartbeat" => {
            let request = StoreHeartbeatRequest {
                store_id: number("store_id"),
                region_num: number("region_num"),
                leader_num: number("leader_num"),
                capacity: number("capacity"),
                available: number("available"),
                ..Default::default()
            };
            let response = client.call(&pd_methods::STORE_HEARTBEAT, &request)?;
            let operations: Vec<Value> = response.operations.iter().map(operation_json).collect();
            Ok(json!({"accepted": response.accepted, "operations": operations}))
        }
        "RegionHeartbeat" => {
            let region = match field(request, "region") {
                Value::Null => MessageField::none(),
                region => MessageField::some(region_from_json(region)),
            };
            let request = RegionHeartbeatRequest { region, ..Default::default() };
            let response = client.call(&pd_methods::REGION_HEARTBEAT, &request)?;
            Ok(json!({"accepted": response.accepted}))
        }
        "RemoveRegion" => {
            let request = RemoveRegionRequest { region_id: number("region_id"), ..Default::default() };
            let response = client.call(&pd_methods::REMOVE_REGION, &request)?;
            Ok(json!({"removed": response.removed}))
        }
        "GetRegionByKey" => {
            let request = GetRegionByKeyRequest { key: bytes(field(request, "key")), ..Default::default() };
            let response = client.call(&pd_methods::GET_REGION_BY_KEY, &request)?;
            let region = response.region.as_ref().map(region_json);
            Ok(json!({"region": region, "not_found": response.not_found}))
        }
        "AllocID" => {
            let request = AllocIDRequest { count: number("count"), ..Default::default() };
            let response = client.call(&pd_methods::ALLOC_ID, &request)?;
            Ok(json!({"first_id": response.first_id, "count": response.count}))
        }
        "Tso" => {
            let request = TsoRequest { count: number("count"), ..Default::default() };
            let response = client.call(&pd_methods::TSO, &request)?;
            Ok(json!({"timestamp": response.timestamp, "count": response.count}))
        }
        other => panic!("no such method: {other}"),
    }
}

pub fn region_from_json(region: &Value) -> RegionMeta {
    let number = |value: &Value, name: &str| field(value, name).as_u64().unwrap();
    RegionMeta {
        id: number(region, "id"),
        start_key: bytes(field(region, "start_key")),
        end_key: bytes(field(region, "end_key")),
        epoch_version: number(region, "epoch_version"),
        epoch_conf_version: number(region, "epoch_conf_version"),
        peers: field(region, "peers")
            .as_array()
            .unwrap()
            .iter()
            .map(|peer| RegionPeer {
                store_id: number(peer, "store_id"),
                peer_id: number(peer, "peer_id"),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

pub fn region_json(region: &RegionMeta) -> Value {
    let peers: Vec<Value> =
        region.peers.iter().map(|peer| json!({"store_id": peer.store_id, "peer_id": peer.peer_id})).collect();
    json!({
        "id": region.id,
        "start_key": hex(&region.start_key),
        "end_key": hex(&region.end_key),
        "epoch_version": region.epoch_version,
        "epoch_conf_version": region.epoch_conf_version,
        "peers": peers,
    })
}

fn operation_json(operation: &SchedulerOperation) -> Value {
    let kind = operation.type_.enum_value().unwrap_or_else(|number| panic!("an unknown operation: {number}"));
    json!({
        "type": kind.descriptor().name(),
        "region_id": operation.region_id,
        "source_peer_id": operation.source_peer_id,
        "target_peer_id": operation.target_peer_id,
    })
}

/// A field that has to be there: the recordings leave none out.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or_else(|| panic!("no field {name} in {value}"))
}

/// Bytes out of a hex text.
pub fn bytes(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap();
    assert!(digits.len().is_multiple_of(2) && digits.is_ascii(), "no hex: {digits}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
