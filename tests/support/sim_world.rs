//! A story: devices in a chain, a star or a ring, people who edit, and everything that goes wrong.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::{Value, json};
use settee::{
    database::{
        Database, OpenOptions,
        options::{BulkDocsOptions, GetOptions, PutOptions, parse},
    },
    error::{Kind, Result},
    model::Content,
    peer::Peer,
    remote::Known,
    replicate::{Checkpoints, Event, Handle, Options, Phase, Status, replicate},
    store::MemoryStore,
};

use super::{
    sim_check,
    sim_net::{Link, Net, NetPeer, Node, Wire},
    sim_time::{Owner, Sim, SimPlatform, WORLD},
};
use crate::kit::faulty_store::{Fault, FaultyStore, Weather};

const IDS: usize = 7;

/// The longest there is between two looks at who is at the other end.
const LONGEST_LOOK_MS: u64 = 750_000;

/// What a seed decides before the story begins.
#[derive(Clone, Debug)]
pub struct Plan {
    pub devices: usize,
    /// Which device runs which replication: (runs it, with, pushes).
    pub jobs: Vec<(usize, usize, bool)>,
    /// Of a hundred exchanges, how many go wrong.
    pub faults: usize,
    pub latency_ms: usize,
    /// Of a hundred disasters, how many are crashes.
    pub crashes: usize,
    pub has_evictions: bool,
    pub has_full_disks: bool,
    pub tabs: usize,
    pub is_slow: bool,
    pub has_opaque_seqs: bool,
    pub steps: usize,
    /// How often somebody does something, in all.
    pub acts: u64,
    pub auto_compaction: bool,
}

impl Plan {
    fn new(sim: &Sim) -> Self {
        let devices = sim.between(3, 5);
        let mut jobs = Vec::new();
        let shape = sim.below(4);
        let edges: Vec<(usize, usize)> = match shape {
            0 => (1..devices).map(|at| (at, at - 1)).collect(),
            1 => (1..devices).map(|at| (at, 0)).collect(),
            _ => (0..devices).map(|at| (at, (at + 1) % devices)).collect(),
        };
        let is_one_way = shape == 3;
        for (a, b) in edges {
            if is_one_way {
                // Everything goes round in one direction.
                jobs.push(if sim.percent(50) { (a, b, true) } else { (b, a, false) });
                continue;
            }
            let (a, b) = if sim.percent(70) { (a, b) } else { (b, a) };
            match sim.below(6) {
                0 => jobs.extend([(a, b, false), (b, a, false)]),
                1 => jobs.extend([(a, b, true), (b, a, true)]),
                2 => jobs.extend([(a, b, true), (a, b, false), (b, a, true), (b, a, false)]),
                _ => jobs.extend([(a, b, true), (a, b, false)]),
            }
        }
        let has_evictions = sim.percent(35);
        Self {
            devices,
            jobs,
            faults: sim.pick(&[0, 2, 6, 15]),
            latency_ms: sim.pick(&[1, 20, 200, 1500]),
            crashes: sim.pick(&[0, 10, 30]),
            has_evictions,
            has_full_disks: sim.percent(25),
            tabs: if sim.percent(25) { 2 } else { 1 },
            is_slow: sim.percent(50),
            has_opaque_seqs: sim.percent(50),
            steps: sim.between(15, 40),
            acts: sim.between(5, 50) as u64,
            auto_compaction: sim.percent(30),
        }
    }
}

/// A write that was acknowledged.
pub struct Acked {
    pub device: usize,
    /// Which life of that device's storage.
    pub life: u32,
    pub id: String,
    pub rev: String,
}

/// A replication that runs, or ran.
pub struct Running {
    pub handle: Handle,
    pub wire: Rc<Wire>,
    pub timeout_ms: u32,
}

pub struct Device {
    pub node: Rc<Node>,
    pub root: RefCell<MemoryStore>,
    pub weather: RefCell<Rc<Weather>>,
    pub platform: Rc<SimPlatform>,
    pub owner: Cell<Owner>,
    /// How often its storage was thrown away.
    pub life: Cell<u32>,
    pub running: RefCell<BTreeMap<(usize, usize), Rc<Running>>>,
    /// What each tab's replications know of another device.
    known: RefCell<BTreeMap<(usize, usize), Rc<Known>>>,
    /// When it comes back, if it is down or asleep.
    back_ms: Cell<Option<u64>>,
    is_asleep: Cell<bool>,
}

