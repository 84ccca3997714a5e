// `liveFind` in a real browser over IndexedDB: what it finds, whoever wrote; how often it looks; how it ends.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, waitFor } from './lib/index.mjs';
import { createVault, openDevice } from './lib/devices.mjs';
import { kind } from './lib/kind.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const here = stage({ site: () => startSite(), browser: () => launchBrowser() });

// A page with `db`; `listen(request)`, which gives `{ live }` (it can be awaited, so not by itself), a live query with all
// its updates in `told` and its first one there; and `until(isTrue)`. Counts what nobody handled.
const open = async (name) => {
  const page = await openTab(here.browser, here.site.origin);
  await page.evaluate(async (called) => {
    globalThis.unhandled = 0;
    addEventListener('unhandledrejection', () => { unhandled += 1; });
    globalThis.db = await Database.open(called);
    globalThis.until = async (isTrue) => {
      for (const end = performance.now() + 20_000; !await isTrue();) {
        if (performance.now() > end) throw new Error(`not within 20 s: ${isTrue}`);
        await new Promise((resolve) => { setTimeout(resolve, 5); });
      }
    };
    globalThis.idsOf = (docs) => docs.map(({ _id }) => _id);
    globalThis.listen = async (request) => {
      const live = db.liveFind(request);
      live.told = [];
      live.on('update', (update) => live.told.push(update));
      await until(() => live.told.length || live.ended);
      return { live };
    };
    globalThis.plain = ({ told }) => told.map(({ docs, added, removed, changed }) => [docs, added, removed, changed].map(idsOf));
  }, name);
  return page;
};

test('a live query tells its result, and what is different whenever it is another one', { timeout: 60_000 }, async () => {
  const page = await open('kept up');
  const got = await page.evaluate(async () => {
    const [{ rev }] = await db.bulkDocs([{ _id: 'a', type: 'photo', n: 1 }, { _id: 'b', type: 'photo', n: 2 }, { _id: 'c', type: 'album', n: 3 }]);
    const { live } = await listen({ selector: { type: 'photo' }, sort: ['n'] });
    const steps = [
      () => db.put({ _id: 'd', type: 'photo', n: 0 }),
      () => db.put({ _id: 'a', _rev: rev, type: 'photo', n: 9 }),
      async () => db.put({ ...await db.get('b'), type: 'album' }),
      async () => db.put({ ...await db.get('c'), type: 'photo' }),
      async () => db.remove(await db.get('d')),
    ];
    for (const [at, step] of steps.entries()) {
      await step();
      await until(() => live.told.length === at + 2);
    }
    // Neither was of it before, nor is now.
    await db.bulkDocs([{ _id: 'e', type: 'album', n: 5 }, { _id: 'f', n: 5 }]);
    await db.put({ ...await db.get('f'), n: 6 });
    await db.put({ _id: 'g', type: 'photo', n: 7 });
    await until(() => live.docs.length === 3);
    const isSame = live.told.at(-1).docs.at(-1) === live.told[2].docs.at(-1);
    const isFrozen = Object.values(live.told[0]).every((value) => !Array.isArray(value) || Object.isFrozen(value)) && live.docs === live.told.at(-1).docs;
    return { told: plain(live), isSame, isFrozen, doc: live.docs[0], get: await db.get('c'), warning: live.told[0].warning };
  });
  assert.deepEqual(got.told, [
    [['a', 'b'], ['a', 'b'], [], []],
    [['d', 'a', 'b'], ['d'], [], []],
    [['d', 'b', 'a'], [], [], ['a']],
    [['d', 'a'], [], ['b'], []],
    [['d', 'c', 'a'], ['c'], [], []],
    [['c', 'a'], [], ['d'], []],
    [['c', 'g', 'a'], ['g'], [], []],
  ]);
  assert.deepEqual(got.doc, got.get);
  assert.equal(got.isSame, true, 'what did not change is the same object');
  assert.equal(got.isFrozen, true);
  assert.match(got.warning, /^No matching index found/);
  await page.close();
});

