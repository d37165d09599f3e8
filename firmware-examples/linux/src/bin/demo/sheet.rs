//! The contact sheet: one HTML file with the pictures in it, no script, nothing loaded from elsewhere.

use crate::LIMITS;
use crate::run::{Found, Kind, Reply, Shown};
use crate::terminal::{NEXT, tally};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pg_quantize::Report;
use serde_json::json;

const STYLE: &str = include_str!("sheet.css");

/// The page. Reads the annotated pictures.
pub(crate) fn page(shown: &[Shown], setup: &str, packed: &Report) -> Result<String, String> {
    let cards: Vec<String> = shown.iter().map(card).collect::<Result<_, _>>()?;
    let (right, all) = tally(shown);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>pg-edge demo</title>\n<style>\n{STYLE}</style>\n\
         <header>\n<h1>pg-edge demo</h1>\n\
         <p class=\"lead\"><strong>{right} of {all}</strong> answers right. A {:.1} MB model: {}.</p>\n\
         <p>{}</p>\n</header>\n<main>\n{}</main>\n\
         <footer>\n<h2>About the numbers</h2>\n<p>{NUMBERS}</p>\n\
         <h2>Your own pictures</h2>\n<p>They need a real checkpoint. Accept its licence on huggingface.co first.</p>\n<pre>{}</pre>\n</footer>\n</html>\n",
        packed.bytes as f64 / 1e6,
        escape(setup),
        escape(LIMITS),
        cards.concat(),
        escape(NEXT)
    ))
}

const NUMBERS: &str = "Boxes are in pixels of the picture: left, top, right, bottom. A score is the geometric mean of \
    the probabilities of the four location tokens. This model was trained to spread each over neighbouring positions, \
    so a good box scores only about 0.04: compare scores, do not read them as chances. Overlap is intersection over \
    union with the true box; from 0.5 on a box counts as right. Objects are asked for one at a time, because several \
    names in one prompt are this model&rsquo;s weak side. Times are milliseconds; every answer includes the whole way \
    from picture to text.";

fn card(shown: &Shown) -> Result<String, String> {
    let image = std::fs::read(&shown.annotated)
        .map_err(|e| format!("cannot read {}: {e}", shown.annotated.display()))?;
    let of = |kind: Kind| shown.replies.iter().filter(move |r| r.kind == kind);
    let captions: String = of(Kind::Caption).map(caption).collect();
    let said: String =
        of(Kind::Question).chain(of(Kind::Reading)).map(|r| row(&[&asked(r), &answered(r)])).collect();
    let boxes: String = of(Kind::Detection).map(detection).collect();
    let times: String = shown.replies.iter().map(times).collect();
    let raw: String = shown.replies.iter().map(|r| raw(r) + "\n").collect();
    Ok(format!(
        "<article>\n<img src=\"{}\" alt=\"{} with the boxes found\" width=\"448\" height=\"448\">\n<div>\n{captions}\
         <table class=\"said\">{said}</table>\n\
         <table class=\"numbers\"><tr><th>object<th>box<th>score<th>overlap{boxes}</table>\n{}\
         <details><summary>Times of each answer</summary>\n<table class=\"numbers\">\
         <tr><th>prompt<th>image<th>vision<th>prefill<th>decode<th>all{times}</table></details>\n\
         <details><summary>Raw answers</summary>\n<pre>{}</pre></details>\n\
         <p class=\"file\">{}, {} &times; {} pixels, shown four times as large</p>\n</div>\n</article>\n",
        format_args!("data:image/png;base64,{}", STANDARD.encode(&image)),
        escape(shown.file),
        bar(shown),
        escape(&raw),
        escape(shown.file),
        shown.width,
        shown.height
    ))
}

fn caption(reply: &Reply) -> String {
    let lang = reply.prompt.trim_start_matches("caption ");
    let tag = if lang == "en" { "h2" } else { "p" };
    format!("<{tag} class=\"caption\" lang=\"{lang}\">{}</{tag}>\n", answered(reply))
}

fn asked(reply: &Reply) -> String {
    match reply.kind {
        Kind::Reading => "reads".to_string(),
        _ => escape(reply.prompt.trim_start_matches("answer en ")),
    }
}

/// The answer, and what it should have been.
fn answered(reply: &Reply) -> String {
    let text = escape(&reply.text);
    match &reply.correction {
        None => text,
        Some(right) => format!("{text} <span class=\"wrong\">wrong, it is: {}</span>", escape(right)),
    }
}

fn detection(reply: &Reply) -> String {
    if reply.found.is_empty() {
        let name = escape(reply.prompt.trim_start_matches("detect "));
        return row(&[&name, "<span class=\"wrong\">not found</span>", "", ""]);
    }
    let one = |f: &Found| {
        let overlap = match f.overlap {
            v if v < 0.5 => format!("<span class=\"wrong\">{v:.2}</span>"),
            v => format!("{v:.2}"),
        };
        let corners = f.box_px.map(|v| v.to_string()).join(" ");
        row(&[&escape(&f.label), &corners, &format!("{:.3}", f.score), &overlap])
    };
    reply.found.iter().map(one).collect()
}

/// The stages of a mean answer as one bar.
fn bar(shown: &Shown) -> String {
    let t = shown.mean_timing();
    let stages = [("image", t.image), ("vision", t.vision), ("prefill", t.prefill), ("decode", t.decode)];
    let parts: String = stages
        .iter()
        .map(|(name, ms)| format!("<i class=\"{name}\" style=\"flex-grow:{:.3}\"></i>", ms / t.total()))
        .collect();
    let legend: String = stages
        .iter()
        .map(|(name, ms)| format!("<span><i class=\"{name}\"></i>{name}&nbsp;{ms:.1}</span> "))
        .collect();
    format!(
        "<div class=\"bar\">{parts}</div>\n<p class=\"legend\">{legend}<span>{:.1}&nbsp;ms an answer</span></p>\n",
        t.total()
    )
}

fn times(reply: &Reply) -> String {
    let t = reply.timing;
    let ms = [t.image, t.vision, t.prefill, t.decode, t.total()].map(|v| format!("{v:.1}"));
    row(&[&escape(&reply.prompt), &ms[0], &ms[1], &ms[2], &ms[3], &ms[4]])
}

fn raw(reply: &Reply) -> String {
    let objects: Vec<_> = reply
        .found
        .iter()
        .map(|f| json!({ "label": f.label, "box_px": f.box_px, "score": f64::from(f.score * 1e4).round() / 1e4 }))
        .collect();
    json!({ "prompt": reply.prompt, "text": reply.text, "objects": objects }).to_string()
}

fn row(cells: &[&str]) -> String {
    let cells: String = cells.iter().map(|c| format!("<td>{c}")).collect();
    format!("<tr>{cells}\n")
}

/// Text that the model or a file wrote, safe inside HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_that_a_model_writes_becomes_markup() {
        assert_eq!(super::escape("<loc0001> \"a\" & b"), "&lt;loc0001&gt; &quot;a&quot; &amp; b");
    }
}
