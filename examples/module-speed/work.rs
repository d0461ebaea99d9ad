//! What is measured.

use std::ptr::null_mut;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use crate::module::{LABEL, Mode, Module, Template, attribute, call, mechanism};
use crate::{SIZES, TIME, tell, time};

const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

fn ciphers(module: &Module, slot: CK_SLOT_ID, session: CK_SESSION_HANDLE) {
    let key = module.key(session, CKM_AES_KEY_GEN, false, false, LABEL);
    let (text, mut out, mut back) = (
        vec![7; 16 << 20],
        vec![0; (16 << 20) + 32],
        vec![0; (16 << 20) + 32],
    );
    for (mode, name) in &Mode::ALL {
        for (size, words) in SIZES {
            let len = module.encrypt(session, mode, key, &text[..size], &mut out);
            time(&format!("AES-256-{name} encrypt {words}"), || {
                _ = module.encrypt(session, mode, key, &text[..size], &mut out)
            });
            time(&format!("AES-256-{name} decrypt {words}"), || {
                _ = module.decrypt(session, mode, key, &out[..len], &mut back)
            });
        }
        let row = format!("AES-256-{name} encrypt 1 MiB in parts of 16 KiB");
        time(&row, || {
            module.encrypt_in_parts(session, mode, key, &text[..1 << 20], &mut out)
        });
    }
    if module.messages && module.has(slot, CKM_AES_GCM) {
        messages(module, session, key, &text[..1 << 10], &mut out);
    }
    for threads in [1, 2] {
        together(
            module,
            slot,
            &format!("AES-256-GCM encrypt 1 KiB, {threads} threads"),
            threads,
            |session| {
                _ = module.encrypt(session, &Mode::Gcm, key, &[7; 1 << 10], &mut [0; 2 << 10]);
            },
        );
        together(
            module,
            slot,
            &format!("AES-256-GCM encrypt 16 KiB, {threads} threads"),
            threads,
            |session| {
                _ = module.encrypt(session, &Mode::Gcm, key, &[7; 16 << 10], &mut [0; 17 << 10]);
            },
        );
    }
}

fn messages(
    module: &Module,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    text: &[u8],
    out: &mut [u8],
) {
    let (mut iv, mut tag) = ([1u8; 12], [0u8; 16]);
    let mut gcm = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    };
    let size = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;
    call!(module.C_MessageEncryptInit(session, &mut mechanism(CKM_AES_GCM), key));
    time("AES-256-GCM message 1 KiB", || {
        let (parameter, data) = ((&raw mut gcm).cast(), text.as_ptr().cast_mut());
        let mut len = out.len() as CK_ULONG;
        call!(module.C_EncryptMessage(
            session,
            parameter,
            size,
            null_mut(),
            0,
            data,
            text.len() as CK_ULONG,
            out.as_mut_ptr(),
            &mut len
        ));
    });
    call!(module.C_MessageEncryptFinal(session));
}

/// What `threads` take for a call of `work` when they all work, each in a session of its own.
fn together(
    module: &Module,
    slot: CK_SLOT_ID,
    row: &str,
    threads: usize,
    work: impl Fn(CK_SESSION_HANDLE) + Sync,
) {
    let sessions: Vec<_> = (0..threads).map(|_| module.open(slot)).collect();
    let best = (0..5).map(|_| {
        let start = Barrier::new(threads);
        let run = |session| {
            start.wait();
            let (before, mut times) = (Instant::now(), 0u32);
            while before.elapsed() < TIME / 5 {
                work(session);
                times += 1;
            }
            before.elapsed() / times
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = sessions
                .iter()
                .map(|session| scope.spawn(|| run(*session)))
                .collect();
            let rate: f64 = all
                .into_iter()
                .map(|thread| 1.0 / thread.join().unwrap().as_secs_f64())
                .sum();
            Duration::from_secs_f64(1.0 / rate)
        })
    });
    tell(row, best.min().unwrap());
    sessions
        .into_iter()
        .for_each(|session| call!(module.C_CloseSession(session)));
}

