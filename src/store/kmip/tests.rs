//! The store against a small server in memory, which misbehaves as told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::*;
use crate::ck::*;
use crate::error::{Error, Kind};
use crate::kmip::message::{RequestItem, RequestMessage, ResponseBatch};
use crate::kmip::{self, *};
use crate::net::Replay;
use crate::store::{Class, State, Usage};
use crate::ttlv::DateTime;

/// When the answer to a request gets lost.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    /// Before the request was executed.
    Before,
    /// After.
    After,
    /// The request is executed only when the next one of its kind is.
    Late,
}

/// What the server does.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, Attributes>,
    /// Every request, in order.
    log: Vec<OperationCode>,
    /// Operations it does not have.
    lacks: Vec<OperationCode>,
    /// Answers that get lost, by operation.
    losses: Vec<(OperationCode, Loss)>,
    late: Vec<Attributes>,
    /// Whether it refuses these attributes for a new object.
    refuses: Option<fn(&Attributes) -> bool>,
    /// The next Create fails for a reason that passes.
    hiccup: bool,
    /// Only messages with one item.
    single: bool,
    /// Hangs up on messages with several items, and on questions for more than so many attributes.
    hangs_up: Option<usize>,
    /// At most this many identifiers in an answer.
    page: Option<usize>,
    ignores_offset: bool,
    /// Pads whatever it is told, and refuses to be told not to.
    pads: bool,
    versions: Vec<Version>,
    made: usize,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn store(&self) -> KmipStore<Fake> {
        self.store_in(Some(Version::V1_4))
    }

    fn store_in(&self, version: Option<Version>) -> KmipStore<Fake> {
        KmipStore::over(Client::over(
            self.clone(),
            version,
            None,
            Duration::from_secs(2),
        ))
    }

    /// The requests since the last question.
    fn asked(&self) -> Vec<OperationCode> {
        std::mem::take(&mut self.world().log)
    }
}

type Answer<R> = std::result::Result<R, ResultReason>;

impl World {
    /// Says whether it was a success.
    fn serve(&mut self, item: &RequestItem<'_>, batch: &mut ResponseBatch) -> bool {
        macro_rules! serve {
            ($($request:ident => $handler:ident),*) => {
                match item.operation {
                    operation if self.lacks.contains(&operation) => Err(ResultReason::OPERATION_NOT_SUPPORTED),
                    $($request::CODE => self.$handler(item.request().unwrap()).map(|answer| {
                        batch.success(item.operation, item.unique_batch_item_id.as_deref(), &answer);
                    }),)*
                    _ => Err(ResultReason::OPERATION_NOT_SUPPORTED),
                }
            };
        }
        let id = item.unique_batch_item_id.as_deref();
        let outcome = serve!(
            CreateRequest => create, LocateRequest => locate, GetAttributesRequest => attributes, ActivateRequest => activate,
            RevokeRequest => revoke, DestroyRequest => destroy, EncryptRequest => encrypt, DecryptRequest => decrypt,
            QueryRequest => query, DiscoverVersionsRequest => discover, ModifyAttributeRequest => modify
        );
        if let Err(reason) = outcome {
            batch.failure(Some(item.operation), id, reason, "as told");
        }
        outcome.is_ok()
    }

    fn add(&mut self, attributes: Attributes, object_type: ObjectType) -> String {
        self.made += 1;
        let uid = format!("u{}", self.made);
        let attributes = attributes
            .with(AttributeValue::ObjectType(object_type))
            .with(AttributeValue::State(kmip::State::PRE_ACTIVE))
            .with(AttributeValue::InitialDate(DateTime(
                1000 + self.made as i64,
            )));
        self.objects.insert(uid.clone(), attributes);
        uid
    }

