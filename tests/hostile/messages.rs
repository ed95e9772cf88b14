//! Messages: mangled, far too long, or as short as they can be and costly. Each goes to every call.

use grpcio::RpcStatusCode;

use super::{MIB, Victim};
use crate::support::relay::{PB_PD, PDLITE, raw};
use crate::support::rng::Rng;
use crate::support::{Client, Launch};

/// Clients that send at a time.
const CLIENTS: u64 = 4;
/// Unknown fields cost a receiver more than 40 times their length, and lists of empty messages more than 100 times; a poll
/// thread reads one message at a time, and malloc keeps some.
const GROWTH_MAX: u64 = 64 * MIB;

fn methods() -> impl Iterator<Item = &'static str> {
    PB_PD.into_iter().chain(PDLITE)
}

/// Sends a body to every method. A server that refuses it says so; it neither hangs nor goes.
fn send(client: &Client, body: &[u8], name: &str) -> Vec<Result<(), RpcStatusCode>> {
    let call = |method| {
        let answer = client.call(&raw(method), &body.to_vec()).map(drop).map_err(|failure| failure.code);
        let known = [
            Ok(()),
            Err(RpcStatusCode::INVALID_ARGUMENT),
            Err(RpcStatusCode::FAILED_PRECONDITION),
            Err(RpcStatusCode::RESOURCE_EXHAUSTED),
            // gRPC's answer to what is no protobuf message.
            Err(RpcStatusCode::INTERNAL),
        ];
        assert!(known.contains(&answer), "{name} to {method}: {answer:?}");
        answer
    };
    methods().map(call).collect()
}

/// Fills `len` bytes with `piece`.
fn full(piece: &[u8], len: usize) -> Vec<u8> {
    piece.repeat(len / piece.len())
}

/// Bodies of `len` bytes that are protobuf, or look like it.
fn bodies(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let half = len / 2;
    vec![
        ("unknown numbers", full(b"\x78\x01", len)),
        ("unknown bytes without any", full(b"\x7a\x00", len)),
        ("unknown numbers of 32 bits", full(b"\x7d1234", len)),
        ("one unknown field", [&b"\x7a\xf0\xf0\x03"[..], &vec![b'x'; 63_600]].concat()),
        ("groups in groups", full(b"\x7b", len)),
        ("groups in groups with their ends", [full(b"\x7b", half), full(b"\x7c", half)].concat()),
        ("groups one after the other", full(b"\x7b\x7c", len)),
        ("ends of groups", full(b"\x7c", len)),
        ("empty first fields", full(b"\x0a\x00", len)),
        ("empty second fields", full(b"\x12\x00", len)),
        ("first fields that hold empty ones", full(b"\x0a\x02\x32\x00", len)),
        ("a number without an end", full(b"\xff", len)),
        ("a length beyond the end", [&b"\x0a\xff\xff\xff\xff\x07"[..], &vec![b'x'; len - 6]].concat()),
        ("zeros", vec![0; len]),
    ]
}

#[test]
fn the_longest_messages_that_are_taken_cost_little() {
    let mut victim = Victim::new();
    victim.under(CLIENTS, |_, addr| {
        let client = Client::connect(addr);
        bodies(65_536).iter().for_each(|(name, body)| drop(send(&client, body, name)));
    });
    victim.stands(GROWTH_MAX, "messages of 64 KiB");
}

#[test]
fn messages_of_4_mib_and_more_are_refused_unread() {
    let mut victim = Victim::new();
    victim.under(1, |_, addr| {
        let client = Client::connect(addr);
        let bodies = bodies(4 << 20).into_iter().step_by(4).chain([("zeros", vec![0; 16 << 20])]);
        for (name, body) in bodies {
            let all_too_long =
                send(&client, &body, name).into_iter().all(|it| it == Err(RpcStatusCode::RESOURCE_EXHAUSTED));
            assert!(all_too_long, "{name}");
        }
    });
    victim.stands(GROWTH_MAX, "messages of 4 and 16 MiB");
}

#[test]
fn compressed_messages_are_refused_and_never_unpacked() {
    let mut victim = Victim::new();
    victim.under(CLIENTS, |_, addr| {
        let client = Client::connect_compressing(addr);
        // 64 KiB when it is compressed.
        let zeros = vec![0; 64 << 20];
        for method in methods().step_by(3) {
            let refused = client.call(&raw(method), &zeros).unwrap_err();
            assert_eq!(refused.code, RpcStatusCode::UNIMPLEMENTED, "{method}: {}", refused.message);
        }
    });
    victim.stands(GROWTH_MAX, "compressed messages");
}

#[test]
fn random_messages_are_refused_or_served() {
    let mut victim = Victim::new();
    victim.under(CLIENTS, |number, addr| {
        let client = Client::connect(addr);
        let mut rng = Rng::new(number);
        for _ in 0..100 {
            let len = 1 << rng.below(17);
            let byte = |rng: &mut Rng| u8::try_from(rng.below(256)).unwrap();
            let body: Vec<u8> = (0..rng.below(len)).map(|_| byte(&mut rng)).collect();
            send(&client, &body, "random bytes");
        }
    });
    victim.stands(GROWTH_MAX, "random messages");
}

#[test]
fn a_limit_of_4_mib_costs_what_security_md_says() {
    let mut victim = Victim::of(&Launch::in_memory().args(["--max-request-bytes", "4194304"]));
    victim.under(1, |_, addr| {
        let client = Client::connect(addr);
        for (name, body) in &bodies(4 << 20)[..9] {
            send(&client, body, name);
        }
    });
    victim.stands(1024 * MIB, "messages of 4 MiB under a limit of 4 MiB");
}
