//! What the shared library exports and how it is linked.

use std::collections::BTreeSet;

use mrhsm_pkcs11::ffi::FUNCTIONS;
use object::elf;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget};

use super::host::library_path;

fn with_library(look: impl FnOnce(&ElfFile64)) {
    let bytes = std::fs::read(library_path()).expect("cargo builds the .so beside the tests");
    look(&ElfFile64::parse(&*bytes).unwrap());
}

#[test]
fn exports_are_the_list_and_nothing_else() {
    with_library(|library| {
        let symbols = library
            .dynamic_symbols()
            .filter(|symbol| symbol.is_definition() && symbol.is_global());
        let exported: BTreeSet<&str> = symbols.map(|symbol| symbol.name().unwrap()).collect();
        let listed: BTreeSet<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        assert_eq!(exported, listed);
        assert_eq!(
            listed.len(),
            68 + 24,
            "the functions of 2.40, and those that 3.0 added"
        );
    });
}

#[test]
fn the_tables_point_at_our_functions_whatever_else_is_loaded() {
    with_library(|library| {
        let symbols = library.dynamic_symbol_table().unwrap();
        for (address, relocation) in library.dynamic_relocations().unwrap() {
            if let RelocationTarget::Symbol(index) = relocation.target() {
                let name = symbols.symbol_by_index(index).unwrap().name().unwrap();
                assert!(
                    !name.starts_with("C_"),
                    "{name} at {address:#x} can be replaced by another library's"
                );
            }
        }
    });
}

#[test]
fn it_is_linked_to_stay_loaded_and_to_fit_into_any_host() {
    with_library(|library| {
        let dynamic = library.elf_dynamic_table().unwrap();
        let find = |tag| dynamic.iter().find(|entry| entry.tag == tag);
        let flags = |tag| find(tag).map_or(0, |entry| entry.val);
        assert_ne!(flags(elf::DT_FLAGS) & elf::DF_SYMBOLIC.0, 0, "-Bsymbolic");
        assert_ne!(flags(elf::DT_FLAGS) & elf::DF_BIND_NOW.0, 0, "-z now");
        assert_eq!(
            flags(elf::DT_FLAGS) & elf::DF_STATIC_TLS.0,
            0,
            "a host may have no room left for static TLS"
        );
        assert_ne!(
            flags(elf::DT_FLAGS_1) & elf::DF_1_NODELETE.0,
            0,
            "-z nodelete"
        );
        let name = dynamic
            .string(find(elf::DT_SONAME).expect("a soname"))
            .unwrap();
        assert_eq!(name, b"libmrhsm_pkcs11.so");
        for entry in dynamic.iter().filter(|entry| entry.tag == elf::DT_NEEDED) {
            let library = String::from_utf8_lossy(dynamic.string(entry).unwrap()).into_owned();
            let system = [
                "libc.so",
                "libgcc_s.so",
                "libm.so",
                "ld-linux",
                "libpthread.so",
                "libdl.so",
            ];
            assert!(
                system.iter().any(|known| library.starts_with(known)),
                "{library} is needed"
            );
        }
    });
}

/// Names of the functions that the library imports.
fn imports(library: &ElfFile64) -> BTreeSet<String> {
    let symbols = library.dynamic_symbols();
    let undefined = symbols.filter(|symbol| symbol.is_undefined());
    undefined
        .map(|symbol| symbol.name().unwrap().to_string())
        .collect()
}

#[test]
fn nothing_of_it_runs_at_exit_or_at_a_fork() {
    with_library(|library| {
        let dynamic = library.elf_dynamic_table().unwrap();
        assert!(
            dynamic
                .iter()
                .all(|entry| entry.tag != elf::DT_FINI_ARRAY || entry.val == 0),
            "functions in .fini_array run in exit()"
        );
        let fini = library.section_by_name(".fini").unwrap();
        assert!(
            fini.size() < 32,
            "_fini is the C runtime's, which only returns"
        );
        let imported = imports(library);
        // src/env.rs
        assert!(!imported.contains("getenv") && imported.contains("secure_getenv"));
        for function in [
            "atexit",
            "at_quick_exit",
            "on_exit",
            "__cxa_atexit",
            "__cxa_at_quick_exit",
            "__cxa_thread_atexit",
            "__cxa_thread_atexit_impl",
            "pthread_atfork",
            "__register_atfork",
        ] {
            assert!(!imported.contains(function), "{function} is imported");
        }
    });
}

#[test]
fn it_takes_no_lock_that_a_fork_leaves_held() {
    with_library(|library| {
        // glibc's `pthread_once` begins again in a child.
        let locks = ["pthread_rwlock_", "pthread_mutex_", "pthread_spin_", "sem_"];
        for function in imports(library) {
            assert!(
                !locks.iter().any(|lock| function.starts_with(lock)),
                "{function} is imported: AWS-LC's locks are replaced by those of crypto/evp/threads.rs"
            );
        }
        let jitter = library
            .symbols()
            .filter_map(|symbol| symbol.name().ok())
            .find(|name| name.contains("jent_"));
        assert_eq!(jitter, None, "AWS-LC seeds itself from the kernel");
    });
}