    fn create(&mut self, request: CreateRequest) -> Answer<CreateResponse> {
        let attributes = request.template_attribute.attributes;
        if self.refuses.is_some_and(|refuses| refuses(&attributes)) {
            return Err(ResultReason::INVALID_FIELD);
        }
        if std::mem::take(&mut self.hiccup) {
            return Err(ResultReason::GENERAL_FAILURE);
        }
        for late in std::mem::take(&mut self.late) {
            self.add(late, request.object_type);
        }
        let unique_identifier = self.add(attributes, request.object_type);
        Ok(CreateResponse {
            object_type: request.object_type,
            unique_identifier,
            template_attribute: None,
        })
    }

    fn object(&mut self, uid: &Option<UniqueIdentifier>) -> Answer<&mut Attributes> {
        let uid = uid
            .as_ref()
            .and_then(UniqueIdentifier::as_text)
            .expect("a request names its object");
        self.objects
            .get_mut(uid)
            .ok_or(ResultReason::ITEM_NOT_FOUND)
    }

    fn locate(&mut self, request: LocateRequest) -> Answer<LocateResponse> {
        let wanted: Vec<&AttributeValue> = request.attributes.iter().collect();
        let matches = |attributes: &Attributes| {
            wanted
                .iter()
                .all(|value| attributes.iter().any(|a| a == *value))
        };
        let all: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, a)| matches(a))
            .map(|(uid, _)| uid.clone())
            .collect();
        let offset = request
            .offset_items
            .filter(|_| !self.ignores_offset)
            .unwrap_or(0) as usize;
        let page = all
            .iter()
            .skip(offset)
            .take(self.page.unwrap_or(usize::MAX))
            .cloned()
            .collect();
        let located_items = self.page.map(|_| all.len() as i32);
        Ok(LocateResponse {
            located_items,
            unique_identifiers: page,
        })
    }

    fn attributes(&mut self, request: GetAttributesRequest) -> Answer<GetAttributesResponse> {
        let names = request.attribute_names;
        let mut attributes = self.object(&request.unique_identifier)?.clone();
        attributes
            .0
            .retain(|a| names.is_empty() || names.contains(&a.value.name()));
        Ok(GetAttributesResponse {
            unique_identifier: request.unique_identifier.unwrap().to_string(),
            attributes,
        })
    }

    fn turn(
        &mut self,
        uid: &Option<UniqueIdentifier>,
        from: kmip::State,
        to: kmip::State,
    ) -> Answer<()> {
        let attributes = self.object(uid)?;
        let state = attributes.0.iter_mut().find_map(|a| match &mut a.value {
            AttributeValue::State(state) => Some(state),
            _ => None,
        });
        match state {
            Some(state) if *state == from => *state = to,
            _ => return Err(ResultReason::PERMISSION_DENIED),
        }
        Ok(())
    }

    fn activate(&mut self, request: ActivateRequest) -> Answer<ActivateResponse> {
        self.turn(
            &request.unique_identifier,
            kmip::State::PRE_ACTIVE,
            kmip::State::ACTIVE,
        )?;
        Ok(ActivateResponse::default())
    }

    fn revoke(&mut self, request: RevokeRequest) -> Answer<RevokeResponse> {
        self.turn(
            &request.unique_identifier,
            kmip::State::ACTIVE,
            kmip::State::DEACTIVATED,
        )?;
        Ok(RevokeResponse::default())
    }

    fn destroy(&mut self, request: DestroyRequest) -> Answer<DestroyResponse> {
        if self.object(&request.unique_identifier)?.state() == Some(&kmip::State::ACTIVE) {
            return Err(ResultReason::PERMISSION_DENIED);
        }
        self.objects
            .remove(&request.unique_identifier.unwrap().to_string());
        Ok(DestroyResponse::default())
    }

    fn modify(&mut self, request: ModifyAttributeRequest) -> Answer<ModifyAttributeResponse> {
        let (name, index) = (request.attribute.value.name(), request.attribute.index);
        let attributes = self.object(&request.unique_identifier)?;
        let old = attributes
            .0
            .iter_mut()
            .find(|a| a.value.name() == name && a.index == index);
        old.ok_or(ResultReason::INDEX_OUT_OF_BOUNDS)?.value = request.attribute.value;
        Ok(ModifyAttributeResponse::default())
    }

    /// "Encrypts" by adding one to every byte, after padding.
    fn encrypt(&mut self, request: EncryptRequest) -> Answer<EncryptResponse> {
        let padding = request.cryptographic_parameters.unwrap().padding_method;
        if self.pads && padding == Some(PaddingMethod::NONE) {
            return Err(ResultReason::INVALID_FIELD);
        }
        let mut data = request.data.unwrap().expose().to_vec();
        if padding == Some(PaddingMethod::PKCS5) {
            let pad = 16 - data.len() % 16;
            data.extend(std::iter::repeat_n(pad as u8, pad));
        }
        let data = data.iter().map(|b| b.wrapping_add(1)).collect();
        Ok(EncryptResponse {
            data: Some(data),
            ..EncryptResponse::default()
        })
    }

    fn decrypt(&mut self, request: DecryptRequest) -> Answer<DecryptResponse> {
        let padding = request.cryptographic_parameters.unwrap().padding_method;
        if self.pads && padding == Some(PaddingMethod::NONE) {
            return Err(ResultReason::INVALID_FIELD);
        }
        let mut data: Vec<u8> = request
            .data
            .unwrap()
            .iter()
            .map(|b| b.wrapping_sub(1))
            .collect();
        if padding == Some(PaddingMethod::PKCS5) {
            let pad = usize::from(*data.last().unwrap());
            if pad == 0 || pad > 16 {
                return Err(ResultReason::CRYPTOGRAPHIC_FAILURE);
            }
            data.truncate(data.len() - pad);
        }
        Ok(DecryptResponse {
            data: Some(Secret::new(data)),
            ..DecryptResponse::default()
        })
    }

    fn query(&mut self, _: QueryRequest) -> Answer<QueryResponse> {
        Ok(QueryResponse {
            operations: vec![OperationCode::ENCRYPT],
            ..QueryResponse::default()
        })
    }

    fn discover(&mut self, request: DiscoverVersionsRequest) -> Answer<DiscoverVersionsResponse> {
        let mut protocol_versions = self.versions.clone();
        protocol_versions.retain(|v| {
            request.protocol_versions.is_empty() || request.protocol_versions.contains(v)
        });
        Ok(DiscoverVersionsResponse { protocol_versions })
    }
}

