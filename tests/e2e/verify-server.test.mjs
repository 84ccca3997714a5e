// What somebody with a login at the server, or the server itself, puts in the way of a sealed channel: it is told, and keeps back
// nothing beside it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { createVault, openDevice } from './lib/devices.mjs';
import { startLiar } from './lib/liar.mjs';
import { stage } from './lib/stage.mjs';
import { startSite } from './lib/tab.mjs';

const here = stage({
  couch: () => startCouch(),
  liar: ({ couch }) => startLiar(couch),
  site: () => startSite(),
  browser: () => launchBrowser(),
  device: async ({ browser, site }) => {
    const page = await openDevice(browser, site.origin);
    await createVault(page);
    return page;
  },
});

let count = 0;

// A channel `one` on the server, and `two`, which has only its log.
async function begin() {
  const { couch, liar, device } = here;
  const name = await couch.create('verify-server');
  liar.lie();
  liar.clear();
  await device.evaluate(async ([remote, n]) => {
    await globalThis.live?.cancel();
    globalThis.one = await begin(`one-${n}`);
    await one.replicate.to(remote);
    globalThis.two = await join(`two-${n}`, remote);
    globalThis.denied = [];
  }, [couch.dbUrl(name), count += 1]);
  return name;
}

const follow = (url) => here.device.evaluate((remote) => {
  globalThis.live = two.sync(remote, { live: true, retry: true, back_off_function: () => 50 });
  live.on('denied', ({ direction, doc: { id, name } }) => denied.push(`${direction} ${id} ${name}`));
}, url);
const settled = () => waitFor(() => here.device.evaluate(() => (
  ['push', 'pull'].every((way) => live.status[way].phase === 'live' && live.status[way].pending === 0))), { what: 'the sync', timeout: 30_000 });
const told = () => here.device.evaluate(async () => ({
  denied: denied.sort(), failures: live.status.pull.docWriteFailures, rows: (await two.allDocs()).rows.map(({ id }) => id),
  held: (await two.quarantine()).map(({ id, error }) => `${id} ${error}`),
}));

// CouchDB 3.5 takes each of these from anybody who may write.
const ODD = ['1-', `0-${'a'.repeat(32)}`, '9999999999999999-b', `${'9'.repeat(30)}-b`];

test('revisions with names that are none stop neither way', { timeout: 60_000 }, async (t) => {
  const { couch, device } = here;
  if (!couch.isCouchDB) return t.skip('pouchdb-server refuses them');
  const name = await begin();
  await device.evaluate(async (remote) => {
    for (const id of ['a', 'b']) await one.put({ _id: id });
    await one.replicate.to(remote);
  }, couch.dbUrl(name));
  const [sealed] = (await couch.must('GET', `/${name}/_all_docs`)).rows.filter(({ id }) => id.startsWith('e-'));
  const ids = ODD.map((_, at) => `e-${'abcd'[at].repeat(32)}`);
  const docs = [...ODD.map((_rev, at) => ({ _id: ids[at], _rev })), ...ODD.map((_rev) => ({ _id: sealed.id, _rev, text: 'clear' }))];
  await couch.must('POST', `/${name}/_bulk_docs`, { docs, new_edits: false });
  await device.evaluate(async (remote) => {
    for (const id of ['b', 'c']) await one.put({ ...await one.get(id).catch(() => ({ _id: id })), n: 2 });
    await one.replicate.to(remote);
  }, couch.dbUrl(name));
  await follow(couch.dbUrl(name));
  await settled();
  const { denied, rows, held } = await told();
  assert.deepEqual([rows, held], [['a', 'b', 'c'], []]);
  assert.deepEqual(denied.map((row) => row.split(' ')[2]), Array(5).fill('bad_request'));
  for (const id of ids) assert.ok(denied.includes(`pull ${id} bad_request`), `${id}: ${denied}`);
  // The other way: an edit of a document that has such leaves there.
  await device.evaluate(async () => {
    for (const id of ['a', 'b']) await two.put({ ...await two.get(id), n: 3 });
  });
  await waitFor(() => device.evaluate(async () => await live.isPushed('a') && live.isPushed('b')), { what: 'the push' });
  await device.evaluate((remote) => one.replicate.from(remote), couch.dbUrl(name));
  assert.deepEqual(await device.evaluate(async () => [(await one.get('a')).n, (await one.get('b')).n]), [3, 3]);
});

test('photos that the server cuts short keep back nothing else, and come when it is mended', { timeout: 60_000 }, async () => {
  const { couch, liar, device } = here;
  const name = await begin();
  await device.evaluate(async (remote) => {
    const data = (n) => new Blob([Uint8Array.from({ length: n % 4 ? 100_000 : 1_500_000 }, (_, at) => at * n)]);
    for (let n = 1; n <= 12; n += 1) await one.put({ _id: `photo-${n}`, _attachments: { f: { content_type: 'image/x', data: data(n) } } });
    await one.put({ _id: 'note' });
    await one.replicate.to(remote);
  }, couch.dbUrl(name));
  liar.lie([
    { when: ({ path, headers }) => path.endsWith('/_bulk_get') && headers.some((header) => /^multipart/.test(header)), instead: () => ({ status: 406, body: { error: 'not_acceptable', reason: 'x' } }) },
    { when: ({ method, path }) => method === 'GET' && /\/e-[a-z2-7]{32}\/[a-z2-7]{26}$/.test(path), change: (bytes) => bytes.subarray(0, bytes.length - 1_000) },
  ]);
  await follow(liar.dbUrl(name));
  await waitFor(() => device.evaluate(() => two.get('note').then(() => true, () => false)), { what: 'the note' });
  await settled();
  const first = await told();
  assert.deepEqual([first.rows, first.held, first.failures], [['note'], [], 12]);
  // Each of them once, after five attempts for all of them together: two requests each, one more where it goes on.
  assert.deepEqual([new Set(first.denied).size, first.denied.length], [12, 12]);
  assert.ok(liar.lies <= 5 * 12 * 3 + 1, `${liar.lies}`);
  liar.lie();
  await device.evaluate(() => live.resume());
  await waitFor(() => device.evaluate(async () => (await two.allDocs()).total_rows === 13), { what: 'the photos', timeout: 30_000 });
  assert.deepEqual(await device.evaluate(async () => [JSON.stringify(await census(one)) === JSON.stringify(await census(two)), await two.quarantine()]), [true, []]);
  await device.evaluate(() => live.cancel());
});
