//! The controller of the e-paper (SSD1680), as its data sheet has it: what it is sent becomes its memory, and what is in
//! the memory when it is told to draw is shown.

use super::Controller;

/// Bytes of a row of the panel, and rows.
pub(super) const ROW: usize = 16;
pub(super) const ROWS: usize = 250;

pub(super) struct Ssd1680 {
    /// What the paper shows: [ROWS, ROW], 8 pixels a byte; nothing before the first time.
    pub(super) shown: Option<Vec<u8>>,
    pub(super) drawings: usize,
    /// Never ready again.
    pub(super) is_stuck: bool,
    /// Looks until it is ready.
    busy: usize,
    was_reset: bool,
    /// Of black and of red pixels.
    memories: [Vec<Option<u8>>; 2],
    window: [Option<[usize; 2]>; 2],
    next: [Option<usize>; 2],
    direction: u8,
    steps: u8,
    has_waveform: bool,
    command: Option<(u8, Vec<u8>)>,
}

impl Ssd1680 {
    pub(super) fn new() -> Self {
        Ssd1680 {
            shown: None,
            drawings: 0,
            is_stuck: false,
            busy: 0,
            was_reset: false,
            memories: [vec![None; ROW * ROWS], vec![None; ROW * ROWS]],
            window: [None; 2],
            next: [None; 2],
            direction: 0,
            steps: 0,
            has_waveform: false,
            command: None,
        }
    }

    /// Bytes that a command takes; memory is written in any number.
    fn parameters(command: u8) -> Option<usize> {
        Some(match command {
            0x12 | 0x20 => 0,
            0x03 | 0x11 | 0x22 | 0x2c | 0x3a | 0x3b | 0x3c | 0x4e => 1,
            0x0f | 0x44 | 0x4f => 2,
            0x01 | 0x04 => 3,
            0x45 => 4,
            0x24 | 0x26 | 0x32 => return None,
            _ => panic!("command {command:#x}"),
        })
    }

    fn write(&mut self, memory: usize, byte: u8) {
        let ([Some([left, right]), Some([_, bottom])], 3) = (self.window, self.direction) else {
            panic!("memory before its window and direction")
        };
        let [Some(x), Some(y)] = self.next else { panic!("memory before its address, or past its window") };
        self.memories[memory][y * ROW + x] = Some(byte);
        self.next = match (x == right, y == bottom) {
            (false, _) => [Some(x + 1), Some(y)],
            (true, false) => [Some(left), Some(y + 1)],
            (true, true) => [None, None],
        };
    }

    fn set(&mut self, command: u8, data: &[u8]) {
        let word = |at: usize| usize::from(data[at]) + 256 * usize::from(data[at + 1]);
        match command {
            0x11 => self.direction = data[0],
            0x22 => self.steps = data[0],
            0x44 => self.window[0] = Some([data[0].into(), data[1].into()]),
            0x45 => self.window[1] = Some([word(0), word(2)]),
            0x4e => self.next[0] = Some(data[0].into()),
            0x4f => self.next[1] = Some(word(0)),
            _ => {}
        }
        let inside = |span: Option<[usize; 2]>, most| span.is_none_or(|[a, b]| a <= b && b < most);
        assert!(inside(self.window[0], ROW) && inside(self.window[1], ROWS), "window {:?}", self.window);
    }

    fn draw(&mut self) {
        // Clock and charge pump on, draw by the waveforms given, and off again.
        assert_eq!(self.steps, 0xc7, "told to do something else than to draw");
        assert!(self.has_waveform, "drawn without waveforms");
        let memory: Option<Vec<u8>> = self.memories[0].iter().copied().collect();
        self.shown = Some(memory.expect("drawn before the memory was written"));
        assert_eq!(self.memories[0], self.memories[1], "what it compares with is something else");
        self.drawings += 1;
        self.busy = 200;
    }
}

impl Controller for Ssd1680 {
    fn reset(&mut self) {
        let shown = self.shown.take();
        *self = Ssd1680 {
            shown,
            drawings: self.drawings,
            is_stuck: self.is_stuck,
            was_reset: true,
            busy: 3,
            ..Ssd1680::new()
        };
    }

    fn is_busy(&mut self) -> bool {
        self.busy = self.busy.saturating_sub(1);
        self.busy > 0 || self.is_stuck
    }

    fn command(&mut self, command: u8) {
        assert!(self.was_reset, "used before it was started");
        assert!(self.busy == 0 || self.is_stuck, "command {command:#x} while it is busy");
        if let Some((before, data)) = self.command.take() {
            let wanted = Ssd1680::parameters(before).unwrap_or(data.len());
            assert!(data.len() == wanted, "command {before:#x} was cut off");
            self.has_waveform |= before == 0x32 && data.len() >= 153;
        }
        match command {
            0x12 => self.reset(),
            0x20 => self.draw(),
            0x10 => panic!("asleep, and nobody wakes it"),
            _ => {}
        }
        self.command = Some((command, Vec::new()));
    }

    fn data(&mut self, new: &[u8]) {
        let (command, mut data) = self.command.take().expect("data before any command");
        data.extend(new);
        match (command, Ssd1680::parameters(command)) {
            (0x24, _) => new.iter().for_each(|b| self.write(0, *b)),
            (0x26, _) => new.iter().for_each(|b| self.write(1, *b)),
            (_, Some(wanted)) => {
                assert!(data.len() <= wanted, "command {command:#x} takes {wanted} bytes");
                if data.len() == wanted {
                    self.set(command, &data);
                }
            }
            _ => {}
        }
        self.command = Some((command, data));
    }
}
