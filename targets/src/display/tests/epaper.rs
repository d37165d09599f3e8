//! What e-paper shows is the canvas, and it is drawn only when there are other words and the panel has rested.

use super::ssd1680::{ROW, ROWS, Ssd1680};
use super::{Board, Line, NoDelay, Which, Wire, picture, turned, view};
use crate::display::epaper::{Lines, Panel};
use crate::display::{Canvas, Display, Location};
use embedded_graphics::pixelcolor::BinaryColor;
use pg_runtime::pictures::Label;
use std::time::{Duration, Instant};

type Mock = Panel<Wire<Ssd1680>, Line<Ssd1680>, Line<Ssd1680>, NoDelay>;

const SETTLE: Duration = Duration::from_secs(5);

fn start(board: &Board<Ssd1680>, words: &str) -> Result<Mock, String> {
    let text = format!("epaper:/dev/spidev0.0?dc=a/1&reset=a/2&busy=a/3&interval=60{words}");
    let Ok(Location::Epaper(settings)) = text.parse::<Location>() else { panic!("{words}") };
    let lines = Lines {
        spi: Wire(board.clone()),
        dc: board.line(Which::Dc),
        reset: board.line(Which::Reset),
        busy: board.line(Which::Busy),
    };
    Panel::start(lines, &settings, NoDelay)
}

#[test]
fn the_paper_shows_the_canvas() {
    let picture = picture();
    let labels = [Label { text: "cat", box_px: [10, 10, 40, 40], score: Some(0.5) }];
    let shown = view(&picture, &labels, "a cat sits there");
    for degrees in [0, 90, 180, 270] {
        let board = Board::new(Ssd1680::new(), 4096);
        let mut panel = start(&board, &format!("&rotate={degrees}")).unwrap();
        let now = Instant::now();
        assert_eq!(panel.show(&shown, now), Ok(Some(SETTLE)));
        assert_eq!(board.state().controller.shown, None);
        assert_eq!(panel.show(&shown, now + SETTLE), Ok(None));

        let sides = if degrees % 180 == 0 { [122, 250] } else { [250, 122] };
        let mut canvas = Canvas::new(sides.into(), BinaryColor::Off);
        let Ok(()) = shown.draw_outlines(&mut canvas);
        let mut expected = vec![0xff; ROW * ROWS];
        for (at, _) in canvas.places().filter(|(_, color)| color.is_on()) {
            let [x, y] = turned(degrees, [at.x as usize, at.y as usize], [122, 250]);
            expected[y * ROW + x / 8] &= !(1 << (7 - x % 8));
        }
        let state = board.state();
        assert_eq!(state.controller.drawings, 1);
        assert!(state.controller.shown.as_ref() == Some(&expected), "{degrees}");
        let black: u32 = expected.iter().map(|b| b.count_zeros()).sum();
        assert!((600..6000).contains(&black), "{black} black pixels are no lines and words");
    }
}

#[test]
fn only_other_words_are_drawn_and_not_too_often() {
    let picture = picture();
    let cat = [Label { text: "cat", box_px: [10, 10, 40, 40], score: Some(0.5) }];
    let moved = [Label { text: "cat", box_px: [0, 0, 9, 9], score: Some(0.7) }];
    let two = [Label { text: "dog", ..moved[0] }, cat[0]];
    let swapped = [cat[0], two[0]];
    let board = Board::new(Ssd1680::new(), 4096);
    let mut panel = start(&board, "").unwrap();
    let start = Instant::now();
    let mut show = |labels: &[Label<'_>], caption: &str, seconds: u64| {
        let before = board.state().transfers;
        let wait =
            panel.show(&view(&picture, labels, caption), start + Duration::from_secs(seconds)).unwrap();
        (wait.map(|w| w.as_secs()), board.state().transfers > before)
    };
    assert_eq!(show(&cat, "a", 0), (Some(5), false));
    assert_eq!(show(&cat, "a", 5), (None, true));
    // The same words with other boxes, at any time: nothing is sent.
    for seconds in [6, 70, 700] {
        assert_eq!(show(&moved, "a", seconds), (None, false));
    }
    // Other words settle first, of labels or caption.
    assert_eq!(show(&two, "a", 1000), (Some(5), false));
    assert_eq!(show(&swapped, "b", 1003), (Some(2), false));
    assert_eq!(show(&swapped, "b", 1005), (None, true));
    // And wait until the panel has rested.
    assert_eq!(show(&two, "b", 1006), (None, false), "the order is no other word");
    assert_eq!(show(&cat, "b", 1010), (Some(55), false));
    assert_eq!(show(&two, "b", 1020), (None, false), "the words are back: nothing to draw");
    assert_eq!(show(&cat, "b", 1062), (Some(5), false), "so they settle anew");
    assert_eq!(show(&cat, "b", 1067), (None, true));
    assert_eq!(board.state().controller.drawings, 3);
}

#[test]
fn a_panel_that_does_not_answer_is_an_error_and_can_be_started_again() {
    let picture = picture();
    let shown = view(&picture, &[], "words");
    let board = Board::new(Ssd1680::new(), 4096);
    let mut panel = start(&board, "").unwrap();
    let now = Instant::now();
    panel.show(&shown, now).unwrap();
    board.state().controller.is_stuck = true;
    let error = panel.show(&shown, now + SETTLE).unwrap_err();
    assert!(error.contains("busy for 15 s"), "{error}");
    assert!(start(&board, "").err().unwrap().contains("busy for 15 s"));
    board.state().controller.is_stuck = false;
    board.state().lines_fail = true;
    assert_eq!(start(&board, "").err(), Some("a line cannot be used: pulled out".into()));
    board.state().lines_fail = false;
    board.state().bus_fails = true;
    assert_eq!(start(&board, "").err(), Some("the bus fails: pulled out".into()));
    board.state().bus_fails = false;
    let mut panel = start(&board, "").unwrap();
    assert_eq!(panel.show(&shown, now), Ok(Some(SETTLE)));
    assert_eq!(panel.show(&shown, now + SETTLE), Ok(None));
    assert!(board.state().controller.drawings >= 1);
}
