// Keys, locks and sealed databases from the outside: what several tabs do to them in the same moment, and what is done to what
// is stored behind their back.
import { after, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { PASSPHRASE, add, begin, count, look, says, screen, unlock } from './lib/gallery.mjs';
import { photos } from './lib/photos.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const here = stage({ couch: () => startCouch(), site: () => startSite(), browser: () => launchBrowser() });
after(() => assert.deepEqual(here.browser.errors, []));

// Every test begins without keys.
beforeEach(async () => {
  const page = await tab();
  await page.evaluate(() => settee.Vault.destroy());
  await page.close();
});

async function tab() {
  const page = await openTab(here.browser, here.site.origin);
  await page.evaluate(() => { globalThis.Vault = settee.Vault; });
  return page;
}

// Two tabs, unlocked; in the first a call of stayUnlocked(true) stops half-way until `go()` is called there.
async function twoTabs() {
  const tabs = [await tab(), await tab()];
  const code = await tabs[0].evaluate(async () => (await Vault.create()).recoveryCode);
  for (const each of tabs) await each.evaluate(async (recoveryCode) => { globalThis.vault = await Vault.unlock({ recoveryCode }); }, code);
  await tabs[0].evaluate(() => {
    const gate = new Promise((resolve) => { globalThis.go = resolve; });
    const { encrypt } = SubtleCrypto.prototype;
    globalThis.isThere = new Promise((resolve) => {
      SubtleCrypto.prototype.encrypt = async function gated(...given) {
        resolve();
        await gate;
        return encrypt.apply(this, given);
      };
    });
  });
  return tabs;
}

test('two tabs that are to stay unlocked at once do', { timeout: 60_000 }, async () => {
  const [one, other] = await twoTabs();
  await one.evaluate(() => { globalThis.done = failure(vault.stayUnlocked(true)); return isThere; });
  await other.evaluate(() => { globalThis.done = failure(vault.stayUnlocked(true)); });
  await new Promise((resolve) => { setTimeout(resolve, 200); });
  await one.evaluate(() => go());
  for (const each of [one, other]) assert.equal(await each.evaluate(() => done), null);
  assert.deepEqual(await other.evaluate(async () => [(await Vault.status()).device, await failure(Vault.unlock({ device: true }))]), [true, null]);
  for (const each of [one, other]) await each.close();
});

test('who locks it in one tab while another is about to stay unlocked is asked the next time', { timeout: 60_000 }, async () => {
  const [one, other] = await twoTabs();
  await one.evaluate(() => { globalThis.done = failure(vault.stayUnlocked(true)); return isThere; });
  await other.evaluate(() => { globalThis.done = failure(vault.lock()); });
  await waitFor(() => one.evaluate(() => vault.locked), { what: 'the lock' });
  await new Promise((resolve) => { setTimeout(resolve, 200); });
  await one.evaluate(() => go());
  assert.equal(await other.evaluate(() => done), null);
  assert.equal((await one.evaluate(() => done))?.name, 'locked');
  assert.deepEqual(await other.evaluate(async () => [(await Vault.status()).device, (await failure(Vault.unlock({ device: true })))?.name]), [false, 'no_such_lock']);
  for (const each of [one, other]) await each.close();
});

test('a database that was closed recovers nothing', { timeout: 60_000 }, async () => {
  const page = await tab();
  assert.deepEqual(await page.evaluate(async () => {
    const { vault, recoveryCode } = await Vault.create();
    await (await Database.open('closed', { vault, create: true })).close();
    await Vault.destroy();
    const database = await Database.open('closed', { sealed: true });
    await database.close();
    const closed = (await failure(Vault.recover({ recoveryCode, database })))?.name;
    const { exists } = await Vault.status();
    return [closed, exists, await failure(Vault.recover({ recoveryCode, database: await Database.open('closed', { sealed: true }) }))];
  }), ['bad_request', false, null]);
  await page.close();
});

test('whatever lies in place of the key record is told as damaged keys', { timeout: 60_000 }, async () => {
  const page = await tab();
  await page.evaluate(() => Vault.create());
  await page.close();
  for (const what of ['new Uint8Array(0)', 'new Uint8Array(1 << 20)', '"text"', '({})', 'null', 'new Blob(["x"])']) {
    const next = await tab();
    const got = await next.evaluate(async (source) => {
      const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
      const db = await done(indexedDB.open('settee-vault'));
      const log = db.transaction('log', 'readwrite').objectStore('log');
      await done(log.put((0, eval)(source), (await done(log.getAllKeys())).at(-1)));
      db.close();
      return Promise.all([Vault.status(), Vault.create(), Vault.unlock({ passphrase: 'x' }), Vault.unlock({ recoveryCode: '0'.repeat(28) })]
        .map(async (call) => (await failure(call))?.name));
    }, what);
    assert.deepEqual(got, Array(4).fill('malformed_keys'), what);
    await next.close();
  }
  const last = await tab();
  assert.deepEqual(await last.evaluate(async () => {
    await Vault.destroy();
    return [(await Vault.status()).exists, await failure(Vault.create())];
  }), [false, null]);
  await last.close();
});

test('a guard that two tabs put there at once is there, and keeps the log as it is', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('guards');
  const page = await tab();
  const installed = await page.evaluate(async (url) => {
    const { vault } = await Vault.create();
    const db = await Database.open('guarded', { vault, create: true });
    await db.put({ _id: 'a' });
    await db.replicate.to(url);
    return Promise.all(Array.from({ length: 3 }, () => Vault.installGuard({ url })));
  }, here.couch.dbUrl(name));
  assert.deepEqual(installed.sort(), [false, false, true]);
  const { rows } = await here.couch.must('GET', `/${name}/_all_docs?include_docs=true`);
  const entries = rows.map(({ doc }) => doc).filter(({ _id }) => _id.startsWith('k-'));
  assert.ok(entries.length > 1);
  for (const entry of entries) {
    const { status, json } = await here.couch.request('PUT', `/${name}/${entry._id}`, entry);
    assert.deepEqual([status, json.error], [403, 'forbidden']);
  }
  await page.close();
});

