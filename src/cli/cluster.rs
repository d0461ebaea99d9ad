//! What `enable`, `rekey` and `configure` tell about the cluster's keys.

use std::path::Path;

use serde::Serialize;

use super::output::{Output, note};
use super::tokens::TokenView;
use crate::config::{ClusterKey, ClusterKeys, TokenConfig};
use crate::token::cluster::{Event, Outcome, Role};
use crate::token::files::TokenDir;

const RULER: &str =
    "##############################################################################";

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
            Event::Made { role, uid } => {
                format!("Successfully generated {}, UUID {uid}", role.label())
            }
            Event::Adopted { role, uid } => format!(
                "Found existing {} on the key manager, UUID {uid}",
                role.label()
            ),
            Event::Imported { role, uid, path } => {
                return note(format!(
                    "Imported {} from {}, UUID {uid}",
                    role.label(),
                    path.display()
                ));
            }
            Event::Moved { role, uid } => format!(
                "Successfully moved {} to the key manager, UUID {uid}",
                role.label()
            ),
            Event::Verified { role, uid } => format!("Verified {}, UUID {uid}", role.label()),
            Event::Checksum { role, checksum } => {
                format!("SHA-256 checksum for {} is {checksum}", role.label())
            }
            Event::Wrapped { role } => format!(
                "Successfully set encrypted {} in KMIP configuration",
                role.label()
            ),
            Event::Warning(text) => return note(format!("Warning: {text}")),
        };
        self.out.line(line);
    }

    /// What to do after the keys were protected: with the key files that were there, with the token directory.
    pub fn protected(&mut self, dir: &TokenDir, confdir: &Path, keys: Protected) {
        self.boxed(&protected_text(dir.path(), confdir, keys));
    }

    /// That the other nodes need the token directory.
    pub fn copy_directory(&mut self, dir: &TokenDir) {
        self.boxed(&copy_text(dir.path()));
    }

    fn boxed(&mut self, text: &str) {
        self.out.line(RULER);
        text.lines()
            .for_each(|paragraph| self.out.line(filled(paragraph)));
        self.out.line(RULER);
    }
}

/// One paragraph per line.
fn protected_text(tokens: &Path, confdir: &Path, keys: Protected) -> String {
    let (all, are) = if keys.dare {
        ("CLDB and DARE master keys", "are")
    } else {
        ("CLDB key", "is")
    };
    let mut text = format!("The {all} {are} now protected by the HSM.\n");
    let files: Vec<&str> = [
        (keys.cldb_file, "CLDB key cldb.key"),
        (keys.dare_file, "DARE master key dare.master.key"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect();
    if !files.is_empty() {
        let (are, these, them) = if files.len() == 1 {
            ("is", "this key", "it")
        } else {
            ("are", "these keys", "them")
        };
        let (files, conf) = (files.join(" and "), confdir.display());
        text.push_str(&format!("The {files} in {conf} {are} no longer used. "));
        text.push_str(&format!(
            "Back up {these} in a safe location, and then remove {them} from {conf}. "
        ));
    }
    text.push_str(&format!(
        "All keys in the HSM, including the {all}, should be safely backed up."
    ));
    if keys.dare {
        text.push_str(" Without the DARE master key, the cluster cannot be started and data cannot be accessed.");
    }
    text + "\n\n" + &copy_text(tokens)
}

fn copy_text(tokens: &Path) -> String {
    format!(
        "Copy the entire contents of the KMIP token directory {0} to all CLDB and Zookeeper nodes. All files in {0} must be owned by \
         the user and group that run the cluster.",
        tokens.display()
    )
}

/// A paragraph in lines no wider than the ruler, where its words allow.
fn filled(paragraph: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in paragraph.split(' ') {
        let len = word.chars().count();
        if width > 0 && width + 1 + len > RULER.len() {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += len;
    }
    text
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
        RolesView {
            core: view(Role::Core),
            common: view(Role::Common),
            cldb: view(Role::Cldb),
            dare: view(Role::Dare),
        }
    }
}

impl KeyView {
    fn of(key: &ClusterKey) -> KeyView {
        KeyView {
            uid: key.uid.clone(),
            checksum: key.checksum.clone(),
            generation: key.generation,
            wrapped: key.wrapped.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(keys: Protected) -> String {
        let text = protected_text(
            Path::new("/opt/mapr/conf/tokens"),
            Path::new("/opt/mapr/conf"),
            keys,
        );
        text.lines()
            .map(|paragraph| filled(paragraph) + "\n")
            .collect()
    }

    #[test]
    fn what_to_do_after_enable_is_told_as_always() {
        assert_eq!(
            text(Protected {
                dare: true,
                cldb_file: true,
                dare_file: true
            }),
            "The CLDB and DARE master keys are now protected by the HSM.\n\
             The CLDB key cldb.key and DARE master key dare.master.key in /opt/mapr/conf\n\
             are no longer used. Back up these keys in a safe location, and then remove\n\
             them from /opt/mapr/conf. All keys in the HSM, including the CLDB and DARE\n\
             master keys, should be safely backed up. Without the DARE master key, the\n\
             cluster cannot be started and data cannot be accessed.\n\
             \n\
             Copy the entire contents of the KMIP token directory /opt/mapr/conf/tokens to\n\
             all CLDB and Zookeeper nodes. All files in /opt/mapr/conf/tokens must be owned\n\
             by the user and group that run the cluster.\n"
        );
    }

    #[test]
    fn keys_that_were_in_no_file_need_no_removal() {
        let fresh = text(Protected {
            dare: true,
            cldb_file: false,
            dare_file: false,
        });
        assert!(!fresh.contains("/opt/mapr/conf "), "{fresh}");
        let one = text(Protected {
            dare: false,
            cldb_file: true,
            dare_file: false,
        });
        assert!(
            one.starts_with("The CLDB key is now protected by the HSM.\nThe CLDB key cldb.key in /opt/mapr/conf is no longer"),
            "{one}"
        );
        assert!(!one.contains("DARE"), "{one}");
    }
}
