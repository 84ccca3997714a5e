//! The other browser adapters in a page: fetch, its bodies and failures; sleep and wake-ups.
#![cfg(target_arch = "wasm32")]

use std::{cell::Cell, rc::Rc};

use futures::future::join_all;
use js_sys::{Date, Function};
use settee::{
    error::{Error, Kind, Result},
    model::Content,
    platform::Platform,
    remote::{Request, Response, Transport},
    web::{FetchTransport, WebPlatform, content_from_js, on_wake},
};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn request(method: &'static str, url: &str) -> Request {
    Request {
        method,
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        keep_external: false,
        is_fresh: false,
        waits: false,
    }
}

/// A transport over a `fetch(url, init)` with this body; what it saw is put in `globalThis.seen`.
fn fetching(body: &str) -> FetchTransport {
    FetchTransport::new(Some(Function::new_with_args(
        "url, init",
        &format!("globalThis.seen = {{ url, init }}; {body}"),
    )))
}

fn seen(path: &str) -> JsValue {
    Function::new_no_args(&format!("return globalThis.seen.{path}")).call0(&JsValue::UNDEFINED).unwrap()
}

async fn text(response: &Response) -> String {
    String::from_utf8(response.body.bytes().await.unwrap().to_vec()).unwrap()
}

fn err(result: Result<Response>) -> Error {
    result.err().unwrap()
}

#[wasm_bindgen_test]
async fn the_global_fetch_answers_with_any_status() {
    let page = js_sys::eval("location.origin + '/'").unwrap().as_string().unwrap();
    let transport = FetchTransport::new(None);
    let response = transport.send(request("GET", &page)).await.unwrap();
    assert_eq!(response.status, 200);
    assert!(text(&response).await.to_lowercase().contains("<html"));
    assert!(response.headers.iter().any(|(name, value)| name == "content-type" && value.contains("html")));
    let missing = transport.send(request("GET", &format!("{page}nothing/here"))).await.unwrap();
    assert_eq!(missing.status, 404);
}

#[wasm_bindgen_test]
async fn bodies_lie_inside_or_outside_as_asked() {
    let transport = fetching("return new Response('héllo', { status: 201, headers: { 'X-Some': 'A' } })");
    for keep_external in [false, true] {
        let response =
            transport.send(Request { keep_external, ..request("GET", "http://x/") }).await.unwrap();
        assert_eq!(response.status, 201);
        assert_eq!(matches!(response.body, Content::External(_)), keep_external);
        assert_eq!(text(&response).await, "héllo");
        assert!(response.headers.contains(&("x-some".into(), "A".into())));
    }
}

#[wasm_bindgen_test]
async fn a_body_is_read_as_it_arrives() {
    let transport = fetching(
        "return new Response(new ReadableStream({ start(c) { globalThis.body = c; \
         c.enqueue(new TextEncoder().encode('one')) } }))",
    );
    for keep_external in [false, true] {
        let mut answer =
            transport.open(Request { keep_external, ..request("GET", "http://x/") }).await.unwrap();
        assert!(transport.can_stream() && answer.status == 200);
        let piece = answer.body.next().await.unwrap().unwrap();
        assert_eq!(&*piece.bytes().await.unwrap(), b"one");
        assert_eq!(matches!(piece, Content::External(_)), keep_external);
        // Somebody who gives up waiting takes nothing away.
        assert!(futures::poll!(&mut answer.body.next()).is_pending());
        js_sys::eval("body.enqueue(new TextEncoder().encode('two')); body.close()").unwrap();
        assert_eq!(&*answer.body.next().await.unwrap().unwrap().bytes().await.unwrap(), b"two");
        assert!(answer.body.next().await.unwrap().is_none());
        assert!(answer.body.next().await.unwrap().is_none());
        drop(answer);
        assert_eq!(seen("init.signal.aborted"), false);
        drop(transport.open(request("GET", "http://x/")).await.unwrap());
        assert_eq!(seen("init.signal.aborted"), true);
    }
    let pieces =
        vec![b"one".to_vec().into(), content_from_js(&js_sys::eval("new Blob(['two'])").unwrap()).unwrap()];
    let joined = transport.join(pieces).await.unwrap();
    assert!(matches!(joined, Content::External(_)));
    assert_eq!(&*joined.bytes().await.unwrap(), b"onetwo");
    // A `fetch` that knows no streams.
    let whole = fetching("return { status: 200, headers: [], arrayBuffer: async () => new ArrayBuffer(3) }");
    let mut answer = whole.open(request("GET", "http://x/")).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap().size_bytes(), 3);
    assert!(answer.body.next().await.unwrap().is_none());
}

