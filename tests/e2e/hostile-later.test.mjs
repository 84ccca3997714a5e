// A server that lies about time: it shows what was before the keys changed, and it lies at first and tells the truth later.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch } from './lib/index.mjs';
import { createVault, openDevice, recoverVault } from './lib/devices.mjs';
import { leavesOn, serveLeaves, startLiar } from './lib/liar.mjs';
import { startSite } from './lib/tab.mjs';

let couch;
let liar;
let site;
const browsers = [];
let author;
let victim;
let channel; // the honest database
const then = {}; // what it had before the keys changed
const now = {};

before(async () => {
  [couch, site] = await Promise.all([startCouch(), startSite()]);
  browsers.push(await launchBrowser(), await launchBrowser());
  liar = await startLiar(couch);
  [author, victim] = await Promise.all(browsers.map((browser) => openDevice(browser, site.origin)));
  const code = await createVault(author);
  channel = await couch.create('later');
  const url = couch.dbUrl(channel);
  await author.evaluate(async (remote) => {
    globalThis.db = await begin('later');
    for (const id of ['edited', 'removed', 'left']) await db.put({ _id: id, n: 1 });
    await db.sync(remote);
  }, url);
  await recoverVault(victim, code, url);
  await author.evaluate((remote) => db.sync(remote), url);
  then.leaves = await leavesOn(couch, channel);
  await author.evaluate(async (remote) => {
    await vault.rotateKeys(db);
    await db.put({ ...await db.get('edited'), n: 2 });
    await db.remove(await db.get('removed'));
    for (const id of ['new', 'newer']) await db.put({ _id: id, n: 2 });
    await db.sync(remote);
  }, url);
  now.leaves = await leavesOn(couch, channel);
  now.census = await author.evaluate(() => census(db));
  const ids = new Map(now.leaves.map(({ _id, _rev }) => [_rev, _id]));
  now.ids = Object.fromEntries(Object.entries(now.census).map(([name, leaves]) => [name, ids.get(Object.keys(leaves)[0])]));
}, { timeout: 120_000 });
after(async () => {
  await Promise.all(browsers.map((browser) => browser.close()));
  await Promise.all([site?.stop(), liar?.close()]);
  await couch?.close();
});

const epochsOf = (leaves) => new Set(leaves.filter(({ x }) => x.e).map(({ x }) => x.e));
const isLog = ({ _id }) => _id.startsWith('k-');
const newLog = () => now.leaves.filter((doc) => isLog(doc) && !then.leaves.some(({ _id }) => _id === doc._id));
// The victim's database anew, as it was before the keys changed, or just after.
const begin = async (leaves) => victim.evaluate(async (remote) => {
  await globalThis.db?.close();
  await (await Database.open('later', { sealed: true })).destroy();
  globalThis.db = await join('later', remote);
}, couch.dbUrl(await serveLeaves(couch, 'begin', leaves ?? [...then.leaves, ...newLog()])));
const seen = () => victim.evaluate(() => census(db));
const held = async () => {
  const names = Object.fromEntries(Object.entries(now.ids).map(([name, id]) => [id, name]));
  const rows = await victim.evaluate(async () => (await db.quarantine()).map(({ id, error }) => [id, error]));
  return rows.map(([id, error]) => `${names[id]} ${error}`).sort();
};
const sync = (name) => victim.evaluate(async (remote) => {
  const { push, pull } = await db.sync(remote);
  return push.doc_write_failures + pull.doc_write_failures;
}, name.startsWith('http') ? name : couch.dbUrl(name));

test('the keys did change', () => {
  const [before, later] = [epochsOf(then.leaves), epochsOf(now.leaves)];
  assert.equal(before.size, 1);
  assert.equal(later.size, 2);
  assert.equal(newLog().length, 1);
});

// Before the victim has heard of the new keys: who has seen them notices that they are missing.
test('a log without the newest keys: what is sealed under them waits, and is there once they come', { timeout: 60_000 }, async () => {
  await begin(then.leaves);
  const before = await seen();
  const keptBack = newLog().map(({ _id }) => _id);
  const name = await serveLeaves(couch, 'without', now.leaves.filter(({ _id }) => !keptBack.includes(_id)));
  assert.equal(await sync(name), 0);
  assert.deepEqual(await held(), ['edited', 'new', 'newer', 'removed'].map((doc) => `${doc} unknown_epoch`));
  assert.deepEqual(await seen(), before);
  assert.equal(await victim.evaluate(() => db.retryQuarantine()), 0);
  // The server is asked for it no more than it gave; another one has it.
  assert.equal(await sync(channel), 0);
  assert.deepEqual(await held(), []);
  assert.deepEqual(await seen(), now.census);
  // What is written now is sealed under the new keys, and these are put back where they were missing.
  await victim.evaluate(() => db.put({ _id: 'mine' }));
  assert.equal(await sync(name), 0);
  const there = await leavesOn(couch, name);
  const [mine] = there.filter(({ _id }) => !isLog({ _id }) && !now.leaves.some((doc) => doc._id === _id));
  const [old] = epochsOf(then.leaves);
  assert.notEqual(mine.x.e, old);
  assert.deepEqual(there.map(({ _id }) => _id).filter((id) => keptBack.includes(id)), keptBack);
  // A new copy of the channel from a server that shows the old log is not opened any more.
  const rolledBack = await serveLeaves(couch, 'back', now.leaves.filter(({ _id }) => !keptBack.includes(_id)));
  const refused = await victim.evaluate(async (remote) => {
    const copy = await Database.open('later-copy', { sealed: true });
    await copy.replicate.from(remote);
    const { name: error, status } = await failure(Database.open('later-copy', { vault }));
    await copy.destroy();
    return [error, status];
  }, couch.dbUrl(rolledBack));
  assert.deepEqual(refused, ['rollback', 403]);
});

