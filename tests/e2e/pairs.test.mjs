// Every kind of database with every other, each as source and as target, once and live, through the cases of CouchDB's own
// tests of its replicator (test/elixir/test/replication_test.exs and src/couch_replicator/test/eunit of 3.5.0).
//
//   node --test --test-name-pattern='memory → http' tests/e2e/pairs.test.mjs
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { inPage, onServer, openHouse, sealedOnServer } from './lib/ends.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { seeded, startFaultProxy } from './lib/proxy.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';
import { bytesOf } from './lib/world.mjs';

const here = stage({
  couch: () => startCouch(),
  proxy: ({ couch }) => startFaultProxy(couch, { keep: true }),
  site: () => startSite(),
  browser: () => launchBrowser(),
  async page({ browser, site }) {
    const page = await openTab(browser, site.origin);
    await openHouse(page);
    return page;
  },
});
after(() => assert.deepEqual(here.browser.errors, []));

const KINDS = ['memory', 'indexeddb', 'http'];

// `channel` is the other side, if it has one that both are to hold.
async function make(storage, options = {}, channel = undefined) {
  const { couch, proxy, page } = here;
  if (storage !== 'http') return inPage(page, storage, `pairs-${randomUUID()}`, { ...options, ...channel && { copyOf: channel.local } });
  const name = await couch.create('pairs');
  if (options.revs_limit) await couch.must('PUT', `/${name}/_revs_limit`, String(options.revs_limit));
  return kind.sealed ? sealedOnServer(page, couch, name, proxy.dbUrl(name), channel) : onServer(couch, name, proxy.dbUrl(name));
}

// Replicates once: the summary, or what it failed with.
const replicate = ({ page }, source, target, options = {}) => page.evaluate(async ([from, to, given]) => {
  const denied = [];
  const task = Database.replicate(end(from), end(to), given);
  task.on('denied', ({ id, name, status }) => denied.push([id, name, status]));
  const failed = (error) => ({ failed: { isOurs: error instanceof settee.SetteeError, name: error.name, status: error.status, reason: error.reason } });
  return { ...await task.then((summary) => summary, failed), denied: denied.sort() };
}, [source.end, target.end, options]);

// Whether each leaf of one is a leaf of the other, or has been followed by one there.
async function hasAll(source, target) {
  const [one, other] = [await source.leaves(), await target.leaves()];
  return Object.entries(one).every(([id, revs]) => revs.every((mine) => (
    other[id]?.some((theirs) => theirs === mine || Number.parseInt(theirs, 10) > Number.parseInt(mine, 10)))));
}

// Two databases, and what brings one's documents to the other: `go({ read, written })` once, or by a live replication
// that goes on until the test ends.
//
// `written` is how many revisions have to go over in this step, `more: true` if in a live one it may be some more, as each
// step of a document may go over by itself.
async function pairOf(t, [from, to], isLive, options = {}, sides = {}) {
  const { page } = here;
  const source = await make(from, sides.source);
  const target = await make(to, sides.target, kind.sealed ? source : undefined);
  let written = 0;
  const key = `task-${randomUUID()}`;
  t.after(() => page.evaluate(async (name) => {
    globalThis[name]?.cancel();
    await globalThis[name];
    await house.destroyAll();
  }, key));

  async function once(expected) {
    const result = await replicate(here, source, target, options);
    assert.deepEqual(result.failed, undefined);
    assert.deepEqual([result.ok, result.status, result.doc_write_failures, result.errors], [true, 'complete', 0, []]);
    assert.deepEqual([result.docs_read, result.docs_written], [expected, expected]);
  }
  async function live(expected, { more = false } = {}) {
    await page.evaluate(([name, a, b, given]) => {
      globalThis[name] ??= Database.replicate(end(a), end(b), { ...given, live: true, leader: false });
    }, [key, source.end, target.end, options]);
    written += expected;
    const read = () => page.evaluate((name) => globalThis[name].status, key);
    const isThere = ({ phase, pending, docsWritten }) => phase === 'live' && pending === 0 && docsWritten >= written;
    const status = await waitFor(async () => {
      const now = await read();
      return isThere(now) && await hasAll(source, target) && now;
    }, { what: `${written} revisions being there` }).catch(async (error) => {
      throw Object.assign(error, { message: `${error.message}: ${JSON.stringify(await read())}` });
    });
    if (more) written = status.docsWritten;
    assert.deepEqual([status.docsRead, status.docsWritten, status.docWriteFailures, status.error], [written, written, 0, null]);
  }
  return { source, target, go: isLive ? live : once };
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => ({ _id: String(n + from), integer: n + from, string: String(n + from) }));
const base64 = (text) => Buffer.from(text).toString('base64');
const file = (name, bytes, type = 'application/binary') => ({ [name]: { content_type: type, data: Buffer.from(bytes).toString('base64') } });
const bytes = (length, seed = length) => bytesOf(length, seeded(seed));
const rev = (generation, c) => `${generation}-${c.repeat(32)}`;

