//! The rules, case by case.

use super::*;

const POLICIES: [KeyPolicy; 3] = [KeyPolicy::Default, KeyPolicy::Strict, KeyPolicy::Compatible];

fn key(class: CK_OBJECT_CLASS, flags: &[CK_ATTRIBUTE_TYPE]) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.set_number(CKA_CLASS, class);
    attributes.set_number(CKA_KEY_TYPE, CKK_AES);
    attributes.set_number(CKA_VALUE_LEN, 32);
    flags
        .iter()
        .for_each(|flag| attributes.set_flag(*flag, true));
    attributes
}

fn rv<T: std::fmt::Debug>(outcome: Result<T>) -> Option<CK_RV> {
    outcome.err().map(|e| e.rv())
}

#[test]
fn a_key_is_protected_unless_it_may_be_read() {
    let is = |flags: &[_]| is_protected(&key(CKO_SECRET_KEY, flags));
    assert!(is(&[]) && is(&[CKA_SENSITIVE]) && is(&[CKA_SENSITIVE, CKA_EXTRACTABLE]));
    assert!(!is(&[CKA_EXTRACTABLE]));
    assert!(!is_protected(&key(CKO_PUBLIC_KEY, &[])));
}

#[test]
fn roles_are_kept_apart_as_the_policy_says() {
    let one_of_each = [CKA_DECRYPT, CKA_WRAP, CKA_SIGN, CKA_DERIVE];
    for policy in POLICIES {
        for a in one_of_each {
            for b in one_of_each {
                let mut new = key(CKO_SECRET_KEY, &[a, b]);
                let said = Roles::of(&new);
                let refused = policy == KeyPolicy::Strict && a != b;
                let outcome = rv(settle(policy, Origin::New, &mut new, said));
                let wanted = refused.then_some(CKR_TEMPLATE_INCONSISTENT);
                assert_eq!(outcome, wanted, "{policy}: {a:#x} and {b:#x}");
            }
        }
    }
}

#[test]
fn flags_that_the_template_left_out_give_way() {
    let all = [
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_WRAP,
        CKA_UNWRAP,
        CKA_SIGN,
        CKA_VERIFY,
    ];
    let settled = |policy, said: &[CK_ATTRIBUTE_TYPE]| {
        let mut new = key(CKO_SECRET_KEY, &all);
        said.iter().for_each(|flag| new.set_flag(*flag, true));
        let roles = Roles::of(&key(CKO_SECRET_KEY, said));
        settle(policy, Origin::New, &mut new, roles).unwrap();
        Roles::of(&new)
    };
    let only = |role| Roles::default().with(role);
    assert_eq!(settled(KeyPolicy::Strict, &[]), only(Role::Cipher));
    assert_eq!(
        settled(KeyPolicy::Strict, &[CKA_WRAP]),
        only(Role::Transport)
    );
    assert_eq!(
        settled(KeyPolicy::Strict, &[CKA_DERIVE]),
        only(Role::Derivation)
    );
    let every = Roles::of(&key(CKO_SECRET_KEY, &all));
    assert_eq!(settled(KeyPolicy::Default, &[]), every);
    assert_eq!(settled(KeyPolicy::Default, &[CKA_WRAP]), every);
}

#[test]
fn flags_of_guarded_keys_are_only_taken_away() {
    for (guard, guarded) in [
        (&[CKA_SENSITIVE, CKA_EXTRACTABLE][..], true),
        (&[], true),
        (&[CKA_EXTRACTABLE, CKA_TRUSTED], true),
        (&[CKA_EXTRACTABLE], false),
    ] {
        for (flag, _) in USAGES {
            let without = key(CKO_SECRET_KEY, guard);
            let mut with = without.clone();
            with.set_flag(flag, true);
            for policy in POLICIES {
                let refused = guarded && policy != KeyPolicy::Compatible;
                let wanted = refused.then_some(CKR_ATTRIBUTE_READ_ONLY);
                assert_eq!(
                    rv(check_change(policy, &without, &with)),
                    wanted,
                    "{flag:#x}"
                );
                assert_eq!(rv(check_change(policy, &with, &without)), None, "{flag:#x}");
            }
        }
    }
}

