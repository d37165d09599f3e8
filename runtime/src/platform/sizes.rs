//! Bytes as people write and read them, in powers of 1000.

use alloc::format;
use alloc::string::String;

/// Such as `312 B`, `3.2 kB`, `411.7 MB` or `2.12 GB`.
pub fn text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Reads sizes such as `1500M`, `2G`, `1.5GB`, `640k` or `123456`, in bytes; capital or not, with or without the B.
///
/// # Errors
/// What is wrong with `text`, in words.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: expected a number with k, M or G, such as 1500M or 2G");
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix('b').unwrap_or(&lower).trim_end();
    let (number, unit) = match number.char_indices().last() {
        Some((at, 'k')) => (&number[..at], 1e3),
        Some((at, 'm')) => (&number[..at], 1e6),
        Some((at, 'g')) => (&number[..at], 1e9),
        _ => (number, 1.0),
    };
    let number = number.trim_end();
    // Rust's own reader knows "inf", "nan" and exponents, which are no sizes here.
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit;
    match bytes {
        0.0..1.0 => Err(wrong()),
        1.0..1e18 => Ok(bytes as u64),
        _ => Err(format!("{text} is more than any machine has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (3_155_328, "3.2 MB"),
            (2_124_825_088, "2.12 GB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(text(bytes), expected);
        }
    }

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("1", 1),
            ("1500M", 1_500_000_000),
            ("2g", 2_000_000_000),
            ("1.5 GB", 1_500_000_000),
            ("640kB", 640_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "M", "GB", "0", "-1G", "1T", "1e9", "inf", "1.2.3", "two", "0.1", "99999999999999999999G"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
