//! Flags and words: one table a command, from which the command line is parsed and the help text is made.
//!
//! The grammar is that of Go's flags, which users of the reference type: one or two dashes, a value behind `=` or in the next
//! word whatever it looks like, and of a flag that is given twice the last one counts (or each one, for a list). Other than
//! there, a word that belongs to no flag is an error, not the silent end of the flags, and numbers are decimal.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use lexopt::Arg;

use super::{Exit, Failure, Words, print, version_text};

/// A command. `A` is what its flags and words are parsed into; its `Default` is an empty command line.
pub struct Command<A: 'static> {
    /// What is typed: `pd-lite pd`.
    pub name: &'static str,
    /// Opens the help text; one or more whole lines.
    pub about: &'static str,
    /// What stands beside the flags, in this order; all of it has to be given.
    pub words: &'static [Word<A>],
    /// By subject, as the help text shows them.
    pub groups: &'static [Group<A>],
}

/// One word that belongs to no flag.
pub struct Word<A> {
    /// As the help text shows it: `KEY`.
    pub name: &'static str,
    /// Half a sentence.
    pub help: &'static str,
    /// Takes the word over. An error says what is expected instead.
    pub set: fn(&mut A, Value<'_>) -> Result<(), String>,
}

/// Flags of one subject.
pub struct Group<A: 'static> {
    pub title: &'static str,
    pub flags: &'static [Flag<A>],
}

/// One flag.
pub struct Flag<A> {
    /// Without dashes.
    pub name: &'static str,
    /// What stands for the value in the help text; empty: a switch, which takes none.
    pub value: &'static str,
    /// Half a sentence.
    pub help: &'static str,
    /// The default as the help text shows it, out of `A::default()`; empty: none.
    pub default: fn(&A) -> String,
    /// Takes the value over. An error says what is expected instead: "a whole number".
    pub set: fn(&mut A, Value<'_>) -> Result<(), String>,
}

/// A word, or the value of a flag, as it was typed.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a OsStr);

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<A> {
    /// To run with these arguments.
    Run(A),
    /// To print this text, help or version, and do nothing.
    Print(String),
}

impl Value<'_> {
    /// Any text.
    ///
    /// # Errors
    ///
    /// What is expected.
    pub fn text(&self) -> Result<String, String> {
        self.0.to_str().map(str::to_owned).ok_or_else(|| "UTF-8 text".to_owned())
    }

    /// Whatever was typed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A file's name, whatever its bytes are; blanks around it go away.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.to_str().map_or_else(|| self.0.into(), |text| text.trim().into())
    }

    /// A decimal number in `range`. `010` is refused like `0x8`: in Go it is an 8, elsewhere a 10.
    ///
    /// # Errors
    ///
    /// What is expected.
    pub fn number<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Result<T, String> {
        let digits = self.0.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .filter(|text| *text == "0" || !text.starts_with('0'))
            .and_then(|text| text.parse().ok())
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("a decimal number from {} to {}", range.start(), range.end()))
    }

    /// One of `choices`, in any letter case and with blanks around it.
    ///
    /// # Errors
    ///
    /// What is expected.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, String> {
        let text = self.0.to_str().unwrap_or_default().trim();
        let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join("|"))
        })
    }
}

impl<A: Default> Command<A> {
    /// Parses `words`, the command line behind the command's name, and does `work` with them, or prints what they ask for.
    ///
    /// # Errors
    ///
    /// Those of [`Command::parse`] and of `work`.
    pub fn run(&self, words: Words, work: impl FnOnce(A) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
        match self.parse(words)? {
            Parsed::Run(args) => work(args),
            Parsed::Print(text) => print(&text).map(|()| Exit::Clean),
        }
    }

    /// Parses `words`. `--help` and `--version` count as soon as they are met.
    ///
    /// # Errors
    ///
    /// Exit code 2: an unknown flag, a value that is missing, not wanted or not understood, a word that is missing or too many.
    pub fn parse(&self, words: Words) -> Result<Parsed<A>, Failure> {
        self.parse_words(words).map_err(|message| Failure::new(Exit::Usage, message))
    }

