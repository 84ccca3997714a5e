// Several tabs on one database: at once, killed in the middle, deleted by one another, and of different versions.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { launchBrowser, sleep, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { openTab, ready, startSite } from './lib/tab.mjs';

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

async function tabs(count, name) {
  const pages = [];
  for (let i = 0; i < count; i += 1) {
    const page = await openTab(browser, site.origin);
    await page.evaluate(async (called) => { globalThis.db = await Database.open(called); }, name);
    pages.push(page);
  }
  return pages;
}
const closeAll = (pages) => Promise.all(pages.map((page) => page.close()));

test('three tabs count in the same documents: nothing is lost and all agree', { timeout: 120_000 }, async (t) => {
  const pages = await tabs(3, 'contention');
  const before = await pages[0].evaluate(async () => (await db.info()).update_seq);
  const ROUNDS = 40;
  const COUNTERS = ['counter:a', 'counter:b', 'counter:c'];
  const began = performance.now();
  const written = await Promise.all(pages.map((page, who) => page.evaluate(async ({ who: me, rounds, counters }) => {
    const made = []; // what was acknowledged here: [id, rev]
    let conflicts = 0;
    const increment = async (id, by) => {
      for (;;) {
        const doc = await db.get(id).catch((error) => { if (error.status !== 404) throw error; return { _id: id, n: 0 }; });
        try {
          const { rev } = await db.put({ ...doc, n: doc.n + by, who: me });
          made.push([id, rev, by]);
          return;
        } catch (error) {
          if (error.name !== 'conflict') throw error;
          conflicts += 1;
        }
      }
    };
    // The same in batches: each row on its own.
    const together = async (ids) => {
      let left = ids;
      while (left.length) {
        const { rows } = await db.allDocs({ keys: left, include_docs: true });
        const docs = rows.map((row) => ({ ...(row.doc ?? { _id: row.key, n: 0 }), who: me }));
        for (const doc of docs) doc.n += 1;
        const answers = await db.bulkDocs(docs);
        const next = [];
        answers.forEach((row, i) => {
          if (row.ok) made.push([left[i], row.rev, 1]);
          else if (row.name === 'conflict') { conflicts += 1; next.push(left[i]); }
          else throw row;
        });
        left = next;
      }
    };
    const several = async () => { // calls started together share a commit
      await Promise.all(counters.map((id) => increment(id, 1)));
    };
    for (let i = 0; i < rounds; i += 1) {
      if (i % 3 === 0) await together(counters);
      else if (i % 3 === 1) await several();
      else for (const id of counters) await increment(id, 1);
      await db.put({ _id: `own:${me}:${i}`, n: i });
    }
    return { made, conflicts };
  }, { who, rounds: ROUNDS, counters: COUNTERS })));
  const conflicts = written.reduce((sum, one) => sum + one.conflicts, 0);
  t.diagnostic(`${3 * ROUNDS * 4} writes and ${conflicts} conflicts in ${Math.round(performance.now() - began)} ms`);
  assert.ok(conflicts > 0, 'the tabs got in each other\'s way');

  const state = (page) => page.evaluate(async (counters) => ({
    docs: await Promise.all(counters.map((id) => db.get(id, { revs: true, conflicts: true }))),
    all: await db.allDocs(), changes: await db.changes({ style: 'all_docs' }), seq: (await db.info()).update_seq,
  }), COUNTERS);
  const states = await Promise.all(pages.map(state));
  assert.deepEqual(states[1], states[0]);
  assert.deepEqual(states[2], states[0]);
  const [{ docs, all, seq }] = states;
  for (const doc of docs) {
    const acknowledged = written.flatMap(({ made }) => made.filter(([id]) => id === doc._id));
    assert.equal(doc.n, 3 * ROUNDS, `${doc._id} counts every increment`);
    assert.equal(acknowledged.length, 3 * ROUNDS);
    assert.equal(doc._conflicts, undefined);
    // One chain without a gap, and each of its revisions was acknowledged to one writer.
    assert.equal(doc._revisions.start, 3 * ROUNDS);
    const chain = doc._revisions.ids.map((id, i) => `${doc._revisions.start - i}-${id}`);
    assert.deepEqual(chain.sort(), acknowledged.map(([, rev]) => rev).sort());
  }
  assert.equal(all.total_rows, COUNTERS.length + 3 * ROUNDS);
  assert.equal(seq - before, 3 * ROUNDS * 4, 'each acknowledged write took one sequence number');
  // What is on the disk is the same as what the tabs had in memory.
  await pages[0].reload();
  await ready(pages[0]);
  await pages[0].evaluate(async () => { globalThis.db = await Database.open('contention'); });
  assert.deepEqual(await state(pages[0]), states[0]);
  await closeAll(pages);
});

