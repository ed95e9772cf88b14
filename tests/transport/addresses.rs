//! Where a server listens, and what it says when it cannot.

use std::sync::Arc;

use pd_lite::server::{BindError, Server};
use pd_lite::service::{Pd, RequestLimits};

use super::{options, serve, state};
use crate::support::Client;

fn bind(addr: &str) -> Result<Server, BindError> {
    Server::bind(&options(addr), Arc::new(Pd::in_memory(state(), RequestLimits::default())))
}

fn answers_at(addr: &str) -> bool {
    Client::connect(addr).tso(1).is_ok()
}

#[test]
fn the_real_address_is_told_and_answers() {
    for (given, prefix) in [("127.0.0.1:0", "127.0.0.1:"), ("localhost:0", "127.0.0.1:")] {
        let mut server = bind(given).unwrap();
        server.start();
        let port = server.addr().strip_prefix(prefix).unwrap_or_else(|| panic!("{given}: {}", server.addr()));
        assert_ne!(port.parse(), Ok(0_u16));
        assert!(answers_at(server.addr()));
    }
}

#[test]
fn a_wildcard_answers_over_ipv4_and_where_there_is_one_over_ipv6() {
    let with_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for given in [":0", "0.0.0.0:0", "[::]:0"] {
        let mut server = bind(given).unwrap();
        server.start();
        let (host, port) = server.addr().rsplit_once(':').unwrap();
        assert_eq!(host, if with_ipv6 { "[::]" } else { "0.0.0.0" }, "as Go prints it");
        assert!(answers_at(&format!("127.0.0.1:{port}")));
        assert!(!with_ipv6 || answers_at(&format!("[::1]:{port}")));
    }
}

#[test]
fn a_second_server_on_a_port_is_told_who_holds_it() {
    let first = serve();
    let port = first.addr().rsplit_once(':').unwrap().1;
    for addr in [first.addr().to_owned(), format!(":{port}"), format!("localhost:{port}")] {
        let Err(error) = bind(&addr) else { panic!("{addr} is served twice") };
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        if cfg!(target_os = "linux") {
            assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
        }
    }
    assert!(answers_at(first.addr()));
}

#[test]
fn a_port_is_free_again_after_a_server_has_stopped_or_was_never_started() {
    let mut first = serve();
    let addr = first.addr().to_owned();
    assert!(answers_at(&addr));
    first.stop(super::CALL_TIMEOUT);
    let unstarted = bind(&addr).unwrap();
    drop(unstarted);
    let mut again = bind(&addr).unwrap();
    again.start();
    assert!(answers_at(&addr));
}
