//! An answer as a line of JSON with the keys that `pg-run --json` has.

use core::fmt::{self, Write};
use pg_runtime::Answer;

/// Writes the line, without its end.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut impl Write,
    prompt: &str,
    answer: &Answer<'_>,
    width: u32,
    height: u32,
) -> fmt::Result {
    write!(out, "{{\"prompt\":{},\"text\":{}", Text(prompt), Text(answer.text()))?;
    write!(out, ",\"tokens\":{:?},\"objects\":[", answer.tokens())?;
    for (i, object) in answer.objects().iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let (label, box_px) = (Text(answer.label(object)), object.bbox.pixels(width, height));
        write!(out, "{comma}{{\"label\":{label},\"box_px\":{box_px:?},\"score\":{:.6}}}", object.score)?;
    }
    write!(out, "]}}")
}

/// Text between quotes, as JSON has it.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use alloc::string::ToString;

    #[test]
    fn texts_are_those_of_json() {
        assert_eq!(Text("a \"b\" \\ \n \u{e9}").to_string(), "\"a \\\"b\\\" \\\\ \\u000a \u{e9}\"");
    }
}
