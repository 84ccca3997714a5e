// A server that lies to a device: what is here stays as it is, what does not prove itself is held and counted, the rest goes on,
// and nothing unsealed leaves.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { createVault, openDevice, recoverVault } from './lib/devices.mjs';
import { answerOf, bodyOf, leavesOn, replaced, serveLeaves, startLiar } from './lib/liar.mjs';
import { startSite } from './lib/tab.mjs';

let couch;
let liar;
let site;
let first;
let second;
let author; // the device that writes
let victim; // the one that is lied to
let channel; // the honest database
const scene = {};

const CLEAR = ['plain canary', 'canary-id', 'canary-name', 'image/x-canary'];

before(async () => {
  [couch, site, first, second] = await Promise.all([startCouch(), startSite(), launchBrowser(), launchBrowser()]);
  liar = await startLiar(couch);
  [author, victim] = [await openDevice(first, site.origin), await openDevice(second, site.origin)];
  await build();
}, { timeout: 120_000 });
after(async () => {
  await Promise.all([first?.close(), second?.close()]);
  await Promise.all([site?.stop(), liar?.close()]);
  await couch?.close();
});

const SIZE = 200_000; // four chunks of 64 KiB

// Two states of one channel: what the victim knows when a story begins, and what the server has by then.
async function build() {
  const code = await createVault(author);
  channel = await couch.create('hostile');
  const url = couch.dbUrl(channel);
  await author.evaluate(async ([remote, size]) => {
    globalThis.db = await begin('hostile');
    globalThis.doc = (id, more) => ({ _id: id, text: `plain canary of ${id}`, ...more });
    globalThis.edit = async (id, more, rev) => db.put({ ...await db.get(id, rev ? { rev } : {}), ...more }, { force: Boolean(rev) });
    let seed = 1;
    globalThis.file = () => ({
      content_type: 'image/x-canary',
      data: new Blob([Uint8Array.from({ length: size }, () => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed >>> 24; })]),
    });
    for (const id of ['canary-id', 'plain', 'note']) await db.put(doc(id));
    await db.put(doc('photo', { _attachments: { 'canary-name': file() } }));
    for (const id of ['forked', 'deep']) {
      const { rev } = await db.put(doc(id));
      globalThis[id] = [(await edit(id, { n: 1 }, rev)).rev, (await edit(id, { n: 2 }, rev)).rev];
    }
    await db.remove('gone', (await db.put(doc('gone'))).rev);
    await db.sync(remote);
  }, [url, SIZE]);
  await recoverVault(victim, code, url);
  await author.evaluate((remote) => db.sync(remote), url);
  scene.known = await serveLeaves(couch, 'known', await leavesOn(couch, channel));
  await author.evaluate(async (remote) => {
    for (const id of ['one', 'two', 'honest', 'bits-0', 'bits-1', 'bits-2']) await db.put(doc(id));
    await edit('note', { n: 1 });
    await db.remove(await db.get('canary-id'));
    await edit('forked', { above: true }, forked[1]);
    for (const n of [3, 4]) await edit('deep', { n }, n === 3 ? deep[0] : (await db.get('deep'))._rev);
    const { rev } = await db.put(doc('twins'));
    for (const n of [1, 2]) await edit('twins', { n }, rev);
    for (const id of ['album', 'book']) await db.put(doc(id, { _attachments: { 'canary-name': file(), 'canary-name 2': file() } }));
    await db.sync(remote);
  }, url);
  scene.leaves = await leavesOn(couch, channel);
  scene.census = await author.evaluate(() => census(db));
  const ids = new Map(scene.leaves.map(({ _id, _rev }) => [_rev, _id]));
  scene.ids = Object.fromEntries(Object.entries(scene.census).map(([name, leaves]) => [name, ids.get(Object.keys(leaves)[0])]));
  assert.ok(Object.values(scene.ids).every((id) => id.startsWith('e-')));
  // Another channel of the same account, and one of somebody else's.
  scene.otherChannel = await elsewhere(author);
  const stranger = await openDevice(await launchBrowser().then((browser) => { scene.third = browser; return browser; }), site.origin);
  await createVault(stranger);
  scene.stranger = await elsewhere(stranger);
  await scene.third.close();
}