// Writes documents of several kinds until it is stopped, and tells the test of each that was acknowledged.
const WRITER = async ({ name, who, until }) => {
  const db = await Database.open(name);
  const told = (what) => { acknowledge(who, what); };
  const text = (n) => `${who} ${n} `.repeat(200);
  const bytes = (n) => new Blob([text(n).repeat(40)]);
  const write = async (n) => {
    switch (n % 4) {
      case 0: { // one alone
        await db.put({ _id: `${who}:one:${n}`, n, text: text(n) });
        return told(['one', n]);
      }
      case 1: { // a batch is there whole or not at all
        const rows = await db.bulkDocs(Array.from({ length: 20 }, (_, i) => ({ _id: `${who}:batch:${n}:${i}`, n, text: text(n) })));
        if (rows.some((row) => row.error)) throw rows.find((row) => row.error);
        return told(['batch', n]);
      }
      case 2: { // with an attachment
        await db.put({ _id: `${who}:file:${n}`, n, _attachments: { f: { content_type: 'text/plain', data: bytes(n) } } });
        return told(['file', n]);
      }
      default: { // an edit of one document
        const doc = await db.get(`${who}:edited`).catch(() => ({ _id: `${who}:edited`, n: 0 }));
        const { rev } = await db.put({ ...doc, n: doc.n + 1, text: text(doc.n + 1) });
        return told(['edited', doc.n + 1, rev]);
      }
    }
  };
  for (let n = 0; n < until; n += 4) await Promise.all([write(n), write(n + 1), write(n + 2), write(n + 3)]);
};

// What is not as it must be, given what was acknowledged to each writer. Runs in a page.
const CHECK = async ({ name, acknowledged }) => {
  const db = await Database.open(name);
  const problems = [];
  const { rows } = await db.allDocs({ include_docs: true });
  const docs = new Map(rows.map((row) => [row.id, row.doc]));
  const text = (who, n) => `${who} ${n} `.repeat(200);
  for (const [who, what] of acknowledged) {
    const [kind, n] = what;
    const ids = { one: [`${who}:one:${n}`], batch: Array.from({ length: 20 }, (_, i) => `${who}:batch:${n}:${i}`), file: [`${who}:file:${n}`], edited: [`${who}:edited`] }[kind];
    for (const id of ids) if (!docs.has(id)) problems.push(`${id} was acknowledged and is lost`);
    if (kind === 'edited' && !(docs.get(ids[0])?.n >= n)) problems.push(`${ids[0]} is at ${docs.get(ids[0])?.n}, acknowledged was ${n}`);
  }
  let unacknowledged = 0;
  const known = new Set(acknowledged.map(([who, [kind, n]]) => `${who}:${kind}:${n}`));
  const batches = new Map();
  for (const [id, doc] of docs) {
    const [who, kind, n] = id.split(':');
    if (who === 'after') continue;
    if (kind === 'batch') batches.set(`${who}:${n}`, (batches.get(`${who}:${n}`) ?? 0) + 1);
    if (kind !== 'edited' && !known.has(`${who}:${kind}:${n}`)) unacknowledged += 1;
    if (kind !== 'file' && doc.text !== text(who, doc.n)) problems.push(`${id} is half there`);
    if (kind === 'file') {
      const blob = await db.getAttachment(id, 'f').catch((error) => { problems.push(`${id} has no attachment: ${error}`); });
      if (blob && await blob.text() !== text(who, doc.n).repeat(40)) problems.push(`${id} has half an attachment`);
    }
    if (kind === 'edited') {
      const { _revisions } = await db.get(id, { revs: true });
      if (_revisions.start !== doc.n || _revisions.ids.length !== doc.n) problems.push(`${id} at ${doc.n} has ${_revisions.ids.length} revisions`);
    }
  }
  for (const [batch, count] of batches) if (count !== 20) problems.push(`batch ${batch} has ${count} of 20`);
  const { results } = await db.changes();
  if (results.length !== docs.size) problems.push(`the feed has ${results.length} of ${docs.size} documents`);
  // And it goes on.
  const { rev } = await db.put({ _id: `after:${performance.now()}` });
  if (!rev) problems.push('nothing can be written any more');
  return { problems, docs: docs.size, unacknowledged };
};

