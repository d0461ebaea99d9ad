//! What the documents show is what the code reads and writes.

use std::path::Path;

use mrhsm_pkcs11::config::Config;

#[test]
fn the_example_configuration_is_what_mrhsm_writes() {
    let example = include_str!("../conf/mrhsm.conf.example");
    let config = Config::parse(example, Path::new("conf/mrhsm.conf.example")).unwrap();
    assert_eq!(config.to_text(), example);
}
