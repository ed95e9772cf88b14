//! Whether an address can be listened on and, when not, why.
//!
//! gRPC says only that a bind failed. So the standard library binds first, for a moment: it gives the reason.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::{addr, holder};

/// etcd listens on it too, and it is our default.
const ETCD_PORT: u16 = 2379;

/// Why the address cannot be served. `Display` is one line: what, where, why, what next. Its alternate form (`{:#}`) names no
/// flag of the command line, for a program that embeds the server.
#[derive(Debug)]
pub enum BindError {
    /// The address is malformed or cannot be resolved.
    Address { addr: String, reason: String },
    /// Another process listens there; `holder` says which, where known.
    InUse { addr: String, holder: Option<String> },
    /// The system refuses the address (not of this machine, no permission).
    Refused { addr: String, source: io::Error },
}

/// Resolves `addr` and makes sure that it can be listened on now. Every interface is `[::]`, or `0.0.0.0` on a machine
/// without IPv6.
pub(super) fn find(addr: &str) -> Result<SocketAddr, BindError> {
    let endpoint = addr::resolve(addr).map_err(|reason| BindError::Address { addr: addr.to_owned(), reason })?;
    probe(endpoint).map_err(|source| explain(addr, endpoint, source))
}

/// The error for an address that [`find`] had found to be free and gRPC could not bind.
pub(super) fn lost(addr: &str, endpoint: SocketAddr) -> BindError {
    let source = match probe(endpoint) {
        Err(source) => source,
        Ok(_) => io::Error::other("gRPC could not bind it, though it is free"),
    };
    explain(addr, endpoint, source)
}

fn probe(endpoint: SocketAddr) -> io::Result<SocketAddr> {
    let over_ipv4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), endpoint.port());
    match TcpListener::bind(endpoint).map(drop) {
        Ok(()) if endpoint.ip().is_unspecified() => match TcpListener::bind(over_ipv4) {
            // Where [::] is IPv6 alone, somebody else may have the IPv4 half.
            Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
            _ => Ok(endpoint),
        },
        Ok(()) => Ok(endpoint),
        Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => Err(error),
        Err(_) if endpoint.ip().is_unspecified() => TcpListener::bind(over_ipv4).map(|_| over_ipv4),
        Err(error) => Err(error),
    }
}

fn explain(addr: &str, endpoint: SocketAddr, source: io::Error) -> BindError {
    let addr = addr.to_owned();
    match source.kind() {
        ErrorKind::AddrInUse => BindError::InUse { addr, holder: holder::find(endpoint) },
        _ => BindError::Refused { addr, source },
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (the_addr, an_addr) = if f.alternate() { ("the address", "address") } else { ("--addr", "--addr") };
        match self {
            Self::Address { addr, reason } => write!(f, "pd listen on {addr}: {reason}; give {the_addr} as HOST:PORT"),
            Self::InUse { addr, holder } => {
                write!(f, "pd listen on {addr}: address already in use")?;
                holder.iter().try_for_each(|holder| write!(f, " by {holder}"))?;
                let may_be_etcd = holder.as_ref().is_none_or(|holder| holder.starts_with("etcd "));
                if may_be_etcd && addr.ends_with(&format!(":{ETCD_PORT}")) {
                    f.write_str(" (etcd? it has the same default port)")?;
                }
                write!(f, "; stop that process or choose another {an_addr}")
            }
            Self::Refused { addr, source } => {
                write!(f, "pd listen on {addr}: {source}; ")?;
                match source.kind() {
                    ErrorKind::AddrNotAvailable => write!(f, "choose an {an_addr} of this machine"),
                    ErrorKind::PermissionDenied => {
                        write!(f, "ports below 1024 may need root; choose another {an_addr}")
                    }
                    _ => write!(f, "choose another {an_addr}"),
                }
            }
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::Address { .. } | Self::InUse { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_this_process_as_its_holder() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = holder.local_addr().unwrap().to_string();
        let wildcard = format!(":{}", holder.local_addr().unwrap().port());
        for addr in [addr, wildcard] {
            let error = find(&addr).unwrap_err();
            let BindError::InUse { holder, .. } = &error else { panic!("{error:?}") };
            if cfg!(target_os = "linux") {
                let own = format!("(pid {})", std::process::id());
                assert!(holder.as_ref().is_some_and(|holder| holder.ends_with(&own)), "{error}");
            }
            assert!(error.to_string().starts_with(&format!("pd listen on {addr}: address already in use")), "{error}");
        }
    }

    #[test]
    fn a_busy_wildcard_keeps_every_address_busy() {
        let holder = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        for addr in [format!("127.0.0.1:{port}"), format!(":{port}")] {
            assert!(matches!(find(&addr), Err(BindError::InUse { .. })), "{addr}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_the_systems_reason() {
        let error = find("192.0.2.1:25999").unwrap_err();
        assert!(matches!(error, BindError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("an --addr of this machine"), "{error}");
    }

    #[test]
    fn etcds_port_asks_for_etcd_unless_another_is_known_to_hold_it() {
        let asks = |addr: &str, holder: Option<&str>| {
            let error = BindError::InUse { addr: addr.into(), holder: holder.map(str::to_owned) };
            error.to_string().contains("etcd?")
        };
        assert!(asks("127.0.0.1:2379", None));
        assert!(asks(":2379", Some("etcd (pid 7)")));
        assert!(!asks("127.0.0.1:2379", Some("pd-lite (pid 7)")));
        assert!(!asks("127.0.0.1:12379", None));
    }
}
