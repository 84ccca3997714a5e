// Databases in a row: browser - server - server - browser. What is done at one end is soon at the other, and everywhere the
// same in the end.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { inPage, onServer, openHouse, sealedOnServer } from './lib/ends.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { startRecorder } from './lib/recorder.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';
import { bytesOf, lost, worldOf } from './lib/world.mjs';
import { seeded } from './lib/proxy.mjs';

// With COUCHDB_URL both servers are two databases of that one.
const here = stage({
  near: () => startCouch(),
  far: () => startCouch(),
  nearDoor: ({ near }) => startRecorder(near),
  farDoor: ({ far }) => startRecorder(far),
  site: () => startSite(),
  left: () => launchBrowser(),
  right: ({ left }) => (kind.sealed ? left : launchBrowser()), // one vault for both; another device's is in vault.test.mjs
});

const LIVE = { live: true, retry: true };

// `channel` is another end, whose channel it is to hold.
async function endOf(browser, door, name, dbName, channel) {
  const page = await openTab(browser, here.site.origin);
  await openHouse(page);
  if (channel) await page.evaluate((called) => house.open(called, {}), channel.local);
  const side = await inPage(page, 'indexeddb', name, channel && { copyOf: channel.local });
  await page.evaluate(async ([where, url, options]) => { globalThis.task = end(where).sync(url, options); }, [side.end, door.dbUrl(dbName), LIVE]);
  return { ...side, page };
}

// What goes on between the two servers, by name; each gives a function that ends it.
const BETWEEN = {
  async 'the servers themselves'({ one, other, page }) {
    const { near, far } = here;
    const jobs = [
      [near, { source: near.dbUrl(one), target: near.dbUrl(other) }], [far, { source: far.dbUrl(other), target: far.dbUrl(one) }],
    ];
    await page.evaluate(async (asked) => {
      globalThis.jobs = await Promise.all(asked.map(([url, auth, job]) => Database.replicateOnServer(url, { ...job, continuous: true }, { auth })));
    }, jobs.map(([server, job]) => [server.url, server.auth, job]));
    return () => page.evaluate(() => Promise.all(jobs.map((job) => job.cancel())));
  },
  async 'a Settee in Node'({ one, other }) {
    const { Database } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
    const task = Database.sync(here.near.dbUrl(one), here.far.dbUrl(other), LIVE);
    return async () => {
      task.cancel();
      await task;
    };
  },
};

// All hold the same, byte for byte, and all of it.
async function judge(world, chain) {
  const [first, ...others] = await Promise.all(chain.map((side) => side.census()));
  for (const other of others) {
    for (const id of Object.keys({ ...first, ...other })) assert.deepEqual(other[id], first[id], id);
  }
  assert.deepEqual(lost(world, first), []);
}

for (const [middle, connect] of Object.entries(BETWEEN)) {
  test(`a chain of four with ${middle} in the middle`, { timeout: 180_000 }, async (t) => {
    const { near, far, nearDoor, farDoor, left: leftBrowser, right: rightBrowser } = here;
    if (middle === 'the servers themselves' && !near.isCouchDB) return t.skip('pouchdb-server ends itself when a replication of its own is cancelled');
    const world = worldOf(`chain ${middle}`);
    const [one, other] = [await near.create('chain-near'), await far.create('chain-far')];
    const left = await endOf(leftBrowser, nearDoor, one, one);
    const right = await endOf(rightBrowser, farDoor, other, other, kind.sealed && left);
    const server = (couch, name) => (kind.sealed ? sealedOnServer(left.page, couch, name, couch.dbUrl(name), left) : onServer(couch, name));
    const chain = [left, await server(near, one), await server(far, other), right];

    // Each end has a past of its own.
    for (const [side, docs] of [[left, world.here], [right, world.there]]) {
      await side.replicated(...docs);
      for (const doc of docs) doc._rev = await side.as(doc._id, doc._rev);
    }
    const disconnect = await connect({ one, other, page: left.page });
    t.after(async () => {
      await disconnect();
      await Promise.all([left.page.close(), right.page.close()]);
    });

    const same = (what) => waitFor(async () => {
      const [first, ...others] = (await Promise.all(chain.map((side) => side.leaves()))).map((leaves) => JSON.stringify(leaves));
      return others.every((leaves) => leaves === first);
    }, { what, timeout: 60_000, interval: 100 });
    const arrives = async (side, id, isIt, what) => {
      const began = Date.now();
      await waitFor(async () => isIt(await side.get(id, { conflicts: true })), { what, timeout: 30_000, interval: 20 });
      return Date.now() - began;
    };
    await same('what was there before, everywhere');
    await judge(world, chain);

    // One after the other, each way: a document, an edit, a photo, a deletion; then all at once.
    const took = [];
    const random = seeded(7);
    for (const [from, to, way] of [[left, right, 'right'], [right, left, 'left']]) {
      const id = `walks ${way} & ü`;
      await from.write({ _id: id, n: 1 });
      took.push(await arrives(to, id, (doc) => doc?.n === 1, `a document going ${way}`));
      await from.edit(id, { n: 2 });
      took.push(await arrives(to, id, (doc) => doc?.n === 2, `an edit going ${way}`));
      const photo = bytesOf(300_000, random).toString('base64');
      await from.edit(id, { _attachments: { 'photo ü.jpg': { content_type: 'image/jpeg', data: photo } } });
      took.push(await arrives(to, id, (doc) => doc?._attachments, `a photo going ${way}`));
      assert.equal((await to.get(id, { attachments: true }))._attachments['photo ü.jpg'].data, photo);
      await from.remove(id);
      took.push(await arrives(to, id, (doc) => doc === null, `a deletion going ${way}`));
    }
    t.diagnostic(`from one end to the other: ${took.join(', ')} ms`);

    // Both ends edit the same; everybody sees the same conflict, and once it is settled nobody does.
    await left.write({ _id: 'both', is: 'from both' });
    await arrives(right, 'both', Boolean, 'what both are to edit');
    const seen = chain.map((side) => arrives(side, 'both', (doc) => doc?._conflicts?.length === 1, 'the conflict'));
    await Promise.all([left.edit('both', { is: 'of the left' }), right.edit('both', { is: 'of the right' })]);
    await Promise.all(seen);
    const winners = await Promise.all(chain.map(async (side) => (await side.get('both', { conflicts: true }))._rev));
    assert.equal(new Set(winners).size, 1, winners.join());
    await right.page.evaluate(async (where) => {
      const db = end(where);
      await db.resolve('both', ([winner]) => ({ ...winner, is: 'settled' }));
    }, right.end);
    for (const side of chain) {
      await arrives(side, 'both', (doc) => doc?.is === 'settled' && !doc._conflicts, 'the conflict being settled');
    }

    await Promise.all([left, right].flatMap((side) => Array.from({ length: 20 }, (_, n) => (
      n % 4 ? side.write({ _id: `new:${side.name}:${n}`, n }) : side.write({ _id: `photo:${side.name}:${n}`, _attachments: { f: { content_type: 'x/y', data: bytesOf(90_000, random).toString('base64') } } })))));
    await same('what both did at once, everywhere');
    await judge(world, chain);

    for (const { page } of [left, right]) await page.evaluate(async () => { task.cancel(); await task; });
    assert.deepEqual([leftBrowser.errors, rightBrowser.errors], [[], []]);
  });
}
