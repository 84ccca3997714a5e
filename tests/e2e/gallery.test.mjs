// The story: two browsers with photos, a CouchDB-compatible server between them. A photo added in one appears in the
// other's page by itself, and is still there after a restart with the server gone.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { launchBrowser, startCouch, startStatic, waitFor } from './lib/index.mjs';
import {
  BOUND_MS, DEVICES, SCREENSHOTS, TIME, add, begin, bound, caption, count, ids, join, look as lookAt, pictured, says, screen, state, tile, unlock, words,
} from './lib/gallery.mjs';
import { QUARTERS, photos, sideways, small } from './lib/photos.mjs';
import { startRecorder } from './lib/recorder.mjs';

// A person may choose either kind; private ones are what they are offered first.
const KINDS = ['private', 'clear'];
const PROMISE_MS = 1000; // the issue's goal; measured and told

let site;
let files;

before(async () => {
  site = await startStatic();
  files = photos(); // drawn beforehand, so that it is in no measurement
});
after(() => site?.stop());

// The gallery in this browser: one that is there, or a new one of this kind; with a recovery code, the one of that code.
async function openGallery(run, query = '', kind = 'clear', code = '') {
  const { page } = run;
  await page.goto(`${site.origin}/?db=gallery${query}`);
  const shown = await screen(page, 'ready', 'welcome', 'locked');
  if (shown === 'locked') await unlock(page);
  else if (shown === 'welcome' && code) await join(page, code);
  else if (shown === 'welcome' && kind === 'private') run.code = await begin(page);
  else if (shown === 'welcome') await page.locator('#begin-clear').click();
  await screen(page, 'ready');
  assert.equal(await page.locator('#privacy-button').getAttribute('data-state'), kind === 'private' ? 'unlocked' : 'clear');
  return page;
}

