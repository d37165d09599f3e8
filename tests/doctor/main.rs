//! `pg-run doctor` on trees of boards, and the table of boards in `targets/boards/README.md`.

mod boards;
mod trees;