test('a limit is a window: what moves in pushes another out, what goes makes room', { timeout: 60_000 }, async () => {
  const page = await open('window');
  const got = await page.evaluate(async () => {
    await db.createIndex({ index: { fields: ['n'] } });
    await db.bulkDocs([10, 20, 30, 40, 50].map((n) => ({ _id: `n${n}`, n })));
    const asked = { selector: { n: { $gt: 0 } }, sort: ['n'], limit: 2, skip: 1 };
    const { live } = await listen({ ...asked, fields: ['n'] });
    const { live: first } = await listen({ ...asked, skip: null });
    const all = [];
    const step = async (write, [count, firstCount]) => {
      await write;
      await until(() => live.told.length === count && first.told.length === firstCount);
      all.push(live.docs.map(({ n }) => n), first.docs.map(({ n }) => n));
    };
    await step(0, [1, 1]);
    await step(db.put({ _id: 'n15', n: 15 }), [2, 2]);
    await step(db.put({ _id: 'n5', n: 5 }), [3, 3]);
    await step(db.get('n10').then((doc) => db.remove(doc)), [4, 4]);
    await step(db.get('n5').then((doc) => db.put({ ...doc, n: 45 })), [5, 5]);
    await step(db.get('n15').then((doc) => db.remove(doc)), [6, 6]); // one that is skipped
    return { all, told: live.told.at(-1), warning: first.told[0].warning ?? null };
  });
  assert.deepEqual(got.all, [
    [20, 30], [10, 20],
    [15, 20], [10, 15],
    [10, 15], [5, 10],
    [15, 20], [5, 15],
    [20, 30], [15, 20],
    [30, 40], [20, 30],
  ]);
  assert.deepEqual(got.told, { docs: [{ n: 30 }, { n: 40 }], added: [{ n: 40 }], removed: [{ n: 20 }], changed: [] }, 'just the fields asked for');
  assert.equal(got.warning, null);
  await page.close();
});

test('what another tab writes and what a replication brings is told, another winner too', { timeout: 60_000 }, async () => {
  const [one, other] = [await open('from elsewhere'), await open('from elsewhere')];
  await one.evaluate(async () => {
    globalThis.live = (await listen({ selector: { n: { $gt: 0 } }, sort: ['n'] })).live;
  });
  await other.evaluate(() => db.bulkDocs([{ _id: 'theirs', n: 1 }, { _id: 'not theirs', n: -1 }]));
  await waitFor(() => one.evaluate(() => live.docs.length === 1), { what: 'what the other tab wrote' });
  const got = await one.evaluate(async () => {
    const copy = await Database.open('from elsewhere, a copy', db.sealed ? { copyOf: db } : {});
    await db.replicate.to(copy);
    for (const n of [5, 7]) await copy.put({ ...await copy.get('theirs'), n });
    await copy.put({ _id: 'new', n: 3 });
    await db.put({ ...await db.get('theirs'), n: 2 });
    await until(() => live.docs[0].n === 2);
    await db.replicate.from(copy); // its branch is the longer one
    await until(() => live.docs.length === 2 && live.docs[1].n === 7);
    const { _rev, _conflicts } = await db.get('theirs', { conflicts: true });
    await db.remove('theirs', _rev);
    await until(() => live.docs[0].n === 2);
    return { docs: live.docs.map(({ _id, _rev: rev, n }) => [_id, rev === _conflicts[0], n]) };
  });
  assert.deepEqual(got.docs, [['theirs', true, 2], ['new', false, 3]]);
  await Promise.all([one.close(), other.close()]);
});

test('what is written while it looks is not lost', { timeout: 60_000 }, async () => {
  const page = await open('meanwhile');
  const got = await page.evaluate(async () => {
    const find = db.find.bind(db);
    const left = ['a', 'b', 'c', 'd'];
    const heard = [];
    db.changes({ live: true, since: 'now' }).on('change', ({ id }) => heard.push(id));
    db.find = async (request) => {
      const found = await find(request);
      const _id = left.shift();
      if (_id) { // by the time that it is told what it found, there is more
        await db.put({ _id, n: 1 });
        await until(() => heard.includes(_id));
        await new Promise((resolve) => { setTimeout(resolve); });
      }
      return found;
    };
    const live = db.liveFind({ selector: { n: 1 } }).on('update', () => {});
    await until(() => live.docs.length === 4 && !left.length);
    return idsOf(live.docs);
  });
  assert.deepEqual(got, ['a', 'b', 'c', 'd']);
  await page.close();
});

