//! Scores to a token: the best one. PaliGemma's tasks are evaluated with greedy decoding.

use crate::tokenizer::TokenId;

/// The token with the highest score; the first of several.
pub fn greedy(logits: &[f32]) -> TokenId {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &score) in logits.iter().enumerate() {
        if score > best.1 {
            best = (id, score);
        }
    }
    best.0 as TokenId
}

/// The probability of token `id` among all tokens.
pub fn probability(logits: &[f32], id: TokenId) -> f32 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    let total: f64 = logits.iter().map(|v| f64::from(libm::expf(v - max))).sum();
    (f64::from(libm::expf(logits[id as usize] - max)) / total) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_token_and_its_probability() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        assert_eq!(greedy(&logits), 1);
        let total: f32 = (0..5).map(|i| probability(&logits, i)).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert!((probability(&logits, 4) / probability(&logits, 0) - 1f32.exp()).abs() < 1e-5);
        assert_eq!(greedy(&[f32::NAN; 3]), 0);
    }
}
