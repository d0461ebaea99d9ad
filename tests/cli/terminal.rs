//! PINs typed at a terminal.

use super::support::{Home, Terminal};

fn init(home: &Home) -> Terminal {
    let mut command = home.command(["init", "-label", "demo"]);
    command.env_remove("MRHSM_SO_PIN_FILE");
    Terminal::new(command)
}

#[test]
fn a_new_pin_is_asked_for_twice_and_echoed_as_stars() {
    let home = Home::new();
    let mut terminal = init(&home);
    terminal.expect("Enter SO PIN (4-255 characters): ");
    terminal.expect_no_echo();
    terminal.send("seCret\r");
    terminal.expect("******\r\n");
    terminal.expect("Please reenter SO PIN: ");
    terminal.expect_no_echo();
    terminal.send("seCret\r");
    terminal.expect("******\r\n");
    let (code, rest) = terminal.end();
    assert_eq!(code, 0, "{rest}");
    assert!(terminal.echoes());
    home.write("so.pin", b"seCret", 0o600);
    home.mrhsm(["set", "-port", "5697"]).done();
}

#[test]
fn a_short_pin_and_a_mismatch_are_asked_for_again() {
    let home = Home::new();
    let mut terminal = init(&home);
    for (typed, again, answer) in [
        ("abc", None, "out of range"),
        ("abcd", Some("abce"), "do not match"),
        ("abcd", Some("abcd"), ""),
    ] {
        terminal.expect("Enter SO PIN (4-255 characters): ");
        terminal.expect_no_echo();
        terminal.send(&format!("{typed}\r"));
        if let Some(again) = again {
            terminal.expect("Please reenter SO PIN: ");
            terminal.expect_no_echo();
            terminal.send(&format!("{again}\r"));
        }
        terminal.expect(answer);
    }
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn backspace_edits() {
    let home = Home::new();
    let mut terminal = init(&home);
    for prompt in ["characters): ", "reenter SO PIN: "] {
        terminal.expect(prompt);
        terminal.expect_no_echo();
        terminal.send("abcX\x7fd\r");
    }
    assert_eq!(terminal.end().0, 0);
    home.write("so.pin", b"abcd", 0o600);
    home.mrhsm(["set", "-port", "5697"]).done();
}

#[test]
fn ctrl_c_and_ctrl_d_leave_the_terminal_and_the_directory_as_they_were() {
    for key in ["\x03", "\x04"] {
        for typed in ["", "abc"] {
            // rpassword ignores Ctrl-D after the first character, as a shell does.
            if (key, typed) == ("\x04", "abc") {
                continue;
            }
            let home = Home::new();
            let before = home.snapshot();
            let mut terminal = init(&home);
            terminal.expect("Enter SO PIN (4-255 characters): ");
            terminal.expect_no_echo();
            terminal.send(typed);
            terminal.send(key);
            let (code, rest) = terminal.end();
            assert_eq!(code, 130, "{rest}");
            assert!(terminal.echoes(), "the terminal is left without echo");
            assert!(rest.contains("nothing was changed"), "{rest}");
            assert_eq!(home.snapshot(), before);
        }
    }
}

#[test]
fn the_existing_pin_is_asked_for_once_and_a_wrong_one_refused() {
    let home = Home::with_token();
    let mut command = home.command(["set", "-port", "5697"]);
    command.env_remove("MRHSM_SO_PIN_FILE");
    let mut terminal = Terminal::new(command);
    terminal.expect("Enter SO PIN: ");
    terminal.expect_no_echo();
    terminal.send("wrong one\r");
    let (code, rest) = terminal.end();
    assert_eq!(code, 3, "{rest}");
    assert!(rest.contains("the SO PIN is wrong"), "{rest}");
}

#[test]
fn sopin_asks_for_old_and_new() {
    let home = Home::with_token();
    let mut command = home.command(["sopin"]);
    command.env_remove("MRHSM_SO_PIN_FILE");
    let mut terminal = Terminal::new(command);
    for (prompt, pin) in [
        ("Current SO PIN: ", super::support::SO_PIN),
        ("Enter new SO PIN (4-255 characters): ", "new-5678"),
        ("Please reenter new SO PIN: ", "new-5678"),
    ] {
        terminal.expect(prompt);
        terminal.expect_no_echo();
        terminal.send(&format!("{pin}\r"));
    }
    terminal.expect("New SO PIN is set successfully");
    assert_eq!(terminal.end().0, 0);
    home.mrhsm(["set", "-port", "5697"])
        .refused(3, "the SO PIN is wrong");
    home.write("so.pin", b"new-5678", 0o600);
    home.mrhsm(["set", "-port", "5697"]).done();
}
