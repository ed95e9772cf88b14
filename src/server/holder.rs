//! Which process listens on a port, for the message of a bind that failed.
//!
//! Reads Linux's `/proc`; nothing depends on what it finds. `/proc/net/tcp` and `tcp6` give the socket's inode,
//! `/proc/PID/fd` the process that has it open.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that keeps `wanted` busy, as `etcd (pid 1234)`. `None` when it cannot be found out: it belongs to another
/// user, or the machine has no `/proc`.
pub(super) fn find(wanted: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .find_map(|table| listening_inode(&fs::read_to_string(table).ok()?, wanted).map(str::to_owned))?;
    let target = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse::<u32>().ok()?;
        if !has_open(&process.path(), &target) {
            return None;
        }
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

fn has_open(process: &Path, target: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == Path::new(target)))
}

/// The inode of the listening socket in the table that is in the way of `wanted`.
fn listening_inode(table: &str, wanted: SocketAddr) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        // Format: slot, local address, remote address, state, five fields, inode, ...
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16) == Ok(wanted.port());
        let in_the_way = is_wildcard(ip) || wanted.ip().is_unspecified() || is_same(ip, wanted);
        (*fields.get(3)? == LISTEN && same_port && in_the_way).then(|| fields.get(9).copied())?
    })
}

fn is_wildcard(ip: &str) -> bool {
    ip.bytes().all(|digit| digit == b'0')
}

/// The table writes an address as words of 32 bits, each in the machine's byte order.
fn is_same(ip: &str, wanted: SocketAddr) -> bool {
    let text = |bytes: &[u8]| {
        bytes
            .chunks_exact(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().expect("a chunk of four bytes"))))
            .collect::<String>()
    };
    match wanted.ip() {
        IpAddr::V4(wanted) => ip == text(&wanted.octets()) || ip == text(&wanted.to_ipv6_mapped().octets()),
        IpAddr::V6(wanted) => ip == text(&wanted.octets()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:094B 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
        1: 0200007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1\n\
        2: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33 1\n\
        3: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1\n\
        4: short\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_socket_in_the_way_is_found_in_the_table() {
        let inode = |addr: &str| listening_inode(TABLE, addr.parse().unwrap());
        assert_eq!(inode("127.0.0.1:2379"), Some("33"), "not the connection, not the other address");
        assert_eq!(inode("[::]:2379"), Some("22"), "a wildcard meets every address");
        assert_eq!(inode("127.0.0.1:8080"), Some("44"), "every address meets a wildcard");
        assert_eq!(inode("127.0.0.1:1"), None);
    }

    #[test]
    fn this_process_is_found_over_ipv4_and_ipv6() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has nothing to find there.
            let Ok(listener) = TcpListener::bind(addr) else { continue };
            let found = find(listener.local_addr().unwrap()).unwrap();
            assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
        }
    }
}
