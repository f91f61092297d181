//! The house is in order.
//!
//! `executor/lib.rs` declares the modules in the order in which a reader
//! should meet them, and a file uses only files above it. This reads the
//! `mod` lines and every path that begins with `crate`, `super` or `self`,
//! follows re-exports to the file that a name comes from, and says which
//! sentence was broken. It keeps a few more rules in the same way: where
//! `unsafe` may stand, how long a file may be, how it begins.
//!
//! It is *not* a compiler: a path that a macro puts together escapes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Line, Token};

mod source;

/// The only files in which `unsafe` may stand.
const UNSAFE_FILES: [&str; 8] = [
    "counted.rs",
    "current.rs",
    "waker.rs",
    "stage.rs",
    "task.rs",
    "handle.rs",
    "combinators/around.rs",
    "signal.rs",
];

/// A longer file is not read in one sitting.
const MOST_LINES: usize = 700;

#[test]
fn a_file_uses_only_files_that_a_reader_has_met() {
    assert_no_faults(&House::real().order_faults());
}

#[test]
fn unsafe_stands_in_its_places_and_says_why() {
    let house = House::real();
    assert_no_faults(&house.unsafe_faults(&UNSAFE_FILES));
}

#[test]
fn a_file_is_short_and_begins_with_what_it_is_for() {
    assert_no_faults(&House::real().shape_faults());
}

fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The library's files, by their paths below `executor/`.
struct House {
    files: BTreeMap<String, File>,
}

struct File {
    lines: Vec<Line>,
    tokens: Vec<Token>,
}

/// A file with its place in the reading order.
#[derive(Default)]
struct Module {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// What `use` brings into it: the name, and the path behind it.
    names: BTreeMap<String, Vec<String>>,
    /// What `use` brings in all names of.
    globs: Vec<Vec<String>>,
}

/// A path in the code, as its segments, and the index of its line.
#[derive(Debug, PartialEq)]
struct PathUse {
    segments: Vec<String>,
    line: usize,
}

impl House {
    fn real() -> House {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("executor");
        House::new(source::files(&root))
    }

    fn new(files: impl IntoIterator<Item = (String, String)>) -> House {
        let read = |(name, text): (String, String)| {
            let lines = source::lines(&text);
            let tokens = source::tokens(&lines);
            (name, File { lines, tokens })
        };
        House { files: files.into_iter().map(read).collect() }
    }

    /// Uses of files that come later, and files that are in no list.
    fn order_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut modules = Vec::new();
        self.enter("lib.rs", None, &mut modules, &mut faults);