test('tabs that are closed or crash in the middle lose nothing that was acknowledged', { timeout: 120_000 }, async (t) => {
  const acknowledged = [];
  const keeper = await openTab(browser, site.origin);
  await keeper.exposeFunction('acknowledge', (who, what) => { acknowledged.push([who, what]); });
  // A tab that stays and writes all the while.
  const staying = keeper.evaluate(WRITER, { name: 'killed', who: 'stays', until: 240 });
  for (let round = 0; round < 6; round += 1) {
    const page = await browser.newPage();
    await page.exposeFunction('acknowledge', (who, what) => { acknowledged.push([who, what]); });
    await openTab(browser, site.origin, { page });
    const writing = page.evaluate(WRITER, { name: 'killed', who: `w${round}`, until: 100_000 }).then(() => 'ended', () => 'killed');
    await waitFor(() => acknowledged.some(([who]) => who === `w${round}`), { what: 'the first acknowledged write', interval: 1 });
    await sleep(Math.random() * 120);
    if (round % 2) {
      const session = await browser.context.newCDPSession(page);
      const crashed = new Promise((resolve) => page.once('crash', resolve));
      session.send('Page.crash').catch(() => {});
      await crashed;
    }
    await page.close();
    assert.equal(await writing, 'killed');
  }
  await staying;
  const got = await keeper.evaluate(CHECK, { name: 'killed', acknowledged });
  t.diagnostic(`${acknowledged.length} writes acknowledged, ${got.docs} documents there, ${got.unacknowledged} of them not yet acknowledged`);
  assert.deepEqual(got.problems, []);
  browser.errors.splice(0, Infinity, ...browser.errors.filter((error) => !error.includes('the page crashed')));
  await keeper.reload();
  await ready(keeper);
  assert.deepEqual((await keeper.evaluate(CHECK, { name: 'killed', acknowledged })).problems, []);
  await keeper.close();
});

// A record in bare IndexedDB, written durably before anything is killed. Chromium, killed while a profile is young,
// at times deletes the whole folder of an origin's storage at its next start ("Creating DB … since it was missing" in
// LevelDB's LOG; bare IndexedDB written beside us is gone with it); then this record is gone too, and nothing can be
// said of what lay beside it.
const CONTROL = (write) => new Promise((resolve, reject) => {
  const opening = indexedDB.open('control', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('records');
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const database = opening.result;
    const transaction = database.transaction('records', write ? 'readwrite' : 'readonly', { durability: 'strict' });
    const request = write ? transaction.objectStore('records').put('here', 1) : transaction.objectStore('records').get(1);
    transaction.oncomplete = () => { database.close(); resolve(write || request.result === 'here'); };
    transaction.onabort = () => reject(transaction.error);
  };
});

// Answers how often Chromium had been killed when it lost everything, undefined if it never did.
async function killAgainAndAgain(t) {
  const userDataDir = mkdtempSync(path.join(tmpdir(), 'settee-killed-'));
  const acknowledged = [];
  let run;
  // What is there, or undefined where Chromium has lost everything; which it may while we look.
  const check = async (page, kills) => {
    if (kills === 0) await page.evaluate(CONTROL, true);
    const isThere = () => page.evaluate(CONTROL, false).catch(() => false);
    if (!await isThere()) return undefined;
    const got = await page.evaluate(CHECK, { name: 'power', acknowledged }).catch((error) => ({ problems: [String(error)] }));
    if (got.problems.length && !await isThere()) return undefined;
    assert.deepEqual(got.problems, [], `after ${kills} kills`);
    return got;
  };
  try {
    for (let kills = 0; kills < 4; kills += 1) {
      run = await launchBrowser({ userDataDir });
      const writers = [];
      for (let tab = 0; tab < 2; tab += 1) {
        const page = await run.newPage();
        await page.exposeFunction('acknowledge', (who, what) => { acknowledged.push([who, what]); });
        await openTab(run, site.origin, { page });
        if (!await check(page, kills)) return kills;
        writers.push(page);
      }
      const seen = acknowledged.length;
      const writing = Promise.all(writers.map((page, tab) => page.evaluate(WRITER, { name: 'power', who: `r${kills}t${tab}`, until: 100_000 }).catch(() => {})));
      await waitFor(() => acknowledged.length > seen + 4, { what: 'the first acknowledged writes', interval: 1 });
      await sleep(Math.random() * 300);
      await run.kill();
      await writing;
    }
    run = await launchBrowser({ userDataDir });
    const got = await check(await openTab(run, site.origin), 4);
    if (!got) return 4;
    t.diagnostic(`${acknowledged.length} writes acknowledged, ${got.docs} documents there, ${got.unacknowledged} of them not yet acknowledged`);
    assert.ok(acknowledged.length > 20);
    return undefined;
  } finally {
    await run?.close();
    rmSync(userDataDir, { recursive: true, force: true, maxRetries: 10 });
  }
}

