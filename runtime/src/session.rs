//! The way in: a model, a session, a picture, an answer.

use crate::decoder::{self, DecoderSizes, DecoderState, KvPrecision};
use crate::error::{Error, InputError, SetupError};
use crate::imaging::{Frame, Preprocess, Scratch};
use crate::kernels::Kernels;
use crate::memory::{Block, Carver, Plan, Region};
use crate::model::names::Part;
use crate::model::{Header, Model, Weights};
use crate::ops::{Activations, Exec, Worker, WorkerSizes};
use crate::output::{Collector, Dropped, Object};
use crate::platform::clock::Clock;
use crate::probe::{Probe, Tap, Unwatched};
use crate::threads::MAX_THREADS;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::vision::{self, VisionBuffers};
use crate::{prefix, sampler};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::sync::atomic::AtomicUsize;

/// How a session is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOptions {
    /// Name of the kernel table; `None` takes the best that runs here.
    pub kernels: Option<String>,
    /// Number of threads, the caller's included.
    pub threads: usize,
    /// Longest prompt in tokens, `<bos>` and the newline included.
    pub max_prompt_tokens: usize,
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// Longest side of a picture in pixels.
    pub max_side: usize,
    /// Precision of the key/value cache; `None` takes f16 for quantized weights and f32 otherwise.
    pub kv: Option<KvPrecision>,
}

impl Default for SessionOptions {
    /// All cores; 256 prompt tokens, what the released mix-224 checkpoint was trained with; pictures of up to 4096
    /// pixels a side.
    fn default() -> Self {
        #[cfg(feature = "std")]
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        #[cfg(not(feature = "std"))]
        let threads = 1;
        SessionOptions {
            kernels: None,
            threads,
            max_prompt_tokens: 256,
            max_new_tokens: 128,
            max_side: 4096,
            kv: None,
        }
    }
}

/// A prompt as the model reads it: `<bos>`, the text's pieces, a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    ids: Vec<TokenId>,
}

impl Prompt {
    /// Makes a prompt out of text such as `caption en` or `detect cat ; dog`.
    ///
    /// The text and the newline after it are tokenized apart, as the reference does; newlines at the text's end are
    /// dropped, because the model never saw two.
    pub fn new(model: &Model, text: &str) -> Self {
        Self::with_tokenizer(model.tokenizer(), text)
    }

    /// As [`Prompt::new`], before there is a model.
    pub fn with_tokenizer(tokenizer: &Tokenizer, text: &str) -> Self {
        let mut ids = alloc::vec![tokenizer.bos()];
        ids.extend(tokenizer.encode(text.trim_end_matches('\n')));
        ids.push(tokenizer.newline());
        Prompt { ids }
    }

    /// The tokens.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }
}

/// Milliseconds that the stages of one run took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Resizing and normalizing the picture.
    pub image: f64,
    /// The vision tower.
    pub vision: f64,
    /// Projector and prefix, up to the first token's scores.
    pub prefill: f64,
    /// All tokens.
    pub decode: f64,
}

impl Timing {
    /// The whole run.
    pub fn total(&self) -> f64 {
        self.image + self.vision + self.prefill + self.decode
    }
}

/// Something that happened during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A stage begins.
    Stage(Stage),
    /// A layer of the vision tower or of the prefill begins.
    Layer,
    /// A token was chosen: the answer so far.
    Token(Answer<'a>),
}

/// The long stages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The vision tower.
    Vision,
    /// Projector and prefix.
    Prefill,
    /// Token after token.
    Decode,
}

/// An answer, borrowed from the session until its next run.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    collected: &'a Collector,
    timing: Timing,
}

