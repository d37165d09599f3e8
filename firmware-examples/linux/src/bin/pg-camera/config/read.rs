//! From a file to a checked configuration, or to messages with line and column.

use super::{Config, check};
use std::path::Path;

/// More than any configuration has.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, a line each, each with the file's name.
pub(crate) fn load(path: &Path) -> Result<Config, String> {
    let name = path.display();
    let fail = |e: std::io::Error| format!("{name}: cannot read the configuration: {e}");
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_BYTES {
        return Err(format!("{name}: {size} bytes are no configuration; at most {MAX_BYTES} are read"));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse(&text).map_err(|problems| {
        problems.iter().map(|problem| format!("{name}{problem}")).collect::<Vec<_>>().join("\n")
    })
}

/// Reads and checks a configuration.
///
/// # Errors
/// What is wrong with it, each beginning with `:line:column: ` or `: `.
pub(crate) fn parse(text: &str) -> Result<Config, Vec<String>> {
    let config: Config = toml::from_str(text).map_err(|e| {
        let (line, column) = e.span().map_or((1, 1), |span| position(text, span.start));
        vec![format!(":{line}:{column}: {}", with_suggestion(e.message()))]
    })?;
    let problems = check(&config);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems.into_iter().map(|problem| format!(": {problem}")).collect())
    }
}

/// Line and column of a byte, counted from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Adds the nearest of the names that the message says would be known.
fn with_suggestion(message: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(typed) = names.next().filter(|_| message.starts_with("unknown")) else { return message };
    let nearest = names.map(|name| (distance(typed, name), name)).min();
    match nearest {
        Some((d, name)) if d <= 2.max(typed.len() / 3) => format!("{message}; did you mean `{name}`?"),
        _ => message,
    }
}

/// Letters to insert, delete, replace or swap to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SAMPLE, SCHEMA};

    #[test]
    fn the_sample_is_accepted_and_its_comments_are_the_defaults() {
        let sample = parse(SAMPLE).unwrap();
        let minimal =
            "[model]\npath = \"demo\"\n[http]\n[mqtt]\n[snapshots]\nfolder = \"/var/lib/pg-camera\"\n";
        let minimal = parse(minimal).unwrap();
        assert_eq!(sample.runtime, minimal.runtime);
        assert_eq!(sample.heat, minimal.heat);
        assert_eq!(sample.output, minimal.output);
        assert_eq!(sample.snapshots, minimal.snapshots);
    }

    #[test]
    fn the_schema_is_that_of_the_types() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Config)).unwrap() + "\n";
        let written = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/schema.json");
        if schema != SCHEMA {
            std::fs::write(written, schema).unwrap();
            panic!("config/schema.json is not what the types say: look at {written} and copy it there");
        }
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_sample() {
        let schema = serde_json::from_str(SCHEMA).unwrap();
        let mut missing = Vec::new();
        for (definition, keys) in properties(&schema) {
            for key in keys {
                let is_there = SAMPLE.lines().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    let section = line.split('#').next().unwrap_or_default().trim().trim_matches(['[', ']']);
                    let beginnings = [format!("{key} ="), format!("{{ {key} ="), format!(", {key} =")];
                    line.starts_with(&beginnings[0])
                        || section.split('.').any(|part| part == key)
                        || beginnings[1..].iter().any(|b| line.contains(b))
                });
                if !is_there {
                    missing.push(format!("{definition}.{key}"));
                }
            }
        }
        assert!(missing.is_empty(), "not in sample.toml: {missing:?}");
    }

    fn properties(schema: &serde_json::Value) -> Vec<(String, Vec<String>)> {
        let definitions = schema["$defs"].as_object().into_iter().flatten();
        let all = definitions.map(|(name, s)| (name.clone(), s)).chain([("file".to_string(), schema)]);
        all.map(|(name, s)| {
            (name, s["properties"].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect())
        })
        .collect()
    }

    #[test]
    fn mistakes_are_told_with_line_column_and_advice() {
        for (text, expected) in [
            ("[model]\npath = \"demo\"\nwieghts = \"mapped\"", ":3:1: unknown field `wieghts`"),
            ("[model]\npath = \"demo\"\nwieghts = \"mapped\"", "did you mean `weights`?"),
            ("[model]\npath = 7", ":2:8: "),
            ("[model]\npath = \"demo\"\n[[camera]]\nname = \"a b\"\nsource = \"synthetic:\"", "name"),
            ("", "missing field `model`"),
            ("[model", ":1:"),
        ] {
            let problems = parse(text).unwrap_err().join("\n");
            assert!(problems.contains(expected), "{problems}");
        }
    }

    #[test]
    fn words_are_compared_letter_by_letter() {
        assert_eq!(distance("weights", "wieghts"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
