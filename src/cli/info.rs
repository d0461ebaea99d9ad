//! `mrhsm info`: slots, the KMIP configuration with the state of every server, the cluster's keys.

use serde::Serialize;

use super::args::{Global, TokenChoice};
use super::certificate::CertificateView;
use super::cluster::RolesView;
use super::exit::Outcome;
use super::opened::{Authenticated, Opened, uses_servers, why_not_asked};
use super::output::Output;
use super::tokens::{self, TokenView};
use crate::config::{ClusterKey, Config, FORMAT, StoreKind, TokenConfig};
use crate::crypto::crl::Crls;
use crate::net;
use crate::store;
use crate::token::cluster::Role;
use crate::token::files::TokenDir;
use crate::token::open_files;
use crate::token::secrets::TokenFiles;

/// Options of `mrhsm info`. Without any, slots, configuration and keys are shown.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show the PKCS#11 slots
    #[arg(long)]
    pub slots: bool,
    /// Show the KMIP configuration, and ask every server whether it is active
    #[arg(long)]
    pub config: bool,
    /// Show the cluster's keys
    #[arg(long)]
    pub kmip: bool,
    /// The same as -kmip, for a token whose keys are in files
    #[arg(long)]
    pub file: bool,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Default, Serialize)]
struct View {
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Vec<SlotView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<ConfigView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kmip: Option<KeysView>,
}

/// Prints what was asked for, or all of it.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let keys = args.kmip || args.file;
    let all = !(args.slots || args.config || keys);
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let mut view = View::default();
    if args.slots || all {
        let slots = slots(&dir, &config, &args.choice)?;
        print_slots(&slots, out);
        view.slots = Some(slots);
    }
    // Without any token, the slots are all there is to show.
    if args.config || keys || (all && !config.tokens.is_empty()) {
        let token = tokens::choose(&dir, &config, &args.choice)?;
        let asks_servers = args.config || all;
        let mut opened = Opened::of(&dir, token, asks_servers)?;
        // Another mrhsm may have changed them since they were read.
        let token = &opened.config().unwrap_or(token).clone();
        if asks_servers {
            separate(view.slots.is_some(), out);
            let shown = ConfigView::of(&dir, token, &mut opened)?;
            shown.print(out);
            view.config = Some(shown);
        }
        if keys || all {
            separate(view.slots.is_some() || view.config.is_some(), out);
            let shown = KeysView::of(token, &opened);
            shown.print(token, out);
            view.kmip = Some(shown);
        }
        if let Opened::Refused(e) = opened {
            out.object(&view);
            return Err(e.into());
        }
    }
    out.object(&view);
    Ok(())
}

fn separate(needed: bool, out: &mut Output) {
    if needed {
        out.line("");
    }
}

/// A slot and what is in it.
#[derive(Serialize)]
struct SlotView {
    id: u32,
    description: String,
    manufacturer: &'static str,
    token_present: bool,
    model: &'static str,
    serial: String,
    initialized: bool,
    user_pin_initialized: bool,
    label: String,
}

const MANUFACTURER: &str = "mrhsm";

fn slots(dir: &TokenDir, config: &Config, choice: &TokenChoice) -> Outcome<Vec<SlotView>> {
    let chosen = match choice.token.is_some() || choice.serial.is_some() {
        true => std::slice::from_ref(tokens::choose(dir, config, choice)?),
        false => &config.tokens[..],
    };
    if chosen.is_empty() {
        return Ok(vec![SlotView {
            model: model(config.defaults.store),
            ..SlotView::new(0, None, false)
        }]);
    }
    chosen
        .iter()
        .map(|token| {
            Ok(SlotView::new(
                token.slot(),
                Some(token),
                TokenFiles::of(dir, &token.uuid).has_user_pin()?,
            ))
        })
        .collect()
}

impl SlotView {
    fn new(id: u32, token: Option<&TokenConfig>, user_pin_initialized: bool) -> SlotView {
        SlotView {
            id,
            description: format!("mrhsm slot ID {id:#x}"),
            manufacturer: MANUFACTURER,
            token_present: true,
            model: model(token.map_or(StoreKind::Kmip, |t| t.settings.store)),
            serial: token.map(|t| t.serial.clone()).unwrap_or_default(),
            initialized: token.is_some(),
            user_pin_initialized,
            label: token.map(|t| t.label.clone()).unwrap_or_default(),
        }
    }
}

fn model(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Kmip => "KMIP token",
        StoreKind::File => "file token",
    }
}

