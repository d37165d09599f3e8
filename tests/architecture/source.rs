//! Rust files as the checks see them: code without comments, texts and tests, on the same lines.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One `.rs` file.
pub(crate) struct Source {
    /// From the top of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with comments and the insides of strings blanked.
    pub(crate) code: String,
    /// `code` with everything under `#[cfg(test)]` blanked; all of it in files called `tests.rs`.
    pub(crate) product: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = without_comments_and_texts(text);
        let is_test = path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/");
        let product = if is_test { blank(&code, 0..code.len()) } else { without_tests(&code) };
        Source { path: path.into(), text: text.into(), code, product }
    }

    /// Every place of `word` in `code`, which is one of this file's forms.
    pub(crate) fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
        code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let starts = word.starts_with(part_of_a_name) && code[..at].ends_with(part_of_a_name);
            let goes_on =
                word.ends_with(part_of_a_name) && code[at + word.len()..].starts_with(part_of_a_name);
            !starts && !goes_on
        })
    }

    /// `path:line` of a byte offset.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.code[..at].matches('\n').count() + 1)
    }

    /// The name of the innermost function around a byte offset.
    pub(crate) fn function(&self, at: usize) -> Option<&str> {
        let around = |start: usize| {
            let name_at = start + "fn ".len();
            let name = &self.code[name_at..];
            let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_')?];
            body(&self.code, name_at).filter(|b| b.contains(&at) && !name.is_empty()).map(|_| name)
        };
        Source::places(&self.code[..at], "fn ").filter_map(around).last()
    }
}

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the repository").to_owned()
}

/// All `.rs` files of the workspace's folders.
pub(crate) fn all() -> Vec<Source> {
    let top = top();
    let mut sources = Vec::new();
    for path in entries() {
        if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(&top).unwrap().to_str().unwrap().to_string();
            sources.push(Source::new(&relative, &fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(sources.len() > 50, "the repository has its sources");
    sources
}

/// All files and folders below the crates' folders; build outputs left out.
pub(crate) fn entries() -> Vec<PathBuf> {
    let list = |folder: &Path| fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let places = [top(), top().join("firmware-examples")];
    let mut pending: Vec<PathBuf> =
        places.iter().flat_map(|p| list(p)).filter(|p| p.join("Cargo.toml").is_file()).collect();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            pending.extend(list(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// The `{…}` or `…;` of the item whose head begins at `from`; `None` if there is no body.
fn body(code: &str, from: usize) -> Option<Range<usize>> {
    let mut depth = 0;
    let start = code[from..].char_indices().find_map(|(i, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | ';' if depth == 0 => return Some((from + i, c)),
            _ => {}
        }
        None
    })?;
    let (start, '{') = start else { return None };
    let mut depth = 0;
    for (i, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(start..start + i + 1);
        }
    }
    None
}

fn without_tests(code: &str) -> String {
    let mut product = code.to_string();
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (at, _) in code.match_indices(mark) {
            let head = at + code[at..].find(']').unwrap_or(0) + 1;
            let end = body(code, head).map_or_else(|| head + code[head..].find(';').unwrap_or(0), |b| b.end);
            product = blank(&product, at..end);
        }
    }
    product
}

fn blank(code: &str, range: Range<usize>) -> String {
    let blanked: String = code[range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
    [&code[..range.start], &blanked, &code[range.end..]].concat()
}

/// Every hidden character becomes one space, so that lines stay; offsets in `code` are its own.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hidden = hidden_len(rest, code.chars().last());
        if hidden > 0 {
            code.extend(rest[..hidden].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[hidden..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// Length of the comment, string or character that `rest` begins with, 0 if it begins with code.
fn hidden_len(rest: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |i| from + i + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('r') && (!in_name || before == Some('b')) {
        let hashes = rest[1..].bytes().take_while(|&b| b == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.char_indices().find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(rest.len(), |(i, _)| i + 2);
    }
    if rest.starts_with("'\\") {
        return until("'", 3);
    }
    // A lifetime has no second quote.
    match rest.strip_prefix('\'').and_then(|r| r.char_indices().nth(1)) {
        Some((i, '\'')) => i + 2,
        _ => 0,
    }
}

#[test]
fn comments_texts_and_tests_are_not_code() {
    let text = "fn a<'x>() { // unsafe\n let b = \"un\\\"safe {\"; let c = '{'; let d = '\\''; r#\"unsafe\"# }\n\
                #[cfg(test)]\nmod tests { fn t() { unsafe {} } }\nfn z() {}";
    let source = Source::new("runtime/src/x.rs", text);
    assert_eq!(Source::places(&source.code, "unsafe").count(), 1);
    assert_eq!(Source::places(&source.product, "unsafe").count(), 0);
    assert_eq!(Source::places(&source.product, "fn").count(), 2);
    let at = source.code.find("let d").unwrap();
    assert_eq!((source.function(at), source.place(at)), (Some("a"), "runtime/src/x.rs:2".into()));
}
