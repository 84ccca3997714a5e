// A sealed channel on a server that does what servers do: it compacts, purges, forgets histories, is copied to another one, is
// deleted and made anew, and takes no more than so much. What devices share comes through all the same.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { startCouch, waitFor } from './lib/index.mjs';
import { startFaultProxy } from './lib/proxy.mjs';
import { censusOf, local } from './lib/sides.mjs';
import { stage } from './lib/stage.mjs';

const here = stage({
  couch: () => startCouch(),
  proxy: ({ couch }) => startFaultProxy(couch),
  settee: () => import(pathToFileURL(path.join(PKG, 'settee.js')).href),
  vault: ({ settee }) => settee.Vault.create(),
});

let count = 0;

// Two devices of one channel, and a server's database that has its log.
async function begin(t, options = {}) {
  const { couch, proxy, settee: { Database }, vault: { vault } } = here;
  proxy.calm();
  proxy.clear();
  const name = await couch.create('habits');
  const url = proxy.dbUrl(name);
  const one = await Database.open(`habits-${count += 1}`, { vault, create: true, ...options });
  t.after(() => one.close());
  await one.replicate.to(url);
  const join = async (from = url) => {
    const db = await Database.open(`habits-${count += 1}`, { sealed: true, ...options });
    t.after(() => db.close());
    await db.replicate.from(from);
    return Database.open(db.name, { vault });
  };
  return { name, url, one, two: await join(), join };
}

const census = (db) => censusOf(local(db));
const edit = async (db, id, more) => (await db.put({ ...await db.get(id), ...more })).rev;
const revsOf = async (couch, name) => Object.fromEntries((await couch.must('GET', `/${name}/_changes?style=all_docs`)).results
  .filter(({ id }) => id.startsWith('e-')).map(({ id, changes }) => [id, changes.map(({ rev }) => rev)]));
async function alike(...devices) {
  const [first, ...rest] = await Promise.all(devices.map(census));
  for (const other of rest) assert.deepEqual(other, first);
  for (const db of devices) assert.deepEqual(await db.quarantine(), []);
  return first;
}
async function compact(couch, name) {
  await couch.must('POST', `/${name}/_compact`, {});
  await waitFor(async () => !(await couch.must('GET', `/${name}`)).compact_running, { what: 'the compaction', timeout: 30_000 });
}

test('compacted, with edits, deletions and attachments before and after', { timeout: 60_000 }, async (t) => {
  const { couch } = here;
  const { name, url, one, two, join } = await begin(t);
  for (let n = 0; n < 20; n += 1) await one.put({ _id: `n${n}`, n, _attachments: n % 4 ? {} : { f: { content_type: 'a/b', data: new Uint8Array(70_000).fill(n) } } });
  await one.replicate.to(url);
  for (let n = 0; n < 20; n += 1) await edit(one, `n${n}`, { again: true });
  await one.remove(await one.get('n3'));
  await one.removeAttachment('n4', 'f', (await one.get('n4'))._rev);
  await one.replicate.to(url);
  await compact(couch, name);
  await two.sync(url);
  await alike(one, two, await join());
  await edit(two, 'n0', { by: 'two' });
  await two.put({ _id: 'n3', back: true });
  await two.replicate.to(url);
  await compact(couch, name);
  await one.replicate.from(url);
  await alike(one, two, await join());
});

for (const limit of [1, 2, 5]) {
  test(`histories that are cut after ${limit} of ${limit === 1 ? 'it' : 'them'}, on the server alone`, { timeout: 60_000 }, async (t) => {
    const { couch } = here;
    if (!couch.isCouchDB) return t.skip('pouchdb-server cuts no histories');
    const { name, url, one, two, join } = await begin(t);
    await couch.must('PUT', `/${name}/_revs_limit`, String(limit));
    await one.put({ _id: 'a', n: 0, _attachments: { f: { content_type: 'a/b', data: new Uint8Array(70_000) } } });
    await one.put({ _id: 'b', n: 0 });
    for (let n = 1; n < 15; n += 1) {
      await edit(one, 'a', { n });
      if (n % 3 === 0) await one.replicate.to(url);
    }
    await one.replicate.to(url);
    await compact(couch, name);
    const three = await join();
    await two.replicate.from(url);
    for (const db of [two, three]) assert.deepEqual([(await db.get('a')).n, await db.quarantine()], [14, []]);
    assert.equal((await (await two.getAttachment('a', 'f')).arrayBuffer()).byteLength, 70_000);
    // What they write on it is known to who has all of its history, also a revision at a time.
    for (let n = 15; n < 25; n += 1) {
      await edit(two, 'a', { n });
      await two.replicate.to(url);
      await one.replicate.from(url);
      // Nor to who misses no more than is kept; a sealed revision proves its parent in any case.
      if (n % Math.max(limit - 1, 1) === 0) await three.replicate.from(url);
      for (const db of [one, three]) assert.equal((await db.get('a', { conflicts: true }))._conflicts, undefined, `${n}`);
    }
    await three.replicate.from(url);
    for (const db of [one, two, three]) assert.deepEqual([(await db.get('a')).n, await db.quarantine()], [24, []]);
    await one.remove(await one.get('a'));
    await one.replicate.to(url);
    for (const db of [two, three, await join()]) {
      await db.replicate.from(url);
      await assert.rejects(db.get('a'), { status: 404 });
      assert.deepEqual(await db.quarantine(), []);
    }
  });
}

