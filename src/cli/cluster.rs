//! What `enable`, `rekey` and `configure` tell about the cluster's keys.

use std::path::Path;

use serde::Serialize;

use super::output::{Output, note};
use super::tokens::TokenView;
use crate::config::{ClusterKey, ClusterKeys, TokenConfig};
use crate::token::cluster::{Event, Outcome, Role};
use crate::token::files::TokenDir;

const RULER: &str = "##############################################################################";

/// Which keys `enable` protected, and which of them are also in files.
#[derive(Clone, Copy, Debug)]
pub struct Protected {
    /// The DARE key is among them.
    pub dare: bool,
    /// `cldb.key` holds a key.
    pub cldb_file: bool,
    /// `dare.master.key` holds a key.
    pub dare_file: bool,
}

/// Prints what happens while it happens.
pub struct Report<'a> {
    out: &'a mut Output,
}

impl Report<'_> {
    /// A report on `out`.
    pub fn new(out: &mut Output) -> Report<'_> {
        Report { out }
    }

    /// The line of one event.
    pub fn event(&mut self, event: Event<'_>) {
        let line = match event {
            Event::Begin { cluster } => format!("Enabling mrhsm on cluster {cluster}"),
            Event::Made { role, uid } => format!("Successfully generated {}, UUID {uid}", role.label()),
            Event::Adopted { role, uid } => format!("Found existing {} on the key manager, UUID {uid}", role.label()),
            Event::Imported { role, uid, path } => {
                format!("Successfully imported {} from {}, UUID {uid}", role.label(), path.display())
            }
            Event::Verified { role, uid } => format!("Verified {}, UUID {uid}", role.label()),
            Event::Checksum { role, checksum } => format!("SHA-256 checksum for {} is {checksum}", role.label()),
            Event::Wrapped { role } => format!("Successfully set encrypted {} in KMIP configuration", role.label()),
            Event::Warning(text) => return note(format!("Warning: {text}")),
        };
        self.out.line(line);
    }

    /// What to do after the keys were protected: with the key files that were there, with the token directory.
    pub fn protected(&mut self, dir: &TokenDir, confdir: &Path, keys: Protected) {
        let all = if keys.dare { "CLDB and DARE master keys" } else { "CLDB key" };
        let mut text = String::new();
        let files: Vec<&str> = [(keys.cldb_file, "CLDB key cldb.key"), (keys.dare_file, "DARE master key dare.master.key")]
            .into_iter()
            .filter_map(|(there, name)| there.then_some(name))
            .collect();
        if !files.is_empty() {
            let (are, these, them) = if files.len() == 1 { ("is", "this key", "it") } else { ("are", "these keys", "them") };
            let conf = confdir.display();
            text = format!(
                "The {} in {conf} {are} no longer used. Back up {these} in a safe location, and then remove {them} from {conf}. ",
                files.join(" and ")
            );
        }
        text.push_str(&format!("All keys in the HSM, including the {all}, should be safely backed up."));
        if keys.dare {
            text.push_str(" Without the DARE master key, the cluster cannot be started and data cannot be accessed.");
        }
        self.out.line(RULER);
        self.out.line(format!("The {all} {} now protected by the HSM.", if keys.dare { "are" } else { "is" }));
        self.paragraph(&text);
        self.out.line("");
        self.copy_text(dir);
        self.out.line(RULER);
    }

    /// That the other nodes need the token directory.
    pub fn copy_directory(&mut self, dir: &TokenDir) {
        self.out.line(RULER);
        self.copy_text(dir);
        self.out.line(RULER);
    }

    fn copy_text(&mut self, dir: &TokenDir) {
        self.paragraph(&format!(
            "Copy the entire contents of the KMIP token directory {0} to all CLDB and Zookeeper nodes. All files in {0} must be owned by \
             the user and group that run the cluster.",
            dir.path().display()
        ));
    }

    /// Text in lines as wide as the ruler.
    fn paragraph(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > RULER.len() {
                self.out.line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.out.line(line);
    }
}

/// The cluster's keys as JSON.
#[derive(Debug, Serialize)]
pub struct KeysView {
    token: TokenView,
    changed: bool,
    enabled: bool,
    cluster: Option<String>,
    keys: RolesView,
}

/// One entry per role; `null` where there is no key.
#[derive(Debug, Serialize)]
pub struct RolesView {
    core: Option<KeyView>,
    common: Option<KeyView>,
    cldb: Option<KeyView>,
    dare: Option<KeyView>,
}

/// A key as JSON.
#[derive(Debug, Serialize)]
pub struct KeyView {
    uid: String,
    checksum: String,
    generation: u32,
    wrapped: Option<String>,
}

impl KeysView {
    /// What `enable` or `rekey` did to `token`.
    pub fn of(token: &TokenConfig, outcome: &Outcome) -> KeysView {
        KeysView {
            token: TokenView::of(token),
            changed: outcome.changed,
            enabled: true,
            cluster: Some(outcome.cluster.clone()),
            keys: RolesView::of(&outcome.keys),
        }
    }

    /// That the keys were put in use or out of use.
    pub fn switched(token: &TokenConfig, enabled: bool, changed: bool) -> KeysView {
        KeysView {
            token: TokenView::of(token),
            changed,
            enabled,
            cluster: token.cluster.clone(),
            keys: RolesView::of(&token.keys),
        }
    }
}

impl RolesView {
    /// The keys of a token.
    pub fn of(keys: &ClusterKeys) -> RolesView {
        let view = |role| keys.get(role).map(KeyView::of);
        RolesView { core: view(Role::Core), common: view(Role::Common), cldb: view(Role::Cldb), dare: view(Role::Dare) }
    }
}

impl KeyView {
    fn of(key: &ClusterKey) -> KeyView {
        KeyView { uid: key.uid.clone(), checksum: key.checksum.clone(), generation: key.generation, wrapped: key.wrapped.clone() }
    }
}
