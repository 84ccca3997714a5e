//! A server and a clock that exist only in a test: time passes when nobody can go on.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{FutureExt, future::LocalBoxFuture};
use settee::{
    error::{Error, Kind, Pending, Result},
    model::Content,
    platform::Platform,
    remote::{Answer, Body, Request, Response, Transport},
};

/// A clock that [`Clock::run`] moves, from timer to timer.
#[derive(Default)]
pub struct Clock {
    now_ms: Cell<f64>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    made: Cell<u64>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clock {
    /// At a time that is not 0, so that a duration is not taken for it.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { now_ms: Cell::new(1_000_000.0), ..Self::default() })
    }

    /// The future's result; panics if it waits for what never comes.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        loop {
            while flag.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return result;
                }
            }
            let first = self.timers.borrow_mut().pop_first();
            let ((at_ms, _), timer) = first.expect("it waits for what never comes");
            self.now_ms.set(self.now_ms.get().max(at_ms as f64));
            timer.wake();
        }
    }

    /// The device sleeps: time goes on, and nothing else.
    pub fn freeze(&self, ms: u32) {
        self.now_ms.set(self.now_ms.get() + f64::from(ms));
    }
}

/// The clock as a platform; with a handle of its own, so that timers leave when they are dropped.
pub struct FakePlatform(pub Rc<Clock>);

impl Platform for FakePlatform {
    fn now_ms(&self) -> f64 {
        self.0.now_ms.get()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()> {
        Timer { clock: self.0.clone(), at_ms: self.0.now_ms.get() as u64 + u64::from(ms), key: None }
            .boxed_local()
    }
}

struct Timer {
    clock: Rc<Clock>,
    at_ms: u64,
    key: Option<(u64, u64)>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Even one of 0 ms lets the others have their turn first.
        if self.key.is_some() && self.clock.now_ms.get() as u64 >= self.at_ms {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            self.clock.made.set(self.clock.made.get() + 1);
            (self.at_ms, self.clock.made.get())
        });
        self.key = Some(key);
        self.clock.timers.borrow_mut().insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.timers.borrow_mut().remove(&key);
        }
    }
}

/// What happens on a line, one after the other.
#[derive(Clone, Debug)]
pub enum Step {
    /// So many milliseconds pass.
    Wait(u32),
    /// Bytes arrive.
    Send(Vec<u8>),
    /// The line breaks.
    Break,
    /// Nothing ever happens any more, and the line stays open.
    Hang,
}

pub fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// An answer. What comes before the head is `before`.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub before: Vec<Step>,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

pub fn reply(status: u16, text: &str) -> Reply {
    Reply { status, steps: vec![send(text)], ..Reply::default() }
}

impl Reply {
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn steps(status: u16, steps: Vec<Step>) -> Self {
        Self { status, steps, ..Self::default() }
    }
}

type Handler = Box<dyn Fn(&Request, usize) -> Reply>;

/// Answers by a function of the request and of how many came before it.
pub struct FakeServer {
    clock: Rc<Clock>,
    handler: Handler,
    streams: bool,
    pub requests: RefCell<Vec<Request>>,
    /// Lines that are open now.
    pub open: Rc<Cell<usize>>,
}

impl FakeServer {
    pub fn new(clock: &Rc<Clock>, handler: impl Fn(&Request, usize) -> Reply + 'static) -> Rc<Self> {
        Rc::new(Self {
            clock: clock.clone(),
            handler: Box::new(handler),
            streams: true,
            requests: RefCell::default(),
            open: Rc::default(),
        })
    }

    /// `METHOD path?query` of each request, without the server.
    pub fn asked(&self) -> Vec<String> {
        let line = |request: &Request| format!("{} {}", request.method, path(request));
        self.requests.borrow().iter().map(line).collect()
    }

    pub fn header(&self, index: usize, name: &str) -> Option<String> {
        header(&self.requests.borrow()[index], name)
    }

    async fn begin(&self, request: Request) -> Result<Answer> {
        let count = self.requests.borrow().len();
        let reply = (self.handler)(&request, count);
        self.requests.borrow_mut().push(request);
        self.open.set(self.open.get() + 1);
        let platform = FakePlatform(self.clock.clone());
        let mut head = Line { platform, steps: reply.before.into(), waiting: None, open: self.open.clone() };
        while head.step().await?.is_some() {}
        head.steps = reply.steps.into();
        Ok(Answer { status: reply.status, headers: reply.headers, body: Box::new(head) })
    }
}

/// Without the server.
pub fn path(request: &Request) -> &str {
    request.url.strip_prefix("http://h:5984").unwrap_or(&request.url)
}

pub fn header(request: &Request, name: &str) -> Option<String> {
    let found = request.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.clone())
}

struct Line {
    platform: FakePlatform,
    steps: std::collections::VecDeque<Step>,
    waiting: Option<LocalBoxFuture<'static, ()>>,
    open: Rc<Cell<usize>>,
}

impl Line {
    async fn step(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                waiting.await;
                self.waiting = None;
            }
            match self.steps.front() {
                None => return Ok(None),
                Some(Step::Hang) => futures::future::pending().await,
                Some(Step::Break) => return Err(Error::new(Kind::Network, "The line broke.")),
                _ => {}
            }
            match self.steps.pop_front() {
                Some(Step::Wait(ms)) => self.waiting = Some(self.platform.sleep(ms)),
                Some(Step::Send(bytes)) => return Ok(Some(bytes)),
                _ => {}
            }
        }
    }
}

impl Body for Line {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        async { Ok(self.step().await?.map(Content::from)) }.boxed_local()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Transport for FakeServer {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        async {
            let mut answer = self.begin(request).await?;
            let mut body = Vec::new();
            while let Some(piece) = answer.body.next().await? {
                body.extend_from_slice(&piece.bytes().await?);
            }
            Ok(Response { status: answer.status, headers: answer.headers, body: body.into() })
        }
        .boxed_local()
    }

    fn open(&self, request: Request) -> Pending<'_, Answer> {
        self.begin(request).boxed_local()
    }

    fn can_stream(&self) -> bool {
        self.streams
    }
}
