//! The gate with drawn scenes, five frames a second.

use super::*;
use pg_runtime::PixelFormat;

const W: usize = 320;
const H: usize = 240;

/// A camera that is drawn.
struct Scene {
    gate: Gate,
    start: Instant,
    n: u32,
    seed: u32,
    rgb: Vec<u8>,
}

impl Scene {
    fn new(settings: Settings, masks: Vec<Polygon>) -> Self {
        settings.validate().unwrap();
        let gate = Gate::new(settings, masks);
        Scene { gate, start: Instant::now(), n: 0, seed: 1, rgb: Vec::new() }
    }

    fn noise(&mut self, most: u32) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.seed >> 8) % (most + 1)
    }

    /// A frame 0.2 s after the last one: grey with noise of up to 16, and a square `[x, y, side, grey]`.
    fn show(&mut self, grey: u8, square: Option<[usize; 4]>) -> Look {
        self.rgb.clear();
        for i in 0..W * H {
            let (x, y) = (i % W, i / W);
            let inside = square.filter(|[a, b, side, _]| x >= *a && x < a + side && y >= *b && y < b + side);
            let value = inside.map_or(u32::from(grey), |s| s[3] as u32) + self.noise(16);
            self.rgb.extend([value.saturating_sub(8).min(255) as u8; 3]);
        }
        let rgb = std::mem::take(&mut self.rgb);
        let look = self.look(&Frame::new(&rgb, W, H, PixelFormat::Rgb8).unwrap());
        self.rgb = rgb;
        look
    }

    fn look(&mut self, frame: &Frame<'_>) -> Look {
        self.n += 1;
        self.gate.look(frame, self.start + Duration::from_millis(200) * self.n)
    }

    /// Frames until the background is learned.
    fn settle(&mut self, grey: u8) {
        assert_eq!(self.show(grey, None).motion, Motion::Recalibrated, "a first frame says nothing");
        assert_eq!(self.show(grey, None).motion, Motion::Still);
    }
}

fn scene() -> Scene {
    Scene::new(Settings::default(), Vec::new())
}

#[test]
fn noise_is_not_motion() {
    let mut scene = scene();
    scene.settle(90);
    for _ in 0..100 {
        let look = scene.show(90, None);
        assert_eq!((look.motion, look.area), (Motion::Still, None));
    }
}

#[test]
fn noise_of_small_frames_neither() {
    let mut scene = scene();
    for n in 0..100 {
        let pixels: Vec<u8> = (0..64 * 48).map(|_| 100 + scene.noise(24) as u8).collect();
        let look = scene.look(&Frame::new(&pixels, 64, 48, PixelFormat::Gray8).unwrap());
        assert_eq!(look.motion, if n == 0 { Motion::Recalibrated } else { Motion::Still });
    }
}

#[test]
fn a_moving_square_starts_motion_and_is_where_it_is_said_to_be() {
    let mut scene = scene();
    scene.settle(60);
    let mut found = Vec::new();
    for step in 0..20 {
        let square = [20 + step * 6, 100, 60, 230];
        let look = scene.show(60, Some(square));
        found.push(look.motion);
        let [x0, y0, x1, y1] = look.area.expect("it moves");
        let expected = [
            square[0] as f32 / W as f32,
            100.0 / H as f32,
            (square[0] + 60) as f32 / W as f32,
            160.0 / H as f32,
        ];
        for (found, expected) in [x0, y0, x1, y1].into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.03, "{found} {expected}, step {step}");
        }
    }
    assert_eq!((found[0], &found[1..]), (Motion::Started, &[Motion::Moving; 19][..]));
}

#[test]
fn a_small_difference_must_last_and_a_small_area_never_counts() {
    let mut scene = scene();
    scene.settle(60);
    // 55 more than the background: 0.2 * 55 = 11, then 19.8, 26.8, 32.5, which is above 30 in the fourth frame.
    let motions: Vec<_> = (0..4).map(|_| scene.show(60, Some([100, 100, 60, 115])).motion).collect();
    assert_eq!(motions, [Motion::Still, Motion::Still, Motion::Still, Motion::Started]);
    let mut scene = self::scene();
    scene.settle(60);
    for _ in 0..30 {
        // 7 of 320 pixels are 3 x 3 of the small picture.
        assert_eq!(scene.show(60, Some([101, 101, 7, 250])).motion, Motion::Still);
    }
}