impl Transport for Fake {
    fn exchange(&self, frame: &[u8], replay: Replay, until: Instant) -> Result<Secret> {
        let broken = || Error::new(Kind::Broken, CKR_DEVICE_ERROR, "the connection broke");
        assert!(Instant::now() < until, "a request after the deadline");
        let mut world = self.world();
        let message = RequestMessage::decode(frame).unwrap();
        let version = message.header.protocol_version;
        let mut batch = ResponseBatch::new(version, 0);
        let understood = world.versions.is_empty() || world.versions.contains(&version);
        if !understood || (world.single && message.items.len() > 1) {
            world.log.push(message.items[0].operation);
            batch = ResponseBatch::new(Version::V1_0, 0);
            batch.failure(None, None, ResultReason::INVALID_MESSAGE, "not understood");
            return batch.finish();
        }
        for item in &message.items {
            world.log.push(item.operation);
            let questions = item
                .request::<GetAttributesRequest>()
                .map_or(0, |request| request.attribute_names.len());
            if world
                .hangs_up
                .is_some_and(|most| questions > most || message.items.len() > 1)
            {
                return Err(broken());
            }
            let loss = world
                .losses
                .iter()
                .position(|(operation, _)| *operation == item.operation);
            let loss = loss.map(|at| world.losses.remove(at).1);
            if loss.is_some() {
                assert!(
                    replay == Replay::OnlyIfUnsent,
                    "what is safe to repeat is repeated below this floor"
                );
            }
            match loss {
                Some(Loss::Before) => return Err(broken()),
                Some(Loss::Late) => {
                    let request: CreateRequest = item.request().unwrap();
                    world.late.push(request.template_attribute.attributes);
                    return Err(broken());
                }
                Some(Loss::After) => {
                    world.serve(item, &mut batch);
                    return Err(broken());
                }
                None => {}
            }
            // As the specification's default: the first failure ends the batch.
            if !world.serve(item, &mut batch) {
                break;
            }
        }
        batch.finish()
    }

