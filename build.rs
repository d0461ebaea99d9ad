//! How the module is linked: so that no other library in the host can reach into it, and it into none.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // The sanitizers' functions are in the program that a fuzz target is, not in the library that is linked beside it.
    let missing_symbols = if std::env::var_os("CARGO_CFG_FUZZING").is_some() {
        "-Wl,-z,undefs"
    } else {
        "-Wl,-z,defs"
    };
    for arg in [
        // The function tables point at our own C_* functions, even where the host has another module's loaded globally.
        "-Wl,-Bsymbolic",
        // The name of the file: a module is opened by path and never linked to, so a version would only mislead ldconfig.
        "-Wl,-soname,libmrhsm_pkcs11.so",
        // The code stays mapped after dlclose: a thread may still be in a call, or own thread-local values of ours.
        "-Wl,-z,nodelete",
        // A missing symbol is found at build time, not by an application.
        missing_symbols,
        // The tables are read-only once loaded.
        "-Wl,-z,relro,-z,now",
    ] {
        println!("cargo::rustc-cdylib-link-arg={arg}");
    }
}
