// Stories of two sides that replicate through a line that breaks: who has what, what people do meanwhile, and what both
// sides hold and have told in the end.
import assert from 'node:assert/strict';
import { launchBrowser } from './browser.mjs';
import { kind } from './kind.mjs';
import { bring, censusOf, editDocs, leavesOf, local } from './sides.mjs';
import { openTab, startSite } from './tab.mjs';
import { complaints } from './telling.mjs';
import { waitFor } from './wait.mjs';
import { lost, worldOf } from './world.mjs';

// For a file's `here` with `couch` (of startCouch) and `proxy` (of startFaultProxy), once they are there; `site` and `browser`
// are added to it when a page is wanted first.
export function stories(here) {
  const must = (...args) => here.couch.must(...args);
  // Of each sealed database of the server another device (in this process, by `here.Database`), which sees what is in there, and
  // writes there.
  const devices = new Map();
  const exchange = (name, way) => devices.get(name).replicate[way](here.couch.dbUrl(name));
  function remote(name) {
    if (!devices.has(name)) {
      return {
        changes: async () => (await must('GET', `/${name}/_changes?style=all_docs`)).results,
        bulkGet: async (docs) => (await must('POST', `/${name}/_bulk_get?revs=true&attachments=true`, { docs })).results,
      };
    }
    const { changes, bulkGet } = local(devices.get(name));
    return {
      async changes() {
        await exchange(name, 'from');
        return changes();
      },
      bulkGet,
    };
  }

  // Brings documents of a world along; from then on it has the revisions that they have.
  async function fill(db, docs) {
    const { as } = await bring(here.Database, db, docs);
    for (const doc of docs) doc._rev = as(doc._id, doc._rev);
  }

  const lastSaid = () => here.proxy.said().split('\n').slice(-60).join('\n');

  // A story's two sides, filled: the server's database `name` at `url` (through the proxy) and what `world.here` belongs to.
  async function begin(seed) {
    const world = worldOf(seed);
    const name = await here.couch.create('faults');
    if (kind.sealed) {
      const device = await here.Database.open(`${name}~device`);
      devices.set(name, device);
      await fill(device, world.there);
      await exchange(name, 'to');
      return { world, name, url: here.proxy.dbUrl(name) };
    }
    const refused = (await must('POST', `/${name}/_bulk_docs`, { docs: world.there, new_edits: false })).filter(({ error }) => error);
    assert.deepEqual(refused, []);
    return { world, name, url: here.proxy.dbUrl(name) };
  }

  // Both sides hold the same, all of it, once, byte for byte.
  async function judge({ world, name, here: side, there = remote(name) }) {
    const [mine, theirs] = [await (side.census?.() ?? censusOf(side)), await censusOf(there)];
    assert.deepEqual(lost(world, theirs), [], 'lost there');
    assert.deepEqual(lost(world, mine), [], 'lost here');
    assert.deepEqual(mine, theirs);
  }

  async function sameLeaves({ world, name, here: side }) {
    const [mine, theirs] = [await leavesOf(side), await leavesOf(remote(name))];
    const isThere = ({ _id, _rev }) => [mine, theirs].every((leaves) => leaves[_id]?.some((rev) => rev === _rev || Number.parseInt(rev, 10) > Number.parseInt(_rev, 10)));
    return JSON.stringify(mine) === JSON.stringify(theirs) && [...world.here, ...world.there].every(isThere);
  }

  const bothTheSame = (story, what = 'both sides the same') => waitFor(() => sameLeaves(story), { timeout: story.patience ?? 60_000, interval: 100, what })
    .catch((error) => { throw Object.assign(error, { message: `${error.message}\n${lastSaid()}` }); });

  // What people do meanwhile: new documents, edits, a deletion, a photo, on each of `sides`. It is added to the world.
  async function work(story, sides = ['there', 'here']) {
    const { world, name, edit } = story;
    const turns = story.turns = (story.turns ?? -1) + 1;
    const plain = (side, n) => `plain:${side}:${String(n).padStart(2, '0')}`;
    const photo = { f: { content_type: 'image/x', data: Buffer.alloc(100_000, turns).toString('base64') } };
    const todo = (side) => [
      { _id: `new:${side}:${turns}`, side }, { _id: `photo:${side}:${turns}`, side, _attachments: photo },
      { edit: plain(side, 2 * turns), side, turns }, { edit: plain(side, 2 * turns + 1), _deleted: true },
    ];
    if (sides.includes('there') && devices.has(name)) {
      await exchange(name, 'from');
      world.there.push(...await editDocs(devices.get(name), todo('there')));
      await exchange(name, 'to');
    } else if (sides.includes('there')) {
      for (const { edit: id, ...doc } of todo('there')) {
        if (id) Object.assign(doc, { _id: id, _rev: (await must('GET', `/${name}/${id}`))._rev });
        const { rev } = await must('PUT', `/${name}/${doc._id}`, doc);
        world.there.push({ _id: doc._id, _rev: rev });
      }
    }
    if (sides.includes('here')) world.here.push(...await edit(todo('here')));
  }

  const heard = (told, judged) => assert.deepEqual(complaints(told, judged), [], `${JSON.stringify(told, null, 1).slice(0, 3000)}\n${here.proxy.said()}`);

  // In a browser: IndexedDB, fetch and preflights, and what only a browser can do.
  async function beginInPage(seed, given) {
    const story = await begin(seed);
    here.site ??= await startSite();
    if (!given) here.browser ??= await launchBrowser();
    const tab = { page: await openIn(given ?? here.browser, story.name) };
    await tab.page.evaluate(async (docs) => {
      const failed = await db.bulkDocs(docs, { new_edits: false });
      if (failed.length) throw failed[0];
    }, story.world.here);
    const side = {
      changes: () => tab.page.evaluate(async () => (await db.changes({ style: 'all_docs' })).results),
      census: () => tab.page.evaluate(() => sides.censusOf(sides.local(db))),
    };
    return { ...story, tab, here: side, edit: (todo) => tab.page.evaluate((list) => sides.editDocs(db, list), todo) };
  }

  // A page with the database `name` open, as `db`.
  async function openIn(browser, name) {
    const page = await openTab(browser, here.site.origin);
    await page.evaluate(async (called) => {
      globalThis.sides = await import('/lib/sides.mjs');
      globalThis.telling = await import('/lib/telling.mjs');
      globalThis.db = await Database.open(called);
    }, name);
    return page;
  }

  // Starts to replicate both ways; `task` and `told` are globals of the page then.
  const startSync = ({ tab, url }, options, back = 5) => tab.page.evaluate(([where, given, ms]) => {
    globalThis.task = db.sync(where, { back_off_function: () => ms, ...given });
    globalThis.told = telling.listen({ push: task.push, pull: task.pull });
  }, [url, options, back]);
  const toldIn = ({ tab }) => tab.page.evaluate(() => told);
  const isLive = ({ tab }) => tab.page.evaluate(() => telling.areLive(task.push, task.pull));
  async function endSync(story) {
    await waitFor(() => isLive(story), { what: 'both ways saying that they are live' });
    await story.tab.page.evaluate(async () => {
      task.cancel();
      await task;
    });
  }

  return { begin, beginInPage, bothTheSame, endSync, heard, isLive, judge, openIn, remote, sameLeaves, startSync, toldIn, work, fill, devices };
}