    fn peer(&self) -> String {
        "fake".into()
    }
}

fn spec(label: &str) -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::Aes,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: Some("mrhsm:c".into()),
        label: label.into(),
        id: vec![1],
        sensitive: true,
        extractable: false,
        properties: BTreeMap::from([("role".into(), "core".into())]),
    }
}

use OperationCode as O;

#[test]
fn a_key_is_two_requests_and_comes_back_as_it_was_asked_for() {
    for version in Version::ALL {
        let fake = Fake::default();
        let store = fake.store_in(Some(version));
        let uid = store.create(&spec("Key")).unwrap();
        assert_eq!(
            fake.asked(),
            [O::CREATE, O::GET_ATTRIBUTES, O::ACTIVATE],
            "the first is looked at"
        );
        let other = store.create(&spec("Another")).unwrap();
        assert_eq!(fake.asked(), [O::CREATE, O::ACTIVATE]);
        let meta = store
            .meta(&store.client.call(), std::slice::from_ref(&uid))
            .unwrap()
            .remove(0);
        assert_eq!(fake.asked(), [O::GET_ATTRIBUTES]);
        let wanted = spec("Key");
        assert_eq!(
            (meta.class, meta.algorithm, meta.bits, meta.usage),
            (wanted.class, wanted.algorithm, 256, wanted.usage)
        );
        assert_eq!(
            (meta.label, meta.id, meta.properties),
            (Some(wanted.label), Some(wanted.id), wanted.properties),
            "{version}"
        );
        assert_eq!(
            (meta.sensitive, meta.extractable, meta.state),
            (Some(true), Some(false), Some(State::Active))
        );
        assert_eq!(meta.groups, ["mrhsm:c"]);
        assert_eq!(
            store
                .locate(&Filter {
                    id: Some(vec![1]),
                    ..Filter::default()
                })
                .unwrap(),
            [uid, other]
        );
    }
}

#[test]
fn a_lost_answer_makes_neither_twin_nor_orphan() {
    for name in [None, Some("mrhsm:c:core:1".to_owned())] {
        for loss in [Loss::Before, Loss::After, Loss::Late] {
            let fake = Fake::default();
            fake.world().losses.push((O::CREATE, loss));
            let uid = fake
                .store()
                .create(&Spec {
                    name: name.clone(),
                    ..spec("Key")
                })
                .unwrap();
            let world = fake.world();
            assert_eq!(world.objects.keys().collect::<Vec<_>>(), [&uid.0]);
            assert_eq!(world.objects[&uid.0].state(), Some(&kmip::State::ACTIVE));
        }
    }
}

#[test]
fn a_second_lost_answer_leaves_no_orphan() {
    let fake = Fake::default();
    let losses = [(O::CREATE, Loss::Before), (O::CREATE, Loss::After)];
    fake.world().losses.extend(losses);
    let uid = fake.store().create(&spec("Key")).unwrap();
    assert_eq!(
        fake.world().objects.keys().collect::<Vec<_>>(),
        [&uid.0],
        "what the second request made is adopted"
    );
}

#[test]
fn a_name_that_others_have_is_not_taken_for_ours() {
    let fake = Fake::default();
    let store = fake.store();
    let named = Spec {
        name: Some("shared".into()),
        ..spec("Key")
    };
    let first = store.create(&named).unwrap();
    fake.world().losses.push((O::CREATE, Loss::Before));
    let second = store.create(&named).unwrap();
    assert_ne!(first, second);
    assert_eq!(fake.world().objects.len(), 2);
}

#[test]
fn what_cannot_be_activated_is_not_left_behind() {
    let fake = Fake::default();
    fake.world().lacks.push(O::ACTIVATE);
    let error = fake.store().create(&spec("Key")).unwrap_err();
    assert!(error.to_string().contains("destroyed again"), "{error}");
    assert!(fake.world().objects.is_empty());
    fake.world().lacks.push(O::DESTROY);
    let error = fake.store().create(&spec("Key")).unwrap_err();
    assert!(error.to_string().contains("u2"), "{error}");
}