#[wasm_bindgen_test]
async fn a_body_is_sent_from_where_it_lies() {
    let blob = js_sys::eval("globalThis.photo = new Blob(['<photo>'])").unwrap();
    let blob = content_from_js(&blob).unwrap();
    let transport = fetching("return new Response(init.body)");
    for (parts, expected) in [
        (vec![b"one".to_vec().into()], "one"),
        (vec![blob.clone()], "<photo>"),
        (vec![b"--a\r\n".to_vec().into(), blob, b"\r\n--a--".to_vec().into()], "--a\r\n<photo>\r\n--a--"),
    ] {
        let response = transport.send(Request { body: parts, ..request("PUT", "http://x/") }).await.unwrap();
        assert_eq!(text(&response).await, expected);
        assert_eq!(seen("init.method").as_string().unwrap(), "PUT");
    }
    let response = transport.send(request("GET", "http://x/")).await.unwrap();
    assert_eq!(text(&response).await, "");
    assert!(seen("init.body").is_undefined());
}

#[wasm_bindgen_test]
async fn cookies_go_along_unless_there_is_a_login() {
    let transport = fetching("return new Response('')");
    transport.send(request("GET", "http://x/")).await.unwrap();
    assert_eq!(seen("init.credentials"), "include");
    let headers = vec![("authorization".into(), "Basic eA==".into()), ("accept".into(), "text/plain".into())];
    transport.send(Request { headers, ..request("GET", "http://x/") }).await.unwrap();
    assert_eq!(seen("init.credentials"), "same-origin");
    assert_eq!(seen("init.headers.get('Authorization')"), "Basic eA==");
    assert!(seen("init.cache").is_undefined());
}

#[wasm_bindgen_test]
async fn a_dropped_request_aborts_its_fetch() {
    let transport = fetching("return new Promise(() => {})");
    let mut sending = transport.send(request("GET", "http://x/"));
    assert!(futures::poll!(&mut sending).is_pending());
    assert_eq!(seen("init.signal.aborted"), false);
    drop(sending);
    assert_eq!(seen("init.signal.aborted"), true);

    let done = fetching("return new Response('')");
    done.send(request("GET", "http://x/")).await.unwrap();
    assert_eq!(seen("init.signal.aborted"), false);
}

#[wasm_bindgen_test]
async fn whatever_fetch_does_is_an_error() {
    let cases = [
        ("throw new TypeError('refused')", Kind::Network, "TypeError: refused"),
        ("throw 'text'", Kind::Network, "text"),
        ("return Promise.reject('text')", Kind::Network, "text"),
        ("return Promise.reject(undefined)", Kind::Network, "undefined"),
        ("return Promise.reject(Symbol('s'))", Kind::Network, "Symbol"),
        ("return Promise.reject({ get name() { throw 1 } })", Kind::Network, ""),
        (
            "return Promise.reject(new TypeError('failed', { cause: new Error('connect ECONNREFUSED') }))",
            Kind::Network,
            "ECONNREFUSED",
        ),
        ("throw new DOMException('stopped', 'AbortError')", Kind::Cancelled, "stopped"),
        ("throw new DOMException('slow', 'TimeoutError')", Kind::Timeout, "slow"),
        ("return undefined", Kind::Network, ""),
        ("return 7", Kind::Network, ""),
        ("return { status: 200 }", Kind::Network, ""),
        ("return { status: 'x' }", Kind::Network, ""),
        ("return Response.error()", Kind::Network, ""),
        (
            "return new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(3)) }, \
             pull(c) { c.error(new Error('cut off')) } }))",
            Kind::Network,
            "",
        ),
    ];
    for (body, kind, words) in cases {
        for keep_external in [false, true] {
            let send = Request { keep_external, ..request("GET", "http://x/") };
            let error = err(fetching(body).send(send.clone()).await);
            assert_eq!(error.kind(), kind, "{body}: {error}");
            assert!(error.reason().contains(words), "{body}: {error}");
            let transport = fetching(body);
            let error = match transport.open(send).await {
                Err(error) => error,
                Ok(mut answer) => loop {
                    if let Err(error) = answer.body.next().await {
                        break error;
                    }
                },
            };
            assert_eq!(error.kind(), kind, "{body}, read in pieces: {error}");
        }
    }
    let refused = request("GET", "http://127.0.0.1:9/");
    assert_eq!(err(FetchTransport::new(None).send(refused).await).kind(), Kind::Network);
    let headers = vec![("x".into(), "a\nsecret".into())];
    let error = err(FetchTransport::new(None).send(Request { headers, ..request("GET", "http://x/") }).await);
    assert_eq!(error.kind(), Kind::BadRequest);
    assert!(!error.reason().contains("secret"), "{error}");
}