/// The strings keep the widths PKCS#11 gives them.
fn print_slots(slots: &[SlotView], out: &mut Output) {
    let yes = |b| if b { "yes" } else { "no" };
    out.line("Available slots:");
    for slot in slots {
        out.line(format!("Slot {}", slot.id));
        out.line("    Slot info:");
        out.line(format!(
            "        Description:          {:64}",
            slot.description
        ));
        out.line(format!(
            "        Manufacturer ID:      {:32}",
            slot.manufacturer
        ));
        out.line(format!(
            "        Token present:        {}",
            yes(slot.token_present)
        ));
        out.line("    Token info:");
        out.line(format!(
            "        Manufacturer ID:      {:32}",
            slot.manufacturer
        ));
        out.line(format!("        Model:                {:16}", slot.model));
        out.line(format!("        Serial number:        {:16}", slot.serial));
        out.line(format!(
            "        Initialized:          {}",
            yes(slot.initialized)
        ));
        out.line(format!(
            "        User PIN initialized: {}",
            yes(slot.user_pin_initialized)
        ));
        out.line(format!(
            "        Label:                {}",
            padded(&slot.label, 32)
        ));
    }
}

/// PKCS#11 pads to a number of bytes, not of characters.
fn padded(text: &str, bytes: usize) -> String {
    text.to_owned() + &" ".repeat(bytes.saturating_sub(text.len()))
}

/// The KMIP configuration and the state of its servers.
#[derive(Serialize)]
struct ConfigView {
    #[serde(flatten)]
    standing: Authenticated,
    #[serde(skip)]
    sentence: Option<&'static str>,
    #[serde(skip)]
    store: StoreKind,
    token: TokenView,
    moving: bool,
    /// How many objects the token directory holds, where its user PIN is kept or given.
    objects: Option<u64>,
    hosts: Vec<HostView>,
    port: u16,
    server_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pins: Vec<String>,
    kmip_version: Option<String>,
    connect_millis: u64,
    deadline_millis: u64,
    crypto: String,
    key_cache_millis: u64,
    policy: String,
    max_pin_failures: u32,
    /// Wrong PINs since the last right one.
    pin_failures: PinFailures,
    username: Option<String>,
    password: bool,
    client_key: bool,
    client_certificates: Vec<CertificateView>,
    ca_certificates: Vec<CertificateView>,
    /// When the first of the revocation lists expires.
    crl_until: Option<String>,
}

/// How many wrong PINs in a row were given.
#[derive(Serialize)]
struct PinFailures {
    so: u32,
    user: u32,
}

impl PinFailures {
    fn of(dir: &TokenDir, token: &TokenConfig) -> Outcome<PinFailures> {
        let failures = TokenFiles::of(dir, &token.uuid).failures()?;
        Ok(PinFailures {
            so: failures.so,
            user: failures.user,
        })
    }

    fn print(&self, max: u32, out: &mut Output) {
        for (name, failures) in [("Wrong SO PINs", self.so), ("Wrong user PINs", self.user)] {
            match failures {
                0 => {}
                n if max > 0 && n >= max => field(out, name, &format!("{n}, locked")),
                n if max > 0 => field(out, name, &format!("{n} of {max}")),
                n => field(out, name, &n.to_string()),
            }
        }
    }
}

/// A server and what it answered.
#[derive(Serialize)]
pub struct HostView {
    host: String,
    active: bool,
    /// Why it is not active.
    reason: Option<String>,
    /// The KMIP version that is spoken with it.
    kmip_version: Option<String>,
    vendor: Option<String>,
}

impl ConfigView {
    fn of(dir: &TokenDir, token: &TokenConfig, opened: &mut Opened) -> Outcome<ConfigView> {
        let identity = TokenFiles::of(dir, &token.uuid).public_identity()?;
        let settings = &token.settings;
        let objects = match settings.store {
            StoreKind::File => file_objects(dir, token, opened)?,
            StoreKind::Kmip => None,
        };
        Ok(ConfigView {
            standing: opened.view(),
            sentence: opened.sentence(),
            store: settings.store,
            token: TokenView::of(token),
            moving: token.moving,
            objects,
            hosts: probe(dir, token, opened)?,
            port: settings.port,
            server_name: settings.server_name.clone(),
            pins: settings.pins.clone(),
            kmip_version: settings.kmip_version.map(|v| v.to_string()),
            connect_millis: settings.connect_millis,
            deadline_millis: settings.deadline_millis,
            crypto: settings.crypto.to_string(),
            key_cache_millis: settings.key_cache_millis,
            policy: settings.policy.to_string(),
            max_pin_failures: settings.max_pin_failures,
            pin_failures: PinFailures::of(dir, token)?,
            username: token.username.clone(),
            password: identity.has_password,
            client_key: identity.has_key,
            client_certificates: views(identity.certificate.as_deref(), "client.pem")?,
            ca_certificates: views(identity.ca.as_deref(), "ca.pem")?,
            crl_until: crl_until(identity.crl.as_deref())?,
        })
    }

