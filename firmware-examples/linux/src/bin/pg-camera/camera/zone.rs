//! Zones of a picture: which of them an object stands in, and which objects count at all.
//!
//! Points and boxes are fractions of the picture's sides, `[x, y]` and `[x0, y0, x1, y1]`, from its upper left corner. A box
//! comes from a model's text, so nothing is expected of it: one with a number that is none stands nowhere.

use serde::Deserialize;

/// Points of a polygon, at most.
const MOST_POINTS: usize = 256;
/// How far from its border a point still counts as inside, in sides of the picture: less than a pixel of any frame, more
/// than what rounding costs.
const BORDER: f64 = 1e-6;

/// A closed line of at least three points, each `[x, y]` in fractions of the picture (0 to 1, from the upper left corner).
/// The last point is joined with the first.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub(crate) struct Polygon {
    points: Vec<[f32; 2]>,
}

impl Polygon {
    /// A polygon of these points.
    #[cfg(test)]
    pub(crate) fn new(points: Vec<[f32; 2]>) -> Self {
        Polygon { points }
    }

    /// Its points, `[x, y]` each.
    #[cfg(test)]
    pub(crate) fn points(&self) -> &[[f32; 2]] {
        &self.points
    }

    /// Its edges, from point to point and back to the first one.
    pub(crate) fn edges(&self) -> impl Iterator<Item = ([f32; 2], [f32; 2])> {
        let next = self.points.iter().cycle().skip(1);
        self.points.iter().copied().zip(next.copied())
    }

    /// Says in words what is wrong with it.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let n = self.points.len();
        if !(3..=MOST_POINTS).contains(&n) {
            return Err(format!("a polygon has {n} points: give 3 to {MOST_POINTS} of the form [x, y]"));
        }
        match self.points.iter().position(|p| !p.iter().all(|c| (0.0..=1.0).contains(c))) {
            Some(i) => {
                let [x, y] = self.points[i];
                Err(format!(
                    "point {} of a polygon is [{x}, {y}]: both are fractions of the picture, 0 to 1 (divide pixels by its \
                     width and height)",
                    i + 1
                ))
            }
            None => Ok(()),
        }
    }

    /// Whether a point is inside (by the even-odd rule) or on the border.
    pub(crate) fn contains(&self, point: [f32; 2]) -> bool {
        let [x, y] = point.map(f64::from);
        let mut inside = false;
        for (a, b) in self.edges() {
            let ([ax, ay], [bx, by]) = (a.map(f64::from), b.map(f64::from));
            if distance([x, y], [ax, ay], [bx, by]) <= BORDER {
                return true;
            }
            if (ay > y) != (by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay) {
                inside = !inside;
            }
        }
        inside
    }
}

/// How far a point is from a segment.
fn distance([x, y]: [f64; 2], [ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

/// Which objects count. What is left out does not restrict.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Filter {
    /// Labels that count, such as `["person", "car"]`, in any case; empty for all.
    pub(crate) labels: Vec<String>,
    /// The least score that counts, 0 to 1. A score is how sure the model was of a box's four corners, not of its label.
    pub(crate) min_score: f32,
    /// The least area of a box, as a fraction of the picture's.
    pub(crate) min_area: Option<f32>,
    /// The largest area of a box, as a fraction of the picture's.
    pub(crate) max_area: Option<f32>,
}

impl Filter {
    /// Says in words what is wrong with it.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let (least, most) = (self.min_area.unwrap_or(0.0), self.max_area.unwrap_or(1.0));
        for (name, value) in [("min_score", self.min_score), ("min_area", least), ("max_area", most)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}: give a number from 0 to 1"));
            }
        }
        if least > most {
            return Err(format!("min_area {least} is above max_area {most}: no object would count"));
        }
        match self.labels.iter().any(|l| l.trim().is_empty()) {
            true => Err("labels has an empty one: leave the list out for all labels".into()),
            false => Ok(()),
        }
    }

    /// Whether an object counts.
    pub(crate) fn lets(&self, label: &str, score: f32, area: [f32; 4]) -> bool {
        let [x0, y0, x1, y1] = area;
        let size = (x1 - x0) * (y1 - y0);
        let label = label.trim().to_lowercase();
        (self.labels.is_empty() || self.labels.iter().any(|l| l.trim().to_lowercase() == label))
            && score >= self.min_score
            && size >= self.min_area.unwrap_or(0.0)
            && size <= self.max_area.unwrap_or(1.0)
    }
}

