// A sealed channel answers as a clear one does: the same random work on both, answer by answer. DIFFERENTIAL_SEEDS=100 tries
// as many seeds in Node, beginning with DIFFERENTIAL_FIRST; what failed once fails again with its seed.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { differ } from './lib/differential.mjs';
import { launchBrowser } from './lib/index.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const SEEDS = Number(process.env.DIFFERENTIAL_SEEDS ?? 3);
const FIRST = Number(process.env.DIFFERENTIAL_FIRST ?? 1);
const LIMITS = [1000, 3, 1, 7]; // revs_limit, in turn

let site;
let browser;
before(async () => { [site, browser] = await Promise.all([startSite(), launchBrowser()]); });
after(async () => {
  await browser?.close();
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