fn signatures(module: &Module, slot: CK_SLOT_ID, session: CK_SESSION_HANDLE) {
    let (data, mut out) = (vec![7; 1 << 10], vec![0; 512]);
    let secret = module.key(session, CKM_GENERIC_SECRET_KEY_GEN, false, false, LABEL);
    time("HMAC-SHA256 1 KiB", || {
        _ = module.sign(session, CKM_SHA256_HMAC, secret, &data, &mut out)
    });
    let aes = module.key(session, CKM_AES_KEY_GEN, false, false, LABEL);
    time("AES-256-CMAC 1 KiB", || {
        _ = module.sign(session, CKM_AES_CMAC, aes, &data, &mut out)
    });
    let (bits, exponent) = (2048 as CK_ULONG, [1u8, 0, 1]);
    let rsa = [
        attribute(CKA_MODULUS_BITS, &bits),
        attribute(CKA_PUBLIC_EXPONENT, &exponent),
    ];
    let [p256, ed25519] = [
        [attribute(CKA_EC_PARAMS, &P256)],
        [attribute(CKA_EC_PARAMS, &ED25519)],
    ];
    let pairs: [(&str, _, _, &[CK_ATTRIBUTE], &[u8]); 3] = [
        (
            "RSA-2048",
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            CKM_SHA256_RSA_PKCS,
            &rsa,
            &data,
        ),
        ("P-256", CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, &p256, &data[..32]),
        (
            "Ed25519",
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            CKM_EDDSA,
            &ed25519,
            &data[..32],
        ),
    ];
    for (name, make, kind, public, data) in pairs {
        if !module.has(slot, make) {
            continue;
        }
        let [public_key, private_key] = module.pair(session, make, public, false);
        time(&format!("{name} sign"), || {
            _ = module.sign(session, kind, private_key, data, &mut out)
        });
        let len = module.sign(session, kind, private_key, data, &mut out) as CK_ULONG;
        time(&format!("{name} verify"), || {
            call!(module.C_VerifyInit(session, &mut mechanism(kind), public_key));
            call!(module.C_Verify(
                session,
                data.as_ptr().cast_mut(),
                data.len() as CK_ULONG,
                out.as_mut_ptr(),
                len
            ));
        });
        if kind == CKM_ECDSA {
            for threads in [1, 2] {
                together(
                    module,
                    slot,
                    &format!("P-256 sign, {threads} threads"),
                    threads,
                    |session| {
                        _ = module.sign(session, kind, private_key, data, &mut [0; 64]);
                    },
                );
            }
        }
    }
    time("make an AES-256 key", || {
        let key = module.key(session, CKM_AES_KEY_GEN, false, false, LABEL);
        call!(module.C_DestroyObject(session, key));
    });
    time("make a P-256 key pair", || {
        for key in module.pair(session, CKM_EC_KEY_PAIR_GEN, &p256, false) {
            call!(module.C_DestroyObject(session, key));
        }
    });
}

fn objects(module: &Module, slot: CK_SLOT_ID, session: CK_SESSION_HANDLE) {
    let key = module.key(session, CKM_AES_KEY_GEN, false, false, LABEL);
    time("C_GetAttributeValue of 10", || {
        let mut values = [[0u8; 64]; 10];
        let kinds = [
            CKA_CLASS,
            CKA_KEY_TYPE,
            CKA_LABEL,
            CKA_ID,
            CKA_TOKEN,
            CKA_PRIVATE,
            CKA_SENSITIVE,
            CKA_EXTRACTABLE,
            CKA_ENCRYPT,
            CKA_VALUE_LEN,
        ];
        let row = |(kind, value): (&CK_ATTRIBUTE_TYPE, &mut [u8; 64])| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: 64,
        };
        let mut template: Template = kinds.iter().zip(&mut values).map(row).collect();
        call!(module.C_GetAttributeValue(session, key, template.as_mut_ptr(), 10));
    });
    let owner = module.open(slot);
    let before = Instant::now();
    (0..10_000).for_each(|number| module.import(owner, number, false));
    tell("import a session key, of 10000", before.elapsed() / 10_000);
    let mut number = 0;
    let mut next = || {
        number += 7919;
        format!("key {}", number % 10_000)
    };
    time("find by label, 10000 session keys", || {
        _ = module.find(session, attribute(CKA_LABEL, next().as_str()))
    });
    time("open and close a session, 10000 session keys", || {
        call!(module.C_CloseSession(module.open(slot)))
    });
    let before = Instant::now();
    call!(module.C_CloseSession(owner));
    tell("close the session that has 10000 keys", before.elapsed());

    let mut made = 0;
    for count in [10, 1_000, 10_000] {
        let before = Instant::now();
        (made..count).for_each(|number| module.import(session, number, true));
        tell(
            &format!("import a token key, up to {count}"),
            before.elapsed() / (count - made) as u32,
        );
        made = count;
        let mut number = 0;
        let mut next = || {
            number += 7919;
            number % count
        };
        let label = |number: usize| format!("key {number}");
        time(&format!("find by label, {count} token keys"), || {
            _ = module.find(session, attribute(CKA_LABEL, label(next()).as_str()))
        });
        time(&format!("find by ID, {count} token keys"), || {
            _ = module.find(session, attribute(CKA_ID, &(next() as u32).to_be_bytes()));
        });
        time(
            &format!("open and close a session, {count} token keys"),
            || call!(module.C_CloseSession(module.open(slot))),
        );
    }
}

