//! Many channels of one server: few connections, nobody starves, nothing is late. On a clock of its own.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    executor::{LocalPool, LocalSpawner},
    future::LocalBoxFuture,
    task::LocalSpawnExt,
};
use serde_json::Value;
use settee::{
    error::{Error, Kind, Pending},
    platform::Platform,
    remote::{CONNECTIONS, Channel, Claim, Look, Move, Moves, Origin, Slots},
};

/// Time passes when nothing else is left to do.
#[derive(Default)]
struct Clock {
    now_ms: Cell<f64>,
    timers: RefCell<Vec<(f64, oneshot::Sender<()>)>>,
}

impl Clock {
    fn run(&self, pool: &mut LocalPool, until_ms: f64) {
        loop {
            pool.run_until_stalled();
            let mut timers = self.timers.borrow_mut();
            timers.retain(|(_, timer)| !timer.is_canceled());
            let next = (0..timers.len()).min_by(|&a, &b| timers[a].0.total_cmp(&timers[b].0));
            let Some(next) = next.filter(|&next| timers[next].0 <= until_ms) else { break };
            let (at, timer) = timers.remove(next);
            self.now_ms.set(at);
            let _ = timer.send(());
        }
        self.now_ms.set(until_ms);
    }
}

impl Platform for Clock {
    fn now_ms(&self) -> f64 {
        self.now_ms.get()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()> {
        let (timer, over) = oneshot::channel();
        self.timers.borrow_mut().push((self.now_ms.get() + f64::from(ms), timer));
        over.map(drop).boxed_local()
    }
}

/// The server: how far each database is, and what it was asked.
struct Server {
    clock: Rc<Clock>,
    seqs: RefCell<Vec<u64>>,
    asked: Cell<u32>,
    asked_moves: Cell<u32>,
    is_told: Cell<bool>,
    moves: RefCell<Vec<Move>>,
    listening: RefCell<Vec<oneshot::Sender<()>>>,
    under_way: Cell<usize>,
    most_under_way: Cell<usize>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Server {
    fn new(clock: &Rc<Clock>, databases: usize, is_told: bool) -> Rc<Self> {
        Rc::new(Self {
            clock: clock.clone(),
            seqs: RefCell::new(vec![0; databases]),
            asked: Cell::new(0),
            asked_moves: Cell::new(0),
            is_told: Cell::new(is_told),
            moves: RefCell::default(),
            listening: RefCell::default(),
            under_way: Cell::new(0),
            most_under_way: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    fn change(&self, database: usize) {
        self.seqs.borrow_mut()[database] += 1;
        self.tell(Move { name: format!("db{database}"), is_other: false });
    }

    fn tell(&self, one: Move) {
        self.moves.borrow_mut().push(one);
        self.listening.take().into_iter().chain(self.waiting.take()).for_each(|bell| {
            let _ = bell.send(());
        });
    }

    async fn request<T>(&self, work: impl Future<Output = T>) -> T {
        self.asked.set(self.asked.get() + 1);
        self.under_way.set(self.under_way.get() + 1);
        self.most_under_way.set(self.most_under_way.get().max(self.under_way.get()));
        let done = work.await;
        self.under_way.set(self.under_way.get() - 1);
        done
    }
}

impl Moves for Server {
    fn now(&self) -> Pending<'_, Value> {
        async {
            self.asked_moves.set(self.asked_moves.get() + 1);
            self.clock.sleep(50).await;
            if !self.is_told.get() {
                return Err(Error::new(Kind::Forbidden, "You are not a server admin."));
            }
            Ok(self.moves.borrow().len().into())
        }
        .boxed_local()
    }

    fn after<'a>(&'a self, since: &'a Value) -> Pending<'a, (Vec<Move>, Value)> {
        async move {
            self.asked_moves.set(self.asked_moves.get() + 1);
            loop {
                self.clock.sleep(50).await;
                if !self.is_told.get() {
                    return Err(Error::new(Kind::Network, "broken"));
                }
                let moves = self.moves.borrow()[since.as_u64().unwrap() as usize..].to_vec();
                if !moves.is_empty() {
                    return Ok((moves, self.moves.borrow().len().into()));
                }
                let (bell, rung) = oneshot::channel();
                self.listening.borrow_mut().push(bell);
                let _ = rung.await;
            }
        }
        .boxed_local()
    }
}

/// What a live replication does with its channel. Tells when it saw which change.
async fn follow(
    server: Rc<Server>,
    channel: Rc<Channel>,
    database: usize,
    seen: Rc<RefCell<Vec<(usize, f64)>>>,
) {
    let mut since = 0;
    loop {
        let look = channel.look(60_000).await;
        let is_line = look == Look::Wait;
        if look == Look::Rest {
            continue;
        }
        let _permit =
            channel.slots().acquire(Claim { is_visible: channel.visibility().get(), is_line }).await;
        let asked = async {
            server.clock.sleep(100).await;
            if is_line && server.seqs.borrow()[database] == since {
                let (bell, rung) = oneshot::channel();
                server.waiting.borrow_mut().push(bell);
                futures::future::select(rung, server.clock.sleep(60_000)).await;
            }
            server.seqs.borrow()[database]
        };
        let now = server.request(asked).await;
        if now != since {
            since = now;
            channel.had_changes();
            seen.borrow_mut().push((database, server.clock.now_ms()));
        }
    }
}

struct Scene {
    clock: Rc<Clock>,
    pool: LocalPool,
    server: Rc<Server>,
    origin: Rc<Origin>,
    channels: Vec<Rc<Channel>>,
    seen: Rc<RefCell<Vec<(usize, f64)>>>,
}

fn scene(databases: usize, is_told: bool) -> Scene {
    let clock = Rc::new(Clock::default());
    let pool = LocalPool::new();
    let server = Server::new(&clock, databases, is_told);
    let origin = Origin::new(Slots::new(CONNECTIONS), clock.clone(), Some(server.clone()));
    let seen = Rc::<RefCell<Vec<_>>>::default();
    let spawner: LocalSpawner = pool.spawner();
    let channels: Vec<_> = (0..databases).map(|n| origin.channel(&format!("db{n}"))).collect();
    for (n, channel) in channels.iter().enumerate() {
        spawner.spawn_local(follow(server.clone(), channel.clone(), n, seen.clone())).unwrap();
    }
    Scene { clock, pool, server, origin, channels, seen }
}

impl Scene {
    fn run(&mut self, ms: f64) {
        let until = self.clock.now_ms() + ms;
        self.clock.run(&mut self.pool, until);
    }

    /// How long each of these changes took to be seen, one after the other.
    fn delays(&mut self, databases: impl IntoIterator<Item = usize>) -> Vec<f64> {
        let mut delays = Vec::new();
        for database in databases {
            self.seen.take();
            let at = self.clock.now_ms();
            self.server.change(database);
            self.run(5_000.0);
            let seen = self.seen.borrow();
            assert_eq!(seen.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [database]);
            delays.push(seen[0].1 - at);
        }
        delays
    }
}

#[test]
fn few_channels_each_wait_for_themselves() {
    let mut scene = scene(3, true);
    scene.run(60_000.0);
    assert!(scene.server.asked.get() <= 6, "{} requests", scene.server.asked.get());
    assert_eq!(scene.server.asked_moves.get(), 0);
    assert!(scene.delays([0, 2, 1]).into_iter().all(|ms| ms <= 100.0));
}

#[test]
fn many_channels_are_asked_in_turn_where_nobody_tells_which_moved() {
    let mut scene = scene(50, false);
    scene.run(30_000.0);
    scene.server.asked.set(0);
    scene.server.asked_moves.set(0);
    scene.run(60_000.0);
    let asked = scene.server.asked.get() + scene.server.asked_moves.get();
    assert!((500..700).contains(&asked), "{asked} requests in an idle minute");
    assert!(scene.server.most_under_way.get() <= CONNECTIONS);
    let delays = scene.delays([0, 49, 17, 17, 3]);
    assert!(delays.iter().all(|&ms| ms < 5_000.0), "{delays:?}");
    // What the user looks at has a line of its own, as far as there are any.
    for at in 20..25 {
        scene.channels[at].set_visible(true);
    }
    scene.run(10_000.0);
    let delays = scene.delays(20..25);
    assert!(delays.iter().all(|&ms| ms < 2_000.0), "{delays:?}");
    assert!(delays[..CONNECTIONS - 1].iter().all(|&ms| ms <= 100.0), "{delays:?}");
}

#[test]
fn a_few_more_than_there_are_connections_cost_little() {
    let mut scene = scene(6, false);
    scene.run(30_000.0);
    scene.server.asked.set(0);
    scene.run(60_000.0);
    assert!(scene.server.asked.get() < 100, "{} requests in an idle minute", scene.server.asked.get());
}

#[test]
fn one_request_stands_for_all_where_the_server_tells_which_moved() {
    let mut scene = scene(50, true);
    scene.run(30_000.0);
    scene.server.asked.set(0);
    scene.server.asked_moves.set(0);
    scene.run(60_000.0);
    let asked = scene.server.asked.get() + scene.server.asked_moves.get();
    assert!(asked < 20, "{asked} requests in an idle minute");
    let delays = scene.delays([0, 49, 17, 17]);
    assert!(delays.iter().all(|&ms| ms < 500.0), "{delays:?}");
    // A server that forgets to tell is found out in the end.
    scene.server.seqs.borrow_mut()[5] += 1;
    scene.seen.take();
    scene.run(1_300_000.0);
    assert_eq!(scene.seen.borrow().len(), 1);
}

#[test]
fn a_feed_of_moves_that_breaks_costs_no_change() {
    let mut scene = scene(50, true);
    scene.run(30_000.0);
    scene.server.is_told.set(false);
    let delays = scene.delays([1, 2]);
    assert!(delays.iter().all(|&ms| ms < 5_000.0), "{delays:?}");
    scene.server.is_told.set(true);
    scene.run(700_000.0);
    let delays = scene.delays([1, 2]);
    assert!(delays.iter().all(|&ms| ms < 500.0), "{delays:?}");
}

#[test]
fn who_is_woken_looks_at_once_and_the_last_to_leave_ends_the_feed() {
    let mut scene = scene(50, true);
    scene.run(30_000.0);
    let extra = scene.origin.channel("extra");
    let mut pool = LocalPool::new();
    assert_eq!(pool.run_until(extra.look(60_000)), Look::Ask);
    // Dropped while it waits, as a wake-up does it.
    assert!(extra.look(60_000).now_or_never().is_none());
    assert_eq!(pool.run_until(extra.look(60_000)), Look::Ask);
    drop((extra, std::mem::take(&mut scene.channels)));
    scene.pool = LocalPool::new();
    let told = Rc::strong_count(&scene.server);
    assert!(told <= 2, "{told} still hold on to the server: the scene and its origin");
}

#[test]
fn who_uses_a_database_that_was_made_anew_is_told() {
    let mut scene = scene(50, true);
    scene.run(10_000.0);
    let told: Rc<RefCell<Vec<&str>>> = Rc::default();
    let (push, other) = (scene.origin.channel("db7"), scene.origin.channel("db8"));
    for (name, channel) in [("pull", &scene.channels[7]), ("push", &push), ("other", &other)] {
        let (told, channel) = (told.clone(), channel.clone());
        let listening = async move {
            loop {
                channel.doubted().await;
                told.borrow_mut().push(name);
            }
        };
        scene.pool.spawner().spawn_local(listening).unwrap();
    }
    // By the server.
    scene.server.change(7);
    scene.run(1_000.0);
    assert!(told.borrow().is_empty());
    scene.server.tell(Move { name: "db7".into(), is_other: true });
    scene.run(1_000.0);
    assert_eq!(told.take(), ["pull", "push"]);
    // By one of them, which knows it already.
    push.doubt();
    scene.run(1_000.0);
    assert_eq!(told.take(), ["pull"]);
    // Whoever listens later has not missed it.
    let late = scene.origin.channel("db7");
    push.doubt();
    scene.run(1_000.0);
    assert!(late.doubted().now_or_never().is_some() && late.doubted().now_or_never().is_none());
}
