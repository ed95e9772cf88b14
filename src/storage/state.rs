//! `PD_STATE.json`: the allocators' checkpoint, in the reference's form with fields of ours that the reference ignores.
//!
//! ```text
//! Format of ours, one line without a newline:
//!   {"id_current":13,"ts_current":40,"manifest":"MANIFEST-000002","manifest_synced":1234,"crc32c":"0011aabb"}
//!   crc32c is that of the bytes in front of `,"crc32c"`, as eight lower-case hex digits
//! Format of the reference: {"id_current":13,"ts_current":40}
//! ```

use crate::core::Limits;

/// The file's name.
pub const STATE_FILE: &str = "PD_STATE.json";

/// How much of which manifest is known to be on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub manifest: String,
    /// Bytes from the start of that file.
    pub bytes: u64,
}

/// A checkpoint: no value above `limits` was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub limits: Limits,
    /// Absent in the reference's form.
    pub synced: Option<Synced>,
}

impl Checkpoint {
    /// The file's content in our form (with `synced`) or the reference's (without).
    #[must_use]
    pub fn encode(&self) -> String {
        unimplemented!()
    }

    /// Reads either form. In the reference's form everything that the reference accepts is accepted, but a checkpoint that
    /// is there and says nothing (empty, `{}`, `null`, a counter missing or null) is refused: it was lost.
    ///
    /// # Errors
    ///
    /// What is wrong, in a few words.
    pub fn decode(_bytes: &[u8]) -> Result<Self, String> {
        unimplemented!()
    }
}
