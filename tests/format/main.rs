//! Model files that are cut, changed or made up: refused with a message, or a model that runs; never a panic.

mod contradictions;
mod damage;

use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::Model;
use std::sync::OnceLock;

/// The packed demo.
fn demo() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let checkpoint = Checkpoint::open(&Source::demo()).unwrap_or_else(|e| panic!("{e}"));
        pack_to_vec(&checkpoint, Preset::Q4).unwrap_or_else(|e| panic!("{e}")).0
    })
}

/// Why the bytes are no model; empty if they are one.
fn refusal(file: &[u8]) -> String {
    Model::from_bytes(file).map_or_else(|e| e.to_string(), |_| String::new())
}
