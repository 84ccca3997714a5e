//! The sealed format in the browser's build: the same frozen vectors, made and opened byte for byte. Known
//! answers of the primitives run in `src/seal/answers.rs`, here as there.
#![cfg(target_arch = "wasm32")]

#[path = "support/seal.rs"]
mod seal;
#[path = "support/seal_vectors.rs"]
mod seal_vectors;

use std::{cell::Cell, rc::Rc};

use gloo_events::EventListener;
use settee::{
    platform::{CipherHere, Platform},
    seal::*,
    web::WebPlatform,
};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use web_sys::EventTarget;

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
fn the_format_is_what_it_was() {
    seal_vectors::check(include_str!("vectors/seal/v1.json"), true);
}

/// The browser's own cipher, where it has one, seals and opens as ours does, and opens nothing else.
#[wasm_bindgen_test]
async fn the_browsers_cipher_is_the_formats() {
    let key = [7; 32];
    let (theirs, ours) = (WebPlatform.cipher(&key).await.unwrap(), CipherHere::new(&key));
    for (at, length) in [0usize, 1, 63, 64, 65, 1_000, 65_536].into_iter().enumerate() {
        let (nonce, text) = ([at as u8; 12], (0..length).map(|at| (at * 31) as u8).collect::<Vec<_>>());
        let sealed = theirs.seal(&nonce, &text).await.unwrap().bytes().await.unwrap();
        assert_eq!(sealed[..], ours.seal_now(&nonce, &text).unwrap(), "{length}");
        assert_eq!(theirs.open(&nonce, &sealed).await.unwrap(), Some(text));
        assert_eq!(theirs.open(&[99; 12], &sealed).await.unwrap(), None);
        for at in [0, sealed.len() / 2, sealed.len() - 1] {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(theirs.open(&nonce, &changed).await.unwrap(), None);
        }
        assert_eq!(theirs.open(&nonce, &sealed[..sealed.len() - 1]).await.unwrap(), None);
    }
    assert_eq!(theirs.open(&[0; 12], &[1; 15]).await.unwrap(), None);
}

/// A file that is damaged is told by its first bad chunk; the others are nobody's business, the page's neither.
#[wasm_bindgen_test]
async fn a_chunk_that_nobody_waits_for_fails_in_silence() {
    let told = Rc::new(Cell::new(0));
    let counted = told.clone();
    let page: EventTarget = js_sys::global().unchecked_into();
    let _listener = EventListener::new(&page, "unhandledrejection", move |_| counted.set(counted.get() + 1));
    let cipher = WebPlatform.cipher(&[7; 32]).await.unwrap();
    let under_way: Vec<_> = (0..8).map(|n| cipher.open(&[n; 12], &[n; 1_000])).collect();
    WebPlatform.sleep(50).await;
    for opened in under_way.into_iter().take(1) {
        assert_eq!(opened.await.unwrap(), None);
    }
    WebPlatform.sleep(50).await;
    assert_eq!(told.get(), 0);
}

#[wasm_bindgen_test]
fn the_browsers_randomness_makes_a_channel_that_opens() {
    let entropy = |bytes: &mut [u8]| WebPlatform.random_bytes(bytes);
    let (vault, code) = Vault::create(&entropy);
    let entries = vault.create_channel(&entropy).unwrap();
    let replay = vault.open_channel(None, &entries).unwrap();
    let new = NewRevision { id: "n", parent: None, deleted: false, body: r#"{"a":"é"}"#, files: &[] };
    let sealed = seal_revision(&replay.channel, &vault.author(), &new).unwrap();
    let second =
        Vault::recover(&RecoveryCode::parse(&code.to_text()).unwrap(), &entries, &entropy).ok().unwrap();
    let there = second.open_channel(None, &entries).unwrap();
    let opened = seal::Wire::new(&sealed, &[], false).open(&there.channel).unwrap();
    assert_eq!(opened.body, r#"{"a":"é"}"#);
    let (other, _) = Vault::create(&entropy);
    assert_ne!(other.account(), vault.account());
}
