// Sealed channels from a page: keys made, locked, unlocked and recovered; and what lies on the device and the server.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { answerOf, bodyOf, startRecorder } from './lib/recorder.mjs';
import { openTab, startSite } from './lib/tab.mjs';

let couch;
let proxy;
let site;
let first;
let second;
let page;
let code;

const PASSPHRASE = 'prächtig ﬁn canary-passphrase';

before(async () => {
  [couch, site, first, second] = await Promise.all([startCouch(), startSite(), launchBrowser(), launchBrowser()]);
  proxy = await startRecorder(couch);
  page = await tab(first);
});
after(async () => {
  await Promise.all([first?.close(), second?.close()]);
  await Promise.all([site?.stop(), proxy?.close()]);
  await couch?.close();
});

// A page with the package, and what went to its console in `page.said`.
async function tab(browser) {
  const opened = await openTab(browser, site.origin);
  opened.said = [];
  opened.on('console', (message) => opened.said.push(message.text()));
  await opened.evaluate(() => { globalThis.Vault = settee.Vault; });
  return opened;
}
const reloaded = async (old, browser = first) => {
  await old.close();
  return tab(browser);
};

test('without randomness there are no keys', { timeout: 30_000 }, async () => {
  const there = await tab(second);
  assert.deepEqual(await there.evaluate(async () => {
    Crypto.prototype.getRandomValues = () => { throw new Error('none'); };
    return [(await failure(Vault.create())).name, (await failure(Vault.create({ passphrase: 'x' }))).name, (await Vault.status()).exists];
  }), ['no_randomness', 'no_randomness', false]);
  await there.close();
});

test('a vault is made, a sealed database kept, and both are there after a reload', { timeout: 90_000 }, async () => {
  const workers = [];
  page.on('worker', (worker) => workers.push(worker));
  const made = await page.evaluate(async (passphrase) => {
    const before = await Vault.status();
    const noVault = await failure(Vault.unlock({ passphrase: 'x' }));
    const empty = await failure(Vault.create({ passphrase: '' }));
    const { vault, recoveryCode } = await Vault.create({ passphrase });
    const db = await Database.open('album', { vault, create: true });
    const written = await db.put({ _id: 'canary-id', canaryField: 'canary value' });
    await db.putAttachment('canary-id', 'canary.jpg', written.rev, new Blob(['canary bytes '.repeat(20_000)]), 'image/x-canary');
    return {
      before, recoveryCode, again: await failure(Vault.create()), noVault, empty, sealed: db.sealed, locked: db.locked,
      doc: await db.get('canary-id'), after: await Vault.status(), stepped: await failure(Database.open('clear').then((clear) => clear.close()).then(() => Database.open('clear', { vault }))),
    };
  }, PASSPHRASE);
  code = made.recoveryCode;
  assert.deepEqual(made.before, { exists: false, locked: true, passphrase: false, device: false });
  assert.deepEqual(made.after, { exists: true, locked: false, passphrase: true, device: false });
  assert.deepEqual([made.noVault.name, made.empty.name, made.again.name, made.stepped.name], ['no_vault', 'empty_passphrase', 'vault_exists', 'forbidden']);
  assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$/);
  assert.deepEqual([made.sealed, made.locked, made.doc.canaryField], [true, false, 'canary value']);

  // A worker for each passphrase that was worked on, and gone.
  assert.deepEqual(workers.map((worker) => worker.url().split('/').at(-1)), ['argon2.js', 'argon2.js']);
  await waitFor(() => page.workers().length === 0, { what: 'the end of the workers' });

  page = await reloaded(page);
  const unlocked = await page.evaluate(async (passphrase) => {
    const plain = await Database.open('album');
    const was = [plain.sealed, plain.locked, (await failure(plain.get('canary-id'))).name, (await failure(plain.put({ _id: 'x' }))).name];
    const wrong = await failure(Vault.unlock({ passphrase: 'wrong' }));
    delete globalThis.Worker; // then it is done here
    // Another way to write the same letters.
    const vault = await Vault.unlock({ passphrase: passphrase.normalize('NFD').replace('ﬁ', 'fi') });
    const events = [];
    plain.on('unlocked', () => events.push('unlocked'));
    const db = await Database.open('album', { vault });
    return {
      was, wrong, events, doc: await plain.get('canary-id'),
      bytes: (await (await db.getAttachment('canary-id', 'canary.jpg')).text()) === 'canary bytes '.repeat(20_000),
    };
  }, PASSPHRASE);
  assert.deepEqual(unlocked.was, [true, true, 'locked', 'locked']);
  assert.deepEqual([unlocked.wrong.name, unlocked.wrong.status], ['wrong_secret', 0]);
  assert.deepEqual([unlocked.doc.canaryField, unlocked.events, unlocked.bytes], ['canary value', ['unlocked'], true]);
});

