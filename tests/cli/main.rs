//! `pg-run` as users call it: what it prints, what it writes, and how it refuses.

mod answers;
mod arguments;
mod bad_files;
mod bench;
mod outputs;
mod plan;
mod run;
mod trace;
