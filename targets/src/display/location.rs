//! Which display, as people write it: `/dev/fb0`, `st7789:/dev/spidev0.0?dc=gpiochip0/25&size=240x240`.

use crate::query::{self, Query};
use embedded_graphics::geometry::{Point, Size};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const KINDS: &str = "/dev/fb0, st7789:/dev/spidev0.0?dc=gpiochip0/25&size=240x240 or \
                     epaper:/dev/spidev0.0?dc=gpiochip0/25&reset=gpiochip0/17&busy=gpiochip0/24";
/// Pixels that an ST7789 has memory for.
const ST7789_MEMORY: [u32; 2] = [240, 320];
/// Clock rates of the bus that are no slip of the pen.
const SPEEDS: std::ops::RangeInclusive<u32> = 10_000..=200_000_000;
/// E-paper wears out and keeps shadows when it is drawn too often.
const EPAPER_PAUSE: Duration = Duration::from_secs(180);
const LONGEST_PAUSE: u64 = 7 * 24 * 3600;

/// Which display, and how it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A framebuffer of the system.
    Framebuffer(PathBuf),
    /// A display in colour with the controller ST7789.
    St7789(St7789),
    /// E-paper.
    Epaper(Epaper),
}

/// A line of a chip of general-purpose lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its chip's name below `/dev`.
    pub chip: String,
    /// Its number on the chip.
    pub line: u32,
}

/// How far what is shown is turned clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// As the panel stands.
    #[default]
    Deg0,
    /// Its top is at the panel's right side.
    Deg90,
    /// Upside down.
    Deg180,
    /// Its top is at the panel's left side.
    Deg270,
}

impl Rotation {
    /// The size of what is shown on a panel of this size.
    pub const fn turned(self, panel: Size) -> Size {
        match self {
            Rotation::Deg0 | Rotation::Deg180 => panel,
            Rotation::Deg90 | Rotation::Deg270 => Size::new(panel.height, panel.width),
        }
    }

    /// Where a point of what is shown lies on a panel of this size.
    pub const fn on_panel(self, at: Point, panel: Size) -> Point {
        let (right, bottom) = (panel.width as i32 - 1, panel.height as i32 - 1);
        match self {
            Rotation::Deg0 => at,
            Rotation::Deg90 => Point::new(right - at.y, at.x),
            Rotation::Deg180 => Point::new(right - at.x, bottom - at.y),
            Rotation::Deg270 => Point::new(at.y, bottom - at.x),
        }
    }
}

/// A display with the controller ST7789.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct St7789 {
    /// The bus, such as `/dev/spidev0.0`.
    pub spi: PathBuf,
    /// Tells data from commands.
    pub dc: Pin,
    /// Starts it anew, if connected.
    pub reset: Option<Pin>,
    /// Switches its light on, if connected.
    pub backlight: Option<Pin>,
    /// Width and height of the panel as it stands.
    pub size: [u32; 2],
    /// Where the panel begins in the controller's memory.
    pub offset: [u32; 2],
    /// How what is shown is turned.
    pub rotation: Rotation,
    /// Bits a second.
    pub speed: u32,
    /// Whether the panel shows colours inverted unless told otherwise, as nearly all do.
    pub invert: bool,
}

/// E-paper of Waveshare: 2.13 inches, version 3, 122 x 250 pixels in black and white.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epaper {
    /// The bus, such as `/dev/spidev0.0`.
    pub spi: PathBuf,
    /// Tells data from commands.
    pub dc: Pin,
    /// Starts it anew.
    pub reset: Pin,
    /// High while it is busy.
    pub busy: Pin,
    /// How what is shown is turned.
    pub rotation: Rotation,
    /// Bits a second.
    pub speed: u32,
    /// From one drawing to the next, at least.
    pub pause: Duration,
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("no display is named: name {KINDS}"));
        }
        match text.split_once(':') {
            Some((kind, rest)) if !kind.contains(['/', '.']) => {
                panel(kind, rest).map_err(|e| format!("{kind}: {e}"))
            }
            _ => Ok(Location::Framebuffer(text.into())),
        }
    }
}

