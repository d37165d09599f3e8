//! Outputs of this machine: standard output, files, displays. Each reads the event log at its own pace.

pub(crate) mod display;
pub(crate) mod lines;
pub(crate) mod snapshots;
