//! gRPC's settings, with their reasons.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use grpcio::{ChannelBuilder, Environment, ResourceQuota, ServerBuilder};

/// Calls that a completion queue can accept at once; the others wait inside gRPC. Each slot is memory that is always held.
const REQUEST_SLOTS: usize = 128;

/// Calls that a connection may have under way; a client's further calls wait at the client.
const STREAMS_MAX: i32 = 1024;

/// Memory that gRPC may take for connections (some 20 KiB each) and for messages on their way to the server, whose length is
/// looked at when all of it is there; with this much taken it gives up calls and closes connections without one.
const MEMORY_BYTES: usize = 512 << 20;

/// A connection without a sign of life for so long is asked for one ...
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// ... and closed without an answer for so long: its client is gone, with its machine.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a client may ask for a sign of life. gRPC's own 5 minutes end the connections of clients with usual settings.
const CLIENT_PING_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// Settings that grpcio has no name for.
const RAW: [(&CStr, i32); 4] = [
    // A connection that has sent no HTTP/2 preface by then is closed. It holds a descriptor.
    (c"grpc.server_handshake_timeout_ms", 10_000),
    // Leaves the filters for deadlines, the length of messages and the age of connections out: each costs every call. An
    // answer that comes after its deadline finds no client; lengths are looked at in `super::request`.
    (c"grpc.minimal_stack", 1),
    // Compressed messages are UNIMPLEMENTED, and never unpacked: 64 KiB can become 64 MiB, before anybody looks at the length.
    // The one bit is that of no compression.
    (c"grpc.compression_enabled_algorithms_bitset", 1),
    (c"grpc.per_message_decompression", 0),
];

/// A builder with the settings of the server and of every connection.
pub(super) fn builder(env: Arc<Environment>) -> ServerBuilder {
    let channel = ChannelBuilder::new(Arc::clone(&env))
        .set_resource_quota(ResourceQuota::new(None).resize_memory(MEMORY_BYTES))
        // A second process on the port has to fail, not to take half of the calls.
        .reuse_port(false)
        .max_concurrent_stream(STREAMS_MAX)
        .keepalive_time(KEEPALIVE_TIME)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .keepalive_permit_without_calls(true)
        .http2_max_pings_without_data(0)
        .http2_min_recv_ping_interval_without_data(CLIENT_PING_INTERVAL_MIN);
    let channel = RAW.into_iter().fold(channel, |channel, (name, value)| channel.raw_cfg_int(name.into(), value));
    ServerBuilder::new(env).requests_slot_per_cq(REQUEST_SLOTS).channel_args(channel.build_args())
}
