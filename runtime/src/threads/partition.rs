//! Who does what: contiguous shares of nearly equal size.

use core::ops::Range;

/// Share `i` of `n` items among `parts`, in multiples of `unit` (the last share takes the remainder).
pub fn share(n: usize, parts: usize, unit: usize, i: usize) -> Range<usize> {
    let units = n.div_ceil(unit);
    let edge = |i: usize| (units * i / parts * unit).min(n);
    edge(i)..edge(i + 1)
}

/// Cuts the first `n` elements off the slice behind `rest`.
pub fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (head, tail) = core::mem::take(rest).split_at_mut(n);
    *rest = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for n in [0, 1, 7, 16, 100] {
            for parts in 1..6 {
                for unit in [1, 4, 16] {
                    let mut next = 0;
                    for i in 0..parts {
                        let s = share(n, parts, unit, i);
                        assert_eq!(s.start, next);
                        assert!(s.start.is_multiple_of(unit) || s.start == n);
                        next = s.end;
                    }
                    assert_eq!(next, n);
                }
            }
        }
    }
}
