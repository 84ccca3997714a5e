// Sealed channels begun, joined, begun twice by mistake; their keys renewed; what a person recovers from; the guard.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { openTab, startSite } from './lib/tab.mjs';

let couch;
let site;
let first;
let second;
let here;
let there;
let code;
let album;

before(async () => {
  [couch, site, first, second] = await Promise.all([startCouch(), startSite(), launchBrowser(), launchBrowser()]);
  here = await tab(first);
  there = await tab(second);
  album = await couch.create('album');
  // One owner, two devices.
  code = await here.evaluate(async (remote) => {
    const { vault, recoveryCode } = await Vault.create({ passphrase: 'first' });
    Object.assign(globalThis, { vault });
    const db = await Database.open('album', { vault, create: true });
    await db.put({ _id: 'kept', text: 'of the first device' });
    await db.sync(remote);
    return recoveryCode;
  }, couch.dbUrl(album));
  await recover(there, 'album', album);
});
after(async () => {
  await Promise.all([first?.close(), second?.close()]);
  await site?.stop();
  await couch?.close();
});

async function tab(browser) {
  const opened = await openTab(browser, site.origin);
  await opened.evaluate(() => {
    globalThis.Vault = settee.Vault;
    globalThis.ids = async (db) => (await db.allDocs()).rows.map(({ id }) => id);
  });
  return opened;
}
const recover = (page, name, remote) => page.evaluate(async ([local, url, recoveryCode]) => {
  const database = await Database.open(local, { sealed: true });
  await database.replicate.from(url);
  globalThis.vault = await Vault.recover({ recoveryCode, database, passphrase: 'second' });
}, [name, couch.dbUrl(remote), code]);
const serverDocs = async (name) => (await couch.must('GET', `/${name}/_all_docs?include_docs=true`)).rows.map(({ doc }) => doc);

test('a database that is not here waits, and opens when its channel comes', { timeout: 60_000 }, async () => {
  const url = couch.dbUrl(await couch.create('trip'));
  const waiting = await there.evaluate(async (remote) => {
    globalThis.db = await Database.open('trip', { vault });
    globalThis.events = [];
    db.on('unlocked', () => events.push('unlocked'));
    globalThis.live = db.sync(remote, { live: true, retry: true });
    await new Promise((resolve) => live.once('paused', resolve));
    return [db.sealed, db.locked, db.waiting, (await failure(db.get('a'))).name, (await failure(db.put({ _id: 'a' }))).status,
      (await failure(Database.open('x', { create: true }))).name, (await failure(Database.open('x', { vault, create: 1 }))).name];
  }, url);
  assert.deepEqual(waiting, [true, true, true, 'no_channel', 404, 'query_parse_error', 'query_parse_error']);
  await here.evaluate(async (remote) => {
    globalThis.trip = await Database.open('trip', { vault, create: true });
    await trip.put({ _id: 'a', n: 1 });
    await trip.sync(remote);
  }, url);
  await waitFor(() => there.evaluate(() => events.length > 0), { what: 'the channel' });
  assert.deepEqual(await there.evaluate(async () => [events, db.locked, db.waiting, (await db.get('a')).n, await db.quarantine()]), [['unlocked'], false, false, 1, []]);
  // The same name asked for as new is what it is by now.
  assert.deepEqual(await there.evaluate(async () => {
    const again = await Database.open('trip', { vault, create: true });
    await again.put({ _id: 'b' });
    await again.close();
    live.cancel();
    return ids(db);
  }), ['a', 'b']);
});

test('two that were begun apart are told so, and one joins the other', { timeout: 60_000 }, async () => {
  const name = await couch.create('diary');
  const url = couch.dbUrl(name);
  for (const [page, by] of [[here, 'here'], [there, 'there']]) {
    await page.evaluate(async (id) => {
      globalThis.diary = await Database.open('diary', { vault, create: true });
      await diary.put({ _id: id });
      await diary.put({ _id: 'settings', by: id });
      await diary.putAttachment('photo', `${id}.jpg`, new Blob([id.repeat(9000)]), 'image/jpeg').catch(() => {});
    }, by);
  }
  await here.evaluate((remote) => diary.sync(remote).then(() => {}), url);
  const before = JSON.stringify(await serverDocs(name));
  const told = await there.evaluate(async (remote) => {
    const error = await failure(diary.sync(remote, { live: true, retry: true }));
    return [error.name, error.status, error.reason, await ids(diary), await diary.quarantine()];
  }, url);
  assert.deepEqual([told[0], told[1], told[3], told[4]], ['other_channel', 403, ['photo', 'settings', 'there'], []]);
  assert.match(told[2], /another device.*open a new database/s);
  assert.equal(JSON.stringify(await serverDocs(name)), before);

  // As docs/sealed-channels.md has it.
  const failed = await there.evaluate(async (remote) => {
    const waiting = await Database.open('diary (joined)', { vault });
    await waiting.replicate.from(remote);
    globalThis.joined = await Database.open('diary (joined)', { vault });
    const { rows } = await diary.allDocs({ include_docs: true, attachments: true, binary: true });
    const both = [];
    for (const { doc: { _rev, ...doc } } of rows) await joined.put(doc).catch(({ id, name }) => both.push([id, name]));
    await joined.sync(remote);
    return both;
  }, url);
  assert.deepEqual(failed, [['photo', 'conflict'], ['settings', 'conflict']]);
  const all = ['here', 'photo', 'settings', 'there'];
  assert.deepEqual(await here.evaluate(async (remote) => { await diary.sync(remote); return [await ids(diary), await diary.quarantine()]; }, url), [all, []]);
  assert.deepEqual(await there.evaluate(async () => [await ids(joined), (await joined.get('settings')).by, await joined.quarantine(), (await diary.get('settings')).by]), [all, 'here', [], 'there']);
});