test('the recovery code, the device and another passphrase unlock; nothing else does', { timeout: 90_000 }, async () => {
  const other = code.replace(/^./, (c) => (c === '0' ? '1' : '0'));
  page = await reloaded(page);
  const got = await page.evaluate(async ([right, mistyped, old]) => {
    const names = {};
    const name = async (promise) => (await failure(promise))?.name;
    names.wrongWays = [await name(Vault.unlock()), await name(Vault.unlock({ passphrase: 'a', device: true })), await name(Vault.unlock({ device: 1 })), await name(Vault.unlock({ pin: 1 })), await name(Vault.unlock({ passphrase: 7 }))];
    names.mistyped = await name(Vault.unlock({ recoveryCode: mistyped }));
    names.short = await name(Vault.unlock({ recoveryCode: right.slice(1) }));
    names.device = await name(Vault.unlock({ device: true }));
    const vault = await Vault.unlock({ recoveryCode: ` ${right.toLowerCase().replaceAll('-', ' ')}` });
    const db = await Database.open('album', { vault });
    names.read = (await db.get('canary-id')).canaryField;
    await vault.changePassphrase('another one');
    await vault.stayUnlocked(true);
    names.old = await name(Vault.unlock({ passphrase: old }));
    names.status = await Vault.status();
    return names;
  }, [code, other, PASSPHRASE]);
  assert.deepEqual(got.wrongWays, ['bad_request', 'bad_request', 'query_parse_error', 'query_parse_error', 'bad_request']);
  assert.deepEqual([got.mistyped, got.short, got.device, got.old, got.read], ['mistyped_code', 'code_length', 'no_such_lock', 'wrong_secret', 'canary value']);
  assert.deepEqual(got.status, { exists: true, locked: false, passphrase: true, device: true });

  page = await reloaded(page);
  const again = await page.evaluate(async () => {
    const vault = await Vault.unlock({ device: true });
    const db = await Database.open('album', { vault });
    const read = (await db.get('canary-id')).canaryField;
    await vault.stayUnlocked(false);
    const other = (await failure(Vault.unlock({ device: true }))).name;
    vault.lock();
    const locked = [vault.locked, db.locked, (await failure(db.get('canary-id'))).name, (await failure(vault.stayUnlocked(true))).name,
      (await failure(vault.changePassphrase('x'))).name, (await failure(Database.open('new', { vault }))).name, (await failure(Database.open('album', { vault: {} }))).name];
    await Vault.unlock({ passphrase: 'another one' });
    return { read, other, locked, after: [vault.locked, db.locked, (await db.get('canary-id')).canaryField], status: await Vault.status() };
  });
  assert.deepEqual([again.read, again.other], ['canary value', 'no_such_lock']);
  assert.deepEqual(again.locked, [true, true, 'locked', 'locked', 'locked', 'locked', 'query_parse_error']);
  assert.deepEqual(again.after, [false, false, 'canary value']);
  assert.equal(again.status.device, false);
});