async function assertSame(source, target, ids) {
  const [one, other] = [await source.census(), await target.census()];
  // CouchDB keeps text compressed, and its digest is of that.
  for (const leaf of [one, other].flatMap((census) => Object.values(census).flatMap((leaves) => Object.values(leaves)))) {
    for (const attachment of Object.values(leaf.attachments)) if (attachment.type === 'text/plain') delete attachment.digest;
  }
  for (const id of ids ?? Object.keys({ ...one, ...other })) assert.deepEqual(other[id], one[id], id);
}

// Once and live: { source, target, go }.
const CASES = {
  // run_simple_repl, run_continuous_repl
  async 'documents, attachments, deletions, conflicts'({ source, target, go }) {
    await source.write(...numbers(1, 20), { _id: '_design/foo', language: 'javascript', value: 'ddoc' });
    await go(21);
    for (const id of ['10', '11', '12']) await source.edit(id, { _attachments: file('readme.txt', 'some text'.repeat(50), 'text/plain') });
    await go(3);
    assert.equal((await target.get('11'))._attachments['readme.txt'].revpos, 2);
    await assertSame(source, target);

    // A second file beside the first, and a new document.
    for (const id of ['10', '11', '12']) {
      const { _attachments } = await source.get(id);
      await source.edit(id, { _attachments: { ..._attachments, ...file('data.dat', bytes(70_000)) } });
    }
    await source.write({ _id: 'foo666', value: 'd' });
    await go(4);
    const { _attachments: files } = await target.get('10', { attachments: true });
    // pouchdb-server counts a file anew that stays while another one comes.
    if (target.kind !== 'http' || here.couch.isCouchDB) assert.deepEqual([files['readme.txt'].revpos, files['data.dat'].revpos], [2, 3]);
    assert.equal(files['data.dat'].data, bytes(70_000).toString('base64'));
    await assertSame(source, target);

    await source.remove('1');
    await go(1);
    assert.equal(await target.get('1'), null);
    const [there, gone] = [await source.size(), await target.size()];
    assert.deepEqual(gone.docs, there.docs);
    if (gone.gone !== undefined && there.gone !== undefined) assert.deepEqual([gone.gone, there.gone], [1, 1]);

    // A conflict, that goes on, and is settled.
    await target.edit('2', { value: 'black' });
    await source.edit('2', { value: 'white' });
    await go(1);
    const conflict = await target.get('2', { conflicts: true });
    assert.match(conflict._rev, /^2-/);
    assert.match(String(conflict._conflicts), /^2-[^,]+$/);
    await source.edit('2', { value: 'yellow' });
    await go(1);
    const later = await target.get('2', { conflicts: true });
    assert.deepEqual([later.value, later._rev.slice(0, 2), later._conflicts.length], ['yellow', '3-', 1]);
    await target.write({ _id: '2', _rev: later._conflicts[0], _deleted: true });
    await source.edit('2', { value: 'rainbow' });
    await go(1);
    const settled = await target.get('2', { conflicts: true });
    assert.deepEqual([settled.value, settled._rev.slice(0, 2), settled._conflicts], ['rainbow', '4-', undefined]);

    // What the target has already does not move.
    const known = [['foo1', 'a'], ['foo2', 'b'], ['foo3', 'c']].map(([_id, c]) => ({ _id, _rev: rev(1, c), value: c }));
    await target.replicated(known[0], known[2]);
    await source.replicated(...known);
    await go(1);
    await go(0);
    assert.equal((await target.get('foo2')).value, 'b');
  },

  // couch_replicator_compact_tests
  async 'compaction in between'({ source, target, go }) {
    for (let round = 0; round < 2; round += 1) {
      await source.write(...numbers(1 + round * 30, 30 + round * 30).map((doc) => ({ ...doc, _attachments: doc.integer % 10 ? {} : file('f', bytes(9_000, doc.integer)) })));
      const going = go(30);
      await Promise.all([source.compact(), target.compact(), going]);
      for (let n = 1; n <= 5; n += 1) await source.edit(String(n), { round });
      await source.remove(String(10 + round));
      await source.compact();
      await go(6, { more: true });
      await target.compact();
    }
    const [one, other] = [await source.census(), await target.census()];
    assert.equal(Object.keys(one).length, 60);
    for (const id of Object.keys(one)) assert.deepEqual(other[id], one[id], id);
  },

  // A tombstone has a body, a history, and branches of its own.
  async 'deletions of all kinds'({ source, target, go }) {
    const doc = (_id, ids, more) => ({ _id, _rev: `${ids.length}-${ids[0].repeat(32)}`, _revisions: { start: ids.length, ids: ids.map((c) => c.repeat(32)) }, ...more });
    await source.replicated(
      doc('never seen', ['b', 'a'], { _deleted: true, why: 'old' }), doc('one branch', ['b', 'a'], { _deleted: true }), doc('one branch', ['c', 'a'], { n: 1 }),
      doc('both branches', ['b', 'a'], { _deleted: true }), doc('both branches', ['c', 'a'], { _deleted: true, n: 2 }), doc('alive', ['a'], { n: 1 }),
    );
    await go(6);
    await assertSame(source, target);
    assert.deepEqual(await target.ids(), ['alive', 'one branch']);
    assert.equal((await target.get('never seen', { rev: await source.as('never seen', rev(2, 'b')) })).why, 'old');
    // Deleted there while it was edited here: both stay, and it lives.
    await target.remove('alive');
    await source.edit('alive', { n: 2 });
    await go(1);
    assert.equal((await target.get('alive')).n, 2);
    assert.equal((await target.leaves()).alive.length, 2);
    // Made again after a deletion.
    await source.remove('one branch');
    await go(1);
    await source.write({ _id: 'one branch', n: 3 });
    await go(1);
    assert.equal((await target.get('one branch')).n, 3);
    await assertSame(source, target, ['one branch', 'both branches', 'never seen']);
  },
};

