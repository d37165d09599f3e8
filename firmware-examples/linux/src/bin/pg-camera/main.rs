//! Declares the modules until the daemon is there.
#![allow(dead_code)]

mod camera {
    pub(crate) mod motion;
    pub(crate) mod privacy;
    pub(crate) mod schedule;
    pub(crate) mod zone;
}

mod prompt;

fn main() {}

mod engine {
    pub(crate) mod bucket;
    pub(crate) mod dedupe;
    pub(crate) mod fair;
    pub(crate) mod heat;
}
