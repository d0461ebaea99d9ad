//! Servers of every character, in every version they speak and in those they do not; servers that refuse one thing or another.

use mrhsm_pkcs11::kmip::{OperationCode, ResultReason, State};
use mrhsm_pkcs11::version::Version;

use super::cluster::{ENABLE, four_keys_and_no_more, keys, node, options};
use super::support::{Home, for_each};
use crate::kmip_server::{Fault, Personality, Policy, Script, Server};

/// From `set -kmipversion` over enable, rekey and info to the adoption by a new token directory.
fn live_with(personality: &Personality, version: Version) {
    let server = Server::start(personality.clone(), Script::none());
    let home = node(&server);
    let pin = version.to_string();
    home.mrhsm(["set", "-kmipversion", &pin]).done();
    let host = home.mrhsm(["info", "-config", "-json"]).done().json()["config"]["hosts"][0].take();
    if !personality.versions.contains(&version) {
        let reason = host["reason"]
            .as_str()
            .unwrap_or_else(|| panic!("{} has no KMIP {pin}: {host}", personality.name));
        assert!(
            reason.contains(&format!("not {pin}"))
                && reason.contains("mrhsm set -kmipversion auto"),
            "{reason}"
        );
        let before = home.snapshot();
        let refused = home.mrhsm(ENABLE).failed(5, "mrhsm set -kmipversion auto");
        assert!(refused.err.contains("127.0.0.1"), "{refused:#?}");
        assert!(
            home.snapshot() == before && server.objects().is_empty(),
            "{} {pin}",
            personality.name
        );
        return;
    }
    assert_eq!(
        (&host["active"], &host["kmip_version"]),
        (&true.into(), &pin.clone().into()),
        "{} {pin}: {host}",
        personality.name
    );
    server.clear_log();
    home.mrhsm(ENABLE).done();
    four_keys_and_no_more(&server);
    assert!(
        server
            .log()
            .iter()
            .all(|exchange| exchange.version == Some(version)),
        "{} {pin}",
        personality.name
    );
    home.mrhsm(["rekey", "-keytype", "core"]).done();
    let before = keys(&home);
    assert_eq!(before["core"]["generation"], 2);
    std::fs::remove_dir_all(home.path("tokens")).unwrap();
    let init = ["init", "-label", "again", "-kmipversion", &pin].map(String::from);
    home.mrhsm(init.into_iter().chain(options(&server))).done();
    home.mrhsm(ENABLE).done();
    assert_eq!(keys(&home), before, "{} {pin}", personality.name);
    assert_eq!(server.objects().len(), 5);
}

#[test]
fn every_server_in_every_version() {
    let pairs = Personality::all()
        .into_iter()
        .flat_map(|p| Version::ALL.map(|version| (p.clone(), version)));
    for_each(pairs, |(personality, version)| {
        live_with(&personality, version)
    });
}

/// Refused once and for all: the sentence names the server, no key is left behind, and nothing is written.
#[test]
fn a_server_that_refuses_leaves_nothing_behind() {
    let operations = [
        OperationCode::CREATE,
        OperationCode::ACTIVATE,
        OperationCode::LOCATE,
        OperationCode::GET,
    ];
    let reasons = [
        ResultReason::PERMISSION_DENIED,
        ResultReason::OPERATION_NOT_SUPPORTED,
    ];
    for_each(
        operations
            .into_iter()
            .flat_map(|operation| reasons.map(|reason| (operation, reason))),
        |(operation, reason)| {
            let server = Server::start(
                Personality {
                    forgets_destroyed: true,
                    ..Personality::standard()
                },
                Script::none(),
            );
            let home = node(&server);
            let before = home.snapshot();
            server.script(Script::none().every(operation, Fault::Fail(reason)));
            let refused = home.mrhsm(ENABLE);
            assert_eq!(refused.code, 5, "{operation:?}: {refused:#?}");
            assert!(
                refused.err.contains("127.0.0.1"),
                "{operation:?}: {refused:#?}"
            );
            assert_eq!(home.snapshot(), before);
            server.script(Script::none());
            home.mrhsm(ENABLE).done();
            four_keys_and_no_more(&server);
        },
    );
}

/// A request that fails once, on a server that remembers what was destroyed: the next run comes to a good end.
#[test]
fn what_fails_once_is_completed_by_the_next() {
    let operations = [
        OperationCode::CREATE,
        OperationCode::ACTIVATE,
        OperationCode::GET,
    ];
    for_each(
        operations
            .into_iter()
            .flat_map(|operation| (1..=4).map(move |n| (operation, n))),
        |(operation, n)| {
            let server = Server::start(Personality::standard(), Script::none());
            let home = node(&server);
            server.script(Script::none().at_operation(
                operation,
                n,
                Fault::Fail(ResultReason::PERMISSION_DENIED),
            ));
            home.mrhsm(ENABLE);
            let second = home.mrhsm(ENABLE);
            assert_eq!(second.code, 0, "{operation:?} {n}: {second:#?}");
            let active = server
                .objects()
                .into_iter()
                .filter(|o| o.state == State::ACTIVE)
                .count();
            assert_eq!(active, 4, "{operation:?} {n}");
        },
    );
}

/// What a server will not keep with a key is done without.
#[test]
fn attributes_that_a_server_refuses_are_done_without() {
    let policies = [Policy::Refuse, Policy::Drop, Policy::Break];
    let versions = ["1.2", "1.4", "2.1"];
    for_each(
        policies
            .into_iter()
            .flat_map(|policy| versions.map(|version| (policy, version))),
        |(policy, version)| {
            let nothing = Personality {
                custom_attributes: policy,
                application_info: policy,
                activation_date: policy,
                links: policy,
                descriptions: policy,
                extractable: policy,
                ..Personality::standard()
            };
            let server = Server::start(nothing, Script::none());
            let home = node(&server);
            home.mrhsm(["set", "-kmipversion", version]).done();
            let enabled = home.mrhsm(ENABLE);
            assert_eq!(enabled.code, 0, "{policy:?} {version}: {enabled:#?}");
            let before = keys(&home);
            std::fs::remove_dir_all(home.path("tokens")).unwrap();
            home.mrhsm(
                ["init", "-label", "again"]
                    .map(String::from)
                    .into_iter()
                    .chain(options(&server)),
            )
            .done();
            home.mrhsm(ENABLE).done();
            assert_eq!(keys(&home), before, "{policy:?} {version}");
            four_keys_and_no_more(&server);
        },
    );
}

/// A server of another version than ours.
#[test]
fn a_server_of_the_future_is_told_from_a_broken_one() {
    let server = Server::start(
        Personality {
            versions: &[],
            ..Personality::standard()
        },
        Script::none(),
    );
    let home: Home = node(&server);
    home.mrhsm(ENABLE).failed(5, "KMIP version");
}