// Notes when each tile and its picture come, to be asked with arrived().
const watchArrivals = (page) => page.evaluate(() => {
  globalThis.arrivals = {};
  const look = () => {
    for (const one of document.querySelectorAll('.tile[data-id]')) {
      const note = (arrivals[one.dataset.id] ??= { tile: Date.now() });
      if (one.classList.contains('loaded')) note.picture ??= Date.now();
    }
  };
  look();
  new MutationObserver(look).observe(document.getElementById('grid'), { subtree: true, childList: true, attributes: true, attributeFilter: ['class', 'data-id'] });
});
// From now on, whether a tile is the same element as now, with the same picture.
const hold = (page) => page.evaluate(() => {
  globalThis.held = new Map([...document.querySelectorAll('.tile[data-id]')].map((one) => [one.dataset.id, { one, image: one.querySelector('img'), src: one.querySelector('img').src }]));
  globalThis.touched = [];
  globalThis.observer?.disconnect();
  globalThis.observer = new MutationObserver((records) => {
    for (const { addedNodes, removedNodes } of records) {
      for (const node of [...addedNodes, ...removedNodes]) if (node.dataset?.id && held.has(node.dataset.id)) touched.push(node.dataset.id);
    }
  });
  observer.observe(document.getElementById('grid'), { subtree: true, childList: true });
});
const changedTiles = (page, except = []) => page.evaluate((left) => {
  const changed = touched.filter((id) => !left.includes(id)).map((id) => `${id} was taken out or put in`);
  for (const [id, { one, image, src }] of held) {
    if (left.includes(id)) continue;
    const now = document.querySelector(`.tile[data-id="${CSS.escape(id)}"]`);
    if (now !== one) changed.push(`${id} is another element`);
    else if (now.querySelector('img') !== image) changed.push(`${id} has another image`);
    else if (image.src !== src) changed.push(`${id} loaded its picture again`);
  }
  return changed;
}, except);

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const stored = (page, id, name) => page.evaluate(async ([doc, attachment]) => {
  const { Database } = await import('settee');
  const db = await Database.open('gallery');
  const blob = await db.getAttachment(doc, attachment);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
  return { type: blob.type, sha256: [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('') };
}, [id, name]);

for (const kind of KINDS) test(`a ${kind} gallery works with no server at all`, { timeout: 90_000 }, async () => {
  const userDataDir = mkdtempSync(path.join(tmpdir(), 'settee-alone-'));
  let run;
  try {
    run = await launchBrowser({ userDataDir });
    let page = await openGallery(run, '', kind);
    assert.equal(await state(page), 'off');
    assert.equal(await words(page), 'Photos stay on this device');
    await page.waitForTimeout(600); // it fades in
    await page.screenshot({ path: path.join(SCREENSHOTS, `${kind}-empty.png`) });
    await add(page, [files[0], sideways(), files[1]]);
    await count(page, 3);
    await pictured(page);
    const [first, second, turnedOne] = await ids(page);
    assert.match(first, /^photo:2026-07-04T05:31:40:[0-9a-f]{8}$/, 'the date comes from Exif, newest first');
    assert.match(second, /^photo:2026-06-21T19:48:12:/);
    assert.match(turnedOne, /^photo:2025-12-24T18:00:00:/);
    assert.equal((await stored(page, first, 'original')).sha256, sha256(readFileSync(files[1])), 'the original is kept as it is');

    // Turned as Exif says: taller than wide, and the colours in their corners.
    const shown = await tile(page, turnedOne).locator('img').evaluate(async (image) => {
      const { naturalWidth: width, naturalHeight: height } = image;
      const canvas = new OffscreenCanvas(width, height);
      const pen = canvas.getContext('2d');
      pen.drawImage(image, 0, 0);
      const at = (x, y) => [...pen.getImageData(x * width, y * height, 1, 1).data].slice(0, 3);
      const box = image.getBoundingClientRect();
      return { width, height, upright: box.height > box.width, corners: [at(0.25, 0.25), at(0.75, 0.25), at(0.25, 0.75), at(0.75, 0.75)] };
    });
    assert.deepEqual([shown.width, shown.height, shown.upright], [120, 160, true]);
    const near = (colour) => ([name, wanted]) => wanted.every((part, i) => Math.abs(part - colour[i]) < 30) && name;
    const named = (colour) => Object.entries(QUARTERS).find(near(colour))?.[0] ?? colour.join();
    assert.deepEqual(shown.corners.map(named), ['red', 'green', 'blue', 'yellow']);

    // The same files again are not added twice; something that is no picture is told.
    await add(page, [files[0]]);
    await page.locator('.toast').first().waitFor(bound);
    assert.equal((await ids(page)).length, 3);

    // A second tab of the same browser shows the same by itself.
    const other = await run.newPage();
    await other.goto(`${site.origin}/?db=gallery`);
    if (kind === 'private') await unlock(other);
    await count(other, 3);
    await page.bringToFront();
    await caption(page, second, 'The hills behind the house 🌄');
    await waitFor(async () => await tile(other, second).locator('.tile-caption').textContent() === 'The hills behind the house 🌄', { what: 'the caption in the other tab', ...bound });
    await other.close();

    // Deleted, and put back.
    await tile(page, turnedOne).locator('.tile-open').click();
    await page.locator('#viewer-delete').click();
    await page.locator('#viewer-close').click();
    await count(page, 2);
    await page.locator('.toast button', { hasText: 'Undo' }).click();
    await count(page, 3);
    assert.equal((await stored(page, turnedOne, 'original')).sha256, sha256(readFileSync(sideways())));

    const before = await ids(page);
    await run.close({ keep: true });
    run = await launchBrowser({ userDataDir });
    page = await openGallery(run, '', kind);
    assert.deepEqual(await ids(page), before, 'after a restart of the browser');
    await pictured(page);
    assert.equal(await tile(page, second).locator('.tile-caption').textContent(), 'The hills behind the house 🌄');
    assert.equal(await state(page), 'off');
    assert.deepEqual(run.errors, []);
  } finally {
    await run?.close();
    rmSync(userDataDir, { recursive: true, force: true, maxRetries: 10 });
  }
});

for (const kind of KINDS) test(`two browsers stay in step (${kind}), across a restart without the server`, { timeout: 240_000 }, async (t) => {
  const couch = await startCouch();
  const proxy = couch.isCouchDB ? await startRecorder(couch) : null; // a CouchDB as it comes lets no page in
  const name = await couch.create('photos');
  const server = proxy ? proxy.dbUrl(name) : couch.dbUrl(name);
  const query = `&server=${encodeURIComponent(server)}`;
  const profiles = ['one', 'two'].map((who) => mkdtempSync(path.join(tmpdir(), `settee-story-${who}-`)));
  const runs = [];
  try {
    for (const userDataDir of profiles) runs.push(await launchBrowser({ userDataDir }));
    const one = await openGallery(runs[0], query, kind);
    await says(one, /^Up to date$/, BOUND_MS);
    let two = await openGallery(runs[1], query, kind, runs[0].code);
    let broken = false; // each step builds on those before
    const step = (title, work) => t.test(title, async (sub) => {
      if (broken) return sub.skip('an earlier step failed');
      broken = true;
      await work(sub);
      broken = false;
    });
    const inStep = async () => {
      await says(one, /^Up to date$/, BOUND_MS);
      await says(two, /^Up to date$/, BOUND_MS);
      assert.deepEqual(await ids(two), await ids(one));
    };

    await step('both reach the server', inStep);

    await step('photos added in one appear in the other by themselves', async () => {
      await add(one, files.slice(0, 5));
      await count(one, 5);
      await count(two, 5, 'five photos in the other browser');
      await pictured(two);
      await inStep();
      for (const id of await ids(two)) {
        const original = await stored(two, id, 'original');
        assert.deepEqual(original, await stored(one, id, 'original'));
        const source = files.find((file) => sha256(readFileSync(file)).startsWith(id.slice(-8)));
        assert.equal(original.sha256, sha256(readFileSync(source)), `${id} is ${source} byte for byte`);
        assert.equal(original.type, 'image/jpeg');
        assert.deepEqual(await stored(two, id, 'thumb'), await stored(one, id, 'thumb'));
      }
      // The server has them too, as any CouchDB client finds them; sealed, it has as many, and no name of them.
      const { rows } = await couch.must('GET', `/${name}/_all_docs`);
      const there = rows.map((row) => row.id).filter((id) => /^(photo:|e-)/.test(id)).sort();
      if (kind === 'clear') assert.deepEqual(there, (await ids(one)).sort());
      else assert.deepEqual([there.length, there.filter((id) => !id.startsWith('e-'))], [5, []]);
    });

    await step('one photo takes less than a moment, and moves nothing else', async (sub) => {
      await hold(one);
      await hold(two);
      await watchArrivals(one);
      await watchArrivals(two);
      const took = [];
      for (const file of [files[5], files[6], files[7]]) {
        const before = new Set(await ids(two));
        const began = Date.now();
        await add(one, [file]);
        const id = await waitFor(async () => (await ids(two)).find((one_) => !before.has(one_)), { what: 'the photo in the other browser', ...bound });
        await waitFor(() => two.evaluate((which) => arrivals[which]?.picture, id), { what: 'its picture', ...bound });
        const [here, there] = [await one.evaluate((which) => arrivals[which], id), await two.evaluate((which) => arrivals[which], id)];
        took.push({ picked: here.tile - began, across: there.tile - here.tile, all: there.picture - began });
      }
      for (const { picked, across, all } of took) {
        sub.diagnostic(`picked to tile here ${picked} ms; on to the tile in the other browser ${across} ms; picked to picture there ${all} ms`);
        assert.ok(all < BOUND_MS);
      }
      const worst = Math.max(...took.map(({ across }) => across));
      sub.diagnostic(`from one page to the other at most ${worst} ms; the goal is ${PROMISE_MS} ms: ${worst <= PROMISE_MS ? 'met' : 'NOT met'}`);
      assert.deepEqual(await changedTiles(one), []);
      assert.deepEqual(await changedTiles(two), []);
    });

    await step('a caption edited in one changes in the other, in place', async () => {
      await hold(two);
      const [id] = await ids(one);
      await caption(one, id, 'Hello from the other side – “grüße” 🌊');
      await waitFor(async () => await tile(two, id).locator('.tile-caption').textContent() === 'Hello from the other side – “grüße” 🌊', { what: 'the caption', ...bound });
      assert.deepEqual(await changedTiles(two), []);
      // And back, on top of that.
      await caption(two, id, 'Hello back');
      await waitFor(async () => await tile(one, id).locator('.tile-caption').textContent() === 'Hello back', { what: 'the caption on its way back', ...bound });
    });

    await step('a photo deleted in one leaves the other', async () => {
      await inStep();
      await hold(one);
      await hold(two);
      const id = (await ids(two))[2];
      await tile(two, id).locator('.tile-open').click();
      await two.locator('#viewer-delete').click();
      await two.locator('#viewer-close').click();
      await waitFor(async () => !(await ids(one)).includes(id), { what: 'the photo leaving', ...bound });
      await count(one, 7);
      assert.deepEqual(await changedTiles(one, [id]), []);
      assert.deepEqual(await changedTiles(two, [id]), []);
      await inStep();
    });

    await step('without the server, the photos are still there after a restart of the browser', async () => {
      const before = await ids(one);
      await couch.stop();
      await waitFor(async () => await state(one) === 'offline', { what: 'the page noticing', timeout: 30_000 });
      await runs[1].close({ keep: true });
      runs[1] = await launchBrowser({ userDataDir: profiles[1] });
      two = await openGallery(runs[1], query, kind);
      assert.deepEqual(await ids(two), before);
      await pictured(two);
      await waitFor(async () => await state(two) === 'offline', { what: 'the restarted page noticing', timeout: 30_000 });
      assert.match(await words(two), new RegExp(`^Offline since ${TIME}, will retry$`));
    });

    await step('photos added without the server arrive when it is back', async (sub) => {
      await add(two, [sideways()]);
      await count(two, 8);
      await add(one, [small('offline-one.jpg', '2026:11:11 11:11:11')]);
      await count(one, 8);
      for (const page of [one, two]) await says(page, new RegExp(`^1 photo to send – offline since ${TIME}$`));
      const began = Date.now();
      await couch.start();
      const started = Date.now();
      for (const [page, who] of [[one, 'one'], [two, 'two']]) {
        await waitFor(async () => (await ids(page)).length === 9, { what: `nine photos in ${who}`, timeout: 75_000 });
      }
      sub.diagnostic(`in step ${Date.now() - started} ms after the server was back (it took ${started - began} ms to start)`);
      await waitFor(async () => await state(one) === 'idle' && await state(two) === 'idle', { what: 'both being up to date', timeout: 30_000 });
      assert.deepEqual(await ids(two), await ids(one));
      await pictured(one);
      await pictured(two);
    });

    await step('it looks as it should on phones and desktops, by day and by night', async () => {
      await two.waitForFunction(() => !document.querySelector('.toast'), undefined, { timeout: 20_000 }).catch(() => {}); // only for the pictures' sake
      for (const [device, viewport] of Object.entries(DEVICES)) {
        for (const colorScheme of ['light', 'dark']) {
          await two.setViewportSize(viewport);
          await two.emulateMedia({ colorScheme });
          await two.evaluate(() => scrollTo(0, 0));
          await pictured(two);
          await two.waitForTimeout(300);
          await two.screenshot({ path: path.join(SCREENSHOTS, `${kind}-${device}-${colorScheme}.png`) });
          assert.ok(await two.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${device}: nothing sticks out at the side`);
          const [first] = await ids(two);
          await tile(two, first).locator('.tile-open').click();
          await two.locator('#viewer-original.ready').waitFor(bound);
          await two.waitForTimeout(300);
          await two.screenshot({ path: path.join(SCREENSHOTS, `${kind}-viewer-${device}-${colorScheme}.png`) });
          await two.locator('#viewer-close').click();
        }
      }
    });
    assert.deepEqual(runs.flatMap((run) => run.errors), []);
  } finally {
    for (const run of runs) await run.close();
    for (const profile of profiles) rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
    await couch.close();
    await proxy?.close();
  }
});

// Stands before the server, lets in who has this login, and can be told to answer otherwise: `answer(plan)`, where
// `plan(request)` gives `[status, error, reason]`, `[status, body]`, or `[]` for no answer at all; `answer()` ends that.
async function startDoorman(couch, login) {
  const target = new URL(couch.url);
  const sockets = new Set();
  let planned;
  let port = 0;
  let server = null;
  const self = {
    login,
    get origin() { return `http://127.0.0.1:${port}`; },
    answer(plan) {
      planned = plan;
      for (const socket of sockets) socket.destroy(); // who waits for changes asks again
    },
    async start() {
      server = http.createServer((req, res) => {
        const cors = {
          'access-control-allow-origin': req.headers.origin ?? '*', 'access-control-allow-credentials': 'true',
          'access-control-allow-methods': 'GET, PUT, POST, HEAD, DELETE', 'access-control-max-age': '600',
          'access-control-allow-headers': req.headers['access-control-request-headers'] ?? '*', 'access-control-expose-headers': 'retry-after',
        };
        if (req.method === 'OPTIONS') return res.writeHead(204, cors).end();
        const isKnown = req.headers.authorization === `Basic ${Buffer.from(self.login).toString('base64')}`;
        const plan = planned?.(req) ?? (isKnown ? null : [401, 'unauthorized', 'Name or password is incorrect.']);
        if (plan) {
          const [status, error, reason] = plan;
          req.resume();
          if (!status) return null;
          res.writeHead(status, { ...cors, 'content-type': 'application/json', ...status === 503 && { 'retry-after': '500' } });
          return res.end(JSON.stringify(reason ? { error, reason } : error));
        }
        const { origin, authorization, ...headers } = req.headers;
        if (couch.auth) headers.authorization = `Basic ${Buffer.from(`${couch.auth.username}:${couch.auth.password}`).toString('base64')}`;
        const onward = http.request({ host: target.hostname, port: target.port || 80, method: req.method, path: req.url, headers: { ...headers, host: target.host } }, (answer) => {
          const kept = Object.entries(answer.headers).filter(([name]) => !name.startsWith('access-control-'));
          res.writeHead(answer.statusCode, { ...Object.fromEntries(kept), ...cors });
          answer.on('error', () => res.destroy());
          answer.pipe(res);
        });
        onward.on('error', () => res.destroy());
        res.on('close', () => onward.destroy());
        return req.pipe(onward);
      });
      server.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
      });
      await new Promise((resolve, reject) => { server.once('error', reject); server.listen(port, '127.0.0.1', resolve); });
      ({ port } = server.address());
    },
    async stop() {
      if (!server?.listening) return;
      const closed = new Promise((resolve) => { server.close(resolve); });
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  await self.start();
  return self;
}

test('it says in words how things stand, and asks to sign in again without losing anything', { timeout: 240_000 }, async (t) => {
  const couch = await startCouch();
  const name = await couch.create('words');
  const door = await startDoorman(couch, 'ada:first');
  const onServer = async () => (await couch.must('GET', `/${name}/_all_docs`)).rows.filter((row) => row.id.startsWith('photo:')).length;
  let run;
  try {
    run = await launchBrowser();
    const page = await openGallery(run, `&server=${encodeURIComponent(door.origin.replace('//', '//ada:first@'))}/${name}`);
    await page.evaluate(() => {
      globalThis.spoken = [];
      new MutationObserver(() => spoken.push(document.getElementById('sync-spoken').textContent)).observe(document.getElementById('sync-spoken'), { childList: true });
    });
    let broken = false;
    const step = (title, work) => t.test(title, async (sub) => {
      if (broken) return sub.skip('an earlier step failed');
      broken = true;
      await work(sub);
      broken = false;
    });
    const look = (what) => lookAt(page, `words-${what}`); // the bar and an open dialog

    await step('up to date', async () => {
      await add(page, files.slice(0, 2));
      await waitFor(async () => await onServer() === 2, { what: 'two photos on the server', timeout: 30_000 });
      await says(page, /^Up to date$/);
      await pictured(page);
      await look('idle');
    });

    await step('without the server it counts what is to be sent, also after a reload', async () => {
      await door.stop();
      await says(page, new RegExp(`^Offline since ${TIME}, will retry$`));
      await waitFor(() => page.evaluate(() => spoken.some((text) => text.startsWith('Offline since'))), { what: 'that being read out', ...bound });
      const before = await page.evaluate(() => spoken.length);
      await add(page, [files[2]]);
      await says(page, new RegExp(`^1 photo to send – offline since ${TIME}$`));
      await add(page, [files[3]]);
      await says(page, new RegExp(`^2 photos to send – offline since ${TIME}$`));
      await page.waitForTimeout(1500); // a change is read out after a second of calm; this one is not
      assert.deepEqual(await page.evaluate((from) => spoken.slice(from), before), []);
      await look('offline');
      await page.reload();
      await page.waitForSelector('body[data-page=ready]');
      await says(page, new RegExp(`^2 photos to send – offline since ${TIME}$`));
      await page.locator('#sync-button').click();
      await look('offline-settings');
      await page.locator('#settings-close').click();
    });

    await step('another password: it asks to sign in, and goes on', async () => {
      door.login = 'ada:second';
      await door.start();
      await says(page, /^2 photos to send – please sign in again$/, 75_000);
      await look('sign-in');
      await add(page, [files[4]]);
      await says(page, /^3 photos to send – please sign in again$/);
      await page.locator('#sync-button').click();
      assert.equal(await page.locator('#sign-in-name').inputValue(), 'ada');
      await page.locator('#sign-in-password').fill('a guess');
      await page.locator('#sign-in-password').press('Enter');
      await waitFor(async () => await page.locator('#sign-in-problem').textContent() === 'The server did not let you in: Name or password is incorrect.', { what: 'being told', ...bound });
      await look('sign-in-again');
      await page.locator('#sign-in-password').fill('second');
      await page.locator('#sign-in-go').click();
      await page.locator('#sign-in').waitFor({ state: 'hidden', ...bound });
      await says(page, /^Up to date$/);
      await count(page, 5);
      assert.equal(await onServer(), 5);
      await page.reload();
      await page.waitForSelector('body[data-page=ready]');
      await says(page, /^Up to date$/); // the new password is remembered
    });

    await step('paused and gone on', async () => {
      await page.locator('#sync-button').click();
      await page.locator('#pause').click();
      await says(page, /^Paused$/);
      await look('paused-settings');
      await page.locator('#settings-close').click();
      await add(page, [files[5]]);
      await says(page, /^1 photo to send – paused$/);
      assert.equal(await onServer(), 5);
      await page.locator('#sync-button').click();
      assert.equal(await page.locator('#pause').textContent(), 'Go on');
      await page.locator('#pause').click();
      await says(page, /^Up to date$/);
      assert.equal(await onServer(), 6);
      await page.locator('#settings-close').click();
    });

    await step('photos on their way, and a server without room for them', async () => {
      const isWrite = ({ method, url }) => url.includes('_bulk_docs') || (method === 'PUT' && url.includes('photo'));
      door.answer((request) => (isWrite(request) ? [] : null));
      await says(page, /^Up to date$/);
      await add(page, [sideways(), small('on-its-way.jpg', '2026:11:11 11:11:11')]);
      await says(page, /^Sending [12] photos?…$/);
      await look('busy');
      door.answer((request) => (isWrite(request) ? [507, 'insufficient_storage', 'No room.'] : null));
      await says(page, /^2 photos to send – the server is full$/);
      door.answer();
      await page.locator('#sync-button').click();
      await page.locator('#connect').click();
      await says(page, /^Up to date$/);
      assert.equal(await onServer(), 8);
      await page.locator('#settings-close').click();
    });

    await step('a photo that the server does not want', async () => {
      const isWrite = ({ url }) => url.includes('_bulk_docs');
      door.answer((request) => (isWrite(request) ? [] : null)); // until its id is known
      const before = await ids(page);
      await add(page, [small('unwanted.jpg', '2026:11:12 11:11:11')]);
      await count(page, before.length + 1);
      const id = (await ids(page)).find((one) => !before.includes(one));
      door.answer((request) => (isWrite(request) ? [201, [{ id, error: 'forbidden', reason: 'No more photos, please.' }]] : null));
      await says(page, /^1 photo was refused: No more photos, please$/);
      await look('refused');
      door.answer();
      await page.locator('#sync-button').click();
      await page.locator('#connect').click();
      await says(page, /^Up to date$/);
      assert.equal(await onServer(), 9);
      await page.locator('#settings-close').click();
    });

    await step('a busy server, and when it is tried again', async () => {
      door.answer(() => [503, 'service_unavailable', 'Come back later.']);
      await says(page, new RegExp(`^The server is busy, next try at ${TIME}$`));
      await add(page, [files[6]]);
      await says(page, new RegExp(`^1 photo to send – the server is busy, next try at ${TIME}$`));
      await look('waiting');
    });

    await step('stopped for a reason that waiting does not mend', async () => {
      door.answer(() => [403, 'forbidden', 'You are not allowed to access this db.']);
      await page.locator('#sync-button').click();
      await page.locator('#connect').click();
      await says(page, /^Stopped: You are not allowed to access this db$/);
      await look('stopped-settings');
      await page.locator('#settings-close').click();
      await look('stopped');
      door.answer();
      await page.locator('#sync-button').click();
      await page.locator('#connect').click();
      await says(page, /^Up to date$/);
      assert.equal(await onServer(), 10);
    });
    assert.deepEqual(run.errors, []);
  } finally {
    await run?.close();
    await door.stop();
    await couch.close();
  }
});

test('a device without room says so, and keeps what it has', { timeout: 90_000 }, async () => {
  const couch = await startCouch();
  const proxy = couch.isCouchDB ? await startRecorder(couch) : null;
  const name = await couch.create('room');
  let run;
  try {
    run = await launchBrowser();
    const session = await run.context.newCDPSession(run.page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: site.origin, quotaSize: 8_000_000 });
    const page = await openGallery(run, `&server=${encodeURIComponent(proxy ? proxy.dbUrl(name) : couch.dbUrl(name))}`);
    await add(page, [files[0]]);
    await count(page, 1);
    const [own] = await ids(page);
    await says(page, /^Up to date$/);
    for (let n = 1; n <= 4; n += 1) {
      const data = Buffer.concat([readFileSync(files[n]), randomBytes(3_000_000)]).toString('base64'); // a JPEG may have more after its end
      await couch.must('PUT', `/${name}/${encodeURIComponent(`photo:2026-01-0${n}T00:00:00:0000000${n}`)}`, {
        type: 'photo', name: `${n}.jpg`, caption: '', taken: `2026-01-0${n}T00:00:00`, width: 300, height: 200, _attachments: { original: { content_type: 'image/jpeg', data } },
      });
    }
    await says(page, /^This device is full: free some space$/);
    assert.equal(await state(page), 'full');
    await page.locator('#sync-button').click();
    assert.match(await page.locator('#settings-more').textContent(), /^New photos come once there is room\./);
    await page.screenshot({ path: path.join(SCREENSHOTS, 'words-full-settings-desktop-light.png') });
    assert.equal((await stored(page, own, 'original')).sha256, sha256(readFileSync(files[0])), 'it is there, byte for byte');
    assert.deepEqual(run.errors, []);
  } finally {
    await run?.close();
    await couch.close();
    await proxy?.close();
  }
});
