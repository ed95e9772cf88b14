//! Which PD a command asks that names none: the environment's, or the one at the usual place.

use std::env::{self, VarError};

use super::{Exit, Failure};

/// The address where nothing says otherwise.
const ADDR: &str = "127.0.0.1:2379";
/// Says otherwise where no flag does.
const VARIABLE: &str = "PD_ADDR";

/// The default of a flag for a PD's address, in words.
pub const DEFAULT: &str = "PD_ADDR in the environment, or 127.0.0.1:2379";

/// The address of the flag, or else of the environment, or else the usual one.
///
/// # Errors
///
/// Exit code 2: the environment's is no text.
pub fn resolve(flag: Option<&str>) -> Result<String, Failure> {
    let variable = match (flag, env::var(VARIABLE)) {
        (Some(addr), _) => return Ok(addr.to_owned()),
        (None, Err(VarError::NotUnicode(addr))) => {
            return Err(Failure::new(Exit::Usage, format!("{VARIABLE} is not HOST:PORT: {addr:?}")));
        }
        (None, addr) => addr.ok().filter(|addr| !addr.is_empty()),
    };
    Ok(variable.unwrap_or_else(|| ADDR.to_owned()))
}

#[test]
fn the_default_in_words_names_the_variable_and_the_address() {
    assert_eq!(DEFAULT, format!("{VARIABLE} in the environment, or {ADDR}"));
}
