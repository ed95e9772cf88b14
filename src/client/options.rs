//! How a client connects, waits and batches.

use std::time::Duration;

use super::Error;

/// How a client connects, waits and batches. Start from [`ClientOptions::new`] and change what has to differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// `HOST:PORT` each, one at least. The first that can be connected to is used until it cannot be connected to any more, or
    /// a call times out; then the next one. All have to lead to one PD, for only a PD's own counters never go back.
    ///
    /// A host whose name nobody knows is asked for again after a second, and then at intervals that grow to two minutes.
    pub addrs: Vec<String>,
    /// How long a call may take, retries and connecting included (2 s).
    pub timeout: Duration,
    /// How long one address gets to connect (1 s; gRPC gives it 100 ms at least).
    pub connect_timeout: Duration,
    /// Whether `http_proxy` and its like in the environment count (no).
    pub use_http_proxy: bool,
    /// Longest message that is sent, in bytes (65,536, the default of a server's `--max-request-bytes`). Lists are split so
    /// that no message is longer; where the server tells a lower limit, that counts. What does not fit alone is
    /// [`Error::Invalid`].
    pub request_bytes_max: usize,
    /// Timestamp calls that may be under way at once (1). What is asked for meanwhile goes into the next one.
    pub tso_calls_max: usize,
    /// Callers that may wait for timestamps; the next one gets [`Error::QueueFull`] (65,536).
    pub tso_queue_max: usize,
    /// Timestamps of one call (65,536); a caller that wants more gets a call of its own.
    pub tso_batch_max: u64,
    /// Ids that are fetched at once and given out from memory; those left at the client's end are lost. 0: none, each
    /// `alloc_id` is a call.
    pub id_range: u64,
}

impl ClientOptions {
    /// The defaults, for `addrs`: `HOST:PORT`, several with commas between them.
    #[must_use]
    pub fn new(addrs: &str) -> Self {
        Self {
            addrs: addrs.split(',').map(|addr| addr.trim().to_owned()).collect(),
            timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            use_http_proxy: false,
            request_bytes_max: 64 << 10,
            tso_calls_max: 1,
            tso_queue_max: 1 << 16,
            tso_batch_max: 1 << 16,
            id_range: 0,
        }
    }

    /// # Errors
    ///
    /// [`Error::Invalid`], naming the option.
    pub(super) fn check(&self) -> Result<(), Error> {
        let invalid = |what: String| Err(Error::Invalid(what));
        if self.addrs.is_empty() {
            return invalid("no address is given".to_owned());
        }
        for addr in &self.addrs {
            check_addr(addr).map_err(|reason| Error::Invalid(format!("address {addr:?}: {reason}")))?;
        }
        for (name, time) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if time.is_zero() {
                return invalid(format!("{name} is 0"));
            }
        }
        let counts = [
            ("request_bytes_max", self.request_bytes_max == 0),
            ("tso_calls_max", self.tso_calls_max == 0),
            ("tso_queue_max", self.tso_queue_max == 0),
            ("tso_batch_max", self.tso_batch_max == 0),
        ];
        match counts.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => invalid(format!("{name} is 0")),
            None => Ok(()),
        }
    }
}

/// What is wrong with an address, in a few words. Whether its host exists is seen when connecting.
fn check_addr(addr: &str) -> Result<(), String> {
    if addr.contains('/') {
        return Err("a scheme or a path is no part of it (HOST:PORT)".into());
    }
    let (host, port) = addr.rsplit_once(':').ok_or("the port is missing (HOST:PORT)")?;
    let host_is_right = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.contains(|letter: char| {
            matches!(letter, ':' | '[' | ']') || letter.is_whitespace() || letter.is_control()
        }),
    };
    if host.is_empty() || !host_is_right {
        return Err("the host is missing or malformed (HOST:PORT, [IPV6]:PORT)".into());
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if is_number => Ok(()),
        _ => Err(format!("the port must be a number from 1 to 65535, not {port:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port_each() {
        for addrs in ["127.0.0.1:2379", "localhost:1", "[::1]:65535", "a:1, b.c:2"] {
            assert_eq!(ClientOptions::new(addrs).check(), Ok(()), "{addrs}");
        }
        for addrs in [
            "",
            ":2379",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:2379",
            "http://a:1",
            "a:1,",
            "a b:1",
            "[a]:1",
            "[]:1",
            "a\0:1",
        ] {
            assert!(matches!(ClientOptions::new(addrs).check(), Err(Error::Invalid(_))), "{addrs}");
        }
    }

    #[test]
    fn an_option_of_zero_that_would_stop_everything_is_named() {
        let options = ClientOptions { tso_calls_max: 0, ..ClientOptions::new("a:1") };
        assert_eq!(options.check(), Err(Error::Invalid("tso_calls_max is 0".into())));
        let options = ClientOptions { timeout: Duration::ZERO, ..ClientOptions::new("a:1") };
        assert_eq!(options.check(), Err(Error::Invalid("timeout is 0".into())));
    }
}