test('purged there: who has it keeps it, and the next edit brings it back', { timeout: 60_000 }, async (t) => {
  const { couch } = here;
  if (!couch.isCouchDB) return t.skip('pouchdb-server does not purge');
  const { name, url, one, two, join } = await begin(t);
  await one.put({ _id: 'a', n: 1, _attachments: { f: { content_type: 'a/b', data: new Uint8Array(70_000) } } });
  await one.put({ _id: 'b', n: 1 });
  await one.replicate.to(url);
  const [id, revs] = Object.entries(await revsOf(couch, name))[0];
  await couch.must('POST', `/${name}/_purge`, { [id]: revs });
  await two.replicate.from(url);
  assert.equal((await two.allDocs()).total_rows, 1);
  for (const one_ of ['a', 'b']) await edit(one, one_, { n: 2 });
  await one.replicate.to(url);
  await two.replicate.from(url);
  await alike(one, two, await join());
  // And all of it, so that nothing but the log is left.
  await couch.must('POST', `/${name}/_purge`, await revsOf(couch, name));
  const four = await join();
  assert.equal((await four.allDocs()).total_rows, 0);
  await four.put({ _id: 'c' });
  await four.replicate.to(url);
  await one.replicate.from(url);
  assert.deepEqual((await one.allDocs()).rows.map(({ id: own }) => own), ['a', 'b', 'c']);
});

test('two servers that replicate with each other, each with edits of its own', { timeout: 90_000 }, async (t) => {
  const { couch, proxy } = here;
  const { name, url, one, two, join } = await begin(t);
  await one.put({ _id: 'a', n: 0 });
  await one.put({ _id: 'gone' });
  await one.put({ _id: 'photo', _attachments: { f: { content_type: 'a/b', data: new Uint8Array(150_000).fill(1) } } });
  await one.replicate.to(url);
  const other = await couch.create('habits');
  const between = (source, target) => couch.must('POST', '/_replicate', { source: couch.dbUrl(source), target: couch.dbUrl(target) });
  await between(name, other);
  const there = proxy.dbUrl(other);
  await two.sync(there);
  await alike(one, two);
  // Offline from one another: the same edit, other edits, a deletion against an edit, a new attachment.
  const same = [await edit(one, 'photo', { caption: 'x' }), await edit(two, 'photo', { caption: 'x' })];
  assert.equal(same[0], same[1], 'the same edit is the same revision');
  await edit(one, 'a', { n: 'one' });
  await edit(two, 'a', { n: 'two' });
  await one.remove(await one.get('gone'));
  await edit(two, 'gone', { kept: true });
  await two.putAttachment('photo', 'g', (await two.get('photo'))._rev, new Uint8Array(90_000).fill(2), 'a/b');
  await one.sync(url);
  await two.sync(there);
  for (const pair of [[name, other], [other, name]]) await between(...pair);
  assert.deepEqual(await revsOf(couch, name), await revsOf(couch, other));
  await one.sync(url);
  await two.sync(there);
  const all = await alike(one, two, await join(), await join(there));
  assert.deepEqual([Object.keys(all.a).length, Object.keys(all.gone).length, Object.keys(all.photo).length], [2, 2, 1]);
  assert.equal((await one.get('a'))._rev, (await two.get('a'))._rev);
  // Settled on one side, settled on the other.
  await one.resolve('a', (docs) => ({ ...docs[0], n: 'both' }));
  await one.sync(url);
  await between(name, other);
  await two.sync(there);
  assert.deepEqual([(await two.get('a', { conflicts: true }))._conflicts, (await two.get('a')).n], [undefined, 'both']);
  await alike(one, two, await join(there));
});

test('deleted and made anew, while a live device does not reach it', { timeout: 60_000 }, async (t) => {
  const { couch, proxy } = here;
  const { name, url, one, join } = await begin(t);
  await one.put({ _id: 'a', _attachments: { f: { content_type: 'a/b', data: new Uint8Array(70_000) } } });
  const live = one.sync(url, { live: true, retry: true, back_off_function: () => 50 });
  t.after(() => live.cancel());
  const sent = async (id) => live.push.status.phase === 'live' && live.isPushed(id);
  await waitFor(() => sent('a'), { what: 'the push' });
  // CouchDB tells the lives of a database by the second in which they began.
  await new Promise((resolve) => { setTimeout(resolve, 1_100); });
  await proxy.down();
  await couch.must('DELETE', `/${name}`);
  await couch.must('PUT', `/${name}`);
  await one.put({ _id: 'b' });
  await proxy.up();
  await waitFor(async () => (await couch.must('GET', `/${name}`)).doc_count >= 5, { what: 'all of it', timeout: 30_000 });
  await waitFor(() => sent('b'), { what: 'the rest' });
  await alike(one, await join());
});