test('new keys are used in every tab and on the other device, and what was before is read', { timeout: 60_000 }, async () => {
  const url = couch.dbUrl(album);
  const epochs = async () => Object.fromEntries((await serverDocs(album)).filter(({ x }) => x.e).map(({ _rev, x }) => [_rev, x.e]));
  const otherTab = await tab(first);
  await otherTab.evaluate(async () => {
    globalThis.vault = await Vault.unlock({ passphrase: 'first' });
    globalThis.db = await Database.open('album', { vault });
    await db.get('kept');
  });
  const old = await here.evaluate(async () => {
    globalThis.db = await Database.open('album', { vault });
    const { _rev } = await db.get('kept');
    const wrong = [(await failure(vault.rotateKeys())).name, (await failure(vault.rotateKeys(await Database.open('clear')))).name];
    await vault.rotateKeys(db);
    return [_rev, wrong];
  });
  assert.deepEqual(old[1], ['bad_request', 'bad_request']);
  const put = (page, id) => page.evaluate(async (_id) => (await db.put({ _id })).rev, id);
  const revs = await Promise.all([put(otherTab, 'tab'), put(here, 'own')]);
  await here.evaluate((remote) => db.sync(remote).then(() => {}), url);
  await there.evaluate(async (remote) => {
    globalThis.db = await Database.open('album', { vault });
    await db.sync(remote);
  }, url);
  revs.push(await put(there, 'device'));
  await there.evaluate((remote) => db.sync(remote).then(() => {}), url);
  const now = await epochs();
  assert.equal(new Set(revs.map((rev) => now[rev])).size, 1);
  assert.notEqual(now[revs[0]], now[old[0]]);
  for (const page of [here, otherTab, there]) {
    await page.evaluate((remote) => db.sync(remote).then(() => {}), url);
    assert.deepEqual(await page.evaluate(async () => [await ids(db), (await db.get('kept')).text, await db.quarantine()]), [['device', 'kept', 'own', 'tab'], 'of the first device', []]);
  }
  await otherTab.close();
});

test('a lock is asked about after a reload, also where the device was to stay unlocked', { timeout: 60_000 }, async () => {
  const device = await here.evaluate(async () => {
    await vault.stayUnlocked(true);
    const before = (await Vault.status()).device;
    const locking = vault.lock();
    const atOnce = [vault.locked, db.locked];
    await locking;
    return [before, atOnce, (await Vault.status()).device, (await failure(Vault.unlock({ device: true }))).name];
  });
  assert.deepEqual(device, [true, [true, true], false, 'no_such_lock']);
  await here.close();
  here = await tab(first);
  assert.deepEqual(await here.evaluate(async () => {
    const unlocked = [(await failure(Vault.unlock({ device: true }))).name, (await Vault.status()).device];
    globalThis.vault = await Vault.unlock({ passphrase: 'first' });
    return unlocked;
  }), ['no_such_lock', false]);
  // Closing the page is no lock.
  await here.evaluate(() => vault.stayUnlocked(true));
  await here.close();
  here = await tab(first);
  assert.equal(await here.evaluate(async () => { globalThis.vault = await Vault.unlock({ device: true }); return vault.locked; }), false);
});

