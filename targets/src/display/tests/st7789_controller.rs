//! The controller ST7789, as its data sheet has it: what it is sent becomes its memory.

use super::Controller;

pub(super) const WIDTH: usize = 240;
pub(super) const HEIGHT: usize = 320;

const SWAP: u8 = 0x20;
const MIRROR_X: u8 = 0x40;
const MIRROR_Y: u8 = 0x80;

pub(super) struct St7789 {
    /// [HEIGHT, WIDTH]; nothing where nothing was written.
    pub(super) memory: Vec<Option<u16>>,
    pub(super) is_on: bool,
    pub(super) is_inverted: bool,
    pub(super) resets: usize,
    is_asleep: bool,
    format: u8,
    directions: u8,
    columns: Option<[u16; 2]>,
    rows: Option<[u16; 2]>,
    /// The command that data belongs to, and what has come of it.
    command: Option<(u8, Vec<u8>)>,
    /// The next pixel's place in the window.
    next: Option<[u16; 2]>,
}

impl St7789 {
    pub(super) fn new() -> Self {
        St7789 {
            memory: vec![None; WIDTH * HEIGHT],
            is_on: false,
            is_inverted: false,
            resets: 0,
            is_asleep: true,
            format: 0x66,
            directions: 0,
            columns: None,
            rows: None,
            command: None,
            next: None,
        }
    }

    /// Bytes that a command takes; pixels come in any number.
    fn parameters(command: u8) -> Option<usize> {
        match command {
            0x2a | 0x2b => Some(4),
            0x36 | 0x3a => Some(1),
            0x2c => None,
            _ => Some(0),
        }
    }

    /// A window's side, which must be inside the memory.
    fn span(&self, data: &[u8], is_column: bool) -> [u16; 2] {
        let [start, end] = [[data[0], data[1]], [data[2], data[3]]].map(u16::from_be_bytes);
        let is_swapped = self.directions & SWAP != 0;
        let most = if is_column != is_swapped { WIDTH } else { HEIGHT };
        assert!(start <= end && usize::from(end) < most, "window {start} to {end} of {most}");
        [start, end]
    }

    fn pixel(&mut self, pixel: u16) {
        let (Some([left, right]), Some([_, bottom])) = (self.columns, self.rows) else { unreachable!() };
        let [column, row] = self.next.expect("more pixels than the window has");
        let [a, b] = if self.directions & SWAP != 0 { [row, column] } else { [column, row] }.map(usize::from);
        let x = if self.directions & MIRROR_X != 0 { WIDTH - 1 - a } else { a };
        let y = if self.directions & MIRROR_Y != 0 { HEIGHT - 1 - b } else { b };
        self.memory[y * WIDTH + x] = Some(pixel);
        self.next = match (column == right, row == bottom) {
            (false, _) => Some([column + 1, row]),
            (true, false) => Some([left, row + 1]),
            (true, true) => None,
        };
    }
}

impl Controller for St7789 {
    fn reset(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        *self = St7789 { memory, resets: self.resets + 1, ..St7789::new() };
    }

    fn command(&mut self, command: u8) {
        if let Some((before, data)) = self.command.take() {
            let wanted = St7789::parameters(before).unwrap_or(data.len());
            assert!(data.len() == wanted, "command {before:#x} was cut off");
        }
        match command {
            0x01 => self.reset(),
            0x11 => self.is_asleep = false,
            0x13 => {}
            0x20 | 0x21 => self.is_inverted = command == 0x21,
            0x29 => {
                assert!(!self.is_asleep, "switched on while it sleeps");
                self.is_on = true;
            }
            0x2c => {
                assert!(!self.is_asleep, "pixels while it sleeps");
                assert_eq!(self.format, 0x55, "pixels before their format");
                let (Some([left, _]), Some([top, _])) = (self.columns, self.rows) else {
                    panic!("pixels before their window")
                };
                self.next = Some([left, top]);
            }
            0x2a | 0x2b | 0x36 | 0x3a => {}
            _ => panic!("command {command:#x}"),
        }
        self.command = Some((command, Vec::new()));
    }

    fn data(&mut self, new: &[u8]) {
        let (command, mut data) = self.command.take().expect("data before any command");
        data.extend(new);
        match command {
            0x2c => {
                let whole = data.len() / 2 * 2;
                data.drain(..whole)
                    .collect::<Vec<u8>>()
                    .chunks(2)
                    .for_each(|p| self.pixel(u16::from_be_bytes([p[0], p[1]])));
            }
            _ => {
                let wanted = St7789::parameters(command).unwrap_or(0);
                assert!(data.len() <= wanted, "command {command:#x} takes {wanted} bytes");
                match (command, data.len() == wanted) {
                    (0x2a, true) => self.columns = Some(self.span(&data, true)),
                    (0x2b, true) => self.rows = Some(self.span(&data, false)),
                    (0x36, true) => {
                        assert_eq!(data[0] & 0x1f, 0, "colours or refresh in another order");
                        self.directions = data[0];
                    }
                    (0x3a, true) => self.format = data[0],
                    _ => {}
                }
            }
        }
        self.command = Some((command, data));
    }
}

/// What the controller is told, and why it does not take it.
#[test]
fn wrong_sequences_are_noticed() {
    let awake: &[(u8, &[u8])] = &[(0x11, &[]), (0x3a, &[0x55])];
    let window: &[(u8, &[u8])] = &[(0x2a, &[0, 0, 0, 1]), (0x2b, &[0, 0, 0, 0])];
    for (sequence, complaint) in [
        (vec![(0x2c, &[][..])], "while it sleeps"),
        (vec![(0x29, &[][..])], "while it sleeps"),
        ([awake, &[(0x2c, &[])]].concat(), "before their window"),
        ([&awake[..1], window, &[(0x2c, &[])]].concat(), "before their format"),
        (vec![(0x2a, &[0, 0, 0, 240][..])], "window 0 to 240 of 240"),
        (vec![(0x36, &[SWAP][..]), (0x2b, &[0, 0, 0, 240])], "window 0 to 240 of 240"),
        (vec![(0x2b, &[0, 9, 0, 8][..])], "window 9 to 8"),
        (vec![(0x2a, &[0, 0, 0][..]), (0x11, &[])], "cut off"),
        ([awake, window, &[(0x2c, &[0; 6])]].concat(), "more pixels"),
        (vec![(0xb2, &[][..])], "command 0xb2"),
    ] {
        let told = std::panic::catch_unwind(|| {
            let mut controller = St7789::new();
            for (command, data) in sequence {
                controller.command(command);
                controller.data(data);
            }
        });
        let panic = told.expect_err(complaint);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap();
        assert!(text.contains(complaint), "{text}");
    }
}