async function elsewhere(page) {
  const name = await couch.create('elsewhere');
  await page.evaluate(async (remote) => {
    const other = await begin('elsewhere');
    await other.put({ _id: 'one', text: 'plain canary of one' });
    await other.replicate.to(remote);
    await other.close();
  }, couch.dbUrl(name));
  return leavesOn(couch, name);
}

// The honest leaves, to be changed; `of(name)` is the first leaf of a document, `of(name, 1)` the second.
function leaves() {
  const docs = structuredClone(scene.leaves);
  const of = (name, n = 0) => docs.filter(({ _id }) => _id === scene.ids[name])[n];
  const log = docs.filter(({ _id }) => _id.startsWith('k-'));
  return { docs, of, log };
}
const swap = (a, b, key) => { [a[key], b[key]] = [b[key], a[key]]; };
const flipped = (text, encoding = 'base64url') => {
  const bytes = Buffer.from(text, encoding);
  bytes[bytes.length >> 1] ^= 4;
  return bytes.toString(encoding);
};
const files = (doc) => Object.values(doc._attachments);
const opened = (file) => Buffer.from(file.data, 'base64');
const closed = (file, bytes) => { file.data = bytes.toString('base64'); };
const SALT = 16;
const CHUNK = 65_536 + 16;
const chunk = (bytes, n) => bytes.subarray(SALT + n * CHUNK, SALT + (n + 1) * CHUNK);

const SAYS = {
  not_sealed: 'It is not sealed, and this channel takes nothing else.',
  foreign_id: 'Its id is of no kind that belongs in a sealed channel.',
  malformed: 'It is not in the form of a sealed document.',
  unknown_version: 'It was sealed by a version that is not known here.',
  unknown_epoch: 'The key it was sealed with has not arrived.',
  not_opened: 'It was changed or moved after it was sealed.',
  wrong_history: 'Its history is not the one it was written on.',
  wrong_attachments: 'Its attachments are not those it was written with.',
};

