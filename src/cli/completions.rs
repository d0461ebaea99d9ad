//! `mrhsm completions`: shell completion scripts and the man page, made from the same definitions as the help.

use clap::{CommandFactory, ValueEnum};

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::spelling;

/// Options of `mrhsm completions`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Shell to complete for, or man for the man page
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Man,
}

/// Prints the script.
pub fn run(args: &Args, out: &mut Output) -> Outcome {
    let mut command = super::Cli::command();
    let script = match args.shell {
        Shell::Bash => spelling::with_one_dash(&generate(clap_complete::Shell::Bash, &mut command)),
        // With -s, zsh would read -label as the stacked letters -l -a -b -e -l.
        Shell::Zsh => spelling::with_one_dash(&generate(clap_complete::Shell::Zsh, &mut command))
            .replace("=(-s -S -C)", "=(-S -C)"),
        // fish calls a long option with one dash "old-style".
        Shell::Fish => generate(clap_complete::Shell::Fish, &mut command).replace(" -l ", " -o "),
        Shell::Man => man_page(command)?,
    };
    out.write(&script);
    Ok(())
}

fn generate(shell: clap_complete::Shell, command: &mut clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "mrhsm", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// One page: the command, then each subcommand's options.
fn man_page(mut command: clap::Command) -> Outcome<String> {
    command.build();
    let mut page = Vec::new();
    let mut render = || -> std::io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let name = sub.get_name().to_uppercase();
            let man = clap_mangen::Man::new(sub.clone());
            page.extend_from_slice(format!(".SH \"MRHSM {name}\"\n").as_bytes());
            man.render_synopsis_section(&mut page)?;
            man.render_description_section(&mut page)?;
            man.render_options_section(&mut page)?;
        }
        Ok(())
    };
    render().map_err(|e| Failure::new(Exit::Failed, format!("cannot make the man page: {e}")))?;
    let mut page = String::from_utf8_lossy(&page)
        .replace("\\-\\-", "\\-")
        .replace(".SH EXTRA", ".SH NOTES");
    for sub in command.get_subcommands() {
        // There is one page, so the list of commands must not point to others.
        page = page.replace(
            &format!("mrhsm\\-{}(1)", sub.get_name()),
            &format!("\\fBmrhsm {}\\fR", sub.get_name()),
        );
    }
    Ok(page)
}
