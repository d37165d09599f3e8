//! How good answers are, by what is known to be in the scenes.

use crate::{Said, scenes};
use pg_runtime::Bbox;
use serde_json::Value;
use std::fmt::Write;

/// Boxes that overlap by this much are the same object.
const SAME_OBJECT: f64 = 0.5;

/// One figure per task.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    /// Captions in three languages and descriptions, exact.
    pub(crate) captions: Mean,
    /// Answers to questions, exact.
    pub(crate) vqa: Mean,
    /// Handwritten numbers, exact.
    pub(crate) ocr: Mean,
    /// F1 of detected objects.
    f1: Mean,
    /// Overlap of detected boxes over all true boxes, a missed one counting 0.
    detect_iou: Mean,
    /// Overlap of the box of a segmented object.
    segment_iou: Mean,
}

/// Values and how many.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mean {
    sum: f64,
    n: f64,
}

impl Mean {
    pub(crate) fn value(&self) -> f64 {
        self.sum / self.n
    }

    /// How many values.
    pub(crate) fn count(&self) -> f64 {
        self.n
    }

    fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1.0;
    }
}

impl Quality {
    /// Grades the answers to the prompts of `truth.json`.
    pub(crate) fn of(truth: &Value, said: &[Vec<Said>]) -> Quality {
        let mut quality = Quality::default();
        let scenes = scenes(truth);
        assert_eq!(scenes.len(), said.len());
        for (scene, said) in scenes.iter().zip(said) {
            let prompts = scene["prompts"].as_array().expect("prompts");
            assert_eq!(prompts.len(), said.len());
            for (entry, said) in prompts.iter().zip(said) {
                let text = |key: &str| entry[key].as_str().expect("prompts have a text and a truth");
                quality.grade(text("prompt"), text("truth"), said);
            }
        }
        quality
    }

    /// Every figure with its name.
    pub(crate) fn all(&self) -> [(&'static str, Mean); 6] {
        [
            ("captions exact", self.captions),
            ("VQA exact", self.vqa),
            ("OCR exact", self.ocr),
            ("detect F1@0.5", self.f1),
            ("detect mean IoU", self.detect_iou),
            ("segment box IoU", self.segment_iou),
        ]
    }

    fn grade(&mut self, prompt: &str, truth: &str, said: &Said) {
        let exact = f64::from(u8::from(said.text == truth));
        match prompt.split(' ').next().expect("a word") {
            "caption" | "describe" => self.captions.add(exact),
            "answer" => self.vqa.add(exact),
            "ocr" => self.ocr.add(exact),
            "detect" => self.grade_detection(&objects(truth), &said.objects),
            "segment" => {
                let truth = &objects(truth)[0].0;
                self.segment_iou.add(said.objects.first().map_or(0.0, |(b, _)| iou(truth, b)));
            }
            task => panic!("no measure for {task:?}"),
        }
    }

    /// True boxes take the best found box of their name that is left.
    fn grade_detection(&mut self, truth: &[(Bbox, String)], found: &[(Bbox, String)]) {
        let mut left: Vec<bool> = vec![true; found.len()];
        for (bbox, name) in truth {
            let candidates = (0..found.len()).filter(|&i| left[i] && found[i].1 == *name);
            let best = candidates.map(|i| (iou(bbox, &found[i].0), i)).max_by(|a, b| a.0.total_cmp(&b.0));
            let (overlap, i) = best.unwrap_or((0.0, usize::MAX));
            self.detect_iou.add(overlap);
            if overlap >= SAME_OBJECT {
                left[i] = false;
                self.f1.sum += 2.0;
            }
        }
        // F1 is twice the hits over all true and all found boxes.
        self.f1.n += (truth.len() + found.len()) as f64;
    }
}

/// The figures side by side.
pub(crate) fn table(columns: &[(&str, &Quality)]) -> String {
    let mut text = format!("{:18}", "demo, 24 scenes");
    for (name, _) in columns {
        let _ = write!(text, "{name:>8}");
    }
    let n_rows = Quality::default().all().len();
    for row in 0..n_rows {
        let _ = write!(text, "\n{:18}", columns[0].1.all()[row].0);
        for (_, quality) in columns {
            let _ = write!(text, "{:8.3}", quality.all()[row].1.value());
        }
        let _ = write!(text, "  n = {}", columns[0].1.all()[row].1.count());
    }
    text + "\n"
}

/// Boxes and names of a true answer, in its written form `<locY0><locX0><locY1><locX1><seg...> name ; ...`.
fn objects(text: &str) -> Vec<(Bbox, String)> {
    let one = |part: &str| {
        let mut locations = part.split("<loc").skip(1).map(|rest| rest[..4].parse().expect("four digits"));
        let corners = [(); 4].map(|()| locations.next().expect("four locations"));
        let name = part.rsplit('>').next().expect("a name").trim();
        (Bbox::from_locations(corners).expect("a true box has an area"), name.to_string())
    };
    text.split(" ; ").filter(|part| part.starts_with("<loc")).map(one).collect()
}

/// Intersection over union.
fn iou(a: &Bbox, b: &Bbox) -> f64 {
    let side = |low: u16, high: u16| f64::from(high.saturating_sub(low));
    let area = |b: &Bbox| side(b.x0, b.x1) * side(b.y0, b.y1);
    let common = side(a.x0.max(b.x0), a.x1.min(b.x1)) * side(a.y0.max(b.y0), a.y1.min(b.y1));
    common / (area(a) + area(b) - common)
}
