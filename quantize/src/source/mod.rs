//! Readers of what is published: checkpoints and vocabularies in the formats of others.

pub mod sentencepiece;
pub mod tokenizer_json;
pub mod vocabulary;

#[cfg(test)]
mod tests;