        let listed: BTreeSet<&str> = modules.iter().map(|m| m.file.as_str()).collect();
        for name in self.files.keys().filter(|name| !listed.contains(name.as_str())) {
            faults.push(format!("{name} is in no list of modules, so no reader meets it"));
        }
        for glob in &modules[0].globs {
            let whole = resolve(&modules, 0, glob, 0).filter(|&whole| whole != 0);
            // A folder's list gives each name; a file has names of its own.
            if let Some(whole) = whole
                && !modules[whole].file.ends_with("mod.rs")
            {
                faults.push(format!(
                    "lib.rs re-exports all of {}, so that nobody sees which names it has",
                    modules[whole].file,
                ));
            }
        }
        for (user, module) in modules.iter().enumerate().skip(1) {
            let mut met = BTreeSet::new();
            for path in self.files[&module.file].paths() {
                let used = resolve(&modules, user, &path.segments, 0);
                let later =
                    used.is_some_and(|used| used > user && !is_inside(&modules, used, user));
                if let Some(used) = used
                    && later
                    && met.insert(used)
                {
                    faults.push(format!(
                        "{} uses {}, which a reader meets only later (line {})",
                        module.file,
                        modules[used].file,
                        path.line + 1,
                    ));
                }
            }
        }
        faults
    }

    /// Puts a file and the files that it declares into the reading order.
    fn enter(
        &self,
        name: &str,
        parent: Option<usize>,
        modules: &mut Vec<Module>,
        faults: &mut Vec<String>,
    ) {
        let Some(file) = self.files.get(name) else {
            faults.push(format!("there is no {name}"));
            return;
        };
        let this = modules.len();
        modules.push(Module { file: name.to_string(), parent, ..Module::default() });

        for (name, path) in file.imports() {
            if name == "*" {
                modules[this].globs.push(path);
            } else {
                modules[this].names.insert(name, path);
            }
        }
        let folder = match name {
            "lib.rs" => "",
            _ => name.strip_suffix("mod.rs").or(name.strip_suffix(".rs")).unwrap_or(name),
        };
        let folder = match folder {
            "" => String::new(),
            folder => format!("{}/", folder.trim_end_matches('/')),
        };
        for child in file.declared_modules() {
            let flat = format!("{folder}{child}.rs");
            let nested = format!("{folder}{child}/mod.rs");
            let file = if self.files.contains_key(&nested) { nested } else { flat };
            let index = modules.len();
            self.enter(&file, Some(this), modules, faults);
            modules[this].children.insert(child, index);
        }
    }

    /// `unsafe` where it may not stand, without a reason, or nowhere though it
    /// may.
    fn unsafe_faults(&self, allowed: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, file) in &self.files {
            let uses = |(at, token): (usize, &Token)| (token.text == "unsafe").then_some(at);
            let places: Vec<usize> = file.tokens.iter().enumerate().filter_map(uses).collect();
            match (allowed.contains(&name.as_str()), places.first()) {
                (true, None) => faults.push(format!("{name} may have `unsafe` and has none")),
                (false, Some(&at)) => {
                    let line = file.tokens[at].line + 1;
                    faults.push(format!(
                        "{name} has `unsafe`, which may not stand there (line {line})"
                    ));
                }
                _ => {}
            }
            for at in places {
                let needs_reason =
                    ["{", "impl"].iter().any(|next| source::reads(&file.tokens, at + 1, &[next]));
                let line = file.tokens[at].line;
                if needs_reason && !has_safety_comment(&file.lines, line) {
                    faults.push(format!(
                        "{name} has `unsafe` without a `// SAFETY:` above it (line {})",
                        line + 1
                    ));
                }
            }
        }
        for name in allowed.iter().filter(|name| !self.files.contains_key(**name)) {
            faults.push(format!("{name} may have `unsafe`, and there is no such file"));
        }
        faults
    }

    /// Files that are too long, or do not say what they are for.
    fn shape_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, file) in &self.files {
            // The text ends with a line break, after which there is no line.
            let count =
                file.lines.len() - usize::from(file.lines.last().is_some_and(Line::is_blank));
            if count > MOST_LINES {
                faults.push(format!("{name} has {count} lines, more than {MOST_LINES}"));
            }
            if !file.lines[0].comment.starts_with("//!") {
                faults.push(format!("{name} does not begin with what it is for (`//!`)"));
            }
        }
        faults
    }
}

impl File {
    /// The tokens that are part of the library, with their indices: all but
    /// the items under `#[cfg(test)]`.
    fn library_tokens(&self) -> impl Iterator<Item = usize> {
        let tests = source::test_items(&self.tokens);
        (0..self.tokens.len())
            .filter(move |at| !tests.iter().any(|(first, last)| (first..=last).contains(&at)))
    }

    /// The modules that it declares by `mod name;`, in order.
    fn declared_modules(&self) -> Vec<String> {
        let declares = |&at: &usize| {
            source::reads(&self.tokens, at, &["mod"]) && source::reads(&self.tokens, at + 2, &[";"])
        };
        let name = |at: usize| self.tokens[at + 1].text.clone();
        self.library_tokens().filter(declares).map(name).collect()
    }

    /// What its `use` lines bring in: the name, and the path behind it.
    fn imports(&self) -> Vec<(String, Vec<String>)> {
        let mut imports = Vec::new();
        for at in self.library_tokens() {
            if self.tokens[at].text != "use" || self.is_inline(at) {
                continue;
            }
            // A closure's capture, as in `use<'a>`, is no import.
            if source::reads(&self.tokens, at + 1, &["<"]) {
                continue;
            }
            let mut leaves = Vec::new();
            read_path(&self.tokens, at + 1, &[], &mut leaves);
            for Leaf { segments, alias, .. } in leaves {
                let own = segments.iter().rev().find(|s| *s != "self").cloned();
                if let Some(name) = alias.or(own) {
                    imports.push((name, segments));
                }
            }
        }
        imports
    }