// Once: the same.
const BODIES = {
  // run_by_id_repl has these; and identifiers of every kind.
  async 'identifiers that need care'({ source, target, go }) {
    const ids = ['a/b', '_design/foo bar', '_design/ü/x', 'ü?&#+ %20', '🌊', '"quoted"', 'a\\b', '+1', '%2F', 'a&b=c;d', ' x', 'tab\there', 'x'.repeat(200)];
    await source.write(...ids.map((_id, n) => ({ _id, n, _attachments: file(`f ${n} ü/?`, n % 2 ? bytes(70_000, n) : [n]) })), { _id: '..', n: -1 }, { _id: '.', n: -2 });
    await go(ids.length + 2);
    await assertSame(source, target);
    for (const id of ids) await source.edit(id, { again: true });
    await source.remove('a/b');
    await go(ids.length);
    await assertSame(source, target);
  },

  // couch_replicator_many_leaves_tests
  async 'many leaves'({ source, target, go }) {
    const leaf = (_id, n, more) => {
      const hash = String(n).padStart(32, '0');
      return { _id, _rev: `2-${hash}`, _revisions: { start: 2, ids: [hash, 'f'.repeat(32)] }, n, ...more };
    };
    // Sealed ones are opened all for each that is read.
    const counts = kind.sealed ? [10, 30, 60] : [10, 100, 210];
    const leaves = ['doc1', '_design/doc2', 'doc3'].map((id, i) => [id, counts[i]]).flatMap(([id, count]) => Array.from({ length: count }, (_, n) => leaf(id, n)));
    await source.replicated(...leaves);
    await go(leaves.length);
    await assertSame(source, target);
    for (const id of ['doc1', '_design/doc2', 'doc3']) await source.edit(id, { _attachments: { ...file('one', bytes(5_000)), ...file('two', bytes(80_000)) } });
    await go(3);
    await assertSame(source, target);
    await source.replicated(leaf('_design/doc2', 200, { _attachments: file('three', 'on a branch') }));
    await go(1);
    await assertSame(source, target);
  },

  // couch_replicator_large_atts_tests
  async 'large attachments'({ source, target, go }) {
    await source.write({ _id: 'large', _attachments: { ...file('one', bytes(100_000, 1)), ...file('two', bytes(1_100_000, 2)) } });
    await source.write({ _id: 'text', _attachments: file('long.txt', 'Worth compressing. '.repeat(10_000), 'text/plain') });
    await go(2);
    await assertSame(source, target);
    // Under another name it is the same content.
    const { _attachments: { one } } = await source.get('large', { attachments: true });
    await source.write({ _id: 'copy', _attachments: { copied: { content_type: one.content_type, data: one.data } } });
    await go(1);
    await assertSame(source, target);
  },
};