pub struct World {
    pub sim: Rc<Sim>,
    pub plan: Plan,
    pub net: Rc<Net>,
    pub devices: Vec<Device>,
    pub links: BTreeMap<(usize, usize), Rc<Link>>,
    pub acked: RefCell<Vec<Acked>>,
    pub is_stormy: Cell<bool>,
    pub denied: RefCell<BTreeSet<(String, String)>>,
    contents: Vec<Vec<u8>>,
    counter: Cell<u64>,
    acts: Cell<u64>,
    /// What a replication told and did not do, found on the way.
    pub wrongs: RefCell<Vec<String>>,
}

/// Plays one seed; what two runs of it must have in common. Panics where something is wrong.
pub fn play(sim: &Rc<Sim>) -> u64 {
    let world = World::new(sim);
    world.storm();
    world.calm();
    sim_check::check(&world);
    world.end();
    sim.hash()
}

impl World {
    fn new(sim: &Rc<Sim>) -> Rc<Self> {
        let plan = Plan::new(sim);
        sim.tell(|| format!("{plan:?}"));
        let mut links = BTreeMap::new();
        for &(a, b, _) in &plan.jobs {
            links.entry((a.min(b), a.max(b))).or_insert_with(Rc::<Link>::default);
        }
        let devices = (0..plan.devices).map(|at| Device {
            node: Rc::new(Node {
                name: format!("n{at}"),
                db: RefCell::default(),
                is_absent: Cell::new(false),
                is_wanted: Cell::new(false),
                owner: Cell::new(WORLD),
                has_opaque_seqs: plan.has_opaque_seqs,
            }),
            root: RefCell::new(MemoryStore::new()),
            weather: RefCell::new(Weather::new(sim.split())),
            platform: SimPlatform::new(sim),
            owner: Cell::new(WORLD),
            life: Cell::new(0),
            running: RefCell::default(),
            known: RefCell::default(),
            back_ms: Cell::new(None),
            is_asleep: Cell::new(false),
        });
        let net = Rc::new(Net::default());
        net.faults.set(plan.faults);
        net.latency_ms.set(plan.latency_ms);
        let mut rng = sim.split();
        let mut sizes = vec![0, 3, 900, 9_000];
        sizes.push(if sim.percent(20) { 200_000 } else { 70_000 });
        let contents = sizes.into_iter().map(|size| rng.bytes(size)).collect();
        let world = Rc::new(Self {
            sim: sim.clone(),
            net,
            devices: devices.collect(),
            links,
            acked: RefCell::default(),
            is_stormy: Cell::new(true),
            denied: RefCell::default(),
            contents,
            counter: Cell::new(0),
            acts: Cell::new(0),
            wrongs: RefCell::default(),
            plan,
        });
        (0..world.devices.len()).for_each(|at| world.start(at));
        world
    }

    pub fn link(&self, a: usize, b: usize) -> &Rc<Link> {
        &self.links[&(a.min(b), a.max(b))]
    }

    /// Lets time pass.
    pub fn run_for(&self, ms: u64) {
        let until = self.sim.passed_ms() + ms;
        self.sim.run_until(until, &|| {
            self.devices.iter().for_each(|device| device.weather.borrow().tell(true));
        });
        let wrongs = self.wrongs.borrow();
        assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    }

    fn wrong(&self, what: String) {
        self.sim.tell(|| format!("WRONG {what}"));
        self.wrongs.borrow_mut().push(what);
    }

