//! What the demo prints: plain lines, and a progress line and bold names where a person is watching.

use crate::LIMITS;
use crate::run::{Found, Kind, Reply, Shown};
use pg_quantize::Report;
use pg_runtime::platform::status_line::StatusLine;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// The two outputs, and whether somebody looks at them.
#[derive(Debug)]
pub(crate) struct Terminal {
    is_bold: bool,
    progress: StatusLine,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Terminal {
            is_bold: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            progress: StatusLine::new(),
        }
    }

    pub(crate) fn packing(&mut self, tensor: &str) {
        self.progress.show(&format!("packing {tensor}"));
    }

    pub(crate) fn progress(&mut self, index: usize, n: usize, prompt: &str) {
        self.progress.show(&format!("picture {} of {n}: {prompt}", index + 1));
    }

    pub(crate) fn packed(&mut self, report: &Report) -> io::Result<()> {
        let weights: u64 = report.groups.iter().map(|g| g.weights).sum();
        let formats: Vec<String> = report
            .groups
            .iter()
            .filter(|g| g.weights * 20 > weights)
            .map(|g| format!("{} {}", g.name, g.format.name()))
            .collect();
        self.print(&format!(
            "packed the demo checkpoint: {:.2} million weights into {:.1} MB in {:.1} s ({})\n",
            weights as f64 / 1e6,
            report.bytes as f64 / 1e6,
            report.seconds,
            formats.join(", ")
        ))
    }

    pub(crate) fn set_up(&mut self, setup: &str) -> io::Result<()> {
        self.print(&format!("opened it: {setup}\n"))
    }

    pub(crate) fn shown(&mut self, shown: &Shown) -> io::Result<()> {
        let mut out = format!("\n{}\n", self.bold(shown.file));
        for reply in &shown.replies {
            out.push_str(&lines(reply));
        }
        let t = shown.mean_timing();
        out.push_str(&format!(
            "  ms an answer: image {:.1}, vision {:.1}, prefill {:.1}, decode {:.1}; all {:.1}\n",
            t.image,
            t.vision,
            t.prefill,
            t.decode,
            t.total()
        ));
        self.print(&out)
    }

    /// The result in a line, where the page is, and what to type next.
    pub(crate) fn ending(&mut self, shown: &[Shown], page: &Path, seconds: f64) -> io::Result<()> {
        let (right, all) = tally(shown);
        let next = self.bold("Your own pictures");
        let page_title = self.bold(&page.display().to_string());
        self.print(&format!(
            "\n{right} of {all} answers are right, {seconds:.1} s in all. Pictures with boxes and all numbers, for a browser:\n  \
             {page_title}\n\n{}\n\n{next} need a real checkpoint (accept its licence on huggingface.co first):\n{NEXT}",
            wrap(LIMITS, 100)
        ))
    }

    fn bold(&self, text: &str) -> String {
        if self.is_bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        self.progress.clear();
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// What to type after the demo.
pub(crate) const NEXT: &str = "  hf download google/paligemma-3b-mix-224
  cargo run --release -p pg-quantize -- mix-224 --q4
  cargo run --release -p pg-linux --bin pg-run -- -m paligemma-3b-mix-224.q4.gguf caption photo.jpg
A camera's picture, on Linux:
  ffmpeg -f v4l2 -i /dev/video0 -frames:v 1 -y shot.png
  cargo run --release -p pg-linux --bin pg-run -- -m paligemma-3b-mix-224.q4.gguf caption shot.png
";

/// Right answers, all answers.
pub(crate) fn tally(shown: &[Shown]) -> (usize, usize) {
    let replies = || shown.iter().flat_map(|s| &s.replies);
    (replies().filter(|r| r.correction.is_none()).count(), replies().count())
}

fn lines(reply: &Reply) -> String {
    let name = match reply.kind {
        Kind::Question => reply.prompt.trim_start_matches("answer en "),
        _ => &reply.prompt,
    };
    let found: Vec<String> = reply.found.iter().map(place).collect();
    let answer = match reply.kind {
        Kind::Detection if found.is_empty() => "nothing found".to_string(),
        Kind::Detection => found.join("; "),
        _ => reply.text.clone(),
    };
    let correction = match &reply.correction {
        Some(right) => format!("   WRONG, it is: {right}"),
        None => String::new(),
    };
    format!("  {name:<32} {answer}{correction}\n")
}

fn place(found: &Found) -> String {
    let [x0, y0, x1, y1] = found.box_px;
    format!("({x0}, {y0}) to ({x1}, {y1})  score {:.3}", found.score)
}

/// Breaks a text into lines of at most `width` letters.
fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 {
            let is_full = column + 1 + length > width;
            out.push(if is_full { '\n' } else { ' ' });
            column = if is_full { 0 } else { column + 1 };
        }
        out.push_str(word);
        column += length;
    }
    out
}
