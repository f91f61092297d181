//! Every promise has a test that cites it.
//!
//! The promises are the numbers in `docs/promises.md`. A test cites them by a
//! comment with the word and the number, several separated by commas:
//!
//! ```text
//! // promise 3.6, 3.9
//! #[test]
//! fn a_failure_is_reported_once() { … }
//! ```
//!
//! The comment stands in a test, or directly above it: no blank line between.
//! A promise that is not built yet stands in `docs/not-yet.md` instead.
//!
//! What this does *not* check is whether the test tests what it cites.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use source::{Line, Token};

mod source;

#[test]
fn every_promise_has_a_test_or_stands_in_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| {
        let path = root.join(name);
        std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
    };
    let mut citations = Vec::new();
    for (folder, whole_file_is_tests) in [("tests", true), ("executor", false)] {
        for (name, text) in source::files(&root.join(folder)) {
            // This file talks about citations, and cites nothing.
            if name == "promises.rs" {
                continue;
            }
            citations.extend(citations_in(&format!("{folder}/{name}"), &text, whole_file_is_tests));
        }
    }
    let faults = faults(&read("docs/promises.md"), &read("docs/not-yet.md"), &citations);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// A promise's number: the contract's part, and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32, u32);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Number {
    /// Reads a number at the beginning of `text`, and gives what follows it.
    fn read(text: &str) -> Option<(Number, &str)> {
        let (part, rest) = digits(text)?;
        let (place, rest) = digits(rest.strip_prefix('.')?)?;
        Some((Number(part, place), rest))
    }
}

fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A place where a comment cites a promise.
#[derive(Debug, PartialEq)]
struct Citation {
    number: Number,
    /// File and line.
    place: String,
    in_test: bool,
}

/// Everything that is wrong, a sentence each.
fn faults(promises: &str, not_yet: &str, citations: &[Citation]) -> Vec<String> {
    let mut faults = Vec::new();
    let promised = numbers_of_lines(promises, "**", "**", "docs/promises.md", &mut faults);
    let listed = numbers_of_lines(not_yet, "| ", " |", "docs/not-yet.md", &mut faults);
    let promised: BTreeSet<Number> = promised.into_iter().collect();
    let listed: BTreeSet<Number> = listed.into_iter().collect();

    for number in listed.difference(&promised) {
        faults.push(format!(
            "docs/not-yet.md lists promise {number}, which docs/promises.md does not make"
        ));
    }
    // Where each is cited: by tests, and elsewhere.
    let mut cited: BTreeMap<Number, Vec<&Citation>> = BTreeMap::new();
    for citation in citations {
        let Citation { number, place, .. } = citation;
        if !promised.contains(number) {
            faults.push(format!(
                "{place} cites promise {number}, which docs/promises.md does not make"
            ));
        }
        cited.entry(*number).or_default().push(citation);
    }
    for number in promised.difference(&listed) {
        let places = cited.get(number).map_or(&[][..], Vec::as_slice);
        if places.iter().any(|citation| citation.in_test) {
            continue;
        }
        faults.push(match places.first() {
            None => format!(
                "promise {number} is cited by no test, and docs/not-yet.md does not list it"
            ),
            Some(Citation { place, .. }) => {
                format!("promise {number} is cited outside of a test only, at {place}")
            }
        });
    }
    faults
}

/// The numbers of the lines that begin with a number between `before` and
/// `after`. They stand in order, each once.
fn numbers_of_lines(
    text: &str,
    before: &str,
    after: &str,
    name: &str,
    faults: &mut Vec<String>,
) -> Vec<Number> {
    let mut numbers: Vec<Number> = Vec::new();
    for line in text.lines() {
        let Some((number, rest)) = line.strip_prefix(before).and_then(Number::read) else {
            continue;
        };
        if !rest.starts_with(after) {
            continue;
        }
        if let Some(&last) = numbers.last()
            && last >= number
        {
            faults.push(format!("{name} has {number} after {last}"));
        }
        numbers.push(number);
    }
    if name == "docs/promises.md" && numbers.is_empty() {
        faults.push(format!("{name} makes no promise"));
    }
    numbers
}

/// The citations in a file. In a file that is not all tests, only those under
/// `#[cfg(test)]` are in tests.
fn citations_in(name: &str, text: &str, whole_file_is_tests: bool) -> Vec<Citation> {
    let lines = source::lines(text);
    let tests = lines_of_tests(&lines, whole_file_is_tests);
    let mut citations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        for number in cited_numbers(&line.comment) {
            let place = format!("{name}:{}", index + 1);
            let in_test = tests.iter().any(|&(first, last)| (first..=last).contains(&index));
            citations.push(Citation { number, place, in_test });
        }
    }
    citations
}