test('a burst is one look or a few, and what does not matter is none', { timeout: 120_000 }, async () => {
  const page = await open('burst');
  const got = await page.evaluate(async () => {
    const find = db.find.bind(db);
    const finds = [];
    db.find = (request) => {
      finds.push(request);
      return find(request);
    };
    const { live } = await listen({ selector: { type: 'photo' }, fields: ['_id'] });
    const before = finds.length;
    await db.bulkDocs(Array.from({ length: 1000 }, (_, n) => ({ _id: `p${n}`, type: 'photo' })));
    await until(() => live.docs.length === 1000);
    const bulk = [finds.length - before, live.told.length];
    await Promise.all(Array.from({ length: 1000 }, (_, n) => db.put({ _id: `q${n}`, type: 'photo' })));
    await until(() => live.docs.length === 2000);
    const puts = [finds.length - before, live.told.length];
    // Another live query hears of the same; when it told, this one has been told as well, or has nothing to tell.
    const { live: notes } = await listen({ selector: { type: 'note' } });
    finds.length = 0;
    await db.bulkDocs(Array.from({ length: 100 }, (_, n) => ({ _id: `n${n}`, type: 'note' })));
    await until(() => notes.docs.length === 100 && finds.some(({ selector }) => selector.$and?.[1].type === 'photo'));
    const full = finds.filter(({ selector }) => selector.type === 'photo').length;
    return { bulk, puts, full, told: live.told.length };
  });
  assert.ok(got.bulk[0] <= 10 && got.bulk[1] <= 6, `a bulk: ${got.bulk} finds and updates`);
  assert.ok(got.puts[0] <= 100, `a thousand puts at once: ${got.puts} finds and updates`);
  assert.equal(got.full, 0, 'notes are looked at, and not all photos');
  assert.equal(got.told, got.puts[1]);
  await page.close();
});

test('whatever happens, the result is what find gives, and the updates add up to it', { timeout: 180_000 }, async () => {
  const page = await open('random');
  const got = await page.evaluate(async () => {
    let state = 20_261_122;
    const random = (below) => { // a linear congruential generator: the same run each time
      state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
      return Math.floor((state / 4_294_967_296) * below);
    };
    const requests = [
      { selector: {} },
      { selector: { n: { $gt: 3 } }, sort: ['n'] },
      { selector: { n: { $lt: 8 } }, sort: [{ n: 'desc' }], limit: 5 },
      { selector: { type: 'b' }, sort: ['n'], limit: 4, skip: 3 },
      { selector: { type: 'a' }, limit: 6 },
      { selector: { type: { $in: ['a', 'c'] }, m: { $gt: 2 } }, sort: ['m'], limit: 7 },
      { selector: { _id: { $gte: 'd2', $lt: 'd6' } }, fields: ['_rev', 'n'] },
      { selector: { $or: [{ n: 1 }, { m: { $exists: false } }] }, sort: ['_id'] },
      { selector: { n: 5 }, limit: 0 },
    ];
    await db.createIndex({ index: { fields: ['n'] } });
    const write = async () => {
      const docs = [];
      for (let left = 1 + random(random(4) ? 2 : 40); left; left -= 1) {
        const id = `d${random(90)}`;
        if (docs.some(({ _id }) => _id === id)) continue;
        const current = await db.get(id).catch(() => {});
        const doc = { _id: id, _rev: current?._rev, n: random(10), type: 'abc'[random(3)] };
        if (random(4)) doc.m = random(9);
        if (current && !random(4)) doc._deleted = true;
        docs.push(doc);
      }
      return db.bulkDocs(docs);
    };
    await write();
    const lives = requests.map((request) => {
      const live = db.liveFind(request);
      live.told = [];
      return live.on('update', (update) => live.told.push(update));
    });
    for (let round = 0; round < 60; round += 1) {
      const writing = write();
      if (random(2)) await writing;
      if (!random(5)) await new Promise((resolve) => { setTimeout(resolve, random(60)); });
      await writing;
    }
    const problems = [];
    const text = (docs) => JSON.stringify(docs);
    for (const [at, live] of lives.entries()) {
      const { docs } = await db.find(requests[at]);
      await until(() => live.told.length && text(live.docs) === text(docs)).catch(() => problems.push([text(requests[at]), text(live.docs), text(docs)]));
      let before = [];
      for (const { docs: after, added, removed, changed } of live.told) {
        const kept = before.filter((doc) => !removed.includes(doc));
        const isRight = removed.every((doc) => before.includes(doc)) && added.every((doc) => after.includes(doc) && !before.includes(doc))
          && changed.every((doc) => after.includes(doc) && !before.includes(doc)) && after.length === kept.length + added.length
          && after.filter((doc) => !before.includes(doc)).length === added.length + changed.length;
        if (!isRight) problems.push(['does not add up', text(requests[at])]);
        before = after;
      }
    }
    return { problems, told: lives.map(({ told }) => told.length), unhandled };
  });
  assert.deepEqual(got.problems, []);
  assert.equal(got.unhandled, 0);
  assert.ok(got.told.slice(0, -1).every((count) => count > 5), `each was told of changes: ${got.told}`);
  assert.equal(got.told.at(-1), 1, 'a limit of none finds nothing, once');
  await page.close();
});