    /// The paths that begin with `crate`, `super` or `self`, as seen from the
    /// file's own module.
    fn paths(&self) -> Vec<PathUse> {
        let mut paths = Vec::new();
        for at in self.library_tokens() {
            let begins = matches!(self.tokens[at].text.as_str(), "crate" | "super" | "self");
            let before = at.checked_sub(1).map(|before| self.tokens[before].text.as_str());
            // Not in the middle of a path, and not in `pub(in crate::…)`.
            if !begins
                || matches!(before, Some("::" | "in"))
                || !source::reads(&self.tokens, at + 1, &["::"])
            {
                continue;
            }
            let mut leaves = Vec::new();
            read_path(&self.tokens, at, &[], &mut leaves);
            let inline = self.inline_modules().filter(|range| range.contains(&at)).count();
            for Leaf { segments, line, .. } in leaves {
                if let Some(segments) = out_of_inline(segments, inline) {
                    paths.push(PathUse { segments, line });
                }
            }
        }
        paths
    }

    /// The insides of modules that are written out in the file.
    fn inline_modules(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let tokens = &self.tokens;
        (0..tokens.len())
            .filter(|&at| {
                source::reads(tokens, at, &["mod"]) && source::reads(tokens, at + 2, &["{"])
            })
            .map(|at| at + 2..source::closing(tokens, at + 2))
    }

    fn is_inline(&self, at: usize) -> bool {
        self.inline_modules().any(|range| range.contains(&at))
    }
}

/// One path out of a tree such as `a::{b, c::d as e}`.
struct Leaf {
    segments: Vec<String>,
    alias: Option<String>,
    line: usize,
}

/// Reads the path or tree of paths at `at`, each with `prefix` before it, and
/// gives the index after it.
fn read_path(tokens: &[Token], at: usize, prefix: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens[at].line;
    let mut at = at;
    loop {
        match tokens.get(at).map(|token| token.text.as_str()) {
            Some("{") => {
                let end = source::closing(tokens, at);
                at += 1;
                while at < end {
                    at = read_path(tokens, at, &segments, leaves);
                    // Past the comma, or past whatever this is no tree of.
                    at += 1;
                }
                return end + 1;
            }
            Some("::") => at += 1, // In front of a path from outside.
            Some(word)
                if word == "*" || word.starts_with(|c: char| c.is_alphabetic() || c == '_') =>
            {
                segments.push(word.to_string());
                at += 1;
            }
            _ => break,
        }
        if !source::reads(tokens, at, &["::"]) {
            break;
        }
        at += 1;
    }
    let mut alias = None;
    if source::reads(tokens, at, &["as"]) {
        alias = tokens.get(at + 1).map(|token| token.text.clone());
        at += 2;
    }
    leaves.push(Leaf { segments, alias, line });
    at
}

/// A path that stands `inline` modules deep in a file, as seen from the file;
/// none when it does not leave those modules.
fn out_of_inline(segments: Vec<String>, inline: usize) -> Option<Vec<String>> {
    if inline == 0 || segments[0] == "crate" {
        return Some(segments);
    }
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    if ups < inline {
        return None;
    }
    let outside = std::iter::once("self".to_string()).chain(segments.into_iter().skip(inline));
    Some(outside.collect())
}

/// The module in which a path, seen from the module `from`, ends: through
/// modules, and through names that modules bring in from others. None for
/// other crates.
fn resolve(modules: &[Module], from: usize, segments: &[String], depth: u32) -> Option<usize> {
    let mut here = from;
    for (index, segment) in segments.iter().enumerate() {
        let module = &modules[here];
        match segment.as_str() {
            "crate" => here = 0,
            "self" => {}
            "super" => here = module.parent?,
            name => {
                if let Some(&child) = module.children.get(name) {
                    here = child;
                } else if let Some(path) = module.names.get(name)
                    && depth < 16
                    // Not by way of itself: `use anyhow::anyhow`.
                    && path.first().is_some_and(|first| first != name)
                {
                    let path = [path, &segments[index + 1..]].concat();
                    return resolve(modules, here, &path, depth + 1);
                } else if let Some(whole) = glob_with(modules, here, name, depth) {
                    return resolve(modules, whole, &segments[index..], depth + 1);
                } else if index == 0 {
                    return None;
                } else {
                    break;
                }
            }
        }
    }
    Some(here)
}