impl<'a> Answer<'a> {
    /// The tokens, without the one that ends the answer.
    pub fn tokens(&self) -> &'a [TokenId] {
        self.collected.tokens()
    }

    /// The text, location and segment tokens written out.
    pub fn text(&self) -> &'a str {
        self.collected.text()
    }

    /// The objects found, in the model's order.
    pub fn objects(&self) -> &'a [Object] {
        self.collected.objects()
    }

    /// The label of one of this answer's objects.
    pub fn label(&self, object: &Object) -> &'a str {
        &self.text()[object.label.clone()]
    }

    /// What looked like an object and was not one.
    pub fn dropped(&self) -> &'a [Dropped] {
        self.collected.dropped()
    }

    /// How long the stages took.
    pub fn timing(&self) -> Timing {
        self.timing
    }
}

/// What a session has seen of a picture, borrowed until it looks at another.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    embedding: &'a [f32],
    timing: Timing,
}

impl<'a> Look<'a> {
    /// The mean of the image tokens before the projector, `[d_vision]`: pictures of the same scene have embeddings that
    /// point the same way.
    pub fn embedding(&self) -> &'a [f32] {
        self.embedding
    }

    /// How long it took; prefill and decoding are 0.
    pub fn timing(&self) -> Timing {
        self.timing
    }
}

/// A model ready to run: all memory taken, all threads started.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model,
    weights: Weights<'m>,
    options: SessionOptions,
    plan: Plan,
    preprocess: Preprocess,
    exec: Exec,
    buffers: Buffers,
    collector: Collector,
    /// Whether the image tokens are a whole picture's.
    has_seen: bool,
}

#[derive(Debug)]
struct Buffers {
    resize_ints: Region<i32>,
    resize_bytes: Region<u8>,
    vision: VisionBuffers,
    /// `[d_vision]`
    embedding: Region<f32>,
    decoder: DecoderState,
    activations: Activations,
}

impl<'m> Session<'m> {
    /// Takes all memory and starts all threads.
    ///
    /// # Errors
    /// [`SetupError`] if the options cannot be met.
    pub fn new(model: &'m Model, options: SessionOptions) -> Result<Self, Error> {
        Self::build(model, options, Block::allocate)
    }

    /// As [`Session::new`], in memory that the caller provides: at least [`Session::memory_plan`] says, and 255 bytes
    /// more unless it is aligned to 256.
    ///
    /// # Errors
    /// As [`Session::new`], and [`SetupError::Memory`] if `memory` is too small.
    pub fn new_in(
        model: &'m Model,
        options: SessionOptions,
        memory: &'static mut [u8],
    ) -> Result<Self, Error> {
        Self::build(model, options, |_| Ok(Block::borrow(memory)))
    }

