// What replicating a sealed channel says and takes: a caller's own ids throughout, and typed errors where only keys could help.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { startFaultProxy } from './lib/proxy.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const here = stage({
  couch: () => startCouch(),
  proxy: ({ couch }) => startFaultProxy(couch),
  settee: () => import(pathToFileURL(path.join(PKG, 'settee.js')).href),
  vault: ({ settee }) => settee.Vault.create(),
  site: () => startSite(),
});

let count = 0;

// A channel with two devices, and a server's database that has its log. `left` is given to `from` as a new device would be.
async function begin(t) {
  const { couch, proxy, settee: { Database }, vault: { vault } } = here;
  proxy.calm();
  proxy.clear();
  const name = await couch.create('sealed-replication');
  const url = proxy.dbUrl(name);
  const one = await Database.open(`sealed-${count += 1}`, { vault, create: true });
  await one.replicate.to(url);
  const join = async (options = {}) => {
    const db = await Database.open(`sealed-${count += 1}`, { sealed: true });
    t.after(() => db.close());
    await db.replicate.from(url, options);
    return db;
  };
  const two = await join();
  await Database.open(two.name, { vault });
  t.after(() => one.close());
  return { name, url, one, two, join };
}

const idsOf = async (db) => (await db.allDocs()).rows.map(({ id }) => id);
const told = (task) => {
  const docs = [];
  task.on('change', (change) => docs.push(...change.docs.map(({ _id }) => _id)));
  return docs;
};
const thrown = (promise) => promise.then(() => null, ({ name, status }) => [name, status]);

test('doc_ids, events and isPushed() speak of plain ids, and the channel\'s log goes along', { timeout: 60_000 }, async (t) => {
  const { couch, settee: { Database }, vault: { vault } } = here;
  const { name, url, one, two, join } = await begin(t);
  await one.bulkDocs(['a', 'b', 'c'].map((_id) => ({ _id, n: 1 })));
  const push = one.replicate.to(url, { doc_ids: ['a', '_design/x', 'nobody'] });
  const pushed = told(push);
  assert.equal((await push).docs_written, 1);
  assert.deepEqual(pushed, ['a']);
  assert.deepEqual([await push.isPushed('a'), await push.isPushed('b'), await push.isPushed('nobody')], [true, false, true]);
  const { rows } = await couch.must('GET', `/${name}/_all_docs`);
  assert.equal(rows.filter(({ id }) => id.startsWith('e-')).length, 1);
  assert.ok(rows.every(({ id }) => /^[ek]-/.test(id)), JSON.stringify(rows));

  // All of it now, and of that some.
  const rest = one.replicate.to(url);
  assert.deepEqual([(await rest).docs_written, await rest.isPushed('b')], [2, true]);
  const pull = two.replicate.from(url, { doc_ids: ['c', 'a'] });
  const pulled = told(pull);
  assert.equal((await pull).docs_written, 2);
  assert.deepEqual([pulled.sort(), await idsOf(two)], [['a', 'c'], ['a', 'c']]);
  assert.equal((await two.replicate.from(url, { doc_ids: ['a', 'c'] })).docs_read, 0, 'in whatever order');

  // Somebody who has only the log has the keys of what comes.
  const three = await join({ doc_ids: [] });
  assert.deepEqual(await thrown(three.replicate.from(url, { doc_ids: ['b'] })), ['locked', 0]);
  await Database.open(three.name, { vault });
  assert.deepEqual(await idsOf(three), []);
  const live = three.replicate.from(url, { doc_ids: ['b', 'later'], live: true });
  const heard = told(live);
  await waitFor(() => heard.includes('b'), { what: 'what is there' });
  await one.bulkDocs([{ _id: 'other' }, { _id: 'later' }]);
  await one.replicate.to(url);
  await waitFor(() => heard.includes('later'), { what: 'what comes later' });
  live.cancel();
  assert.equal((await live).status, 'cancelled');
  assert.deepEqual([heard, await idsOf(three), await three.quarantine()], [['b', 'later'], ['b', 'later'], []]);

  const both = one.sync(two);
  const changes = [];
  both.on('change', ({ direction, change }) => changes.push(...change.docs.map(({ _id }) => `${direction} ${_id}`)));
  await both;
  assert.deepEqual(changes.sort(), ['push b', 'push later', 'push other']);
});

test('what is denied is told by its plain id, also afterwards', { timeout: 60_000 }, async (t) => {
  const { proxy } = here;
  const { url, one } = await begin(t);
  await one.put({ _id: 'photo', _attachments: { f: { content_type: 'image/x', data: new Uint8Array(100_000) } } });
  await one.put({ _id: 'other' });
  proxy.plan([{ kind: 'document', fault: { type: 'status', status: 403 } }]);
  const task = one.replicate.to(url);
  const denied = [];
  task.on('denied', ({ id, status }) => denied.push([id, status]));
  const { errors, doc_write_failures } = await task;
  assert.deepEqual([denied, errors.map(({ id }) => id), doc_write_failures], [[['photo', 403]], ['photo'], 1]);
  assert.deepEqual([await task.isPushed('photo'), await task.isPushed('other')], [false, true]);
  proxy.calm();
  const again = one.replicate.to(url);
  assert.deepEqual([(await again).docs_written, await again.isPushed('photo')], [1, true]);
});

