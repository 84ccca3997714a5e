// The gallery without any connection: its page is kept by a service worker, its photos by the database, and what the worker
// keeps tells nothing of them.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PKG, WWW } from '../../tools/lib/paths.mjs';
import { launchBrowser, startCouch, startStatic, waitFor } from './lib/index.mjs';
import { DEVICES, PASSPHRASE, add, begin, bound, caption, count, ids, look, pictured, says, screen, tile, unlock } from './lib/gallery.mjs';
import { photos, small } from './lib/photos.mjs';
import { filesBelow, found, readThrough } from './lib/search.mjs';

let couch;

before(async () => { couch = await startCouch(); });
after(() => couch?.close());

const kept = (page) => page.evaluate(() => navigator.serviceWorker.ready)
  .then(() => waitFor(() => page.evaluate(async () => (await (await caches.open('settee-page-1')).keys()).length > 30), { what: 'the files being kept', ...bound }));

test('the page opens, unlocks and takes photos without any connection', { timeout: 120_000 }, async () => {
  const here = await startStatic();
  const userDataDir = mkdtempSync(path.join(tmpdir(), 'settee-offline-'));
  let run;
  try {
    run = await launchBrowser({ userDataDir });
    let { page } = run;
    const requests = [];
    run.context.on('request', (request) => requests.push(request.url()));
    await page.goto(`${here.origin}/?db=gallery`);
    await begin(page);
    await add(page, photos(1));
    await count(page, 1);
    await kept(page);
    await run.close({ keep: true });
    await here.stop();
    run = await launchBrowser({ userDataDir });
    ({ page } = run);
    await page.goto(`${here.origin}/?db=gallery`);
    await screen(page, 'locked');
    await look(page, 'private-locked-no-connection', { devices: { phone: DEVICES.phone } });
    await unlock(page);
    await count(page, 1);
    await pictured(page);
    await add(page, photos(2).slice(1));
    await count(page, 2);
    await page.locator('#privacy-button').click();
    const [shown] = await Promise.all([run.context.waitForEvent('page'), page.locator('#privacy a', { hasText: 'What shows' }).click()]);
    await shown.waitForLoadState();
    assert.match(await shown.locator('h1').textContent(), /^What shows/);
    assert.deepEqual(requests.filter((url) => !url.startsWith(here.origin) && !url.startsWith('blob:')), [], 'nothing comes from elsewhere');
    assert.deepEqual(run.errors, []);
  } finally {
    await run?.close();
    rmSync(userDataDir, { recursive: true, force: true, maxRetries: 10 });
  }
});

// All that Cache Storage of the page's origin holds: addresses, headers and contents.
const cached = async (page) => {
  const all = await page.evaluate(async () => {
    const rows = [];
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        const answer = await cache.match(request);
        const bytes = new Uint8Array(await answer.arrayBuffer());
        let text = '';
        for (let at = 0; at < bytes.length; at += 30_000) text += String.fromCharCode(...bytes.subarray(at, at + 30_000));
        rows.push([name, request.url, JSON.stringify([...request.headers, ...answer.headers]), btoa(text)]);
      }
    }
    return rows;
  });
  return all.flatMap(([name, url, headers, body]) => [name, url, headers, ...readThrough(Buffer.from(body, 'base64'))]);
};

test('reloaded without a connection it unlocks by passphrase and by staying unlocked, and the worker keeps nothing of the photos', { timeout: 180_000 }, async () => {
  const here = await startStatic();
  const userDataDir = mkdtempSync(path.join(tmpdir(), 'settee-kept-'));
  const file = small('canary-file-name.jpg', '2024:02:03 04:05:06');
  const name = await couch.create('canary-server');
  const picture = readFileSync(file);
  const pixels = picture.subarray(-200, -168).toString('latin1');
  let run;
  try {
    run = await launchBrowser({ userDataDir });
    const { page } = run;
    await page.goto(`${here.origin}/?db=canary-album&server=${encodeURIComponent(couch.dbUrl(name))}`);
    const code = await begin(page);
    await says(page, /^Up to date$/);
    await add(page, [file, ...photos(1)]);
    await count(page, 2);
    const id = (await ids(page)).at(-1);
    await caption(page, id, 'canary caption 🌄');
    await says(page, /^Up to date$/);
    await kept(page);
    await Promise.all([here.stop(), couch.stop()]);

    const shows = async () => {
      await count(page, 2);
      await pictured(page);
      assert.equal(await tile(page, id).locator('.tile-caption').textContent(), 'canary caption 🌄');
      await tile(page, id).locator('.tile-open').click();
      await page.locator('#viewer-original.ready').waitFor(bound);
      await page.locator('#viewer-close').click();
    };
    await page.reload();
    await screen(page, 'locked');
    await page.locator('#unlock-passphrase').fill('not this one');
    await page.locator('#unlock-passphrase').press('Enter');
    await waitFor(async () => /did not unlock/.test(await page.locator('#unlock-problem').textContent()), { what: 'the refusal', ...bound });
    await unlock(page);
    await shows();
    await says(page, /^Offline since/);
    await page.locator('#privacy-button').click();
    await page.locator('#privacy-stay').check();
    await page.locator('.toast', { hasText: 'stays unlocked' }).waitFor(bound);
    await page.reload();
    await screen(page, 'ready');
    await shows();

    const canaries = {
      'file name': 'canary-file-name', caption: 'canary caption 🌄', EXIF: 'Settee tests', 'date taken': '2024-02-03T04:05:06', 'digest of the picture': { bytes: picture },
      album: 'canary-album', server: name, passphrase: PASSPHRASE, code, 'code without dashes': code.replaceAll('-', ''), ...couch.auth && { login: couch.auth.username + ':' + couch.auth.password },
    };
    const there = await cached(page);
    assert.deepEqual(found(there, { page: '<title>', script: 'serviceWorker' }), ['page', 'script'], 'the search is blind');
    assert.deepEqual(found(there, canaries), []);
    assert.ok(there.every((text) => !text.includes(pixels)));
    await page.locator('#lock').click();
    await screen(page, 'locked');
    await page.reload();
    await screen(page, 'locked');
    assert.deepEqual(run.errors, []);
    await run.close({ keep: true });
    const folder = path.join(userDataDir, 'Default', 'Service Worker');
    const files = filesBelow(folder);
    assert.deepEqual(found(files, { page: '<title>', origin: here.origin }), ['page', 'origin'], 'the search of the profile is blind');
    assert.deepEqual(found(files, canaries), []);
    assert.ok(files.every((text) => !text.includes(pixels)));
  } finally {
    await run?.close();
    await couch.start();
    rmSync(userDataDir, { recursive: true, force: true, maxRetries: 10 });
  }
});

test('the service worker keeps every file of the page and of the package, and no other', async () => {
  const source = readFileSync(path.join(WWW, 'sw.js'), 'utf8');
  const listed = Function(`return ${/const FILES = (\[[^\]]*\])/.exec(source)[1]}`)();
  const there = [
    ...readdirSync(WWW).filter((file) => file !== 'sw.js').map((file) => (file === 'index.html' ? './' : file)),
    ...['settee.js', 'settee.wasm', 'generated/settee_glue.js', ...readdirSync(path.join(PKG, 'lib')).map((file) => `lib/${file}`)].map((file) => `settee/${file}`),
  ];
  assert.deepEqual(listed.toSorted(), there.toSorted());
  const manifest = JSON.parse(readFileSync(path.join(WWW, 'manifest.webmanifest'), 'utf8'));
  for (const { src } of manifest.icons) assert.ok(there.includes(src));
});
