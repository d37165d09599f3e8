//! Privacy masks: parts of every frame that are black before anything else sees it.
//!
//! A pixel that a mask touches anywhere, even with a corner, is black, and what a polygon with crossing lines goes around is
//! hidden too, where the even-odd rule would leave a hole. The rows to black are found once for each size of frames.

use super::zone::Polygon;

/// Rounding of coordinates is smaller than this, in pixels; spans are longer by it.
const ROUNDING: f64 = 1e-6;

/// Masks and, for the size of frames that was seen last, the pixels that they cover.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    polygons: Vec<Polygon>,
    /// Width and height of the frames that `spans` fit, in pixels.
    size: (usize, usize),
    spans: Vec<Span>,
}

/// Pixels of a row, from the first to before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    row: usize,
    first: usize,
    end: usize,
}

impl Mask {
    /// Masks that were validated.
    pub(crate) fn new(polygons: Vec<Polygon>) -> Self {
        Mask { polygons, size: (0, 0), spans: Vec::new() }
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.polygons.is_empty()
    }

    /// Blacks the masks in a frame of `height` rows of `width` pixels of three bytes, without gaps. A buffer of another
    /// length becomes black all over, so that nothing gets out by mistake, and is refused.
    pub(crate) fn black(&mut self, rgb: &mut [u8], width: usize, height: usize) -> Result<(), String> {
        if self.is_empty() {
            return Ok(());
        }
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if expected != Some(rgb.len()) {
            rgb.fill(0);
            return Err(format!(
                "a frame of {width} x {height} pixels has {} bytes instead of three for each: it was blacked",
                rgb.len()
            ));
        }
        if self.size != (width, height) {
            self.cover(width, height);
        }
        for span in &self.spans {
            let row = span.row * width;
            rgb[(row + span.first) * 3..(row + span.end) * 3].fill(0);
        }
        Ok(())
    }

    /// Finds the spans for frames of this size.
    fn cover(&mut self, width: usize, height: usize) {
        self.size = (width, height);
        self.spans.clear();
        let mut crossings = Vec::new();
        for polygon in &self.polygons {
            for row in 0..height {
                edges(polygon, row, self.size, &mut self.spans);
                interior(polygon, row, self.size, &mut crossings, &mut self.spans);
            }
        }
    }
}

/// A point in pixels.
fn scaled(point: [f32; 2], (width, height): (usize, usize)) -> [f64; 2] {
    [f64::from(point[0]) * width as f64, f64::from(point[1]) * height as f64]
}

/// The pixels of a row that the border touches.
fn edges(polygon: &Polygon, row: usize, size: (usize, usize), spans: &mut Vec<Span>) {
    let (top, bottom) = (row as f64 - ROUNDING, row as f64 + 1.0 + ROUNDING);
    for (a, b) in polygon.edges() {
        let ([ax, ay], [bx, by]) = (scaled(a, size), scaled(b, size));
        if ay.max(by) < top || ay.min(by) > bottom {
            continue;
        }
        // The part of the edge that lies between the row's upper and lower border.
        let x_at = |y: f64| if ay == by { ax } else { ax + (bx - ax) * (y - ay) / (by - ay) };
        let (from, to) = match ay == by {
            true => (ax, bx),
            false => (x_at(ay.clamp(top, bottom)), x_at(by.clamp(top, bottom))),
        };
        push(row, from.min(to), from.max(to), size.0, spans);
    }
}

/// The pixels of a row whose middle line runs inside the polygon.
fn interior(
    polygon: &Polygon,
    row: usize,
    size: (usize, usize),
    crossings: &mut Vec<(f64, i32)>,
    spans: &mut Vec<Span>,
) {
    let y = row as f64 + 0.5;
    crossings.clear();
    for (a, b) in polygon.edges() {
        let ([ax, ay], [bx, by]) = (scaled(a, size), scaled(b, size));
        if (ay > y) != (by > y) {
            crossings.push((ax + (bx - ax) * (y - ay) / (by - ay), if by > ay { 1 } else { -1 }));
        }
    }
    crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
    // How often the polygon goes around the points from here to the next crossing.
    let mut winding = 0;
    for pair in crossings.windows(2) {
        winding += pair[0].1;
        if winding != 0 {
            push(row, pair[0].0, pair[1].0, size.0, spans);
        }
    }
}

