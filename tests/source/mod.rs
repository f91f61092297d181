//! A reader of Rust text that is just good enough for checks on our own files.
//!
//! It tells code from comments and from what stands in quotes, line by line,
//! and finds where an item ends. It is *not* a parser: it expects text that
//! compiles.
//!
//! # Invariants
//!
//! - **Columns.** A line's `code` has a blank wherever the line has a comment
//!   or the inside of a string, so that every column stays where it was.
//! - **Once.** No character is in both `code` and `comment`.

// Each test file that reads sources uses its own part of this.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

/// One line of a source file, taken apart.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Line {
    /// The code, with blanks for comments and for what stands in quotes.
    pub code: String,
    /// The text of comments on this line, with its slashes.
    pub comment: String,
}

impl Line {
    /// Whether the line has a comment and no code.
    pub fn is_comment(&self) -> bool {
        self.code.trim().is_empty() && !self.comment.is_empty()
    }

    /// Whether the line has neither.
    pub fn is_blank(&self) -> bool {
        self.code.trim().is_empty() && self.comment.is_empty()
    }
}

enum Inside {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Str,
    RawStr { hashes: usize },
}

/// Takes a source file apart.
pub fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![Line::default()];
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let char = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or('\n');
        if char == '\n' {
            if matches!(inside, Inside::LineComment) {
                inside = Inside::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is always a last line");
        let mut code = |text: &str| line.code.push_str(text);
        match inside {
            Inside::Code => match (char, next) {
                ('/', '/') => {
                    inside = Inside::LineComment;
                    continue;
                }
                ('/', '*') => {
                    inside = Inside::BlockComment { depth: 1 };
                    line.comment.push_str("/*");
                    line.code.push_str("  ");
                    at += 2;
                    continue;
                }
                ('"', _) => {
                    code("\"");
                    inside = match raw_string_hashes(&chars[..at]) {
                        Some(hashes) => Inside::RawStr { hashes },
                        None => Inside::Str,
                    };
                }
                // A character, not a lifetime: 'x' or '\…'.
                ('\'', '\\') => {
                    let length = chars[at + 3..].iter().position(|&c| c == '\'');
                    let length = length.map_or(chars.len() - at, |closing| closing + 4);
                    code(&" ".repeat(length));
                    at += length;
                    continue;
                }
                ('\'', _) if chars.get(at + 2) == Some(&'\'') => {
                    code("   ");
                    at += 3;
                    continue;
                }
                _ => line.code.push(char),
            },
            Inside::LineComment => {
                line.comment.push(char);
                line.code.push(' ');
            }
            Inside::BlockComment { depth } => {
                line.comment.push(char);
                line.code.push(' ');
                let step = match (char, next) {
                    ('/', '*') => depth + 1,
                    ('*', '/') => depth - 1,
                    _ => {
                        at += 1;
                        continue;
                    }
                };
                line.comment.push(next);
                line.code.push(' ');
                inside = match step {
                    0 => Inside::Code,
                    depth => Inside::BlockComment { depth },
                };
                at += 2;
                continue;
            }
            Inside::Str => match (char, next) {
                // What follows a backslash ends nothing; a line break is still one.
                ('\\', escaped) if escaped != '\n' => {
                    code("  ");
                    at += 2;
                    continue;
                }
                ('"', _) => {
                    code("\"");
                    inside = Inside::Code;
                }
                _ => code(" "),
            },
            Inside::RawStr { hashes } => {
                let closes = char == '"'
                    && chars[at + 1..].len() >= hashes
                    && chars[at + 1..][..hashes].iter().all(|&c| c == '#');
                if closes {
                    code("\"");
                    inside = Inside::Code;
                } else {
                    code(" ");
                }
            }
        }
        at += 1;
    }
    lines
}

/// How many `#` stand before a quote, when they begin a raw string.
fn raw_string_hashes(before: &[char]) -> Option<usize> {
    let hashes = before.iter().rev().take_while(|&&c| c == '#').count();
    let before = &before[..before.len() - hashes];
    let prefix: String = before.iter().rev().take_while(|c| is_word(**c)).collect();
    // Read backwards: r, br, cr.
    matches!(prefix.as_str(), "r" | "rb" | "rc").then_some(hashes)
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// A word or a sign of the code, and the index of its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The words and signs of the code; `::` is one sign, every other sign stands
/// alone.
pub fn tokens(lines: &[Line]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, Line { code, .. }) in lines.iter().enumerate() {
        let mut rest = code.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let text = rest[..length].to_string();
            tokens.push(Token { text, line });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Whether the tokens at `at` read as `words`.
pub fn reads(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    let tokens = tokens.get(at..).unwrap_or(&[]);
    tokens.len() >= words.len() && words.iter().zip(tokens).all(|(word, token)| token.text == *word)
}

/// The index of the token that closes the bracket at `open`, or of the last
/// token when nothing closes it.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// The index of the last token of the item that begins at `start`: its `;`,
/// or the brace that closes it. Attributes before the item are part of it.
pub fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at,
            "{" => return closing(tokens, at),
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    tokens.len() - 1
}

/// The items under `#[cfg(test)]`, or another `cfg` that needs `test`: ranges
/// of tokens, first to last.
pub fn test_items(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if reads(tokens, at, &["#", "[", "cfg", "("]) {
            let end = closing(tokens, at + 3);
            let needs_test = (at + 4..end)
                .any(|i| tokens[i].text == "test" && !reads(tokens, i - 2, &["not", "("]));
            if needs_test {
                let last = item_end(tokens, at);
                items.push((at, last));
                at = last + 1;
                continue;
            }
        }
        at += 1;
    }
    items
}

/// The Rust files below a folder, as path relative to it and text, in order
/// of their paths.
///
/// # Panics
///
/// If the folder or a file in it cannot be read.
pub fn files(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("reading {}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("reading a folder's entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).expect("it was found below the root");
                let name = relative.to_string_lossy().replace('\\', "/");
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}
