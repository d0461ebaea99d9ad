//! How long the codec takes for the messages that matter: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run --example codec-speed`.

use std::hint::black_box;
use std::time::Instant;

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::message::{RequestMessage, ResponseBatch, decode_response, encode_request};
use mrhsm_pkcs11::kmip::{
    BlockCipherMode, CryptographicAlgorithm, CryptographicParameters, EncryptRequest,
    EncryptResponse, OperationCode,
};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::version::Version;

/// Prints the shortest time of ten rounds: what the code takes when nothing else runs.
fn time<T>(what: &str, rounds: u32, mut run: impl FnMut() -> Result<T>) -> Result<()> {
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(run()?);
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(rounds));
    }
    println!("{:>9.3} µs  {what}", best * 1e6);
    Ok(())
}

fn main() -> Result<()> {
    for (size, rounds) in [(32, 10_000), (65_536, 500)] {
        let parameters = CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::GCM),
            cryptographic_algorithm: Some(CryptographicAlgorithm::AES),
            tag_length: Some(16),
            ..Default::default()
        };
        let request = EncryptRequest {
            unique_identifier: Some("f4f6a1d2-8d35-4d3e-9a53-3d7a5b1f0c11".into()),
            cryptographic_parameters: Some(parameters),
            data: Some(Secret::new(vec![7; size])),
            iv_counter_nonce: Some(vec![1; 12]),
            additional_data: Some(vec![2; 16]),
            ..Default::default()
        };
        let asked = encode_request(Version::V1_4, None, &request)?;
        let mut batch = ResponseBatch::new(Version::V1_4, 1_700_000_000);
        let response = EncryptResponse {
            unique_identifier: "42".into(),
            data: Some(vec![9; size]),
            ..EncryptResponse::default()
        };
        batch.success(OperationCode::ENCRYPT, None, &response);
        let answered = batch.finish()?;
        time(
            &format!("encode an Encrypt request, {size} bytes"),
            rounds,
            || encode_request(Version::V1_4, None, &request),
        )?;
        time(
            &format!("decode an Encrypt request, {size} bytes"),
            rounds,
            || RequestMessage::decode(asked.expose())?.items[0].request::<EncryptRequest>(),
        )?;
        time(
            &format!("decode an Encrypt response, {size} bytes"),
            rounds,
            || decode_response::<EncryptRequest>(answered.expose()),
        )?;
    }
    Ok(())
}
