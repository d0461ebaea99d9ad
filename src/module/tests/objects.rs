//! Objects: visibility, search, attributes, import.

use super::*;

#[test]
fn objects_are_visible_to_whom_they_are_meant_for() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let private = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_TOKEN, YES), (CKA_LABEL, b"private")],
    );
    let public = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_PRIVATE, NO), (CKA_LABEL, b"public")],
    );
    let other = m.open_session(bench.slot, RO).unwrap();
    assert_eq!(bench.find(other, &[]), [private, public]);
    refused(
        m.generate_key(
            other,
            Mechanism::bare(CKM_AES_KEY_GEN),
            template(&[AES_256, (CKA_TOKEN, YES)]),
        ),
        CKR_SESSION_READ_ONLY,
    );
    refused(m.destroy_object(other, private), CKR_SESSION_READ_ONLY);
    m.logout(h).unwrap();
    assert_eq!(bench.find(other, &[]), [public]);
    refused(
        m.attribute_values(other, private, &[CKA_LABEL]),
        CKR_OBJECT_HANDLE_INVALID,
    );
    refused(
        m.generate_key(
            h,
            Mechanism::bare(CKM_AES_KEY_GEN),
            template(&[AES_256, (CKA_PRIVATE, YES)]),
        ),
        CKR_USER_NOT_LOGGED_IN,
    );
    m.login(other, CKU_USER, Some(PIN)).unwrap();
    let found = bench.find(other, &[(CKA_LABEL, b"private")]);
    assert_eq!(found.len(), 1);
    assert_ne!(
        found[0], private,
        "logging out ends the handles of private objects"
    );
    m.close_session(h).unwrap();
    assert_eq!(
        bench.find(other, &[]),
        found,
        "session objects end with their session"
    );
}

#[test]
fn finding_costs_requests_only_once() {
    let bench = Bench::new();
    let h = bench.user();
    for label in [&b"a"[..], b"b", b"b"] {
        bench.generate(
            h,
            CKM_AES_KEY_GEN,
            &[AES_256, (CKA_TOKEN, YES), (CKA_LABEL, label)],
        );
    }
    bench.store.foreign("theirs", &foreign_key(), &[1; 32]);
    bench.store.requests();
    let all = bench.find(h, &[]);
    assert_eq!(all.len(), 4);
    assert_eq!(
        bench.store.requests(),
        2,
        "a search, and the attributes of the one object not made here"
    );
    assert_eq!(bench.find(h, &[]), all);
    assert_eq!(bench.store.requests(), 0);
    assert_eq!(
        bench.find(h, &[(CKA_LABEL, b"b")]).len(),
        2,
        "equal labels are no obstacle"
    );
    assert_eq!(bench.find(h, &[(CKA_LABEL, b"their key")]).len(), 1);
    assert!(bench.find(h, &[(CKA_LABEL, b"nobody's")]).is_empty());
    assert!(
        bench
            .find(h, &[(CKA_CLASS, &CKO_DATA.to_ne_bytes())])
            .is_empty()
    );
    assert_eq!(
        bench
            .find(
                h,
                &[(CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()), (CKA_TOKEN, YES)]
            )
            .len(),
        4
    );
    assert!(bench.find(h, &[(CKA_VENDOR_DEFINED | 99, b"x")]).is_empty());
    bench.module.destroy_object(h, all[0]).unwrap();
    assert_eq!(bench.find(h, &[]), all[1..], "own changes are seen at once");
    bench.module.find_objects_init(h, template(&[])).unwrap();
    refused(
        bench.module.find_objects_init(h, template(&[])),
        CKR_OPERATION_ACTIVE,
    );
    assert_eq!(bench.module.find_objects(h, 2).unwrap().len(), 2);
    assert_eq!(bench.module.find_objects(h, 2).unwrap().len(), 1);
    assert!(bench.module.find_objects(h, 2).unwrap().is_empty());
    bench.module.find_objects_final(h).unwrap();
    refused(
        bench.module.find_objects_final(h),
        CKR_OPERATION_NOT_INITIALIZED,
    );
}

