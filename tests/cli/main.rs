//! `pg-run` as users call it: what it prints, what it writes, and how it refuses.

mod answers;
mod arguments;
mod bad_files;
mod outputs;
mod run;
mod trace;
