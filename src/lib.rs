//! pd-lite: a lightweight placement driver for a distributed key-value store, in one small process.
//!
//! It hands out timestamps and ids, keeps the catalog of regions (key ranges and their replicas), answers which region holds
//! a key, takes the heartbeats of stores and regions, and hints leader transfers. It speaks the gRPC service `pb.PD` of
//! NoKV's PD-lite and works on the same workdir; `pdlite.v1` offers the same for many regions at a time. A Rust program can
//! talk to one ([`Client`], [`Router`]) or be one ([`Server`], [`Pd`]): [`guide`] shows how. This page is the project's
//! architecture page; how to use the program is in `README.md`.
//!
//! # One picture
//!
//! ```text
//!            gRPC poll threads (fixed)                      one persistence thread
//!  client ──► server ──► service ──┬─ Tso, AllocID ──► Mutex<Allocators>, below a durable limit; else parked, in order
//!                                  ├─ GetRegionByKey ─► Mutex<Cluster>  (a read of about a microsecond)
//!                                  ├─ StoreHeartbeat ─► Mutex<Cluster>  (numbers in memory, one planned hint)
//!                                  ├─ unchanged or stale heartbeat ─► Mutex<Cluster> (a look, no write)
//!                                  └─ change ──► bounded crossbeam channel ──► writer: take a batch, in queue order
//!                                                                               ├ judge each edit against the Cluster
//!                                                                               ├ append edits and one commit, one fdatasync
//!                                                                               ├ apply the batch to the Cluster
//!                                                                               └ answer every caller
//! ```
//!
//! Without a workdir there is no writer: a change is applied under the lock at once, and the allocators have no limit. A [`Pd`]
//! enters the picture at `service`, on its caller's thread, which waits for the writer where a poll thread must not.
//!
//! # Invariants
//!
//! Each has a function that checks it, which tests call after every step.
//!
//! 1. Regions never overlap; the id index and the key index hold the same regions; a region's epoch never goes back while
//!    the region exists ([`core::Cluster`]).
//! 2. `issued <= durable limit` for both allocators. A value is answered only below the durable limit. They never wrap: at
//!    the end of u64 the call is refused and nothing moves ([`core::Allocators`]).
//! 3. Validate, log, apply. What is not durable is neither visible nor acknowledged; what is acknowledged survives kill -9
//!    and power loss.
//! 4. Log order is apply order: one thread owns the files, and it applies before it answers.
//! 5. A failed fsync, and any failed write but "no space", is final: the batch's outcome is unknown, everything else is
//!    refused, and the process ends; one that embeds the placement driver goes on, and every later call fails. No space, and
//!    no file descriptor, is undone and tried again when there is some.
//! 6. One process a workdir, one process a port.
//! 7. No poll thread ever waits for a disk, a full queue or another call.
//! 8. Nothing costs more than O(peers · log regions), but the first plan of a new pair of stores. An unchanged heartbeat
//!    writes nothing.
//!
//! # Threads
//!
//! | thread | what it does | how it ends |
//! |---|---|---|
//! | main | starts everything; then waits for a signal or the writer's fatal error | returns the exit code |
//! | gRPC poll threads, one per two cores by default | run the handlers | [`server::Server::stop`] |
//! | persistence ([`storage::writer`]), with a workdir only | batches, syncs, refills, rewrites | [`service::Pd::stop`], or a fatal error |
//! | watch (`embed`), with a workdir only | waits for the writer's fatal error, and makes every later call fail with it | with the writer |
//! | signals | turns SIGTERM and SIGINT into messages to main | with the process |
//! | stop, while a placement driver ends | stops the server, then the writer, while somebody counts the seconds | with its work, or the process |
//! | client poll thread, one a client | takes in answers, sends the next batch of timestamps and wakes who waits | with the client's last handle |
//! | timer of timestamps, one a client that asks for some | tells futures that their time is over | as above |
//! | poll thread, one a client of `pd-lite bench` | makes the load's calls and checks the answers | with the process |
//! | `bench-pacer`, of a load with a rate | starts each call when it is due | with the load |
//! | `pd-adapter`, one an adapter | tells the PD what the store has said | [`adapter::Adapter::stop`], or with the adapter |
//! | `pd-lite serve`: store, and one a peer ([`serve`]) | owns the store's leads; calls another store | [`serve::Running::stop`] |
//!
//! # Locks
//!
//! | lock | guards | held by |
//! |---|---|---|
//! | `State::cluster` | the catalog and the stores' numbers | poll threads for one look or change, or a slice of many; the writer for a slice of a batch |
//! | `State::allocators` | both counters and the requests that wait for a refill | poll threads for one take; the writer for a refill |
//! | [`client::tso`]'s state, then a batch's waiters | who waits for which timestamp | callers and the client's poll thread, for one step |
//! | the batcher's timer, then its state | the thread that looks at the clock | callers, to start or wake it |
//! | a timestamp stream's writer, then its pending calls | the open stream; the calls that it has not answered, in order | callers and the client's poll thread, while a request is handed to gRPC, or for one pop |
//! | what the PD refused last | the reason for callers whose time is over | callers and the client's poll thread, for one look or change |
//! | a connection's last attempt | when gRPC was last told to connect | as above |
//! | [`client::router`]'s lookups, then its cache | which keys are being looked up; the known regions | callers, for one look or change |
//! | an adapter's state | what the PD has still to be told, and hints | callers and the adapter's thread, for one change |
//! | a client's id range | the ids that are left | callers, for one take |
//! | a load's schedule, timestamps, and a tally a client, in `pd-lite bench` | which call is due; which timestamps were seen; what came of the calls | poll threads, for one step each; the pacer and the caller's thread likewise |
//! | a link's `waiting` in [`serve`] | what a store has to tell another one | both of its threads, for a look or a change |
//!
//! A PD's two locks are never held together, and never across a system call. A client's are never held while an answer is
//! waited for, but two of them may be across a system call: the stream's writer, of gRPC, and the timer's, which starts a
//! thread.
//!
//! # Modules, in reading order
//!
//! - [`core`]: pure state, without I/O, clock, lock or thread; time comes in as an argument
//! - [`storage`]: the only code that touches the disk, but for reading the configuration file and, to name who holds a port and
//!   to tell a process's CPU time, `/proc`
//! - [`service`]: the calls of both gRPC services, without a network
//! - [`server`]: the only code beside `client` that knows grpcio
//! - [`client`]: blocking calls, timestamps in batches, a router of keys
//! - [`adapter`]: the store's side: tells a PD of a store's regions, however long the PD is away
//! - [`embed`]: puts a placement driver together inside a process and takes it down; the program does it here too
//! - [`serve`]: a store without data: its leads, and how they are handed over
//! - [`config`]: `raft_config.json` and its rules
//! - [`cli`]: one file a sub-command
//! - [`proto`]: the messages, generated from `proto/` by `build.rs`; `convert` turns regions into them and back
//!
//! Who may use what: `main → cli → {adapter, client, embed, config, serve, server, service, storage, core}`, `serve →
//! {adapter, client, server, storage, core, proto}`, `embed → {client, server, service, storage, core, proto}`, `adapter →
//! {client, core}`, `server → {service, proto}`, `service → {storage, core, proto}`, `client → {core, proto}`,
//! `storage → core`. A test checks it.
//!
//! The names at the crate's root are for programs that embed it; they come from `client`, `core`, `embed` and `service`.
//!
//! # Deliberately absent
//!
//! - An async runtime: grpcio brings its own threads, and the one thing that waits, the disk, has a thread of its own.
//! - A clock in the timestamps: NoKV counts a lock's time to live in timestamps, so they are a plain counter.
//! - Time-outs of regions and stores: as in the reference, what was reported stays until it is reported otherwise.
//! - Replication: one process, one disk. TLS and authentication: see `SECURITY.md`.

pub mod adapter;
pub mod cli;
pub mod client;
pub mod config;
mod convert;
pub mod core;
pub mod embed;
#[doc = include_str!("guide.md")]
pub mod guide {}
pub mod serve;
pub mod server;
pub mod service;
pub mod storage;

pub use self::client::router::{Router, RouterStats};
pub use self::client::{Client, ClientOptions, Durability, Error, Refusal, ServerLimits, Status, Store};
pub use self::core::{Epoch, KeyRange, LeaderTransfer, Peer, PeerId, Region, RegionId, StoreId, StoreStats};
pub use self::embed::{EmbedError, Pd, PdBuilder, Server, ServerBuilder};
pub use self::service::{Clock, RequestLimits};

/// The messages and methods of `proto/`, generated by `build.rs`.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}