test('a forgotten passphrase, a lost device, a lost server: each is recovered from', { timeout: 120_000 }, async () => {
  // The passphrase is forgotten: the code unlocks, and another one is set.
  assert.deepEqual(await there.evaluate(async (recoveryCode) => {
    await vault.lock();
    const wrong = await failure(Vault.unlock({ passphrase: 'forgotten' }));
    await Vault.unlock({ recoveryCode });
    await vault.changePassphrase('remembered');
    await vault.lock();
    const old = await failure(Vault.unlock({ passphrase: 'second' }));
    globalThis.vault = await Vault.unlock({ passphrase: 'remembered' });
    return [wrong, old].map(({ name, reason }) => `${name}: ${reason}`);
  }, code), Array(2).fill('wrong_secret: That did not unlock it. Nothing was changed.'));

  // The browser dropped everything, or it is another device: code and server are enough.
  await second.close();
  second = await launchBrowser();
  there = await tab(second);
  assert.deepEqual(await there.evaluate(() => Vault.status()), { exists: false, locked: true, passphrase: false, device: false });
  await recover(there, 'album', album);
  assert.deepEqual(await there.evaluate(async () => { globalThis.db = await Database.open('album', { vault }); return [await ids(db), await db.quarantine()]; }), [['device', 'kept', 'own', 'tab'], []]);

  // The server's database is gone: a device sends what it has, and it is the same channel for the other.
  await couch.must('DELETE', `/${album}`);
  for (const [page, id] of [[there, 'from-there'], [here, 'from-here']]) {
    assert.deepEqual(await page.evaluate(async ([remote, _id]) => {
      globalThis.db = await Database.open('album', { vault });
      await db.put({ _id });
      await db.replicate.to(remote);
      await db.sync(remote);
      return (await ids(db)).includes('kept');
    }, [couch.dbUrl(album), id]), true);
  }
  assert.deepEqual(await there.evaluate(async (remote) => { await db.sync(remote); return [(await ids(db)).length, await db.quarantine()]; }, couch.dbUrl(album)), [6, []]);
});

test('keys that were forgotten here are gone in every tab, and the code brings them back', { timeout: 60_000 }, async () => {
  const otherTab = await tab(first);
  await otherTab.evaluate(async () => {
    globalThis.vault = await Vault.unlock({ passphrase: 'first' });
    globalThis.db = await Database.open('album', { vault });
  });
  assert.deepEqual(await here.evaluate(async () => {
    globalThis.db = await Database.open('album', { vault });
    await Vault.destroy();
    return [vault.locked, db.locked, (await failure(db.get('kept'))).name, (await Vault.status()).exists, (await failure(Vault.unlock({ device: true }))).name,
      (await failure(Vault.unlock({ passphrase: 'first' }))).name];
  }), [true, true, 'locked', false, 'no_such_lock', 'no_vault']);
  await waitFor(() => otherTab.evaluate(() => db.locked), { what: 'the other tab' });
  assert.deepEqual(await otherTab.evaluate(async () => [(await Vault.status()).exists, (await failure(vault.changePassphrase('x'))).name]), [false, 'locked']);
  // A code that is mistyped, or another account's, or a database without a channel leaves nothing behind.
  assert.deepEqual(await here.evaluate(async (recoveryCode) => {
    const name = async (given) => (await failure(Vault.recover({ database: db, ...given })))?.name;
    const mistyped = recoveryCode.replace(/.$/, (c) => (c === '0' ? '1' : '0'));
    const empty = await Database.open('empty', { sealed: true });
    return [await name({ recoveryCode: mistyped }), await name({ recoveryCode: '0'.repeat(28) }), await name({ recoveryCode, database: empty }), (await Vault.status()).exists];
  }, code), ['mistyped_code', 'nothing_to_recover', 'nothing_to_recover', false]);
  assert.deepEqual(await here.evaluate(async (recoveryCode) => {
    globalThis.vault = await Vault.recover({ recoveryCode, database: db, passphrase: 'anew' });
    return (await db.get('kept')).text;
  }, code), 'of the first device');
  assert.equal(await otherTab.evaluate(async () => {
    globalThis.vault = await Vault.unlock({ passphrase: 'anew' });
    return (await (await Database.open('album', { vault })).get('kept')).text;
  }), 'of the first device');
  await otherTab.close();
});

test('damaged keys are told, kept, and made anew with the code', { timeout: 60_000 }, async () => {
  await here.evaluate(async () => {
    const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
    const db = await done(indexedDB.open('settee-vault'));
    const log = db.transaction('log', 'readwrite').objectStore('log');
    const [key] = await done(log.getAllKeys());
    await done(log.put((await done(log.get(key))).slice(0, 40), key));
    db.close();
  });
  await here.close();
  here = await tab(first);
  const told = await here.evaluate(async (recoveryCode) => {
    const db = await Database.open('album', { sealed: true });
    const failures = await Promise.all([Vault.status(), Vault.create(), Vault.unlock({ passphrase: 'anew' }), Vault.recover({ recoveryCode, database: db })].map(failure));
    await Vault.destroy();
    globalThis.vault = await Vault.recover({ recoveryCode, database: db, passphrase: 'first' });
    return [failures.map(({ name }) => name), failures[0].reason, (await db.get('kept')).text];
  }, code);
  assert.deepEqual(told[0], Array(4).fill('malformed_keys'));
  assert.match(told[1], /damaged.*recovery code/);
  assert.equal(told[2], 'of the first device');
});