test('a browser that is killed in the middle loses nothing that was acknowledged', { timeout: 300_000 }, async (t) => {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const kills = await killAgainAndAgain(t);
    if (kills === undefined) return;
    t.diagnostic(`Chromium lost all of the origin's storage after ${kills} kills; once more with a new profile`);
  }
  t.skip("Chromium lost the origin's storage three times");
});

test('a database deleted by one tab ends in the other, which can open a new one', { timeout: 60_000 }, async () => {
  const [one, two] = await tabs(2, 'deleted');
  await two.evaluate(async () => {
    await db.put({ _id: 'a', n: 1 });
    globalThis.events = [];
    db.on('destroyed', () => events.push('destroyed'));
    globalThis.feed = db.changes({ since: 0, live: true });
    feed.on('change', ({ id }) => events.push(id));
    feed.on('complete', () => events.push('complete')).on('error', (error) => events.push(error.name));
  });
  await waitFor(() => two.evaluate(() => events.includes('a')));
  assert.equal(await one.evaluate(async () => (await db.get('a')).n), 1);
  await one.evaluate(() => db.destroy());
  await waitFor(() => two.evaluate(() => feed.ended), { what: 'the other tab\'s feed ending' });
  const got = await two.evaluate(async () => {
    const failures = [];
    for (const call of [() => db.put({ _id: 'b' }), () => db.get('a'), () => db.info(), () => db.allDocs(), () => db.changes()]) failures.push(await failure(call()));
    return { failures: failures.map((error) => error && [error.isError, error.status, error.name]), events };
  });
  assert.deepEqual(got.failures, Array(5).fill([true, 0, 'store_closed']));
  assert.equal(got.events[0], 'a');
  assert.ok(got.events.includes('destroyed'), `events: ${got.events}`);
  // Both open it anew; it is empty and one for both.
  for (const page of [two, one]) await page.evaluate(async () => { globalThis.db = await Database.open('deleted'); });
  assert.deepEqual(await two.evaluate(async () => (await db.allDocs()).rows), []);
  await two.evaluate(() => db.put({ _id: 'new' }));
  assert.equal(await one.evaluate(async () => (await db.get('new'))._id), 'new');
  await closeAll([one, two]);
});

test('a tab deletes the database while another writes', { timeout: 60_000 }, async () => {
  const [one, two] = await tabs(2, 'deleted-busy');
  const writing = two.evaluate(async () => {
    for (let n = 0; ; n += 1) {
      try {
        await db.put({ _id: `a:${n}` });
        globalThis.count = n;
      } catch (error) { return { n, name: error.name, status: error.status, isError: error instanceof settee.SetteeError }; }
    }
  });
  await waitFor(() => two.evaluate(() => globalThis.count > 20));
  assert.deepEqual(await one.evaluate(() => db.destroy()), { ok: true });
  const end = await writing;
  assert.deepEqual([end.isError, end.name, end.status], [true, 'store_closed', 0]);
  // None of its writes came back to life.
  assert.equal(await one.evaluate(async () => (await (await Database.open('deleted-busy')).info()).doc_count), 0);
  await closeAll([one, two]);
});

