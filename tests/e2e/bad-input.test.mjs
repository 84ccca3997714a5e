// Every bad input is a typed error with CouchDB's name, status and reason, and writes nothing: in a page over
// IndexedDB and memory, and in Node. The table is in lib/bad-inputs.mjs.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { PKG, inRoot } from '../../tools/lib/paths.mjs';
import { sealing } from './lib/channels.mjs';
import { launchBrowser } from './lib/index.mjs';
import { kind, once } from './lib/kind.mjs';
import { openTab, startSite } from './lib/tab.mjs';

let site;
let browser;

before(async () => {
  site = await startSite();
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

async function judge(t, report) {
  assert.ok(report.length > 10, 'the table was run');
  for (const { group, cases, problems } of report) {
    await t.test(`${group}: ${cases} cases`, () => {
      assert.ok(cases > 0);
      assert.deepEqual(problems, []);
    });
  }
}

for (const storage of ['indexeddb', 'memory']) {
  test(`in a page, storage ${storage}`, { timeout: 120_000 }, async (t) => {
    const page = await openTab(browser, site.origin);
    await judge(t, await page.evaluate(async ([where, isSealed]) => {
      const { runBadInputs } = await import('/lib/bad-inputs.mjs');
      return runBadInputs({ ...settee, Database }, where, isSealed);
    }, [storage, kind.sealed]));
    assert.deepEqual(browser.errors, []);
    await page.close();
  });
}

test('in Node, storage memory', { timeout: 120_000 }, async (t) => {
  const { runBadInputs } = await import('./lib/bad-inputs.mjs');
  const settee = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  await judge(t, await runBadInputs(kind.sealed ? { ...settee, Database: sealing(settee) } : settee, 'memory', kind.sealed));
});

once('in Node, indexeddb is said not to be there', async () => {
  const { Database } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  await assert.rejects(Database.open('x', { storage: 'indexeddb' }), { name: 'storage_unavailable', status: 0, reason: /store/ });
});

once('a database is used before the WebAssembly is there', async () => {
  const page = await browser.newPage();
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await page.route('**/settee.wasm', async (route) => { await held; await route.continue(); });
  await page.goto(`${site.origin}/blank.html`);
  await page.evaluate(async () => {
    const { Database, SetteeError } = await import('settee');
    globalThis.log = [];
    try { new Database(); } catch (error) { log.push(error.name); }
    globalThis.SetteeError = SetteeError;
    globalThis.opening = Database.open('early', { storage: 'memory' }).then((db) => { log.push('open'); return db; });
    // Bad input is told without waiting for it.
    await Database.open('').catch((error) => log.push(error.name));
    globalThis.replicating = Database.replicate('early', 'early-too');
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(await page.evaluate(() => log), ['TypeError', 'bad_request'], 'nothing is open before the WebAssembly is loaded');
  release();
  const got = await page.evaluate(async () => {
    const db = await opening;
    await db.put({ _id: 'a', n: 1 });
    await replicating.catch(() => {});
    return { log, n: (await db.get('a')).n };
  });
  assert.deepEqual(got, { log: ['TypeError', 'bad_request', 'open'], n: 1 });
  await page.close();
});

once('a page whose WebAssembly is missing says so, and goes on when it is given', async () => {
  const page = await browser.newPage();
  let missing = true;
  await page.route('**/settee.wasm', (route) => (missing ? route.fulfill({ status: 404, body: 'Not found.' }) : route.continue()));
  await openTab(browser, site.origin, { page });
  const failed = (what) => page.evaluate(what);
  const expected = (got, pattern) => {
    assert.equal(got.isError, true);
    assert.deepEqual([got.status, got.name], [0, 'init_failed']);
    assert.match(got.reason, pattern);
  };
  expected(await failed(() => failure(Database.open('x'))), /settee\.wasm.*404/);
  expected(await failed(() => failure(settee.init())), /settee\.wasm.*404/);
  expected(await failed(() => failure(settee.init('/nowhere/settee.wasm'))), /\/nowhere\/settee\.wasm.*404/);
  expected(await failed(() => failure(settee.init('/blank.html'))), /blank\.html/);
  expected(await failed(() => failure(settee.init(new Uint8Array([1, 2, 3])))), /init\(\)/);
  expected(await failed(() => failure(settee.init(Promise.reject(new Error('no bytes today'))))), /no bytes today/);
  expected(await failed(() => failure(Database.replicate('a', 'b'))), /settee\.wasm.*404/);
  missing = false;
  assert.equal(await page.evaluate(async () => {
    const db = await Database.open('x', { storage: 'memory' });
    return (await db.put({ _id: 'a' })).ok;
  }), true);
  await page.close();
});

once('in Node too', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'settee-no-wasm-'));
  try {
    cpSync(PKG, folder, { recursive: true, filter: (from) => !from.endsWith('.wasm') });
    const script = `
      const { Database, init } = await import(${JSON.stringify(pathToFileURL(path.join(folder, 'settee.js')).href)});
      const failure = (promise) => promise.then(() => null, ({ name, status, reason }) => ({ name, status, reason }));
      const out = [await failure(Database.open('x')), await failure(init(new Uint8Array(8)))];
      await init(new URL(${JSON.stringify(pathToFileURL(path.join(PKG, 'settee.wasm')).href)}));
      out.push((await (await Database.open('x')).put({ _id: 'a' })).ok);
      console.log(JSON.stringify(out));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: inRoot('.') });
    const [opened, given, ok] = JSON.parse(stdout);
    assert.deepEqual([opened.name, opened.status], ['init_failed', 0]);
    assert.match(opened.reason, /settee\.wasm/);
    assert.deepEqual([given.name, given.status], ['init_failed', 0]);
    assert.equal(ok, true);
  } finally { rmSync(folder, { recursive: true, force: true }); }
});

once('an IndexedDB that is blocked is told in a sentence', async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => {
    // What a browser does that blocks storage for a page.
    Object.defineProperty(IDBFactory.prototype, 'open', {
      value() { throw new DOMException('The operation is insecure.', 'SecurityError'); },
    });
  });
  await openTab(browser, site.origin, { page });
  const got = await page.evaluate(() => failure(Database.open('x')));
  assert.deepEqual([got.status, got.name], [0, 'storage_unavailable']);
  assert.match(got.reason, /does not let this page store anything/);
  await page.close();
});
