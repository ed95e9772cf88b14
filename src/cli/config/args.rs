//! The flags of the printing commands, each with its test.

use std::path::PathBuf;

use crate::cli::flags::{Flag, Group};
use crate::config::{LoadError, RaftConfig, Scope};

/// A command line of `pd`, `stores` or `regions`. What is one of a few words is kept as given: the commands differ in
/// whether and when they look at it.
#[derive(Clone, Debug)]
pub struct PrintArgs {
    config: PathBuf,
    format: String,
    scope: String,
    field: String,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fields, divided by blanks.
    Simple,
    Json,
}

/// What of the placement driver to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PdField {
    Addr,
    Workdir,
}

impl Default for PrintArgs {
    fn default() -> Self {
        Self {
            config: "raft_config.example.json".into(),
            format: "simple".to_owned(),
            scope: Scope::Host.name().to_owned(),
            field: "addr".to_owned(),
        }
    }
}

/// Errors are texts for the user. Words are read in any letter case and with blanks around them.
impl PrintArgs {
    /// Reads and validates the file. Reference: what breaks a rule is told without the file's name.
    pub fn load(&self) -> Result<RaftConfig, String> {
        let config = RaftConfig::load(&self.config).map_err(|error| match error {
            LoadError::Read { .. } => error.to_string(),
            LoadError::Syntax { .. } | LoadError::Type { .. } => format!("{}: {error}", self.config.display()),
        })?;
        config.validate()?;
        Ok(config)
    }

    pub fn format(&self) -> Result<Format, String> {
        match self.format.trim().to_ascii_lowercase().as_str() {
            "simple" => Ok(Format::Simple),
            "json" => Ok(Format::Json),
            _ => Err(format!("unknown format {:?}", self.format)),
        }
    }

    pub fn scope(&self) -> Result<Scope, String> {
        Scope::parse(&self.scope).ok_or_else(|| format!("unknown scope {:?} (expected host|docker)", self.scope))
    }

    pub fn field(&self) -> Result<PdField, String> {
        match self.field.trim().to_ascii_lowercase().as_str() {
            "addr" => Ok(PdField::Addr),
            "workdir" => Ok(PdField::Workdir),
            _ => Err(format!("unknown field {:?} (expected addr|workdir)", self.field)),
        }
    }
}

/// The flags that all three take.
pub const SOURCE: Group<PrintArgs> = Group { title: "File and form", flags: &[CONFIG, FORMAT] };
/// The flags of `pd` alone.
pub const CHOICE: Group<PrintArgs> = Group { title: "Choice (with --format simple)", flags: &[SCOPE, FIELD] };

#[cfg(test)]
fn parse(words: &[&str]) -> PrintArgs {
    super::pd::COMMAND.given(words).unwrap()
}

const CONFIG: Flag<PrintArgs> = Flag {
    name: "config",
    value: "FILE",
    help: "the raft_config.json to read",
    default: |args| args.config.display().to_string(),
    set: |args, value| {
        args.config = value.path();
        Ok(())
    },
};

#[test]
fn config_names_the_file_that_is_read() {
    assert_eq!(parse(&[]).config, PathBuf::from("raft_config.example.json"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), br#"{"max_retries":3}"#).unwrap();
    assert_eq!(parse(&["-config", file.path().to_str().unwrap()]).load().unwrap().max_retries, 3);
    assert!(parse(&["--config", ""]).load().is_err());
}

#[test]
fn a_file_that_is_not_understood_is_named_once() {
    let error = |path: &str| parse(&["--config", path]).load().unwrap_err();
    let missing = error("no/c.json");
    assert!(missing.starts_with("open no/c.json: ") && missing.matches("c.json").count() == 1, "{missing}");
    for (content, is_named) in [("{", true), (r#"{"pd":1}"#, true), (r#"{"stores":[{}]}"#, false)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), content.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(error(path).starts_with(&format!("{path}: ")), is_named, "{}", error(path));
    }
}

const FORMAT: Flag<PrintArgs> = Flag {
    name: "format",
    value: "simple|json",
    help: "fields divided by blanks, or one line of JSON",
    default: |args| args.format.clone(),
    set: |args, value| value.text().map(|text| args.format = text),
};

#[test]
fn format_is_simple_or_json() {
    assert_eq!(parse(&[]).format(), Ok(Format::Simple));
    assert_eq!(parse(&["-format= JSON "]).format(), Ok(Format::Json));
    assert_eq!(parse(&["--format", "yaml"]).format(), Err(r#"unknown format "yaml""#.to_owned()));
}

const SCOPE: Flag<PrintArgs> = Flag {
    name: "scope",
    value: "host|docker",
    help: "for whom; docker falls back to the host's value",
    default: |args| args.scope.clone(),
    set: |args, value| value.text().map(|text| args.scope = text),
};

#[test]
fn scope_is_host_or_docker() {
    assert_eq!(parse(&[]).scope(), Ok(Scope::Host));
    assert_eq!(parse(&["--scope", " Docker "]).scope(), Ok(Scope::Docker));
    assert!(parse(&["--scope", "cloud"]).scope().is_err());
}

const FIELD: Flag<PrintArgs> = Flag {
    name: "field",
    value: "addr|workdir",
    help: "which value",
    default: |args| args.field.clone(),
    set: |args, value| value.text().map(|text| args.field = text),
};

#[test]
fn field_is_addr_or_workdir() {
    assert_eq!(parse(&[]).field(), Ok(PdField::Addr));
    assert_eq!(parse(&["--field=WorkDir"]).field(), Ok(PdField::Workdir));
    assert!(parse(&["--field", "port"]).field().is_err());
}
