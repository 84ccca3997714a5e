// `find` and its indexes in a real browser over IndexedDB: what is found, by whom, for how long.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, waitFor } from './lib/index.mjs';
import { createVault, openDevice } from './lib/devices.mjs';
import { kind } from './lib/kind.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const here = stage({ site: () => startSite(), browser: () => launchBrowser() });
const NO_INDEX = 'No matching index found, create an index to optimize query time.';

const open = async (name) => {
  const page = await openTab(here.browser, here.site.origin);
  await page.evaluate(async (called) => {
    globalThis.db = await Database.open(called);
    globalThis.ids = async (request) => (await db.find(request)).docs.map(({ _id }) => _id);
  }, name);
  return page;
};

test('documents are found by what is in them, with an index and without', { timeout: 60_000 }, async () => {
  const page = await open('found');
  const got = await page.evaluate(async () => {
    const photos = Array.from({ length: 700 }, (_, n) => ({ _id: `photo:${String(n).padStart(3, '0')}`, type: 'photo', n, album: `album ${n % 7}` }));
    await db.bulkDocs([...photos, { _id: 'album:1', type: 'album', in: { a: { place: 'Oslo' } } }]);
    const { _rev } = await db.get('photo:010');
    await db.remove('photo:010', _rev);
    const picked = { selector: { type: 'photo', n: { $gte: 8, $lt: 12 } } };
    const sorted = { selector: { album: 'album 3' }, sort: [{ n: 'desc' }], limit: 2, skip: 1, fields: ['n', 'album'] };
    const scan = [await db.find(picked), await db.find(sorted)];
    const made = [await db.createIndex({ index: { fields: ['n'] }, ddoc: 'numbers', name: 'n' }), await db.createIndex({ index: { fields: ['album', 'n'] } })];
    const again = await db.createIndex({ index: { fields: ['n'] }, ddoc: 'numbers', name: 'n' });
    const indexed = [await db.find(picked), await db.find(sorted)];
    return {
      scan, indexed, made, again, list: await db.getIndexes(), all: (await db.find({ selector: {} })).docs.length,
      part: await db.find({ selector: { type: 'album' }, fields: ['in.a.place'] }), doc: (await db.find({ selector: { _id: 'photo:009' } })).docs[0], get: await db.get('photo:009'),
      dropped: await db.deleteIndex({ ddoc: '_design/numbers', name: 'n', type: 'json' }), left: (await db.getIndexes()).total_rows,
    };
  });
  const numbers = ({ docs }) => docs.map(({ n }) => n);
  for (const [picked, sorted] of [got.scan, got.indexed]) {
    assert.deepEqual(numbers(picked), [8, 9, 11]);
    assert.deepEqual(sorted.docs, [{ n: 689, album: 'album 3' }, { n: 682, album: 'album 3' }]);
  }
  assert.deepEqual(got.scan.map(({ warning }) => warning), [NO_INDEX, `${NO_INDEX}\nNo index exists for this sort, try indexing by the sort fields.`]);
  assert.deepEqual(got.indexed.map((answer) => Object.keys(answer)), [['docs'], ['docs']]);
  assert.deepEqual(got.made[0], { result: 'created', id: '_design/numbers', name: 'n' });
  assert.equal(got.again.result, 'exists');
  assert.deepEqual([got.list.total_rows, got.list.indexes[0].name, got.list.indexes[1].def.fields], [3, '_all_docs', [{ album: 'asc' }, { n: 'asc' }]]);
  assert.deepEqual(got.list.indexes[2], { ddoc: '_design/numbers', name: 'n', type: 'json', def: { fields: [{ n: 'asc' }] } });
  assert.equal(got.all, 700, 'all of them: there is no limit unless one is given');
  assert.deepEqual(got.part.docs, [{ in: { a: { place: 'Oslo' } } }]);
  assert.deepEqual(got.doc, got.get);
  assert.deepEqual([got.dropped, got.left], [{ ok: true }, 2]);
  // An index ends with the page; the documents do not.
  const next = await open('found');
  await page.close();
  const after = await next.evaluate(async () => [(await db.getIndexes()).total_rows, (await db.find({ selector: { n: 9 } })).docs.length]);
  assert.deepEqual(after, [1, 1]);
  await next.close();
});

test('an index knows at once what another tab wrote and what a replication brought', { timeout: 60_000 }, async () => {
  const [one, other] = [await open('told'), await open('told')];
  const request = { selector: { n: { $gt: 0 } }, sort: ['n'] };
  await one.evaluate(async (asked) => {
    await db.createIndex({ index: { fields: ['n'] } });
    await db.put({ _id: 'mine', n: 2 });
    globalThis.first = await ids(asked);
  }, request);
  const rev = await other.evaluate(async () => (await db.put({ _id: 'theirs', n: 1 })).rev);
  assert.deepEqual(await one.evaluate((asked) => ids(asked), request), ['theirs', 'mine']);
  await other.evaluate(async (last) => db.remove('theirs', last), rev);
  assert.deepEqual(await one.evaluate((asked) => ids(asked), request), ['mine']);
  const brought = await one.evaluate(async (asked) => {
    const copy = await Database.open('told elsewhere', db.sealed ? { copyOf: db } : {});
    await db.replicate.to(copy);
    const doc = await copy.get('mine');
    await copy.bulkDocs([{ ...doc, n: 9 }, { _id: 'new', n: 5 }]);
    await db.replicate.from(copy);
    return ids(asked);
  }, request);
  assert.deepEqual(brought, ['new', 'mine']);
  await Promise.all([one.close(), other.close()]);
});

