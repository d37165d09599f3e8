//! `trace`: the result of every stage of one run, in a safetensors file.
//!
//! The run is the product's own; this file only looks at it. Names and shapes: `pixel_values` `[3, H, W]`,
//! `input_ids` `[n]`, `vision_last_hidden` `[n_img, d_vision]`, `image_features` `[n_img, d_text]`, `hidden.<i>` `[n, d_text]`
//! (input of decoder layer i; the last one after the final norm), `prefill_logits` `[V]`, `step_logits` `[steps, V]`,
//! `generated` `[steps]`. With forced tokens, `generated` is what was fed; the best token of a step is the largest
//! value of its `step_logits`. A trace of a model with random weights says `synthetic` in the file's metadata.

use crate::args::{Args, Trace};
use crate::{Failure, Outcome, open_session, report};
use pg_runtime::imaging::patches_to_chw;
use pg_runtime::pictures;
use pg_runtime::platform::files::write_whole;
use pg_runtime::probe::{Probe, Tap};
use pg_runtime::{Model, Prompt, TokenId, sampler};
use safetensors::Dtype;
use safetensors::tensor::{View, serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

pub(crate) fn run(args: &Args, model: &Model, request: &Trace) -> Result<Outcome, Failure> {
    let prompt = Prompt::new(model, &request.prompt);
    let mut session = open_session(args, model, &prompt)?;
    let picture = pictures::load(&request.image).map_err(|e| e.to_string())?;
    let at = |e: pg_runtime::error::InputError| format!("{}: {e}", request.image.display());
    let frame = picture.frame();
    let mut record = Record {
        side: model.config().vision.image_size,
        patch: model.config().vision.patch_size,
        ..Record::default()
    };
    session.trace(&frame, &prompt, request.force.as_deref(), &mut record).map_err(at)?;

    let n_vocab = model.config().text.n_vocab;
    let logits = core::mem::take(&mut record.logits);
    let steps = logits.len() / n_vocab;
    let generated: Vec<TokenId> = match &request.force {
        Some(ids) => ids[..steps].to_vec(),
        None => logits.chunks_exact(n_vocab).map(sampler::greedy).collect(),
    };
    let image = model.tokenizer().image();
    let n_image = model.config().vision.n_patches();
    let ids = core::iter::repeat_n(image, n_image).chain(prompt.ids().iter().copied());
    let n_prefix = n_image + prompt.ids().len();
    record.add("prefill_logits", vec![n_vocab], floats(&logits[..n_vocab]));
    record.add("step_logits", vec![steps, n_vocab], floats(&logits));
    record.tensors.push(Tensor::ids("input_ids", n_prefix, ids));
    record.tensors.push(Tensor::ids("generated", steps, generated.into_iter()));

    let marks = model.is_synthetic().then(|| HashMap::from([("synthetic".into(), "true".into())]));
    let bytes =
        serialize(record.tensors.iter().map(|t| (t.name.as_str(), t)), marks).map_err(|e| e.to_string())?;
    write_whole(&request.out, &bytes).map_err(|e| format!("{}: {e}", request.out.display()))?;
    if !args.json {
        writeln!(io::stdout(), "{}: {} tensors, {steps} steps", request.out.display(), record.tensors.len())?;
        if model.is_synthetic() {
            writeln!(io::stdout(), "{}", report::SYNTHETIC)?;
        }
    }
    Ok(Outcome::Done)
}

/// What was seen.
#[derive(Default)]
struct Record {
    side: usize,
    patch: usize,
    tensors: Vec<Tensor>,
    /// `[steps, n_vocab]`
    logits: Vec<f32>,
}

impl Record {
    fn add(&mut self, name: &str, shape: Vec<usize>, bytes: Vec<u8>) {
        self.tensors.push(Tensor { name: name.into(), dtype: Dtype::F32, shape, bytes });
    }
}

impl Probe for Record {
    fn look(&mut self, tap: Tap, data: &[f32], width: usize) {
        let shape = vec![data.len() / width, width];
        match tap {
            Tap::Patches => {
                let mut chw = vec![0.0; data.len()];
                patches_to_chw(data, width, self.side, self.patch, &mut chw);
                self.add("pixel_values", vec![3, self.side, self.side], floats(&chw));
            }
            Tap::VisionLastHidden => self.add("vision_last_hidden", shape, floats(data)),
            Tap::ImageFeatures => self.add("image_features", shape, floats(data)),
            Tap::Hidden(i) => self.add(&format!("hidden.{i}"), shape, floats(data)),
            Tap::Logits => self.logits.extend_from_slice(data),
        }
    }
}

struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn ids(name: &str, n: usize, ids: impl Iterator<Item = TokenId>) -> Self {
        let bytes = ids.flat_map(|id| i64::from(id).to_le_bytes()).collect();
        Tensor { name: name.into(), dtype: Dtype::I64, shape: vec![n], bytes }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        (&self.bytes).into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn floats(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}