    fn parse_words(&self, words: Words) -> Result<Parsed<A>, String> {
        let mut args = A::default();
        let mut words_left = self.words.iter();
        let mut parser = lexopt::Parser::from_args(words);
        parser.set_short_equals(false);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            let (name, attached) = match argument {
                Arg::Long(name) => (name.to_owned(), None),
                // lexopt takes `-addr=x` for a bundle of one-letter flags; its rest belongs to the name here.
                Arg::Short(first) => split_one_dash(first, parser.optional_value().unwrap_or_default()),
                Arg::Value(value) => {
                    let word = words_left.next();
                    let word = word.ok_or_else(|| format!("unexpected word {value:?}{}", self.see_help()))?;
                    set(word.set, &mut args, &value, word.name)?;
                    continue;
                }
            };
            let attached = attached.or_else(|| parser.optional_value());
            let flag = self.flags().find(|flag| flag.name == name);
            let is_help = flag.is_none() && matches!(name.as_str(), "help" | "h");
            let is_version = flag.is_none() && name == "version";
            if let Some(value) = &attached
                && (is_help || is_version || flag.is_some_and(|flag| flag.value.is_empty()))
            {
                return Err(format!("--{name} takes no value, but got {value:?}"));
            }
            if is_help {
                return Ok(Parsed::Print(self.help()));
            }
            if is_version {
                return Ok(Parsed::Print(version_text()));
            }
            let flag = flag.ok_or_else(|| format!("unknown flag --{name}{}", self.see_help()))?;
            let value = match attached {
                Some(value) => value,
                None if flag.value.is_empty() => OsString::new(),
                None => parser.value().map_err(|_| format!("--{name} needs a value: {}", flag.value))?,
            };
            set(flag.set, &mut args, &value, &typed(flag.name))?;
        }
        match words_left.next() {
            Some(word) => Err(format!("{} is missing{}", word.name, self.see_help())),
            None => Ok(Parsed::Run(args)),
        }
    }

    /// What `words` are parsed into; an error is the line, or the text that they ask for.
    #[cfg(test)]
    pub fn given(&self, words: &[&str]) -> Result<A, String> {
        match self.parse(words.iter().map(Into::into).collect()).map_err(|failure| failure.line())? {
            Parsed::Run(args) => Ok(args),
            Parsed::Print(text) => Err(text),
        }
    }

    fn flags(&self) -> impl Iterator<Item = &'static Flag<A>> {
        self.groups.iter().flat_map(|group| group.flags)
    }

    fn see_help(&self) -> String {
        format!(" (see {} --help)", self.name)
    }

    /// The answer to `--help`.
    #[must_use]
    pub fn help(&self) -> String {
        const HELP: [(&str, &str); 2] = [("--help", "print this text"), ("--version", "print the version")];
        let typed = |flag: &Flag<A>| format!("{} {}", typed(flag.name), flag.value).trim_end().to_owned();
        let width = self.flags().map(|flag| typed(flag).len()).chain([HELP[1].0.len()]).max().unwrap_or_default();
        let defaults = A::default();
        let words: String = self.words.iter().map(|word| format!(" {}", word.name)).collect();
        let mut text = format!("{}\n\nUsage: {}{words} [flags]\n", self.about, self.name);
        if !self.words.is_empty() {
            text.push_str("\nWords:\n");
        }
        for word in self.words {
            writeln!(text, "  {:width$}  {}", word.name, word.help).expect(STRING);
        }
        for group in self.groups {
            write!(text, "\n{}:\n", group.title).expect(STRING);
            for flag in group.flags {
                let default = (flag.default)(&defaults);
                let default = if default.is_empty() { default } else { format!(" (default: {default})") };
                writeln!(text, "  {:width$}  {}{default}", typed(flag), flag.help).expect(STRING);
            }
        }
        text.push_str("\nHelp:\n");
        for (flag, help) in HELP {
            writeln!(text, "  {flag:width$}  {help}").expect(STRING);
        }
        text
    }
}

const STRING: &str = "a String takes everything";

