// A server that lies to a device: what is here stays as it is, what does not prove itself is held and counted, the rest goes on,
// and nothing unsealed leaves.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { createVault, openDevice, recoverVault } from './lib/devices.mjs';
import { bodyOf, leavesOn, replaced, serveLeaves, startLiar } from './lib/liar.mjs';
import { found, saidTo } from './lib/search.mjs';
import { startSite } from './lib/tab.mjs';

let couch;
let liar;
let site;
let first;
let second;
let author; // the device that writes
let victim; // the one that is lied to
let channel; // the honest database
let story = 0; // each has an address of its own, so that no cache knows what is there
const scene = {};

const CLEAR = ['plain canary of', 'canary-id', 'canary-name', 'image/x-canary'];

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
  not_sealed: 'It is in clear, and this channel takes sealed documents alone.',
  foreign_id: 'Its id is of no kind that belongs in a sealed channel.',
  malformed: 'It is not in the form of a sealed document.',
  unknown_version: 'It was sealed by a newer version of Settee. Update to read it.',
  unknown_epoch: 'The key for it has not arrived here. It may come with the next sync.',
  not_opened: 'Somebody changed or moved it after it was written.',
  wrong_history: 'Its history is not the one it was written on.',
  wrong_attachments: 'Its attachments are not those it was written with.',
  other_channel: /^This is not a copy of the same channel/,
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
  'keys, devices and a channel of somebody else\'s': [({ docs }) => { docs.push(...scene.stranger); },
    [[null, 'other_channel'], [null, 'other_channel'], [null, 'unknown_epoch']]],
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
  story += 1;
  liar.show(`channel-${story}`, name);
  return victim.evaluate(() => census(db));
}

const sync = (options = {}) => victim.evaluate(([remote, given]) => {
  globalThis.live = db.sync(remote, { live: true, retry: true, back_off_function: () => 50, ...given });
  globalThis.denied = [];
  live.on('denied', ({ direction, doc: { id, name, reason } }) => denied.push({ direction, id, name, reason }));
}, [liar.dbUrl(`channel-${story}`), options]);
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
    for (const [, error, reason] of now.held) assert.match(reason, SAYS[error] instanceof RegExp ? SAYS[error] : new RegExp(`^${SAYS[error]}$`));
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

// What a server could not store, since it counts digests itself: lies told on the way.
const sealedFile = (name, n = 0) => opened(files(scene.leaves.find(({ _id }) => _id === scene.ids[name]))[n]);
const ON_THE_WAY = {
  'chunks of an attachment in another order': (bytes) => Buffer.concat([bytes.subarray(0, SALT), chunk(bytes, 1), chunk(bytes, 0), bytes.subarray(SALT + 2 * CHUNK)]),
  'a chunk of it twice': (bytes) => Buffer.concat([bytes, chunk(bytes, 2)]),
  'one cut off after a chunk': (bytes) => bytes.subarray(0, SALT + CHUNK),
  'the file of another document': () => sealedFile('book'),
  'one flipped bit of it': (bytes) => { const other = Buffer.from(bytes); other[100_000] ^= 1; return other; },
};
for (const [title, change] of Object.entries(ON_THE_WAY)) {
  test(`a server that sends ${title}, with the digest of the true one`, { timeout: 60_000 }, async () => {
    const before = await meet(await serveLeaves(couch, 'true', scene.leaves));
    const bytes = sealedFile('album');
    const lie = change(bytes);
    liar.lie([{ when: ({ method, path }) => method !== 'PUT' && !/\/_(changes|local|revs_diff)/.test(path), change: (answer) => replaced(answer, bytes, lie) }]);
    await sync();
    await waitFor(() => victim.evaluate(async () => denied.length + (await db.info()).quarantined > 0), { what: 'the refusal', timeout: 30_000 });
    await settled();
    const now = await told();
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), sorted(withoutLies(before, ['album'])));
    // Of another length it was damaged on the way, and the next attempt may be better; of the same it is held.
    assert.deepEqual(now.held, lie.length === bytes.length ? [[scene.ids.album, 'wrong_attachments', SAYS.wrong_attachments]] : []);
    assert.deepEqual(now.denied.map(({ direction, id }) => [direction, id]), lie.length === bytes.length ? [] : [['pull', scene.ids.album]]);
    assert.deepEqual([now.counts[0], now.counts[2], now.failures[0]], [now.held.length, now.held.length, now.denied.length]);
    for (const { reason } of now.denied) assert.match(reason, /\w+ \w+/);
    // It stops to lie, and somebody tries again.
    liar.lie();
    await victim.evaluate(async (remote) => {
      live.resume();
      await db.replicate.from(remote);
    }, couch.dbUrl(channel));
    await waitFor(() => victim.evaluate(() => db.get('album').then(() => true, () => false)), { what: 'the album' });
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), sorted({ ...scene.census, mine: before.mine }));
    assert.equal(await victim.evaluate(async () => (await db.info()).quarantined), 0);
    await victim.evaluate(() => { live.cancel(); return db.close(); });
  });
}

