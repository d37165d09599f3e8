//! How long the stages of a run take.

use super::{median, work};
use crate::error::Error;
use crate::imaging::{Frame, PixelFormat};
use crate::model::Header;
use crate::platform::clock::Clock;
use crate::probe::Unwatched;
use crate::session::{Prompt, Session, SessionOptions};
use crate::tokenizer::TokenId;
use alloc::vec::Vec;

/// What the picture is asked for.
const PROMPT: &str = "caption en";
/// Tokens of a caption, as most are.
pub const CAPTION_TOKENS: usize = 20;
/// Tokens that are decoded in one round.
const STEPS: usize = 8;
/// Sides of the picture: those of a small camera.
const PICTURE: (usize, usize) = (640, 480);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Rows of the prefix.
    pub n_prefill: usize,
    /// Positions in the cache before a decoded token.
    pub depth: usize,
    /// Rounds, of which the medians are taken.
    pub rounds: usize,
}

impl Plan {
    /// Rows of the prefix if nobody asks for another number: those of a picture and a short prompt.
    pub fn usual_prefill(model: &Header) -> usize {
        model.config().vision.n_patches() + 8
    }

    /// The options of a session that can be measured so, other things as in `base`.
    pub fn session_options(&self, model: &Header, base: &SessionOptions) -> SessionOptions {
        let n_image = model.config().vision.n_patches();
        let prompt = Prompt::with_tokenizer(model.tokenizer(), PROMPT).ids().len();
        let max_prompt_tokens = self.n_prefill.saturating_sub(n_image).max(prompt);
        let deepest = self.depth.saturating_add(STEPS);
        let max_new_tokens = deepest.saturating_sub(n_image + max_prompt_tokens).max(CAPTION_TOKENS);
        SessionOptions {
            max_prompt_tokens,
            max_new_tokens,
            max_side: PICTURE.0.max(PICTURE.1),
            ..base.clone()
        }
    }
}

/// What was measured: medians, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// Resizing and normalizing a picture of 640 x 480 pixels.
    pub image: f64,
    /// The vision tower.
    pub vision: f64,
    /// The prefix, up to the scores of the next token.
    pub prefill: f64,
    /// One token, its choice included.
    pub token: f64,
    /// From the picture to the first token.
    pub first_token: f64,
    /// From the picture to the last of [`CAPTION_TOKENS`] tokens.
    pub caption: f64,
    /// Tokens of the prompt of these two.
    pub prompt_tokens: usize,
}

/// Runs everything, once to warm up and then in rounds. `session` has to come from [`Plan::session_options`]; `progress`
/// is told what is being measured.
///
/// # Errors
/// If the session is too small.
pub fn measure(
    session: &mut Session<'_>,
    plan: &Plan,
    progress: &mut dyn FnMut(&str),
) -> Result<Times, Error> {
    let pixels = gradient();
    let frame = Frame::new(&pixels, PICTURE.0, PICTURE.1, PixelFormat::Rgb8)?;
    let prompt = session.prompt(PROMPT)?;
    let n_vocab = session.model().config().text.n_vocab;
    // Tokens from all over the vocabulary: nothing depends on what they mean.
    let ids: Vec<TokenId> = (0..plan.n_prefill).map(|i| (i * 7_919 % n_vocab) as TokenId).collect();
    let forced: Vec<TokenId> = (0..CAPTION_TOKENS).map(|i| (i * 5_953 % n_vocab) as TokenId).collect();

    let rounds = plan.rounds.max(1);
    let mut lap =
        |what: &str, times: usize, run: &mut dyn FnMut() -> Result<(), Error>| -> Result<f64, Error> {
            let mut taken = Vec::new();
            for round in 0..=rounds {
                progress(&alloc::format!("measuring {what} … {round} of {rounds}"));
                let mut clock = Clock::now();
                run()?;
                let ms = clock.lap_ms() / times as f64;
                // The first one brings weights and code in; with a single round it has to do.
                if round > 0 || rounds == 1 {
                    taken.push(ms);
                }
                if rounds == 1 {
                    break;
                }
            }
            Ok(median(taken))
        };
    let mut stages = session.stages();
    let image = lap("the picture", 1, &mut || Ok(stages.image(&frame)?))?;
    let vision = lap("vision", 1, &mut || {
        stages.vision();
        Ok(())
    })?;
    let prefill = lap("prefill", 1, &mut || Ok(stages.prefill(&ids)?))?;
    let token = lap("decoding", STEPS, &mut || {
        let mut id = ids[0];
        for i in 0..STEPS {
            id = stages.step(plan.depth + i, id)?;
        }
        Ok(())
    })?;
    let (mut first, mut caption) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        progress(&alloc::format!("measuring a caption … {round} of {rounds}"));
        // Tokens are forced, so a model that would stop at once or never takes as long as any other.
        let t = session.trace(&frame, &prompt, Some(&forced), &mut Unwatched)?.timing();
        first.push(t.image + t.vision + t.prefill);
        caption.push(t.total());
    }
    let (first_token, caption) = (median(first), median(caption));
    Ok(Times { image, vision, prefill, token, first_token, caption, prompt_tokens: prompt.ids().len() })
}

/// A picture with something different everywhere.
fn gradient() -> Vec<u8> {
    let (width, height) = PICTURE;
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        [x * 255 / width, y * 255 / height, (x + y) % 256].map(|v| v as u8)
    };
    (0..width * height).flat_map(pixel).collect()
}

/// Speeds that follow from the times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speeds {
    /// Of the vision tower, 10^9 multiplications a second.
    pub vision: f64,
    /// Of the prefix, 10^9 multiplications a second.
    pub prefill: f64,
    /// Of the prefix, tokens a second.
    pub prefill_tokens: f64,
    /// Of decoding, tokens a second.
    pub tokens: f64,
    /// Of decoding, 10^9 bytes of weights, keys and values a second.
    pub read: f64,
}

impl Speeds {
    /// The speeds of a session that was measured.
    pub fn of(times: &Times, plan: &Plan, session: &Session<'_>) -> Self {
        let c = session.model().config();
        let bytes = work::bytes_per_token(session.model().header(), plan.depth, session.kv());
        Speeds {
            vision: work::vision(&c.vision).total() as f64 / times.vision / 1e6,
            prefill: work::prefill(&c.text, plan.n_prefill).total() as f64 / times.prefill / 1e6,
            prefill_tokens: plan.n_prefill as f64 / times.prefill * 1e3,
            tokens: 1e3 / times.token,
            read: bytes as f64 / times.token / 1e6,
        }
    }
}