#[test]
fn refused_attributes_are_left_out_and_stay_left_out() {
    let cases: [fn(&Attributes) -> bool; 5] = [
        |a| a.extractable().is_some(),
        |a| a.sensitive().is_some() || a.extractable().is_some(),
        |a| {
            a.iter()
                .filter(|v| matches!(v, AttributeValue::ApplicationSpecificInformation(_)))
                .count()
                > 1
        },
        |a| a.application_specific_information().is_some(),
        |a| a.len() > 5,
    ];
    for (number, refuses) in cases.into_iter().enumerate() {
        let fake = Fake::default();
        fake.world().refuses = Some(refuses);
        let store = fake.store();
        // The last server has no place for the record: neither label nor protection are kept.
        if number == 4 {
            let error = store.create(&spec("Key")).unwrap_err();
            assert_eq!(error.rv(), CKR_TEMPLATE_INCONSISTENT);
            assert!(error.to_string().contains("destroyed again"), "{error}");
            assert!(fake.world().objects.is_empty());
            continue;
        }
        let uid = store.create(&spec("Key")).unwrap();
        assert!(fake.asked().len() > 2);
        store.create(&spec("Key")).unwrap();
        assert_eq!(fake.asked(), [O::CREATE, O::ACTIVATE], "case {number}");
        let meta = store.meta(&store.client.call(), &[uid]).unwrap().remove(0);
        assert_eq!(meta.label.as_deref(), Some(&b"Key"[..]), "case {number}");
        assert_eq!(meta.extractable, Some(false), "case {number}");
    }
}

#[test]
fn a_failure_that_passes_costs_no_protection() {
    let fake = Fake::default();
    fake.world().hiccup = true;
    let uid = fake.store().create(&spec("Key")).unwrap();
    let world = fake.world();
    assert_eq!(
        (
            world.objects[&uid.0].sensitive(),
            world.objects[&uid.0].extractable()
        ),
        (Some(&true), Some(&false))
    );
    assert_eq!(
        world.objects[&uid.0].application_data("pkcs11.label"),
        Some("Key")
    );
}

#[test]
fn a_server_that_refuses_everything_is_asked_a_few_times_only() {
    let fake = Fake::default();
    fake.world().refuses = Some(|_| true);
    let store = fake.store();
    let error = store.create(&spec("Key")).unwrap_err();
    assert_eq!(error.rv(), CKR_TEMPLATE_INCONSISTENT);
    assert!(fake.asked().len() < 16);
    fake.world().lacks.push(O::CREATE);
    assert_eq!(
        store.create(&spec("Key")).unwrap_err().rv(),
        CKR_FUNCTION_NOT_SUPPORTED
    );
    assert_eq!(fake.asked(), [O::CREATE]);
}

#[test]
fn destroying_revokes_first_where_it_must() {
    let fake = Fake::default();
    let store = fake.store();
    let uid = store.create(&spec("Key")).unwrap();
    fake.asked();
    KeyStore::destroy(&store, &uid).unwrap();
    assert_eq!(
        fake.asked(),
        [O::DESTROY, O::GET_ATTRIBUTES, O::REVOKE, O::DESTROY]
    );
    assert_eq!(
        KeyStore::destroy(&store, &uid).unwrap_err().rv(),
        CKR_OBJECT_HANDLE_INVALID
    );
}

#[test]
fn activating_and_revoking_twice_is_no_error() {
    let fake = Fake::default();
    let store = fake.store();
    let uid = store.create(&spec("Key")).unwrap();
    KeyStore::activate(&store, &uid).unwrap();
    for _ in 0..2 {
        KeyStore::revoke(&store, &uid, Revocation::Superseded).unwrap();
    }
    assert!(KeyStore::activate(&store, &uid).is_err());
}