// couch_replicator_missing_stubs_tests (COUCHDB-1365), and histories that are cut: one side remembers fewer revisions.
async function stemmed({ source, target, go }) {
  await source.write({ _id: 'a', _attachments: file('f', bytes(6_000)) }, { _id: 'b', _attachments: file('f', bytes(90_000)) });
  await go(2);
  for (let n = 0; n < 8; n += 1) {
    for (const id of ['a', 'b']) await source.edit(id, { n });
  }
  await go(2);
  const [one, other] = [await source.census(), await target.census()];
  for (const id of ['a', 'b']) {
    const winner = (await source.get(id))._rev;
    assert.equal((await target.get(id))._rev, winner);
    const [mine, theirs] = [one[id][winner], other[id][winner]];
    assert.deepEqual([theirs.attachments, theirs.body], [mine.attachments, mine.body]);
    const common = Math.min(mine.path.length, theirs.path.length);
    // Of a sealed one that was cut no more is believed than its author signed.
    assert.ok(common >= (kind.sealed ? 2 : 3), `${mine.path} and ${theirs.path}`);
    assert.deepEqual(theirs.path.slice(0, common), mine.path.slice(0, common));
  }
}

// Once, with options that choose: { source, target, replicate(options) }. pouchdb-server lacks some of CouchDB's filters.
const CHOICES = {
  // run_since_seq_repl
  async since({ source, target, replicate: run }) {
    await source.write(...numbers(1, 5));
    const changes = await source.changes();
    const { docs_read, docs_written } = await run({ since: changes[2].seq });
    assert.deepEqual([docs_read, docs_written], [2, 2]);
    assert.deepEqual(await target.ids(), changes.slice(3).map(({ id }) => id).sort());
    // It skipped something, so nothing that asks for all may begin where it ended; and the same one goes on.
    await source.write({ _id: 'later' });
    assert.equal((await run({ since: changes[2].seq })).docs_read, 1);
    assert.equal((await run({ since: 'now' })).docs_read, 0);
    assert.equal((await run({})).docs_read, 3);
    await assertSame(source, target);
  },

  // run_by_id_repl
  async doc_ids({ source, target, replicate: run }) {
    await source.write(...numbers(1, 10), { _id: '_design/foo', language: 'javascript', integer: 1 });
    assert.equal((await run({ doc_ids: ['1', 'foo_666', '10', '_design/foo'] })).docs_written, 3);
    assert.deepEqual(await target.ids(), ['1', '10', '_design/foo']);
    assert.equal((await run({ doc_ids: ['7', '10'] })).docs_written, 1);
    assert.equal((await run({ doc_ids: [] })).docs_written, 0);
    await source.edit('10', { integer: 666 });
    await source.edit('10', { _attachments: { ...file('readme.txt', 'hi', 'text/plain'), ...file('data.dat', bytes(80_000)) } });
    await source.edit('1', { integer: 666 });
    assert.equal((await run({ doc_ids: ['10'] })).docs_written, 1);
    await assertSame(source, target, ['10', '7', '_design/foo']);
    assert.match((await target.get('10'))._rev, /^3-/);
    assert.equal((await target.get('1')).integer, 1);
    await target.edit('10', { integer: 1 });
    await source.edit('10', { integer: 2 });
    assert.equal((await run({ doc_ids: ['10'] })).docs_written, 1);
    assert.match(String((await target.get('10', { conflicts: true }))._conflicts), /^4-[^,]+$/);
    await source.remove('7');
    assert.equal((await run({ doc_ids: ['7'] })).docs_written, 1);
    assert.equal(await target.get('7'), null);
  },

  // couch_replicator_selector_tests
  async selector({ source, target, replicate: run }) {
    if (source.kind === 'http' && !here.couch.isCouchDB && !kind.sealed) return;
    await source.write(...numbers(1, 10));
    if (source.kind === 'http' && kind.sealed) { // it cannot look inside
      const { failed } = await run({ selector: { integer: { $gte: 9 } } });
      assert.deepEqual([failed?.isOurs, failed?.name, failed?.status], [true, 'query_parse_error', 400]);
      return;
    }
    assert.equal((await run({ selector: { integer: { $gte: 9 } } })).docs_written, 2);
    assert.deepEqual(await target.ids(), ['10', '9']);
    await source.edit('1', { integer: 100 });
    await source.edit('2', { integer: -1 });
    assert.equal((await run({ filter: '_selector', selector: { integer: { $gte: 9 } } })).docs_written, 1);
    await assertSame(source, target, ['1', '9', '10']);
    const { failed } = await run({ selector: { integer: { $none: 9 } } });
    assert.deepEqual([failed?.isOurs, failed?.status], [true, 400]);
  },

  // couch_replicator_many_leaves_tests, winning_revs_only
  async style({ source, target, replicate: run }) {
    const leaf = (_id, c, more) => ({ _id, _rev: rev(2, c), _revisions: { start: 2, ids: [c.repeat(32), 'f'.repeat(32)] }, is: c, ...more });
    await source.replicated(leaf('a', '1'), leaf('a', '2'), leaf('a', '3', { _deleted: true }), leaf('b', '1'), leaf('c', '1', { _deleted: true }));
    assert.equal((await run({ style: 'main_only' })).docs_written, 3);
    assert.deepEqual(await source.told(await target.leaves()), { a: [rev(2, '2')], b: [rev(2, '1')], c: [rev(2, '1')] });
    assert.equal((await run({ style: 'all_docs' })).docs_written, 2);
    await assertSame(source, target);
  },

  // run_filtered_repl, run_filter_changed_repl (COUCHDB-892)
  async filter({ source, target, replicate: run }) {
    const design = (code) => ({ _id: '_design/mydesign', language: 'javascript', filters: { myfilter: code } });
    await source.write(...numbers(1, 10), design(`function (doc, req) {
      return doc.integer % Number(req.query.modulus) === 0 || doc.string == req.query.special; }`));
    const asked = { filter: 'mydesign/myfilter', query_params: { modulus: 2, special: '7' } };
    if (source.kind !== 'http' || kind.sealed) {
      const { failed } = await run(asked);
      assert.deepEqual([failed?.isOurs, failed?.name, failed?.status], [true, 'query_parse_error', 400]);
      return;
    }
    assert.equal((await run(asked)).docs_written, 6);
    assert.deepEqual(await target.ids(), ['10', '2', '4', '6', '7', '8']);
    await source.write(...numbers(50, 53));
    assert.equal((await run(asked)).docs_written, 2);
    assert.equal((await run({ ...asked, query_params: { modulus: 51, special: 'none' } })).docs_written, 1);
    // Another function of the same name is another question.
    const { _rev } = await source.get('_design/mydesign');
    await source.write({ ...design('function (doc, req) { return doc.integer < 5; }'), _rev });
    assert.equal((await run(asked)).docs_written, 2, 'what the new function lets through, from the beginning');
    assert.deepEqual(await target.ids(), ['1', '10', '2', '3', '4', '50', '51', '52', '6', '7', '8']);
    if (!here.couch.isCouchDB) return; // pouchdb-server ends itself when it is asked for a filter that is not there
    const missing = (await run({ filter: 'mydesign/none' })).failed;
    assert.deepEqual([missing?.isOurs, missing?.name, missing?.status], [true, 'not_found', 404]);
  },

  // CouchDB's own filters.
  async 'filters by their names'({ source, target, replicate: run }) {
    await source.write(...numbers(1, 4), { _id: '_design/app', language: 'javascript', views: { even: { map: 'function (doc) { if (doc.integer % 2 === 0) emit(doc._id); }' } } });
    if (source.kind !== 'http' || kind.sealed) {
      for (const filter of ['_view', '_design']) {
        const { failed } = await run({ filter, query_params: { view: 'app/even' } });
        assert.deepEqual([failed?.isOurs, failed?.name, failed?.status], [true, 'query_parse_error', 400]);
      }
    } else if (here.couch.isCouchDB) {
      assert.equal((await run({ filter: '_view', query_params: { view: 'app/even' } })).docs_written, 2);
      assert.deepEqual(await target.ids(), ['2', '4']);
      assert.equal((await run({ filter: '_design' })).docs_written, 1);
      assert.deepEqual(await target.ids(), ['2', '4', '_design/app']);
    }
    assert.equal((await run({ filter: '_doc_ids', doc_ids: ['1'] })).docs_written, 1);
    assert.ok((await target.ids()).includes('1'));
  },

  // run_vdu_repl: a server asks its functions; a database here has none.
  async 'a validation function at the target'({ source, target, replicate: run }) {
    await source.write(...numbers(1, 7));
    await source.edit('2', { _attachments: file('hello.txt', 'hello world', 'text/plain') });
    await source.edit('3', { _attachments: file('large', bytes(80_000)) });
    await target.write({ _id: '_design/test', language: 'javascript', validate_doc_update: `function (doc) {
      if (doc.integer % 2) throw({ forbidden: 'I only like multiples of 2.' }); }` });
    const result = await run({});
    // Of a sealed document no function knows whether it is odd.
    const odd = target.kind === 'http' && !kind.sealed ? ['1', '3', '5', '7'] : [];
    assert.deepEqual([result.ok, result.docs_read, result.docs_written, result.doc_write_failures], [true, 7, 7 - odd.length, odd.length]);
    assert.deepEqual(result.denied, odd.map((id) => [id, 'forbidden', 403]));
    assert.deepEqual(await target.ids(), [...numbers(1, 7).map(({ _id }) => _id).filter((id) => !odd.includes(id)), '_design/test']);
    // pouchdb-server forgets ancestors where it has such functions.
    if (target.kind !== 'http' || here.couch.isCouchDB) await assertSame(source, target, ['2', '4', '6']);
  },

  // run_create_target_repl; "source database not found with host"
  async 'a database that is not there'({ source, target }) {
    const { couch, proxy } = here;
    await source.write(...numbers(1, 2));
    const nowhere = () => {
      const name = couch.name('nowhere');
      return onServer(couch, name, proxy.dbUrl(name));
    };
    const missing = [404, 'not_found'];
    for (const options of [{}, { create_target: false }]) {
      const { failed } = await replicate(here, nowhere(), target, options);
      assert.deepEqual([failed?.isOurs, failed?.status, failed?.name], [true, ...missing]);
    }
    let made = nowhere();
    const { failed } = await replicate(here, source, made, { create_target: false });
    assert.deepEqual([failed?.isOurs, failed?.status, failed?.name], [true, ...missing]);
    assert.equal((await couch.request('GET', `/${made.name}`)).status, 404);
    const { docs_written: written } = await replicate(here, source, made);
    // The channel's log goes there too.
    if (kind.sealed) assert.ok(written > 2, written);
    else assert.equal(written, 2);
    if (kind.sealed) made = await sealedOnServer(here.page, couch, made.name, made.end.url, source);
    await assertSame(source, made);
  },

  // couch_replicator_use_checkpoints_tests
  async checkpoint({ source, target, replicate: run }) {
    const { proxy } = here;
    await source.write(...numbers(1, 3));
    const kept = { source: ['source'], target: ['target'], true: ['source', 'target'], false: [] };
    for (const checkpoint of [false, 'source', 'target', true]) {
      await source.write({ _id: `for ${checkpoint}` });
      proxy.clear();
      const told = await run({ checkpoint });
      assert.equal(told.ok, true);
      const written = proxy.requests.filter(({ kind }) => kind === 'record').map(({ path }) => path);
      for (const [which, { kind, name }] of [['source', source], ['target', target]]) {
        if (kind === 'http') assert.equal(written.some((where) => where.startsWith(`/${name}/_local/`)), kept[checkpoint].includes(which), `${checkpoint}: ${which}\n${proxy.said()}`);
      }
    }
    await assertSame(source, target);
  },

  async 'batch_size and batches_limit'({ source, target, replicate: run }) {
    const { proxy } = here;
    await source.write(...numbers(1, 23));
    proxy.clear();
    const result = await run({ batch_size: 5, batches_limit: 1 });
    assert.equal(result.docs_written, 23);
    const asked = (kind) => proxy.requests.filter((request) => request.kind === kind);
    if (source.kind === 'http') {
      assert.ok(asked('changes').every(({ query }) => query.get('limit') === '5'), proxy.said());
      assert.ok(asked('changes').length >= 5, proxy.said());
      assert.ok(asked('bulk-get').every(({ requestBody }) => JSON.parse(Buffer.concat(requestBody)).docs.length <= 5));
    }
    // The channel's log has places in the feed.
    if (target.kind === 'http') assert.ok(asked('bulk-docs').length === 5 || kind.sealed && asked('bulk-docs').length === 6, proxy.said());
    await assertSame(source, target);
  },
};

