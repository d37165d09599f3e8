//! `caption`, `detect`, `ask`, `ocr`, `prompt`: one answer a picture.

use crate::args::{Answer, Args};
use crate::device::{self, Screen};
use crate::report::{self, Report};
use crate::{Failure, Outcome, open_session};
use pg_runtime::pictures::{self, Label, Picture};
use pg_runtime::platform::status_line::StatusLine;
use pg_runtime::{Event, Model, Prompt, Session, Stage};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Args, model: &Model, request: &Answer) -> Result<Outcome, Failure> {
    let prompt = Prompt::new(model, &request.prompt);
    let mut screen = Screen::open(request)?;
    let mut session = open_session(args, model, &prompt)?;
    let mut outcome = if request.task == "detect" { Outcome::FoundNothing } else { Outcome::Done };
    for image in &request.images {
        match one(args, request, &mut session, &prompt, image, screen.as_mut()) {
            Ok(found) => {
                if found && outcome == Outcome::FoundNothing {
                    outcome = Outcome::Done;
                }
            }
            // The other pictures are still worth doing.
            Err(Failure::Message(message)) => {
                let _ = writeln!(io::stderr(), "pg-run: {message}");
                outcome = Outcome::PartlyFailed;
            }
            Err(gone) => return Err(gone),
        }
    }
    Ok(outcome)
}

/// Answers about one picture; whether objects were found.
fn one(
    args: &Args,
    request: &Answer,
    session: &mut Session<'_>,
    prompt: &Prompt,
    image: &Path,
    screen: Option<&mut Screen>,
) -> Result<bool, Failure> {
    let picture = device::picture(image, request.camera_format)?;
    let frame = picture.frame();
    let is_synthetic = session.model().is_synthetic();
    let mut progress = StatusLine::new();
    let answer = session
        .run_with(&frame, prompt, |event| {
            show(&event, &mut progress);
            ControlFlow::Continue(())
        })
        .map_err(|e| format!("{}: {e}", image.display()))?;
    progress.clear();
    let labels = labels(&picture, &answer);
    if let Some(out) = &request.annotate {
        let out = place(out, image, request.images.len())?;
        pictures::draw(&picture, &labels, &out).map_err(|e| e.to_string())?;
    }
    if let Some(screen) = screen {
        screen.show(&picture, &labels, &caption(request, &answer))?;
    }
    let report = Report {
        task: request.task,
        prompt: &request.prompt,
        image,
        picture: &picture,
        answer: &answer,
        is_synthetic,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report::json(&report))?;
    } else {
        write!(out, "{}", report::text(&report, request.images.len() > 1))?;
    }
    out.flush()?;
    Ok(!answer.objects().is_empty())
}

fn show(event: &Event<'_>, progress: &mut StatusLine) {
    match event {
        Event::Stage(Stage::Vision) => progress.show("looking at the picture …"),
        Event::Stage(Stage::Prefill) => progress.show("reading the prompt …"),
        Event::Stage(Stage::Decode) => progress.show("answering …"),
        Event::Layer => {}
        Event::Token(answer) => progress.show(&format!("answering: {} tokens", answer.tokens().len())),
    }
}

fn labels<'a>(picture: &Picture, answer: &'a pg_runtime::Answer<'_>) -> Vec<Label<'a>> {
    let (width, height) = (picture.width(), picture.height());
    let objects = answer.objects().iter();
    objects
        .map(|o| Label { text: answer.label(o), box_px: o.bbox.pixels(width, height), score: Some(o.score) })
        .collect()
}

/// The words below the picture: the answer, or the names of what was found.
fn caption(request: &Answer, answer: &pg_runtime::Answer<'_>) -> String {
    let names: Vec<&str> = answer.objects().iter().map(|o| answer.label(o)).collect();
    match names.as_slice() {
        [] if request.task == "detect" => "nothing found".into(),
        [] => answer.text().into(),
        names => names.join(", "),
    }
}

/// Where the annotated copy of `image` goes: the file `out`, or a file of the picture's name in the folder `out`.
fn place(out: &Path, image: &Path, n_images: usize) -> Result<PathBuf, String> {
    if out.is_dir() {
        let mut name = image.file_stem().unwrap_or_default().to_owned();
        name.push(".annotated.png");
        return Ok(out.join(name));
    }
    if n_images > 1 {
        return Err(format!("--annotate {}: for several pictures, name a folder that exists", out.display()));
    }
    Ok(out.to_owned())
}
