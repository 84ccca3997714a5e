// What lies on a server and on a device of a sealed channel, and what was said on the way, tells nothing: canaries are searched
// in every form, in files, dumps and requests. The same search finds each of them in a clear channel.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { launchBrowser, startCouch } from './lib/index.mjs';
import { createVault, openDevice } from './lib/devices.mjs';
import { startLiar } from './lib/liar.mjs';
import { filesBelow, formsOf, found, saidTo, toldOf } from './lib/search.mjs';
import { startSite } from './lib/tab.mjs';

const SIZE = 1_234_567;
const FILE = Buffer.alloc(SIZE, 'canary of the content, ');
const EXIF = 'canary of the camera';
const PHOTO = Buffer.concat([
  Buffer.from([0xff, 0xd8, 0xff, 0xe1, 0, 8 + 26 + EXIF.length + 1]), Buffer.from('Exif\0\0'), Buffer.from('II*\0\x08\0\0\0\x01\0', 'latin1'),
  Buffer.from([0x0f, 1, 2, 0, EXIF.length + 1, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(`${EXIF}\0`), Buffer.from([0xff, 0xd9]),
]);
// By what they are. Long enough to be found nowhere by chance.
const CANARIES = {
  id: 'canary:of the/id', field: 'canaryOfField', value: 'canary of the välue', nested: 'canary deep within', number: 424_242.424242,
  'attachment name': 'canary of-a-name.jpg', type: 'image/x-canary-type', content: 'canary of the content', exif: EXIF,
  caption: 'canary "caption" & more', album: 'canary of the album', 'local id': 'canary-local-id', 'local value': 'canary of a local value',
  'deleted value': 'canary that is gone', 'old value': 'canary of an old edit', 'digest of a file': { bytes: FILE }, 'size of a file': { length: SIZE },
};
const HERE_ALONE = ['local id', 'local value']; // `_local/` documents do not replicate

let folder;
let couch;
let liar;
let site;
const devices = {};

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'settee-canary-'));
  [couch, site] = await Promise.all([startCouch({ storage: { dir: path.join(folder, 'server') } }), startSite()]);
  liar = await startLiar(couch);
});
after(async () => {
  await Promise.all(Object.values(devices).map(({ browser }) => browser.close()));
  await Promise.all([site?.stop(), liar?.close()]);
  await couch?.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

// A device of its own with all canaries in one channel, synced: what it holds and what the server has and heard.
async function lifeOf(kind) {
  const browser = await launchBrowser({ userDataDir: path.join(folder, kind) });
  const device = { browser, remote: await couch.create(kind), page: await openDevice(browser, site.origin), said: [] };
  devices[kind] = device;
  const { page } = device;
  page.on('console', (message) => device.said.push(message.text()));
  if (kind === 'sealed') device.code = await createVault(page);
  device.channel = await page.evaluate(async ([isSealed, url, all, photo, size]) => {
    if (isSealed) await vault.stayUnlocked(true);
    const db = globalThis.db = isSealed ? await begin('channel') : await Database.open('channel');
    const file = new Blob([new Uint8Array(size).map((_, at) => `${all.content}, `.charCodeAt(at % (all.content.length + 2)))]);
    const live = db.sync(url, { live: true, retry: true });
    const sent = async () => {
      while (!['push', 'pull'].every((way) => live[way].status.phase === 'live') || !await live.isPushed(all.id) || !await live.isPushed('gone')) {
        await new Promise((next) => { setTimeout(next, 50); });
      }
    };
    const { rev } = await db.put({ _id: all.id, [all.field]: all['old value'] });
    const { rev: gone } = await db.put({ _id: 'gone', value: all['deleted value'] });
    await sent();
    await db.put({
      _id: all.id, _rev: rev, [all.field]: all.value, n: all.number, deep: [{ in: { it: all.nested } }], caption: all.caption, albums: [all.album],
      _attachments: { [all['attachment name']]: { content_type: all.type, data: new Blob([Uint8Array.from(photo)]) }, large: { content_type: all.type, data: file } },
    });
    await db.put({ _id: `_local/${all['local id']}`, value: all['local value'] });
    await db.remove('gone', gone);
    await sent();
    live.cancel();
    // A list, an index, and errors, which might say too much.
    for (let n = 0; n < 40; n += 1) await db.put({ _id: `more-${n}`, caption: all.caption });
    await db.allDocs({ include_docs: true });
    await db.createIndex({ index: { fields: ['caption', all.field] } });
    if ((await db.find({ selector: { caption: all.caption, [all.field]: all.value } })).warning) throw new Error('no index was used');
    await db.put({ _id: all.id, [all.field]: all.value }).catch(() => {});
    await db.get(`${all.id} not`).catch(() => {});
    await db.replicate.to(url, { doc_ids: [all.id] }).catch(() => {});
    // Fetched by name, where nobody there knows names.
    const copy = isSealed ? await Database.open('copy', { sealed: true }) : await Database.open('copy');
    if (isSealed) {
      await copy.replicate.from(url, { doc_ids: [] });
      await Database.open('copy', { vault });
    }
    await copy.replicate.from(url, { doc_ids: [all.id, `${all.id} not`] });
    if ((await copy.get(all.id)).caption !== all.caption) throw new Error('it did not come');
    await copy.close();
    return db.name;
  }, [kind === 'sealed', liar.dbUrl(device.remote), plain(CANARIES), [...PHOTO], SIZE]);
  device.server = await toldOf(couch, device.remote);
  device.requests = saidTo(liar.requests, (where) => where.startsWith(`/${device.remote}`));
  return device;
}
const plain = (canaries) => Object.fromEntries(Object.entries(canaries).filter(([, what]) => typeof what !== 'object'));

test('a form is found wherever it stands', () => {
  const text = 'canary of the välue';
  for (const shift of [0, 1, 2]) {
    const within = Buffer.concat([Buffer.alloc(shift, 'x'), Buffer.from(text), Buffer.from('and more')]);
    assert.deepEqual(found([within.toString('base64')], { text }), ['text']);
    assert.deepEqual(found([within.toString('base64url')], { text }), ['text']);
  }
  assert.deepEqual(found([JSON.stringify({ text }), 'canary of'], { other: 'canary of the valley' }), []);
  assert.deepEqual(found(['"length":1234567,', 'ab1234567'], { size: { length: 1_234_567 } }), ['size']);
  assert.deepEqual(found(['ab1234567'], { size: { length: 1_234_567 } }), []);
  assert.ok(formsOf(text).length > 40);
});

test('in a clear channel the search finds every canary, on the server, on the way and on the device', { timeout: 120_000 }, async () => {
  const { server, requests } = await lifeOf('clear');
  const sent = Object.keys(CANARIES).filter((name) => !HERE_ALONE.includes(name));
  assert.deepEqual(found(requests, CANARIES), sent);
  // What was edited or deleted is in the server's files, not in its answers.
  assert.deepEqual(found(server, CANARIES), sent.filter((name) => !['old value', 'deleted value'].includes(name)));
});

test('in a sealed channel it finds none of them, nor a key', { timeout: 120_000 }, async () => {
  const { server, requests, said, code, page } = await lifeOf('sealed');
  const secrets = { ...CANARIES, code, 'code without dashes': code.replaceAll('-', ''), passphrase: 'of the first device' };
  assert.ok(server.some((text) => text.includes('"e-')) && requests.some((text) => text.includes('"e-')));
  assert.deepEqual(found(server, secrets), []);
  assert.deepEqual(found(requests, secrets), []);
  assert.deepEqual(found(said, secrets), []);
  assert.equal(await page.evaluate(async (all) => (await db.get(all.id)).caption, plain(CANARIES)), CANARIES.caption);
});

test('nor in the files of the browser\'s profile and of the server', { timeout: 180_000 }, async () => {
  for (const { browser } of Object.values(devices)) await browser.close({ keep: true });
  const clear = filesBelow(path.join(folder, 'clear'));
  const seen = found(clear, CANARIES);
  assert.deepEqual(Object.keys(CANARIES).filter((name) => !seen.includes(name)), [], 'the search of the profile is blind');
  const sealed = filesBelow(path.join(folder, 'sealed'));
  assert.ok(sealed.some((text) => text.includes('settee-vault') || text.includes(Buffer.from('settee-vault', 'utf16le').swap16().toString('latin1'))));
  const { code } = devices.sealed;
  const secrets = { ...CANARIES, code, 'code without dashes': code.replaceAll('-', ''), passphrase: 'of the first device' };
  assert.deepEqual(found(sealed, secrets), []);

  if (couch.isCouchDB) return; // its files are not ours to read
  await couch.stop();
  const names = { clear: devices.clear.remote, sealed: devices.sealed.remote };
  for (const [kind, name] of Object.entries(names)) {
    const files = filesBelow(path.join(folder, 'server')).length && filesBelow(path.join(folder, 'server', name));
    const sent = Object.keys(CANARIES).filter((one) => !HERE_ALONE.includes(one));
    if (kind === 'clear') assert.deepEqual(sent.filter((one) => !found(files, CANARIES).includes(one)), [], 'the search of the server\'s files is blind');
    else assert.deepEqual(found(files, secrets), []);
  }
  await couch.start();
});