    fn print(&self, out: &mut Output) {
        heading(&self.token, out);
        if let Some(sentence) = self.sentence {
            field(out, "Settings", sentence);
        }
        self.pin_failures.print(self.max_pin_failures, out);
        if self.store == StoreKind::File {
            field(out, "Keys", "in the token directory");
            if let Some(objects) = self.objects {
                field(out, "Objects", &objects.to_string());
            }
            field(out, "Key Policy", &self.policy);
            if !self.moving {
                return;
            }
            field(out, "Moves", "to these servers, with mrhsm enable");
        }
        out.line("IPs");
        for (i, host) in self.hosts.iter().enumerate() {
            field(out, &format!("  IP {}", i + 1), &host.sentence());
        }
        if self.hosts.is_empty() {
            out.line("  Not configured");
        }
        let configured = |yes| if yes { "Configured" } else { "Not configured" };
        field(out, "Port", &self.port.to_string());
        field(
            out,
            "KMIP Version",
            self.kmip_version.as_deref().unwrap_or("auto"),
        );
        if self.store == StoreKind::Kmip {
            field(out, "Key Policy", &self.policy);
        }
        if let Some(name) = &self.server_name {
            field(out, "Server Name", name);
        }
        for pin in &self.pins {
            field(out, "Pinned", pin);
        }
        if let Some(username) = &self.username {
            field(out, "User Name", username);
            field(out, "Password", configured(self.password));
        }
        field(out, "KMIP Client Key", configured(self.client_key));
        if let Some(until) = &self.crl_until {
            field(out, "CRL", &format!("valid until {until}"));
        }
        print_certificates(
            "KMIP Client Certificate",
            &self.client_certificates,
            "Not configured",
            out,
        );
        print_certificates(
            "KMIP CA Certificate",
            &self.ca_certificates,
            "The system's CA certificates",
            out,
        );
    }
}

fn heading(token: &TokenView, out: &mut Output) {
    out.line(format!(
        "Displaying information for {} token with serial {}",
        token.store(),
        token.serial()
    ));
}

/// The name in 23 columns, then the value.
fn field(out: &mut Output, name: &str, value: &str) {
    out.line(format!("{name:23}: {value}"));
}

fn print_certificates(title: &str, list: &[CertificateView], without: &str, out: &mut Output) {
    out.line("");
    if list.is_empty() {
        field(out, title, without);
    }
    for (i, view) in list.iter().enumerate() {
        if i > 0 {
            out.line("");
        }
        let number = if list.len() > 1 {
            format!(" {}", i + 1)
        } else {
            String::new()
        };
        view.print(&format!("{title}{number}:"), out);
    }
}

fn views(pem: Option<&[u8]>, name: &str) -> Outcome<Vec<CertificateView>> {
    Ok(pem
        .map(|pem| CertificateView::from_pem(pem, name))
        .transpose()?
        .unwrap_or_default())
}

/// How many objects the token directory holds. Never prompts.
fn file_objects(dir: &TokenDir, token: &TokenConfig, opened: &Opened) -> Outcome<Option<u64>> {
    let Opened::Accepted { key, .. } = opened else {
        return Ok(None);
    };
    match open_files(dir, token, key)? {
        Some(files) => Ok(Some(files.repository().engine().info()?.objects)),
        None => Ok(Some(0)),
    }
}

/// Asks all servers at once; each ends by the token's deadline.
fn probe(dir: &TokenDir, token: &TokenConfig, opened: &mut Opened) -> Outcome<Vec<HostView>> {
    if !uses_servers(token) {
        return Ok(Vec::new());
    }
    let not_asked = |reason: &str| {
        token
            .settings
            .hosts
            .iter()
            .map(|h| HostView::silent(h.to_string(), format!("not asked: {reason}")))
            .collect()
    };
    if let Some(reason) = why_not_asked(dir, token)? {
        return Ok(not_asked(reason));
    }
    let Opened::Accepted { trusted, .. } = opened else {
        return Ok(not_asked(opened.sentence().unwrap_or_default()));
    };
    match store::network(token, std::mem::take(&mut trusted.identity).into()) {
        Ok(network) => Ok(ask_all(token, &network)),
        // An expired certificate, for one: the rest of the configuration is worth showing all the same.
        Err(e) => Ok(not_asked(&e.to_string())),
    }
}