test('a server that says a stub is another file', { timeout: 60_000 }, async () => {
  const [ours, other] = ['album', 'book'].map((name) => files(scene.leaves.find(({ _id }) => _id === scene.ids[name]))[0].digest);
  const before = await meet(await serveLeaves(couch, 'true', scene.leaves));
  liar.lie([{
    when: ({ path }) => /_bulk_get|_all_docs/.test(path) || /\/e-/.test(path),
    change: (answer) => (answer.includes(ours) ? Buffer.from(answer.toString('latin1').replaceAll(ours, other), 'latin1') : answer),
  }]);
  await sync();
  await settled();
  const { held, denied, counts } = await told();
  // Either it is held, or it was looked at again with the bytes that came, which are the true ones.
  const expected = held.length ? withoutLies(before, ['album']) : { ...scene.census, mine: before.mine };
  assert.deepEqual(sorted(await victim.evaluate(() => census(db))), sorted(expected));
  assert.ok(held.length < 2 && held.every(([id, error]) => id === scene.ids.album && error === 'wrong_attachments'));
  assert.deepEqual([denied, counts], [[], Array(3).fill(held.length)]);
  assert.ok(liar.lies > 0);
  liar.lie();
  await victim.evaluate(() => { live.cancel(); return db.close(); });
});

test('a server put back to an old state gets what it lost, and takes nothing away', { timeout: 60_000 }, async () => {
  await meet(await serveLeaves(couch, 'true', scene.leaves));
  await victim.evaluate((remote) => db.replicate.from(remote), couch.dbUrl(channel));
  const before = await victim.evaluate(() => census(db));
  const old = await serveLeaves(couch, 'old', await leavesOn(couch, scene.known));
  liar.show(`channel-${story}`, old);
  await sync();
  await settled();
  const { held, counts } = await told();
  assert.deepEqual([held, counts], [[], [0, 0, 0]]);
  assert.deepEqual(await victim.evaluate(() => census(db)), before);
  const revs = (leaves) => leaves.map(({ _id, _rev }) => `${_id} ${_rev}`).sort();
  assert.deepEqual(revs(await leavesOn(couch, old)).filter((row) => scene.leaves.some(({ _rev }) => row.endsWith(_rev))), revs(scene.leaves));
  await victim.evaluate(() => { live.cancel(); return db.close(); });
});

test('a device that begins anew knows when the log is an old one, and completes what it can', { timeout: 60_000 }, async () => {
  const says = (doc, word) => Buffer.from(doc.x.m, 'base64url').includes(word);
  const fresh = (name) => victim.evaluate(async (remote) => {
    await (await Database.open('victim', { sealed: true })).destroy();
    const locked = await Database.open('victim', { sealed: true });
    await locked.replicate.from(remote);
    const opened = await Database.open('victim', { vault }).catch((error) => error);
    const answer = opened instanceof Database ? [null, (await opened.allDocs()).total_rows] : [opened.name, opened.status];
    if (opened instanceof Database) await opened.replicate.to(remote);
    await locked.close();
    if (opened instanceof Database) await opened.close();
    return answer;
  }, couch.dbUrl(name));
  const { docs } = leaves();
  const without = (word) => serveLeaves(couch, 'less', docs.filter((doc) => !doc._id.startsWith('k-') || !says(doc, word)));
  assert.deepEqual(await fresh(await without('epoch')), ['rollback', 403]);
  const [error] = await fresh(await without('genesis'));
  assert.ok(['rollback', 'foreign_channel', 'no_channel'].includes(error), error);
  // The account's own devices are known to the vault: it writes them into the channel again.
  const less = await without('device');
  const rows = Object.values(scene.census).filter((revs) => Object.values(revs).some(({ deleted }) => !deleted)).length;
  assert.deepEqual(await fresh(less), [null, rows]);
  const logOf = (all) => all.filter(({ _id }) => _id.startsWith('k-')).map(({ _id }) => _id).sort();
  assert.deepEqual(logOf(await leavesOn(couch, less)), logOf(docs));
});

