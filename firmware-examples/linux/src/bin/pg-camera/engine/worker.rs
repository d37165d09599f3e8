//! What the inference thread does: choose, look, answer, report. Allocates nothing.

use super::dedupe::Labels;
use super::reply::Finished;
use super::report::{Outcome, Report};
use super::{Question, Request, Shared};
use crate::camera::{Camera, Taken};
use crate::event::Kind;
use pg_runtime::{Event, Model, Session, SessionOptions, Timing};
use pg_targets::camera::FrameBuffer;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// How long the thread sleeps at most, so that clocks and settings that nobody tells it of take effect.
const NAP: Duration = Duration::from_millis(500);

/// How the session is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Threads that compute.
    pub(crate) threads: usize,
    pub(crate) kernels: Option<String>,
    pub(crate) max_prompt_tokens: usize,
    pub(crate) max_new_tokens: usize,
    pub(crate) max_side: usize,
    /// Requests that may wait.
    pub(crate) max_queue: usize,
}

impl Options {
    /// As the runtime takes them.
    pub(crate) fn session(&self) -> SessionOptions {
        SessionOptions {
            kernels: self.kernels.clone(),
            threads: self.threads,
            max_prompt_tokens: self.max_prompt_tokens,
            max_new_tokens: self.max_new_tokens,
            max_side: self.max_side,
            kv: None,
        }
    }
}