/// Adds the pixels that touch the numbers from `from` to `to`. A border between two pixels touches both.
fn push(row: usize, from: f64, to: f64, width: usize, spans: &mut Vec<Span>) {
    let first = ((from - ROUNDING).ceil() - 1.0).max(0.0) as usize;
    let end = ((to + ROUNDING).floor() + 1.0).clamp(0.0, width as f64) as usize;
    if first < end {
        spans.push(Span { row, first, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of the tests' coordinates in a pixel, small enough that integers and floats agree on every touch.
    const STEPS: i64 = 8;

    type Point = [i64; 2];

    fn polygon(points: &[Point], (width, height): (usize, usize)) -> Polygon {
        let part = |at: i64, side: usize| at as f32 / (STEPS * side as i64) as f32;
        Polygon::new(points.iter().map(|[x, y]| [part(*x, width), part(*y, height)]).collect())
    }

    /// The slow way, in integers: whether a pixel's square touches the polygon's border or has its centre inside.
    fn touched(points: &[Point], x: i64, y: i64) -> bool {
        let (x0, y0, x1, y1) = (x * STEPS, y * STEPS, (x + 1) * STEPS, (y + 1) * STEPS);
        let edges = || points.iter().zip(points.iter().cycle().skip(1));
        // A segment misses a square if it is beyond one side, or all corners are on one side of its line.
        let touches = |a: &Point, b: &Point| {
            let beyond =
                a[0].max(b[0]) < x0 || a[0].min(b[0]) > x1 || a[1].max(b[1]) < y0 || a[1].min(b[1]) > y1;
            let side = |px: i64, py: i64| (b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0]);
            let sides = [side(x0, y0), side(x1, y0), side(x0, y1), side(x1, y1)];
            !(beyond || sides.iter().all(|s| *s > 0) || sides.iter().all(|s| *s < 0))
        };
        if edges().any(|(a, b)| touches(a, b)) {
            return true;
        }
        // Doubled, because a centre may lie between steps; it is on no edge.
        let (cx, cy) = (x0 + x1, y0 + y1);
        let mut winding = 0;
        for (a, b) in edges() {
            let left = (b[0] - a[0]) * 2 * (cy - 2 * a[1]) - (cx - 2 * a[0]) * 2 * (b[1] - a[1]);
            if 2 * a[1] <= cy && 2 * b[1] > cy && left < 0 {
                winding += 1;
            } else if 2 * a[1] > cy && 2 * b[1] <= cy && left > 0 {
                winding -= 1;
            }
        }
        winding != 0
    }

    fn blacked(points: &[Point], (width, height): (usize, usize)) -> Vec<bool> {
        let mut rgb = vec![200; width * height * 3];
        Mask::new(vec![polygon(points, (width, height))]).black(&mut rgb, width, height).unwrap();
        assert!(rgb.chunks(3).all(|p| p == [0; 3] || p == [200; 3]), "whole pixels");
        rgb.chunks(3).map(|p| p == [0; 3]).collect()
    }

    fn show(points: &[Point], (width, height): (usize, usize)) -> String {
        let rows = blacked(points, (width, height));
        let row = |r: &[bool]| r.iter().map(|b| if *b { '#' } else { '.' }).collect::<String>();
        rows.chunks(width).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn pixels_that_are_touched_by_a_corner_or_a_border_are_black() {
        let square = |a, b| [[a, a], [b, a], [b, b], [a, b]];
        assert_eq!(show(&square(9, 15), (4, 4)), "....\n.#..\n....\n....");
        assert_eq!(show(&square(7, 17), (4, 4)), "###.\n###.\n###.\n....");
        // Exactly on the borders of pixel 1: its neighbours are touched.
        assert_eq!(show(&square(8, 16), (4, 4)), "###.\n###.\n###.\n....");
        assert_eq!(show(&[[4, 4], [28, 28], [4, 4]], (4, 4)), "##..\n###.\n.###\n..##");
    }

    #[test]
    fn what_crossing_lines_go_around_twice_is_hidden_too() {
        let star: Vec<Point> = (0..5)
            .map(|i| {
                let angle = f64::to_radians(-90.0 + 144.0 * f64::from(i));
                [(128.0 + 120.0 * angle.cos()) as i64, (128.0 + 120.0 * angle.sin()) as i64]
            })
            .collect();
        let size = (32, 32);
        assert!(!polygon(&star, size).contains([0.5, 0.5]));
        assert!(blacked(&star, size)[16 * 32 + 16]);
    }

    #[test]
    fn the_same_pixels_as_the_slow_way() {
        let mut seed = 3_u64;
        let mut below = move |n: i64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) as i64) % n
        };
        let mut black = 0;
        // Powers of two, in which every coordinate is exact.
        for size in [(16, 16), (32, 8), (1, 1), (1, 16), (8, 2)] {
            for _ in 0..400 {
                let n = 3 + below(6);
                let (w, h) = (size.0 as i64, size.1 as i64);
                let points: Vec<Point> =
                    (0..n).map(|_| [below(w * STEPS + 1), below(h * STEPS + 1)]).collect();
                let found = blacked(&points, size);
                for y in 0..h {
                    for x in 0..w {
                        let at = (y * w + x) as usize;
                        assert_eq!(found[at], touched(&points, x, y), "{points:?} in {size:?} at {x} {y}");
                        black += usize::from(found[at]);
                    }
                }
            }
        }
        assert!(black > 10_000, "{black}");
    }

    #[test]
    fn nothing_shows_in_sizes_that_round() {
        let points = [[3, 5], [50, 11], [31, 60], [11, 37]];
        for size in [(7, 9), (10, 10), (13, 8), (9, 11)] {
            let found = blacked(&points, size);
            for (at, black) in found.iter().enumerate() {
                let slow = touched(&points, (at % size.0) as i64, (at / size.0) as i64);
                assert!(*black || !slow, "{size:?} {at}");
            }
            assert!(found.iter().any(|b| !b), "not all of it");
        }
    }

    #[test]
    fn the_whole_picture_and_frames_of_changing_size() {
        let all = Polygon::new(vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
        let mut mask = Mask::new(vec![all]);
        for (width, height) in [(5, 3), (1920, 1080), (1, 1), (5, 3), (4, 3)] {
            let mut rgb = vec![9; width * height * 3];
            mask.black(&mut rgb, width, height).unwrap();
            assert!(rgb.iter().all(|b| *b == 0), "{width} x {height}");
        }
        let before = mask.spans.as_ptr();
        mask.black(&mut [9; 36], 4, 3).unwrap();
        assert_eq!(mask.spans.as_ptr(), before, "nothing is found twice");
    }

    #[test]
    fn a_buffer_of_a_wrong_length_is_black_all_over() {
        let corner = Polygon::new(vec![[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]]);
        let mut mask = Mask::new(vec![corner]);
        for (width, height) in [(4, 4), (usize::MAX, 2), (3, 3)] {
            let mut rgb = [9; 30];
            let error = mask.black(&mut rgb, width, height).unwrap_err();
            assert!(error.contains("30 bytes") && rgb == [0; 30], "{error}");
        }
        let mut rgb = [9; 30];
        Mask::new(Vec::new()).black(&mut rgb, 1, 1).unwrap();
        assert_eq!(rgb, [9; 30], "no mask, nothing to check");
    }
}
