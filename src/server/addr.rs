//! Addresses to listen on, as Go users write them: `127.0.0.1:2379`, `localhost:0`, `:2379`, `[::1]:0`.
//!
//! As in Go, an empty host and both wildcard addresses mean every interface, over IPv4 and IPv6; a host name means its
//! first IPv4 address, or its first address when it has none. Other than in Go, a port is always a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Reads and resolves an address. Every interface is `[::]`, whichever way it was written, and an IPv4 address in IPv6's
/// clothes (`[::ffff:127.0.0.1]:0`) is that IPv4 address.
///
/// # Errors
///
/// What is wrong with it, in a few words.
pub(super) fn resolve(addr: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(addr)?;
    if host.is_empty() {
        return Ok(every_interface(port));
    }
    if looks_like_ipv4(host) && host.parse::<Ipv4Addr>().is_err() {
        // The system's resolver would read 127.1 and 0x7f.1 as 127.0.0.1, and ask a name server for 256.0.0.1.
        return Err(format!("{host} is not an IPv4 address"));
    }
    let found: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?.collect();
    let chosen = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    let mut chosen = *chosen.ok_or_else(|| format!("{host} has no address"))?;
    chosen.set_ip(chosen.ip().to_canonical());
    Ok(if chosen.ip().is_unspecified() { every_interface(port) } else { chosen })
}

fn every_interface(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Splits `host:port`, `[host]:port` and `:port`.
fn split(addr: &str) -> Result<(&str, u16), String> {
    if addr.contains('/') {
        return Err("a scheme or a path is no part of it".into());
    }
    let (host, port) = addr.rsplit_once(':').ok_or("the port is missing (HOST:PORT)")?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or("the port is missing ([HOST]:PORT)")?,
        None if looks_like_ipv6(host) => return Err("an IPv6 address needs brackets ([HOST]:PORT)".into()),
        None if host.contains(':') => return Err("only one colon belongs into it".into()),
        None => host,
    };
    if host.contains(['[', ']']) {
        return Err("brackets belong around the host ([HOST]:PORT)".into());
    }
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the port must be a number, not {port:?}"));
    }
    let port = port.parse().map_err(|_| format!("the port {port} is above 65535"))?;
    Ok((host, port))
}

/// Whether the system's resolver would read it as an IPv4 address, or try to: decimal, octal or hexadecimal numbers.
fn looks_like_ipv4(host: &str) -> bool {
    host.split('.').all(|part| match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => part.bytes().all(|byte| byte.is_ascii_digit()),
    })
}

fn looks_like_ipv6(host: &str) -> bool {
    let digits_and_colons = host.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    host.contains(':') && digits_and_colons || host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(addr: &str) -> String {
        resolve(addr).map_or_else(|reason| panic!("{addr}: {reason}"), |addr| addr.to_string())
    }

    #[test]
    fn literal_addresses_stay_as_they_are() {
        for addr in ["127.0.0.1:2379", "[::1]:0", "192.0.2.1:65535"] {
            assert_eq!(resolved(addr), addr);
        }
    }

    #[test]
    fn every_wildcard_means_every_interface() {
        for addr in [":2379", "0.0.0.0:2379", "[::]:2379", "[::ffff:0.0.0.0]:2379", "[0::0]:2379"] {
            assert_eq!(resolved(addr), "[::]:2379");
        }
    }

    #[test]
    fn an_ipv4_address_written_as_ipv6_is_an_ipv4_address() {
        for addr in ["[::ffff:127.0.0.1]:0", "[::ffff:7f00:1]:0"] {
            assert_eq!(resolved(addr), "127.0.0.1:0");
        }
    }

    #[test]
    fn localhost_is_its_ipv4_address() {
        assert_eq!(resolved("localhost:7"), "127.0.0.1:7");
    }

    #[test]
    fn what_cannot_be_an_address_is_told_with_its_reason() {
        for (addr, reason) in [
            ("", "port is missing"),
            ("127.0.0.1", "port is missing"),
            ("[::1]", "port is missing"),
            ("::1:2379", "brackets"),
            ("::ffff:127.0.0.1:2379", "brackets"),
            ("127.0.0.1:80:90", "only one colon"),
            ("a:b:2379", "brackets"),
            ("localhost:80:90", "only one colon"),
            ("http://127.0.0.1:0", "a scheme"),
            ("unix:/x:0", "a scheme"),
            ("/x:0", "a path"),
            ("[::1:2379", "port is missing"),
            ("a]:2379", "brackets"),
            ("127.0.0.1:", "a number"),
            ("127.0.0.1:http", "a number"),
            ("127.0.0.1:+80", "a number"),
            ("127.0.0.1:-1", "a number"),
            ("127.0.0.1:65536", "above 65535"),
            ("127.0.0.1:99999999999999999999", "above 65535"),
            ("256.0.0.1:2379", "not an IPv4 address"),
            ("127.1:2379", "not an IPv4 address"),
            ("0x7f.1:2379", "not an IPv4 address"),
            ("0X7F000001:2379", "not an IPv4 address"),
            ("0177.0.0.1:2379", "not an IPv4 address"),
            ("127.0.0.1.:2379", "not an IPv4 address"),
            ("a host:2379", "cannot resolve"),
        ] {
            let Err(text) = resolve(addr) else { panic!("{addr:?} is accepted") };
            assert!(text.contains(reason), "{addr:?}: {text}");
        }
    }
}
