//! ChaCha20-Poly1305 by the browser, beside the page's own thread, where it has that (WebCrypto's "modern
//! algorithms"; Chromium does). Elsewhere it is done here.
//!
//! Of 20 MB in chunks of 64 KiB, in Chromium 156, it takes 57 ms, some 40 of them the page's for handing them over; in
//! WebAssembly it is 104 ms of the page's.

use std::{cell::Cell, rc::Rc};

use futures::FutureExt;
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, CryptoKey, SubtleCrypto};

use super::{blob::BlobContent, platform::global};
use crate::{
    error::Pending,
    model::Content,
    platform::{Cipher, CipherHere},
};

const NAME: &str = "ChaCha20-Poly1305";

thread_local! {
    /// It was asked for and is not there; asking again for each file would only take time.
    static IS_MISSING: Cell<bool> = const { Cell::new(false) };
}

/// The browser's, or ours.
pub(super) async fn cipher(key: &[u8; 32]) -> Box<dyn Cipher> {
    let here = CipherHere::new(key);
    if IS_MISSING.get() {
        return Box::new(here);
    }
    // Where a page is not secure there is no WebCrypto at all.
    let subtle = global("crypto").map(|crypto| crypto.unchecked_into::<Crypto>().subtle());
    let key = match subtle.clone() {
        Some(subtle) => imported(&subtle, key).await.ok(),
        None => None,
    };
    match subtle.zip(key) {
        Some((subtle, key)) => Box::new(CipherOfBrowser { subtle, key, here: Rc::new(here) }),
        None => {
            IS_MISSING.set(true);
            Box::new(here)
        }
    }
}

/// As a key that no script reads back.
async fn imported(subtle: &SubtleCrypto, key: &[u8; 32]) -> std::result::Result<CryptoKey, JsValue> {
    let uses = Array::of2(&"encrypt".into(), &"decrypt".into());
    // A copy in the JavaScript heap, which is overwritten at once: `importKey` has read it when it returns.
    let bytes = Uint8Array::new_from_slice(key);
    let begun = subtle.import_key_with_str("raw-secret", &bytes, NAME, false, &uses);
    bytes.fill(0, 0, bytes.length());
    Ok(JsFuture::from(begun?).await?.unchecked_into())
}

struct CipherOfBrowser {
    subtle: SubtleCrypto,
    key: CryptoKey,
    here: Rc<CipherHere>,
}

fn parameters(nonce: &[u8; 12]) -> std::result::Result<Object, JsValue> {
    let parameters = Object::new();
    Reflect::set(&parameters, &"name".into(), &NAME.into())?;
    Reflect::set(&parameters, &"iv".into(), &Uint8Array::new_from_slice(nonce))?;
    Ok(parameters)
}

/// What comes of a promise. It has its handlers before this returns: one that fails while another is waited for, or
/// that nobody waits for any more, is not to be told to the page as unhandled.
fn array(begun: std::result::Result<Promise, JsValue>) -> impl Future<Output = Option<Uint8Array>> {
    let begun = begun.map(JsFuture::from);
    async { begun.ok()?.await.ok().map(|buffer| Uint8Array::new(&buffer)) }
}

impl Cipher for CipherOfBrowser {
    fn seal(&self, nonce: &[u8; 12], text: &[u8]) -> Pending<'static, Content> {
        let begun = parameters(nonce)
            .and_then(|how| self.subtle.encrypt_with_object_and_u8_array(&how, &self.key, text));
        let (begun, here, nonce, text) = (array(begun), self.here.clone(), *nonce, text.to_vec());
        async move {
            match begun.await {
                Some(sealed) => Ok(Content::External(Rc::new(BlobContent::over_array(sealed)))),
                None => here.seal_now(&nonce, &text).map(Content::from),
            }
        }
        .boxed_local()
    }

    /// What the browser does not open is tried here, so that its word is not the last on what is damaged.
    fn open(&self, nonce: &[u8; 12], sealed: &[u8]) -> Pending<'static, Option<Vec<u8>>> {
        let begun = parameters(nonce)
            .and_then(|how| self.subtle.decrypt_with_object_and_u8_array(&how, &self.key, sealed));
        let (begun, here, nonce, sealed) = (array(begun), self.here.clone(), *nonce, sealed.to_vec());
        async move {
            let opened = begun.await.map(|text| text.to_vec());
            Ok(opened.or_else(|| here.open_now(&nonce, &sealed)))
        }
        .boxed_local()
    }
}
