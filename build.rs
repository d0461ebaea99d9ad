//! How the module is linked: no other library in the host can reach into it, it reaches into none, and nothing of it runs at exit.

use std::env;
use std::fs;
use std::path::PathBuf;

/// Keeps the functions that run at exit out of the library. AWS-LC has one, which takes locks that a thread of a forked child's
/// parent may have held; the C runtime's own does nothing in a library that is never unmapped.
const NOTHING_AT_EXIT: &str = "\
SECTIONS { /DISCARD/ : { *(.fini_array .fini_array.* .dtors .dtors.*) } } INSERT AFTER .init_array;
";

/// AWS-LC's functions that `src/crypto/evp/threads.rs` replaces, and the replacements.
const REPLACED: [(&str, &str); 13] = [
    ("CRYPTO_MUTEX_init", "mutex_init"),
    ("CRYPTO_MUTEX_lock_read", "mutex_lock_read"),
    ("CRYPTO_MUTEX_lock_write", "mutex_lock_write"),
    ("CRYPTO_MUTEX_unlock_read", "mutex_unlock_read"),
    ("CRYPTO_MUTEX_unlock_write", "mutex_unlock_write"),
    ("CRYPTO_MUTEX_cleanup", "mutex_cleanup"),
    ("CRYPTO_STATIC_MUTEX_lock_read", "mutex_lock_read"),
    ("CRYPTO_STATIC_MUTEX_lock_write", "mutex_lock_write"),
    ("CRYPTO_STATIC_MUTEX_unlock_read", "mutex_unlock_read"),
    ("CRYPTO_STATIC_MUTEX_unlock_write", "mutex_unlock_write"),
    (
        "CRYPTO_STATIC_MUTEX_is_write_locked",
        "mutex_is_write_locked",
    ),
    ("CRYPTO_get_thread_local", "get_thread_local"),
    ("CRYPTO_set_thread_local", "set_thread_local"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AWS_LC_SYS_NO_JITTER_ENTROPY");
    if env::var("AWS_LC_SYS_NO_JITTER_ENTROPY").as_deref() != Ok("1") {
        println!(
            "cargo::error=AWS-LC would seed its generator under a lock that can hang a forked child: set AWS_LC_SYS_NO_JITTER_ENTROPY=1, \
             as .cargo/config.toml does when cargo runs in the project's folder"
        );
        return;
    }
    println!("cargo::rerun-if-env-changed=LIBSQLITE3_FLAGS");
    if !env::var("LIBSQLITE3_FLAGS").is_ok_and(|flags| flags.contains("SQLITE_MUTEX_NOOP=1")) {
        println!(
            "cargo::error=SQLite would use mutexes that can hang a forked child: set LIBSQLITE3_FLAGS as .cargo/config.toml does when \
             cargo runs in the project's folder"
        );
        return;
    }
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // The sanitizers' functions are in the program that a fuzz target is, not in the library that is linked beside it.
    let missing_symbols = if env::var_os("CARGO_CFG_FUZZING").is_some() {
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
        // Rust's standard library destroys thread-local values through this function where there is one. It takes the dynamic
        // linker's lock, which exit() in a forked child takes as well. Without it, values belong to a pthread key.
        "-Wl,--defsym=__cxa_thread_atexit_impl=0",
    ] {
        println!("cargo::rustc-cdylib-link-arg={arg}");
    }
    let script =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("nothing-at-exit.ld");
    fs::write(&script, NOTHING_AT_EXIT).expect("OUT_DIR is writable");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{}", script.display());
    // Programs with more rights than their caller do not believe the environment: src/env.rs.
    println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap=getenv");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--defsym=__wrap_getenv=mrhsm_getenv");
    for (original, ours) in REPLACED {
        let symbol = format!("{}{original}", aws_lc_prefix());
        println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap={symbol}");
        println!("cargo::rustc-cdylib-link-arg=-Wl,--defsym=__wrap_{symbol}=mrhsm_{ours}");
    }
}

/// What AWS-LC's symbols begin with: its library is called `aws_lc_0_47_0_crypto`, and its symbols `aws_lc_0_47_0_RAND_bytes`.
fn aws_lc_prefix() -> String {
    let library = env::vars()
        .find(|(name, _)| name.starts_with("DEP_AWS_LC_") && name.ends_with("_LIBCRYPTO"))
        .expect("aws-lc-sys says what its library is called")
        .1;
    library
        .strip_suffix("crypto")
        .unwrap_or_default()
        .to_string()
}