    /// A device boots: opens its database in each of its tabs, people and replications begin.
    fn start(self: &Rc<Self>, at: usize) {
        self.sim.tell(|| format!("n{at} starts"));
        let device = &self.devices[at];
        let owner = self.sim.new_owner();
        device.owner.set(owner);
        device.node.owner.set(owner);
        device.back_ms.set(None);
        let weather = Weather::new(self.sim.split());
        weather.is_slow.set(self.plan.is_slow);
        *device.weather.borrow_mut() = weather;
        let world = self.clone();
        self.sim.spawn(owner, async move {
            let device = &world.devices[at];
            for tab in 0..world.plan.tabs {
                let store = device.root.borrow().handle();
                let store = Rc::new(FaultyStore::new(store, &device.weather.borrow()));
                let options = OpenOptions {
                    auto_compaction: world.plan.auto_compaction,
                    ..OpenOptions::new(format!("n{at}"))
                };
                let db = match Database::open(store, device.platform.clone(), options).await {
                    Ok(db) => db,
                    Err(error) => return world.wrong(format!("n{at} does not open: {error}")),
                };
                if tab == 0 {
                    *device.node.db.borrow_mut() = Some(db.clone());
                    device.node.is_absent.set(false);
                    device.node.is_wanted.set(false);
                }
                world.sim.spawn(owner, world.clone().person(at, db.clone()));
                for job in 0..world.plan.jobs.len() {
                    if world.plan.jobs[job].0 == at {
                        world.sim.spawn(owner, world.clone().supervise(job, tab, db.clone()));
                    }
                }
            }
        });
    }

    /// The power is gone. What is in the store stays.
    fn stop(&self, at: usize) {
        let device = &self.devices[at];
        self.sim.kill(device.owner.get());
        device.known.take();
        *device.node.db.borrow_mut() = None;
        device.running.borrow_mut().clear();
        device.is_asleep.set(false);
        let root = device.root.borrow().fork();
        *device.root.borrow_mut() = root;
        self.links_of(at).for_each(|link| link.tear());
    }

    fn links_of(&self, at: usize) -> impl Iterator<Item = &Rc<Link>> {
        self.links.iter().filter(move |((a, b), _)| *a == at || *b == at).map(|(_, link)| link)
    }

    fn storm(self: &Rc<Self>) {
        for _ in 0..self.plan.steps {
            let ms = match self.sim.below(20) {
                0 => self.sim.between(60_000, 400_000),
                1..4 => self.sim.between(5_000, 30_000),
                _ => self.sim.between(10, 2_000),
            };
            self.run_for(ms as u64);
            self.come_back(false);
            if self.sim.percent(45) {
                self.disaster();
            }
        }
        self.is_stormy.set(false);
    }

    fn come_back(self: &Rc<Self>, all: bool) {
        for (at, device) in self.devices.iter().enumerate() {
            let is_due = device.back_ms.get().is_some_and(|ms| all || ms <= self.sim.passed_ms());
            let is_wanted = device.node.is_wanted.get() && device.node.is_absent.get();
            if device.is_asleep.get() {
                if is_due {
                    self.sim.tell(|| format!("n{at} wakes up"));
                    device.is_asleep.set(false);
                    device.back_ms.set(None);
                    self.sim.thaw(device.owner.get());
                    if self.sim.percent(60) {
                        device.running.borrow().values().for_each(|running| running.handle.wake());
                    }
                }
            } else if is_due || (is_wanted && device.back_ms.get().is_some()) {
                self.start(at);
            }
        }
    }

    fn disaster(self: &Rc<Self>) {
        let at = self.sim.below(self.devices.len());
        let device = &self.devices[at];
        if device.back_ms.get().is_some() {
            return;
        }
        let soon = |low: usize, high: usize| Some(self.sim.passed_ms() + self.sim.between(low, high) as u64);
        if self.sim.percent(self.plan.crashes) {
            let is_eviction = self.plan.has_evictions && self.sim.percent(40);
            self.sim
                .tell(|| format!("n{at} crashes{}", if is_eviction { " and loses everything" } else { "" }));
            self.stop(at);
            device.back_ms.set(soon(1, 20_000));
            if is_eviction {
                *device.root.borrow_mut() = MemoryStore::new();
                device.life.set(device.life.get() + 1);
                device.node.is_absent.set(self.sim.percent(50));
            }
            return;
        }
        match self.sim.below(9) {
            0..3 => {
                let keys: Vec<_> = self.links.keys().copied().collect();
                let key = self.sim.pick(&keys);
                let link = &self.links[&key];
                link.is_cut.set(!link.is_cut.get());
                self.sim.tell(|| format!("link {key:?} cut: {}", link.is_cut.get()));
                link.tear();
            }
            3 => {
                self.sim.tell(|| format!("n{at} falls asleep"));
                self.sim.freeze(device.owner.get());
                device.is_asleep.set(true);
                device.back_ms.set(soon(1_000, 8 * 3_600_000 / 60));
                self.links_of(at).for_each(|link| link.tear());
            }
            4 => {
                let skew = self.sim.below(7_200_000) as f64 - 3_600_000.0;
                self.sim.tell(|| format!("n{at} has its clock set by {skew}"));
                device.platform.skew_ms.set(skew);
            }
            5 => device.running.borrow().values().for_each(|running| running.handle.wake()),
            6 => {
                let running: Vec<_> = device.running.borrow().values().cloned().collect();
                if let Some(running) = running.first() {
                    self.sim.tell(|| format!("n{at} cancels a replication"));
                    running.handle.cancel();
                }
            }
            _ if self.plan.has_full_disks => {
                let kind = self.sim.pick(&[Kind::InsufficientStorage, Kind::Unknown]);
                let fault = if self.sim.percent(50) { Fault::Before(kind) } else { Fault::After(kind) };
                self.sim.tell(|| format!("n{at} will have {fault:?}"));
                device.weather.borrow().fault.set(Some((self.sim.below(4) as u32, fault)));
            }
            _ => {}
        }
    }

