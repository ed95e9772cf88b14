//! `PD_STATE.json`: the allocators' checkpoint, in the reference's form with fields of ours that the reference ignores.
//!
//! ```text
//! Format of ours, one line without a newline:
//!   {"id_current":13,"ts_current":40,"manifest":"MANIFEST-000002","manifest_synced":1234,"crc32c":"0011aabb"}
//!   crc32c is that of the bytes in front of `,"crc32c"`, as eight lower-case hex digits
//! Format of the reference: {"id_current":13,"ts_current":40}
//! ```
//!
//! A file that has one of our fields is in our form, and then exactly as [`Checkpoint::encode`] writes it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

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
        let mut text = format!(r#"{{"id_current":{},"ts_current":{}"#, self.limits.ids, self.limits.timestamps);
        if let Some(Synced { manifest, bytes }) = &self.synced {
            let manifest = serde_json::Value::from(manifest.as_str());
            text.push_str(&format!(r#","manifest":{manifest},"manifest_synced":{bytes}"#));
            let checksum = crc32c::crc32c(text.as_bytes());
            text.push_str(&format!(r#","crc32c":"{checksum:08x}""#));
        }
        text.push('}');
        text
    }

    /// Reads either form. In the reference's form everything that the reference accepts is accepted, but a checkpoint that
    /// is there and says nothing (empty, `{}`, `null`, a counter missing or null) is refused: it was lost.
    ///
    /// # Errors
    ///
    /// What is wrong, in a few words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty: the checkpoint is lost".into());
        }
        let fields: Fields = serde_json::from_slice(bytes).map_err(|error| format!("it is no checkpoint: {error}"))?;
        let (Some(ids), Some(timestamps)) = (fields.ids, fields.timestamps) else {
            return Err("a counter is missing: the checkpoint is lost".into());
        };
        let limits = Limits { ids, timestamps };
        if !fields.is_ours {
            return Ok(Self { limits, synced: None });
        }
        let synced = fields.manifest.zip(fields.synced).map(|(manifest, bytes)| Synced { manifest, bytes });
        let checkpoint = Self { limits, synced };
        if checkpoint.synced.is_some() && checkpoint.is_encoded_as(bytes) {
            Ok(checkpoint)
        } else {
            Err("its checksum does not match its content".into())
        }
    }

    /// Tells whether `bytes` are what [`Checkpoint::encode`] writes: beside a manifest of ours no other spelling is right.
    pub(super) fn is_encoded_as(&self, bytes: &[u8]) -> bool {
        self.encode().as_bytes() == bytes
    }
}

/// The members of either form, the last one of a name where it stands twice.
#[derive(Default)]
struct Fields {
    ids: Option<u64>,
    timestamps: Option<u64>,
    manifest: Option<String>,
    synced: Option<u64>,
    is_ours: bool,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with id_current and ts_current")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "manifest" => fields.manifest = Some(members.next_value()?),
                "manifest_synced" => fields.synced = Some(members.next_value()?),
                "crc32c" => {
                    members.next_value::<IgnoredAny>()?;
                }
                // The reference matches names in any letter case.
                _ if name.eq_ignore_ascii_case("id_current") => fields.ids = Some(members.next_value()?),
                _ if name.eq_ignore_ascii_case("ts_current") => fields.timestamps = Some(members.next_value()?),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            fields.is_ours |= matches!(name.as_str(), "manifest" | "manifest_synced" | "crc32c");
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Checkpoint {
        let synced = Synced { manifest: "MANIFEST-000002".into(), bytes: 1234 };
        Checkpoint { limits: Limits { ids: 13, timestamps: 40 }, synced: Some(synced) }
    }

    fn limits(text: &str) -> Result<(u64, u64), String> {
        Checkpoint::decode(text.as_bytes()).map(|checkpoint| (checkpoint.limits.ids, checkpoint.limits.timestamps))
    }

    #[test]
    fn both_forms_are_written_as_documented_and_come_back() {
        let plain = Checkpoint { synced: None, ..ours() };
        assert_eq!(plain.encode(), r#"{"id_current":13,"ts_current":40}"#);
        let front = r#"{"id_current":13,"ts_current":40,"manifest":"MANIFEST-000002","manifest_synced":1234"#;
        let checksum = crc32c::crc32c(front.as_bytes());
        assert_eq!(ours().encode(), format!(r#"{front},"crc32c":"{checksum:08x}"}}"#));
        for checkpoint in [plain, ours()] {
            assert_eq!(Checkpoint::decode(checkpoint.encode().as_bytes()), Ok(checkpoint));
        }
    }

    #[test]
    fn what_the_reference_accepts_is_accepted() {
        assert_eq!(limits(r#"{"id_current":13,"ts_current":40,"x":1,"y":null}"#), Ok((13, 40)));
        assert_eq!(limits(r#"{"ts_current":40,"id_current":13}"#), Ok((13, 40)));
        assert_eq!(limits("\n{ \"id_current\" : 13 ,\r\n\t\"ts_current\": 40 }\n "), Ok((13, 40)));
        assert_eq!(limits(r#"{"a":{"id_current":[1,{"b":2}]},"id_current":13,"ts_current":40}"#), Ok((13, 40)));
        assert_eq!(limits(r#"{"ID_Current":13,"tS_cURRENT":40}"#), Ok((13, 40)));
        assert_eq!(limits(r#"{"id_current":1,"ts_current":2,"id_current":13,"TS_CURRENT":40}"#), Ok((13, 40)));
        assert_eq!(limits(r#"{"id_current":18446744073709551615,"ts_current":0}"#), Ok((u64::MAX, 0)));
        let deep = format!(r#"{{"a":{}{},"id_current":13,"ts_current":40}}"#, "[".repeat(9000), "]".repeat(9000));
        assert_eq!(limits(&deep), Ok((13, 40)));
    }

    #[test]
    fn a_checkpoint_that_says_nothing_is_refused() {
        for text in [
            "",
            "{}",
            "null",
            r#"{"id_current":13}"#,
            r#"{"ts_current":40}"#,
            r#"{"id_current":13,"ts_current":null}"#,
            r#"{"id_current":null,"ts_current":40}"#,
        ] {
            assert!(limits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_reference_refuses_is_refused() {
        let whole = r#"{"id_current":13,"ts_current":40}"#;
        for cut in 0..whole.len() {
            assert!(limits(&whole[..cut]).is_err(), "{cut}");
        }
        for text in [" ", "\n\n", "[13,40]", "13", "\"x\""] {
            assert!(limits(text).is_err(), "{text}");
        }
        for behind in ["x", "\0", "{}", ","] {
            assert!(limits(&format!("{whole}{behind}")).is_err(), "{behind:?}");
        }
        assert!(limits(&format!("\u{feff}{whole}")).is_err());
        for number in
            ["-1", "-0", "1.5", "1.0", "1e2", "\"13\"", "18446744073709551616", "[1]", "{}", "true", "013", "+1"]
        {
            assert!(limits(&format!(r#"{{"id_current":{number},"ts_current":40}}"#)).is_err(), "{number}");
        }
        let deep = format!(r#"{{"id_current":{}"#, "[".repeat(1_000_000));
        assert!(limits(&deep).is_err());
        let deep = format!(r#"{{"a":{}"#, "{\"a\":".repeat(1_000_000));
        assert!(limits(&deep).is_err());
    }

    #[test]
    fn each_flipped_bit_and_each_cut_of_our_form_is_noticed() {
        let whole = ours().encode().into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&flipped).is_err(), "{}", String::from_utf8_lossy(&flipped));
        }
        for cut in 0..whole.len() {
            assert!(Checkpoint::decode(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn our_form_has_one_spelling() {
        let text = ours().encode();
        for other in [
            text.replace("13,", "13, "),
            text.replace("id_current", "ID_CURRENT"),
            format!("{text}\n"),
            text.replace(r#","manifest_synced":1234"#, ""),
        ] {
            assert!(Checkpoint::decode(other.as_bytes()).is_err(), "{other}");
        }
    }
}
