//! One file for each command: what it prints, and the order in which it does things.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod once;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schema;