test('site data that the browser clears is a closed database, and a new one can be opened', { timeout: 60_000 }, async () => {
  const [one, two] = await tabs(2, 'cleared');
  await one.evaluate(() => db.put({ _id: 'a' }));
  const session = await browser.context.newCDPSession(one);
  await session.send('Storage.clearDataForOrigin', { origin: site.origin, storageTypes: 'indexeddb' });
  for (const page of [one, two]) {
    const got = await page.evaluate(() => failure(db.put({ _id: 'b' })));
    assert.deepEqual([got?.isError, got?.name, got?.status], [true, 'store_closed', 0]);
  }
  for (const page of [one, two]) {
    await page.evaluate(async () => { globalThis.db = await Database.open('cleared'); });
  }
  await one.evaluate(() => db.put({ _id: 'c' }));
  assert.deepEqual(await two.evaluate(async () => (await db.allDocs()).rows.map(({ id }) => id)), ['c']);
  await closeAll([one, two]);
});

// Opens the IndexedDB database in a given version, as another Settee would; `then` says what becomes of it.
const UPGRADE = ({ name, version, then }) => new Promise((resolve, reject) => {
  const request = indexedDB.open(`settee:${name}`, version);
  request.onblocked = () => reject(new Error('blocked: another tab keeps the database'));
  request.onupgradeneeded = () => {
    if (then === 'abort') request.transaction.abort();
    else request.result.createObjectStore('of-the-future');
  };
  request.onsuccess = () => { request.result.close(); resolve(request.result.version); };
  request.onerror = (event) => { event.preventDefault(); resolve(request.error.name); };
});

test('a tab lets go of the database for another version and opens it again', { timeout: 60_000 }, async () => {
  const [one, two] = await tabs(2, 'versions');
  await one.evaluate(async () => {
    await db.put({ _id: 'a', n: 1 });
    globalThis.seen = [];
    globalThis.feed = db.changes({ since: 'now', live: true }).on('change', ({ id }) => seen.push(id));
  });
  // The upgrade begins, which closes every connection, and is given up.
  assert.equal(await two.evaluate(UPGRADE, { name: 'versions', version: 2, then: 'abort' }), 'AbortError');
  assert.equal(await one.evaluate(async () => (await db.get('a')).n), 1);
  await Promise.all([one, two].map((page, i) => page.evaluate(async (who) => {
    for (let n = 0; n < 10; n += 1) await db.put({ _id: `${who}:${n}` });
  }, i)));
  assert.equal(await two.evaluate(async () => (await db.info()).doc_count), 21);
  await waitFor(() => one.evaluate(() => seen.length === 20), { what: 'the feed going on' });

  // The connection breaks while it is being worked with.
  const busy = one.evaluate(async () => {
    for (let n = 0; n < 300; n += 1) await db.put({ _id: `busy:${n}` });
  });
  for (let i = 0; i < 5; i += 1) assert.equal(await two.evaluate(UPGRADE, { name: 'versions', version: 2, then: 'abort' }), 'AbortError');
  await busy;
  assert.equal(await two.evaluate(async () => (await db.info()).doc_count), 321);

  // A newer version that stays: nothing is read or written any more, in words.
  assert.equal(await two.evaluate(UPGRADE, { name: 'versions', version: 2, then: 'stay' }), 2);
  for (const call of [() => failure(db.put({ _id: 'b' })), () => failure(db.get('nobody'))]) {
    const got = await one.evaluate(call);
    assert.deepEqual([got?.isError, got?.name, got?.status], [true, 'schema_too_new', 0]);
    assert.match(got.reason, /newer version/);
  }
  const fresh = await openTab(browser, site.origin);
  assert.equal((await fresh.evaluate(() => failure(Database.open('versions'))))?.name, 'schema_too_new');
  await closeAll([one, two, fresh]);
});

// Reads or writes a record of the store itself.
const RAW = ({ name, store, key, value }) => new Promise((resolve, reject) => {
  const open = indexedDB.open(`settee:${name}`);
  open.onerror = () => reject(open.error);
  open.onsuccess = () => {
    const transaction = open.result.transaction(store, 'readwrite');
    const all = transaction.objectStore(store);
    let got;
    const request = key === undefined ? all.getAllKeys() : value === undefined ? all.get(key) : all.put(new Uint8Array(value), key);
    request.onsuccess = () => { got = request.result; };
    transaction.oncomplete = () => { open.result.close(); resolve(got instanceof Uint8Array ? [...got] : got); };
    transaction.onabort = () => reject(transaction.error);
  };
});