#[test]
fn what_stays_becomes_part_of_the_background() {
    let mut scene = scene();
    scene.settle(60);
    // It takes a second frame to be seen: 0.2 * 140 = 28.
    scene.show(60, Some([100, 100, 60, 200]));
    let mut frames = 0;
    while scene.show(60, Some([100, 100, 60, 200])).area.is_some() {
        frames += 1;
        assert!(frames < 1000, "it stays motion");
    }
    // The background comes from 60 to within 30 of 200, a hundredth of the rest with each frame: after ln(140 / 30) / 0.01.
    assert!((100..200).contains(&frames), "{frames}");
}

#[test]
fn slow_light_is_followed_and_sudden_light_starts_anew() {
    let mut scene = scene();
    scene.settle(60);
    for step in 0..200_u32 {
        assert_eq!(scene.show((60 + step / 8) as u8, None).motion, Motion::Still, "{step}");
    }
    // Lightning: two sudden changes.
    assert_eq!(scene.show(180, None).motion, Motion::Recalibrated);
    assert_eq!(scene.show(85, None).motion, Motion::Recalibrated);
    assert_eq!(scene.show(85, None).motion, Motion::Still);
}

#[test]
fn infrared_comes_on_with_exposure_that_settles() {
    let mut scene = scene();
    scene.settle(40);
    let greys = [200, 160, 140, 130, 128, 128, 128, 128, 128, 128, 128, 128];
    let motions: Vec<_> = greys.iter().map(|g| scene.show(*g, None).motion).collect();
    assert_eq!(motions[0], Motion::Recalibrated);
    assert!(!motions.contains(&Motion::Started), "{motions:?}");
    assert_eq!(motions.last(), Some(&Motion::Still));
    assert_eq!(scene.show(128, Some([50, 50, 80, 250])).motion, Motion::Started, "and motion is seen again");
}

#[test]
fn a_covered_lens_is_no_motion() {
    let mut scene = scene();
    scene.settle(120);
    assert_eq!(scene.show(4, None).motion, Motion::Recalibrated);
    assert_eq!(scene.show(4, None).motion, Motion::Still);
    assert_eq!(scene.show(120, None).motion, Motion::Recalibrated, "uncovered");
    assert_eq!(scene.show(120, None).motion, Motion::Still);
}

#[test]
fn a_change_of_most_of_the_picture_can_be_skipped() {
    let big = Some([0, 0, 200, 250]);
    let mut scene = scene();
    scene.settle(60);
    assert_eq!(scene.show(60, big).motion, Motion::Started, "half of the picture is motion");
    let mut scene =
        Scene::new(Settings { skip_motion_threshold: Some(0.3), ..Settings::default() }, Vec::new());
    scene.settle(60);
    let motions: Vec<_> = (0..30).map(|_| scene.show(60, big).motion).collect();
    assert_eq!(motions[0], Motion::Recalibrated);
    let learned = motions.iter().position(|m| *m != Motion::Recalibrated).expect("it is learned");
    // 190 * 0.8^n is below 30 after 9 frames.
    assert!(
        (5..15).contains(&learned) && motions[learned..].iter().all(|m| *m == Motion::Still),
        "{motions:?}"
    );
}

#[test]
fn learning_ends_in_a_crowd_too() {
    let mut scene = scene();
    let mut learning = 0;
    for step in 0..100 {
        // An eighth of the picture jumps about and is never learned.
        let look = scene.show(60, Some([(step * 100) % 240, (step * 70) % 160, 90, 250]));
        learning += usize::from(look.motion == Motion::Recalibrated);
    }
    assert!((2..=51).contains(&learning), "ten seconds are 50 frames: {learning}");
    assert!(scene.show(60, Some([0, 0, 90, 250])).motion == Motion::Moving);
}

#[test]
fn masks_hide_motion_and_do_not_count_as_picture() {
    let left = Polygon::new(vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]);
    let mut scene = Scene::new(Settings::default(), vec![left]);
    scene.settle(60);
    for step in 0..20 {
        assert_eq!(scene.show(60, Some([step * 4, 50, 60, 250])).motion, Motion::Still);
    }
    let look = scene.show(60, Some([130, 50, 60, 250]));
    assert_eq!(look.motion, Motion::Started);
    assert!(look.area.unwrap()[0] >= 0.49, "{look:?}");
    let whole = Polygon::new(vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
    let mut scene = Scene::new(Settings::default(), vec![whole]);
    scene.settle(60);
    assert_eq!(scene.show(250, None), Look { motion: Motion::Still, area: None, changed: 0.0 });
}

