//! `mrhsm enable`: protect the cluster's CLDB and DARE keys by keys on the key manager.

use std::path::{Path, PathBuf};

use super::args::{Global, SoPin, TokenChoice, truth};
use super::cluster::{KeysView, Protected, Report};
use super::exit::{Failure, Outcome};
use super::output::{Output, note};
use super::tokens;
use crate::config::TokenConfig;
use crate::env;
use crate::token::cluster::{self, Context, KeyFile, Options, SETTLE};
use crate::token::files::TokenDir;
use crate::token::pin::TokenKey;

/// Options of `mrhsm enable`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Include the DARE master key: import dare.master.key, or make one
    #[arg(long)]
    pub dare: bool,

    /// Name of the cluster [default: the first word of mapr-clusters.conf, else the cluster it was enabled for before]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,

    /// Move from files to the key manager without what it does not take, which stays in the token directory unused
    #[arg(long)]
    pub leave: bool,

    /// false: stop using the keys on the key manager, which stay there
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, default_value = "true", value_parser = truth(), hide_possible_values = true)]
    pub active: bool,

    /// Directory of mapr-clusters.conf, cldb.key and dare.master.key [default: $MAPR_HOME/conf, else /opt/mapr/conf]
    #[arg(long, value_name = "DIR")]
    pub confdir: Option<PathBuf>,

    #[command(flatten)]
    pub pin: SoPin,

    #[command(flatten)]
    pub choice: TokenChoice,
}

/// Puts the cluster's keys in use, or out of use.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    if !args.active {
        return disable(args, &dir, token, out);
    }
    let plan = Plan::make(
        token,
        args.confdir.as_deref(),
        args.cluster.as_deref(),
        args.dare,
    )?;
    tokens::check_settings(&dir, token)?;
    let key = tokens::unlock(&dir, token, args.pin.sopin.as_ref())?;
    plan.carry_out(&dir, token, &key, args.leave, out)
}

fn disable(args: &Args, dir: &TokenDir, token: &TokenConfig, out: &mut Output) -> Outcome {
    let key = tokens::unlock(dir, token, args.pin.sopin.as_ref())?;
    let changed = cluster::set_active(dir, &token.uuid, &key, false)?;
    match changed {
        true => out.line(format!(
            "The keys of token '{}' are no longer in use. They stay on the key manager.",
            token.label
        )),
        false => out.line(format!(
            "The keys of token '{}' were not in use; nothing is changed.",
            token.label
        )),
    }
    out.object(&KeysView::switched(token, false, changed));
    Ok(())
}

/// What `enable` is going to do, read and checked before any PIN is asked for.
pub struct Plan {
    /// `None` where keys are moved of a token that serves no cluster.
    options: Option<Options>,
    confdir: PathBuf,
    /// The cluster's name was read from this file.
    from_file: bool,
}

impl Plan {
    /// Reads the cluster's name and its key files. A token that was enabled before knows its cluster where there is no file.
    pub fn make(
        token: &TokenConfig,
        confdir: Option<&Path>,
        name: Option<&str>,
        dare: bool,
    ) -> Outcome<Plan> {
        let confdir = confdir.map_or_else(default_confdir, Path::to_path_buf);
        let serves_none = token.keys.core.is_none()
            && name.is_none()
            && !confdir.join("mapr-clusters.conf").exists();
        if token.moving && serves_none {
            return Ok(Plan {
                options: None,
                confdir,
                from_file: false,
            });
        }
        let dare_file = KeyFile::read(&confdir.join("dare.master.key"))?;
        let cldb_file = KeyFile::read(&confdir.join("cldb.key"))?;
        let clusters = confdir.join("mapr-clusters.conf");
        let mut from_file = false;
        let cluster = match (name, &token.cluster) {
            (Some(name), _) => name.to_owned(),
            (None, Some(known)) if !clusters.exists() => known.clone(),
            _ => {
                from_file = true;
                cluster::cluster_of_file(&clusters)?
            }
        };
        let options = Options {
            cluster,
            dare,
            cldb_file,
            dare_file,
        };
        options
            .check()
            .map_err(|e| Failure::not_ready(e.to_string()))?;
        Ok(Plan {
            options: Some(options),
            confdir,
            from_file,
        })
    }

    /// Does it, and prints what happens. Keys that move from files may `leave` others there, which the servers do not take.
    pub fn carry_out(
        self,
        dir: &TokenDir,
        token: &TokenConfig,
        key: &TokenKey,
        leave: bool,
        out: &mut Output,
    ) -> Outcome {
        let moves = token.moving;
        let token = &tokens::moved(dir, token, key, leave, out)?;
        let Some(options) = self.options else {
            out.object(&KeysView::switched(token, token.enabled, moves));
            return Ok(());
        };
        let store = tokens::store(dir, token, key)?;
        if self.from_file {
            out.line(format!(
                "Obtained cluster name {} from mapr-clusters.conf",
                options.cluster
            ));
        }
        let context = Context {
            dir,
            uuid: &token.uuid,
            key,
            store: store.as_ref(),
            settle: SETTLE,
        };
        let mut report = Report::new(out);
        let mut outcome = cluster::enable(&context, &options, &mut |event| report.event(event))?;
        if outcome.changed {
            let holds_key = |file: &Option<KeyFile>| file.as_ref().is_some_and(|f| f.key.is_some());
            let keys = Protected {
                dare: options.dare,
                cldb_file: holds_key(&options.cldb_file),
                dare_file: holds_key(&options.dare_file),
            };
            report.protected(dir, &self.confdir, keys);
        } else if moves {
            report.copy_directory(dir);
        } else {
            out.line("All keys are in place already; nothing is changed.");
        }
        outcome.changed |= moves;
        if !out.json() {
            note("Check with: mrhsm info -kmip");
        }
        out.object(&KeysView::of(token, &outcome));
        Ok(())
    }
}

fn default_confdir() -> PathBuf {
    match env::variable("MAPR_HOME") {
        Some(home) => PathBuf::from(home).join("conf"),
        None => "/opt/mapr/conf".into(),
    }
}
