//! Which pictures are shown, what is asked about them, and what came back.
//!
//! Called by `main` once a scene. Objects are asked for one at a time: several names in one prompt are this model's
//! weak side, it finds the boxes and mixes up their names.

use crate::truth::Truth;
use pg_runtime::pictures::{self, Label, Picture};
use pg_runtime::{Session, Timing};
use std::path::{Path, PathBuf};

/// A sample picture and what to ask about it.
#[derive(Debug)]
pub(crate) struct Scene {
    /// File in the folder of samples.
    pub(crate) file: &'static str,
    captions: &'static [&'static str],
    questions: [&'static str; 2],
    has_card: bool,
    objects: &'static [&'static str],
}

/// Five of the 24 samples that the model does well, and one, the last, that shows a mistake it often makes.
pub(crate) const SCENES: [Scene; 6] = [
    Scene {
        file: "scene-21.png",
        captions: &["en", "de"],
        questions: ["how many crosses are there?", "what color is the cross?"],
        has_card: true,
        objects: &["yellow cross", "card"],
    },
    Scene {
        file: "scene-10.png",
        captions: &["en", "fr"],
        questions: ["what shape is the black object?", "how many moons are there?"],
        has_card: false,
        objects: &["blue moon", "red moon", "black circle"],
    },
    Scene {
        file: "scene-22.png",
        captions: &["en"],
        questions: ["is there a yellow cross?", "how many objects are there?"],
        has_card: true,
        objects: &["orange cross", "green circle", "card"],
    },
    Scene {
        file: "scene-05.png",
        captions: &["en"],
        questions: ["is there a yellow square?", "what color is the square?"],
        has_card: false,
        objects: &["green triangle", "yellow square", "white heart"],
    },
    Scene {
        file: "scene-03.png",
        captions: &["en", "de"],
        questions: ["how big is the circle?", "what shape is the red object?"],
        has_card: true,
        objects: &["red circle", "card"],
    },
    Scene {
        file: "scene-02.png",
        captions: &["en"],
        questions: ["how many hearts are there?", "what shape is the green object?"],
        has_card: true,
        objects: &["green heart", "card"],
    },
];

/// Everything that came back about one scene.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) file: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The enlarged picture with its boxes.
    pub(crate) annotated: PathBuf,
    pub(crate) replies: Vec<Reply>,
}

impl Shown {
    /// Milliseconds of the stages, mean of all replies.
    pub(crate) fn mean_timing(&self) -> Timing {
        let mean = |stage: fn(&Timing) -> f64| {
            self.replies.iter().map(|r| stage(&r.timing)).sum::<f64>() / self.replies.len() as f64
        };
        Timing {
            image: mean(|t| t.image),
            vision: mean(|t| t.vision),
            prefill: mean(|t| t.prefill),
            decode: mean(|t| t.decode),
        }
    }

    /// All boxes, of every `detect` prompt.
    pub(crate) fn found(&self) -> impl Iterator<Item = &Found> {
        self.replies.iter().flat_map(|r| &r.found)
    }
}

/// What kind of prompt it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Caption,
    Question,
    Reading,
    Detection,
}

/// The answer to one prompt.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) prompt: String,
    /// As the model wrote it, location tokens included.
    pub(crate) text: String,
    pub(crate) found: Vec<Found>,
    /// What would have been right, if the answer is not.
    pub(crate) correction: Option<String>,
    pub(crate) timing: Timing,
}

/// A box.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) label: String,
    /// Left, top, right, bottom in the picture's pixels; right and bottom are the first outside.
    pub(crate) box_px: [u32; 4],
    pub(crate) score: f32,
    /// Intersection over union with the object's true box.
    pub(crate) overlap: f32,
}

/// Pixels of the annotated copy per pixel of the picture: at 112 pixels a label would hide what it names.
const ENLARGE: u8 = 4;
/// From this overlap on a box counts as right, as in most benchmarks.
const ENOUGH_OVERLAP: f32 = 0.5;

