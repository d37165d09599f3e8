//! What the compiler does not check about the sources: ranks of rooms, unsafe code, names, hot paths, dependencies.

mod dependencies;
mod layout;
mod ranks;
mod source;
mod unsafe_code;
