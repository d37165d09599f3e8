//! What is really in the sample pictures, from `truth.json` beside them.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The samples' content.
#[derive(Debug)]
pub(crate) struct Truth {
    scenes: Vec<Value>,
}

impl Truth {
    /// The folder of samples in the source tree: the demo is started by cargo, so the tree is there.
    pub(crate) fn samples() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../quantize/demo/samples")
    }

    pub(crate) fn read() -> Result<Self, String> {
        let path = Self::samples().join("truth.json");
        let wrong = |e: &dyn std::fmt::Display| {
            format!("{}: {e}; get a fresh copy of the repository", path.display())
        };
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(&e))?;
        let mut root: Value = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        match root["scenes"].take() {
            Value::Array(scenes) => Ok(Truth { scenes }),
            _ => Err(wrong(&"has no list \"scenes\"")),
        }
    }

    /// The right answer to a prompt about a picture.
    pub(crate) fn answer(&self, image: &str, prompt: &str) -> Result<&str, String> {
        let found = self.entry(image, "prompts", "prompt", prompt).and_then(|p| p["truth"].as_str());
        found.ok_or_else(|| format!("truth.json has no answer to \"{prompt}\" about {image}"))
    }

    /// Left, top, right, bottom in pixels of an object in a picture.
    pub(crate) fn object(&self, image: &str, name: &str) -> Option<[u32; 4]> {
        let corners = self.entry(image, "objects", "name", name)?["box_xyxy"].as_array()?;
        let numbers: Option<Vec<u32>> = corners.iter().map(|v| v.as_u64()?.try_into().ok()).collect();
        numbers?.try_into().ok()
    }

    /// The entry of a picture's `list` whose `key` is `value`.
    fn entry(&self, image: &str, list: &str, key: &str, value: &str) -> Option<&Value> {
        let scene = self.scenes.iter().find(|s| s["image"] == image)?;
        scene[list].as_array()?.iter().find(|e| e[key] == value)
    }
}
