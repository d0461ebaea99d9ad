//! What the caller knows, compared with the victim's value.

/// The victim's value.
pub const VICTIM: [u8; 32] = *b"\x9b\x4e\x01\xd2\x77\x3f\xc8\x60\xa5\x19\xee\x82\x5d\x36\xf4\x0b\xc1\x6a\x93\x2c\x48\xd7\x0e\xb5\x71\xfa\x24\x8d\xe6\x53\xbf\x1c";

/// The value of the key that the caller brought.
pub const KNOWN: [u8; 32] = [0x11; 32];

/// The data that the caller gives to derivations and to encryption.
pub const DATA: [u8; 32] = [0x36; 32];

/// How many bytes of the victim in a row are no chance.
const RUN: usize = 8;

/// Whether these bytes have a piece of the victim, as it is or under a mask that the caller chose.
pub fn reveals(bytes: &[u8]) -> bool {
    let plain = |bytes: &[u8]| {
        bytes
            .windows(RUN)
            .any(|window| VICTIM.windows(RUN).any(|piece| piece == window))
    };
    plain(bytes) || plain(&xor(bytes, &DATA)) || plain(&xor(bytes, &KNOWN))
}

/// As many bytes as both have.
pub fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// A key that is shorter than this, in bytes, is found by trying: with a MAC, a ciphertext or a check value of it.
pub const SEARCHABLE: u64 = 8;

#[test]
fn the_oracle_sees_pieces_and_masked_pieces() {
    assert!(reveals(&VICTIM) && reveals(&VICTIM[5..13]) && !reveals(&VICTIM[..7]));
    assert!(reveals(&xor(&VICTIM, &DATA)) && reveals(&xor(&VICTIM, &KNOWN)));
    assert!(!reveals(&DATA) && !reveals(&[]));
}
