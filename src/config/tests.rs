use proptest::prelude::*;

use super::*;

const UUID: &str = "69255cf4-0ac3-8d22-b12c-fd503a740cda";

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("/t/mrhsm.conf"))
}

fn refusal(text: &str) -> String {
    let e = parse(text).expect_err(text);
    assert_eq!(e.rv(), crate::ck::CKR_ARGUMENTS_BAD);
    e.to_string()
}

fn token(lines: &str) -> String {
    format!(
        "version = 1\n[[token]]\nlabel = \"t\"\nserial = \"b12cfd503a740cda\"\nuuid = \"{UUID}\"\n{lines}\n"
    )
}

#[test]
fn the_smallest_file_has_defaults() {
    assert_eq!(parse("version = 1").unwrap(), Config::default());
    let config = parse(&token("hosts = [\"a\", \"b:1\", \"::1\"]")).unwrap();
    let t = &config.tokens[0];
    assert_eq!(t.settings.port, 5696);
    let addresses: Vec<_> = t.settings.addresses().collect();
    assert_eq!(addresses, [("a", 5696), ("b", 1), ("::1", 5696)]);
    assert_eq!(t.slot(), 0x3a74_0cda);
    assert_eq!(config.token("B12CFD503A740CDA"), Some(t));
}

#[test]
fn serial_and_slot_follow_softhsm() {
    assert_eq!(serial_of(UUID).as_deref(), Some("b12cfd503a740cda"));
    assert_eq!(slot_of("07137a824d621939"), 1298274617);
    assert_eq!(slot_of("00000000ffffffff"), 0x7fff_ffff);
    for bad in [
        "",
        "69255cf4",
        "../../../../../../../../etc/shadow....",
        &UUID.to_uppercase(),
        &UUID.replace('-', "0"),
    ] {
        assert_eq!(serial_of(bad), None, "{bad}");
    }
}

#[test]
fn every_refusal_names_file_line_and_fault() {
    for (line, fault) in [
        ("port = 0", "port 0 is out of range"),
        ("port = 70000", "port 70000 is out of range"),
        ("port = \"x\"", "invalid type"),
        ("kmip_version = \"1.5\"", "'1.5' is not a KMIP version"),
        ("kmip_version = 1.4", "invalid type"),
        ("hosts = [\"\"]", "the name is empty"),
        ("hosts = [\"a b\"]", "'a b' is not a host"),
        ("hosts = [\"a:0\"]", "port 0"),
        ("store = \"tape\"", "unknown variant `tape`"),
        ("crypto = \"quantum\"", "unknown variant"),
        ("connect_millis = 0", "0 milliseconds are out of range"),
        ("deadline_millis = -1", "-1 milliseconds"),
        ("key_cache_millis = 86400001", "out of range"),
        (
            "max_pin_failures = 1001",
            "1001 wrong PINs are out of range",
        ),
        ("max_pin_failures = -1", "-1 wrong PINs are out of range"),
        ("colour = \"red\"", "unknown field `colour`"),
        ("enabled = \"yes\"", "invalid type"),
        (
            "keys.core = { uid = \"1\", checksum = \"AB\", generation = 1 }",
            "64 hexadecimal",
        ),
        ("keys.other = 1", "unknown field `other`"),
    ] {
        let e = refusal(&token(line));
        assert!(
            e.starts_with("/t/mrhsm.conf, line 6: ")
                && e.contains(fault)
                && e.contains("correct the file"),
            "{line}: {e}"
        );
    }
    let e = refusal(&format!(
        "version = 1\n[[token]]\nlabel = \"{}\"",
        "ü".repeat(17)
    ));
    assert!(e.contains("line 3") && e.contains("34 bytes long"), "{e}");
    assert!(refusal("version = 1\n[[token]]\nlabel = \"t\"").contains("missing field"));
    let checksum = "AB".repeat(32);
    let newer = format!("uid = \"1\", checksum = \"{checksum}\", generation = 1, format = 3");
    let e = refusal(&token(&format!("keys.core = {{ {newer} }}")));
    assert!(
        e.contains("wrapped keys of format 3 need a newer mrhsm"),
        "{e}"
    );
    assert!(refusal("version = 1\n\n[defaults\n").contains("line 3"));
    assert!(
        refusal(&token("").replace("cda\"\nuuid", "cdb\"\nuuid"))
            .contains("does not belong to uuid")
    );
    let twice = format!("{}{}", token(""), token("").replace("version = 1\n", ""));
    assert!(refusal(&twice).contains("two tokens"));
}