test('a selector looks at what is pushed; a server cannot look, and says nothing of it', { timeout: 60_000 }, async (t) => {
  const { proxy } = here;
  const { url, one, two } = await begin(t);
  await one.bulkDocs([1, 2, 3].map((n) => ({ _id: `n${n}`, n })));
  assert.equal((await one.replicate.to(url, { selector: { n: { $gte: 2 } } })).docs_written, 2);
  assert.equal((await two.replicate.from(url)).docs_written, 2);
  assert.deepEqual(await idsOf(two), ['n2', 'n3']);
  proxy.clear();
  for (const options of [{ selector: { n: 1 } }, { filter: 'app/some' }, { filter: '_view', query_params: { view: 'a/b' } }, { filter: '_design' }]) {
    assert.deepEqual(await thrown(two.replicate.from(url, options)), ['query_parse_error', 400]);
    await assert.rejects(two.replicate.from(url, { ...options, live: true, retry: true }), /look into a sealed channel/);
  }
  assert.equal(proxy.requests.length, 0, proxy.said());
});

test('without keys it replicates as it is; what would need them fails as `locked`', { timeout: 60_000 }, async (t) => {
  const { vault: { vault, recoveryCode }, settee: { Vault } } = here;
  const { url, one, two } = await begin(t);
  await one.bulkDocs([{ _id: 'a' }, { _id: 'b' }]);
  const live = one.replicate.to(url, { live: true, selector: { _id: 'b' } });
  await waitFor(() => live.status.phase === 'live', { what: 'being live' });
  vault.lock();
  try {
    assert.deepEqual(await thrown(one.replicate.to(url, { doc_ids: ['a'] })), ['locked', 0]);
    assert.deepEqual(await thrown(one.replicate.to(url, { selector: { _id: 'a' } })), ['locked', 0]);
    assert.deepEqual(await thrown(live), ['locked', 0], 'a selector ends with the keys');
    const task = one.replicate.to(url);
    const docs = told(task);
    assert.equal((await task).docs_written, 1);
    assert.deepEqual(docs.map((id) => id.slice(0, 2)), ['e-'], 'nobody knows what it is called');
    assert.deepEqual(await thrown(task.isPushed('a')), ['locked', 0]);
    assert.equal((await two.replicate.from(url)).docs_written, 2);
    assert.deepEqual((await two.quarantine()).map(({ error }) => error), ['locked', 'locked']);
  } finally {
    await Vault.unlock({ recoveryCode });
  }
  assert.deepEqual([await idsOf(two), await two.quarantine()], [['a', 'b'], []]);
});

// A page that somebody left and comes back to: the browser may have kept it as it was.
test('a lock reaches a page that was left, before it is shown again', { timeout: 60_000 }, async (t) => {
  const { site } = here;
  const browser = await launchBrowser({ ignoreDefaultArgs: ['--headless', '--disable-back-forward-cache'] });
  t.after(() => browser.close());
  const open = async (page) => {
    await openTab(browser, site.origin, { page });
    return page;
  };
  const page = await open(await browser.newPage());
  const make = () => page.evaluate(async () => {
    globalThis.kept = true;
    addEventListener('pageshow', ({ persisted }) => { globalThis.persisted = persisted; });
    const { exists } = await settee.Vault.status();
    globalThis.vault = exists ? await settee.Vault.unlock({ device: true }) : (await settee.Vault.create()).vault;
    if (!exists) await vault.stayUnlocked(true);
    globalThis.db = await Database.open('left', { vault, create: true });
    if (!exists) await db.put({ _id: 'a', text: 'a secret' });
    return (await db.get('a')).text;
  });
  const leave = () => page.goto(`${site.origin}/settee/package.json`);
  const state = () => page.evaluate(async () => ({ kept: Boolean(globalThis.kept), persisted: Boolean(globalThis.persisted), doc: globalThis.db && await db.get('a').then(({ text }) => text, ({ name }) => name) }));
  assert.equal(await make(), 'a secret');
  await leave();
  await page.goBack({ waitUntil: 'commit' });
  const before = await state();
  t.diagnostic(`left and come back to: ${JSON.stringify(before)}`);
  if (!before.persisted) return t.skip('this browser keeps no page that was left');
  assert.equal(before.doc, 'a secret');
  await leave();
  const other = await open(await browser.newPage());
  await other.evaluate(async () => (await settee.Vault.unlock({ device: true })).lock());
  await page.goBack({ waitUntil: 'commit' });
  const after = await state();
  t.diagnostic(`locked meanwhile: ${JSON.stringify(after)}`);
  return assert.ok(!after.kept || after.doc === 'locked', JSON.stringify(after));
});