    /// All is well again, and everything that is to be done gets done.
    fn calm(self: &Rc<Self>) {
        self.sim.tell(|| "the storm is over".to_owned());
        self.net.faults.set(0);
        self.links.values().for_each(|link| link.is_cut.set(false));
        self.devices.iter().for_each(|device| device.weather.borrow().fault.set(None));
        self.come_back(true);
        self.rest();
        if self.plan.has_evictions {
            // Who pushes and has nothing new looks now and then whether the other end is what it was.
            self.run_for(LONGEST_LOOK_MS);
            self.rest();
        }
    }

    /// Lets time pass until nothing but waiting lines is left.
    fn rest(self: &Rc<Self>) {
        let (mut still_ms, mut activity) = (0, self.net.activity.get());
        let begin_ms = self.sim.passed_ms();
        // The longest there is without a request: a checkpoint that tells nothing new is put off so long.
        while still_ms < 310_000 {
            self.run_for(10_000);
            self.come_back(true);
            let now = self.net.activity.get();
            still_ms = if now == activity { still_ms + 10_000 } else { 0 };
            activity = now;
            assert!(self.sim.passed_ms() - begin_ms < 2 * 3_600_000, "it does not come to rest");
        }
    }

    fn end(&self) {
        for at in 0..self.devices.len() {
            self.sim.kill(self.devices[at].owner.get());
            *self.devices[at].node.db.borrow_mut() = None;
            self.devices[at].running.borrow_mut().clear();
        }
    }

    // ---- replications ----

    fn options(&self) -> Options {
        let mut options = Options {
            live: !self.is_stormy.get() || self.sim.percent(85),
            retry: !self.is_stormy.get() || self.sim.percent(85),
            batch_size: self.sim.pick(&[Some(1), Some(2), Some(5), None]),
            batches_limit: self.sim.between(1, 3),
            timeout_ms: if self.is_stormy.get() { self.sim.pick(&[5_000, 20_000, 60_000]) } else { 60_000 },
            checkpoint_interval_ms: self.sim.pick(&[0, 5_000]),
            ..Options::default()
        };
        if !self.plan.has_evictions && self.sim.percent(20) {
            options.checkpoint =
                self.sim.pick(&[Checkpoints::Source, Checkpoints::Target, Checkpoints::None]);
        }
        options
    }