#[wasm_bindgen_test]
async fn sleeping_takes_its_time_and_yielding_none() {
    let start = Date::now();
    WebPlatform.sleep(30).await;
    assert!(Date::now() - start >= 28.0);

    // 200 turns by setTimeout would be clamped to 4 ms each.
    let start = Date::now();
    for _ in 0..200 {
        WebPlatform.sleep(0).await;
    }
    assert!(Date::now() - start < 400.0, "{} ms", Date::now() - start);

    join_all((0..50).map(|_| WebPlatform.sleep(0))).await;
    drop(WebPlatform.sleep(0));
    drop(WebPlatform.sleep(5));
    let mut begun = WebPlatform.sleep(0);
    assert!(futures::poll!(&mut begun).is_pending());
    drop(begun);
    WebPlatform.sleep(0).await;
    let mut forever = WebPlatform.sleep(u32::MAX);
    assert!(futures::poll!(&mut forever).is_pending());
    WebPlatform.sleep(10).await;
    assert!(futures::poll!(&mut forever).is_pending());
}

#[wasm_bindgen_test]
fn random_bytes_fill_all_however_many() {
    let mut bytes = vec![0; 200_000];
    WebPlatform.random_bytes(&mut bytes);
    for piece in bytes.chunks(1_000) {
        assert!(piece.iter().any(|&byte| byte != 0));
    }
    WebPlatform.random_bytes(&mut []);
    assert!(WebPlatform.now_ms() > 1.7e12);
}

#[wasm_bindgen_test]
fn waking_calls_until_the_guard_is_dropped() {
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    let guard = on_wake(move || counted.set(counted.get() + 1));
    let fire = |target: &str, name: &str| {
        js_sys::eval(&format!("{target}.dispatchEvent(new Event('{name}'))")).unwrap();
    };
    for (expected, (target, name)) in (1..).zip([
        ("self", "online"),
        ("self", "focus"),
        ("self", "pageshow"),
        ("document", "visibilitychange"),
    ]) {
        fire(target, name);
        assert_eq!(count.get(), expected, "{name}");
    }
    fire("self", "offline");
    assert_eq!(count.get(), 4);
    drop(guard);
    fire("self", "online");
    assert_eq!(count.get(), 4);
}

#[wasm_bindgen_test]
async fn a_blob_is_read_in_pieces_by_several_and_past_its_end() {
    let made = "new Blob([Uint8Array.from({ length: 300000 }, (_, at) => at * 7)])";
    let blob = content_from_js(&js_sys::eval(made).unwrap()).unwrap();
    let expected: Vec<u8> = (0..300_000u32).map(|at| (at * 7) as u8).collect();
    for _ in 0..2 {
        let (mut one, mut other) = (blob.pieces(), blob.pieces());
        let (mut bytes, mut others) = (Vec::new(), Vec::new());
        loop {
            let before = bytes.len();
            one.next(&mut bytes).await.unwrap();
            other.next(&mut others).await.unwrap();
            assert!(bytes.len() - before <= 128 * 1024);
            if bytes.len() == before {
                break;
            }
        }
        // A buffer that was given back twice would be read into by two.
        for _ in 0..2 {
            one.next(&mut bytes).await.unwrap();
            other.next(&mut others).await.unwrap();
        }
        assert!(bytes == expected && others == expected);
    }
}

#[wasm_bindgen_test]
async fn hashes_are_the_same_with_webcrypto_and_without() {
    let bytes = vec![7; 100_000];
    let mut hashes = vec![WebPlatform.sha256(&bytes), WebPlatform.sha256(&bytes[1..])];
    js_sys::eval(
        "globalThis.subtleWas = Object.getOwnPropertyDescriptor(Crypto.prototype, 'subtle'); \
        Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined, configurable: true })",
    )
    .unwrap();
    hashes.push(WebPlatform.sha256(&bytes));
    js_sys::eval("Object.defineProperty(Crypto.prototype, 'subtle', globalThis.subtleWas)").unwrap();
    let hashes: Vec<[u8; 32]> = join_all(hashes).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(hashes[0], settee::platform::sha256(&bytes));
    assert_eq!(hashes[2], hashes[0]);
    assert_ne!(hashes[1], hashes[0]);
}
