// Replication through a line that breaks, and what both sides hold afterwards. The proxy is lib/proxy.mjs.
//
//   FAULT_SEEDS=7,8 node --test --test-name-pattern=storm tests/e2e/faults.test.mjs
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { launchBrowser, sleep, startCouch, waitFor } from './lib/index.mjs';
import { censusOf, leavesOf, local } from './lib/census.mjs';
import { startFaultProxy } from './lib/proxy.mjs';
import { openTab, startSite } from './lib/tab.mjs';
import { complaints, listen } from './lib/telling.mjs';
import { lost, worldOf } from './lib/world.mjs';

const SEEDS = process.env.FAULT_SEEDS?.split(',').map(Number);
const KINDS = ['info', 'local', 'changes', 'bulk-get', 'attachment', 'diff', 'bulk-docs', 'document', 'record'];
// Soon enough for a test; what the pauses are is tested natively.
const RETRY = { retry: true, back_off_function: () => 5 };

let couch;
let proxy;
let Database;

before(async () => {
  couch = await startCouch();
  proxy = await startFaultProxy(couch);
  ({ Database } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href));
});
after(async () => {
  await proxy?.close();
  await couch?.close();
});
beforeEach(() => {
  proxy.calm();
  proxy.clear();
});

const remote = (name) => ({
  changes: async () => (await couch.must('GET', `/${name}/_changes?style=all_docs`)).results,
  bulkGet: async (docs) => (await couch.must('POST', `/${name}/_bulk_get?revs=true&attachments=true`, { docs })).results,
});

// A story's two sides, filled: the server's database `name` at `url` (through the proxy) and what `world.here` belongs to.
async function begin(seed) {
  const world = worldOf(seed);
  const name = await couch.create('faults');
  assert.deepEqual(await refusals(name, world.there), []);
  return { world, name, url: proxy.dbUrl(name) };
}

const refusals = async (name, docs) => (await couch.must('POST', `/${name}/_bulk_docs`, { docs, new_edits: false })).filter(({ error }) => error);

// The same with a database in this process's memory.
async function beginHere(t, seed) {
  const story = await begin(seed);
  const db = await Database.open(story.name);
  t.after(() => db.close());
  assert.deepEqual(await db.bulkDocs(story.world.here, { new_edits: false }), []);
  return { ...story, db, here: local(db) };
}

// Both sides hold the same, all of it, once, byte for byte.
async function judge({ world, name, here, there = remote(name) }) {
  const [mine, theirs] = [await (here.census?.() ?? censusOf(here)), await censusOf(there)];
  assert.deepEqual(lost(world, theirs), [], 'lost there');
  assert.deepEqual(lost(world, mine), [], 'lost here');
  assert.deepEqual(mine, theirs);
}

async function sameLeaves({ world, name, here }) {
  const [mine, theirs] = [await leavesOf(here), await leavesOf(remote(name))];
  const isThere = ({ _id, _rev }) => [mine, theirs].every((side) => side[_id]?.some((rev) => rev === _rev || Number.parseInt(rev, 10) > Number.parseInt(_rev, 10)));
  return JSON.stringify(mine) === JSON.stringify(theirs) && [...world.here, ...world.there].every(isThere);
}

// What people do meanwhile, on both sides: new documents, edits, a deletion, a photo. It is added to the world.
let turns = 0;
async function work({ world, name, edit }) {
  turns += 1;
  const photo = { f: { content_type: 'image/x', data: Buffer.alloc(100_000, turns).toString('base64') } };
  const todo = (side) => [
    { _id: `new:${side}:${turns}`, side }, { _id: `photo:${side}:${turns}`, side, _attachments: photo },
    { edit: `plain:${side}:0${turns % 10}`, side, turns }, { edit: `plain:${side}:1${turns % 10}`, _deleted: true },
  ];
  const there = [];
  for (const { edit: id, ...doc } of todo('there')) {
    if (id) Object.assign(doc, { _id: id, _rev: (await couch.must('GET', `/${name}/${id}`))._rev });
    const { rev } = await couch.must('PUT', `/${name}/${doc._id}`, doc);
    there.push({ _id: doc._id, _rev: rev });
  }
  world.there.push(...there);
  world.here.push(...await edit(todo('here')));
}

// work()'s edits on a Database; in pages too.
async function editDocs(db, todo) {
  const done = [];
  for (const { edit: id, ...doc } of todo) {
    if (id) Object.assign(doc, { _id: id, _rev: (await db.get(id))._rev });
    done.push({ _id: doc._id, _rev: (await db.put(doc)).rev });
  }
  return done;
}

const at = (fault, nth, kinds = KINDS) => kinds.map((kind) => ({ kind, nth, fault }));
const heard = (told, judged) => assert.deepEqual(complaints(told, judged), [], `${JSON.stringify(told, null, 1).slice(0, 3000)}\n${proxy.said()}`);

