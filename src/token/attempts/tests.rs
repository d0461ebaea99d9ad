use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::record::within;
use super::*;
use crate::fault::scratch;

const SO: Who = Who::So;
const USER: Who = Who::User;

/// A time long after 1970.
const T: u64 = 1_700_000_000_000;

fn paced(record: &Record, now: u64) -> Next {
    record.next(USER, now, 0, Some(0))
}

#[test]
fn the_text_has_one_length_and_is_read_again() {
    let mut record = Record::default();
    assert_eq!(record.to_text().len(), Record::LEN);
    (0..3).for_each(|i| record.charge(USER, T + i, true));
    record.charge(SO, u64::MAX, false);
    assert_eq!(record.to_text().len(), Record::LEN);
    assert_eq!(Record::parse(record.to_text().as_bytes()), record);
    assert_eq!(record.shown(USER, u64::MAX), 3);
}

#[test]
fn an_attempt_is_wrong_until_it_is_known_to_be_right() {
    let mut record = Record::default();
    record.charge(USER, T, true);
    assert_eq!(paced(&record, T), Next::Wait, "one at a time");
    record.settle(USER, T, Outcome::Right);
    assert_eq!(record, {
        let mut expected = Record::default();
        expected.charge(USER, T, false);
        expected.settle(USER, T, Outcome::Right);
        expected
    });
    assert_eq!(paced(&record, T), Next::Go, "a right one delays nobody");

    record.charge(USER, T, true);
    record.settle(USER, T, Outcome::Wrong);
    assert_eq!(record.shown(USER, T), 1);
    assert_eq!(paced(&record, T + INTERVAL - 1), Next::Wait);
    assert_eq!(paced(&record, T + INTERVAL), Next::Go);
    assert_eq!(
        record.next(USER, T + INTERVAL, 0, Some(COURTESY)),
        Next::Wait,
        "who was wrong lets others go first"
    );
    assert_eq!(record.next(USER, T, 0, None), Next::Go);
    // The other PIN has a counter of its own, and the same second.
    assert_eq!(record.next(SO, T, 0, Some(0)), Next::Wait);
    assert_eq!(record.shown(SO, T), 0);
}

#[test]
fn a_killed_attempt_is_counted_and_its_second_passes() {
    let mut record = Record::default();
    record.charge(USER, T, true);
    assert_eq!(paced(&record, T + INTERVAL), Next::Go);
    assert_eq!(record.shown(USER, T + INTERVAL), 1);
    assert_eq!(
        record.next(USER, T + INTERVAL, 1, Some(0)),
        Next::Wait,
        "it could still be right"
    );
    assert_eq!(
        record.next(USER, T + 10 * INTERVAL, 1, Some(0)),
        Next::Locked
    );
}

#[test]
fn an_attempt_that_was_not_checked_does_not_count() {
    let mut record = Record::default();
    record.charge(USER, T, true);
    record.settle(USER, T, Outcome::Unknown);
    assert_eq!((record.shown(USER, T), paced(&record, T)), (0, Next::Go));
    // Not where a right one reset the counter meanwhile.
    record.charge(USER, T, true);
    record.charge(USER, T + INTERVAL, true);
    record.settle(USER, T + INTERVAL, Outcome::Right);
    record.charge(USER, T + 2 * INTERVAL, true);
    record.settle(USER, T, Outcome::Unknown);
    assert_eq!(record.shown(USER, u64::MAX), 1);
}

#[test]
fn a_clock_that_is_set_back_delays_nobody_for_long() {
    let mut record = Record::default();
    record.charge(USER, T, true);
    assert_eq!(paced(&record, T - 3_600_000), Next::Go);
    assert_eq!(paced(&record, T - 1), Next::Wait);
    assert!(within(5, 5, 1) && !within(5, 6, 1));
}

#[test]
fn anything_else_than_a_record_counts_as_none() {
    for text in [
        &b""[..],
        b"\xff",
        b"mrhsm attempts 2\n",
        b"mrhsm attempts 1\nso 1",
    ] {
        assert_eq!(Record::parse(text), Record::default());
    }
}

proptest! {
    #[test]
    fn no_order_of_attempts_gives_more_wrong_ones_than_allowed(
        max in 1u32..5,
        steps in proptest::collection::vec((any::<bool>(), 0u64..4 * INTERVAL, 0usize..4), 1..200),
    ) {
        let (mut record, mut now) = (Record::default(), T);
        let (mut under_way, mut wrong) = (Vec::new(), 0);
        for (begin, later, which) in steps {
            now += later;
            if begin && record.next(USER, now, max, Some(0)) == Next::Go {
                record.charge(USER, now, true);
                under_way.push(now);
                wrong += 1;
            } else if which < 2 && !under_way.is_empty() {
                // Ends wrong; of the others some are killed and some go on for ever.
                let began = under_way.remove(0);
                record.settle(USER, began, Outcome::Wrong);
            }
            prop_assert!(wrong <= max);
        }
    }

    #[test]
    fn no_content_makes_it_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut record = Record::parse(&content);
        record.charge(USER, T, true);
        record.settle(USER, T, Outcome::Unknown);
    }
}