#[test]
fn many_objects_in_few_messages_whatever_is_missing() {
    let fake = Fake::default();
    let store = fake.store();
    let mut uids: Vec<Uid> = (0..20)
        .map(|_| store.create(&spec("Key")).unwrap())
        .collect();
    uids.insert(5, Uid("gone".into()));
    fake.world().objects.remove("u12");
    fake.asked();
    let metas = KeyStore::meta(&store, &uids).unwrap();
    let expected: Vec<&Uid> = uids
        .iter()
        .filter(|uid| uid.0 != "gone" && uid.0 != "u12")
        .collect();
    assert_eq!(metas.iter().map(|m| &m.uid).collect::<Vec<_>>(), expected);
    fake.world().single = true;
    assert_eq!(KeyStore::meta(&fake.store(), &uids).unwrap().len(), 19);
    fake.world().single = false;
    fake.world().hangs_up = Some(9);
    let store = fake.store();
    fake.asked();
    for tries in [22, 19] {
        assert_eq!(KeyStore::meta(&store, &uids[6..]).unwrap().len(), 14);
        assert!(fake.asked().len() <= tries);
    }
}

#[test]
fn every_page_is_read_and_none_twice() {
    for ignores_offset in [false, true] {
        let fake = Fake::default();
        let store = fake.store();
        (0..7).for_each(|_| drop(store.create(&spec("Key")).unwrap()));
        fake.world().page = Some(3);
        fake.world().ignores_offset = ignores_offset;
        let found = store
            .locate(&Filter {
                group: Some("mrhsm:c".into()),
                ..Filter::default()
            })
            .unwrap();
        assert_eq!(found.len(), if ignores_offset { 3 } else { 7 });
    }
}

#[test]
fn one_encryption_is_one_request() {
    let fake = Fake::default();
    let store = fake.store();
    let uid = store.create(&spec("Key")).unwrap();
    let iv = vec![0; 16];
    KeyStore::encrypt(&store, &uid, Algorithm::Aes, &Cipher::Ecb, &[7; 16]).unwrap();
    assert_eq!(
        fake.asked()[3..],
        [O::QUERY, O::ENCRYPT, O::REGISTER],
        "it lets nobody try it, and is asked that once"
    );
    for cipher in [
        Cipher::Ecb,
        Cipher::Cbc { iv: iv.clone() },
        Cipher::CbcPad { iv: iv.clone() },
        Cipher::Ctr { counter: iv },
    ] {
        let made = KeyStore::encrypt(&store, &uid, Algorithm::Aes, &cipher, &[7; 32]).unwrap();
        assert_eq!(fake.asked(), [O::ENCRYPT]);
        assert_eq!(
            KeyStore::decrypt(&store, &uid, Algorithm::Aes, &cipher, &made)
                .unwrap()
                .expose(),
            [7; 32]
        );
        assert_eq!(fake.asked(), [O::DECRYPT]);
    }
}

#[test]
fn a_server_that_always_pads_encrypts_whole_blocks_all_the_same() {
    let fake = Fake::default();
    fake.world().pads = true;
    let store = fake.store();
    let uid = store.create(&spec("Key")).unwrap();
    for cipher in [Cipher::Ecb, Cipher::Cbc { iv: vec![0; 16] }] {
        let made = KeyStore::encrypt(&store, &uid, Algorithm::Aes, &cipher, &[7; 48]).unwrap();
        assert_eq!(made, [8; 48]);
        assert_eq!(
            KeyStore::decrypt(&store, &uid, Algorithm::Aes, &cipher, &made)
                .unwrap()
                .expose(),
            [7; 48]
        );
    }
    fake.asked();
    KeyStore::encrypt(&store, &uid, Algorithm::Aes, &Cipher::Ecb, &[7; 48]).unwrap();
    KeyStore::decrypt(&store, &uid, Algorithm::Aes, &Cipher::Ecb, &[8; 48]).unwrap();
    assert_eq!(
        fake.asked(),
        [O::ENCRYPT, O::DECRYPT],
        "the padding block is remembered"
    );
    assert_eq!(
        KeyStore::encrypt(&store, &uid, Algorithm::Aes, &Cipher::Ecb, &[7; 5])
            .unwrap_err()
            .rv(),
        CKR_DATA_LEN_RANGE
    );
}