// Live both ways while both sides work, with `plan()` in force, until both hold the same.
async function liveStory(story, plan, judged) {
  plan();
  const task = story.db.sync(story.url, { ...RETRY, live: true });
  const told = listen({ push: task.push, pull: task.pull });
  const failed = task.then(() => null, (error) => error);
  try {
    for (let round = 0; round < 3; round += 1) {
      await work(story);
      await Promise.race([
        waitFor(() => sameLeaves(story), { timeout: 30_000, interval: 100, what: `round ${round}: both sides the same` }),
        failed.then((error) => { throw error ?? new Error('it ended'); }),
      ]);
    }
  } catch (error) {
    error.message += `\n${proxy.said().split('\n').slice(-60).join('\n')}`;
    throw error;
  } finally {
    task.cancel();
  }
  const { push, pull } = await task;
  assert.deepEqual([push.status, pull.status, push.doc_write_failures, pull.doc_write_failures], ['cancelled', 'cancelled', 0, 0]);
  heard(told, { mayRepeat: true, ended: { push: 'complete', pull: 'complete' }, ...judged });
}

// What passes, whatever it is: [name, fault, whether it interrupts, whether the server may have done it all the same].
const PASSING = [
  ['a connection refused', { type: 'refuse' }, true],
  ['a request cut at once', { type: 'cut-request', bytes: 0 }, true],
  ['a request cut after 400 bytes', { type: 'cut-request', bytes: 400 }, true],
  ['an answer cut at once', { type: 'cut-answer', bytes: 0 }, true, true],
  ['an answer cut after 30 bytes', { type: 'cut-answer', bytes: 30 }, true, true],
  ['an answer cut after 9,999 bytes', { type: 'cut-answer', bytes: 9_999 }, true, true],
  ['a delay', { type: 'delay', ms: 150 }, false],
  ...[429, 500, 502, 503, 504].map((status) => [`status ${status}`, { type: 'status', status, headers: status === 429 ? { 'retry-after': '1' } : {} }, true]),
  ['status 502 with a web page', { type: 'status', status: 502, headers: { 'content-type': 'text/html' }, body: '<h1>Bad gateway</h1>' }, true],
  ['status 500 after the work was done', { type: 'late-status', status: 500 }, true, true],
  ['a web page instead of JSON', { type: 'html' }, true],
  ['half an answer', { type: 'truncate' }, true, true],
  ['no answer at all, status 200', { type: 'truncate', bytes: 0 }, true, true],
  ['an answer twice in one', { type: 'double-body' }, true, true],
  ['a second answer that nobody asked for', { type: 'double-answer' }, false],
  ['a request that arrives twice', { type: 'repeat' }, false],
];

for (const [title, fault, isBroken, maybeDone] of PASSING) {
  test(`passing: ${title}`, { timeout: 40_000 }, async (t) => {
    const story = await beginHere(t, hash(title));
    const { world: { lacks }, db, url } = story;
    for (const [way, lacking] of [['to', lacks.there], ['from', lacks.here]]) {
      proxy.plan(at(fault, [1, 3]));
      const task = db.replicate[way](url, RETRY);
      const told = listen({ [way]: task });
      const result = await task;
      assert.deepEqual([result.ok, result.status, result.doc_write_failures], [true, 'complete', 0], proxy.said());
      // What a server stored without being able to say so is not stored, nor counted, again.
      if (way === 'to' && maybeDone) assert.ok(result.docs_written <= lacking, `${result.docs_written} of ${lacking}`);
      else assert.equal(result.docs_written, lacking, proxy.said());
      heard(told, { broken: isBroken, ended: { [way]: 'complete' } });
    }
    assert.ok(proxy.faults.length >= 9, proxy.said());
    assert.ok(await sameLeaves(story), 'the same leaves');
    story.edit = (todo) => editDocs(db, todo);
    await liveStory(story, () => proxy.plan(at(fault, [1, 3], [...KINDS, 'wait'])), { broken: isBroken });
    await judge(story);
  });
}

function hash(text) {
  return [...text].reduce((sum, c) => (Math.imul(sum, 31) + c.codePointAt(0)) >>> 0, 7);
}

