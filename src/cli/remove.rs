//! `mrhsm remove`: clear parts of a token's KMIP configuration.

use serde::Serialize;

use super::args::{Global, SoPin, TokenChoice};
use super::exit::Outcome;
use super::output::{Output, note};
use super::tokens::{self, TokenView};
use crate::config::{Settings, TokenConfig};
use crate::token::secrets::{IdentityChange, Part, TokenFiles};

/// Options of `mrhsm remove`: each clears one setting.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = true, id = "what", args = ["ip", "port", "cacert", "crl", "clientcert", "clientkey", "servername", "pins", "kmipversion", "username", "password", "connecttimeout", "timeout", "crypto", "keycache", "policy", "maxpinfailures"])]
pub struct Args {
    /// Forget the KMIP servers
    #[arg(long)]
    pub ip: bool,
    /// Back to port 5696
    #[arg(long)]
    pub port: bool,
    /// Forget the CA certificates
    #[arg(long)]
    pub cacert: bool,
    /// Forget the revocation lists
    #[arg(long)]
    pub crl: bool,
    /// Forget the client certificate
    #[arg(long)]
    pub clientcert: bool,
    /// Forget the client's private key
    #[arg(long)]
    pub clientkey: bool,
    /// Back to expecting the servers' own names in their certificates
    #[arg(long)]
    pub servername: bool,

    /// The hashes of the servers' certificates
    #[arg(long = "pin")]
    pub pins: bool,
    /// Back to negotiating the KMIP version
    #[arg(long)]
    pub kmipversion: bool,
    /// Forget the user name, and the password with it
    #[arg(long)]
    pub username: bool,
    /// Forget the password
    #[arg(long)]
    pub password: bool,
    /// Back to 5 seconds to connect
    #[arg(long)]
    pub connecttimeout: bool,
    /// Back to 10 seconds for a call
    #[arg(long)]
    pub timeout: bool,
    /// Back to using keys where it is best
    #[arg(long)]
    pub crypto: bool,
    /// Back to keeping fetched keys for 5 minutes
    #[arg(long)]
    pub keycache: bool,
    /// Back to the default key policy
    #[arg(long)]
    pub policy: bool,
    /// Back to never locking a PIN
    #[arg(long)]
    pub maxpinfailures: bool,

    #[command(flatten)]
    pub pin: SoPin,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
}

/// Clears what is named.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    let key = tokens::unlock(&dir, token, args.pin.sopin.as_ref())?;
    let writer = dir.lock()?;
    let files = TokenFiles::of(&dir, &token.uuid);
    let mut change = files.change(&writer, &key)?;
    args.clear(&mut change.config);
    let part = |removed: bool| if removed { Part::Remove } else { Part::Keep };
    change.commit(&IdentityChange {
        certificate: part(args.clientcert),
        key: part(args.clientkey),
        ca: part(args.cacert),
        crl: part(args.crl),
        password: part(args.password || args.username),
    })?;
    note(format!(
        "Token '{}' is changed. Set what it needs again with: mrhsm set",
        token.label
    ));
    out.object(&View {
        token: TokenView::of(token),
    });
    Ok(())
}

impl Args {
    fn clear(&self, token: &mut TokenConfig) {
        fn reset<T>(wanted: bool, place: &mut T, default: T) {
            if wanted {
                *place = default;
            }
        }
        let settings = &mut token.settings;
        let default = Settings::default();
        reset(self.ip, &mut settings.hosts, Vec::new());
        reset(self.port, &mut settings.port, default.port);
        reset(self.servername, &mut settings.server_name, None);
        reset(self.pins, &mut settings.pins, Vec::new());
        reset(self.kmipversion, &mut settings.kmip_version, None);
        reset(
            self.connecttimeout,
            &mut settings.connect_millis,
            default.connect_millis,
        );
        reset(
            self.timeout,
            &mut settings.deadline_millis,
            default.deadline_millis,
        );
        reset(self.crypto, &mut settings.crypto, default.crypto);
        reset(
            self.keycache,
            &mut settings.key_cache_millis,
            default.key_cache_millis,
        );
        reset(self.policy, &mut settings.policy, default.policy);
        reset(
            self.maxpinfailures,
            &mut settings.max_pin_failures,
            default.max_pin_failures,
        );
        reset(self.username, &mut token.username, None);
    }
}
