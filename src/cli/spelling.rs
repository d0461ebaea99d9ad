//! Long options with one dash, `-label x`, as this command's users have always typed them.
//!
//! clap knows only `--label`. So the arguments are respelled before clap sees them, and what clap writes (help, errors,
//! completions) is respelled after. Both spellings are accepted; one is shown.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Command;

/// Respells `-name` as `--name`, and `-name -value` as `--name=-value` where the option takes a value.
///
/// A value is never respelled: after an option that needs one, only a word that is itself an option's exact spelling is
/// not taken for the value.
pub fn with_two_dashes(root: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let mut command = root;
    let mut out = Vec::with_capacity(words.len());
    let mut words = words.into_iter().peekable();
    out.extend(words.next());
    while let Some(word) = words.next() {
        if word == "--" {
            out.push(word);
            out.extend(words);
            break;
        }
        let Some(name) = long_name(&word) else {
            if !word.as_bytes().starts_with(b"-")
                && let Some(sub) = word.to_str().and_then(|w| command.find_subcommand(w))
            {
                command = sub;
            }
            out.push(word);
            continue;
        };
        let mut respelled = OsString::from("--");
        respelled.push(name);
        if takes_value(root, command, name)
            && let Some(next) = words.peek()
            && next.as_bytes().starts_with(b"-")
            && next != "--"
            && !long_name(next).is_some_and(|n| is_option(root, command, n))
        {
            respelled.push("=");
            respelled.push(words.next().unwrap_or_default());
        }
        out.push(respelled);
    }
    out
}

/// `--name` as `-name` in a text that clap wrote; the columns of its lists stay.
pub fn with_one_dash(text: &str) -> String {
    text.split_inclusive('\n').map(line_with_one_dash).collect()
}

fn line_with_one_dash(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let listed = line.starts_with("  ") && line.trim_start().starts_with('-');
    let mut shortened = 0;
    let mut before = ' ';
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let starts_word = !before.is_alphanumeric() && before != '-';
        if starts_word
            && rest
                .strip_prefix("--")
                .and_then(|r| r.chars().next())
                .is_some_and(|letter| letter.is_ascii_alphabetic())
        {
            rest = &rest[1..];
            shortened += 1;
        }
        // The gap between an option and its explanation takes up what the option lost.
        if listed && shortened > 0 && before != ' ' && rest.starts_with("  ") {
            out.extend(std::iter::repeat_n(' ', std::mem::take(&mut shortened)));
        }
        out.push(c);
        before = c;
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The name in `-name`, `--name` or either with `=value`: two letters at least, so that `-h`, `-1` and `-` are left alone.
fn long_name(word: &OsStr) -> Option<&OsStr> {
    let bytes = word.as_bytes();
    let name = bytes
        .strip_prefix(b"--")
        .or_else(|| bytes.strip_prefix(b"-"))?;
    let two_letters = name.len() > 1 && name[0].is_ascii_alphabetic();
    two_letters.then(|| OsStr::from_bytes(name))
}

fn find<'a>(root: &'a Command, command: &'a Command, name: &OsStr) -> Option<&'a clap::Arg> {
    let name = name.to_str()?;
    command
        .get_arguments()
        .chain(root.get_arguments())
        .find(|a| a.get_long() == Some(name))
}

fn is_option(root: &Command, command: &Command, name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let end = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
    let name = OsStr::from_bytes(&bytes[..end]);
    name == "help" || name == "version" || find(root, command, name).is_some()
}

fn takes_value(root: &Command, command: &Command, name: &OsStr) -> bool {
    find(root, command, name).is_some_and(|a| a.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn respelled(line: &str) -> String {
        let command = Command::new("mrhsm")
            .arg(
                Arg::new("json")
                    .long("json")
                    .action(clap::ArgAction::SetTrue)
                    .global(true),
            )
            .subcommand(
                Command::new("init")
                    .arg(Arg::new("label").long("label"))
                    .arg(Arg::new("sopin").long("sopin")),
            );
        let words = line.split(' ').map(OsString::from).collect();
        with_two_dashes(&command, words)
            .into_iter()
            .map(|w| w.into_string().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn one_dash_and_two_are_the_same() {
        assert_eq!(
            respelled("mrhsm init -label x --sopin y -json"),
            "mrhsm init --label x --sopin y --json"
        );
        assert_eq!(respelled("mrhsm init -label=x"), "mrhsm init --label=x");
    }

    #[test]
    fn values_keep_their_dashes() {
        assert_eq!(respelled("mrhsm init -label -1"), "mrhsm init --label=-1");
        assert_eq!(
            respelled("mrhsm init -sopin -secret -label x"),
            "mrhsm init --sopin=-secret --label x"
        );
        assert_eq!(
            respelled("mrhsm init -sopin --secret"),
            "mrhsm init --sopin=--secret"
        );
        assert_eq!(
            respelled("mrhsm init -sopin init -label x"),
            "mrhsm init --sopin init --label x"
        );
    }

    #[test]
    fn an_option_is_never_taken_for_a_value() {
        assert_eq!(
            respelled("mrhsm init -sopin -label x"),
            "mrhsm init --sopin --label x"
        );
        assert_eq!(
            respelled("mrhsm init -sopin -help"),
            "mrhsm init --sopin --help"
        );
    }

    #[test]
    fn short_options_numbers_and_the_rest_stay() {
        assert_eq!(respelled("mrhsm -h"), "mrhsm -h");
        assert_eq!(respelled("mrhsm init -1 - -V"), "mrhsm init -1 - -V");
        assert_eq!(respelled("mrhsm init -- -label"), "mrhsm init -- -label");
    }

    #[test]
    fn misspelt_options_reach_clap_as_long_ones() {
        assert_eq!(respelled("mrhsm init -labl x"), "mrhsm init --labl x");
    }

    #[test]
    fn clap_s_texts_show_one_dash() {
        assert_eq!(
            with_one_dash("use '--label <L>' [--ip <IP>]\n      --port"),
            "use '-label <L>' [-ip <IP>]\n      -port"
        );
        assert_eq!(
            with_one_dash("  -h, --help   Print\n      --ip <IP>  Use --port\n"),
            "  -h, -help    Print\n      -ip <IP>   Use -port\n"
        );
        assert_eq!(
            with_one_dash("a -- b --- c x--y \u{e9}--help"),
            "a -- b --- c x--y \u{e9}--help"
        );
    }
}
