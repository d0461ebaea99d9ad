//! What the documents show is what the code reads and writes.

use std::path::Path;

use mrhsm_pkcs11::config::Config;

#[test]
fn the_example_configuration_is_what_mrhsm_writes() {
    let example = include_str!("../conf/mrhsm.conf.example");
    let config = Config::parse(example, Path::new("conf/mrhsm.conf.example")).unwrap();
    let written = config.to_text();
    for (written, shown) in written.lines().zip(example.lines()) {
        assert_eq!(written, shown);
    }
    assert_eq!(written.len(), example.len());
}

#[test]
fn every_dependency_is_accounted_for() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let document = include_str!("../docs/DEPENDENCIES.md");
    let rows: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .collect();
    // What the packages name is taken from here.
    for name in manifest["workspace"]["dependencies"]
        .as_table()
        .unwrap()
        .keys()
    {
        let listed = rows
            .iter()
            .any(|row| row.split(", ").any(|word| word == name));
        assert!(
            listed,
            "{name} is in Cargo.toml, but not in docs/DEPENDENCIES.md"
        );
    }
}

/// The module has no asynchronous runtime, nor what is only for PostgreSQL.
#[test]
fn the_module_does_not_depend_on_the_databases_of_the_command() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "mrhsm-pkcs11",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("rusqlite") && !tree.contains("tokio") && !tree.contains("parking_lot"));
}

/// The tests that SECURITY.md names, which are the words in code spans that only a function's name looks like.
#[test]
fn every_test_that_security_md_names_exists() {
    let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut code = String::new();
    for folder in ["src", "tests"] {
        read_code(&sources.join(folder), &mut code);
    }
    let settings = ["key_cache_millis", "max_pin_failures", "settings_version"];
    let document = include_str!("../SECURITY.md");
    let named: Vec<&str> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.contains('_') && !settings.contains(span))
        .filter(|span| span.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()))
        .collect();
    assert!(named.len() > 50, "{named:?}");
    for name in named {
        assert!(
            code.contains(&format!("fn {name}()")),
            "SECURITY.md names the test {name}, which does not exist"
        );
    }
}

fn read_code(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_code(&path, code);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            code.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
