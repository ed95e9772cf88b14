//! How much memory a server takes, as the kernel counts it.

use std::fs;

use super::Server;

/// Memory at a moment, to measure growth from.
pub struct Memory {
    status: String,
    before: u64,
}

impl Memory {
    pub fn of(server: &Server) -> Self {
        let status = format!("/proc/{}/status", server.pid());
        let before = bytes(&status, "VmRSS:");
        Self { status, before }
    }

    /// By how many bytes it has grown at most since then, even if it has shrunk again. What the process needed before that
    /// moment, to start, counts too.
    pub fn growth_max(&self) -> u64 {
        bytes(&self.status, "VmHWM:").saturating_sub(self.before)
    }

    /// Fails when it has ever grown by more than `limit` bytes.
    #[track_caller]
    pub fn grew_at_most(&self, limit: u64, by: &str) {
        let growth = self.growth_max();
        println!("{by}: the server's memory grew by at most {} KiB", growth >> 10);
        assert!(growth <= limit, "{by}: the server's memory grew by {} KiB, {} may be", growth >> 10, limit >> 10);
    }
}

fn bytes(status: &str, field: &str) -> u64 {
    let text = fs::read_to_string(status).expect("the server runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells");
    line.trim().strip_suffix(" kB").expect("in KiB").parse::<u64>().unwrap() << 10
}
