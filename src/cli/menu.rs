//! A command that only leads to others: `pd-lite` itself, `pd-lite config`, `pd-lite ctl`.

use std::fmt::Write as _;

use super::{Exit, Failure, Words, print, version_text};

/// A list of commands.
pub struct Menu {
    /// What is typed to come here: `pd-lite config`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    pub entries: &'static [Entry],
    /// More for the help text, behind the commands; ends with a newline, or is empty.
    pub notes: &'static str,
    pub misuse: Misuse,
}

/// One command of a menu.
pub struct Entry {
    pub name: &'static str,
    /// Half a sentence.
    pub about: &'static str,
    /// Gets the words behind the command's name.
    pub run: fn(Words) -> Result<Exit, Failure>,
}

/// What becomes of a command line that names no command of the menu.
pub enum Misuse {
    /// Exit code 2. An unknown command is an error line, no command at all the help text.
    ErrorLine,
    /// Exit code 1 and the help text, as recorded of the reference's `nokv-config`.
    HelpText,
}

impl Menu {
    /// Runs the command that the first word names with the words behind it. Behind `help` (`--help`) it is the next word
    /// that names one, to print its help.
    ///
    /// # Errors
    ///
    /// That command's, or that there is none of this name.
    pub fn run(&self, mut words: Words) -> Result<Exit, Failure> {
        let name = if words.is_empty() { String::new() } else { words.remove(0).to_string_lossy().into_owned() };
        if let Some(entry) = self.entry(&name) {
            return (entry.run)(words);
        }
        match name.as_str() {
            name if is_help(name) => {
                if words.iter().all(|word| word.to_str().is_some_and(is_help)) {
                    return self.print_help(Exit::Clean);
                }
                words.push("--help".into());
                self.run(words)
            }
            "--version" | "-version" => match words.first() {
                None => print(&version_text()).map(|()| Exit::Clean),
                Some(word) => Err(self.misused(format!("unexpected word {word:?}"))),
            },
            name => match self.misuse {
                Misuse::HelpText => self.print_help(Exit::Runtime),
                Misuse::ErrorLine if name.is_empty() => self.print_help(Exit::Usage),
                Misuse::ErrorLine => Err(self.misused(format!("unknown command {name:?}"))),
            },
        }
    }

    fn misused(&self, what: String) -> Failure {
        Failure::new(Exit::Usage, format!("{what} (see {} --help)", self.name))
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn print_help(&self, exit: Exit) -> Result<Exit, Failure> {
        print(&self.help()).map(|()| exit)
    }

    fn help(&self) -> String {
        let name = self.name;
        let width = self.entries.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
        let mut text = format!("{}\n\nUsage: {name} <command> [flags]\n\nCommands:\n", self.about);
        for entry in self.entries {
            writeln!(text, "  {:width$}  {}", entry.name, entry.about).expect("a String takes everything");
        }
        if !self.notes.is_empty() {
            text.push('\n');
            text.push_str(self.notes);
        }
        text + &format!("\n\"{name} <command> --help\" lists a command's flags.\n")
    }
}

fn is_help(word: &str) -> bool {
    matches!(word, "help" | "--help" | "-help" | "-h")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENU: Menu = Menu {
        name: "x",
        about: "About.",
        entries: &[
            Entry { name: "one", about: "the first", run: |words| Err(Failure::new(Exit::Disk, format!("{words:?}"))) },
            Entry { name: "three", about: "the third", run: |_| Ok(Exit::InUse) },
        ],
        notes: "Notes.\n",
        misuse: Misuse::ErrorLine,
    };

    fn run(words: &[&str]) -> Result<Exit, String> {
        MENU.run(words.iter().map(Into::into).collect()).map_err(|failure| failure.line())
    }

    #[test]
    fn a_command_gets_the_words_behind_it() {
        assert_eq!(run(&["one", "a", "--b"]), Err(r#"error: ["a", "--b"]"#.to_owned()));
        assert_eq!(run(&["three"]), Ok(Exit::InUse));
    }

    #[test]
    fn help_on_a_command_is_its_own_help() {
        for word in ["help", "--help", "-h"] {
            assert_eq!(run(&[word, "one"]), Err(r#"error: ["--help"]"#.to_owned()));
            assert_eq!(run(&[word, "two"]), Err(r#"error: unknown command "two" (see x --help)"#.to_owned()));
        }
    }

    #[test]
    fn a_word_that_belongs_to_nothing_is_refused_with_the_way_to_the_help() {
        for (words, what) in [
            (&["two"][..], r#"unknown command "two""#),
            (&["-v"], r#"unknown command "-v""#),
            (&["version"], r#"unknown command "version""#),
            (&["--addr=:0"], r#"unknown command "--addr=:0""#),
            (&["--help", "--bogus"], r#"unknown command "--bogus""#),
            (&["--version", "--bogus"], r#"unexpected word "--bogus""#),
            (&["-version", "one"], r#"unexpected word "one""#),
        ] {
            assert_eq!(run(words), Err(format!("error: {what} (see x --help)")), "{words:?}");
        }
    }

    #[test]
    fn the_help_text_lists_every_command() {
        let lines =
            "About.\n\nUsage: x <command> [flags]\n\nCommands:\n  one    the first\n  three  the third\n\nNotes.\n";
        assert_eq!(MENU.help(), format!("{lines}\n\"x <command> --help\" lists a command's flags.\n"));
    }
}