test('one lock locks every tab, and none tells another anything but that', { timeout: 60_000 }, async () => {
  const tabs = [page, await tab(first)];
  for (const each of tabs) {
    await each.evaluate(async () => {
      globalThis.heard = [];
      for (const name of ['settee-vault:lock', 'settee-vault', 'settee:album']) new BroadcastChannel(name).onmessage = ({ data }) => heard.push(data);
      globalThis.vault = await Vault.unlock({ passphrase: 'another one' });
      globalThis.db = await Database.open('album', { vault });
      globalThis.events = [];
      db.on('locked', () => events.push('locked')).on('unlocked', () => events.push('unlocked'));
      globalThis.feed = db.changes({ live: true, since: 'now' });
      globalThis.ended = failure(feed);
      await db.get('canary-id');
    });
  }
  await page.evaluate(() => vault.lock());
  for (const each of tabs) {
    await waitFor(() => each.evaluate(() => events.length > 0), { what: 'the lock in every tab' });
    assert.deepEqual(await each.evaluate(async () => [vault.locked, db.locked, events, (await ended).name, (await failure(db.allDocs())).name]), [true, true, ['locked'], 'locked', 'locked']);
  }
  await page.evaluate(() => Vault.unlock({ passphrase: 'another one' }));
  assert.deepEqual(await page.evaluate(() => [db.locked, events]), [false, ['locked', 'unlocked']]);
  assert.equal(await tabs[1].evaluate(() => db.locked), true);
  const heard = (await Promise.all(tabs.map((each) => each.evaluate(() => heard)))).flat();
  assert.ok(heard.includes('lock'));
  assert.deepEqual(heard.filter((message) => !['lock', 'joined', 'here', 'committed'].includes(message)), []);
  await tabs[1].close();
});

test('two tabs that open a new one at once make one channel', { timeout: 60_000 }, async () => {
  const other = await tab(first);
  const open = (which, n) => which.evaluate(async (id) => {
    globalThis.vault = await Vault.unlock({ passphrase: 'another one' });
    globalThis.raced = await Database.open('raced', { vault, create: true });
    return (await raced.put({ _id: id })).ok;
  }, n);
  assert.deepEqual(await Promise.all([open(page, 'one'), open(other, 'two')]), [true, true]);
  for (const each of [page, other]) {
    assert.deepEqual(await each.evaluate(async () => [(await raced.allDocs()).rows.map(({ id }) => id), await raced.quarantine()]), [['one', 'two'], []]);
  }
  await other.close();
});

test('a key record that was changed is refused as a wrong passphrase is', { timeout: 60_000 }, async () => {
  const change = (which, by) => which.evaluate(async (bit) => {
    const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
    const db = await done(indexedDB.open('settee-vault'));
    const log = db.transaction('log', 'readwrite').objectStore('log');
    const [key] = await done(log.getAllKeys());
    const bytes = await done(log.get(key));
    bytes[bytes.length - 1] ^= bit;
    await done(log.put(bytes, key));
    db.close();
  }, by);
  const other = await tab(first);
  await change(other, 1);
  assert.deepEqual(await other.evaluate(() => Promise.all([failure(Vault.unlock({ passphrase: 'another one' })), failure(Vault.unlock({ passphrase: 'wrong' }))])).then(([a, b]) => [a.name, a.reason === b.reason, a.status === b.status]), ['wrong_secret', true, true]);
  await other.close();
  const again = await tab(first);
  await change(again, 1);
  assert.equal(await again.evaluate(async () => (await Vault.unlock({ passphrase: 'another one' })).locked), false);
  await again.close();
});