    /// The memory that a session would take, by region.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn memory_plan(model: &Header, options: &SessionOptions) -> Result<Plan, Error> {
        let (kernels, preprocess) = check(model, options)?;
        Ok(measure(model, options, kernels, &preprocess))
    }

    fn build(
        model: &'m Model,
        options: SessionOptions,
        block: impl FnOnce(usize) -> Result<Block, SetupError>,
    ) -> Result<Self, Error> {
        let (kernels, preprocess) = check(model.header(), &options)?;
        let plan = measure(model.header(), &options, kernels, &preprocess);
        let mut carver = Carver::cutting(block(plan.bytes())?, &plan)?;
        let (mut buffers, workers) = carve(&mut carver, model.header(), &options, kernels, &preprocess);
        buffers.decoder.set_up(&model.config().text);
        Ok(Session {
            model,
            weights: Weights::of(model),
            plan,
            preprocess,
            exec: Exec::new(kernels, workers)?,
            buffers,
            collector: Collector::new(model.tokenizer(), options.max_new_tokens),
            has_seen: false,
            options,
        })
    }

    /// [`Prompt::new`] for this session's model, refused if it is longer than the session was set up for.
    ///
    /// # Errors
    /// [`InputError::PromptTooLong`].
    pub fn prompt(&self, text: &str) -> Result<Prompt, InputError> {
        let prompt = Prompt::new(self.model, text);
        self.check_prompt(&prompt)?;
        Ok(prompt)
    }

    /// Answers `prompt` about `frame`.
    ///
    /// # Errors
    /// [`InputError`] if frame or prompt are larger than the session was set up for, or the prompt another model's.
    pub fn run(&mut self, frame: &Frame<'_>, prompt: &Prompt) -> Result<Answer<'_>, InputError> {
        self.run_with(frame, prompt, |_| ControlFlow::Continue(()))
    }

    /// As [`Session::run`], telling `on_event` of every stage, layer and token; it may end the run before any of them, which
    /// leaves the answer as it is then.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_with(
        &mut self,
        frame: &Frame<'_>,
        prompt: &Prompt,
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Answer<'_>, InputError> {
        self.run_steps(frame, prompt, None, &mut Unwatched, &mut on_event)
    }

    /// As [`Session::run`], showing every stage to `probe`. With `forced`, those tokens are fed instead of the best
    /// ones, and the answer has exactly as many (at most the session's longest answer).
    ///
    /// # Errors
    /// As [`Session::run`], and [`InputError::TokenOutOfRange`] for a forced token.
    pub fn trace(
        &mut self,
        frame: &Frame<'_>,
        prompt: &Prompt,
        forced: Option<&[TokenId]>,
        probe: &mut dyn Probe,
    ) -> Result<Answer<'_>, InputError> {
        self.run_steps(frame, prompt, forced, probe, &mut |_| ControlFlow::Continue(()))
    }

    /// Looks at a picture without a question: prompts that [`Session::answer`] takes afterwards are about it. `on_event` may
    /// end the look before any layer; then there is none, and nothing to answer about.
    ///
    /// # Errors
    /// [`InputError`] if the frame is larger than the session was set up for.
    pub fn look(
        &mut self,
        frame: &Frame<'_>,
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Look<'_>>, InputError> {
        let mut timing = Timing::default();
        if self.see(frame, &mut Unwatched, &mut on_event, &mut timing)?.is_break() {
            return Ok(None);
        }
        let tokens = self.buffers.vision.image_tokens();
        let embedding = &mut self.buffers.embedding;
        embedding.fill(0.0);
        for token in tokens.chunks_exact(embedding.len()) {
            embedding.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
        }
        let n = self.model.config().vision.n_patches() as f32;
        embedding.iter_mut().for_each(|x| *x /= n);
        Ok(Some(Look { embedding, timing }))
    }

    /// Answers `prompt` about the picture of the last [`Session::look`] or run, as often as wanted, in the time of a run
    /// less that of looking. Events as in [`Session::run_with`], beginning with the prefill.
    ///
    /// # Errors
    /// [`InputError::NothingSeen`] if there is no such picture, or the prompt is refused as in [`Session::run`].
    pub fn answer(
        &mut self,
        prompt: &Prompt,
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Answer<'_>, InputError> {
        self.check_prompt(prompt)?;
        if !self.has_seen {
            return Err(InputError::NothingSeen);
        }
        self.collector.clear();
        let mut timing = Timing::default();
        if self.read(prompt, &mut Unwatched, &mut on_event, &mut timing).is_continue() {
            self.generate(None, &mut Unwatched, &mut on_event, &mut timing);
        }
        Ok(Answer { collected: &self.collector, timing })
    }

    fn run_steps(
        &mut self,
        frame: &Frame<'_>,
        prompt: &Prompt,
        forced: Option<&[TokenId]>,
        probe: &mut dyn Probe,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Answer<'_>, InputError> {
        self.check_prompt(prompt)?;
        self.check_tokens(forced.unwrap_or_default())?;
        self.collector.clear();
        let mut timing = Timing::default();
        if self.see(frame, probe, on_event, &mut timing)?.is_continue()
            && self.read(prompt, probe, on_event, &mut timing).is_continue()
        {
            self.generate(forced, probe, on_event, &mut timing);
        }
        Ok(Answer { collected: &self.collector, timing })
    }

    /// The picture, up to its image tokens.
    fn see(
        &mut self,
        frame: &Frame<'_>,
        probe: &mut dyn Probe,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        timing: &mut Timing,
    ) -> Result<ControlFlow<()>, InputError> {
        self.has_seen = false;
        let config = &self.model.config().vision;
        let Buffers { resize_ints, resize_bytes, vision, activations, .. } = &mut self.buffers;
        let mut clock = Clock::now();
        let scratch = Scratch { ints: resize_ints, bytes: resize_bytes };
        self.preprocess.patches(frame, scratch, &mut vision.patches, config.patch_values())?;
        timing.image = clock.lap_ms();

        if on_event(Event::Stage(Stage::Vision)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut probe = Interruptible { probe, on_event };
        if vision::encode(config, &self.weights.vision, vision, &mut self.exec, activations, &mut probe)
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        timing.vision = clock.lap_ms();
        self.has_seen = true;
        Ok(ControlFlow::Continue(()))
    }

    /// Image tokens and prompt, up to the scores of the first token.
    fn read(
        &mut self,
        prompt: &Prompt,
        probe: &mut dyn Probe,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        timing: &mut Timing,
    ) -> ControlFlow<()> {
        if on_event(Event::Stage(Stage::Prefill)).is_break() {
            return ControlFlow::Break(());
        }
        let (config, w, exec) = (self.model.config(), &self.weights, &mut self.exec);
        let Buffers { vision, decoder, activations, .. } = &mut self.buffers;
        let text = &config.text;
        let mut clock = Clock::now();
        let n_prefix = config.vision.n_patches() + prompt.ids.len();
        let x = &mut decoder.x[..n_prefix * text.d_model];
        prefix::assemble(
            text,
            &w.projector,
            &w.decoder,
            vision.image_tokens(),
            &prompt.ids,
            x,
            exec,
            activations,
            probe,
        );
        let mut probe = Interruptible { probe, on_event };
        decoder::prefill(text, &w.decoder, decoder, n_prefix, exec, activations, &mut probe)?;
        timing.prefill = clock.lap_ms();
        on_event(Event::Stage(Stage::Decode))
    }

    /// Token after token, until the model ends its answer, the room for it is full or somebody says stop.
    fn generate(
        &mut self,
        forced: Option<&[TokenId]>,
        probe: &mut dyn Probe,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        timing: &mut Timing,
    ) {
        let (text, w) = (&self.model.config().text, &self.weights.decoder);
        let Buffers { decoder, activations, .. } = &mut self.buffers;
        let tokenizer = self.model.tokenizer();
        let clock = Clock::now();
        let n = forced.map_or(self.options.max_new_tokens, |f| f.len().min(self.options.max_new_tokens));
        for i in 0..n {
            let id = forced.map_or_else(|| sampler::greedy(decoder.logits()), |f| f[i]);
            if forced.is_none() && id == tokenizer.eos() {
                break;
            }
            self.collector.push(tokenizer, id, || sampler::probability(decoder.logits(), id));
            timing.decode = clock.elapsed_ms();
            let so_far = Answer { collected: &self.collector, timing: *timing };
            if on_event(Event::Token(so_far)).is_break() || i + 1 == n {
                break;
            }
            decoder::step(text, w, decoder, id, &mut self.exec, activations, probe);
        }
        self.collector.finish();
        timing.decode = clock.elapsed_ms();
    }

    /// The longest prefix, image tokens included.
    fn max_prefix(&self) -> usize {
        self.model.config().vision.n_patches() + self.options.max_prompt_tokens
    }

    fn check_prompt(&self, prompt: &Prompt) -> Result<(), InputError> {
        let (tokens, max) = (prompt.ids.len(), self.options.max_prompt_tokens);
        if tokens > max {
            return Err(InputError::PromptTooLong { tokens, max });
        }
        self.check_tokens(&prompt.ids)
    }

    fn check_tokens(&self, ids: &[TokenId]) -> Result<(), InputError> {
        let vocab = self.model.config().text.n_vocab;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(&token) => Err(InputError::TokenOutOfRange { token, vocab }),
            None => Ok(()),
        }
    }

    /// The model being run.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// The memory taken, by region.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The kernel table in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.exec.kernels()
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.exec.threads()
    }

    /// Lets only `n` of the session's threads work from the next run on, at least one: a hot board gives off less heat so.
    pub fn use_threads(&mut self, n: usize) {
        self.exec.use_members(n);
    }

    /// A counter that grows with every step of every layer, for whoever watches that runs go on; it wraps around.
    pub fn steps(&self) -> Arc<AtomicUsize> {
        self.exec.steps()
    }

    /// How keys and values are kept.
    pub fn kv(&self) -> KvPrecision {
        kv_precision(self.model.header(), &self.options)
    }

    /// One stage at a time, for whoever measures them.
    pub fn stages(&mut self) -> Stages<'_, 'm> {
        Stages(self)
    }
}