#[test]
fn abilities_are_what_was_proven_else_what_was_announced() {
    let fake = Fake::default();
    let store = fake.store();
    assert!(store.can(Ability::Encrypt).unwrap());
    assert!(!store.can(Ability::Decrypt).unwrap());
    assert_eq!(fake.asked(), [O::QUERY]);
    let uid = store.create(&spec("Key")).unwrap();
    KeyStore::decrypt(&store, &uid, Algorithm::Aes, &Cipher::Ecb, &[8; 16]).unwrap();
    assert!(store.can(Ability::Decrypt).unwrap());
    fake.world().lacks.push(O::ENCRYPT);
    let error = KeyStore::encrypt(
        &store,
        &uid,
        Algorithm::Aes,
        &Cipher::CbcPad { iv: vec![0; 16] },
        b"x",
    )
    .unwrap_err();
    assert_eq!(error.rv(), CKR_MECHANISM_INVALID);
    // It is announced: what was refused is this mode.
    assert!(store.can(Ability::Encrypt).unwrap());
    fake.world().lacks.push(O::DECRYPT);
    let cipher = Cipher::CbcPad { iv: vec![0; 16] };
    KeyStore::decrypt(&store, &uid, Algorithm::Aes, &cipher, &[8; 16]).unwrap_err();
    // It is not announced, but worked before.
    assert!(store.can(Ability::Decrypt).unwrap());
    assert!(
        !fake
            .store_in(Some(Version::V1_1))
            .can(Ability::Encrypt)
            .unwrap()
    );
}

#[test]
fn an_update_changes_what_is_kept_and_nothing_else() {
    let fake = Fake::default();
    let store = fake.store();
    let uid = store.create(&spec("Key")).unwrap();
    fake.asked();
    let changes = Changes {
        label: Some(b"New".to_vec()),
        ..Changes::default()
    };
    KeyStore::update(&store, &uid, &changes).unwrap();
    assert_eq!(fake.asked(), [O::GET_ATTRIBUTES, O::MODIFY_ATTRIBUTE]);
    let meta = KeyStore::meta(&store, &[uid]).unwrap().remove(0);
    assert_eq!(
        (meta.label, meta.id, meta.properties),
        (Some(b"New".to_vec()), Some(vec![1]), spec("").properties)
    );
}

#[test]
fn versions_are_negotiated_once_and_1_4_is_preferred() {
    let cases = [
        (
            vec![Version::V2_1, Version::V2_0, Version::V1_4, Version::V1_1],
            Version::V1_4,
        ),
        (vec![Version::V1_1, Version::V1_3], Version::V1_3),
        (
            vec![Version::V1_1, Version::V2_0, Version::V2_1],
            Version::V2_1,
        ),
    ];
    for (versions, expected) in cases {
        let fake = Fake::default();
        fake.world().versions = versions;
        let store = fake.store_in(None);
        assert_eq!(store.version().unwrap(), expected);
        assert_eq!(store.version().unwrap(), expected);
        assert_eq!(fake.asked(), [O::DISCOVER_VERSIONS]);
    }
}

#[test]
fn a_server_of_1_0_and_one_of_2_1_only_are_understood_and_a_pinned_version_is_checked() {
    for version in [Version::V1_0, Version::V2_1] {
        let fake = Fake::default();
        fake.world().versions = vec![version];
        assert_eq!(fake.store_in(None).version().unwrap(), version);
    }
    let fake = Fake::default();
    fake.world().versions = vec![Version { major: 9, minor: 9 }];
    assert!(
        fake.store_in(None)
            .version()
            .unwrap_err()
            .to_string()
            .contains("no KMIP version from 1.0 to 2.1 is understood")
    );
    fake.world().versions = vec![Version::V1_1, Version::V1_2];
    let error = fake.store().create(&spec("Key")).unwrap_err();
    assert!(
        error.to_string().contains("speaks KMIP 1.1, 1.2, not 1.4"),
        "{error}"
    );
}