/// The state of every server of `token`, asked in parallel.
pub fn ask_all(token: &TokenConfig, network: &net::Config) -> Vec<HostView> {
    let hosts = &token.settings.hosts;
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..hosts.len())
            .map(|i| scope.spawn(move || net::probe(network, i)))
            .collect();
        let answers = asked.into_iter().map(|thread| thread.join());
        hosts
            .iter()
            .zip(answers)
            .map(|(host, answer)| match answer {
                Ok(Ok(health)) => HostView {
                    host: host.to_string(),
                    active: true,
                    reason: None,
                    kmip_version: Some(health.version.to_string()),
                    vendor: health.vendor,
                },
                Ok(Err(e)) => HostView::silent(host.to_string(), e.to_string()),
                Err(_) => HostView::silent(host.to_string(), "the check itself failed".into()),
            })
            .collect()
    })
}

impl HostView {
    /// True when it answered as a KMIP server.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Its state in one line.
    pub fn sentence(&self) -> String {
        match &self.reason {
            None => format!("{} Active", self.host),
            Some(reason) => format!("{} Inactive: {reason}", self.host),
        }
    }

    fn silent(host: String, reason: String) -> HostView {
        HostView {
            host,
            active: false,
            reason: Some(reason),
            kmip_version: None,
            vendor: None,
        }
    }
}

/// The cluster's keys.
#[derive(Serialize)]
struct KeysView {
    #[serde(flatten)]
    standing: Authenticated,
    #[serde(skip)]
    sentence: Option<&'static str>,
    token: TokenView,
    version: i64,
    enabled: bool,
    /// Keys are to go from files to the KMIP servers, or are on their way.
    moving: bool,
    cluster: Option<String>,
    keys: RolesView,
}

impl KeysView {
    fn of(token: &TokenConfig, opened: &Opened) -> KeysView {
        KeysView {
            standing: opened.view(),
            sentence: opened.sentence(),
            token: TokenView::of(token),
            version: FORMAT,
            enabled: token.enabled,
            moving: token.moving,
            cluster: token.cluster.clone(),
            keys: RolesView::of(&token.keys),
        }
    }

    /// The titles differ in the blank before the colon because scripts have always found them so.
    fn print(&self, token: &TokenConfig, out: &mut Output) {
        heading(&self.token, out);
        let kind = if token.settings.store == StoreKind::Kmip {
            "KMIP"
        } else {
            "File"
        };
        out.line(format!("{kind} Configuration Version {}", self.version));
        out.line("-".repeat(29));
        if let Some(sentence) = self.sentence {
            out.line(format!("{:20}: {sentence}", "Settings"));
        }
        for (role, title) in [
            (Role::Cldb, "CLDB:"),
            (Role::Dare, "DARE :"),
            (Role::Core, "Core KEK :"),
            (Role::Common, "Common KEK :"),
        ] {
            if let Some(key) = token.keys.get(role) {
                out.line(title);
                print_key(key, out);
            }
        }
        out.line(format!(
            "{:20}: {}",
            "Enabled",
            if self.enabled { "Yes" } else { "No" }
        ));
        match (self.moving, token.settings.store) {
            (false, _) => {}
            (true, StoreKind::File) => out.line(format!(
                "{:20}: to the KMIP servers, with mrhsm enable",
                "Moves"
            )),
            (true, StoreKind::Kmip) => out.line(format!(
                "{:20}: what is still in the token directory moves with mrhsm enable",
                "Move"
            )),
        }
    }
}

fn print_key(key: &ClusterKey, out: &mut Output) {
    if let Some(wrapped) = &key.wrapped {
        out.line(format!("    Encrypted Key   : {wrapped}"));
    }
    out.line(format!("    UUID            : {}", key.uid));
    out.line(format!("    SHA-256 checksum: {}", key.checksum));
}

/// When the first of the revocation lists expires.
fn crl_until(text: Option<&[u8]>) -> Outcome<Option<String>> {
    let mut crls = Crls::default();
    if let Some(text) = text {
        crls.read(text, "crl.pem")?;
    }
    let until = crls
        .next_update()
        .and_then(|until| jiff::Timestamp::from_second(until).ok());
    Ok(until.map(|until| until.to_string()))
}