const SIZES = [0, 1, 65_519, 65_520, 65_535, 65_536, 65_537, 131_072, 1_048_577];

test('attachments of every awkward length, and one of 20 MB', { timeout: 120_000 }, async (t) => {
  const { url, one, two } = await begin(t);
  const bytes = (length) => Uint8Array.from({ length }, (_, at) => (at * 7 + length) & 255);
  await one.put({ _id: 'all', _attachments: Object.fromEntries(SIZES.map((size) => [`of ${size}`, { content_type: 'a/b', data: bytes(size) }])) });
  for (const size of [...SIZES, 20_000_000]) await one.putAttachment(`one-${size}`, 'f', bytes(size), 'a/b');
  await one.replicate.to(url);
  await two.replicate.from(url);
  const read = async (id, name) => new Uint8Array(await (await two.getAttachment(id, name)).arrayBuffer());
  for (const size of SIZES) {
    assert.deepEqual(await read('all', `of ${size}`), bytes(size));
    assert.deepEqual(await read(`one-${size}`, 'f'), bytes(size));
  }
  assert.ok(Buffer.from(bytes(20_000_000)).equals(await read('one-20000000', 'f')));
  assert.deepEqual(await two.quarantine(), []);
  // Those that stay where they were are not sent again, where the server says what it has.
  here.proxy.clear();
  await edit(two, 'all', { caption: 'x' });
  await two.replicate.to(url);
  assert.ok(!here.couch.isCouchDB || here.proxy.requests.reduce((sum, { requestBytes }) => sum + requestBytes, 0) < 40_000, here.proxy.said());
  await one.replicate.from(url);
  assert.deepEqual((await census(one)).all, (await census(two)).all);
});

test('ids, names and values at the edge', { timeout: 60_000 }, async (t) => {
  const { couch } = here;
  const { name, url, one, two } = await begin(t);
  const ids = ['_design/views', 'ü', 'a b', 'a/b?c=d&e#f%20', '🌊'.repeat(100), 'x'.repeat(20_000), '\u0001', '"', '\\', 'e-', 'k-', 'h-x', ' ', '\ufeff', 'A\u030a', '\u00c5'];
  for (const id of ids) await one.put({ _id: id, own: id });
  const texts = [
    '{"_id":"numbers","n":[1e308,1.7976931348623157e308,5e-324,-0,0.1,1E400,123456789012345678901234567890,9007199254740993,1.0,1e0]}',
    `{"_id":"deep","d":${'['.repeat(990)}${']'.repeat(990)}}`,
    '{"_id":"spelled","a":"\\u00fc\\/","b":[ 1 ,2 ]}', '{"_id":"empty","":{"":null}}', '{"_id":"proto","in":{"__proto__":{"x":1}},"constructor":2}',
    `{"_id":"long","text":"${'ab'.repeat(500_000)}"}`,
  ];
  for (const text of texts) await one.putJson(text);
  for (const twice of ['{"_id":"twice","a":1,"a":2}', '{"_id":"twice","in":[{"\\u0061":1,"a":2}]}']) {
    await assert.rejects(one.putJson(twice), { status: 400 });
  }
  await one.replicate.to(url);
  await two.replicate.from(url);
  for (const id of ids) assert.equal((await two.get(id)).own, id);
  for (const text of texts) {
    const { _id: id } = JSON.parse(text);
    const body = text.slice(text.indexOf(',') + 1, -1);
    for (const db of [one, two]) assert.ok((await db.getJson(id)).includes(body), id);
  }
  const rows = async (db) => (await db.allDocs()).rows.map(({ id }) => id);
  assert.deepEqual(await rows(two), await rows(one));
  assert.deepEqual(await rows(one), [...ids, ...texts.map((text) => JSON.parse(text)._id)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  await alike(one, two);
  for (const { id } of (await couch.must('GET', `/${name}/_all_docs`)).rows) assert.match(id, /^(e-[a-z2-7]{32}|k-[a-z2-7]{52})$/);
});

test('what is too large for the server is told by its plain id, and does not hold up the rest', { timeout: 60_000 }, async (t) => {
  const { proxy } = here;
  const { url, one, two } = await begin(t);
  await one.put({ _id: 'film', _attachments: { f: { content_type: 'a/b', data: new Uint8Array(300_000) } } });
  for (let n = 0; n < 5; n += 1) await one.put({ _id: `n${n}` });
  // As CouchDB says that an attachment is larger than its `max_attachment_size`.
  proxy.plan([{ kind: 'document', fault: { type: 'status', status: 413, body: '{"error":"attachment_too_large","reason":"f"}' } }]);
  const push = one.replicate.to(url);
  const denied = [];
  push.on('denied', ({ id, status }) => denied.push(`${id} ${status}`));
  await push;
  assert.deepEqual(denied, ['film 413']);
  await two.replicate.from(url);
  assert.deepEqual((await two.allDocs()).rows.map(({ id }) => id), ['n0', 'n1', 'n2', 'n3', 'n4']);
  proxy.calm();
  await edit(one, 'film', { smaller: true });
  await one.replicate.to(url);
  await two.replicate.from(url);
  await alike(one, two);
});
