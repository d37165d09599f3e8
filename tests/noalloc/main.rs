//! A session takes no memory and gives none back while it runs, on none of its threads.
//!
//! The whole process counts, so this program is its own test and does one thing at a time.

#![allow(unsafe_code)]

use pg_quantize::Preset;
use pg_runtime::platform::knobs;
use pg_runtime::probe::{Probe, Tap};
use pg_runtime::{Frame, Kernels, Model, PixelFormat, Session, SessionOptions};
use pg_tests::models;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ops::{ControlFlow, Sub};
use std::sync::atomic::{AtomicU64, Ordering};

#[global_allocator]
static COUNTING: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static REALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static DEALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn main() {
    the_counter_counts();
    let pictures = pictures();
    // Under an emulator the portable loops take minutes, and other processors have run them.
    let mut tables = match knobs::get(knobs::ISA) {
        Some(name) => vec![Kernels::choose(Some(&name)).expect("a table of this machine").name()],
        None => vec!["scalar", Kernels::detect().name()],
    };
    tables.dedup();
    let mut n = 0;
    for preset in [Preset::Q4, Preset::F32, Preset::F16] {
        let model = models::demo(preset);
        for kernels in &tables {
            n += check(&model, preset.name(), kernels, &pictures);
        }
    }
    println!("{n} runs without an allocation");
    assert_eq!(n, 3 * tables.len() * pictures.len());
}

/// Runs the prompts in turn on the pictures; returns the number of runs.
fn check(model: &Model, preset: &str, kernels: &str, pictures: &[Picture]) -> usize {
    let options = SessionOptions {
        kernels: Some(kernels.to_string()),
        threads: 2,
        max_prompt_tokens: 32,
        max_new_tokens: 12,
        max_side: 512,
        kv: None,
    };
    let mut session = Session::new(model, options).expect("a session");
    let prompts = ["caption en", "detect object"].map(|text| (text, session.prompt(text).expect("short")));
    let mut n = 0;
    for (picture, (text, prompt)) in pictures.iter().zip(prompts.iter().cycle()) {
        let frame = picture.frame();
        let before = Count::now();
        let n_tokens = session.run(&frame, prompt).expect("a run").tokens().len();
        session.use_threads(1 + n % 2);
        session.look(&frame, |_| ControlFlow::Continue(())).expect("a look");
        session.answer(prompt, |_| ControlFlow::Continue(())).expect("an answer");
        let taken = Count::now() - before;
        assert!(n_tokens > 1, "{preset}, {kernels}, {text:?}: nothing was decoded");
        if taken != Count::default() {
            let mut stages = Stages { n: 0, last: Count::now(), seen: [None; MAX_STAGES] };
            session.trace(&frame, prompt, None, &mut stages).expect("a run");
            let size = (picture.width, picture.height, picture.format);
            panic!("{preset}, {kernels}, {text:?}, {size:?}: {taken:?}; again: {}", stages.report());
        }
        n += 1;
    }
    n
}

/// Without this a counter that counts nothing would pass.
fn the_counter_counts() {
    let count = |work: fn()| {
        let before = Count::now();
        work();
        Count::now() - before
    };
    assert_eq!(count(|| {}), Count::default());
    let once = count(|| drop(black_box(Vec::<u8>::with_capacity(100))));
    assert_eq!(once, Count { allocations: 1, reallocations: 0, deallocations: 1, bytes: 100 });
    let grown = count(|| {
        let mut v = black_box(Vec::<u8>::with_capacity(100));
        v.reserve_exact(300);
        drop(black_box(v));
    });
    assert_eq!(grown, Count { allocations: 1, reallocations: 1, deallocations: 1, bytes: 300 });
    let elsewhere = count(|| {
        std::thread::spawn(|| drop(black_box(Vec::<u8>::with_capacity(1 << 20)))).join().expect("no panic");
    });
    assert!(elsewhere.bytes >= 1 << 20, "another thread's memory: {elsewhere:?}");
}

struct Picture {
    data: Vec<u8>,
    width: usize,
    height: usize,
    format: PixelFormat,
}

impl Picture {
    fn frame(&self) -> Frame<'_> {
        Frame::new(&self.data, self.width, self.height, self.format).expect("all pixels")
    }
}

/// A sample scene as it is, and enlarged, cropped and in other formats.
fn pictures() -> Vec<Picture> {
    let scene = pg_runtime::pictures::load(&models::demo_sample("scene-01.png")).expect("a sample");
    let side = scene.width() as usize;
    let rgb = |width: usize, height: usize| -> Vec<[u8; 3]> {
        let pixels = scene.data().as_chunks::<3>().0;
        (0..width * height)
            .map(|i| pixels[i / width * side / height * side + i % width * side / width])
            .collect()
    };
    let picture = |format: PixelFormat, width, height, data| Picture { data, width, height, format };
    vec![
        picture(PixelFormat::Rgb8, side, side, scene.data().to_vec()),
        picture(PixelFormat::Rgb8, 400, 300, rgb(400, 300).concat()),
        picture(PixelFormat::Gray8, 90, 130, rgb(90, 130).iter().map(|p| p[1]).collect()),
        picture(
            PixelFormat::Rgba8,
            512,
            200,
            rgb(512, 200).iter().flat_map(|&[r, g, b]| [r, g, b, 9]).collect(),
        ),
        picture(PixelFormat::Rgb8, 30, 20, rgb(30, 20).concat()),
    ]
}

const MAX_STAGES: usize = 256;

/// Notes what each stage took, without taking memory itself.
struct Stages {
    n: usize,
    last: Count,
    /// What was taken before each tap.
    seen: [Option<(Tap, Count)>; MAX_STAGES],
}

impl Stages {
    fn report(&self) -> String {
        let took = self.seen.iter().flatten().filter(|(_, count)| *count != Count::default());
        let lines: Vec<String> = took.map(|(tap, count)| format!("up to {tap:?}: {count:?}")).collect();
        if lines.is_empty() { "no stage, or after the last one".to_string() } else { lines.join("; ") }
    }
}

impl Probe for Stages {
    fn look(&mut self, tap: Tap, _: &[f32], _: usize) {
        let now = Count::now();
        if let Some(slot) = self.seen.get_mut(self.n) {
            *slot = Some((tap, now - self.last));
        }
        self.n += 1;
        self.last = now;
    }

    fn wants_everything(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    allocations: u64,
    reallocations: u64,
    deallocations: u64,
    bytes: u64,
}

impl Count {
    fn now() -> Count {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Count {
            allocations: of(&ALLOCATIONS),
            reallocations: of(&REALLOCATIONS),
            deallocations: of(&DEALLOCATIONS),
            bytes: of(&BYTES),
        }
    }
}

impl Sub for Count {
    type Output = Count;

    fn sub(self, before: Count) -> Count {
        Count {
            allocations: self.allocations - before.allocations,
            reallocations: self.reallocations - before.reallocations,
            deallocations: self.deallocations - before.deallocations,
            bytes: self.bytes - before.bytes,
        }
    }
}

struct Counting;

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(1, Ordering::SeqCst);
    BYTES.fetch_add(bytes as u64, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory but the counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(&REALLOCATIONS, new_size.saturating_sub(layout.size()));
        // SAFETY: `at` came from `System` through this allocator, with this layout, as the caller promises.
        unsafe { System.realloc(at, layout, new_size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(&DEALLOCATIONS, 0);
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(at, layout) }
    }
}