/// Asks everything about one scene and saves the annotated picture in `folder`. `progress` is told every prompt.
pub(crate) fn show(
    scene: &Scene,
    session: &mut Session<'_>,
    truth: &Truth,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Shown, String> {
    let picture = pictures::load(&Truth::samples().join(scene.file)).map_err(|e| e.to_string())?;
    let mut replies = Vec::new();
    for (kind, prompt) in prompts(scene) {
        progress(&prompt);
        replies.push(ask(kind, prompt, scene, &picture, session, truth)?);
    }
    let annotated = folder.join(scene.file.replace(".png", ".annotated.png"));
    let (file, width, height) = (scene.file, picture.width(), picture.height());
    let shown = Shown { file, width, height, annotated, replies };
    annotate(&picture, &shown)?;
    Ok(shown)
}

fn prompts(scene: &Scene) -> Vec<(Kind, String)> {
    let captions = scene.captions.iter().map(|lang| (Kind::Caption, format!("caption {lang}")));
    let questions = scene.questions.iter().map(|q| (Kind::Question, format!("answer en {q}")));
    let reading = scene.has_card.then(|| (Kind::Reading, "ocr".to_string()));
    let objects = scene.objects.iter().map(|name| (Kind::Detection, format!("detect {name}")));
    captions.chain(questions).chain(reading).chain(objects).collect()
}

fn ask(
    kind: Kind,
    prompt: String,
    scene: &Scene,
    picture: &Picture,
    session: &mut Session<'_>,
    truth: &Truth,
) -> Result<Reply, String> {
    let tokens = session.prompt(&prompt).map_err(|e| e.to_string())?;
    let answer = session.run(&picture.frame(), &tokens).map_err(|e| format!("{}: {e}", scene.file))?;
    let text = answer.text().to_string();
    let found: Vec<Found> = answer
        .objects()
        .iter()
        .map(|o| {
            let (label, box_px) = (answer.label(o).trim(), o.bbox.pixels(picture.width(), picture.height()));
            let overlap = truth.object(scene.file, label).map_or(0.0, |there| overlap(box_px, there));
            Found { label: label.to_string(), box_px, score: o.score, overlap }
        })
        .collect();
    let correction = match kind {
        Kind::Detection => match found.as_slice() {
            [one] if one.overlap >= ENOUGH_OVERLAP => None,
            _ => Some("one box around it".to_string()),
        },
        _ => Some(truth.answer(scene.file, &prompt)?.to_string()).filter(|right| *right != text.trim()),
    };
    Ok(Reply { kind, prompt, text, found, correction, timing: answer.timing() })
}

/// Intersection over union.
fn overlap(a: [u32; 4], b: [u32; 4]) -> f32 {
    let area = |[x0, y0, x1, y1]: [u32; 4]| x1.saturating_sub(x0) * y1.saturating_sub(y0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both as f32 / (area(a) + area(b) - both).max(1) as f32
}

/// Draws the boxes on an enlarged copy. Scores stay in the table: they would hide more of so small a picture.
fn annotate(picture: &Picture, shown: &Shown) -> Result<(), String> {
    let labels: Vec<Label<'_>> = shown
        .found()
        .map(|f| Label { text: &f.label, box_px: f.box_px.map(|v| v * u32::from(ENLARGE)), score: None })
        .collect();
    pictures::draw(&picture.enlarged(ENLARGE), &labels, &shown.annotated).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_asked_has_a_known_answer() {
        let truth = Truth::read().unwrap();
        for scene in &SCENES {
            for name in scene.objects {
                truth.object(scene.file, name).unwrap_or_else(|| panic!("{}: {name}", scene.file));
            }
            for (kind, prompt) in prompts(scene) {
                if kind != Kind::Detection {
                    truth.answer(scene.file, &prompt).unwrap();
                }
            }
        }
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap([0, 0, 2, 2], [0, 0, 2, 2]), 1.0);
        assert_eq!(overlap([0, 0, 2, 2], [1, 0, 3, 2]), 1.0 / 3.0);
        assert_eq!(overlap([0, 0, 2, 2], [5, 5, 9, 9]), 0.0);
        assert_eq!(overlap([0; 4], [0; 4]), 0.0);
    }
}