/// A named part of the picture.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Zone {
    /// Its name in events: letters, digits, `-` and `_`.
    pub(crate) name: String,
    /// Its border: three or more `[x, y]` in fractions of the picture.
    pub(crate) points: Polygon,
    /// Which objects count in it.
    pub(crate) filter: Filter,
}

impl Zone {
    /// Says in words what is wrong with it.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fits) {
            return Err(format!(
                "a zone is called {:?}: take 1 to 64 letters, digits, `-` and `_`, because topics are made of it",
                self.name
            ));
        }
        let named = |error| format!("zone {}: {error}", self.name);
        self.points.validate().map_err(named)?;
        self.filter.validate().map_err(named)
    }

    /// Whether an object counts in this zone and stands in it, that is, whether the middle of its box's lower side does.
    pub(crate) fn holds(&self, label: &str, score: f32, area: [f32; 4]) -> bool {
        self.filter.lets(label, score, area) && self.points.contains(bottom_centre(area))
    }
}

/// Where the object in a box touches the ground.
pub(crate) fn bottom_centre([x0, _, x1, y1]: [f32; 4]) -> [f32; 2] {
    [(x0 + x1) / 2.0, y1]
}

/// The names of the zones that an object stands in, in the order of the settings.
pub(crate) fn names<'z>(zones: &'z [Zone], label: &str, score: f32, area: [f32; 4]) -> Vec<&'z str> {
    zones.iter().filter(|z| z.holds(label, score, area)).map(|z| z.name.as_str()).collect()
}

