//! Programs with more rights than their caller: the module does not believe the environment that the caller chose.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mrhsm_pkcs11::token::files::TokenDir;

use super::host::library_path;

/// A program in C: loads the module and prints its effective user, `AT_SECURE`, and the labels of the tokens it finds.
const PROGRAM: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

typedef unsigned long ck;
struct token { char label[32], rest[512]; };

int main(int argc, char **argv) {
  printf("user %u secure %lu\n", geteuid(), getauxval(AT_SECURE));
  void *module = dlopen(argv[1], RTLD_NOW);
  if (!module) { printf("%s\n", dlerror()); return 1; }
  ck (*initialize)(void *) = dlsym(module, "C_Initialize");
  ck (*list)(char, ck *, ck *) = dlsym(module, "C_GetSlotList");
  ck (*info)(ck, struct token *) = dlsym(module, "C_GetTokenInfo");
  ck slots[64], count = 64, rv = initialize(0);
  printf("C_Initialize %lx\n", rv);
  if (rv == 0 && list(1, slots, &count) == 0)
    for (ck i = 0; i < count; i++) {
      struct token token;
      memset(&token, 0, sizeof token);
      if (info(slots[i], &token) == 0) printf("token %.32s\n", token.label);
    }
  return 0;
}
"#;

/// What the program at `path` prints, started by `user` with an environment that asks for a log and a token directory.
fn run(path: &Path, user: u32, log: &Path, tokens: &Path) -> String {
    let mut command = Command::new(path);
    command
        .arg(path.with_file_name("libmrhsm_pkcs11.so"))
        .env("MRHSM_LOG", "debug")
        .env("MRHSM_LOG_FILE", log)
        .env("MRHSM_TOKEN_DIR", tokens)
        .env("MAPR_HOME", tokens)
        .env("HOME", tokens)
        .uid(user)
        .gid(user);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_set_user_id_program_does_not_believe_its_callers_environment() {
    // SAFETY: no arguments, no failure.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can make such a program; src/env.rs tests the rest.
        return;
    }
    // Not below the build directory: the caller must reach it.
    let directory = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("program.c"), PROGRAM).unwrap();
    let compiled = Command::new("cc")
        .arg("-o")
        .args([path("program"), path("program.c")])
        .arg("-ldl")
        .status();
    assert!(compiled.expect("a C compiler").success());
    fs::copy(library_path(), path("libmrhsm_pkcs11.so")).unwrap();
    fs::set_permissions(path("libmrhsm_pkcs11.so"), Permissions::from_mode(0o755)).unwrap();
    // A directory where only root may write, and one with a token.
    let private = path("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let (tokens, log) = (path("tokens"), private.join("log"));
    super::host::make_file_token(&TokenDir::at(&tokens), "chosen by caller");

    // Root itself may choose.
    let chosen = run(&path("program"), 0, &log, &tokens);
    assert!(
        chosen.starts_with("user 0 secure 0\n") && chosen.contains("token chosen by caller"),
        "{chosen}"
    );
    assert!(fs::read_to_string(&log).unwrap().contains("C_Initialize"));
    fs::remove_file(&log).unwrap();

    // Nobody may not, through a program that becomes root.
    fs::set_permissions(path("program"), Permissions::from_mode(0o4755)).unwrap();
    let printed = run(&path("program"), 65534, &log, &tokens);
    assert!(
        printed.starts_with("user 0 secure 1\n"),
        "set-user-ID programs do not work in {}: set TMPDIR to a file system without nosuid\n{printed}",
        directory.path().display()
    );
    assert!(
        printed.contains("C_Initialize 0\n") && !printed.contains("chosen by caller"),
        "{printed}"
    );
    assert!(!log.exists(), "the caller chose a file for root's log");
}