// Each: what the server changes, what is held of it (document and error), and which documents do not arrive for it.
const LIES = {
  'an edit hung below another revision': [({ of }) => {
    const above = scene.leaves.find(({ _id, above: _, ...doc }) => _id === scene.ids.forked && doc._revisions.start === 3);
    const doc = [of('forked'), of('forked', 1)].find(({ _rev }) => _rev === above._rev);
    const other = [of('forked'), of('forked', 1)].find(({ _rev }) => _rev !== above._rev);
    doc._revisions.ids[1] = other._revisions.ids[0];
  }, [['forked', 'wrong_history']]],
  'ancestors forged further back': [({ of }) => {
    const both = [of('deep'), of('deep', 1)].sort((a, b) => a._revisions.start - b._revisions.start);
    assert.deepEqual(both.map(({ _revisions }) => _revisions.start), [2, 4]);
    both[1]._revisions.ids[2] = both[0]._revisions.ids[0];
  }, [['deep', 'wrong_history']]],
  'a bare tombstone': [({ docs, of }) => {
    const { _id, _revisions } = of('plain');
    docs.push({ _id, _rev: `2-${'f'.repeat(32)}`, _deleted: true, _revisions: { start: 2, ids: ['f'.repeat(32), ..._revisions.ids] } });
  }, [['plain', 'not_sealed']]],
  'the tombstone of another document': [({ docs, of }) => {
    const { _id, _revisions } = of('plain');
    const { x, _rev } = of('canary-id');
    const [, hash] = _rev.split('-');
    docs.push({ _id, _rev, _deleted: true, _revisions: { start: 2, ids: [hash, ..._revisions.ids] }, x });
  }, [['plain', 'not_opened']]],
  'a tombstone made of an edit': [({ of }) => { of('note')._deleted = true; }, [['note', 'not_opened']]],
  'an edit made of a tombstone': [({ of }) => { delete of('canary-id')._deleted; }, [['canary-id', 'not_opened']]],
  'ciphertexts swapped between documents': [({ of }) => swap(of('one'), of('two'), 'x'), [['one', 'not_opened'], ['two', 'not_opened']]],
  'ciphertexts swapped between revisions': [({ of }) => swap(of('twins'), of('twins', 1), 'x'), [['twins', 'not_opened'], ['twins', 'not_opened']]],
  'a document of another channel, as itself and as one of ours': [({ docs, of }) => {
    const foreign = scene.otherChannel.find(({ _id }) => _id.startsWith('e-'));
    docs.push(foreign);
    of('one').x = foreign.x;
  }, [['one', 'unknown_epoch'], [null, 'unknown_epoch']]],
  'keys, devices and a channel of somebody else\'s': [({ docs }) => { docs.push(...scene.stranger); }, [[null, 'unknown_epoch']]],
  'a log entry changed, and another one deleted': [({ docs, log }) => {
    const { _id, _revisions } = log[0];
    log[1].x.m = flipped(log[1].x.m);
    docs.push({ _id, _rev: `2-${'f'.repeat(32)}`, _deleted: true, _revisions: { start: 2, ids: ['f'.repeat(32), ..._revisions.ids] } });
  }, [[null, 'malformed']]],
  'attachments swapped between documents': [({ of }) => {
    for (const n of [0, 1]) swap(files(of('album'))[n], files(of('book'))[n], 'data');
  }, [['album', 'wrong_attachments'], ['book', 'wrong_attachments']]],
  'attachments swapped within a document': [({ of }) => swap(...files(of('album')), 'data'), [['album', 'wrong_attachments']]],
  'attachments taken away': [({ of }) => { delete of('album')._attachments; }, [['album', 'not_opened']]],
  'an attachment that claims to be older, or of a known type': [({ of }) => {
    files(of('album'))[0].content_type = 'image/x-canary';
    const [name] = Object.keys(of('book')._attachments);
    of('book')._attachments.photo = of('book')._attachments[name];
    delete of('book')._attachments[name];
  }, [['album', 'wrong_attachments'], ['book', 'not_opened']]],
  'an attachment cut off after a chunk': [({ of }) => {
    const [file] = files(of('album'));
    closed(file, opened(file).subarray(0, SALT + 2 * CHUNK));
  }, [['album', 'wrong_attachments']]],
  'a chunk repeated, and another one beside it': [({ of }) => {
    const [a, b] = files(of('album'));
    closed(a, Buffer.concat([opened(a).subarray(0, SALT + CHUNK), chunk(opened(a), 0), opened(a).subarray(SALT + 2 * CHUNK)]));
    closed(b, Buffer.concat([opened(b), chunk(opened(b), 0)]));
  }, [['album', 'wrong_attachments']]],
  'chunks in another order': [({ of }) => {
    const [file] = files(of('album'));
    const bytes = opened(file);
    closed(file, Buffer.concat([bytes.subarray(0, SALT), chunk(bytes, 1), chunk(bytes, 0), bytes.subarray(SALT + 2 * CHUNK)]));
  }, [['album', 'wrong_attachments']]],
  'clear text, beside, in place of and within what is sealed': [({ docs, of }) => {
    docs.push({ _id: 'by-hand', _rev: `1-${'e'.repeat(32)}`, text: 'clear' }, { _id: '_design/views', _rev: `1-${'e'.repeat(32)}`, views: {} });
    delete of('one').x;
    of('one').text = 'clear';
    of('two').text = 'clear';
  }, [['one', 'not_sealed'], ['two', 'malformed'], [null, 'foreign_id'], [null, 'foreign_id']]],
  'another epoch': [({ of }) => { of('one').x.e = flipped(of('one').x.e); }, [['one', 'unknown_epoch']]],
  'versions that are not known': [({ of }) => {
    of('one').x.v = 2;
    of('two').x.s = 0;
  }, [['one', 'unknown_version'], ['two', 'unknown_version']]],
  'one bit, anywhere': [({ of }) => {
    of('bits-0').x.c = flipped(of('bits-0').x.c);
    of('bits-1').x.n = flipped(of('bits-1').x.n);
    of('bits-2').x.l = flipped(of('bits-2').x.l);
    const [, parent] = of('note').x.p.split('-');
    of('note').x.p = `1-${flipped(parent, 'hex')}`;
    const [hash, ...rest] = of('one')._revisions.ids;
    of('one')._revisions.ids = [flipped(hash, 'hex'), ...rest];
    of('one')._rev = `1-${flipped(hash, 'hex')}`;
  }, [['bits-0', 'not_opened'], ['bits-1', 'not_opened'], ['bits-2', 'not_opened'], ['note', 'not_opened'], ['one', 'not_opened']]],
};