/// A probe by which somebody else may end the run.
struct Interruptible<'a> {
    probe: &'a mut dyn Probe,
    on_event: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
}

impl Probe for Interruptible<'_> {
    fn look(&mut self, tap: Tap, data: &[f32], width: usize) {
        self.probe.look(tap, data, width);
    }

    fn wants_everything(&self) -> bool {
        self.probe.wants_everything()
    }

    fn goes_on(&mut self) -> ControlFlow<()> {
        (self.on_event)(Event::Layer)
    }
}

/// Stages of [`Session::run`] apart from each other: the same functions over the same buffers, whatever those hold.
#[derive(Debug)]
pub struct Stages<'s, 'm>(&'s mut Session<'m>);

impl Stages<'_, '_> {
    /// Turns a picture into patches.
    ///
    /// # Errors
    /// [`InputError`] if the frame is larger than the session was set up for.
    pub fn image(&mut self, frame: &Frame<'_>) -> Result<(), InputError> {
        let row = self.0.model.config().vision.patch_values();
        let Buffers { resize_ints, resize_bytes, vision, .. } = &mut self.0.buffers;
        let scratch = Scratch { ints: resize_ints, bytes: resize_bytes };
        self.0.preprocess.patches(frame, scratch, &mut vision.patches, row)
    }