    /// Keeps one replication going, as an application would.
    async fn supervise(self: Rc<Self>, job: usize, tab: usize, db: Database) {
        let (at, other, is_push) = self.plan.jobs[job];
        let device = &self.devices[at];
        loop {
            let wire = Wire::new(
                format!("job {job}.{tab}"),
                &self.sim,
                &self.net,
                self.link(at, other),
                &self.devices[other].node,
                device.known.borrow_mut().entry((tab, other)).or_default().clone(),
            );
            let remote: Rc<dyn Peer> = Rc::new(NetPeer(wire.clone()));
            let local: Rc<dyn Peer> = Rc::new(db.clone());
            let (source, target) = if is_push { (local, remote) } else { (remote, local) };
            let options = self.options();
            let (is_live, timeout_ms) = (options.live, options.timeout_ms);
            let slot: Rc<RefCell<Option<Rc<Running>>>> = Rc::default();
            let on_event = {
                let (world, slot) = (self.clone(), slot.clone());
                Rc::new(move |event: Event| {
                    if let Some(running) = &*slot.borrow() {
                        world.heard(job, running, &event);
                    }
                })
            };
            let platform = device.platform.clone();
            let (handle, future) = replicate(source, target, platform, options, on_event);
            let running = Rc::new(Running { handle, wire, timeout_ms });
            *slot.borrow_mut() = Some(running.clone());
            device.running.borrow_mut().insert((job, tab), running.clone());
            self.sim.tell(|| {
                format!("job {job}.{tab} n{at} {} n{other} begins", if is_push { "->" } else { "<-" })
            });
            let ended = future.await;
            self.sim.tell(|| {
                format!("job {job}.{tab} ended: {:?}", ended.as_ref().map(|summary| summary.status))
            });
            let state = running.handle.state();
            match &ended {
                Ok(summary) => {
                    let is_told = summary.status == Status::Complete || is_live;
                    if state.phase != Phase::Stopped
                        || state.error.is_some()
                        || !(is_told || state.summary.status == Status::Cancelled)
                    {
                        self.wrong(format!("job {job} ended well and says {state:?}"));
                    }
                }
                Err(error) => {
                    if state.phase != Phase::Failed || state.error.as_ref() != Some(error) {
                        self.wrong(format!("job {job} ended with {error} and says {state:?}"));
                    }
                }
            }
            // Nobody shall hold on to it.
            slot.borrow_mut().take();
            let pause = self.sim.sleep(self.sim.between(100, 8_000) as u64);
            pause.await;
        }
    }

    /// What a replication tells must be so.
    fn heard(&self, job: usize, running: &Running, event: &Event) {
        let state = running.handle.state();
        self.sim.tell(|| match event {
            Event::Change(progress) => format!("{} change {}", running.wire.name, progress.docs.len()),
            other => format!("{} {other:?}", running.wire.name),
        });
        match event {
            Event::Paused(None) => {
                if state.phase != Phase::Live || state.error.is_some() {
                    self.wrong(format!("job {job} is up to date and says {state:?}"));
                }
            }
            Event::Paused(Some(error)) => {
                let phase = match error.kind() {
                    Kind::Network => Phase::Offline,
                    Kind::Unauthorized => Phase::NeedsAuth,
                    Kind::InsufficientStorage => Phase::Paused,
                    _ => Phase::Waiting,
                };
                if state.phase != phase || state.error.as_ref() != Some(error) {
                    self.wrong(format!("job {job} failed with {error} and says {state:?}"));
                }
                // A disk that is full is no line's failure.
                let was_told = running.wire.untold.replace(0) > 0 || running.wire.may_tell.take();
                if !was_told && error.kind() != Kind::InsufficientStorage {
                    self.wrong(format!("job {job} tells of a failure that nobody had: {error}"));
                }
            }
            Event::Denied(failure) => {
                // A revision that was followed by another meanwhile, and compacted.
                if failure.status != 404 {
                    self.wrong(format!("job {job} says denied: {failure:?}"));
                }
                let rev = failure.rev.as_ref().map(ToString::to_string).unwrap_or_default();
                self.denied.borrow_mut().insert((failure.id.clone(), rev));
            }
            Event::Checkpoint(seq) => {
                let (at, other, is_push) = self.plan.jobs[job];
                let (source, target) = if is_push { (at, other) } else { (other, at) };
                if !self.plan.has_evictions
                    && self.sim.percent(30)
                    && let Err(lie) = sim_check::checkpoint(self, source, target, seq)
                {
                    self.wrong(format!("job {job}, checkpoint {}: {lie}", seq.0));
                }
            }
            Event::Active | Event::Change(_) => {}
        }
    }

    // ---- people ----

    async fn person(self: Rc<Self>, at: usize, db: Database) {
        loop {
            let ms = match self.sim.below(10) {
                0 => self.sim.between(5_000, 60_000),
                1..3 => self.sim.between(1, 20),
                _ => self.sim.between(100, 12_000),
            };
            self.sim.sleep(ms as u64).await;
            self.acts.set(self.acts.get() + 1);
            if !self.is_stormy.get() || self.acts.get() > self.plan.acts {
                return;
            }
            let life = self.devices[at].life.get();
            let done = self.act(&db).await;
            match done {
                Ok(written) => {
                    for (id, rev) in written {
                        self.sim.tell(|| format!("n{at} wrote {id} {rev}"));
                        self.acked.borrow_mut().push(Acked { device: at, life, id, rev });
                    }
                }
                Err(error) => self.sim.tell(|| format!("n{at} could not write: {error}")),
            }
        }
    }

