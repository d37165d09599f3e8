//! How work is cut: into contiguous shares of nearly equal size, or into pieces that become smaller.

use core::ops::Range;

/// Share `i` of `n` items among `parts`, in multiples of `unit` (the last share takes the remainder).
pub fn share(n: usize, parts: usize, unit: usize, i: usize) -> Range<usize> {
    piece(n, parts, 1, unit, i)
}

/// Piece `i` of `n` items that `members` take in turn, in multiples of `unit`: `members` pieces of equal size in each of
/// `rounds`, all of which but the last cover three quarters of what is left. So nearly everything is taken in few large
/// pieces, and the small ones at the end wait for whoever is ahead.
pub fn piece(n: usize, members: usize, rounds: usize, unit: usize, i: usize) -> Range<usize> {
    let units = n.div_ceil(unit);
    let round = |r: usize| if r < rounds { units - (units >> (2 * r)) } else { units };
    let edge = |i: usize| {
        let (from, to) = (round(i / members), round(i / members + 1));
        ((from + (to - from) * (i % members) / members) * unit).min(n)
    };
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
    fn pieces_become_smaller() {
        let of_two = |i| piece(256, 2, 3, 1, i);
        let pieces: [_; 6] = core::array::from_fn(of_two);
        assert_eq!(pieces, [0..96, 96..192, 192..216, 216..240, 240..248, 248..256]);
    }

    #[test]
    fn shares_and_pieces_cover_everything_once() {
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