// Every form in which a text may lie somewhere, as bytes written one letter each.
const FORMS = (text) => {
  const bytes = Buffer.from(text);
  const base64 = [0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64').slice(Math.ceil((shift * 4) / 3), -4));
  return [bytes.toString('latin1'), bytes.toString('hex'), Buffer.from(text, 'utf16le').toString('latin1'), encodeURIComponent(text),
    ...base64, ...base64.map((one) => one.replaceAll('+', '-').replaceAll('/', '_')), [...text].reverse().join('')];
};
const found = (texts, canaries) => canaries.filter((canary) => FORMS(canary).some((form) => texts.some((text) => text.includes(form))));

// All that IndexedDB holds whose database's name passes, as texts of one letter per byte.
const atRest = (which, passes) => which.evaluate(async (source) => {
  const texts = [];
  const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
  const latin1 = (bytes) => { let text = ''; for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192)); return text; };
  const take = async (value) => {
    if (value instanceof Blob) texts.push(value.type, latin1(new Uint8Array(await value.arrayBuffer())));
    else if (value instanceof ArrayBuffer) texts.push(latin1(new Uint8Array(value)));
    else if (ArrayBuffer.isView(value)) texts.push(latin1(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)));
    else if (value instanceof CryptoKey) texts.push(value.extractable ? JSON.stringify(await crypto.subtle.exportKey('jwk', value)) : 'not extractable');
    else if (typeof value === 'object' && value !== null) for (const [key, member] of Object.entries(value)) { texts.push(key); await take(member); }
    else texts.push(latin1(new TextEncoder().encode(String(value))));
  };
  for (const { name } of await indexedDB.databases()) {
    if (!new RegExp(source).test(name)) continue;
    const db = await done(indexedDB.open(name));
    for (const store of db.objectStoreNames) {
      const all = db.transaction(store).objectStore(store);
      const [keys, values] = await Promise.all([done(all.getAllKeys()), done(all.getAll())]);
      await take(keys);
      await take(values);
    }
    db.close();
  }
  return texts;
}, passes);

// All that a database's server has and heard of it.
async function onServer(name) {
  const dump = await Promise.all(['_all_docs?include_docs=true&attachments=true&conflicts=true', '_changes?include_docs=true&style=all_docs', '']
    .map((path) => couch.must('GET', `/${name}/${path}`)));
  const said = proxy.requests.filter(({ path }) => path.startsWith(`/${name}`)).flatMap((request) => (
    [request.path, String(request.query), request.type, bodyOf(request).toString('latin1'), answerOf(request).toString('latin1')]));
  return [...dump.map((json) => JSON.stringify(json)), ...said];
}

const CANARIES = ['canary-id', 'canaryField', 'canary value', 'canary.jpg', 'image/x-canary', 'canary bytes', 'canary-local', '424242.424242'];
const PLANT = async ([name, sealed, url]) => {
  globalThis.db = await Database.open(name, sealed ? { vault } : {});
  const { rev } = await db.get('canary-id').then(({ _rev }) => ({ rev: _rev }), () => db.put({ _id: 'canary-id', canaryField: 'canary value', n: 424242.424242 }));
  await db.putAttachment('canary-id', 'canary.jpg', rev, new Blob(['canary bytes '.repeat(20_000)]), 'image/x-canary');
  await db.put({ _id: '_local/canary-local', canaryField: 'canary value' });
  await db.put({ _id: 'numbers', canaryField: 'canary value', n: 424242.424242 });
  await db.sync(url);
};

let shared;