pub(super) fn session(model: &'static Model, options: &Options) -> Result<Session<'static>, String> {
    Session::new(model, options.session()).map_err(|e| e.to_string())
}

pub(super) fn spawn(
    session: Session<'static>,
    shared: Arc<Shared>,
    options: &Options,
) -> Result<JoinHandle<()>, String> {
    let worker = Worker {
        embedding: vec![0.0; session.model().config().vision.d_model],
        labels: Labels::new(),
        session,
        shared,
        frame: FrameBuffer::default(),
        turn: 0,
        max_side: options.max_side,
    };
    thread::Builder::new()
        .name("pg-inference".into())
        .spawn(move || worker.run())
        .map_err(|e| format!("the system refuses a thread: {e}"))
}

struct Worker {
    session: Session<'static>,
    shared: Arc<Shared>,
    /// The picture being looked at.
    frame: FrameBuffer,
    /// Its embedding, `[d_vision]`.
    embedding: Vec<f32>,
    /// The labels found in it.
    labels: Labels,
    /// Whose turn it is: cameras by number, then requests.
    turn: usize,
    max_side: usize,
}

/// What to do next.
enum Work {
    Request(Request),
    Camera(Arc<Camera>, Taken),
    Stop,
}

impl Worker {
    fn run(mut self) {
        loop {
            self.shared.is_busy.store(false, Ordering::Relaxed);
            match self.wait() {
                Work::Stop => break,
                Work::Request(request) => self.answer(request),
                Work::Camera(camera, taken) => self.watch(&camera, taken),
            }
        }
        let mut state = self.shared.state();
        while let Some(request) = state.waiting.pop_front() {
            request.reply.finish(Finished::Cancelled);
        }
    }

    /// Sleeps until there is something to do. Cameras and requests take turns.
    fn wait(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.state();
        loop {
            if state.stop {
                return Work::Stop;
            }
            let now = Instant::now();
            let pace = shared.pace_percent.load(Ordering::Relaxed);
            let cameras = shared.roster.cameras();
            let n = cameras.len() + 1;
            let mut nap = NAP;
            for turn in (self.turn..self.turn + n).map(|turn| turn % n) {
                let Some(camera) = cameras.get(turn) else {
                    if pace > 0
                        && let Some(request) = state.waiting.pop_front()
                    {
                        self.turn = turn + 1;
                        shared.is_busy.store(true, Ordering::Relaxed);
                        return Work::Request(request);
                    }
                    continue;
                };
                match camera.ready_in(now, pace) {
                    Some(Duration::ZERO) => {
                        if let Some(taken) = camera.take(now, &mut self.frame) {
                            self.turn = turn + 1;
                            shared.is_busy.store(true, Ordering::Relaxed);
                            return Work::Camera(camera.clone(), taken);
                        }
                    }
                    Some(later) => nap = nap.min(later),
                    None => {}
                }
            }
            // Nobody waits longer for an answer than it was said to.
            while let Some(i) = state.waiting.iter().position(|r| r.deadline <= now) {
                if let Some(request) = state.waiting.remove(i) {
                    request.reply.finish(Finished::TooLate);
                    state.done.push(request);
                }
            }
            if !state.woken {
                state = match shared.wake.wait_timeout(state, nap) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
            state.woken = false;
        }
    }

    /// Serves a request.
    fn answer(&mut self, request: Request) {
        let begun = Instant::now();
        let how = if request.reply.is_cancelled() {
            Finished::Cancelled
        } else if request.deadline <= begun {
            Finished::TooLate
        } else {
            self.session.use_threads(self.shared.threads.load(Ordering::Relaxed));
            self.questions(&request)
        };
        request.reply.finish(how);
        if how == Finished::Done {
            let ms = begun.elapsed().as_millis() as usize;
            let typical = self.shared.typical_ms.load(Ordering::Relaxed);
            let smoothed = if typical == 0 { ms } else { (3 * typical + ms) / 4 };
            self.shared.typical_ms.store(smoothed, Ordering::Relaxed);
        }
        self.shared.state().done.push(request);
    }

    fn questions(&mut self, request: &Request) -> Finished {
        let shared = &self.shared;
        let go_on = || {
            if request.reply.is_cancelled() || shared.is_stopping() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let looking = match self.session.look(&request.picture.frame(), |_| go_on()) {
            Ok(Some(look)) => look.timing(),
            Ok(None) => return Finished::Cancelled,
            Err(_) => return Finished::Refused,
        };
        for (i, question) in request.questions.iter().enumerate() {
            let mut n_tokens = 0;
            let answer = self.session.answer(&question.prompt, |event| {
                if let Event::Token(so_far) = event {
                    request.reply.say(i, &so_far);
                    n_tokens += 1;
                    if n_tokens == request.max_new_tokens {
                        return ControlFlow::Break(());
                    }
                }
                go_on()
            });
            let Ok(answer) = answer else { return Finished::Refused };
            if go_on().is_break() {
                return Finished::Cancelled;
            }
            request.reply.whole(i, &answer, looking);
        }
        Finished::Done
    }

    /// Looks at a camera's picture and reports.
    fn watch(&mut self, camera: &Arc<Camera>, taken: Taken) {
        let shared = self.shared.clone();
        let shared = &*shared;
        self.session.use_threads(self.shared.threads.load(Ordering::Relaxed));
        let questions = camera.questions();
        let (width, height) = (self.frame.width(), self.frame.height());
        let mut about = About {
            camera,
            taken,
            questions: &questions,
            size: [width, height],
            wall: self.frame.wall(),
            has_sent: false,
        };
        if width.max(height) > self.max_side {
            about.send(shared, &mut self.frame, Outcome::TooLarge, true, |_| ());
            return;
        }
        let go_on = || {
            if camera.is_wanted() && !shared.is_stopping() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let Ok(Some(look)) = self.session.look(&self.frame.frame(), |_| go_on()) else { return };
        let looking = look.timing();
        self.embedding.copy_from_slice(look.embedding());
        self.labels.clear();
        let now = Instant::now();
        // Objects first: they are found sooner, and decide whether the rest is worth it.
        let is_search = |i: &usize| Kind::of_prompt(&questions[*i].text) == Kind::Detect;
        let n = questions.len();
        let n_searches = (0..n).filter(is_search).count();
        let order = (0..n).filter(is_search).chain((0..n).filter(|i| !is_search(i)));
        for (done, i) in order.enumerate() {
            let is_told = done == n_searches && !taken.is_forced;
            if is_told && camera.is_unchanged(&self.embedding, &self.labels, now) {
                about.send(shared, &mut self.frame, Outcome::Unchanged, true, |_| ());
                return;
            }
            let question = &questions[i];
            shared.live.begin(&camera.name, &question.text);
            // A camera that was switched off may be on again by now: what was broken off stays so.
            let mut is_broken_off = false;
            let answer = self.session.answer(&question.prompt, |event| {
                if let Event::Token(so_far) = event {
                    shared.live.say(so_far.text());
                }
                is_broken_off |= go_on().is_break();
                if is_broken_off { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let Ok(answer) = answer else { return };
            if is_broken_off || go_on().is_break() {
                return;
            }
            if is_search(&i) {
                let found = answer.objects().iter().filter(|o| o.score >= question.min_score);
                found.for_each(|o| self.labels.add(answer.label(o)));
            }
            about.send(shared, &mut self.frame, Outcome::Answer(i), done + 1 == n, |report| {
                report.said.set(&answer);
                let t = &mut report.said.timing;
                *t = Timing { image: looking.image, vision: looking.vision, ..*t };
            });
        }
        camera.was_told(&self.embedding, &self.labels, now);
    }
}

/// The picture that reports are about.
struct About<'a> {
    camera: &'a Arc<Camera>,
    taken: Taken,
    questions: &'a Arc<Vec<Question>>,
    size: [usize; 2],
    wall: SystemTime,
    has_sent: bool,
}

impl About<'_> {
    /// Sends a report, the first with the picture, for which another buffer is left: once looked at, a picture is not needed
    /// here. Nothing is sent if there is no report left, which is counted.
    fn send(
        &mut self,
        shared: &Shared,
        frame: &mut FrameBuffer,
        outcome: Outcome,
        is_last: bool,
        fill: impl FnOnce(&mut Report),
    ) {
        let Some(mut report) = shared.reports.take() else { return };
        report.camera = Some(self.camera.clone());
        report.questions = Some(self.questions.clone());
        report.outcome = outcome;
        report.is_last = is_last;
        report.incident = self.taken.incident;
        report.frame_seq = self.taken.seq;
        report.dropped = self.taken.dropped;
        report.age_ms = self.taken.age.as_secs_f64() * 1000.0;
        [report.width, report.height] = self.size;
        report.wall = self.wall;
        if !self.has_sent {
            shared.reports.attach(&mut report, frame);
            self.has_sent = true;
        }
        fill(&mut report);
        shared.reports.send(report);
    }
}
