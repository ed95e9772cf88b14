//! CPU time of a process, from `/proc/PID/stat`: user and kernel mode of all its threads, in the kernel's ticks.

use std::fs;
use std::time::Duration;

/// The type of the entry in `/proc/self/auxv` that holds the ticks of a second.
const AT_CLKTCK: u64 = 17;
/// What every kernel of this century for today's machines says there.
const TICKS_PER_SECOND: u64 = 100;

/// A process whose CPU time is asked for.
pub struct ProcessCpu {
    /// In `/proc`.
    name: String,
    /// When it was started, in ticks since boot: another process with its number has another one.
    started: u64,
    tick: Duration,
}

struct Stat {
    ticks: u64,
    started: u64,
}

impl ProcessCpu {
    /// The process with this number.
    ///
    /// # Errors
    ///
    /// In words: there is none.
    pub fn of(pid: u32) -> Result<Self, String> {
        Self::named(pid.to_string()).ok_or_else(|| format!("no process has the number {pid}"))
    }

    /// This process. `None`: there is no `/proc`.
    pub fn of_this_process() -> Option<Self> {
        Self::named("self".to_owned())
    }

    fn named(name: String) -> Option<Self> {
        let started = read(&name)?.started;
        let per_second = ticks_per_second().filter(|ticks| *ticks > 0).unwrap_or(TICKS_PER_SECOND);
        Some(Self { name, started, tick: Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX) })
    }

    /// CPU time so far. `None`: the process has ended.
    pub fn used(&self) -> Option<Duration> {
        let stat = read(&self.name).filter(|stat| stat.started == self.started)?;
        Some(self.tick * u32::try_from(stat.ticks).unwrap_or(u32::MAX))
    }

    /// The smallest time that the kernel tells apart.
    pub fn tick(&self) -> Duration {
        self.tick
    }
}

fn read(name: &str) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{name}/stat")).ok()?)
}

/// The fields are numbered as in proc(5); the second, a name in brackets, may hold anything. A process that has ended and
/// that nobody has waited for is `Z`.
fn parse(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    if matches!(field(3), Some("Z" | "X")) {
        return None;
    }
    Some(Stat { ticks: number(14)?.checked_add(number(15)?)?, started: number(22)? })
}

fn ticks_per_second() -> Option<u64> {
    let bytes = fs::read("/proc/self/auxv").ok()?;
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
    words.chunks_exact(2).find(|entry| entry[0] == AT_CLKTCK).map(|entry| entry[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_times_and_the_start_are_found_behind_any_name() {
        let line = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 4711 20\n";
        let stat = parse(line).unwrap();
        assert_eq!((stat.ticks, stat.started), (300, 4711));
        assert!(parse(&line.replace(" S ", " Z ")).is_none(), "it has ended");
        assert!(parse("7 (a) S 1 2").is_none());
        assert!(parse("").is_none());
    }

    #[test]
    fn a_process_that_computes_uses_time_and_one_that_is_not_there_has_none() {
        let cpu = ProcessCpu::of(std::process::id()).unwrap();
        assert!(cpu.tick() > Duration::ZERO && cpu.tick() <= Duration::from_millis(10));
        let before = cpu.used().unwrap();
        while cpu.used().unwrap() == before {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        assert!(ProcessCpu::of(u32::MAX).is_err());
        assert!(ProcessCpu { started: 1, ..cpu }.used().is_none(), "another process with the same number");
    }
}