test('a newer format is refused and left as it is', { timeout: 60_000 }, async () => {
  const [one] = await tabs(1, 'newer');
  await one.evaluate(() => db.put({ _id: 'a', n: 1 }));

  // A newer Settee in another tab appends to the log while this one has it open.
  const keys = await one.evaluate(RAW, { name: 'newer', store: 'log' });
  const block = await one.evaluate(RAW, { name: 'newer', store: 'log', key: keys.at(-1) });
  await one.evaluate(RAW, { name: 'newer', store: 'log', key: keys.at(-1) + 1, value: [block[0] + 1, ...block.slice(1)] });
  const late = await one.evaluate(() => failure(db.put({ _id: 'b' })));
  assert.deepEqual([late?.isError, late?.name, late?.status], [true, 'schema_too_new', 0]);
  assert.equal(await one.evaluate(() => db.get('a').then(({ n }) => n, ({ name }) => name)), 'schema_too_new', 'nobody reads half of it');
  assert.equal((await one.evaluate(RAW, { name: 'newer', store: 'log' })).length, keys.length + 1);
  await one.close();

  // And a header of a newer format is refused before anything else.
  const [two] = await tabs(1, 'newest');
  await two.evaluate(() => db.put({ _id: 'a', n: 1 }));
  const header = JSON.parse(Buffer.from(await two.evaluate(RAW, { name: 'newest', store: 'records', key: 'header' })).toString());
  assert.equal(header.format, 2);
  await two.evaluate(RAW, { name: 'newest', store: 'records', key: 'header', value: [...Buffer.from(JSON.stringify({ ...header, format: header.format + 1 }))] });
  await two.reload();
  await ready(two);
  const got = await two.evaluate(() => failure(Database.open('newest')));
  assert.deepEqual([got?.isError, got?.name, got?.status], [true, 'schema_too_new', 0]);
  assert.match(got.reason, /newer/);
  await two.evaluate(RAW, { name: 'newest', store: 'records', key: 'header', value: [...Buffer.from(JSON.stringify(header))] });
  assert.equal(await two.evaluate(async () => (await (await Database.open('newest')).get('a')).n), 1, 'nothing was harmed');
  await two.close();
});

test('a disk that is full is insufficient_storage; reading, deleting and compacting still work', { timeout: 90_000 }, async () => {
  const run = await launchBrowser();
  try {
    const page = await openTab(run, site.origin);
    const session = await run.context.newCDPSession(page);
    // Before anything is written: the browser remembers for a while how much room there is.
    await session.send('Storage.overrideQuotaForOrigin', { origin: site.origin, quotaSize: 8_000_000 });
    await page.evaluate(async () => {
      globalThis.db = await Database.open('full');
      await db.put({ _id: 'a', n: 1, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(3_000_000).map((_, i) => i * 31) } } });
    });
    const failed = await page.evaluate(async () => {
      const written = [];
      for (let n = 0; n < 20; n += 1) {
        const data = crypto.getRandomValues(new Uint8Array(65_536));
        const bytes = new Uint8Array(1_000_000).map((_, i) => data[i % 65_536] ^ (i >> 16));
        const error = await failure(db.put({ _id: `big:${n}`, _attachments: { f: { content_type: 'x/y', data: bytes } } }));
        if (error) return { error, written };
        written.push(`big:${n}`);
      }
      return { written };
    });
    assert.deepEqual([failed.error?.isError, failed.error?.name, failed.error?.status], [true, 'insufficient_storage', 507], JSON.stringify(failed));
    assert.match(failed.error.reason, /no room left/);
    await page.reload();
    await ready(page);
    const rest = await page.evaluate(async (written) => {
      globalThis.db = await Database.open('full');
      const ids = (await db.allDocs()).rows.map(({ id }) => id);
      const { size } = await db.getAttachment('a', 'f');
      for (const id of [...written, 'a']) await db.remove(await db.get(id));
      await db.compact();
      return { ids, size };
    }, failed.written);
    assert.deepEqual(rest, { ids: ['a', ...failed.written], size: 3_000_000 });
    // There is room again once the browser has taken note.
    await waitFor(() => page.evaluate(async () => (await db.put({ _id: `small:${Math.random()}`, _attachments: { f: { content_type: 'x/y', data: crypto.getRandomValues(new Uint8Array(60_000)) } } })).ok),
      { what: 'writing again after compaction', timeout: 20_000, interval: 500 });
  } finally { await run.close(); }
});
