//! Records every stage of a run under the names that the goldens use.

use crate::golden::Tensor;
use pg_runtime::imaging::patches_to_chw;
use pg_runtime::model::VisionConfig;
use pg_runtime::probe::{Probe, Tap};
use std::collections::BTreeMap;

/// A probe that keeps everything it sees.
#[derive(Debug)]
pub struct Recorder {
    vision: VisionConfig,
    stages: BTreeMap<String, Tensor>,
}

impl Recorder {
    /// For a model with this picture side.
    pub fn new(vision: VisionConfig) -> Self {
        Recorder { vision, stages: BTreeMap::new() }
    }

    /// Every stage by name. `prefill_logits` is the first row of `step_logits`.
    pub fn into_stages(mut self) -> BTreeMap<String, Tensor> {
        if let Some(steps) = self.stages.get("step_logits") {
            let n_vocab = steps.shape[1];
            let first = Tensor { shape: vec![n_vocab], values: steps.values[..n_vocab].to_vec() };
            self.stages.insert("prefill_logits".to_string(), first);
        }
        self.stages
    }

    fn pixel_values(&self, patches: &[f32], width: usize) -> Tensor {
        let side = self.vision.image_size;
        let mut values = vec![f32::NAN; 3 * side * side];
        patches_to_chw(patches, width, side, self.vision.patch_size, &mut values);
        Tensor { shape: vec![3, side, side], values }
    }
}

impl Probe for Recorder {
    fn look(&mut self, tap: Tap, data: &[f32], width: usize) {
        let rows = || Tensor { shape: vec![data.len() / width, width], values: data.to_vec() };
        let (name, tensor) = match tap {
            Tap::Patches => ("pixel_values".to_string(), self.pixel_values(data, width)),
            Tap::VisionLastHidden => ("vision_last_hidden".to_string(), rows()),
            Tap::ImageFeatures => ("image_features".to_string(), rows()),
            Tap::Hidden(i) => (format!("hidden.{i}"), rows()),
            Tap::Logits => {
                let empty = || Tensor { shape: vec![0, width], values: Vec::new() };
                let steps = self.stages.entry("step_logits".to_string()).or_insert_with(empty);
                steps.shape[0] += 1;
                steps.values.extend_from_slice(data);
                return;
            }
        };
        let again = self.stages.insert(name.clone(), tensor);
        assert!(again.is_none(), "{name} came twice");
    }
}
