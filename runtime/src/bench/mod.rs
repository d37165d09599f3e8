//! What this machine could do, what a model asks of it, and how long each stage takes.
//!
//! A stage's speed is its multiplications or its bytes, counted from the model's sizes ([`work`]), over the time it took
//! ([`stages`]); its share is that of what loops without any other work reach on the same threads ([`machine`]).
//! [`products`] times single matrices in every kernel table.
//!
//! Nothing here looks at what the model says, so models of random weights are as good as trained ones.
//!
//! Not here: printing; a second way to run a model.

pub mod machine;
pub mod products;
pub mod stages;
pub mod work;

/// The middle of some values; the lower of two. Zero if there are none.
fn median(mut values: alloc::vec::Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::median;
    use alloc::vec;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 1.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
