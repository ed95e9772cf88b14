//! `pd-lite config pd`: the placement driver's address or workdir.

use super::args::{CHOICE, Format, PdField, PrintArgs, SOURCE};
use super::json;
use crate::cli::flags::Command;

pub const COMMAND: Command<PrintArgs> = Command {
    name: "pd-lite config pd",
    about: "Prints the placement driver's address or workdir.",
    words: &[],
    groups: &[SOURCE, CHOICE],
};

/// Returns what to print. Reference: the scope is looked at before the file, the field only where it is used.
pub fn run(args: PrintArgs) -> Result<String, String> {
    let scope = args.scope()?;
    let pd = args.load()?.pd.ok_or("pd block missing from configuration")?;
    if args.format()? == Format::Json {
        return json::line(&pd);
    }
    let (value, what) = match args.field()? {
        PdField::Addr => (pd.addr(scope), "address"),
        PdField::Workdir => (pd.work_dir(scope), "workdir"),
    };
    if value.is_empty() {
        return Err(format!("pd {what} missing for scope {:?}", scope.name()));
    }
    Ok(format!("{value}\n"))
}