test('an iterator reads at its own pace: what changes between two reads comes as one', { timeout: 60_000 }, async () => {
  const page = await open('iterated');
  const got = await page.evaluate(async () => {
    const seen = [];
    const live = db.liveFind({ selector: { n: { $gt: 0 } }, sort: ['n'] });
    for await (const { docs, added, removed } of live) {
      seen.push([idsOf(docs), idsOf(added), idsOf(removed)]);
      if (seen.length === 1) for (const n of [1, 2, 3]) await db.put({ _id: `n${n}`, n });
      if (docs.length === 3) break;
    }
    const { live: late } = await listen({ selector: { n: { $gt: 1 } } });
    let joined;
    for await (const update of late) {
      joined = [idsOf(update.docs), idsOf(update.added)];
      break;
    }
    return { seen, ended: live.ended, result: await live, joined, lateEnded: late.ended, unhandled };
  });
  assert.deepEqual(got.seen[0], [[], [], []]);
  assert.deepEqual(got.seen.slice(1).flatMap(([, added]) => added), ['n1', 'n2', 'n3']);
  assert.deepEqual(got.seen.at(-1)[0], ['n1', 'n2', 'n3']);
  assert.ok(got.seen.length <= 3, 'not one by one');
  assert.deepEqual([got.ended, got.result.status, got.result.docs.length], [true, 'cancelled', 3]);
  assert.deepEqual(got.joined, [['n2', 'n3'], ['n2', 'n3']], 'who comes later is told what there is');
  assert.deepEqual([got.lateEnded, got.unhandled], [true, 0]);
  await page.close();
});

test('it ends by cancel, by its signal, with the database, and is silent from then on', { timeout: 60_000 }, async () => {
  const [page, other] = [await open('ended'), await open('ended')];
  const got = await page.evaluate(async () => {
    await db.put({ _id: 'a', n: 1 });
    const request = { selector: { n: { $gt: 0 } } };
    const { live: watched } = await listen(request);
    const abort = new AbortController();
    const { live: signalled } = await listen({ ...request, signal: abort.signal });
    const { live: cancelled } = await listen(request);
    const events = [];
    for (const event of ['update', 'complete', 'error']) cancelled.on(event, () => events.push(event));
    cancelled.cancel();
    cancelled.cancel();
    abort.abort();
    const never = db.liveFind(request);
    never.cancel();
    const atOnce = db.liveFind(request).on('update', () => events.push('too late'));
    atOnce.cancel(); // while it is loaded
    for await (const update of never) events.push(update);
    await db.put({ _id: 'b', n: 2 });
    await until(() => watched.docs.length === 2);
    globalThis.watched = watched;
    return {
      events, ended: [cancelled, signalled, never, atOnce].map((live) => [live.ended, live.cancelled, live.docs.length]),
      results: (await Promise.all([cancelled, signalled, never, atOnce])).map(({ status }) => status), watched: watched.ended,
    };
  });
  assert.deepEqual(got.events, ['complete']);
  assert.deepEqual(got.ended, [[true, true, 1], [true, true, 1], [true, true, 0], [true, true, 0]]);
  assert.deepEqual(got.results, Array(4).fill('cancelled'));
  assert.equal(got.watched, false);
  const closed = await page.evaluate(async () => {
    await db.close();
    const { status, docs } = await watched;
    db = await Database.open('ended');
    globalThis.again = (await listen({ selector: {} })).live;
    return [status, docs.length, watched.cancelled];
  });
  assert.deepEqual(closed, ['cancelled', 2, true]);
  await other.evaluate(() => db.destroy());
  assert.equal(await page.evaluate(async () => (await again).status), 'cancelled');
  assert.equal(await page.evaluate(() => unhandled), 0);
  await Promise.all([page.close(), other.close()]);
});