    /// One thing that somebody does; what it wrote.
    async fn act(&self, db: &Database) -> Result<Vec<(String, String)>> {
        let id = format!("d{}", self.sim.below(IDS));
        let options: GetOptions = parse(json!({"conflicts": true}))?;
        let current: Option<Value> = match db.get(&id, &options).await {
            Ok(rendered) => Some(serde_json::from_str(&rendered.json).unwrap()),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        let conflicts: Vec<String> = current
            .as_ref()
            .and_then(|doc| serde_json::from_value(doc["_conflicts"].clone()).ok())
            .unwrap_or_default();
        let rev = current.as_ref().map(|doc| doc["_rev"].as_str().unwrap().to_owned());
        match (self.sim.below(100), rev) {
            // The same edit wherever it is made.
            (0..8, rev) => {
                let mut doc = json!({"_id": id, "same": self.sim.below(2)});
                if let Some(rev) = rev {
                    doc["_rev"] = rev.into();
                }
                self.put(db, doc).await
            }
            (8..14, _) => {
                let docs: Vec<Value> = (0..self.sim.between(2, 4) as u64)
                    .map(|n| json!({"_id": format!("b{}", self.next() * 10 + n), "text": "x".repeat(self.sim.below(300))}))
                    .collect();
                self.bulk(db, docs).await
            }
            (14..18, _) => db.compact().await.map(|()| Vec::new()),
            (18..30, Some(rev)) => {
                let rev = if conflicts.is_empty() || self.sim.percent(60) {
                    rev
                } else {
                    self.sim.pick(&conflicts)
                };
                let written = db.remove(&id, &rev).await?;
                Ok(vec![(id, written.rev)])
            }
            (30..46, rev) => {
                let content = Content::from(self.sim.pick(&self.contents));
                let name = self.sim.pick(&["a", "b.jpg"]);
                let written = db.put_attachment(&id, name, rev.as_deref(), content, "image/jpeg").await?;
                Ok(vec![(id, written.rev)])
            }
            (46..50, Some(rev)) => {
                let written = db.remove_attachment(&id, "a", &rev).await?;
                Ok(vec![(id, written.rev)])
            }
            (50..62, Some(rev)) if !conflicts.is_empty() => {
                // One winner, perhaps with something of the others in it.
                let mut docs: Vec<Value> =
                    conflicts.iter().map(|rev| json!({"_id": id, "_rev": rev, "_deleted": true})).collect();
                if self.sim.percent(50) {
                    docs.push(json!({"_id": id, "_rev": rev, "merged": self.next()}));
                }
                self.bulk(db, docs).await
            }
            (62..68, Some(_)) if !conflicts.is_empty() => {
                let loser = self.sim.pick(&conflicts);
                self.put(db, json!({"_id": id, "_rev": loser, "n": self.next()})).await
            }
            (_, Some(_)) => {
                // An edit that keeps the attachments.
                let mut doc = current.unwrap();
                doc.as_object_mut().unwrap().remove("_conflicts");
                doc["n"] = self.next().into();
                self.put(db, doc).await
            }
            (_, None) => self.put(db, json!({"_id": id, "n": self.next()})).await,
        }
    }

    fn next(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    async fn put(&self, db: &Database, doc: Value) -> Result<Vec<(String, String)>> {
        let written = db.put(&doc.to_string(), &[], &PutOptions::default()).await?;
        Ok(vec![(written.id, written.rev)])
    }

    async fn bulk(&self, db: &Database, docs: Vec<Value>) -> Result<Vec<(String, String)>> {
        let rows = db.bulk_docs(&Value::from(docs).to_string(), &[], &BulkDocsOptions::default()).await?;
        Ok(rows
            .into_iter()
            .filter_map(|(_, row)| row.ok())
            .map(|written| (written.id, written.rev))
            .collect())
    }
}