#[test]
fn the_version_is_told_before_anything_else() {
    assert!(
        refusal("version = 2\nnews = true")
            .contains("format version 2, this mrhsm reads version 1")
    );
    for text in ["", "version = \"1\"", "[defaults]\nport = 1"] {
        assert!(
            refusal(text).contains("does not begin with 'version = 1'"),
            "{text}"
        );
    }
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let full = example().to_text();
    for cut in (0..full.trim_end().len()).filter(|cut| full.is_char_boundary(*cut)) {
        assert!(parse(&full[..cut]).is_err(), "{cut}");
    }
    let between_lines = full.find("\n[token.keys.dare]").unwrap();
    assert!(refusal(&full[..between_lines]).contains("was cut off"));
    parse(full.trim_end()).unwrap();
}

#[test]
fn hosts_in_every_spelling() {
    for (text, name, port) in [
        ("kms.example.com", "kms.example.com", None),
        ("kms_1:5697", "kms_1", Some(5697)),
        ("12.1.78.164", "12.1.78.164", None),
        ("12.1.78.164:1", "12.1.78.164", Some(1)),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[fd00:0::1]:65535", "fd00::1", Some(65535)),
    ] {
        let host: Host = text.parse().unwrap();
        assert_eq!((host.name.as_str(), host.port), (name, port));
        assert_eq!(host.to_string().parse::<Host>().unwrap(), host);
    }
    for bad in [
        "", ":1", "a:", "a:x", "a:+1", "a:65536", "[::1", "[::1]x", "[a]", "::1::", "a/b", "-a",
        "http://a", "a b", "ä",
    ] {
        assert!(bad.parse::<Host>().is_err(), "{bad}");
    }
    let list = parse_hosts("a, b:1,a").unwrap();
    assert_eq!(list.len(), 2, "twice is once");
    assert!(parse_hosts("a,,b").is_err());
}