/// The numbers after each word "promise" or "promises" of a comment. The word
/// without a number is prose.
fn cited_numbers(comment: &str) -> Vec<Number> {
    let comment = comment.to_lowercase();
    let mut numbers = Vec::new();
    for (at, word) in comment.match_indices("promise") {
        let whole_word = !comment[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &comment[at + word.len()..];
        let mut rest = rest.strip_prefix('s').unwrap_or(rest);
        rest = rest.strip_prefix(':').unwrap_or(rest);
        if !whole_word || !rest.starts_with(' ') {
            continue;
        }
        while let Some((number, after)) = Number::read(rest.trim_start()) {
            numbers.push(number);
            let after = after.strip_prefix(',').unwrap_or(after);
            rest = after.strip_prefix(" and ").unwrap_or(after);
        }
    }
    numbers
}

/// First and last line of each test, the comments and attributes directly
/// above it included.
fn lines_of_tests(lines: &[Line], whole_file_is_tests: bool) -> Vec<(usize, usize)> {
    let tokens = source::tokens(lines);
    let test_items = source::test_items(&tokens);
    let mut tests = Vec::new();
    for at in 0..tokens.len() {
        let counts = whole_file_is_tests
            || test_items.iter().any(|&(first, last)| (first..=last).contains(&at));
        if counts && begins_test(&tokens, at) {
            let mut first = tokens[at].line;
            while first > 0 && is_heading(&lines[first - 1]) {
                first -= 1;
            }
            tests.push((first, tokens[source::item_end(&tokens, at)].line));
        }
    }
    tests
}

/// Whether a test begins here: `#[test]`, or the `main` of a test without
/// libtest.
fn begins_test(tokens: &[Token], at: usize) -> bool {
    source::reads(tokens, at, &["#", "[", "test", "]"])
        || source::reads(tokens, at, &["fn", "main", "("])
}

/// Whether the line can stand between a test and the first line above it that
/// still belongs to it.
fn is_heading(line: &Line) -> bool {
    let inner = line.comment.starts_with("//!");
    (line.is_comment() && !inner) || line.code.trim_start().starts_with("#[")
}

// What follows shows that the check can fail.

/// The numbers that tests of `text` cite, and those cited elsewhere.
fn split(text: &str, whole_file_is_tests: bool) -> (Vec<String>, Vec<String>) {
    let citations = citations_in("some.rs", text, whole_file_is_tests);
    let (tests, others): (Vec<_>, Vec<_>) = citations.into_iter().partition(|c| c.in_test);
    let text = |citations: Vec<Citation>| citations.iter().map(|c| c.number.to_string()).collect();
    (text(tests), text(others))
}

#[test]
fn a_citation_is_the_word_and_numbers() {
    let text = |comment: &str| {
        let numbers = cited_numbers(comment);
        numbers.iter().map(Number::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text("// promise 3.6"), "3.6");
    assert_eq!(text("/// Promise 3.6, 10.1: not before the turn ends"), "3.6 10.1");
    assert_eq!(text("// promises: 3.6 4.8"), "3.6 4.8");
    assert_eq!(text("// promises 3.6 and 4.8."), "3.6 4.8");
    assert_eq!(text("// promise 3.6 (b); promise 7.1"), "3.6 7.1");
    assert_eq!(text("// a promise of three"), "", "prose");
    assert_eq!(text("// compromise 3.6"), "", "another word");
    assert_eq!(text("// promised 3.6"), "", "another word");
    assert_eq!(text("// promise 3"), "", "a part is not a promise");
}

#[test]
fn a_citation_counts_in_a_test_and_directly_above_it() {
    let text = r#"
//! promise 1.1
// promise 1.2

/// promise 2.1
#[test]
#[should_panic(expected = "}")] // promise 2.2
// promise 2.3
fn a_test() {
    assert!('{' != '}'); // promise 2.4
    let _ = "// promise 1.3";
}

// promise 1.4
fn helper() {}
"#;
    let (tests, others) = split(text, true);
    assert_eq!(tests, ["2.1", "2.2", "2.3", "2.4"]);
    assert_eq!(others, ["1.1", "1.2", "1.4"], "and the string is no comment at all");
}

#[test]
fn in_a_file_of_the_library_only_its_test_modules_count() {
    let text = "
#[test] fn odd() { /* promise 1.1 */ }
#[cfg(test)]
mod tests {
    // promise 2.1
    #[test]
    fn a_test() {}
}
// promise 1.2
#[cfg(not(test))]
#[test] fn other() { /* promise 1.3 */ }
";
    let (tests, others) = split(text, false);
    assert_eq!(tests, ["2.1"]);
    assert_eq!(others, ["1.1", "1.2", "1.3"]);
}

#[test]
fn every_fault_has_its_sentence() {
    let promises = "**1.1** One.\nMore of it.\n\n**1.2** Two.\n**1.3** Three.\n";
    let not_yet = "| promise | missing |\n| --- | --- |\n| 1.3 | all |\n";
    let of_tests = |numbers: &[(u32, bool)]| -> Vec<Citation> {
        let citation = |&(place, in_test)| Citation {
            number: Number(1, place),
            place: format!("tests/some.rs:{place}"),
            in_test,
        };
        numbers.iter().map(citation).collect()
    };

    assert_eq!(faults(promises, not_yet, &of_tests(&[(1, true), (2, true)])), [""; 0]);
    assert_eq!(
        faults(promises, not_yet, &of_tests(&[(1, true)])),
        ["promise 1.2 is cited by no test, and docs/not-yet.md does not list it"]
    );
    assert_eq!(
        faults(promises, not_yet, &of_tests(&[(1, true), (2, false)])),
        ["promise 1.2 is cited outside of a test only, at tests/some.rs:2"]
    );
    assert_eq!(
        faults(promises, not_yet, &of_tests(&[(1, true), (2, true), (4, true)])),
        ["tests/some.rs:4 cites promise 1.4, which docs/promises.md does not make"]
    );
    assert_eq!(
        faults(promises, "| 1.2 | x |\n| 1.4 | x |\n", &of_tests(&[(1, true), (3, true)])),
        ["docs/not-yet.md lists promise 1.4, which docs/promises.md does not make"]
    );
    assert_eq!(
        faults("**1.2** x\n**1.1** x\n", "", &of_tests(&[(1, true), (2, true)])),
        ["docs/promises.md has 1.1 after 1.2"]
    );
    assert_eq!(faults("# Promises\n", "", &[]), ["docs/promises.md makes no promise"]);
}
