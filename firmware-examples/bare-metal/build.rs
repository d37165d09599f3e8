//! Passes the linker script, and refuses to build a program without its model and picture.

use std::env;
use std::path::Path;
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is");
    println!("cargo::rustc-link-arg-bins=-T{folder}/kernel.ld");
    // Only the board's program holds them; `examples/host.rs` reads files.
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("aarch64") {
        return;
    }
    for (variable, what) in [("PG_MODEL", "a model file"), ("PG_PICTURE", "a binary PPM picture (P6)")] {
        println!("cargo::rerun-if-env-changed={variable}");
        let path = env::var(variable).unwrap_or_default();
        if !Path::new(&path).is_file() {
            eprintln!(
                "{variable} must name {what}, found {path:?}; firmware-examples/bare-metal/run sets both"
            );
            exit(1);
        }
        println!("cargo::rerun-if-changed={path}");
        println!("cargo::rustc-env={variable}={path}");
    }
}
