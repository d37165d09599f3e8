//! Scores to a token: the best one. PaliGemma's tasks are evaluated with greedy decoding.

use crate::tokenizer::TokenId;

/// Scores among which the largest is searched before it is asked where it stands.
const CHUNK: usize = 1024;

/// The token with the highest score; the first of several.
pub fn greedy(logits: &[f32]) -> TokenId {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        let score = largest(chunk);
        if score > best.1 {
            best = (i * CHUNK, score);
        }
    }
    let (first, score) = best;
    let at = logits[first..].iter().position(|&s| s == score).unwrap_or(0);
    (first + at) as TokenId
}

/// The probability of token `id` among all tokens.
pub fn probability(logits: &[f32], id: TokenId) -> f32 {
    let max = largest(logits);
    let total: f64 = logits.iter().map(|v| f64::from(libm::expf(v - max))).sum();
    (f64::from(libm::expf(logits[id as usize] - max)) / total) as f32
}

/// Eight at a time: one after the other, each would wait for the one before.
fn largest(scores: &[f32]) -> f32 {
    let (rows, rest) = scores.as_chunks::<8>();
    let mut best = [f32::NEG_INFINITY; 8];
    for row in rows {
        for (best, &score) in best.iter_mut().zip(row) {
            *best = if score > *best { score } else { *best };
        }
    }
    best.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &v| m.max(v))
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
        for at in [0, 7, 1023, 1024, 2500] {
            let mut logits = [-1.0; 2501];
            logits[at] = 0.5;
            logits[2500] = 0.5;
            assert_eq!(greedy(&logits), at as TokenId);
        }
    }
}
