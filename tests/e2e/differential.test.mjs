// A sealed channel answers as a clear one does: the same random work on both, answer by answer. DIFFERENTIAL_SEEDS=100 tries
// as many seeds in Node, beginning with DIFFERENTIAL_FIRST; what failed once fails again with its seed.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { differ } from './lib/differential.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { censusOf, local } from './lib/sides.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const SEEDS = Number(process.env.DIFFERENTIAL_SEEDS ?? 3);
const FIRST = Number(process.env.DIFFERENTIAL_FIRST ?? 1);
const LIMITS = [1000, 3, 1, 7]; // revs_limit, in turn

let couch;
let site;
let browser;
before(async () => { [couch, site, browser] = await Promise.all([startCouch(), startSite(), launchBrowser()]); });
after(async () => {
  await browser?.close();
  await couch?.close();
  await site?.stop();
});

test('in Node, over memory', { timeout: 60_000 * SEEDS }, async () => {
  const { Database, Vault } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  const { vault } = await Vault.create();
  const opener = (seed, limit, changed = (db) => db) => async (which, before) => {
    const own = which === 'sealed' ? { vault, create: true } : {};
    const db = await Database.open(`${which}-${seed}`, { storage: 'memory', revs_limit: limit, ...own });
    await before?.close();
    return changed(db, which);
  };
  for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
    const limit = LIMITS[(seed - 1) % LIMITS.length];
    const problems = await differ({ open: opener(seed, limit), seed, ops: 1000, limit });
    assert.deepEqual(problems, [], `seed ${seed}, revs_limit ${limit}`);
  }
  // That it would notice: a sealed channel that forgets one row.
  const lacking = (db, which) => new Proxy(db, {
    get: (_, name) => (name === 'allDocs' && which === 'sealed' ? async (options) => {
      const all = await db.allDocs(options);
      return { ...all, rows: all.rows.slice(0, 5) };
    } : typeof db[name] === 'function' ? db[name].bind(db) : db[name]),
  });
  assert.match((await differ({ open: opener('lacking', 1000, lacking), seed: 1, ops: 500 })).join('\n'), /^allDocs/m);
  await Vault.destroy();
});

test('and what came of it goes to a second device, through a server', { timeout: 120_000 }, async (t) => {
  if (!couch.isCouchDB) return t.skip('pouchdb-server drops the attachments of deletions');
  const { Database, Vault } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  const { vault } = await Vault.create();
  for (const limit of [1000, 4]) {
    let made; // a handle of its own: what is in memory goes with the last one
    const open = async (which, before) => {
      const db = await Database.open(`${which}-${limit}`, { storage: 'memory', revs_limit: limit, ...which === 'sealed' && { vault, create: true } });
      if (db.sealed) made ??= await Database.open(db.name, { storage: 'memory', vault });
      await before?.close();
      return db;
    };
    assert.deepEqual(await differ({ open, seed: 101, ops: 700, limit }), []);
    const url = couch.dbUrl(await couch.create(`differential-${limit}`));
    const other = await Database.open(`other-${limit}`, { storage: 'memory', revs_limit: limit, vault });
    const unlocked = new Promise((resolve) => { other.once('unlocked', resolve); });
    await made.replicate.to(url);
    await other.replicate.from(url);
    await unlocked;
    await waitFor(async () => !(await other.quarantine()).length, { what: 'what had to wait for the keys' });
    // Of a history that was cut only the revision and its parent are proved.
    const told = async (db) => JSON.parse(JSON.stringify(await censusOf(local(db)), (key, value) => (key === 'path' && limit < 1000 ? value[0] : value)));
    const all = await told(made);
    assert.ok(Object.keys(all).length > 15);
    assert.deepEqual(await told(other), all);
    // And back, edited.
    await other.bulkDocs((await other.allDocs({ include_docs: true })).rows.map(({ doc }) => ({ ...doc, edited: true })));
    await other.replicate.to(url);
    await made.replicate.from(url);
    assert.deepEqual(await told(made), await told(other));
    assert.deepEqual([await made.quarantine(), await other.quarantine()], [[], []]);
    await Promise.all([made.close(), other.close()]);
  }
  await Vault.destroy();
});

test('in a page, over IndexedDB', { timeout: 120_000 }, async () => {
  const page = await openTab(browser, site.origin);
  const problems = await page.evaluate(async () => {
    const { differ: differHere } = await import('/lib/differential.mjs');
    const { Vault } = settee;
    const { vault } = await Vault.create();
    const open = async (which, before) => {
      await before?.close();
      if (before && which === 'sealed') {
        await vault.stayUnlocked(true);
        await Vault.unlock({ device: true });
      }
      return Database.open(which, { revs_limit: 5, ...which === 'sealed' && { vault, create: true } });
    };
    return differHere({ open, seed: 11, ops: 1000, limit: 5 });
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(browser.errors, []);
});