test('what lies on the device and the server tells nothing, and the same search finds all of a clear channel', { timeout: 90_000 }, async () => {
  shared = await couch.create('sealed');
  const clear = await couch.create('clear');
  await page.evaluate(async () => {
    globalThis.vault = await Vault.unlock({ passphrase: 'another one' });
    await vault.stayUnlocked(true);
  });
  await page.evaluate(PLANT, ['album', true, proxy.dbUrl(shared)]);
  await page.evaluate(PLANT, ['clear-album', false, proxy.dbUrl(clear)]);
  assert.deepEqual(found(await atRest(page, '^settee:clear-album$'), CANARIES), CANARIES, 'the search of the device is blind');
  const sent = CANARIES.filter((canary) => canary !== 'canary-local');
  assert.deepEqual(found(await onServer(clear), CANARIES), sent, 'the search of the server is blind');

  const secrets = [...CANARIES, 'canary-passphrase', 'another one', code, code.replaceAll('-', '')];
  const device = await atRest(page, '^(?!settee:clear-album$)');
  assert.ok(device.length > 20 && device.includes('not extractable'));
  assert.deepEqual(found(device, secrets), []);
  const server = await onServer(shared);
  assert.ok(server.join('').includes('e-'));
  assert.deepEqual(found(server, secrets), []);
  assert.deepEqual(found(page.said, secrets), []);
});

test('a second device opens it with the recovery code, and both go on', { timeout: 120_000 }, async () => {
  const there = await tab(second);
  const url = proxy.dbUrl(shared);
  const early = await there.evaluate(async ([remote, right, mistyped]) => {
    const db = globalThis.db = await Database.open('copy', { sealed: true });
    const names = [(await failure(Vault.recover({ recoveryCode: right, database: db }))).name];
    await db.replicate.from(remote);
    names.push((await failure(db.get('canary-id'))).name, (await failure(Vault.recover({ recoveryCode: mistyped, database: db }))).name,
      (await failure(Vault.recover({ recoveryCode: right }))).name, String((await Vault.status()).exists));
    const events = [];
    db.on('unlocked', () => events.push('unlocked'));
    globalThis.vault = await Vault.recover({ recoveryCode: right, database: db, passphrase: 'there' });
    return {
      names, events, quarantine: await db.quarantine(), doc: await db.get('canary-id'), ids: (await db.allDocs()).rows.map(({ id }) => id),
      text: await (await db.getAttachment('canary-id', 'canary.jpg')).text() === 'canary bytes '.repeat(20_000), local: (await failure(db.get('_local/canary-local'))).status,
    };
  }, [url, code, code.replace(/.$/, (c) => (c === '0' ? '1' : '0'))]);
  assert.deepEqual(early.names, ['nothing_to_recover', 'locked', 'mistyped_code', 'bad_request', 'false']);
  assert.deepEqual([early.events, early.quarantine, early.doc.canaryField, early.text, early.local], [['unlocked'], [], 'canary value', true, 404]);
  assert.deepEqual(early.ids, ['canary-id', 'numbers']);

  // Live, both ways.
  for (const each of [page, there]) {
    await each.evaluate(async (remote) => {
      globalThis.db = await Database.open(db.name === 'copy' ? 'copy' : 'album', { vault });
      globalThis.live = db.sync(remote, { live: true, retry: true });
      globalThis.seen = [];
      globalThis.feed = db.changes({ live: true, since: 'now', include_docs: true }).on('change', ({ id, doc }) => seen.push([id, doc.from ?? null]));
    }, url);
  }
  await there.evaluate(() => db.put({ _id: 'hello', from: 'there' }));
  await waitFor(() => page.evaluate(() => seen.some(([id, from]) => id === 'hello' && from === 'there')), { what: 'the second device\'s document' });
  await page.evaluate(async () => db.put({ ...await db.get('hello'), from: 'here' }));
  await waitFor(() => there.evaluate(() => seen.some(([id, from]) => id === 'hello' && from === 'here')), { what: 'the edit on the second device' });

  // A conflict is the same on both, and settled for both.
  for (const each of [page, there]) await each.evaluate(() => { live.pause(); });
  for (const [each, n] of [[page, 1], [there, 2]]) await each.evaluate(async (value) => { await db.put({ ...await db.get('hello'), from: value }); live.resume(); }, n);
  const both = () => Promise.all([page, there].map((each) => each.evaluate(async () => { const doc = await db.get('hello', { conflicts: true }); return JSON.stringify([doc._rev, doc._conflicts]); })));
  await waitFor(async () => { const [a, b] = await both(); return a === b && a.includes(',["'); }, { what: 'the conflict on both' });
  await there.evaluate(async () => db.resolve('hello', (docs) => docs.find(({ from }) => from === 1)));
  await waitFor(async () => { const [a, b] = await both(); return a === b && a.includes(',null]'); }, { what: 'the resolution on both' });
  assert.equal(await page.evaluate(async () => (await db.get('hello')).from), 1);
  for (const each of [page, there]) assert.deepEqual(await each.evaluate(() => db.quarantine()), []);

  // What somebody writes into the server's database in clear is kept aside, and stops nothing.
  await couch.must('PUT', `/${shared}/by-hand`, { canary: 'clear' });
  await page.evaluate(() => db.put({ _id: 'after' }));
  await waitFor(() => there.evaluate(() => db.get('after').then(() => true, () => false)), { what: 'the document after it' });
  const held = await waitFor(() => there.evaluate(async () => { const list = await db.quarantine(); return list.length && list; }), { what: 'the quarantine' });
  assert.deepEqual(held.map(({ id, error, reason }) => [id, error, typeof reason]), [['by-hand', 'foreign_id', 'string']]);
  assert.deepEqual(await there.evaluate(async ({ id, rev }) => [(await failure(db.get(id))).status, await db.retryQuarantine(), (await failure(db.discardQuarantine(id))).status,
    (await failure(db.discardQuarantine(id, '1-x'))).status, await db.discardQuarantine(id, rev), await db.quarantine()], held[0]), [404, 0, 400, 404, 1, []]);
  for (const each of [page, there]) await each.evaluate(() => { live.cancel(); feed.cancel(); });
});