const UUID: &str = "69255cf4-0ac3-4d22-b12c-fd503a740cda";

fn token() -> (tempfile::TempDir, TokenDir) {
    let tmp = scratch();
    let dir = TokenDir::at(tmp.path().join("tokens"));
    dir.lock().unwrap().make_folder(UUID, &[]).unwrap();
    (tmp, dir)
}

fn attempt(dir: &TokenDir, max: u32) -> Attempt<'_> {
    Attempt {
        dir,
        uuid: UUID,
        who: USER,
        max,
        random: false,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn wrong() -> Result<()> {
    Err(CKR_PIN_INCORRECT.into())
}

fn user_failures(dir: &TokenDir) -> u32 {
    failures(dir, UUID).unwrap().user
}

#[test]
fn wrong_attempts_lock_a_pin_and_forgetting_them_unlocks_it() {
    for random in [false, true] {
        let (_tmp, dir) = token();
        let attempt = || Attempt {
            random,
            ..attempt(&dir, 3)
        };
        for failures in 1..=3 {
            assert_eq!(attempt().run(wrong).unwrap_err().rv(), CKR_PIN_INCORRECT);
            std::thread::sleep(Duration::from_millis(INTERVAL));
            assert_eq!(user_failures(&dir), failures);
        }
        let e = attempt().run(|| -> Result<()> { panic!("not checked") });
        assert_eq!(e.unwrap_err().rv(), CKR_PIN_LOCKED);
        let so = Attempt {
            who: SO,
            ..attempt()
        };
        so.run(|| Ok(())).unwrap();
        forget(&dir, UUID, USER).unwrap();
        assert_eq!(user_failures(&dir), 0);
        attempt().run(|| Ok(())).unwrap();
        attempt().run(wrong).unwrap_err();
        attempt().run(|| Ok(())).unwrap();
        assert_eq!(user_failures(&dir), 0, "a right PIN resets the counter");
    }
}

#[test]
fn an_attempt_is_on_disk_before_the_pin_is_checked() {
    for random in [false, true] {
        let (_tmp, dir) = token();
        let attempt = Attempt {
            random,
            ..attempt(&dir, 0)
        };
        let counted = attempt.run(|| Ok(dir.read(UUID, ATTEMPTS).unwrap().unwrap()));
        assert_eq!(parse(counted.unwrap().expose()).user, 1);
        assert_eq!(user_failures(&dir), 0);
    }
}

#[test]
fn attempts_do_not_overlap_and_are_all_counted() {
    let (_tmp, dir) = token();
    let busy = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let done = attempt(&dir, 0).run(|| {
                        assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0);
                        busy.fetch_sub(1, Ordering::SeqCst);
                        wrong()
                    });
                    assert_eq!(done.unwrap_err().rv(), CKR_PIN_INCORRECT);
                }
            });
        }
    });
    let counted = dir.read(UUID, ATTEMPTS).unwrap().unwrap();
    assert_eq!(parse(counted.expose()).user, 32);
}

#[test]
fn one_that_waits_in_vain_is_told() {
    let (_tmp, dir) = token();
    let file = dir.open_in_place(UUID, ATTEMPTS).unwrap().unwrap();
    file.lock().unwrap();
    let hasty = Attempt {
        deadline: Instant::now() + Duration::from_millis(30),
        ..attempt(&dir, 0)
    };
    let e = hasty.run(|| -> Result<()> { panic!("not checked") });
    assert_eq!(e.unwrap_err().rv(), CKR_DEVICE_ERROR);
}

#[test]
fn the_file_is_a_regular_one_of_mode_0600_above_the_standard_descriptors() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let (tmp, dir) = token();
    attempt(&dir, 0).run(wrong).unwrap_err();
    let path = dir.path().join(UUID).join(ATTEMPTS);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let file = dir.open_in_place(UUID, ATTEMPTS).unwrap().unwrap();
    assert!(file.as_raw_fd() > 2);
    std::fs::rename(&path, tmp.path().join("elsewhere")).unwrap();
    symlink(tmp.path().join("elsewhere"), &path).unwrap();
    assert!(attempt(&dir, 0).run(|| Ok(())).is_err());
}

#[test]
fn without_the_file_a_process_paces_and_counts_itself() {
    let (_tmp, dir) = token();
    let own = Own::new();
    let attempt = |random| Attempt {
        random,
        ..attempt(&dir, 3)
    };
    for (failures, random) in [(1, false), (2, true), (3, false)] {
        let e = attempt(random).uncounted(&own, wrong).unwrap_err();
        assert_eq!(e.rv(), CKR_PIN_INCORRECT);
        assert_eq!(known(&dir, UUID, &own).unwrap().of(USER), failures);
        assert!(within(now(), own.wrong.load(Ordering::Relaxed), 60_000));
    }
    let e = attempt(true).uncounted(&own, || Ok(())).unwrap_err();
    assert_eq!(e.rv(), CKR_PIN_LOCKED);
    own.forget(USER);
    attempt(false).uncounted(&own, || Ok(())).unwrap();
    assert_eq!(own.wrong.load(Ordering::Relaxed), 0);
}
