//! Calls in process, timed without what prepares them.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use pd_lite::service::{Answer, Error, Reply};

use super::Result;
use super::figures::{Median, float64};

/// Calls that are prepared together, where one is short: reading the clock twice costs nothing beside them.
pub const MANY: u64 = 256;

/// The same where they are made from requests: as those of served calls, which were decoded right before, these stay in the
/// processor's nearest cache.
pub const NEAR: u64 = 32;

/// Numbers of calls, each given once.
#[derive(Default)]
pub struct Numbers(u64);

impl Numbers {
    /// The first of the next `count`.
    pub fn take(&mut self, count: u64) -> u64 {
        let first = self.0;
        self.0 += count;
        first
    }
}

/// Makes `calls` calls, `together` after each other, from what `prepare` makes of their numbers, counted from 0. `is_right`
/// makes a call and says whether its answer is right.
///
/// # Errors
///
/// A wrong answer.
pub fn timed<T>(
    together: u64,
    calls: u64,
    mut prepare: impl FnMut(u64) -> T,
    mut is_right: impl FnMut(&mut T) -> bool,
) -> Result<Duration> {
    let mut elapsed = Duration::ZERO;
    let mut first = 0;
    while first < calls {
        let end = calls.min(first + together);
        let mut prepared: Vec<T> = (first..end).map(&mut prepare).collect();
        let started = Instant::now();
        let all_right = prepared.iter_mut().all(|call| is_right(black_box(call)));
        elapsed += started.elapsed();
        if !all_right {
            return Err(format!("a wrong answer to one of the calls {first} to {}", end - 1).into());
        }
        first = end;
    }
    Ok(elapsed)
}

/// The median over `runs` of the time of a call, in ns. A run is of `together` calls, prepared as for [`timed`]; other work on
/// the machine interrupts few of them.
pub fn median_nanos<T>(
    runs: u64,
    numbers: &mut Numbers,
    together: u64,
    prepare: impl Fn(u64) -> T,
    mut is_right: impl FnMut(&mut T) -> bool,
) -> Result<f64> {
    let run = |_| {
        let first = numbers.take(together);
        let time = timed(together, together, |number| prepare(first + number), &mut is_right)?;
        Ok(1e9 * time.as_secs_f64() / float64(together))
    };
    let runs: Result<Vec<f64>> = (0..runs).map(run).collect();
    Ok(Median::of(&runs?).value)
}

/// Makes `calls` calls that wait for the disk, `together` of them at once: the next ones when all are answered.
///
/// # Errors
///
/// A call that is refused, or a wrong answer.
pub fn timed_waiting<Q, S>(
    together: u64,
    calls: u64,
    mut prepare: impl FnMut(u64) -> Q,
    call: impl Fn(&Q) -> Answer<S>,
    is_right: impl Fn(&S) -> bool,
) -> Result<Duration> {
    let mut elapsed = Duration::ZERO;
    let mut first = 0;
    while first < calls {
        let end = calls.min(first + together);
        let prepared: Vec<Q> = (first..end).map(&mut prepare).collect();
        let started = Instant::now();
        let made: Vec<Answer<S>> = prepared.iter().map(&call).collect();
        for answer in made {
            let answer = wait(answer).map_err(|error| error.to_string())?;
            if !is_right(&answer) {
                return Err(format!("a wrong answer to one of the calls {first} to {}", end - 1).into());
            }
        }
        elapsed += started.elapsed();
        first = end;
    }
    Ok(elapsed)
}

/// The answer to a call that may have to wait for the disk.
///
/// # Errors
///
/// The call is refused.
pub fn wait<T>(answer: Answer<T>) -> std::result::Result<T, Error> {
    match answer? {
        Reply::Now(answer) => Ok(answer),
        Reply::Later(answer) => pollster::block_on(answer),
    }
}

/// The answer that comes at once, or nothing: the call was refused, or has to wait for the disk.
pub fn at_once<T>(answer: Answer<T>) -> Option<T> {
    match answer {
        Ok(Reply::Now(answer)) => Some(answer),
        Ok(Reply::Later(_)) | Err(_) => None,
    }
}

/// What any reading of a file takes at least: a chunk after the other, each checksummed.
pub fn read_and_checksum(path: &Path) -> Result<Duration> {
    let started = Instant::now();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut checksum = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
    }
    black_box(checksum);
    Ok(started.elapsed())
}
