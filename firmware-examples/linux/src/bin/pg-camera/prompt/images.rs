//! Several pictures in a request, of which the model sees one.

use serde::Deserialize;

/// Which of several pictures is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Images {
    /// The last one.
    Last,
    /// The one in the middle; of two in the middle the earlier one.
    #[default]
    Middle,
    /// All of them side by side, each smaller.
    Grid,
}

impl Images {
    /// Which one of `n` is looked at; `None` if all are, or there is none.
    pub(crate) const fn pick(self, n: usize) -> Option<usize> {
        match self {
            _ if n == 0 => None,
            Images::Last => Some(n - 1),
            Images::Middle => Some((n - 1) / 2),
            Images::Grid => None,
        }
    }
}

/// Where a picture goes, in pixels of the square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its left side.
    pub(crate) x: u32,
    /// Of its upper side.
    pub(crate) y: u32,
    /// In pixels.
    pub(crate) width: u32,
    /// In pixels.
    pub(crate) height: u32,
}

/// Places pictures of these sizes (width and height) in a square, in rows from the upper left, each as large as its equal
/// part of the square allows and in its own ratio. The number of columns is the one that shows the most. `None` without
/// pictures, if one has no pixels, or if the square has too few pixels for them.
pub(crate) fn grid(sizes: &[(u32, u32)], side: u32) -> Option<Vec<Place>> {
    let n = u32::try_from(sizes.len()).ok().filter(|n| (1..=side).contains(n))?;
    if sizes.iter().any(|(width, height)| *width == 0 || *height == 0) {
        return None;
    }
    // Of layouts that show as much, the one with more columns: pictures are wider than high.
    (1..=n).filter_map(|columns| layout(sizes, side, columns)).max_by_key(|places| shown(places))
}

/// Pixels of the square that pictures cover.
fn shown(places: &[Place]) -> u64 {
    places.iter().map(|p| u64::from(p.width) * u64::from(p.height)).sum()
}

fn layout(sizes: &[(u32, u32)], side: u32, columns: u32) -> Option<Vec<Place>> {
    let rows = (sizes.len() as u32).div_ceil(columns);
    let (cell_width, cell_height) = (side / columns, side / rows);
    let place = |(i, (width, height)): (usize, &(u32, u32))| {
        let (wide, high) = fit(*width, *height, cell_width, cell_height);
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        Place {
            x: column * cell_width + (cell_width - wide) / 2,
            y: row * cell_height + (cell_height - high) / 2,
            width: wide,
            height: high,
        }
    };
    (cell_width > 0 && cell_height > 0).then(|| sizes.iter().enumerate().map(place).collect())
}

/// The largest size of this ratio in a cell, at least a pixel each way.
fn fit(width: u32, height: u32, cell_width: u32, cell_height: u32) -> (u32, u32) {
    let scaled = |a: u32, by: u32, of: u32| {
        let rounded = (u64::from(a) * u64::from(by) + u64::from(of) / 2) / u64::from(of);
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    };
    match u64::from(width) * u64::from(cell_height) >= u64::from(height) * u64::from(cell_width) {
        true => (cell_width, scaled(height, cell_width, width).min(cell_height)),
        false => (scaled(width, cell_height, height).min(cell_width), cell_height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several() {
        let picks = |n| [Images::Last, Images::Middle, Images::Grid].map(|i| i.pick(n));
        assert_eq!(picks(0), [None; 3]);
        assert_eq!(picks(1), [Some(0), Some(0), None]);
        assert_eq!(picks(2), [Some(1), Some(0), None]);
        assert_eq!(picks(20), [Some(19), Some(9), None]);
    }

    #[test]
    fn places_of_few_pictures() {
        let place = |x, y, width, height| Place { x, y, width, height };
        assert_eq!(grid(&[(640, 360)], 224), Some(vec![place(0, 49, 224, 126)]));
        assert_eq!(grid(&[(100, 100)], 224), Some(vec![place(0, 0, 224, 224)]), "small ones grow");
        // Wide ones below each other, high ones side by side.
        assert_eq!(grid(&[(200, 100); 2], 200), Some(vec![place(0, 0, 200, 100), place(0, 100, 200, 100)]));
        assert_eq!(grid(&[(100, 200); 2], 200), Some(vec![place(0, 0, 100, 200), place(100, 0, 100, 200)]));
        let four = grid(&[(100, 100); 4], 224).unwrap();
        assert_eq!(four[3], place(112, 112, 112, 112));
    }

    #[test]
    fn what_cannot_be_placed() {
        assert_eq!(grid(&[], 224), None);
        assert_eq!(grid(&[(640, 480), (0, 10)], 224), None);
        assert_eq!(grid(&[(640, 480); 20], 0), None);
        assert_eq!(grid(&[(640, 480); 225], 224), None);
        assert!(grid(&[(u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)], 224).is_some());
    }

    #[test]
    fn pictures_neither_overlap_nor_leave_the_square_and_keep_their_ratio() {
        let mut seed = 9_u64;
        let mut below = move |n: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u32 % n
        };
        for _ in 0..300 {
            let n = 1 + below(20) as usize;
            let sizes: Vec<_> = (0..n).map(|_| (100 + below(4000), 100 + below(3000))).collect();
            let side = [224, 448, 896][below(3) as usize];
            let places = grid(&sizes, side).unwrap();
            assert_eq!(places.len(), n);
            for (i, p) in places.iter().enumerate() {
                assert!(p.width > 0 && p.height > 0 && p.x + p.width <= side && p.y + p.height <= side);
                let (w, h) = (f64::from(sizes[i].0), f64::from(sizes[i].1));
                let off = (f64::from(p.width) * h / w - f64::from(p.height)).abs();
                let off = off.min((f64::from(p.height) * w / h - f64::from(p.width)).abs());
                assert!(off <= 0.51, "{sizes:?} {p:?}");
                for q in &places[..i] {
                    let apart = p.x >= q.x + q.width
                        || q.x >= p.x + p.width
                        || p.y >= q.y + q.height
                        || q.y >= p.y + p.height;
                    assert!(apart, "{p:?} {q:?}");
                }
            }
        }
    }
}
