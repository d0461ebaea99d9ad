//! How the command is linked: it does not believe the environment of a caller with fewer rights (`src/env.rs` of the library).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=getenv");
    println!("cargo::rustc-link-arg-bins=-Wl,--defsym=__wrap_getenv=mrhsm_getenv");
}
