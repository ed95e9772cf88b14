//! Work on a workdir that no server has open: appending a region by hand, and `ctl workdir check|dump|set-min|rebuild`.
//!
//! Each takes the lock, changes files only in steps that a crash may end anywhere, and leaves a workdir that is either
//! usable or as refused as it was before.

mod append;
mod check;
mod rebuild;
mod set_min;
mod signs;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::dir::Dir;
use super::fs::OsFs;

pub use self::append::{AppendError, append_region};
pub use self::check::{Dump, ManifestReport, Report, check, dump};
pub use self::rebuild::{Rebuilt, rebuild};
pub use self::set_min::{Raised, set_min};

fn on_disk(workdir: &Path) -> Dir {
    Dir::new(Arc::new(OsFs), workdir.to_owned())
}