test('a tab of the gallery that was late does not put another one\'s keys in danger', { timeout: 120_000 }, async () => {
  const open = async (db) => {
    const page = await here.browser.newPage();
    await page.goto(`${here.site.origin}/?db=${db}`);
    return page;
  };
  const late = await open('late');
  await screen(late, 'welcome');
  await late.locator('#begin').click();
  const first = await open('late');
  await begin(first);
  // The late one is refused, and says so.
  await late.locator('#create-passphrase').fill('another one altogether');
  await late.locator('#create-passphrase').press('Enter');
  await waitFor(async () => /keys already/.test(await late.locator('#create-problem').textContent()), { what: 'the refusal' });
  await late.close();
  await first.close();
  // And a further gallery is begun under the keys that are there.
  const other = await open('other');
  await screen(other, 'welcome');
  await other.locator('#begin').click();
  assert.equal(await screen(other, 'locked', 'create'), 'locked');
  await other.close();
  const again = await open('late');
  await unlock(again, PASSPHRASE);
  await again.close();
});

test('a gallery whose keys are damaged opens with its recovery code', { timeout: 120_000 }, async () => {
  const open = async () => {
    const page = await here.browser.newPage();
    await page.goto(`${here.site.origin}/?db=damaged`);
    return page;
  };
  let page = await open();
  const code = await begin(page);
  await add(page, photos(2));
  await count(page, 2);
  // There are not as many photos to send as there is to send: the channel's log goes along.
  await page.locator('#sync-state').click();
  await page.locator('#server-address').fill('http://127.0.0.1:9/photos');
  await page.locator('#connect').click();
  await says(page, /^\d+ changes to send – offline since/);
  await page.locator('#disconnect').click();
  await page.locator('#settings-close').click();
  await page.evaluate(async () => {
    const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
    const db = await done(indexedDB.open('settee-vault'));
    const log = db.transaction('log', 'readwrite').objectStore('log');
    await done(log.put(new Uint8Array(100), (await done(log.getAllKeys())).at(-1)));
    db.close();
  });
  await page.close();
  page = await open();
  await screen(page, 'locked');
  assert.match(await page.locator('#unlock-heading').textContent(), /damaged/);
  assert.match(await page.locator('#unlock-problem').textContent(), /as they were/);
  await look(page, 'private-damaged');
  const typed = async (text, pattern) => {
    await page.locator('#unlock-code').fill(text);
    await page.locator('#unlock-code').press('Enter');
    if (pattern) await waitFor(async () => pattern.test(await page.locator('#unlock-problem').textContent()), { what: String(pattern) });
  };
  await typed(code.replace(/.$/, (letter) => (letter === 'A' ? 'B' : 'A')), /typing mistake/);
  await typed('0'.repeat(28), /not the one of this gallery/);
  // What was left of the keys is gone by now; a page that was left then asks for the code all the same.
  await page.reload();
  await screen(page, 'locked');
  assert.match(await page.locator('#unlock-heading').textContent(), /damaged/);
  await typed(code);
  await screen(page, 'ready');
  await count(page, 2);
  await page.locator('#new-passphrase').fill('a new one');
  await page.locator('#new-passphrase').press('Enter');
  await page.locator('.toast', { hasText: 'new passphrase' }).waitFor();
  await page.reload();
  await unlock(page, 'a new one');
  await count(page, 2);
  await page.close();
});
