//! What of the browser adapters works in Node, and what says that it does not.
#![cfg(target_arch = "wasm32")]

use js_sys::{Date, Function};
use settee::{
    error::Kind,
    model::Content,
    platform::Platform,
    remote::{Request, Transport},
    web::{
        FetchTransport, IndexedDbStore, WebPlatform, content_from_js, content_to_blob, content_to_uint8array,
        on_wake,
    },
};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
async fn there_is_no_storage_and_it_is_said() {
    let error = IndexedDbStore::open("x").await.err().unwrap();
    assert_eq!(error.kind(), Kind::StorageUnavailable);
}

#[wasm_bindgen_test]
async fn time_and_randomness_work() {
    let start = Date::now();
    for _ in 0..100 {
        WebPlatform.sleep(0).await;
    }
    WebPlatform.sleep(20).await;
    assert!(Date::now() - start >= 18.0);
    let mut bytes = [0; 64];
    WebPlatform.random_bytes(&mut bytes);
    assert_ne!(bytes, [0; 64]);
    drop(on_wake(|| ()));
}

#[wasm_bindgen_test]
async fn fetch_works() {
    let request = |url: &str| Request {
        method: "GET",
        url: url.into(),
        headers: vec![("accept".into(), "*/*".into())],
        body: Vec::new(),
        keep_external: true,
        is_fresh: false,
        waits: false,
    };
    let transport = FetchTransport::new(None);
    let response = transport.send(request("data:text/plain,hello")).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(&*response.body.bytes().await.unwrap(), b"hello");
    let error = transport.send(request("http://127.0.0.1:1/")).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Network);
}

#[wasm_bindgen_test]
async fn buffers_are_taken_for_their_own_bytes() {
    let value =
        |code: &str| Function::new_no_args(&format!("return {code}")).call0(&JsValue::UNDEFINED).unwrap();
    // A small Buffer is a window on a pool that others share.
    let content = content_from_js(&value("Buffer.from('hello')")).unwrap();
    assert_eq!(&*content.bytes().await.unwrap(), b"hello");
    let content = content_from_js(&value("Buffer.alloc(100000, 7)")).unwrap();
    assert!(matches!(content, Content::External(_)));
    assert_eq!(content_to_uint8array(&content).await.unwrap().length(), 100_000);
    let blob = content_to_blob(&content, "image/png").unwrap();
    assert_eq!((blob.size(), blob.type_().as_str()), (100_000.0, "image/png"));
    assert_eq!(
        content_from_js(&blob.into()).unwrap().digest().await.unwrap(),
        content.digest().await.unwrap()
    );
}
