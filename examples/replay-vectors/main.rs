//! Recorded KMIP messages played again: through the codec, and conversations also with the embedded server.
//!
//! `cargo run --example replay-vectors -- FILE|FOLDER... [-only CASE]` takes three forms:
//!
//! * the JSON of OASIS test cases, a list of cases, each with steps of `request` and `response` in
//!   hexadecimal: every message is decoded into its types and encoded again, and the bytes must be
//!   the same; every case is held as a conversation with a new server, and the answers must be the
//!   recorded ones, but for what a server chooses;
//! * a text of one message in hexadecimal per line, after a name and a blank: only the first;
//! * a folder of OASIS test cases in XML: each item of the answers must have the recorded Result
//!   Status and Result Reason.

mod answers;
mod known;
mod scripted;
mod server;
mod xml;

use std::path::Path;
use std::process::ExitCode;

use mrhsm_pkcs11::error::{Error, Result};
use mrhsm_pkcs11::kmip::message::{RequestMessage, ResponseMessage};
use mrhsm_pkcs11::kmip::value_name;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::ttlv::{Item, Tag, dump_with};

use server::{Step, Verdict};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (files, only) = match words.iter().position(|word| word == "-only") {
        Some(at) => (&words[..at], words.get(at + 1)),
        None => (&words[..], None),
    };
    if files.is_empty() {
        eprintln!("usage: replay-vectors FILE|FOLDER... [-only CASE]");
        return ExitCode::from(2);
    }
    let (folders, files): (Vec<&String>, Vec<&String>) =
        files.iter().partition(|file| Path::new(file).is_dir());
    let scripted = folders
        .iter()
        .all(|folder| by_status(Path::new(folder), only.map(String::as_str)));
    if files.is_empty() {
        return match scripted {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    let mut cases = Vec::new();
    for file in files {
        match read(file) {
            Ok(read) => cases.extend(read),
            Err(why) => {
                eprintln!("{file}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    cases.retain(|case| only.is_none_or(|only| case.name.contains(only)));
    let codec = through_the_codec(&cases);
    let conversations = with_the_server(&cases);
    if codec && conversations && scripted && !cases.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// True when every case of a folder goes as recorded, by the status and reason of each item, or is
/// explained.
fn by_status(folder: &Path, only: Option<&str>) -> bool {
    let all = match scripted::cases(folder) {
        Ok(cases) => cases,
        Err(why) => {
            println!("{}: {why}", folder.display());
            return false;
        }
    };
    let chosen = |(name, _): &&(String, String)| only.is_none_or(|only| name.contains(only));
    let cases: Vec<&(String, String)> = all.iter().filter(chosen).collect();
    let (mut same, mut explained, mut failed) = (0, 0, 0);
    for (name, text) in &cases {
        let before = known::beginning(name).and_then(|first| {
            let version = name.split('/').next().unwrap_or_default();
            let is_first = |(name, _): &&(String, String)| {
                name.starts_with(version) && known::behind_version(name).starts_with(&first)
            };
            all.iter().find(is_first).map(|(_, text)| text.as_str())
        });
        let line = match scripted::replay(name, before, text) {
            Ok(None) => {
                same += 1;
                continue;
            }
            Ok(Some(line)) => line,
            Err(why) => why.to_string(),
        };
        match known::other_status(name) {
            Some(why) => {
                explained += 1;
                println!("{name}: {why}");
            }
            None => {
                failed += 1;
                println!("{name}: {line}");
            }
        }
    }
    println!(
        "Status: {same} of {} cases as recorded, {explained} differ for a reason that is listed, \
         {failed} failed",
        cases.len()
    );
    failed == 0 && !cases.is_empty()
}

/// True when every message survives.
fn through_the_codec(cases: &[Case]) -> bool {
    let (mut compared, mut failed) = (0, 0);
    for case in cases {
        let mut messages = case
            .steps
            .iter()
            .flat_map(|step| [&step.request, &step.response])
            .flatten();
        compared += messages.clone().count();
        if let Err(why) = messages.try_for_each(|message| again_the_same(message)) {
            failed += 1;
            println!("{}: {why}", case.name);
        }
    }
    let missing: usize = case_steps(cases)
        .map(|step| {
            [&step.request, &step.response]
                .into_iter()
                .filter(|m| m.is_none())
                .count()
        })
        .sum();
    println!(
        "Codec: {compared} messages of {} cases; {missing} more are missing in the recording, which says so",
        cases.len()
    );
    // The form in which `scripts/test` counts.
    println!("{} passed, {failed} failed", cases.len() - failed);
    failed == 0
}

fn case_steps(cases: &[Case]) -> impl Iterator<Item = &Step> {
    cases
        .iter()
        .filter(|case| case.is_conversation)
        .flat_map(|case| &case.steps)
}

/// True when every conversation goes as it went, or is explained.
fn with_the_server(cases: &[Case]) -> bool {
    if !cases.iter().any(|case| case.is_conversation) {
        return true;
    }
    let (mut same, mut explained, mut failed) = (0, 0, 0);
    for case in cases.iter().filter(|case| case.is_conversation) {
        // Some cases go on where another ended.
        let first = known::beginning(&case.name)
            .and_then(|first| cases.iter().find(|other| other.name.contains(&first)));
        let before = first.map_or(&[][..], |first| &first.steps);
        match server::replay(&case.name, before, &case.steps) {
            Ok(Verdict::Same) => same += 1,
            Ok(Verdict::Explained(reasons)) => {
                explained += 1;
                println!("{}: {}", case.name, reasons.join("; "));
            }
            Ok(Verdict::Differs(at, lines)) => {
                failed += 1;
                println!("{}: step {at} of {}", case.name, case.steps.len());
                lines.iter().for_each(|line| println!("    {line}"));
            }
            Err(why) => {
                failed += 1;
                println!("{}: {why}", case.name);
            }
        }
    }
    println!(
        "Server: {same} cases as recorded, {explained} differ for a reason that is listed, {failed} failed"
    );
    failed == 0
}

/// Messages that belong together.
struct Case {
    name: String,
    steps: Vec<Step>,
    /// Requests with their answers; else single messages.
    is_conversation: bool,
}

fn read(file: &str) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::file("cannot read it", e))?;
    if text.trim_start().starts_with('[') {
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text)
            .map_err(|e| Error::input("this is not the JSON of test cases").because(e))?;
        return cases.iter().map(recorded_case).collect();
    }
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let case = |line: &str| {
        let (name, hex) = line
            .rsplit_once(char::is_whitespace)
            .unwrap_or(("message", line));
        let step = Step {
            request: Some(unhex(hex)?),
            response: None,
        };
        Ok(Case {
            name: name.to_owned(),
            steps: vec![step],
            is_conversation: false,
        })
    };
    lines.map(case).collect()
}

fn recorded_case(case: &serde_json::Value) -> Result<Case> {
    let name = case["case"]
        .as_str()
        .ok_or_else(|| Error::input("a case without a name"))?
        .to_owned();
    let steps = case["steps"]
        .as_array()
        .ok_or_else(|| Error::input("a case without steps"))?;
    let message = |step: &serde_json::Value, which: &str, note: &str| match step[which].as_str() {
        Some("") if step[note].is_string() => Ok(None),
        Some(hex) => unhex(hex).map(Some),
        None => Err(Error::input(format!("{name}: a step without {which}"))),
    };
    let step = |step| {
        let (request, response) = (
            message(step, "request", "request_error")?,
            message(step, "response", "response_error")?,
        );
        Ok(Step { request, response })
    };
    let steps = steps.iter().map(step).collect::<Result<_>>()?;
    Ok(Case {
        name,
        steps,
        is_conversation: true,
    })
}

fn again_the_same(bytes: &[u8]) -> Result<()> {
    let again = again(bytes)?;
    if again.expose() == bytes {
        return Ok(());
    }
    let shown = |bytes| dump_with(bytes, value_name);
    let (before, after) = (shown(bytes), shown(again.expose()));
    let difference = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    Err(Error::protocol(match difference {
        Some((a, b)) => format!("encoded differently: '{}' became '{}'", a.trim(), b.trim()),
        None => format!(
            "encoded differently: {} bytes became {}",
            bytes.len(),
            again.len()
        ),
    }))
}

fn again(bytes: &[u8]) -> Result<Secret> {
    match Item::parse(bytes)?.tag {
        Tag::REQUEST_MESSAGE => RequestMessage::decode(bytes)?.encode(),
        _ => ResponseMessage::decode(bytes)?.encode(),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| {
        (byte as char)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| Error::input("not hexadecimal"))
}