/// All that a module is measured at, with a token in a new directory.
pub fn module(path: &str) {
    let module = Module::load(path);
    module.initialize();
    module.make_token();
    call!(module.C_Finalize(null_mut()));
    time("C_Initialize to C_Login", || {
        module.initialize();
        module.log_in(module.open(module.slot()));
        call!(module.C_Finalize(null_mut()));
    });
    module.initialize();
    let slot = module.slot();
    let session = module.open(slot);
    module.log_in(session);
    let mut out = [0; 64];
    time("C_GetSessionInfo", || {
        call!(module.C_GetSessionInfo(session, &mut CK_SESSION_INFO::default()))
    });
    time("C_GenerateRandom 32 B", || {
        call!(module.C_GenerateRandom(session, out.as_mut_ptr(), 32))
    });
    for (size, words) in [SIZES[1], SIZES[3]] {
        let data = vec![7; size];
        time(&format!("SHA-256 {words}"), || {
            call!(module.C_DigestInit(session, &mut mechanism(CKM_SHA256)));
            call!(module.C_Digest(
                session,
                data.as_ptr().cast_mut(),
                size as CK_ULONG,
                out.as_mut_ptr(),
                &mut 64
            ));
        });
    }
    ciphers(&module, slot, session);
    signatures(&module, slot, session);
    objects(&module, slot, session);
    call!(module.C_Finalize(null_mut()));
}

/// The same with a token on a server: what is used here must cost what it costs everywhere, what is used there a request.
pub fn served(path: &str) {
    let module = Module::load(path);
    let before = Instant::now();
    module.initialize();
    let slot = module.slot();
    let session = module.open(slot);
    module.log_in(session);
    tell("C_Initialize to C_Login", before.elapsed());
    let mut out = vec![0; 17 << 10];
    let kept = module.key(session, CKM_AES_KEY_GEN, true, true, "kept");
    let before = Instant::now();
    module.encrypt(session, &Mode::Gcm, kept, &[7; 1 << 10], &mut out);
    tell("kept key, the first AES-256-GCM encrypt", before.elapsed());
    for (size, words) in &SIZES[..3] {
        let (text, row) = (
            vec![7; *size],
            format!("kept key, AES-256-GCM encrypt {words}"),
        );
        time(&row, || {
            _ = module.encrypt(session, &Mode::Gcm, kept, &text, &mut out)
        });
    }
    let lent = module.key(session, CKM_AES_KEY_GEN, true, false, "extractable");
    let row = "extractable key, AES-256-GCM encrypt 1 KiB";
    time(row, || {
        _ = module.encrypt(session, &Mode::Gcm, lent, &[7; 1 << 10], &mut out)
    });
    let own = module.key(session, CKM_AES_KEY_GEN, false, false, "session's");
    time("session key, AES-256-GCM encrypt 1 KiB", || {
        _ = module.encrypt(session, &Mode::Gcm, own, &[7; 1 << 10], &mut out)
    });
    for threads in [1, 2, 8] {
        together(
            &module,
            slot,
            &format!("kept key, AES-256-GCM encrypt 1 KiB, {threads} threads"),
            threads,
            |session| {
                _ = module.encrypt(session, &Mode::Gcm, kept, &[7; 1 << 10], &mut [0; 2 << 10]);
            },
        );
    }
    let [_, private] = module.pair(
        session,
        CKM_EC_KEY_PAIR_GEN,
        &[attribute(CKA_EC_PARAMS, &P256)],
        true,
    );
    time("kept key, P-256 sign", || {
        _ = module.sign(session, CKM_ECDSA, private, &[7; 32], &mut out)
    });
    call!(module.C_Finalize(null_mut()));
    // A program that uses one key once.
    for round in ["once more", "a third time"] {
        let before = Instant::now();
        module.initialize();
        let session = module.open(module.slot());
        tell(
            &format!("{round}: C_Initialize to C_OpenSession"),
            before.elapsed(),
        );
        let before = Instant::now();
        module.log_in(session);
        tell(&format!("{round}: C_Login"), before.elapsed());
        let before = Instant::now();
        let key = module.find(session, attribute(CKA_LABEL, LABEL));
        tell(&format!("{round}: find the key"), before.elapsed());
        let before = Instant::now();
        module.sign(session, CKM_ECDSA, key, &[7; 32], &mut out);
        tell(&format!("{round}: sign"), before.elapsed());
        let before = Instant::now();
        call!(module.C_Finalize(null_mut()));
        tell(&format!("{round}: C_Finalize"), before.elapsed());
    }
}