test('a live feed with a selector is how a page listens', { timeout: 60_000 }, async () => {
  const [one, other] = [await open('heard'), await open('heard')];
  await one.evaluate(() => {
    globalThis.heard = [];
    globalThis.feed = db.changes({ live: true, since: 'now', include_docs: true, selector: { type: 'photo', n: { $gt: 1 } } })
      .on('change', ({ id, doc }) => heard.push([id, doc.n]));
  });
  await other.evaluate(() => db.bulkDocs([{ _id: 'a', type: 'photo', n: 1 }, { _id: 'b', type: 'photo', n: 2 }, { _id: 'c', type: 'album', n: 3 }, { _id: 'd', type: 'photo', n: 4 }]));
  await waitFor(() => one.evaluate(() => heard.length >= 2), { what: 'two changes' });
  assert.deepEqual(await one.evaluate(() => heard), [['b', 2], ['d', 4]]);
  await Promise.all([one.close(), other.close()]);
});

test('what makes no sense is refused as CouchDB refuses it', { timeout: 60_000 }, async () => {
  const page = await open('refused');
  const errors = await page.evaluate(async () => {
    const cyclic = {};
    cyclic.selector = cyclic;
    const asked = [
      undefined, null, 5, 'a', [], {}, { selector: 5 }, { selector: { a: { $none: 1 } } }, { selector: {}, limit: -1 }, { selector: {}, sort: 'a' },
      { selector: {}, sort: ['a', { b: 'desc' }] }, { selector: {}, fields: 'a' }, { selector: {}, live: true }, { selector: {}, use_index: 5 }, cyclic,
      { selector: { a: '\ud800' } }, { selector: () => true }, { selector: { a: 1n } },
    ];
    const of = async (promise) => { const error = await failure(promise); return [error?.status, error?.name, error?.isError]; };
    return {
      find: await Promise.all(asked.map((request) => of(db.find(request)))),
      index: await Promise.all([undefined, 5, {}, { index: {} }, { index: { fields: [] } }, { index: { fields: ['a'] }, type: 'text' }].map((index) => of(db.createIndex(index)))),
      drop: await Promise.all([undefined, {}, { ddoc: 'a', name: 'b' }].map((index) => of(db.deleteIndex(index)))),
      null: (await db.find({ selector: {}, limit: null, sort: undefined })).docs.length,
    };
  });
  const bad = (...names) => names.map((name) => [400, name, true]);
  assert.deepEqual(errors.find, bad(
    'bad_request', 'bad_request', 'bad_request', 'bad_request', 'bad_request', 'missing_required_key', 'invalid_selector_json', 'invalid_operator', 'invalid_non_neg_integer',
    'invalid_sort_json', 'unsupported_mixed_sort', 'invalid_fields', 'invalid_key', 'invalid_index_name', 'bad_request', 'bad_request', 'bad_request', 'bad_request',
  ));
  assert.deepEqual(errors.index, bad('bad_request', 'bad_request', 'missing_required_key', 'missing_required_key', 'invalid_index', 'invalid_index'));
  assert.deepEqual(errors.drop, [...bad('bad_request', 'missing_required_key'), [404, 'not_found', true]]);
  assert.equal(errors.null, 0);
  await page.evaluate(() => db.close());
  assert.equal(await page.evaluate(async () => (await failure(db.find({ selector: {} }))).name), 'store_closed');
  await page.close();
});

if (kind.sealed) {
  test('a channel that is locked, here or in another tab, finds nothing; unlocked it is indexed anew', { timeout: 60_000 }, async () => {
    const browser = await launchBrowser();
    try {
      const one = await openDevice(browser, here.site.origin);
      await createVault(one);
      const begin = async (page) => page.evaluate(async () => {
        globalThis.Database = settee.Database; // with a vault of its own
        globalThis.vault ??= await Vault.unlock({ passphrase: 'of the first device' });
        globalThis.db = await begin('secret');
        await db.createIndex({ index: { fields: ['n'] } });
        globalThis.ids = async () => (await db.find({ selector: { n: { $gt: 1 } } })).docs.map(({ _id }) => _id);
      });
      await begin(one);
      await one.evaluate(() => db.bulkDocs([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]));
      const other = await openDevice(browser, here.site.origin);
      await begin(other);
      assert.deepEqual(await Promise.all([one, other].map((page) => page.evaluate(() => ids()))), [['b'], ['b']]);
      await other.evaluate(() => vault.lock());
      await waitFor(() => one.evaluate(() => db.locked), { what: 'the lock in the other tab' });
      for (const page of [one, other]) {
        assert.equal((await page.evaluate(() => failure(db.find({ selector: { n: 2 } })))).name, 'locked');
        assert.equal((await page.evaluate(() => failure(db.get('a')))).name, 'locked');
      }
      await one.evaluate(async () => {
        await Vault.unlock({ passphrase: 'of the first device' });
      });
      assert.deepEqual(await one.evaluate(async () => [(await db.getIndexes()).total_rows, await ids(), (await db.find({ selector: { n: 2 } })).warning ?? null]), [2, ['b'], null]);
    } finally {
      await browser.close();
    }
  });
}