/// The module that a glob of `here` brings `name` from.
fn glob_with(modules: &[Module], here: usize, name: &str, depth: u32) -> Option<usize> {
    let module = &modules[here];
    module.globs.iter().find_map(|glob| {
        let (_star, path) = glob.split_last()?;
        let first = path.first()?.as_str();
        let ours = matches!(first, "crate" | "super") || module.children.contains_key(first);
        if !ours || depth >= 16 {
            return None;
        }
        let whole = resolve(modules, here, path, depth + 1)?;
        let Module { children, names, .. } = &modules[whole];
        let has = children.contains_key(name) || names.contains_key(name);
        (has && whole != here).then_some(whole)
    })
}

fn is_inside(modules: &[Module], inner: usize, outer: usize) -> bool {
    let mut parents = std::iter::successors(Some(inner), |&module| modules[module].parent);
    parents.any(|module| module == outer)
}

/// Whether a `// SAFETY:` stands directly above the line, or above the
/// statement that the line is in the middle of.
fn has_safety_comment(lines: &[Line], line: usize) -> bool {
    for above in lines[..line].iter().rev() {
        if above.is_comment() {
            if above.comment.trim_start_matches('/').trim_start().starts_with("SAFETY:") {
                return true;
            }
            continue;
        }
        let code = above.code.trim_end();
        let ends_statement = code.is_empty() || code.ends_with([';', '{', '}', ',']);
        if ends_statement && !code.trim_start().starts_with("#[") {
            return false;
        }
    }
    false
}

// What follows shows that the checks can fail.

fn house(files: &[(&str, &str)]) -> House {
    House::new(files.iter().map(|(name, text)| (name.to_string(), text.to_string())))
}

fn order_faults(files: &[(&str, &str)]) -> Vec<String> {
    house(files).order_faults()
}

const NONE: [&str; 0] = [];

#[test]
fn a_file_may_use_those_above_it() {
    let faults = order_faults(&[
        ("lib.rs", "//! x\nmod clock;\nmod wheel;\npub use wheel::Wheel;\n"),
        ("clock.rs", ""),
        ("wheel.rs", "use crate::clock::{Clock, Instant};\n"),
    ]);
    assert_eq!(faults, NONE);
}

#[test]
fn a_file_may_not_use_those_below_it() {
    let lib = ("lib.rs", "mod wheel;\nmod task;\n");
    let said = ["wheel.rs uses task.rs, which a reader meets only later (line 2)"];
    for text in [
        "//! x\nuse crate::task::Task;",
        "//! x\nuse crate::{task::{Task, TaskRef}};",
        "//! x\npub(crate) use super::task;",
        "//! x\nfn f(t: &crate::task::Task<u8>) {}",
        "//! x\nmod inner { use super::super::task::Task; }",
        "//! x\nmod inner { use crate::task::Task; }",
        "//! x\n#[cfg(not(test))] use crate::task::*;",
        "//! x\n#[cfg(feature = \"test\")] use crate::task::Task as Job;",
    ] {
        assert_eq!(order_faults(&[lib, ("wheel.rs", text), ("task.rs", "")]), said, "{text}");
    }
}

#[test]
fn a_name_without_a_use_is_no_use() {
    let lib = ("lib.rs", "mod wheel;\nmod task;\n");
    for text in [
        "// use crate::task::Task;",
        "/// See [`crate::task::Task`].\nfn f() {}",
        "/* use crate::task::Task; /* nested */ use crate::task::Task; */",
        "const S: &str = \"crate::task::Task\";",
        "const S: &str = r#\"\"crate::task::Task\"#;",
        "#[cfg(test)]\nmod tests { use crate::task::Task; }",
        "#[cfg(all(test, unix))]\n#[rustfmt::skip]\nuse crate::task::Task;",
        "mod inner { use super::*; mod task {} use self::task; }",
        "use other::task::Task;",
        "pub(in crate::task) struct S;",
        "fn f(&self) { self.task(); self::g::<u8>() }",
    ] {
        assert_eq!(order_faults(&[lib, ("wheel.rs", text), ("task.rs", "")]), NONE, "{text}");
    }
}

