//! `pg-camera` as users and service managers see it: its commands, its events, its life and end.

mod commands;
mod daemon;
mod life;
mod snapshots;