fn panel(kind: &str, rest: &str) -> Result<Location, String> {
    let (spi, mut query) = Query::split(rest)?;
    if spi.is_empty() {
        return Err("names no bus: write /dev/spidev0.0".into());
    }
    let spi = PathBuf::from(spi);
    let location = match kind {
        "st7789" => Location::St7789(st7789(spi, &mut query)?),
        "epaper" => Location::Epaper(epaper(spi, &mut query)?),
        _ => return Err(format!("is no kind of display; displays are {KINDS}")),
    };
    query.done()?;
    Ok(location)
}

fn st7789(spi: PathBuf, query: &mut Query<'_>) -> Result<St7789, String> {
    let size = query.take("size").map_or(Ok(ST7789_MEMORY), query::size)?;
    let [most_x, most_y] = ST7789_MEMORY;
    if size[0] > most_x || size[1] > most_y {
        return Err(format!(
            "size={}x{}: the controller has {most_x}x{most_y}; the size is that of the panel as it stands, before rotate=",
            size[0], size[1]
        ));
    }
    // Makers place panels in the middle of the memory, except square ones.
    let free = [most_x - size[0], most_y - size[1]];
    let usual = if size[0] == size[1] { [free[0] / 2, 0] } else { free.map(|n| n / 2) };
    let offset = query.take("offset").map_or(Ok(usual), |text| offset(text, free))?;
    let invert = match query.take("invert") {
        None | Some("1") => true,
        Some("0") => false,
        Some(other) => return Err(format!("invert={other}: write invert=0 if colours are negative")),
    };
    Ok(St7789 {
        spi,
        dc: needed(query, "dc")?,
        reset: optional(query, "reset")?,
        backlight: optional(query, "backlight")?,
        size,
        offset,
        rotation: rotation(query, Rotation::Deg0)?,
        speed: speed(query, 40_000_000)?,
        invert,
    })
}

fn epaper(spi: PathBuf, query: &mut Query<'_>) -> Result<Epaper, String> {
    let pause = query.take("interval").map_or(Ok(EPAPER_PAUSE), |text| {
        let seconds = text.parse().ok().filter(|s| *s <= LONGEST_PAUSE).map(Duration::from_secs);
        seconds.ok_or_else(|| format!("interval={text}: write whole seconds, at most a week"))
    })?;
    Ok(Epaper {
        spi,
        dc: needed(query, "dc")?,
        reset: needed(query, "reset")?,
        busy: needed(query, "busy")?,
        // Words want width.
        rotation: rotation(query, Rotation::Deg90)?,
        speed: speed(query, 4_000_000)?,
        pause,
    })
}

fn needed(query: &mut Query<'_>, key: &str) -> Result<Pin, String> {
    optional(query, key)?.ok_or_else(|| format!("name the line of {key}: {key}=gpiochip0/25"))
}

fn optional(query: &mut Query<'_>, key: &str) -> Result<Option<Pin>, String> {
    let Some(text) = query.take(key) else { return Ok(None) };
    let pin = text.strip_prefix("/dev/").unwrap_or(text).split_once('/').and_then(|(chip, line)| {
        let is_name =
            !chip.is_empty() && chip.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let line = line.parse().ok()?;
        is_name.then(|| Pin { chip: chip.into(), line })
    });
    pin.map(Some).ok_or_else(|| format!("{key}={text}: write chip and line, such as gpiochip0/25"))
}

fn offset(text: &str, free: [u32; 2]) -> Result<[u32; 2], String> {
    let parts = text.split_once(',').and_then(|(x, y)| Some([x.parse().ok()?, y.parse().ok()?]));
    let fits = |o: &[u32; 2]| o[0] <= free[0] && o[1] <= free[1];
    parts.filter(fits).ok_or_else(|| {
        format!(
            "offset={text}: write two numbers such as 0,80, at most {},{} with this size",
            free[0], free[1]
        )
    })
}

fn rotation(query: &mut Query<'_>, usual: Rotation) -> Result<Rotation, String> {
    Ok(match query.take("rotate") {
        None => usual,
        Some("0") => Rotation::Deg0,
        Some("90") => Rotation::Deg90,
        Some("180") => Rotation::Deg180,
        Some("270") => Rotation::Deg270,
        Some(other) => return Err(format!("rotate={other}: write 0, 90, 180 or 270")),
    })
}