/// Checks zones together: each by itself, and that no two share a name.
pub(crate) fn validate(zones: &[Zone]) -> Result<(), String> {
    for (i, zone) in zones.iter().enumerate() {
        zone.validate()?;
        if zones[..i].iter().any(|z| z.name == zone.name) {
            return Err(format!("two zones are called {}: choose another name for one", zone.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(points: &[[f32; 2]]) -> Polygon {
        Polygon::new(points.to_vec())
    }

    fn square() -> Polygon {
        polygon(&[[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    }

    #[test]
    fn inside_outside_and_on_the_border() {
        for (point, expected) in [
            ([0.5, 0.5], true),
            ([0.2, 0.5], false),
            ([0.8, 0.5], false),
            ([0.5, 0.2], false),
            ([0.5, 0.8], false),
            ([0.25, 0.25], true),
            ([0.75, 0.75], true),
            ([0.25, 0.6], true),
            ([0.6, 0.75], true),
            ([0.75, 0.1], false),
            ([0.1, 0.25], false),
            ([0.9, 0.75], false),
            ([f32::NAN, 0.5], false),
            ([0.5, f32::INFINITY], false),
        ] {
            assert_eq!(square().contains(point), expected, "{point:?}");
        }
    }

    #[test]
    fn points_on_slanted_borders_are_inside_from_both_ends() {
        let triangle = polygon(&[[0.1, 0.2], [0.9, 0.3], [0.3, 0.9]]);
        for (a, b) in triangle.edges() {
            for part in 0..=100 {
                let t = part as f32 / 100.0;
                let point = [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t];
                assert!(triangle.contains(point), "{point:?} of {a:?} to {b:?}");
            }
        }
    }

    #[test]
    fn crossing_lines_leave_a_hole_and_concave_shapes_a_bay() {
        let mut star = Vec::new();
        for i in 0..5 {
            let angle = f32::to_radians(-90.0 + 144.0 * i as f32);
            star.push([0.5 + 0.4 * angle.cos(), 0.5 + 0.4 * angle.sin()]);
        }
        let star = polygon(&star);
        assert!(!star.contains([0.5, 0.5]) && star.contains([0.5, 0.15]));
        let bay = polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.0, 1.0]]);
        assert!(!bay.contains([0.5, 0.8]) && bay.contains([0.5, 0.4]) && bay.contains([0.1, 0.8]));
    }

    /// Neither the first point, nor the direction, nor which axis is which makes a difference.
    #[test]
    fn random_polygons_hold_the_same_points_however_they_are_written() {
        let mut seed = 7_u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        };
        let mut inside = 0;
        for _ in 0..500 {
            let points: Vec<_> = (0..3 + (random() * 6.0) as usize).map(|_| [random(), random()]).collect();
            let point = [random(), random()];
            let expected = polygon(&points).contains(point);
            inside += usize::from(expected);
            let mut turned = points.clone();
            turned.rotate_left(1);
            assert_eq!(polygon(&turned).contains(point), expected);
            turned.reverse();
            assert_eq!(polygon(&turned).contains(point), expected);
            let swapped = turned.iter().map(|[x, y]| [*y, *x]).collect();
            assert_eq!(
                Polygon::new(swapped).contains([point[1], point[0]]),
                expected,
                "{points:?} {point:?}"
            );
        }
        assert!((50..450).contains(&inside), "{inside}");
    }

    #[test]
    fn an_object_stands_where_the_middle_of_its_lower_side_is() {
        let zone = Zone { name: "door".into(), points: square(), ..Zone::default() };
        let stands = |area| zone.holds("person", 0.9, area);
        assert!(stands([0.4, 0.0, 0.6, 0.5]), "its head is outside");
        assert!(!stands([0.4, 0.3, 0.6, 0.9]), "its feet are outside");
        assert!(stands([0.0, 0.0, 0.5, 0.75]), "on the border");
        assert!(!stands([f32::NAN; 4]) && !stands([f32::INFINITY; 4]));
    }

    #[test]
    fn filters_by_label_score_and_area() {
        let filter = Filter {
            labels: vec!["Person".into(), "car".into()],
            min_score: 0.5,
            min_area: Some(0.01),
            max_area: Some(0.25),
        };
        let square = |side: f32| [0.0, 0.0, side, side];
        for (label, score, side, expected) in [
            ("person", 0.5, 0.5, true),
            (" CAR ", 0.9, 0.2, true),
            ("dog", 0.9, 0.2, false),
            ("car", 0.49, 0.2, false),
            ("car", f32::NAN, 0.2, false),
            ("car", 0.9, 0.05, false),
            ("car", 0.9, 0.51, false),
        ] {
            assert_eq!(filter.lets(label, score, square(side)), expected, "{label} {score} {side}");
        }
        assert!(Filter::default().lets("anything", 0.0, square(1.0)));
    }

    #[test]
    fn names_of_all_zones_that_hold_an_object() {
        let wide = polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
        let cars = Filter { labels: vec!["car".into()], ..Filter::default() };
        let zones = [
            Zone { name: "yard".into(), points: wide.clone(), ..Zone::default() },
            Zone { name: "door".into(), points: square(), ..Zone::default() },
            Zone { name: "street".into(), points: wide, filter: cars },
        ];
        assert_eq!(names(&zones, "person", 1.0, [0.4, 0.4, 0.6, 0.6]), ["yard", "door"]);
        assert_eq!(names(&zones, "car", 1.0, [0.0, 0.0, 0.2, 0.2]), ["yard", "street"]);
        assert!(validate(&zones).is_ok());
        let twice = [zones[0].clone(), zones[0].clone()];
        assert_eq!(validate(&twice).unwrap_err(), "two zones are called yard: choose another name for one");
    }

    #[test]
    fn settings_are_read_and_refused_in_words() {
        let read = |text: &str| serde_json::from_str::<Zone>(text).map_err(|e| e.to_string());
        let zone = read(
            r#"{"name": "door", "points": [[0, 0], [1, 0], [1, 1]], "filter": {"labels": ["cat"], "max_area": 0.5}}"#,
        )
        .unwrap();
        assert_eq!((zone.points.points().len(), zone.filter.max_area), (3, Some(0.5)));
        assert!(zone.validate().is_ok());
        assert!(read(r#"{"name": "door", "pionts": []}"#).unwrap_err().contains("unknown field `pionts`"));
        for (text, expected) in [
            (r#"{"name": "a/b"}"#, "a zone is called \"a/b\": take 1 to 64 letters"),
            (r#"{"name": "a", "points": [[0, 0], [1, 1]]}"#, "zone a: a polygon has 2 points: give 3 to 256"),
            (
                r#"{"name": "a", "points": [[0, 0], [1, 1], [640, 480]]}"#,
                "zone a: point 3 of a polygon is [640, 480]",
            ),
            (
                r#"{"name": "a", "points": [[0,0],[1,1],[0,1]], "filter": {"min_score": 50}}"#,
                "zone a: min_score is 50",
            ),
            (
                r#"{"name": "a", "points": [[0,0],[1,1],[0,1]], "filter": {"min_area": 0.5, "max_area": 0.1}}"#,
                "zone a: min_area 0.5 is above max_area 0.1",
            ),
        ] {
            let error = read(text).unwrap().validate().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
