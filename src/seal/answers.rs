//! Known answers for the primitives, natively and in the wasm build: Wycheproof, RFCs, age's STREAM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
use wycheproof::{TestResult, aead, eddsa, hkdf as hkdf_tests, mac};

use super::{crypt, signer, *};

fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

#[test]
fn xchacha20_poly1305() {
    let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for case in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let (Ok(key), Ok(nonce)) = (case.key[..].try_into(), <[u8; 24]>::try_from(&case.nonce[..])) else {
            // A nonce of another length cannot even be handed over.
            assert_eq!(case.result, TestResult::Invalid);
            continue;
        };
        let key = Key::new(key);
        let mut text = [&case.ct[..], &case.tag[..]].concat();
        let is_open = crypt::decrypt(&key, &nonce, &case.aad, &mut text).is_some();
        assert_eq!(is_open, case.result == TestResult::Valid, "{}", case.tc_id);
        if is_open {
            assert_eq!(text, case.pt[..]);
            crypt::encrypt(&key, &nonce, &case.aad, &mut text).unwrap();
            assert_eq!(text, [&case.ct[..], &case.tag[..]].concat());
            opened += 1;
        } else {
            refused += 1;
        }
    }
    assert_eq!((opened, refused), (246, 60));
}

#[test]
fn chacha20_poly1305() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let mut opened = 0;
    for case in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let Ok(nonce) = <[u8; 12]>::try_from(&case.nonce[..]) else { continue };
        let key: [u8; 32] = case.key[..].try_into().unwrap();
        let mut text = case.ct.to_vec();
        let tag: [u8; 16] = case.tag[..].try_into().unwrap();
        let result = settee_aead::open(&key, &nonce, &case.aad, &mut text, &tag);
        assert_eq!(result.is_some(), case.result == TestResult::Valid, "{}", case.tc_id);
        if result.is_some() {
            assert_eq!(text, case.pt[..]);
            opened += 1;
        }
    }
    assert!(opened > 200, "{opened}");
}

#[test]
fn hmac_sha256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let mut checked = 0;
    for group in set.test_groups {
        for case in group.tests {
            let mut hmac = Hmac::<Sha256>::new_from_slice(&case.key).unwrap();
            hmac.update(&case.msg);
            let is_right = hmac.finalize().into_bytes()[..group.tag_size / 8] == case.tag[..];
            assert_eq!(is_right, case.result == TestResult::Valid, "{}", case.tc_id);
            checked += 1;
        }
    }
    assert_eq!(checked, 174);
    // Ours, with its own framing and its key of 32 bytes, is the same thing.
    let mut hmac = Hmac::<Sha256>::new_from_slice(&[9; 32]).unwrap();
    hmac.update(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c");
    assert_eq!(crypt::mac(&Key::new([9; 32]), &[b"ab", b"", b"c"])[..], hmac.finalize().into_bytes()[..]);
}

#[test]
fn hkdf_sha256() {
    let set = hkdf_tests::TestSet::load(hkdf_tests::TestName::HkdfSha256).unwrap();
    let mut ours = 0;
    for case in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let mut out = vec![0; case.size];
        let result = Hkdf::<Sha256>::new(Some(&case.salt), &case.ikm).expand(&case.info, &mut out);
        assert_eq!(result.is_ok(), case.result == TestResult::Valid, "{}", case.tc_id);
        if result.is_ok() {
            assert_eq!(out, case.okm[..]);
            if case.size >= 32 {
                assert_eq!(crypt::hkdf(&case.ikm, &case.salt, &case.info).expose()[..], case.okm[..32]);
                ours += 1;
            }
        }
    }
    assert!(ours > 20, "{ours}");
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut checked = 0;
    for group in set.test_groups {
        let public: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for case in group.tests {
            let signature = <[u8; 64]>::try_from(&case.sig[..]);
            let is_right = signature.is_ok_and(|signature| signer::verify(&public, &case.msg, &signature));
            assert_eq!(is_right, case.result == TestResult::Valid, "{} {}", case.tc_id, case.comment);
            checked += 1;
        }
    }
    assert!(checked > 140, "{checked}");
    // RFC 8032, 7.1, test 2; and a key of small order, under which anything verifies where it is taken.
    let seed = array("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    let signer = Signer::new(&Key::new(seed));
    assert_eq!(signer.public(), array("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
    let signature = array(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    assert_eq!(signer.sign(&[0x72]), signature);
    let mut small = [0; 32];
    small[0] = 1;
    let mut anything = [0; 64];
    anything[0] = 1;
    assert!(!signer::verify(&small, b"whatever", &anything));
}

#[test]
fn argon2id() {
    // RFC 9106, 5.3.
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let argon =
        argon2::Argon2::new_with_secret(&[3; 8], argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .unwrap();
    let mut out = [0; 32];
    argon.hash_password_into(&[1; 32], &[2; 16], &mut out).unwrap();
    assert_eq!(out, array("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"));
}

#[test]
fn sha_256() {
    let expected = array("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(sha256(b"abc"), expected);
}

/// age's own vectors of the stream (C2SP/CCTV, under CC0): what opens, and what must not.
#[test]
fn age_stream() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/seal/age-stream.json")).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for case in cases.as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        // Half a minute each without optimisation.
        if cfg!(target_arch = "wasm32") && text("name").contains("_25") {
            continue;
        }
        let mut payload = Vec::new();
        for piece in case["payload"].as_array().unwrap() {
            let bytes = unhex(piece[0].as_str().unwrap());
            match piece[1].as_u64().unwrap() as usize {
                1 => payload.extend(bytes),
                times => payload.resize(payload.len() + times, bytes[0]),
            }
        }
        let result = open_stream(&unhex(text("file_key")), &payload);
        match (text("expect"), result) {
            ("success", Some((key, plain))) => {
                assert_eq!(data_encoding::HEXLOWER.encode(&sha256(&plain)), text("plain_sha256"));
                // And sealed again, chunk by chunk, it is the same.
                let (mut sealed, last) = (payload[..16].to_vec(), plain.len().saturating_sub(1) >> 16);
                opened += 1;
                if last > 255 {
                    // Opening the long ones is enough: it takes seconds.
                    continue;
                }
                for index in 0..=last {
                    let chunk = &plain[index << 16..plain.len().min((index + 1) << 16)];
                    seal_chunk(&key, index as u64, index == last, chunk, &mut sealed).unwrap();
                }
                assert!(sealed == payload, "{}", text("name"));
            }
            ("success", None) => panic!("{} did not open", text("name")),
            (_, Some(_)) => panic!("{} opened", text("name")),
            (_, None) => refused += 1,
        }
    }
    assert_eq!((opened, refused), (if cfg!(target_arch = "wasm32") { 5 } else { 8 }, 20));
}

fn open_stream(file_key: &[u8], payload: &[u8]) -> Option<(Key, Vec<u8>)> {
    let (salt, body) = payload.split_first_chunk::<16>()?;
    let key = crypt::hkdf(file_key, salt, b"payload");
    let (mut plain, whole) = (Vec::new(), STREAM_CHUNK_BYTES + TAG_BYTES);
    if body.is_empty() {
        return None;
    }
    let chunks: Vec<_> = body.chunks(whole).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        plain.extend(open_chunk(&key, index as u64, index + 1 == chunks.len(), chunk).ok()?);
    }
    Some((key, plain))
}