    /// Turns the patches into image tokens.
    pub fn vision(&mut self) {
        let Session { model, weights, exec, buffers: Buffers { vision, activations, .. }, .. } = &mut *self.0;
        let c = &model.config().vision;
        // Never ended: nobody watches.
        let _ = vision::encode(c, &weights.vision, vision, exec, activations, &mut Unwatched);
    }

    /// Reads a prefix of tokens alone: any number of them up to the longest prefix of the session, image tokens
    /// included. It ends with the scores of the next token.
    ///
    /// # Errors
    /// [`InputError`] if there are none or too many, or one is outside the vocabulary.
    pub fn prefill(&mut self, ids: &[TokenId]) -> Result<(), InputError> {
        let max = self.0.max_prefix();
        if !(1..=max).contains(&ids.len()) {
            return Err(InputError::PromptTooLong { tokens: ids.len(), max });
        }
        self.0.check_tokens(ids)?;
        let text = &self.0.model.config().text;
        let Session { weights, exec, buffers: Buffers { decoder, activations, .. }, .. } = &mut *self.0;
        for (&id, row) in ids.iter().zip(decoder.x.chunks_exact_mut(text.d_model)) {
            prefix::embed(text, &weights.decoder, id, row);
        }
        // Never ended: nobody watches.
        let _ =
            decoder::prefill(text, &weights.decoder, decoder, ids.len(), exec, activations, &mut Unwatched);
        Ok(())
    }

