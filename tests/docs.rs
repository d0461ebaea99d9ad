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
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().unwrap().keys() {
            let listed = rows
                .iter()
                .any(|row| row.split(", ").any(|word| word == name));
            assert!(
                listed,
                "{name} is in Cargo.toml, but not in docs/DEPENDENCIES.md"
            );
        }
    }
}