test('the guard lets in what is sealed and refuses what is clear; who may not set it is told so', { timeout: 60_000 }, async () => {
  const name = await couch.create('guarded');
  const url = couch.dbUrl(name);
  if (couch.isCouchDB) {
    // Somebody who may write and is no administrator.
    const user = `guest-${name}`;
    await couch.must('PUT', `/_users/org.couchdb.user:${user}`, { name: user, password: 'pw', roles: [], type: 'user' });
    await couch.must('PUT', `/${name}/_security`, { members: { names: [user], roles: [] }, admins: { names: [], roles: ['_admin'] } });
    const guest = await here.evaluate(async ([remote, username]) => {
      const auth = { username, password: 'pw' };
      globalThis.db = await Database.open('guarded', { vault, create: true });
      await db.put({ _id: 'before' });
      const live = db.sync(remote, { auth, live: true, retry: true });
      const refused = await failure(Vault.installGuard({ url: remote, auth }));
      const wrong = await failure(Vault.installGuard({ url: remote, auth: { username, password: 'wrong' } }));
      await db.put({ _id: 'after' });
      while (!(await live.isPushed('after'))) await new Promise((resolve) => { setTimeout(resolve, 20); });
      live.cancel();
      return [refused, wrong];
    }, [`${couch.url}/${name}`, user]);
    assert.deepEqual([guest[0].name, guest[0].status, guest[1].status], ['forbidden', 403, 401]);
    assert.match(guest[0].reason, /administrator/);
    assert.equal((await couch.request('GET', `/${name}/_design/guard`)).status, 404);
    await couch.must('DELETE', `/_users/org.couchdb.user:${user}?rev=${(await couch.must('GET', `/_users/org.couchdb.user:${user}`))._rev}`);
  }
  const installed = await here.evaluate(async (remote) => {
    globalThis.db = await Database.open('guarded', { vault, create: true });
    return [await Vault.installGuard({ url: remote }), await Vault.installGuard({ url: remote }), (await failure(Vault.installGuard({}))).name, (await failure(Vault.installGuard({ url: `${remote}-none` }))).status];
  }, url);
  assert.deepEqual(installed, [true, false, 'bad_request', 404]);
  // One that says something else is replaced.
  await couch.must('PUT', `/${name}/_design/guard`, { _rev: (await couch.must('GET', `/${name}/_design/guard`))._rev, language: 'javascript' });
  assert.equal(await here.evaluate((remote) => Vault.installGuard({ url: remote }), url), true);

  const synced = await here.evaluate(async (remote) => {
    const { rev } = await db.putAttachment('photo', 'p.jpg', new Blob(['x'.repeat(100_000)]), 'image/jpeg');
    await db.put({ ...await db.get('photo'), caption: 'c', _rev: rev });
    await db.remove(await db.put({ _id: 'gone' }).then(({ rev: _rev }) => ({ _id: 'gone', _rev })));
    await vault.rotateKeys(db);
    await db.put({ _id: 'late' });
    const { push, pull } = await db.sync(remote);
    return [push.doc_write_failures, pull.doc_write_failures, await db.quarantine(), (await ids(db)).length];
  }, url);
  assert.deepEqual(synced.slice(0, 3), [0, 0, []]);
  // It stays on the server: no device takes it along to another one.
  const elsewhere = couch.name('elsewhere');
  await here.evaluate((remote) => db.replicate.to(remote).then(() => {}), couch.dbUrl(elsewhere));
  const [gone, sent] = [await couch.request('GET', `/${elsewhere}/_design/guard`), (await serverDocs(elsewhere)).map(({ _id }) => _id)];
  assert.deepEqual([gone.status, sent.length > 5, sent.filter((id) => !/^[ek]-/.test(id))], [404, true, []]);
  const count = (await serverDocs(name)).length;
  const clear = [await couch.request('PUT', `/${name}/by-hand`, { title: 'clear' }), await couch.request('POST', `/${name}/_bulk_docs`, { docs: [{ _id: 'e-x', title: 'clear' }] })];
  assert.deepEqual([clear[0].status, clear[0].json.error], [403, 'forbidden']);
  assert.match(clear[0].json.reason, /sealed/);
  // In bulk pouchdb-server answers in its own way.
  if (couch.isCouchDB) assert.equal(clear[1].json[0].error, 'forbidden');
  assert.equal((await serverDocs(name)).length, count);
});
