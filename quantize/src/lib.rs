//! Packs PaliGemma checkpoints for the runtime.

pub mod source;
