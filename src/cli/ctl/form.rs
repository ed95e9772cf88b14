//! The two forms of what `pd-lite ctl` prints.

use serde::Serialize;

use crate::cli::flags::Value;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One line for programs.
    Json,
}

impl Form {
    /// Reads the value of `-o`.
    ///
    /// # Errors
    ///
    /// What is expected.
    pub fn read(value: Value<'_>) -> Result<Self, String> {
        value.choice(&[("text", Self::Text), ("json", Self::Json)])
    }
}

/// A value as one line.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("no map with keys other than text, and no number without JSON") + "\n"
}