test('envelopes of the old keys in the place of new ones', { timeout: 60_000 }, async () => {
  await begin();
  const before = await seen();
  const lie = structuredClone(now.leaves);
  const of = (name, leaves = lie) => leaves.find(({ _id }) => _id === now.ids[name]);
  const [old] = epochsOf(then.leaves);
  // The state before, as if it were the one after; a new document that claims the old keys; one that has another's old envelope.
  of('edited').x = of('edited', then.leaves).x;
  of('new').x.e = old;
  of('newer').x = of('left', then.leaves).x;
  assert.equal(await sync(await serveLeaves(couch, 'old', lie)), 0);
  const rows = await held();
  assert.deepEqual(rows.map((row) => row.split(' ')[0]), ['edited', 'new', 'newer']);
  for (const row of rows) assert.match(row, / (not_opened|wrong_history|malformed)$/);
  const expected = { ...before, removed: now.census.removed };
  assert.deepEqual(await seen(), expected);
  // The true states of before are shown again: they are known, and change nothing.
  assert.equal(await sync(channel), 0);
  assert.equal(await sync(await serveLeaves(couch, 'then', then.leaves)), 0);
  assert.deepEqual([await held(), await seen()], [[], now.census]);
});

test('a server that lied and tells the truth again is believed when it is asked from the beginning', { timeout: 60_000 }, async () => {
  await begin();
  const ciphers = ['new', 'edited'].map((name) => now.leaves.find(({ _id }) => _id === now.ids[name]).x.c);
  const flipped = (text) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1);
  liar.show('truthful', channel);
  liar.lie([{
    when: ({ method }) => method !== 'PUT',
    change: (answer) => Buffer.from(ciphers.reduce((text, cipher) => text.replaceAll(cipher, flipped(cipher)), answer.toString('latin1')), 'latin1'),
  }]);
  const url = liar.dbUrl('truthful');
  const pull = (options = {}) => victim.evaluate(([remote, given]) => db.replicate.from(remote, given).then(({ docs_read: read }) => read), [url, options]);
  await pull();
  assert.deepEqual(await held(), ['edited not_opened', 'new not_opened']);
  liar.lie();
  // It is not asked twice for what it has answered; looking again at what it said then is of no use.
  assert.equal(await pull(), 0);
  assert.equal(await victim.evaluate(() => db.retryQuarantine()), 0);
  assert.deepEqual(await held(), ['edited not_opened', 'new not_opened']);
  // One of them is discarded, and both come: it makes no difference.
  const discarded = now.leaves.find(({ _id }) => _id === now.ids.new);
  assert.equal(await victim.evaluate(([id, rev]) => db.discardQuarantine(id, rev), [discarded._id, discarded._rev]), 1);
  assert.deepEqual(await held(), ['edited not_opened']);
  assert.equal(await pull({ since: 0 }), 2);
  assert.deepEqual(await held(), []);
  assert.deepEqual(await seen(), now.census);
});

test('what was discarded does not come back with a page that was left before its checkpoint', { timeout: 60_000 }, async () => {
  await begin();
  const lie = structuredClone(now.leaves);
  lie.find(({ _id }) => _id === now.ids.new).x.c = lie.find(({ _id }) => _id === now.ids.newer).x.c;
  const url = couch.dbUrl(await serveLeaves(couch, 'lie', lie));
  const pulled = (options) => victim.evaluate(async ([remote, given]) => {
    await db.replicate.from(remote, { checkpoint: false, ...given });
    return (await db.quarantine()).length;
  }, [url, options]);
  assert.equal(await pulled({}), 1);
  assert.equal(await victim.evaluate(() => db.discardQuarantine()), 1);
  await victim.evaluate(async () => {
    await db.close();
    db = await Database.open('later', { vault });
  });
  // Asked from the beginning, as it is where nobody wrote down how far it came.
  assert.equal(await pulled({}), 0);
  assert.equal(await pulled({ since: 0 }), 0);
});