#[test]
fn motion_ends_after_the_delay_and_not_before() {
    let mut scene = scene();
    scene.settle(60);
    let square = Some([100, 100, 60, 250]);
    assert_eq!(scene.show(60, square).motion, Motion::Started);
    // 30 s are 150 frames; something moves again in the middle.
    for frame in 0..100 {
        assert_eq!(scene.show(60, None).motion, Motion::Moving, "{frame}");
    }
    assert_eq!(scene.show(60, square).motion, Motion::Moving);
    for frame in 0..149 {
        let look = scene.show(60, None);
        assert_eq!((look.motion, look.area), (Motion::Moving, None), "{frame}");
    }
    assert_eq!(scene.show(60, None).motion, Motion::Ended);
    assert_eq!(scene.show(60, None).motion, Motion::Still);
}

#[test]
fn recalibration_in_the_middle_keeps_motion_on_until_its_delay() {
    let settings = Settings { off_delay_seconds: 1, ..Settings::default() };
    let mut scene = Scene::new(settings, Vec::new());
    scene.settle(60);
    assert_eq!(scene.show(60, Some([100, 100, 60, 250])).motion, Motion::Started);
    assert_eq!(scene.show(200, None).motion, Motion::Recalibrated);
    let motions: Vec<_> = (0..5).map(|_| scene.show(200, None).motion).collect();
    assert_eq!(motions, [Motion::Moving, Motion::Moving, Motion::Moving, Motion::Ended, Motion::Still]);
}

#[test]
fn frames_of_every_size_use_the_memory_that_was_taken() {
    let mut scene = scene();
    let taken = |gate: &Gate| {
        let pointers = [gate.background.as_ptr() as usize, gate.delta.as_ptr() as usize];
        (pointers, gate.masked.as_ptr() as usize, gate.plane.luma().as_ptr() as usize)
    };
    let before = taken(&scene.gate);
    for (width, height) in [(1, 1), (3840, 2160), (640, 480), (16_384, 1), (1, 16_384), (7, 5), (2000, 100)] {
        let pixels = vec![77; width * height * 3];
        let frame = Frame::new(&pixels, width, height, PixelFormat::Rgb8).unwrap();
        assert_eq!(scene.look(&frame).motion, Motion::Recalibrated, "{width} x {height}");
        assert_eq!(scene.look(&frame), Look { motion: Motion::Still, area: None, changed: 0.0 });
        assert_eq!(taken(&scene.gate), before);
    }
}

#[test]
fn a_change_of_size_in_the_middle_of_motion() {
    let mut scene = scene();
    scene.settle(60);
    assert_eq!(scene.show(60, Some([100, 100, 60, 250])).motion, Motion::Started);
    let pixels = vec![250; 100 * 300];
    let other = Frame::new(&pixels, 100, 300, PixelFormat::Gray8).unwrap();
    assert_eq!(scene.look(&other).motion, Motion::Recalibrated);
    assert_eq!(scene.look(&other).motion, Motion::Moving, "its delay runs on");
    // Twice the resolution of the same picture is the same small picture.
    let pixels = vec![250; 200 * 600];
    let double = Frame::new(&pixels, 200, 600, PixelFormat::Gray8).unwrap();
    assert_eq!(scene.look(&double).motion, Motion::Moving);
}

#[test]
fn settings_are_read_and_refused_in_words() {
    let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
    assert_eq!(read("{}").unwrap(), Settings::default());
    assert!(read(r#"{"treshold": 30}"#).unwrap_err().contains("unknown field `treshold`"));
    for (text, expected) in [
        (r#"{"frame_height": 0}"#, "frame_height is 0: give 1 to 100 pixels"),
        (r#"{"frame_height": 101}"#, "frame_height is 101"),
        (r#"{"threshold": 0}"#, "threshold is 0"),
        (r#"{"contour_area": 0}"#, "contour_area is 0"),
        (r#"{"frame_alpha": 0}"#, "frame_alpha is 0: give a number above 0"),
        (r#"{"delta_alpha": 2}"#, "delta_alpha is 2"),
        (r#"{"lightning_threshold": 80}"#, "lightning_threshold is 80: give a share"),
        (r#"{"skip_motion_threshold": -1}"#, "skip_motion_threshold is -1"),
    ] {
        let error = read(text).unwrap().validate().unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_schema_explains_every_setting() {
    let schema = serde_json::to_value(schemars::schema_for!(Settings)).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!((properties.len(), &schema["additionalProperties"]), (8, &false.into()));
    for (name, property) in properties {
        assert!(property["description"].as_str().is_some_and(|d| d.len() > 30), "{name}");
    }
    assert_eq!(properties["frame_height"]["default"], 100);
}