#[test]
fn a_re_export_is_a_use_of_the_file_behind_it() {
    let lib = (
        "lib.rs",
        "mod wheel;\nmod on_top;\npub use on_top::{Sleep, sleep as wait};\nuse anyhow::anyhow;\n",
    );
    let on_top =
        ("on_top/mod.rs", "mod sleep;\npub use sleep::{sleep, Sleep};\nuse crate::wheel::Wheel;\n");
    let sleep = ("on_top/sleep.rs", "use super::Wheel;\nuse crate::{anyhow, on_top, wait};\n");
    let with = |text| order_faults(&[lib, on_top, sleep, ("wheel.rs", text)]);

    assert_eq!(with(""), NONE, "none of the uses by sleep.rs is of a later file");
    let said = ["wheel.rs uses on_top/sleep.rs, which a reader meets only later (line 1)"];
    assert_eq!(with("use crate::Sleep;"), said);
    assert_eq!(with("use crate::{wait};"), said);
    assert_eq!(with("use crate::on_top::sleep;"), said);
    assert_eq!(
        with("use crate::on_top;"),
        ["wheel.rs uses on_top/mod.rs, which a reader meets only later (line 1)"]
    );
}

#[test]
fn a_glob_of_a_folder_is_as_good_as_its_names() {
    let lib = ("lib.rs", "mod wheel;\nmod on_top;\npub use on_top::*;\n");
    let on_top = ("on_top/mod.rs", "mod sleep;\npub use sleep::sleep;\n");
    let with = |text| order_faults(&[lib, on_top, ("on_top/sleep.rs", ""), ("wheel.rs", text)]);

    assert_eq!(
        with("use std::fmt::*; use crate::sleep;"),
        ["wheel.rs uses on_top/sleep.rs, which a reader meets only later (line 1)"]
    );
    assert_eq!(with("use std::fmt::*; use crate::wake;"), NONE);
}

#[test]
fn a_folder_is_read_in_the_order_of_its_own_list() {
    let lib = ("lib.rs", "mod on_top;\nmod run;\n");
    let on_top = ("on_top/mod.rs", "pub mod a;\npub mod b;\nuse b::B;\n");
    let with =
        |a, b| order_faults(&[lib, on_top, ("on_top/a.rs", a), ("on_top/b.rs", b), ("run.rs", "")]);

    assert_eq!(with("", "use super::a::A; use crate::on_top::a;"), NONE);
    assert_eq!(
        with("use super::b::B;", ""),
        ["on_top/a.rs uses on_top/b.rs, which a reader meets only later (line 1)"]
    );
    assert_eq!(
        with("", "use crate::run::run;"),
        ["on_top/b.rs uses run.rs, which a reader meets only later (line 1)"]
    );
}

#[test]
fn every_file_is_in_the_reading_order() {
    let faults = order_faults(&[
        ("lib.rs", "mod a;\nmod b;\npub use a::*;\n#[cfg(test)]\nmod tests;\n"),
        ("a.rs", ""),
        ("c.rs", ""),
    ]);
    assert_eq!(
        faults,
        [
            "there is no b.rs",
            "c.rs is in no list of modules, so no reader meets it",
            "lib.rs re-exports all of a.rs, so that nobody sees which names it has",
        ]
    );
}

#[test]
fn unsafe_needs_a_place_and_a_reason() {
    let reasoned = "\
fn f() {
    // SAFETY: the number is in range,
    // as it was checked.
    #[allow(unused)]
    unsafe { g() }
    // SAFETY: the same.
    let x =
        unsafe { g() };
}
// SAFETY: it holds a number.
unsafe impl Send for S {}
/// # Safety
unsafe fn h() {}
#![allow(unsafe_code)]
// the word unsafe {
";
    let bare = "fn f() {\n    // SAFETY: here.\n    g();\n    unsafe { g() }\n}\nunsafe impl Send for S {}\n";

    let house = house(&[("a.rs", reasoned), ("b.rs", bare), ("c.rs", "")]);
    assert_eq!(
        house.unsafe_faults(&["a.rs", "c.rs", "d.rs"]),
        [
            "b.rs has `unsafe`, which may not stand there (line 4)",
            "b.rs has `unsafe` without a `// SAFETY:` above it (line 4)",
            "b.rs has `unsafe` without a `// SAFETY:` above it (line 6)",
            "c.rs may have `unsafe` and has none",
            "d.rs may have `unsafe`, and there is no such file",
        ]
    );
}

#[test]
fn a_file_has_a_beginning_and_an_end() {
    let long = "//! x\n".to_string() + &"\n".repeat(MOST_LINES);
    let house =
        house(&[("long.rs", &long), ("mute.rs", "// x\n"), ("most.rs", &long[..long.len() - 1])]);
    assert_eq!(
        house.shape_faults(),
        [
            "long.rs has 701 lines, more than 700",
            "mute.rs does not begin with what it is for (`//!`)",
        ]
    );
}