fn set<A>(
    set: fn(&mut A, Value<'_>) -> Result<(), String>,
    args: &mut A,
    value: &OsStr,
    name: &str,
) -> Result<(), String> {
    set(args, Value(value)).map_err(|expected| format!("invalid value {value:?} for {name}: expected {expected}"))
}

/// A flag's name with its dashes, as the help text shows it.
fn typed(name: &str) -> String {
    format!("{}{name}", if name.len() == 1 { "-" } else { "--" })
}

/// `a` and `ddr=x` as the flag `addr` and its value `x`.
fn split_one_dash(first: char, rest: OsString) -> (String, Option<OsString>) {
    let mut name = rest.into_vec();
    let value = name.iter().position(|byte| *byte == b'=').map(|at| {
        let value = name.split_off(at).split_off(1);
        OsString::from_vec(value)
    });
    (format!("{first}{}", OsStr::from_bytes(&name).to_string_lossy()), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Args {
        name: String,
        count: u64,
        list: Vec<String>,
        quiet: bool,
    }

    const QUIET: Flag<Args> = Flag {
        name: "quiet",
        value: "",
        help: "say nothing",
        default: |_| String::new(),
        set: |args, _| {
            args.quiet = true;
            Ok(())
        },
    };

    const COMMAND: Command<Args> = Command {
        name: "x y",
        about: "About.",
        words: &[],
        groups: &[
            Group {
                title: "First",
                flags: &[
                    Flag {
                        name: "name",
                        value: "TEXT",
                        help: "the name",
                        default: |_| String::new(),
                        set: |args, value| value.text().map(|text| args.name = text),
                    },
                    Flag {
                        name: "count",
                        value: "N",
                        help: "how many",
                        default: |args| args.count.to_string(),
                        set: |args, value| value.number(0..=u64::MAX).map(|count| args.count = count),
                    },
                ],
            },
            Group {
                title: "Second",
                flags: &[
                    Flag {
                        name: "list",
                        value: "TEXT",
                        help: "more and more",
                        default: |_| String::new(),
                        set: |args, value| value.text().map(|text| args.list.push(text)),
                    },
                    QUIET,
                ],
            },
        ],
    };

    fn parse(words: &[&str]) -> Result<Args, String> {
        COMMAND.given(words)
    }

    #[test]
    fn one_or_two_dashes_an_equals_sign_or_a_space() {
        let expected = Args { name: "v".into(), ..Args::default() };
        for words in [&["--name", "v"][..], &["-name", "v"], &["--name=v"], &["-name=v"]] {
            assert_eq!(parse(words).unwrap(), expected, "{words:?}");
        }
    }

    #[test]
    fn a_value_may_be_empty_or_look_like_a_flag() {
        assert_eq!(parse(&["--name", "--count"]).unwrap().name, "--count");
        assert_eq!(parse(&["-name", "--"]).unwrap().name, "--");
        assert_eq!(parse(&["-name=a=b"]).unwrap().name, "a=b");
        assert_eq!(parse(&["-name", ""]).unwrap().name, "");
        assert_eq!(parse(&["--name="]).unwrap().name, "");
        assert_eq!(parse(&["-name="]).unwrap().name, "");
    }

    #[test]
    fn the_last_of_two_counts_and_a_list_grows() {
        let args = parse(&["--name=a", "-list", "1", "--name", "b", "--list=2", "-quiet"]).unwrap();
        assert_eq!(args, Args { name: "b".into(), count: 0, list: vec!["1".into(), "2".into()], quiet: true });
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_flag_and_what_is_expected() {
        for (words, line) in [
            (&["--bogus"][..], "error: unknown flag --bogus (see x y --help)"),
            (&["-b=1"], "error: unknown flag --b (see x y --help)"),
            (&["---name", "v"], "error: unknown flag ---name (see x y --help)"),
            (&["--=v"], "error: unknown flag -- (see x y --help)"),
            (&["-=v"], "error: unknown flag --=v (see x y --help)"),
            (&["--Name", "v"], "error: unknown flag --Name (see x y --help)"),
            (&["--name"], "error: --name needs a value: TEXT"),
            (
                &["--count", "-1"],
                r#"error: invalid value "-1" for --count: expected a decimal number from 0 to 18446744073709551615"#,
            ),
            (&["--name", "v", "word"], r#"error: unexpected word "word" (see x y --help)"#),
            (&["word", "--name", "v"], r#"error: unexpected word "word" (see x y --help)"#),
            (&["--", "--name", "v"], r#"error: unexpected word "--name" (see x y --help)"#),
            (&["-"], r#"error: unexpected word "-" (see x y --help)"#),
            (&[""], r#"error: unexpected word "" (see x y --help)"#),
            (&["--quiet=yes"], r#"error: --quiet takes no value, but got "yes""#),
            (&["-help=no"], r#"error: --help takes no value, but got "no""#),
        ] {
            assert_eq!(parse(words).unwrap_err(), line, "{words:?}");
        }
        assert_eq!(parse(&["--"]).unwrap(), Args::default());
    }

    #[test]
    fn numbers_are_decimal_and_never_cut() {
        let number = |text: &str| Value(OsStr::new(text)).number::<u64>(0..=u64::MAX).ok();
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for text in ["", " 1", "+1", "-0", "1.0", "1e3", "0x10", "010", "00", "1_000", "18446744073709551616", "٣"] {
            assert_eq!(number(text), None, "{text:?}");
        }
        assert_eq!(Value(OsStr::new("9")).number::<u64>(1..=8).unwrap_err(), "a decimal number from 1 to 8");
        assert_eq!(Value(OsStr::new("256")).number::<u8>(0..=u64::MAX).ok(), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_but_in_paths() {
        let bytes = OsStr::from_bytes(b"/a\xff");
        assert_eq!(Value(bytes).path(), PathBuf::from(bytes));
        assert_eq!(Value(OsStr::new(" /a b ")).path(), PathBuf::from("/a b"));
        assert_eq!(Value(bytes).text(), Err("UTF-8 text".to_owned()));
        let words = vec![OsStr::from_bytes(b"--name=\xff").to_owned()];
        let line = COMMAND.parse(words).unwrap_err().line();
        assert_eq!(line, r#"error: invalid value "\xFF" for --name: expected UTF-8 text"#);
        let words = vec![OsStr::from_bytes(b"-n\xff=1").to_owned()];
        assert_eq!(COMMAND.parse(words).unwrap_err().line(), "error: unknown flag --n\u{fffd} (see x y --help)");
    }

    const WITH_WORDS: Command<Args> = Command {
        name: "x z",
        about: "About.",
        words: &[
            Word { name: "NAME", help: "its name", set: |args, value| value.text().map(|text| args.name = text) },
            Word {
                name: "COUNT",
                help: "how many",
                set: |args, value| value.number(1..=9).map(|count| args.count = count),
            },
        ],
        groups: &[Group { title: "First", flags: &[QUIET] }],
    };

    #[test]
    fn words_stand_in_front_of_the_flags_or_behind_or_between() {
        let expected = Args { name: "a".into(), count: 7, list: vec![], quiet: true };
        for words in [["a", "7", "--quiet"], ["--quiet", "a", "7"], ["a", "--quiet", "7"]] {
            assert_eq!(WITH_WORDS.given(&words).as_ref(), Ok(&expected));
        }
        assert_eq!(WITH_WORDS.given(&["--", "--quiet", "7"]).unwrap().name, "--quiet");
        assert_eq!(WITH_WORDS.given(&["-", "7"]).unwrap().name, "-");
        assert_eq!(WITH_WORDS.given(&["", "7"]).unwrap().name, "");
    }

    #[test]
    fn a_word_that_is_missing_wrong_or_too_many_is_named() {
        for (words, line) in [
            (&[][..], "error: NAME is missing (see x z --help)"),
            (&["a"], "error: COUNT is missing (see x z --help)"),
            (&["a", "--quiet"], "error: COUNT is missing (see x z --help)"),
            (&["a", "x"], r#"error: invalid value "x" for COUNT: expected a decimal number from 1 to 9"#),
            (&["a", "7", "b"], r#"error: unexpected word "b" (see x z --help)"#),
        ] {
            assert_eq!(WITH_WORDS.given(words).unwrap_err(), line, "{words:?}");
        }
        let help = "\
About.

Usage: x z NAME COUNT [flags]

Words:
  NAME       its name
  COUNT      how many

First:
  --quiet    say nothing
";
        assert!(WITH_WORDS.given(&["--help"]).unwrap_err().starts_with(help));
    }

    #[test]
    fn a_choice_takes_any_letter_case() {
        let choices = [("host", 1), ("docker", 2)];
        assert_eq!(Value(OsStr::new(" Docker ")).choice(&choices), Ok(2));
        assert_eq!(Value(OsStr::new("cloud")).choice(&choices), Err("one of host|docker".to_owned()));
    }

    #[test]
    fn help_shows_every_flag_by_subject_with_its_default() {
        let help = "\
About.

Usage: x y [flags]

First:
  --name TEXT  the name
  --count N    how many (default: 0)

Second:
  --list TEXT  more and more
  --quiet      say nothing

Help:
  --help       print this text
  --version    print the version
";
        for words in [&["--help"][..], &["-h"], &["--count", "1", "-help", "--bogus"]] {
            assert_eq!(parse(words).unwrap_err(), help, "{words:?}");
        }
        assert_eq!(parse(&["--version"]).unwrap_err(), version_text());
    }
}