#[test]
fn attributes_are_shown_changed_and_copied_by_the_rules() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let open = &[
        AES_256,
        (CKA_TOKEN, YES),
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
        (CKA_LABEL, b"open"),
    ];
    let key = bench.generate(h, CKM_AES_KEY_GEN, open);
    let answers = m
        .attribute_values(
            h,
            key,
            &[
                CKA_LABEL,
                CKA_MODULUS,
                CKA_VALUE,
                CKA_VALUE_LEN,
                CKA_WRAP_TEMPLATE,
                0x7777,
            ],
        )
        .unwrap();
    assert!(matches!(&answers[0], Answer::Value(v) if v.expose() == b"open"));
    assert!(matches!(answers[1], Answer::Unknown));
    assert!(matches!(&answers[2], Answer::Value(v) if v.len() == 32));
    assert!(matches!(&answers[3], Answer::Value(v) if v.expose() == 32u64.to_ne_bytes()));
    assert!(matches!(&answers[4], Answer::Nested(t) if t.0.is_empty()));
    assert!(matches!(answers[5], Answer::Unknown));
    assert!(
        bench
            .value(h, key, CKA_CHECK_VALUE)
            .is_some_and(|v| v.len() == 3)
    );
    refused(
        m.set_attribute_values(h, key, template(&[(CKA_LOCAL, NO)])),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    refused(
        m.set_attribute_values(h, key, template(&[(CKA_LABEL, b"x"), (CKA_TOKEN, NO)])),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    assert_eq!(
        bench.value(h, key, CKA_LABEL).unwrap(),
        b"open",
        "all or nothing"
    );
    m.set_attribute_values(
        h,
        key,
        template(&[(CKA_LABEL, b"new"), (CKA_SENSITIVE, YES)]),
    )
    .unwrap();
    assert!(matches!(
        m.attribute_values(h, key, &[CKA_VALUE]).unwrap()[0],
        Answer::Sensitive
    ));
    assert_eq!(bench.value(h, key, CKA_ALWAYS_SENSITIVE).unwrap(), NO);
    let copy = m
        .copy_object(
            h,
            key,
            template(&[(CKA_TOKEN, NO), (CKA_LABEL, b"copy"), (CKA_COPYABLE, NO)]),
        )
        .unwrap();
    assert_eq!(bench.value(h, copy, CKA_TOKEN).unwrap(), NO);
    refused(m.copy_object(h, copy, template(&[])), CKR_ACTION_PROHIBITED);
    refused(
        m.copy_object(h, key, template(&[(CKA_SENSITIVE, NO)])),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    let hidden = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[
            AES_256,
            (CKA_TOKEN, YES),
            (CKA_EXTRACTABLE, NO),
            (CKA_DESTROYABLE, NO),
            (CKA_MODIFIABLE, NO),
        ],
    );
    refused(
        m.copy_object(h, hidden, template(&[])),
        CKR_ACTION_PROHIBITED,
    );
    refused(m.destroy_object(h, hidden), CKR_ACTION_PROHIBITED);
    refused(
        m.set_attribute_values(h, hidden, template(&[(CKA_LABEL, b"x")])),
        CKR_ACTION_PROHIBITED,
    );
    assert_eq!(bench.value(h, hidden, CKA_NEVER_EXTRACTABLE).unwrap(), YES);
    refused(m.destroy_object(h, 4711), CKR_OBJECT_HANDLE_INVALID);
    m.destroy_object(h, key).unwrap();
    refused(m.destroy_object(h, key), CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn what_cannot_be_read_just_now_is_not_said_to_be_missing() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_TOKEN, YES), (CKA_LABEL, b"key")],
    );
    bench.store.away.store(true, Ordering::Relaxed);
    assert_eq!(bench.value(h, key, CKA_LABEL).unwrap(), b"key");
    refused(
        m.attribute_values(h, key, &[CKA_LABEL, CKA_CHECK_VALUE]),
        CKR_DEVICE_ERROR,
    );
    bench.store.away.store(false, Ordering::Relaxed);
    let check = bench.value(h, key, CKA_CHECK_VALUE).unwrap();
    assert_eq!(check.len(), 3);
    // A store that refuses for good is no error: the attribute is not there, and other keys are found all the same.
    let other = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_TOKEN, YES), (CKA_EXTRACTABLE, NO)],
    );
    bench.store.refuses.store(true, Ordering::Relaxed);
    assert!(matches!(
        m.attribute_values(h, other, &[CKA_CHECK_VALUE]).unwrap()[0],
        Answer::Unknown
    ));
    assert_eq!(bench.find(h, &[(CKA_CHECK_VALUE, &check)]), [key]);
    bench.store.refuses.store(false, Ordering::Relaxed);
    bench.store.away.store(true, Ordering::Relaxed);
    refused(
        m.find_objects_init(h, template(&[(CKA_CHECK_VALUE, b"abc")])),
        CKR_DEVICE_ERROR,
    );
}