/// `40M`, `500k`, or bits a second.
fn speed(query: &mut Query<'_>, usual: u32) -> Result<u32, String> {
    let Some(text) = query.take("speed") else { return Ok(usual) };
    let (number, unit) = match text.strip_suffix(['M', 'k']) {
        Some(number) if text.ends_with('M') => (number, 1_000_000),
        Some(number) => (number, 1000),
        None => (text, 1),
    };
    let speed = number.parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
    speed
        .filter(|s| SPEEDS.contains(s))
        .ok_or_else(|| format!("speed={text}: write bits a second such as 40M, from 10k to 200M"))
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.chip, self.line)
    }
}

/// The device alone: what a complaint is about.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Framebuffer(path) => path.display().fmt(f),
            Location::St7789(panel) => write!(f, "st7789:{}", panel.spi.display()),
            Location::Epaper(panel) => write!(f, "epaper:{}", panel.spi.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(line: u32) -> Pin {
        Pin { chip: "gpiochip0".into(), line }
    }

    #[test]
    fn displays_are_read() {
        assert_eq!("/dev/fb1".parse(), Ok(Location::Framebuffer("/dev/fb1".into())));
        let text = "st7789:/dev/spidev0.1?dc=gpiochip0/25&reset=/dev/gpiochip0/27&backlight=gpiochip0/24\
                    &size=240x240&offset=0,80&rotate=90&speed=62500k&invert=0";
        let panel = St7789 {
            spi: "/dev/spidev0.1".into(),
            dc: pin(25),
            reset: Some(pin(27)),
            backlight: Some(pin(24)),
            size: [240, 240],
            offset: [0, 80],
            rotation: Rotation::Deg90,
            speed: 62_500_000,
            invert: false,
        };
        assert_eq!(text.parse(), Ok(Location::St7789(panel)));
        for (size, offset) in
            [("240x320", [0, 0]), ("240x240", [0, 0]), ("135x240", [52, 40]), ("170x320", [35, 0])]
        {
            let text = format!("st7789:/dev/spidev0.0?dc=gpiochip0/25&size={size}");
            let Ok(Location::St7789(panel)) = text.parse() else { panic!("{text}") };
            assert_eq!((panel.offset, panel.speed, panel.invert), (offset, 40_000_000, true), "{size}");
        }
        let text = "epaper:/dev/spidev0.0?dc=gpiochip0/25&reset=gpiochip0/17&busy=gpiochip0/24&interval=60";
        let panel = Epaper {
            spi: "/dev/spidev0.0".into(),
            dc: pin(25),
            reset: pin(17),
            busy: pin(24),
            rotation: Rotation::Deg90,
            speed: 4_000_000,
            pause: Duration::from_secs(60),
        };
        assert_eq!(text.parse(), Ok(Location::Epaper(panel)));
    }

    #[test]
    fn slips_are_named() {
        let dc = "dc=gpiochip0/25";
        for (text, complaint) in [
            ("".to_string(), "no display is named"),
            ("hdmi:/dev/x".into(), "hdmi: is no kind of display"),
            ("st7789:".into(), "names no bus"),
            ("st7789:/dev/spidev0.0".into(), "dc=gpiochip0/25"),
            ("st7789:/dev/spidev0.0?dc=25".into(), "chip and line"),
            ("st7789:/dev/spidev0.0?dc=../0/1".into(), "chip and line"),
            (format!("st7789:/dev/spidev0.0?{dc}&size=320x240"), "as it stands"),
            (format!("st7789:/dev/spidev0.0?{dc}&size=0x1"), "no size"),
            (format!("st7789:/dev/spidev0.0?{dc}&size=240x240&offset=1,0"), "at most 0,80"),
            (format!("st7789:/dev/spidev0.0?{dc}&offset=x"), "two numbers"),
            (format!("st7789:/dev/spidev0.0?{dc}&rotate=45"), "0, 90, 180 or 270"),
            (format!("st7789:/dev/spidev0.0?{dc}&speed=9999M"), "bits a second"),
            (format!("st7789:/dev/spidev0.0?{dc}&speed=M"), "bits a second"),
            (format!("st7789:/dev/spidev0.0?{dc}&invert=x"), "invert=0"),
            (format!("st7789:/dev/spidev0.0?{dc}&{dc}"), "twice"),
            (format!("st7789:/dev/spidev0.0?{dc}&busy=gpiochip0/1"), "busy= means nothing here"),
            (format!("epaper:/dev/spidev0.0?{dc}&reset=gpiochip0/1"), "line of busy"),
            (format!("epaper:/dev/spidev0.0?{dc}&reset=a/1&busy=a/2&interval=99999999999"), "at most a week"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