#[test]
fn keys_from_before_lose_the_uses_that_their_other_roles_undo() {
    let old = key(
        CKO_SECRET_KEY,
        &[CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP],
    );
    for usage in [CKA_WRAP, CKA_UNWRAP, CKA_DERIVE] {
        let refused = Some(CKR_KEY_FUNCTION_NOT_PERMITTED);
        assert_eq!(rv(check_use(KeyPolicy::Strict, &old, usage)), refused);
        assert_eq!(rv(check_use(KeyPolicy::Default, &old, usage)), None);
    }
    assert_eq!(rv(check_use(KeyPolicy::Strict, &old, CKA_DECRYPT)), None);
    assert_eq!(
        rv(check_copy(KeyPolicy::Strict, &old)),
        Some(CKR_ACTION_PROHIBITED)
    );
    let one = key(CKO_SECRET_KEY, &[CKA_WRAP, CKA_UNWRAP]);
    assert_eq!(rv(check_use(KeyPolicy::Strict, &one, CKA_WRAP)), None);
    assert_eq!(rv(check_copy(KeyPolicy::Strict, &one)), None);
}

#[test]
fn strict_wraps_under_trusted_keys_that_are_as_strong() {
    let kek = key(CKO_SECRET_KEY, &[CKA_SENSITIVE, CKA_WRAP, CKA_TRUSTED]);
    let victim = key(
        CKO_SECRET_KEY,
        &[CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_DECRYPT],
    );
    let check = |kek: &Attributes, key: &Attributes, sealed| {
        rv(check_wrap(KeyPolicy::Strict, kek, key, sealed))
    };
    let refused = Some(CKR_KEY_NOT_WRAPPABLE);
    assert_eq!(check(&kek, &victim, true), None);
    assert_eq!(check(&kek, &victim, false), refused);
    for (kind, value) in [(CKA_TRUSTED, false), (CKA_EXTRACTABLE, true)] {
        let mut other = kek.clone();
        other.set_flag(kind, value);
        assert_eq!(check(&other, &victim, true), refused, "{kind:#x}");
    }
    let mut weak = kek.clone();
    weak.set_number(CKA_VALUE_LEN, 16);
    assert_eq!(check(&weak, &victim, true), refused);
    let mut rsa = key(CKO_PUBLIC_KEY, &[CKA_WRAP, CKA_TRUSTED]);
    rsa.set_number(CKA_KEY_TYPE, CKK_RSA);
    for (bits, wanted) in [(1024, refused), (2048, None)] {
        rsa.set_number(CKA_MODULUS_BITS, bits);
        assert_eq!(check(&rsa, &victim, true), wanted, "{bits}");
    }
    for usage in [CKA_WRAP, CKA_UNWRAP, CKA_DERIVE] {
        let mut other = victim.clone();
        other.set_flag(CKA_DECRYPT, false);
        other.set_flag(usage, true);
        assert_eq!(check(&kek, &other, true), refused, "{usage:#x}");
    }
}

#[test]
fn what_is_unwrapped_is_not_cut_short() {
    let kek = key(CKO_SECRET_KEY, &[CKA_UNWRAP]);
    let may = |policy, sealed, from, len| may_unwrap_to(policy, &kek, sealed, from, len);
    assert!(may(KeyPolicy::Default, false, 32, 14) && !may(KeyPolicy::Default, false, 32, 13));
    assert!(!may(KeyPolicy::Default, false, 10, 10) && may(KeyPolicy::Default, true, 10, 10));
    assert!(!may(KeyPolicy::Default, true, 16, 10));
    assert!(may(KeyPolicy::Strict, true, 32, 32) && !may(KeyPolicy::Strict, true, 32, 31));
    assert!(may(KeyPolicy::Compatible, false, 32, 1));
}