for (const source of KINDS) {
  for (const target of KINDS) {
    if (kind.sealed && source === 'http' && target === 'http') continue; // nobody there has keys
    for (const mode of ['once', 'live']) {
      for (const [title, run] of Object.entries(mode === 'live' ? CASES : { ...CASES, ...BODIES })) {
        test(`${source} → ${target}, ${mode}: ${title}`, { timeout: 60_000 }, async (t) => run(await pairOf(t, [source, target], mode === 'live')));
      }
    }
    for (const [who, sides] of [['source', { source: { revs_limit: 3 } }], ['target', { target: { revs_limit: 3 } }]]) {
      test(`${source} → ${target}: histories that are cut, with attachments, at the ${who}`, { timeout: 60_000 }, async (t) => {
        if (!here.couch.isCouchDB && { source, target }[who] === 'http') return t.skip('pouchdb-server has no _revs_limit');
        return stemmed(await pairOf(t, [source, target], false, {}, sides));
      });
    }
    for (const [title, run] of Object.entries(CHOICES)) {
      test(`${source} → ${target}: ${title}`, { timeout: 60_000 }, async (t) => {
        const pair = await pairOf(t, [source, target], false);
        await run({ ...pair, replicate: (options) => replicate(here, pair.source, pair.target, options) });
      });
    }
  }
}