// The victim with what it knew before and a document of its own, at the address where it is lied to.
async function meet(name) {
  await victim.evaluate(async ([known]) => {
    await (await Database.open('victim', { sealed: true })).destroy();
    globalThis.db = await join('victim', known);
    await db.put({ _id: 'mine', text: 'plain canary of mine', _attachments: { 'canary-name': { content_type: 'image/x-canary', data: new Blob(['plain canary bytes '.repeat(9_000)]) } } });
  }, [couch.dbUrl(scene.known)]);
  liar.show('channel', name);
  return victim.evaluate(() => census(db));
}

const sync = (options = {}) => victim.evaluate(([remote, given]) => {
  globalThis.live = db.sync(remote, { live: true, retry: true, ...given });
  globalThis.denied = [];
  live.on('denied', ({ direction, doc: { id, name, reason } }) => denied.push({ direction, id, name, reason }));
}, [liar.dbUrl('channel'), options]);
const settled = () => waitFor(() => victim.evaluate(() => (
  ['push', 'pull'].every((way) => live.status[way].phase === 'live' && live.status[way].pending === 0))), { what: 'the sync', timeout: 30_000 });
const told = () => victim.evaluate(async () => ({
  held: (await db.quarantine()).map(({ id, error, reason }) => [id, error, reason]),
  counts: [live.status.pull.quarantined, live.status.push.quarantined, (await db.info()).quarantined],
  denied, failures: [live.status.pull.docWriteFailures, live.status.push.docWriteFailures],
}));
// What is there after a lie: of the documents named what was there before it, of the others what the server has.
function withoutLies(before, names) {
  const expected = { ...scene.census, mine: before.mine };
  for (const name of names) {
    if (before[name]) expected[name] = before[name];
    else delete expected[name];
  }
  return expected;
}
const sorted = (object, within = sorted) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([key, value]) => [key, within === sorted ? sorted(value, (leaf) => leaf) : value]));
const bySort = (rows) => rows.map((row) => row.join(' ')).sort();

for (const [title, [lie, held]] of Object.entries(LIES)) {
  test(`a server that shows ${title}`, { timeout: 60_000 }, async () => {
    const given = leaves();
    lie(given);
    const before = await meet(await serveLeaves(couch, 'lie', given.docs));
    await sync();
    await settled();
    const expected = sorted(withoutLies(before, held.map(([name]) => name)));
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), expected);
    const now = await told();
    const names = Object.fromEntries(Object.entries(scene.ids).map(([name, id]) => [id, name]));
    assert.deepEqual(bySort(now.held.map(([id, error]) => [names[id] ?? null, error])), bySort(held));
    for (const [, error, reason] of now.held) assert.equal(reason, SAYS[error]);
    assert.deepEqual(now.counts, Array(3).fill(held.length));
    assert.deepEqual([now.denied, now.failures], [[], [0, 0]]);
    // Looking again changes nothing, nor does another opening.
    assert.equal(await victim.evaluate(() => db.retryQuarantine()), 0);
    await victim.evaluate(async () => {
      live.cancel();
      await db.close();
      db = await Database.open('victim', { vault });
    });
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), expected);
    assert.equal(await victim.evaluate(async () => (await db.info()).quarantined), held.length);
    // An honest server is believed all the same.
    await victim.evaluate((remote) => db.replicate.from(remote), couch.dbUrl(channel));
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), sorted({ ...scene.census, mine: before.mine }));
    await victim.evaluate(() => db.close());
  });
}