#[test]
fn imported_objects_of_every_class_come_back_as_they_were() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for token in [YES, NO] {
        let data = m.create_object(
            h,
            template(&[
                (CKA_CLASS, &CKO_DATA.to_ne_bytes()),
                (CKA_TOKEN, token),
                (CKA_VALUE, b"text"),
                (CKA_APPLICATION, b"app"),
            ]),
        );
        let data = data.unwrap();
        assert_eq!(bench.value(h, data, CKA_VALUE).unwrap(), b"text");
        assert_eq!(bench.value(h, data, CKA_APPLICATION).unwrap(), b"app");

        let rows = &[
            (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_VALUE, &[0; 16]),
        ];
        let key = m.create_object(h, template(rows)).unwrap();
        assert_eq!(
            bench.value(h, key, CKA_CHECK_VALUE).unwrap(),
            [0x66, 0xe9, 0x4b]
        );
        assert_eq!(bench.value(h, key, CKA_LOCAL).unwrap(), NO);
        assert_eq!(bench.value(h, key, CKA_ALWAYS_SENSITIVE).unwrap(), NO);

        let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
        let scalar = pair.scalar().unwrap();
        let rows = &[
            (CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_EC_PARAMS, Curve::P256.params()),
            (CKA_VALUE, scalar.expose()),
            (CKA_SENSITIVE, NO),
            (CKA_EXTRACTABLE, YES),
        ];
        let private = m.create_object(h, template(rows)).unwrap();
        assert_eq!(bench.value(h, private, CKA_VALUE).unwrap(), scalar.expose());
        let point = bench.value(h, private, CKA_EC_POINT).unwrap();
        let rows = &[
            (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_EC_PARAMS, Curve::P256.params()),
            (CKA_EC_POINT, &point),
        ];
        let public = m.create_object(h, template(rows)).unwrap();
        assert_eq!(bench.value(h, public, CKA_EC_POINT).unwrap(), point);
    }
    let bad: &[(&[Row<'_>], CK_RV)] = &[
        (
            &[
                (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
                (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
                (CKA_VALUE, &[0; 15]),
            ],
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            &[
                (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
                (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
            ],
            CKR_TEMPLATE_INCOMPLETE,
        ),
        (
            &[
                (CKA_CLASS, &CKO_CERTIFICATE.to_ne_bytes()),
                (CKA_VALUE, b"x"),
            ],
            CKR_TEMPLATE_INCOMPLETE,
        ),
        (
            &[
                (CKA_CLASS, &CKO_CERTIFICATE.to_ne_bytes()),
                (CKA_CERTIFICATE_TYPE, &CKC_X_509.to_ne_bytes()),
                (CKA_VALUE, b"x"),
            ],
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            &[
                (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
                (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
                (CKA_EC_PARAMS, b"\x06\x01\x01"),
                (CKA_EC_POINT, b"x"),
            ],
            CKR_CURVE_NOT_SUPPORTED,
        ),
    ];
    let before = bench.store.len();
    for (rows, rv) in bad {
        refused(m.create_object(h, template(rows)), *rv);
    }
    assert_eq!(bench.store.len(), before, "nothing half made");
}
