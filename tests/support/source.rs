//! Rust source text as a list of words and signs, without comments and the contents of literals, and the paths that it
//! names: enough to say who uses what, with no need for a parser.

/// One file.
pub struct Source {
    /// From the project's directory on: `src/core/region.rs`.
    pub path: String,
    pub text: String,
    /// Of the program alone: without the part from the first `#[cfg(test)] mod … {` on.
    pub tokens: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let mut tokens = tokens(text);
        if let Some(at) = inline_tests(&tokens) {
            tokens.truncate(at);
        }
        Self { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    /// The module's path: `["core", "region"]`; empty for `lib.rs` and `main.rs`.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(inner, "lib" | "main") { Vec::new() } else { inner.split('/').collect() }
    }

    /// Every path that the file names, in full: `crate`, `self`, `super` and the library's own name resolved to `crate::…`,
    /// groups in `use` unfolded.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            at = read_path(&self.tokens, at, "", &mut found).max(at + 1);
        }
        found.iter().map(|path| self.resolve(path)).collect()
    }

    fn resolve(&self, path: &str) -> String {
        let mut module = self.module();
        let mut words: Vec<&str> = path.split("::").collect();
        match words[0] {
            "crate" | "pd_lite" => module.clear(),
            "self" => {}
            "super" => {
                while words.len() > 1 && words[1] == "super" {
                    module.pop();
                    words.remove(0);
                }
                module.pop();
            }
            _ => return path.to_owned(),
        }
        [&["crate"], &module[..], &words[1..]].concat().join("::")
    }

    /// Tells whether the words and signs of `code` stand in the file one after the other.
    pub fn contains(&self, code: &str) -> bool {
        let wanted = tokens(code);
        self.tokens.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// Reads the path that begins at `at`, if one does, with everything its group holds. Returns where to go on.
fn read_path(tokens: &[String], mut at: usize, front: &str, found: &mut Vec<String>) -> usize {
    let is_word =
        |at: usize| tokens.get(at).is_some_and(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    let is = |at: usize, sign: &str| tokens.get(at).is_some_and(|token| token == sign);
    let mut path = front.to_owned();
    while is_word(at) {
        if !path.is_empty() {
            path += "::";
        }
        path += &tokens[at];
        at += 1;
        if !is(at, "::") {
            break;
        }
        at += 1;
        if is(at, "{") {
            at += 1;
            while at < tokens.len() && !is(at, "}") {
                at = read_path(tokens, at, &path, found).max(at + 1);
            }
            return at + 1;
        }
    }
    if path != front && path.contains("::") {
        found.push(path);
    }
    at
}

/// Where the first `#[cfg(test)]` stands that belongs to a module with a body.
fn inline_tests(tokens: &[String]) -> Option<usize> {
    (0..tokens.len()).find(|&at| test_module(&tokens[at..]).is_some_and(|(_, next)| next == "{"))
}

/// The modules that a file declares for tests alone: `#[cfg(test)] mod name;`.
pub fn test_modules(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let declared = (0..tokens.len()).filter_map(|at| test_module(&tokens[at..]));
    declared.filter(|(_, next)| *next == ";").map(|(name, _)| name.to_owned()).collect()
}

/// The module that `tokens` begins to declare for tests alone, whatever its visibility, and the sign behind its name.
fn test_module(tokens: &[String]) -> Option<(&str, &str)> {
    let rest = tokens.strip_prefix(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned)[..])?;
    let at = rest.iter().take(5).position(|token| token == "mod")?;
    let visibility = ["pub", "(", "crate", "super", ")"];
    let declares = rest[..at].iter().all(|token| visibility.contains(&token.as_str()));
    Some((rest.get(at + 1)?.as_str(), rest.get(at + 2)?.as_str())).filter(|_| declares)
}

/// Words, numbers and signs; `::` is one sign; a literal of text is `""`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(len) = text_literal(rest) {
            tokens.push("\"\"".to_owned());
            len
        } else if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..len].to_owned());
            len
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    tokens
}

/// The length of the text or character literal that `rest` begins with.
fn text_literal(rest: &str) -> Option<usize> {
    let (prefix, body) = ["br", "r", "b", "c", ""]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix).map(|body| (*prefix, body)))
        .filter(|(_, body)| body.starts_with(['"', '#', '\'']))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') && body[hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body[hashes + 1..].find(&close)?;
        return Some(prefix.len() + hashes + 1 + end + close.len());
    }
    let quote = body.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut escaped = false;
    for (at, letter) in body.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return Some(prefix.len() + at + 1);
        } else if quote == '\'' && at > 1 && !body[1..].starts_with('\\') {
            // A lifetime: more than one letter, and no closing quote behind the first.
            return None;
        }
    }
    None
}

#[test]
fn comments_and_literals_are_no_code() {
    let code = "use a::b; // use c::d\n/* e::f */ let x = \"g::h \\\" i\"; r#\"j \" k\"#; 'l'; '\\''; b\"m\"; &'n str";
    let expected = "use a :: b ; let x = \"\" ; \"\" ; \"\" ; \"\" ; \"\" ; & ' n str";
    assert_eq!(tokens(code).join(" "), expected);
}

#[test]
fn paths_are_named_in_full() {
    let text = "use std::{fs, io::{self, Read}}; use super::x::Y; use super::super::z; fn f() { crate::a::b(); pd_lite::c::d; }
                #[cfg(test)] mod tests { use std::net::TcpStream; }";
    let source = Source::new("src/core/region.rs", text);
    let expected =
        ["std::fs", "std::io::self", "std::io::Read", "crate::core::x::Y", "crate::z", "crate::a::b", "crate::c::d"];
    assert_eq!(source.paths(), expected);
    let text = "#[cfg(test)]\nmod naive; mod other; #[cfg(test)] pub(crate) mod faulty; #[cfg(test)] mod tests {}";
    assert_eq!(test_modules(text), ["naive", "faulty"]);
}