// What says that something is wrong with what was asked. Whether it is the document, the login or somebody in between, a
// client cannot know: it ends with an error, or names the documents that it leaves out, and loses nothing without a word.
for (const status of [400, 401, 403, 404, 405, 409, 412, 413, 415]) {
  test(`refusing: status ${status}, once for each kind of request`, { timeout: 60_000 }, async (t) => {
    const story = await beginHere(t, status);
    const { db, url, name } = story;
    const told = [];
    for (const way of ['to', 'from']) {
      proxy.plan(at({ type: 'status', status }, 1));
      const before = proxy.faults.length;
      for (let run = 1, error = 'none yet'; error; run += 1) {
        assert.ok(run < 20, `it never comes to an end\n${proxy.said()}`);
        const task = db.replicate[way](url, RETRY);
        const heardNow = listen({ [way]: task });
        error = await task.then(() => null, (failed) => failed);
        heard(heardNow, { ended: { [way]: error ? 'error' : 'complete' } });
        if (error) {
          assert.equal(error.status, status, `${error}\n${proxy.said()}`);
          assert.equal(error.result.ok, false);
        }
        told.push(...heardNow.filter(({ type }) => type === 'denied').map(({ error: { id } }) => id));
      }
      assert.ok(proxy.faults.length > before, 'nothing was broken');
    }
    // What is missing was told of; and starting over, with the line whole again, brings it.
    const [mine, theirs] = [await leavesOf(story.here), await leavesOf(remote(name))];
    const missing = Object.keys({ ...mine, ...theirs }).filter((id) => String(mine[id]) !== String(theirs[id]));
    assert.deepEqual(missing.filter((id) => !told.includes(id)), [], `missing, and nobody was told\n${proxy.said()}`);
    t.diagnostic(`${new Set(told).size} documents were denied, ${missing.length} were missing`);
    proxy.calm();
    const result = await db.sync(url, { checkpoint: false });
    assert.deepEqual([result.push.doc_write_failures, result.pull.doc_write_failures], [0, 0]);
    await judge(story);
  });
}

test('another instance_start_time with each answer', { timeout: 60_000 }, async (t) => {
  const story = await beginHere(t, 11);
  const { world: { lacks }, db, url } = story;
  let lives = 0;
  proxy.plan([{ kind: 'info', fault: { type: 'rewrite', rewrite: (info) => ({ ...info, instance_start_time: String(Date.UTC(2026, 0, (lives += 1)) * 1000) }) } }]);
  const first = await db.sync(url, RETRY);
  assert.deepEqual([first.push.docs_written, first.pull.docs_written >= lacks.here], [lacks.there, true]);
  assert.ok(lives > 0, proxy.said());
  await judge(story);
});

const seedsOf = (fixed) => SEEDS ?? fixed;

for (const seed of seedsOf([1, 2, 3, 4, 5, 6])) {
  test(`storm: seed ${seed}`, { timeout: 90_000 }, async (t) => {
    const story = await beginHere(t, seed);
    const { db, url } = story;
    proxy.storm({ seed, rate: 0.4, limit: 60 });
    const once = db.sync(url, RETRY);
    const told = listen({ push: once.push, pull: once.pull });
    const { push, pull } = await once;
    assert.deepEqual([push.ok, pull.ok, push.doc_write_failures, pull.doc_write_failures], [true, true, 0, 0], `FAULT_SEEDS=${seed}\n${proxy.said()}`);
    heard(told, { broken: true, mayRepeat: true, ended: { push: 'complete', pull: 'complete' } });
    // Each way stopped where its own feed ended, so the push may have ended before the pull; another one brings the rest.
    proxy.storm({ seed: seed + 1000, rate: 0.4, limit: 20 });
    story.edit = (todo) => editDocs(db, todo);
    await liveStory(story, () => proxy.storm({ seed: seed + 2000, rate: 0.4, limit: 60 }), { broken: undefined });
    t.diagnostic(`${proxy.faults.length} of ${proxy.requests.length} requests were broken`);
    await judge(story).catch((error) => { throw Object.assign(error, { message: `FAULT_SEEDS=${seed}: ${error.message}\n${proxy.said()}` }); });
  });
}

test('the server is stopped and started, again and again', { timeout: 90_000 }, async (t) => {
  const story = await beginHere(t, 21);
  const { db, url } = story;
  story.edit = (todo) => editDocs(db, todo);
  const task = db.sync(url, { ...RETRY, back_off_function: () => 50, live: true });
  const told = listen({ push: task.push, pull: task.pull });
  for (const after of [3, 14, 25]) {
    const seen = proxy.requests.length;
    await waitFor(() => proxy.requests.length >= seen + after, { what: 'requests', timeout: 20_000 }).catch(() => {});
    await couch.stop();
    await waitFor(() => told.at(-1)?.type === 'paused' && told.at(-1).error, { what: 'the outage being told' });
    assert.equal(task.state, 'stopped');
    await couch.start();
    await work(story);
    await waitFor(() => sameLeaves(story), { timeout: 30_000, interval: 100, what: 'both sides the same' });
  }
  task.cancel();
  await task;
  heard(told, { broken: true, mayRepeat: true });
  await judge(story);
});

// Nobody is told anything by a line on which nothing comes any more.
for (const kind of ['changes', 'wait', 'bulk-get', 'bulk-docs', 'attachment']) {
  test(`silence: a request (${kind}) that is never answered`, { timeout: 20_000 }, async (t) => {
    const story = await beginHere(t, hash(kind));
    story.edit = (todo) => editDocs(story.db, todo);
    proxy.plan([{ kind, nth: 1, fault: { type: 'silence' } }]);
    const task = story.db.sync(story.url, { ...RETRY, live: true, timeout: 1_000 });
    t.after(() => task.cancel());
    await work(story);
    await waitFor(() => sameLeaves(story), { timeout: 10_000, interval: 100, what: 'both sides the same' });
    assert.equal(proxy.faults.length, 1);
  });
}
