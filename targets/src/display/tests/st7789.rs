//! What an ST7789 shows is the canvas, whichever way it is turned and wherever the panel is in its memory.

use super::st7789_controller::{HEIGHT, St7789, WIDTH};
use super::{Board, NoDelay, Which, Wire, picture, turned, view};
use crate::display::st7789::{Lines, Panel};
use crate::display::{Canvas, Display, Location};
use embedded_graphics::pixelcolor::raw::{RawData, RawU16};
use embedded_graphics::pixelcolor::{Rgb565, Rgb888};
use embedded_graphics::prelude::*;
use pg_runtime::pictures::Label;
use std::time::Instant;

type Mock = Panel<Wire<St7789>, super::Line<St7789>>;

fn start(board: &Board<St7789>, words: &str, with_reset: bool) -> Result<Mock, String> {
    let Ok(Location::St7789(settings)) =
        format!("st7789:/dev/spidev0.0?dc=gpiochip0/25{words}").parse::<Location>()
    else {
        panic!("{words}")
    };
    let lines = Lines {
        spi: Wire(board.clone()),
        dc: board.line(Which::Dc),
        reset: with_reset.then(|| board.line(Which::Reset)),
        backlight: Some(board.line(Which::Light)),
        most_bytes: board.state().most_bytes,
    };
    Panel::start(lines, &settings, &mut NoDelay)
}

#[test]
fn the_panel_shows_the_canvas() {
    let picture = picture();
    let labels = [Label { text: "cat", box_px: [10, 10, 40, 40], score: Some(0.5) }];
    for (size, offset) in
        [([240, 320], [0, 0]), ([240, 240], [0, 0]), ([240, 240], [0, 80]), ([135, 240], [52, 40])]
    {
        for degrees in [0, 90, 180, 270] {
            let words =
                format!("&size={}x{}&offset={},{}&rotate={degrees}", size[0], size[1], offset[0], offset[1]);
            // A piece that holds no whole number of rows.
            let board = Board::new(St7789::new(), 1000);
            let mut panel = start(&board, &words, degrees == 90).unwrap();
            let black = board.state().controller.memory.iter().filter(|p| **p == Some(0)).count();
            assert_eq!(black, size[0] * size[1], "nothing but black before the light goes on");
            let shown = view(&picture, &labels, "a cat sits there");
            assert_eq!(panel.show(&shown, Instant::now()), Ok(None));

            let sides = if degrees % 180 == 0 { size } else { [size[1], size[0]] };
            let mut canvas = Canvas::new(Size::new(sides[0] as u32, sides[1] as u32), Rgb565::WHITE);
            let Ok(()) = shown.draw(&mut canvas.color_converted::<Rgb888>());
            let state = board.state();
            let controller = &state.controller;
            assert!(state.light && controller.is_on && controller.is_inverted, "{words}");
            assert_eq!(controller.resets, if degrees == 90 { 2 } else { 1 }, "by its line and by a command");
            let mut expected = vec![None; WIDTH * HEIGHT];
            for (at, color) in canvas.places() {
                let [x, y] = turned(degrees, [at.x as usize, at.y as usize], size);
                expected[(y + offset[1]) * WIDTH + x + offset[0]] = Some(RawU16::from(color).into_inner());
            }
            assert!(controller.memory == expected, "{words}");
            let colours: std::collections::BTreeSet<_> = expected.iter().flatten().collect();
            assert!(colours.len() > 300, "the picture is there");
        }
    }
}

#[test]
fn the_whole_area_is_sent_in_as_few_pieces_as_the_bus_takes() {
    let picture = picture();
    let board = Board::new(St7789::new(), 4096);
    let mut panel = start(&board, "&size=240x240", true).unwrap();
    let before = board.state().transfers;
    panel.show(&view(&picture, &[], ""), Instant::now()).unwrap();
    // Two sides of the window with 4 bytes each, the command for pixels, and those.
    assert_eq!(board.state().transfers - before, 2 + 2 + 1 + (240 * 240 * 2_usize).div_ceil(4096));
}

#[test]
fn a_panel_that_is_pulled_out_is_an_error_and_can_be_started_again() {
    let picture = picture();
    let board = Board::new(St7789::new(), 4096);
    let mut panel = start(&board, "&invert=0", true).unwrap();
    assert!(!board.state().controller.is_inverted);
    board.state().bus_fails = true;
    let shown = view(&picture, &[], "");
    assert_eq!(panel.show(&shown, Instant::now()), Err("the bus fails: pulled out".into()));
    assert_eq!(start(&board, "", true).err(), Some("the bus fails: pulled out".into()));
    board.state().bus_fails = false;
    board.state().lines_fail = true;
    assert_eq!(panel.show(&shown, Instant::now()), Err("a line cannot be set: pulled out".into()));
    board.state().lines_fail = false;
    assert_eq!(start(&board, "", true).unwrap().show(&shown, Instant::now()), Ok(None));
}
