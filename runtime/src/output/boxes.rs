//! Boxes on the model's grid of 1024 by 1024.

/// The largest location: big_vision writes `round(v * 1023)` and reads `token / 1023`.
const LAST: f32 = 1023.0;

/// A box; both corners on the grid from 0 to 1023.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bbox {
    /// Left.
    pub x0: u16,
    /// Top.
    pub y0: u16,
    /// Right.
    pub x1: u16,
    /// Bottom.
    pub y1: u16,
}

impl Bbox {
    /// From the model's order; `None` if the box has no area.
    pub fn from_locations([y0, x0, y1, x1]: [u16; 4]) -> Option<Self> {
        (x1 > x0 && y1 > y0).then_some(Bbox { x0, y0, x1, y1 })
    }

    /// `[x0, y0, x1, y1]` from 0 to 1.
    pub fn normalized(&self) -> [f32; 4] {
        [self.x0, self.y0, self.x1, self.y1].map(|v| f32::from(v) / LAST)
    }

    /// `[x0, y0, x1, y1]` in pixels of a picture, rounded down as big_vision's evaluator does.
    pub fn pixels(&self, width: u32, height: u32) -> [u32; 4] {
        let scale = |v: u16, side: u32| (u64::from(v) * u64::from(side) / LAST as u64) as u32;
        [scale(self.x0, width), scale(self.y0, height), scale(self.x1, width), scale(self.y1, height)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_map_to_the_picture() {
        let b = Bbox::from_locations([0, 512, 1023, 1023]).unwrap();
        assert_eq!(b.pixels(640, 427), [320, 0, 640, 427]);
        assert_eq!(b.normalized(), [512.0 / 1023.0, 0.0, 1.0, 1.0]);
        assert_eq!(Bbox::from_locations([5, 5, 5, 9]), None);
        assert_eq!(Bbox::from_locations([5, 9, 7, 8]), None);
    }
}