#[test]
fn labels() {
    assert!(check_label(&"x".repeat(32)).is_ok() && check_label("Utimaco ESKM").is_ok());
    for bad in ["", "  ", "a\nb", &"x".repeat(33)] {
        assert!(check_label(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_directory_is_found_in_order() {
    let resolve = |given: Option<&str>, set: &[(&str, &str)], root| {
        let variable = |name: &'static str| {
            set.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| PathBuf::from(v))
        };
        super::resolve(given.map(Path::new), variable, root).map(|p| p.display().to_string())
    };
    let all = [
        ("MRHSM_TOKEN_DIR", "/e"),
        ("MAPR_HOME", "/opt/mapr"),
        ("HOME", "/home/u"),
    ];
    assert_eq!(resolve(Some("/g"), &all, true).unwrap(), "/g");
    assert_eq!(resolve(None, &all, true).unwrap(), "/e");
    assert_eq!(
        resolve(None, &all[1..], true).unwrap(),
        "/opt/mapr/conf/tokens"
    );
    assert_eq!(resolve(None, &all[2..], true).unwrap(), "/etc/mrhsm/tokens");
    assert_eq!(
        resolve(None, &all[2..], false).unwrap(),
        "/home/u/.config/mrhsm/tokens"
    );
    assert!(
        resolve(None, &[], false)
            .unwrap_err()
            .to_string()
            .contains("--tokendir")
    );
}

#[test]
fn a_relative_directory_stays_where_it_was() {
    let here = std::env::current_dir().unwrap();
    let given = super::token_dir(Some(Path::new("a/tokens"))).unwrap();
    assert_eq!(given, here.join("a/tokens"));
}

fn example() -> Config {
    let mut token = TokenConfig::new("Utimaco \"ESKM\" ä\\", UUID, Settings::default()).unwrap();
    token.settings.store = StoreKind::Kmip;
    token.settings.hosts = parse_hosts("12.1.78.164,[::1]:5697").unwrap();
    token.settings.kmip_version = Some(Version::V1_4);
    token.username = Some("u\tser\u{7f}".into());
    token.enabled = true;
    token.cluster = Some("my.cluster.com".into());
    let key = |wrapped: Option<&str>| {
        Some(ClusterKey {
            uid: "a'\"\n".into(),
            checksum: "AB".repeat(32),
            generation: 3,
            wrapped: wrapped.map(Into::into),
            format: if wrapped.is_some() { WRAP_FORMAT } else { 1 },
        })
    };
    let wrapped = "0F".repeat(40);
    token.keys = ClusterKeys {
        core: key(None),
        common: key(None),
        cldb: key(Some(&wrapped)),
        dare: key(Some(&wrapped)),
    };
    Config {
        defaults: Settings {
            port: 1,
            crypto: CryptoPolicy::Server,
            ..Settings::default()
        },
        tokens: vec![token],
    }
}

#[test]
fn what_is_written_reads_the_same_and_is_stable() {
    let text = example().to_text();
    assert_eq!(parse(&text).unwrap(), example());
    assert_eq!(parse(&text).unwrap().to_text(), text);
    assert!(text.starts_with("# mrhsm.conf") && text.contains("\n[token.keys.core] #"));
}

#[test]
fn hexadecimal() {
    assert_eq!(to_hex(&[0, 0xab]), "00AB");
    assert_eq!(from_hex("00aB"), Some(vec![0, 0xab]));
    assert!(from_hex("0").is_none() && from_hex("0g").is_none() && from_hex("é").is_none());
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let host = (
        "[a-z0-9][a-z0-9.-]{0,20}",
        proptest::option::of(1..=u16::MAX),
    )
        .prop_map(|(name, port)| Host { name, port });
    let version = proptest::option::of(proptest::sample::select(Version::ALL.to_vec()));
    let crypto = proptest::sample::select(vec![
        CryptoPolicy::Auto,
        CryptoPolicy::Server,
        CryptoPolicy::Local,
    ]);
    let policy = proptest::sample::select(vec![
        KeyPolicy::Default,
        KeyPolicy::Strict,
        KeyPolicy::Compatible,
    ]);
    let store = any::<bool>().prop_map(|k| if k { StoreKind::Kmip } else { StoreKind::File });
    (
        store,
        proptest::collection::vec(host, 0..4),
        1..=u16::MAX,
        version,
        1..=600_000u64,
        1..=600_000u64,
        crypto,
        0..=86_400_000u64,
        policy,
    )
        .prop_map(
            |(
                store,
                hosts,
                port,
                kmip_version,
                connect_millis,
                deadline_millis,
                crypto,
                key_cache_millis,
                policy,
            )| Settings {
                store,
                hosts,
                server_name: (port % 2 == 0).then(|| "kms.example.com".into()),
                pins: (0..port % 3).map(|i| format!("{i:064X}")).collect(),
                port,
                kmip_version,
                connect_millis,
                deadline_millis,
                crypto,
                key_cache_millis,
                policy,
                max_pin_failures: u32::from(port) % (MAX_PIN_FAILURES + 1),
            },
        )
}

fn any_key() -> impl Strategy<Value = Option<ClusterKey>> {
    let key = (
        any::<String>(),
        "[0-9A-F]{64}",
        1..=u32::MAX,
        proptest::option::of("[0-9A-F]{80}"),
        1..=WRAP_FORMAT,
    );
    proptest::option::of(
        key.prop_map(|(uid, checksum, generation, wrapped, format)| ClusterKey {
            uid,
            checksum,
            generation,
            wrapped,
            format,
        }),
    )
}

proptest! {
    #[test]
    fn any_configuration_survives_writing_and_reading(
        defaults in any_settings(),
        settings in any_settings(),
        label in "[^\\p{Cc}]{1,8}",
        text in any::<(Option<String>, Option<String>)>(),
        enabled in any::<bool>(),
        keys in (any_key(), any_key(), any_key(), any_key()),
        uuid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ) {
        prop_assume!(check_label(&label).is_ok());
        let mut token = TokenConfig::new(&label, &uuid, settings).unwrap();
        (token.username, token.cluster) = text;
        token.enabled = enabled;
        token.keys = ClusterKeys { core: keys.0, common: keys.1, cldb: keys.2, dare: keys.3 };
        let config = Config { defaults, tokens: vec![token] };
        let written = config.to_text();
        let read = parse(&written).unwrap();
        prop_assert_eq!(&read, &config);
        prop_assert_eq!(read.to_text(), written);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(version = 1\n)?[\\[\\]a-z\"=. \n0-9]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_host_makes_it_panic(text in "[\\[\\]:a-f0-9.%é-]{0,40}") {
        let _ = text.parse::<Host>();
    }
}
