//! Several addresses of one PD, addresses where nobody answers, and proxies.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use pd_lite::client::{Client, ClientOptions, Error};
use pd_lite::proto::pd_methods;

use super::{HANG, hasty, patient, region};
use crate::support::relay::{PB_PD, PDLITE, Reply};
use crate::support::{Launch, Relay};

const LOOKUP: &str = pd_methods::GET_REGION_BY_KEY.name;

/// An address where nobody listens.
fn closed(host: &str) -> String {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

/// A way to the PD at `pd_addr`.
fn way(addr: &str, pd_addr: &str) -> Relay {
    Relay::start(addr, &PB_PD, Some(pd_addr), |_, _| Reply::PassOn)
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    let pd = Launch::in_memory().start();
    let client = patient(&format!("{}, {},{}", closed("127.79.1.1"), closed("127.79.1.2"), pd.addr()));
    client.region_heartbeat(&region(1, b"", b"", 1)).unwrap();
    assert!(client.region_by_key(b"").unwrap().is_some());
}

#[test]
fn a_host_that_no_name_server_knows_is_passed_over() {
    let pd = Launch::in_memory().start();
    // No such name can exist (RFC 2606).
    let client = patient(&format!("pd.invalid:2379,{}", pd.addr()));
    assert_eq!(client.region_by_key(b"").unwrap(), None);
    let error = hasty("pd.invalid:2379", Duration::from_millis(200)).region_by_key(b"").unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn an_address_that_never_answers_the_connect_is_passed_over_after_the_connect_timeout() {
    let pd = Launch::in_memory().start();
    // The kernel takes the connection, and nobody takes it from there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(200),
        // Less than the 20 seconds that gRPC gives a connect if it is not told otherwise.
        timeout: Duration::from_secs(15),
        ..ClientOptions::new(&format!("{},{}", silent.local_addr().unwrap(), pd.addr()))
    };
    assert_eq!(Client::new(options).unwrap().region_by_key(b"").unwrap(), None);
}

#[test]
fn the_next_address_is_used_when_the_used_one_ends_and_the_first_one_when_that_ends_too() {
    let pd = Launch::in_memory().start();
    let first = way("127.79.1.3:0", pd.addr());
    let second = way("127.79.1.4:0", pd.addr());
    let (first_addr, second_addr) = (first.addr().to_owned(), second.addr().to_owned());
    let client = patient(&format!("{first_addr},{second_addr}"));
    for _ in 0..3 {
        client.region_by_key(b"").unwrap();
    }
    assert_eq!((first.calls(LOOKUP), second.calls(LOOKUP)), (3, 0), "the first one works");
    drop(first);
    client.region_by_key(b"").unwrap();
    assert_eq!(second.calls(LOOKUP), 1);
    let first = way(&first_addr, pd.addr());
    client.region_by_key(b"").unwrap();
    assert_eq!((first.calls(LOOKUP), second.calls(LOOKUP)), (0, 2), "what works is kept");
    drop(second);
    client.region_by_key(b"").unwrap();
    assert_eq!(first.calls(LOOKUP), 1);
    drop(first);
    // Neither is there; then one comes back.
    let caller = thread::spawn(move || client.region_by_key(b""));
    let _second = way(&second_addr, pd.addr());
    caller.join().unwrap().unwrap();
}

#[test]
fn the_next_address_is_used_when_no_answer_comes_from_the_used_one() {
    let pd = Launch::in_memory().start();
    let silent = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| Reply::Silence);
    let client = hasty(&format!("{},{}", silent.addr(), pd.addr()), Duration::from_secs(3));
    let error = client.region_by_key(b"").unwrap_err();
    assert!(matches!(&error, Error::TimedOut { addr, .. } if addr == silent.addr()), "{error}");
    assert_eq!(client.region_by_key(b"").unwrap(), None);
    assert_eq!(silent.calls(LOOKUP), 1);
}

#[test]
fn batched_calls_leave_a_silent_address_too() {
    let pd = Launch::in_memory().start();
    let both = [&PB_PD[..], &PDLITE[..]].concat();
    let silent = Relay::start("127.0.0.1:0", &both, None, |_, _| Reply::Silence);
    let client = hasty(&format!("{},{}", silent.addr(), pd.addr()), Duration::from_secs(3));
    let error = client.regions_by_keys(&[b""]).unwrap_err();
    assert!(matches!(&error, Error::TimedOut { addr, .. } if addr == silent.addr()), "{error}");
    assert_eq!(client.regions_by_keys(&[b""]).unwrap(), [None]);
}

/// Passes connections on to wherever they ask for by CONNECT, until one sends nothing. Returns how many it passed on.
fn proxy(listener: &TcpListener) -> io::Result<usize> {
    for passed in 0.. {
        let (client, _) = listener.accept()?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some(target) = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
            return Ok(passed);
        };
        while reader.read_line(&mut String::new())? > "\r\n".len() {}
        let server = TcpStream::connect(target)?;
        (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut back, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let _ = io::copy(&mut reader, &mut &server);
            let _ = server.shutdown(Shutdown::Both);
        });
    }
    unreachable!("connections do not run out")
}

/// The part of the next test that runs in a process of its own: one call. gRPC looks at the environment of a process.
fn call_in_child(use_http_proxy: bool, addr: &str) {
    let options = ClientOptions { use_http_proxy, timeout: HANG, ..ClientOptions::new(addr) };
    assert_eq!(Client::new(options).unwrap().region_by_key(b"").unwrap(), None);
}

#[test]
fn http_proxy_counts_only_when_it_is_asked_for() {
    const ADDR: &str = "TEST_PD_ADDR";
    const USE_PROXY: &str = "TEST_USE_PROXY";
    const NAME: &str = "client::addresses::http_proxy_counts_only_when_it_is_asked_for";
    if let Ok(addr) = env::var(ADDR) {
        return call_in_child(env::var(USE_PROXY).is_ok(), &addr);
    }
    let pd = Launch::in_memory().start();
    for use_proxy in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy_addr = listener.local_addr().unwrap();
        let proxy = thread::spawn(move || proxy(&listener));
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", NAME]).env(ADDR, pd.addr()).env("http_proxy", format!("http://{proxy_addr}"));
        for other in ["grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy", "NO_PROXY"] {
            child.env_remove(other);
        }
        if use_proxy {
            child.env(USE_PROXY, "1");
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        drop(TcpStream::connect(proxy_addr).unwrap());
        assert_eq!(proxy.join().unwrap().unwrap(), usize::from(use_proxy));
    }
}
