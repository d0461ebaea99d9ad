//! Decodes recorded KMIP messages into their types, encodes them again and compares the bytes.
//!
//! `cargo run --example replay-vectors -- FILE...` takes the JSON of OASIS test cases (a list of cases, each with steps of
//! `request` and `response` in hexadecimal) or a text of one message in hexadecimal per line, after a name and a blank.

use std::process::ExitCode;

use mrhsm_pkcs11::error::{Error, Result};
use mrhsm_pkcs11::kmip::message::{RequestMessage, ResponseMessage};
use mrhsm_pkcs11::kmip::value_name;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::ttlv::{Item, Tag, dump_with};

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: replay-vectors FILE...");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed, mut compared, mut missing) = (0, 0, 0, 0);
    for file in &files {
        match cases(file) {
            Ok(cases) => {
                for case in cases {
                    compared += case.messages.len();
                    missing += case.missing;
                    match case.messages.iter().try_for_each(|hex| replay(hex)) {
                        Ok(()) => passed += 1,
                        Err(why) => {
                            failed += 1;
                            println!("{}: {why}", case.name);
                        }
                    }
                }
            }
            Err(why) => {
                failed += 1;
                println!("{file}: {why}");
            }
        }
    }
    println!("{compared} messages; {missing} more are missing in the recording, which says so");
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Messages that belong together.
struct Case {
    name: String,
    /// In hexadecimal.
    messages: Vec<String>,
    /// Messages that could not be recorded, each with a note that says why.
    missing: usize,
}

fn cases(file: &str) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::file("cannot read it", e))?;
    if text.trim_start().starts_with('[') {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|e| Error::input("this is not the JSON of test cases").because(e))?;
        return cases.iter().map(recorded_case).collect();
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let case = |line: &str| {
        let (name, hex) = line.rsplit_once(char::is_whitespace).unwrap_or(("message", line));
        Case { name: name.to_owned(), messages: vec![hex.to_owned()], missing: 0 }
    };
    Ok(lines.map(case).collect())
}

fn recorded_case(case: &serde_json::Value) -> Result<Case> {
    let name = case["case"].as_str().ok_or_else(|| Error::input("a case without a name"))?.to_owned();
    let (mut messages, mut missing) = (Vec::new(), 0);
    for step in case["steps"].as_array().ok_or_else(|| Error::input("a case without steps"))? {
        for (message, note) in [("request", "request_error"), ("response", "response_error")] {
            match step[message].as_str() {
                Some("") if step[note].is_string() => missing += 1,
                Some(hex) => messages.push(hex.to_owned()),
                None => return Err(Error::input(format!("{name}: a step without {message}"))),
            }
        }
    }
    Ok(Case { name, messages, missing })
}

fn replay(hex: &str) -> Result<()> {
    let bytes = unhex(hex)?;
    let again = again(&bytes)?;
    if again.expose() == bytes {
        return Ok(());
    }
    let shown = |bytes| dump_with(bytes, value_name);
    let (before, after) = (shown(&bytes), shown(again.expose()));
    let difference = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    Err(Error::protocol(match difference {
        Some((a, b)) => format!("encoded differently: '{}' became '{}'", a.trim(), b.trim()),
        None => format!("encoded differently: {} bytes became {}", bytes.len(), again.len()),
    }))
}

fn again(bytes: &[u8]) -> Result<Secret> {
    match Item::parse(bytes)?.tag {
        Tag::REQUEST_MESSAGE => RequestMessage::decode(bytes)?.encode(),
        _ => ResponseMessage::decode(bytes)?.encode(),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| Error::input("not hexadecimal"))
}
