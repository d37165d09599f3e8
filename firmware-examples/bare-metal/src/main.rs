//! The demo model on a Raspberry Pi 3 without an operating system: a picture in, caption and boxes on the serial line and
//! the screen. The exit code, through semihosting, is 0 if all went well; `README.md` has the others.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod cpu;
mod framebuffer;
mod heap;
mod mailbox;
mod mmio;
mod mmu;
mod uart;

use alloc::format;
use alloc::string::{String, ToString};
use core::ops::ControlFlow;
use core::panic::PanicInfo;
use pg_bare_metal::picture::Picture;
use pg_bare_metal::{PROMPTS, Seen, options, report, screen};
use pg_runtime::{Event, Model, Session, Stage};
use static_cell::ConstStaticCell;
use uart::{Uart, println};

/// The kernel table of every 64-bit ARM processor.
const KERNELS: &str = "neon";

/// The largest memory plan that this program has room for.
const ARENA_BYTES: usize = 3 << 19;

/// Bytes at an address that suits blocks of weights and regions of the arena.
#[repr(C, align(256))]
struct Aligned<T: ?Sized>(T);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("PG_MODEL")));
static PICTURE: &[u8] = include_bytes!(env!("PG_PICTURE"));
static ARENA: ConstStaticCell<Aligned<[u8; ARENA_BYTES]>> = ConstStaticCell::new(Aligned([0; ARENA_BYTES]));

/// Why the program ends early.
enum Failure {
    /// A promise of the runtime was broken.
    Broken(String),
    /// Something was refused: model, picture, memory, screen.
    Refused(String),
}

impl<E: core::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Refused(error.to_string())
    }
}

/// What the boot code calls, once, on core 0.
extern "C" fn start() -> ! {
    let code = match run() {
        Ok(()) => 0,
        Err(Failure::Broken(what)) => {
            println!("broken: {what}");
            1
        }
        Err(Failure::Refused(why)) => {
            println!("refused: {why}");
            2
        }
    };
    cpu::exit(code)
}

fn run() -> Result<(), Failure> {
    println!("pg-edge on bare metal: EL{}, {} Hz counter", cpu::exception_level(), cpu::counter_hz());
    let model = Model::from_static(&MODEL.0)?;
    let picture =
        Picture::from_ppm(PICTURE).ok_or_else(|| Failure::Refused("the picture is no PPM".into()))?;
    let options = options(&picture);
    let plan = Session::memory_plan(model.header(), &options)?;
    for region in &plan.regions {
        println!("plan: {} {}", region.name, region.bytes);
    }
    println!("memory: plan {} of {ARENA_BYTES}, image {}", plan.bytes(), mmu::image_bytes());
    let mut session = Session::new_in(&model, options, &mut ARENA.take().0)?;
    // Nothing is detected here: the table is what the compiler's target guarantees.
    println!("kernels: {}", session.kernels().name());
    if session.kernels().name() != KERNELS {
        return Err(Failure::Broken(format!("expected the kernel table {KERNELS}")));
    }

    let mut seen = Seen::default();
    for text in PROMPTS {
        let prompt = session.prompt(text)?;
        let mut ticks = Ticks::start();
        let heap_before = heap::taken();
        let answer = session.run_with(&picture.frame()?, &prompt, |event| {
            ticks.note(&event);
            ControlFlow::Continue(())
        })?;
        let taken = heap::taken() - heap_before;
        ticks.end();
        report::write(&mut Uart, text, &answer, picture.width as u32, picture.height as u32)?;
        println!();
        println!(
            "ticks: image {} vision {} prefill {} decode {}",
            ticks.of[0], ticks.of[1], ticks.of[2], ticks.of[3]
        );
        if taken != 0 {
            return Err(Failure::Broken(format!("{text}: the run took memory {taken} times")));
        }
        seen.keep(text, &answer);
    }

    let mut canvas = framebuffer::open(screen::WIDTH, screen::HEIGHT).map_err(Failure::Refused)?;
    let Ok(()) = screen::draw(&mut canvas, &picture, &seen);
    framebuffer::show(canvas);
    println!("memory: heap {} of {}, taken {} times", heap::used(), heap::BYTES, heap::taken());
    println!("memory: stack {} of {}", mmu::stack_used(), mmu::stack_bytes());
    println!("screen: ready; a byte on this line ends the program");
    uart::wait();
    Ok(())
}

/// The counter's ticks in the stages of a run: picture, vision tower, prefix, tokens.
struct Ticks {
    of: [u64; 4],
    stage: usize,
    since: u64,
}

impl Ticks {
    fn start() -> Self {
        Ticks { of: [0; 4], stage: 0, since: cpu::counter() }
    }

    fn note(&mut self, event: &Event<'_>) {
        let next = match event {
            Event::Stage(Stage::Vision) => 1,
            Event::Stage(Stage::Prefill) => 2,
            Event::Stage(Stage::Decode) => 3,
            Event::Layer | Event::Token(_) => return,
        };
        self.end();
        self.stage = next;
    }

    fn end(&mut self) {
        let now = cpu::counter();
        self.of[self.stage] += now - self.since;
        self.since = now;
    }
}

/// What the boot code calls on a fault, with its syndrome, the instruction's address and the data's.
extern "C" fn fault(syndrome: u64, at: u64, address: u64) -> ! {
    println!("fault: syndrome {syndrome:#x} at {at:#x}, address {address:#x}");
    cpu::exit(3)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    cpu::exit(101)
}