test('a server that refuses what is sealed, and asks for what it should not have, gets nothing else', { timeout: 90_000 }, async () => {
  const before = await meet(await couch.create('refusing'));
  const refusal = (status, error) => ({ status, body: { error, reason: 'Encrypted content is not accepted: send it in clear.' } });
  const phases = [
    [{ when: ({ method, path }) => method === 'PUT' && path.includes('/e-'), instead: () => refusal(415, 'bad_content_type') },
      { when: ({ path }) => path.endsWith('/_bulk_docs'), instead: () => refusal(403, 'forbidden') }],
    [{ when: ({ method, path }) => method === 'PUT' && path.includes('/e-'), instead: () => refusal(412, 'missing_stub') },
      { when: ({ path }) => path.endsWith('/_bulk_docs'), instead: (record, body) => ({ status: 201, body: JSON.parse(body).docs.map(({ _id, _rev }) => ({ id: _id, rev: _rev, error: 'forbidden', reason: 'Send it in clear.' })) }) }],
    [{ when: ({ path }) => path.endsWith('/_revs_diff'), instead: (record, body) => ({ status: 200, body: {
      ...Object.fromEntries(Object.entries(JSON.parse(body)).map(([id, missing]) => [id, { missing: [...missing, `1-${'0'.repeat(32)}`] }])),
      'by-hand': { missing: [`1-${'0'.repeat(32)}`] }, mine: { missing: ['1-a'] }, 'h-': { missing: ['1-a'] }, '_local/x': { missing: ['1-a'] },
    } }) }],
    [{ when: ({ path, method }) => path.endsWith('/_changes') && method === 'GET', instead: () => ({ status: 200, body: { results: [
      ...['h-x', '_local/y', 'by-hand', '_design/guard', 'k-x'].map((id, at) => ({ seq: at + 1, id, changes: [{ rev: '1-a' }] })),
    ], last_seq: 5, pending: 0 } }) }],
  ];
  for (const [at, rules] of phases.entries()) {
    // One that has nothing is not asked what it lacks.
    if (at === 2) liar.show(`channel-${story}`, await serveLeaves(couch, 'asking', await leavesOn(couch, scene.known)));
    liar.lie(rules);
    await victim.evaluate(async (remote) => {
      for (const way of ['to', 'from']) await db.replicate[way](remote).catch(() => {});
    }, liar.dbUrl(`channel-${story}`));
    assert.ok(liar.lies > 0, `phase ${at}`);
    assert.deepEqual(sorted(await victim.evaluate(() => census(db))), sorted(before), `phase ${at}`);
  }
  liar.lie();
  await victim.evaluate(() => db.close());
});

test('a key record whose cost was lowered is not worked on, nor one within bounds believed', { timeout: 60_000 }, async () => {
  const page = await openDevice(second, site.origin);
  const unlock = async (kib, passes) => {
    await page.evaluate(async ([cost, times]) => {
      const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
      const idb = await done(indexedDB.open('settee-vault'));
      const log = idb.transaction('log', 'readwrite').objectStore('log');
      const [key] = await done(log.getAllKeys());
      globalThis.original ??= await done(log.get(key));
      const bytes = original.slice();
      const word = 'passphrase';
      const at = bytes.findIndex((_, i) => [...word].every((c, j) => bytes[i + j] === c.charCodeAt(0))) + word.length;
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      // The length of params, that of the salt, the salt, and twice a length and a number.
      if (view.getUint32(at + 4) !== 16 || view.getUint32(at + 24) !== 4) throw new Error('this is not the record');
      if (cost) view.setUint32(at + 28, cost);
      if (times) view.setUint32(at + 36, times);
      await done(log.put(bytes, key));
      idb.close();
    }, [kib, passes]);
    const other = await openDevice(second, site.origin);
    const workers = [];
    other.on('worker', (worker) => workers.push(worker));
    const failed = await other.evaluate(() => failure(Vault.unlock({ passphrase: 'of the second device' })));
    await other.close();
    return [failed?.name ?? null, failed?.status ?? null];
  };
  assert.deepEqual(await unlock(8, 1), ['cost_out_of_bounds', 0]);
  assert.deepEqual(await unlock(65_536, 1), ['cost_out_of_bounds', 0]);
  assert.deepEqual(await unlock(4_000_000, 3), ['cost_out_of_bounds', 0]);
  assert.deepEqual(await unlock(65_537, 3), ['wrong_secret', 0]);
  assert.deepEqual(await unlock(0, 0), [null, null]);
  await page.close();
});

// Over all of the stories above.
test('nothing that is not sealed left the device', () => {
  const said = saidTo(liar.requests.map((request) => ({ ...request, answer: [] })), () => true);
  assert.ok(said.length > 1_000);
  const canaries = Object.fromEntries([...CLEAR, 'plain canary bytes'].map((text) => [text, text]));
  assert.deepEqual(found(said, canaries), []);
  let docs = 0;
  for (const request of liar.requests) {
    if (!/^(PUT|POST)$/.test(request.method) || /_local\//.test(request.path)) continue;
    const [json] = /\{[^]*\}/.exec(bodyOf(request).toString('latin1').split('\r\n--')[0].replace(/^[^]*?\r\n\r\n/, '')) ?? [];
    const sent = json && JSON.parse(json);
    for (const doc of request.path.endsWith('/_bulk_docs') ? sent.docs : /\/[ek]-[^/]+$/.test(request.path) ? [sent] : []) {
      docs += 1;
      assert.match(doc._id, /^(e-[a-z2-7]{32}|k-[a-z2-7]{52})$/);
      assert.deepEqual(Object.keys(doc).filter((key) => !['_id', '_rev', '_deleted', '_revisions', '_attachments', 'x'].includes(key)), []);
      for (const [name, { content_type: type }] of Object.entries(doc._attachments ?? {})) assert.match(`${name} ${type}`, /^[a-z2-7]{26} application\/octet-stream$/);
    }
    // Nor was anything asked for by its name.
    for (const id of Object.keys(request.path.endsWith('/_revs_diff') ? sent : {})) assert.match(id, /^[ek]-/);
  }
  assert.ok(docs > 50);
});