test('what makes no sense is told as an error, as find refuses it', { timeout: 60_000 }, async () => {
  const page = await open('refused live');
  const got = await page.evaluate(async () => {
    const cyclic = { selector: {} };
    cyclic.selector.a = cyclic;
    const asked = [undefined, null, 5, [], {}, { selector: 5 }, { selector: { a: { $none: 1 } } }, { selector: {}, limit: -1 }, { selector: {}, skip: 'a' },
      { selector: {}, fields: 'a' }, { selector: {}, fields: [5] }, { selector: {}, live: true }, { selector: { a: 1n } }, cyclic];
    const caught = async (request) => {
      const events = [];
      db.liveFind(request).on('error', ({ name, status, reason }) => events.push([status, name, typeof reason])).on('update', () => events.push('update'));
      await until(() => events.length);
      const iterated = await failure((async () => { for await (const update of db.liveFind(request)) return update; })());
      const awaited = await failure(db.liveFind(request));
      return [...events, iterated.name, awaited.name];
    };
    const errors = [];
    for (const request of asked) errors.push(await caught(request));
    db.liveFind({ selector: 5 }).on('update', () => {}); // nobody handles its error
    // A listener that throws disturbs nobody.
    let reported = 0;
    addEventListener('error', (event) => { reported += 1; event.preventDefault(); });
    const live = db.liveFind({ selector: {} }).on('update', () => { throw new Error('of the listener'); });
    await db.put({ _id: 'a' });
    await until(() => live.docs.length === 1);
    await db.close();
    return { errors, reported, closed: await caught({ selector: {} }), unhandled };
  });
  const bad = (...names) => names.map((name) => [[400, name, 'string'], name, name]);
  assert.deepEqual(got.errors, bad(
    'missing_required_key', 'missing_required_key', 'missing_required_key', 'missing_required_key', 'missing_required_key', 'invalid_selector_json', 'invalid_operator',
    'invalid_non_neg_integer', 'invalid_non_neg_integer', 'invalid_fields', 'invalid_field', 'invalid_key', 'bad_request', 'bad_request',
  ));
  assert.deepEqual(got.closed, [[0, 'store_closed', 'string'], 'store_closed', 'store_closed']);
  assert.ok(got.reported >= 1);
  assert.equal(got.unhandled, 0);
  await page.close();
});

if (kind.sealed) {
  test('a lock, here or in another tab, ends it and leaves nothing; unlocked, a new one finds the same', { timeout: 60_000 }, async () => {
    const browser = await launchBrowser();
    try {
      const [one, other] = [await openDevice(browser, here.site.origin), await openDevice(browser, here.site.origin)];
      await createVault(one);
      for (const page of [one, other]) {
        await page.evaluate(async () => {
          globalThis.Database = settee.Database; // with a vault of its own
          globalThis.vault ??= await Vault.unlock({ passphrase: 'of the first device' });
          globalThis.db = await begin('secret');
          globalThis.unhandled = 0;
          addEventListener('unhandledrejection', () => { unhandled += 1; });
          globalThis.told = [];
          globalThis.listen = () => {
            globalThis.live = db.liveFind({ selector: { n: { $gt: 1 } } });
            live.on('update', ({ docs }) => told.push(docs.map(({ _id }) => _id)));
            live.on('error', ({ name }) => told.push([name, live.docs.length]));
          };
          listen();
        });
      }
      await one.evaluate(() => db.bulkDocs([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]));
      for (const page of [one, other]) await waitFor(() => page.evaluate(() => live.docs.length === 1), { what: 'the first result' });
      await other.evaluate(() => vault.lock());
      for (const page of [one, other]) {
        await waitFor(() => page.evaluate(() => live.ended), { what: 'the lock to end it' });
        assert.deepEqual(await page.evaluate(() => told.at(-1)), ['locked', 0]);
        const locked = await page.evaluate(async () => {
          const { name } = await Promise.resolve(db.liveFind({ selector: {} })).catch((error) => error);
          return [name, unhandled];
        });
        assert.deepEqual(locked, ['locked', 0]);
      }
      // As a page does it: it asks anew when the database is unlocked.
      await one.evaluate(async () => {
        db.on('unlocked', listen);
        await Vault.unlock({ passphrase: 'of the first device' });
      });
      await waitFor(() => one.evaluate(() => live.docs.length === 1), { what: 'the result after unlocking' });
      await one.evaluate(() => db.put({ _id: 'c', n: 3 }));
      await waitFor(() => one.evaluate(() => live.docs.length === 2), { what: 'an update after unlocking' });
    } finally {
      await browser.close();
    }
  });
}
