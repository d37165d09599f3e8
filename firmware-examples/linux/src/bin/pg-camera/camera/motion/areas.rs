//! Connected areas of marked pixels: which are large enough, and the box around those.

/// Marks of a small picture, and memory to walk through them.
#[derive(Debug)]
pub(super) struct Areas {
    width: usize,
    height: usize,
    /// `[height, width]`
    marks: Vec<bool>,
    /// Pixels whose neighbours have not been looked at. Each pixel gets here once at most, so it never grows.
    waiting: Vec<u32>,
}

impl Areas {
    /// For pictures of up to this number of pixels.
    pub(super) fn new(max_pixels: usize) -> Self {
        let (marks, waiting) = (Vec::with_capacity(max_pixels), Vec::with_capacity(max_pixels));
        Areas { width: 0, height: 0, marks, waiting }
    }

    /// The marks to set, `[height, width]`, all of them.
    pub(super) fn start(&mut self, (width, height): (usize, usize)) -> &mut [bool] {
        (self.width, self.height) = (width, height);
        self.marks.resize(width * height, false);
        &mut self.marks
    }

    /// The box `[x0, y0, x1, y1]` in pixels around all areas of at least `least` pixels, corners connecting too. Takes the
    /// marks away.
    pub(super) fn surround(&mut self, least: usize) -> Option<[usize; 4]> {
        let mut all: Option<[usize; 4]> = None;
        for at in 0..self.marks.len() {
            if !self.marks[at] {
                continue;
            }
            let (n, [x0, y0, x1, y1]) = self.walk(at);
            if n >= least {
                let [a0, b0, a1, b1] = all.unwrap_or([x0, y0, x1, y1]);
                all = Some([a0.min(x0), b0.min(y0), a1.max(x1), b1.max(y1)]);
            }
        }
        all
    }

    /// Unmarks the area around a pixel; its number of pixels and the box around it.
    fn walk(&mut self, start: usize) -> (usize, [usize; 4]) {
        let mut area = [usize::MAX, usize::MAX, 0, 0];
        let mut n = 0;
        self.marks[start] = false;
        self.waiting.push(start as u32);
        while let Some(at) = self.waiting.pop() {
            let (x, y) = (at as usize % self.width, at as usize / self.width);
            n += 1;
            area = [area[0].min(x), area[1].min(y), area[2].max(x + 1), area[3].max(y + 1)];
            for row in y.saturating_sub(1)..(y + 2).min(self.height) {
                for column in x.saturating_sub(1)..(x + 2).min(self.width) {
                    let neighbour = row * self.width + column;
                    if std::mem::take(&mut self.marks[neighbour]) {
                        self.waiting.push(neighbour as u32);
                    }
                }
            }
        }
        (n, area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surround(rows: &[&str], least: usize) -> Option<[usize; 4]> {
        let mut areas = Areas::new(rows.len() * rows[0].len());
        let marks = areas.start((rows[0].len(), rows.len()));
        let pixels = rows.concat();
        for (mark, pixel) in marks.iter_mut().zip(pixels.bytes()) {
            *mark = pixel == b'#';
        }
        let found = areas.surround(least);
        assert_eq!(areas.waiting.capacity(), pixels.len());
        assert!(areas.marks.iter().all(|m| !m));
        found
    }

    #[test]
    fn areas_that_are_large_enough_count_together() {
        let rows = ["##....#", "#......", "....#..", "...#...", "..#...."];
        assert_eq!(surround(&rows, 4), None);
        assert_eq!(surround(&rows, 3), Some([0, 0, 5, 5]), "corners connect, the upper right pixel is alone");
        assert_eq!(surround(&rows, 1), Some([0, 0, 7, 5]));
        assert_eq!(surround(&["..."], 1), None);
    }

    #[test]
    fn a_row_does_not_continue_in_the_next_one() {
        assert_eq!(surround(&["..#", "...", "#.."], 2), None);
        assert_eq!(surround(&["...##", "#...."], 3), None);
    }

    #[test]
    fn the_whole_picture_is_one_area() {
        let rows = vec!["#".repeat(400); 100];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(surround(&rows, 40_000), Some([0, 0, 400, 100]));
    }
}