    /// Runs token `id` as if it stood at position `at` after whatever the cache holds, and returns the best next token.
    ///
    /// # Errors
    /// [`InputError`] if the session has no such position or the vocabulary no such token.
    pub fn step(&mut self, at: usize, id: TokenId) -> Result<TokenId, InputError> {
        let max = self.0.max_prefix() + self.0.options.max_new_tokens;
        if at >= max {
            return Err(InputError::PromptTooLong { tokens: at + 1, max });
        }
        self.0.check_tokens(&[id])?;
        let text = &self.0.model.config().text;
        let Session { weights, exec, buffers: Buffers { decoder, activations, .. }, .. } = &mut *self.0;
        decoder.seek(at);
        decoder::step(text, &weights.decoder, decoder, id, exec, activations, &mut Unwatched);
        Ok(sampler::greedy(decoder.logits()))
    }
}

/// Checks everything that can be checked without taking memory.
fn check(model: &Header, options: &SessionOptions) -> Result<(&'static Kernels, Preprocess), Error> {
    let kernels = Kernels::choose(options.kernels.as_deref())?;
    if !(1..=MAX_THREADS).contains(&options.threads) {
        return Err(SetupError::Threads { asked: options.threads, max: MAX_THREADS }.into());
    }
    let config = model.config();
    let asked = config
        .vision
        .n_patches()
        .saturating_add(options.max_prompt_tokens)
        .saturating_add(options.max_new_tokens);
    if asked > config.text.n_context || options.max_prompt_tokens < 2 || options.max_new_tokens == 0 {
        return Err(SetupError::Context { asked, max: config.text.n_context }.into());
    }
    let v = &config.vision;
    let preprocess = Preprocess::new(v.image_size, v.patch_size, options.max_side)?;
    Ok((kernels, preprocess))
}

fn measure(
    model: &Header,
    options: &SessionOptions,
    kernels: &'static Kernels,
    preprocess: &Preprocess,
) -> Plan {
    let mut carver = Carver::measuring();
    carve(&mut carver, model, options, kernels, preprocess);
    carver.into_plan()
}

fn kv_precision(model: &Header, options: &SessionOptions) -> KvPrecision {
    let by_weights = if model.longest_float_row() > 0 { KvPrecision::F32 } else { KvPrecision::F16 };
    options.kv.unwrap_or(by_weights)
}

/// Lists every array of a session: measured with one kind of carver, taken with the other.
fn carve(
    carver: &mut Carver,
    model: &Header,
    options: &SessionOptions,
    kernels: &'static Kernels,
    preprocess: &Preprocess,
) -> (Buffers, Vec<Worker>) {
    let config = model.config();
    let n_prefix = config.vision.n_patches() + options.max_prompt_tokens;
    let n_positions = n_prefix + options.max_new_tokens;
    let k_float = model.longest_float_row();
    let kv = kv_precision(model, options);
    let values = VisionBuffers::activation_values(&config.vision)
        .max(DecoderState::activation_values(&config.text, n_prefix));
    let resize = preprocess.scratch_len();
    let buffers = Buffers {
        resize_ints: carver.region("image.ints", resize.ints),
        resize_bytes: carver.region("image.bytes", resize.bytes),
        vision: VisionBuffers::carve(carver, &config.vision, model.kinds(Part::Vision)),
        embedding: carver.region("vision.embedding", config.vision.d_model),
        decoder: DecoderState::carve(
            carver,
            &config.text,
            DecoderSizes { n_prefix, n_positions, kinds: model.kinds(Part::Decoder), kv },
        ),
        activations: Activations::carve(carver, values),
    };
    let d_heads = [config.vision.d_head(), config.text.d_head];
    let sizes = WorkerSizes {
        n_rows: n_prefix.max(config.vision.n_patches()),
        n_keys: n_positions,
        d_heads,
        k_float,
    };
    let workers = (0..options.threads).map(|_| Worker::carve(carver, kernels, sizes)).collect();
    (buffers, workers)
}

/// A session may be made on one thread and used on another.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Session<'static>>();
};