test('what a locked tab pulls is seen in one that is unlocked, live', { timeout: 60_000 }, async () => {
  const locked = await tab(first);
  const url = proxy.dbUrl(shared);
  await locked.evaluate(async (remote) => {
    globalThis.db = await Database.open('album', { sealed: true });
    globalThis.live = db.sync(remote, { live: true, retry: true });
  }, url);
  await page.evaluate(() => {
    globalThis.seen = [];
    globalThis.feed = db.changes({ live: true, since: 'now' }).on('change', ({ id }) => seen.push(id));
  });
  await second.context.pages().at(-1).evaluate(async (remote) => {
    await db.put({ _id: 'late' });
    await db.replicate.to(remote);
  }, url);
  await waitFor(() => page.evaluate(() => seen.includes('late')), { what: 'the document in the feed of the unlocked tab' });
  assert.deepEqual((await page.evaluate(() => db.quarantine())).map(({ id }) => id), ['by-hand']);
  assert.equal(await locked.evaluate(() => db.locked), true);
  await page.evaluate(() => feed.cancel());
  await locked.close();
});

test('20 MB go there and back', { timeout: 120_000 }, async () => {
  const url = proxy.dbUrl(shared);
  // The same bytes on both sides.
  const check = async ([remote, writes]) => {
    let x = 1;
    const next = () => { x = (Math.imul(x, 1664525) + 1013904223) >>> 0; return x >>> 24; };
    if (writes) {
      await db.putAttachment('large', 'film', new Blob([Uint8Array.from({ length: 20 << 20 }, next)]), 'video/mp4');
      await db.replicate.to(remote);
      x = 1;
    } else await db.replicate.from(remote);
    const blob = await db.getAttachment('large', 'film');
    const back = new Uint8Array(await blob.arrayBuffer());
    // It never was in our memory whole.
    const { memory } = await (await import('/settee/generated/settee_glue.js')).default();
    return [blob.type, back.length, back.every((byte) => byte === next()), memory.buffer.byteLength < 16 << 20];
  };
  for (const [which, writes] of [[page, true], [second.context.pages().at(-1), false]]) {
    assert.deepEqual(await which.evaluate(check, [url, writes]), ['video/mp4', 20 << 20, true, true]);
  }
});
