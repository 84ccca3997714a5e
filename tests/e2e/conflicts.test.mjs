// Conflicts in a real browser: told live in every tab, settled by choice, by a function, by keeping both, and what a
// server gets of it.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { openTab, startSite } from './lib/tab.mjs';

let site;
let browser;
let couch;

before(async () => {
  site = await startSite();
  browser = await launchBrowser();
  couch = await startCouch();
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await couch?.close();
});

test('a conflict is told in every tab when it comes and when it goes', { timeout: 60_000 }, async () => {
  const [one, two] = [await openTab(browser, site.origin), await openTab(browser, site.origin)];
  for (const page of [one, two]) {
    await page.evaluate(async () => {
      globalThis.db = await Database.open('told');
      globalThis.rows = [];
      globalThis.heard = (count) => new Promise((resolve) => {
        const look = () => (rows.length >= count ? resolve(rows) : setTimeout(look, 10));
        look();
      });
      db.conflicts({ live: true }).on('change', ({ id, rev, conflicts, deletedConflicts }) => {
        rows.push([id, rev, conflicts, deletedConflicts]);
      });
    });
  }
  await one.evaluate(async () => { globalThis.made = await bring(db, [
    { _id: 'a', _rev: '2-b', _revisions: { start: 2, ids: ['b', 'a'] }, n: 1 },
    { _id: 'a', _rev: '2-c', _revisions: { start: 2, ids: ['c', 'a'] }, n: 2 },
    { _id: 'b', _rev: '2-b', _revisions: { start: 2, ids: ['b', 'a'] } },
    { _id: 'b', _rev: '2-x', _revisions: { start: 2, ids: ['x', 'a'] }, _deleted: true },
    { _id: 'c', _rev: '2-a', _revisions: { start: 2, ids: ['a', '0'] } },
  ], { inOrder: true }); });
  const told = (value) => one.evaluate((it) => made.told(it), value);
  const come = [['a', '2-c', ['2-b'], []], ['b', '2-b', [], ['2-x']]];
  // They came in one commit, in no order of theirs.
  for (const page of [one, two]) assert.deepEqual((await told(await page.evaluate(() => heard(2)))).sort(([a], [b]) => (a < b ? -1 : 1)), come);
  const { results, pending } = await two.evaluate(() => db.conflicts({ include_docs: true }));
  assert.deepEqual(await told(results.map(({ id, doc }) => [id, doc._rev])), [['a', '2-c'], ['b', '2-b']]);
  assert.equal(pending, 0);

  const as = (id, rev) => one.evaluate((given) => made.as(...given), [id, rev]);
  const written = await two.evaluate((rev) => db.resolve('a', rev), await as('a', '2-c'));
  assert.deepEqual(await told(written), { ok: true, id: 'a', rev: '2-c' });
  await two.evaluate((rev) => db.resolve('b', rev), await as('b', '2-b'));
  const gone = [['a', '2-c', [], []], ['b', '2-b', [], []]];
  for (const page of [one, two]) assert.deepEqual((await told(await page.evaluate(() => heard(4)))).slice(2), gone);
  const iterated = await one.evaluate(async () => {
    await bring(db, [{ _id: 'c', _rev: '3-b', _revisions: { start: 3, ids: ['b', '2', '1'] } }]);
    for await (const { id, conflicts } of db.conflicts({ live: true })) return made.told([id, conflicts]);
    return undefined;
  });
  assert.deepEqual(iterated, ['c', ['2-a']]);
});

test('a function merges, and what it cannot do is an error that writes nothing', { timeout: 60_000 }, async () => {
  const page = await openTab(browser, site.origin);
  const result = await page.evaluate(async () => {
    const db = await Database.open('merged');
    const bytes = (text) => ({ photo: { content_type: 'text/plain', data: new Blob([text]) } });
    const branch = (rev, ids, more) => ({ _id: 'a', _rev: rev, _revisions: { start: ids.length, ids }, ...more });
    const made = await bring(db, [
      branch('2-a', ['a', '0'], { tags: ['x'], _attachments: bytes('from a') }),
      branch('3-b', ['b', '1', '0'], { tags: ['y'] }),
      { _id: 'calm', _rev: '1-a' },
    ]);
    const seen = [];
    const before = (await db.info()).update_seq;
    const refused = [];
    for (const how of [() => null, () => undefined, () => { throw new TypeError('no idea'); }, () => ({ n: NaN }), undefined, {}]) {
      const { name, status } = await failure(db.resolve('a', how)) ?? {};
      refused.push([name, status]);
    }
    refused.push((await failure(db.resolve('nobody', () => ({})))).status);
    // Somebody is faster than the function.
    let later;
    const late = failure(db.resolve('a', async (docs) => {
      later = await bring(db, [{ _id: 'a', _rev: '1-9', tags: ['z'] }]);
      return docs[0];
    }));
    const { name, status } = await late;
    refused.push([name, status]);
    const wrote = (await db.info()).update_seq - before;
    const told = (value) => later.told(made.told(value));
    const written = await db.resolve('a', async (docs) => {
      seen.push(docs.map(({ _rev, _attachments }) => [_rev, Boolean(_attachments?.photo.stub)]));
      await null;
      const { _attachments } = docs.find((doc) => doc._attachments);
      _attachments.more = { content_type: 'text/plain', data: new Blob(['more']) };
      return { ...docs[0], tags: docs.flatMap(({ tags }) => tags), _attachments };
    });
    const calm = await db.resolve('calm', () => seen.push('called'));
    const doc = await db.get('a', { conflicts: true });
    const text = async (name) => (await db.getAttachment('a', name)).text();
    return { refused, wrote, written, seen: told(seen), calm: told(calm), doc, texts: [await text('photo'), await text('more')], left: (await db.conflicts()).results };
  });
  const bad = ['bad_request', 400];
  assert.deepEqual(result.refused, [bad, bad, ['TypeError', undefined], bad, bad, bad, 404, ['conflict', 409]]);
  assert.equal(result.wrote, 1, 'only the leaf that came in between');
  assert.deepEqual(result.seen, [[['3-b', false], ['2-a', true], ['1-9', false]]]);
  assert.deepEqual(result.calm.rev, '1-a');
  assert.equal(result.doc._rev, result.written.rev);
  assert.match(result.doc._rev, /^4-/);
  assert.deepEqual([result.doc.tags, result.doc._conflicts], [['y', 'x', 'z'], undefined]);
  assert.deepEqual([result.texts, result.left], [['from a', 'more'], []]);
});

test('two devices keep both, and a server holds what they hold', { timeout: 60_000 }, async () => {
  const url = couch.dbUrl(await couch.create('both'));
  const page = await openTab(browser, site.origin);
  const { leaves, ids, texts, counts, revs } = await page.evaluate(async ([remote, isSealed]) => {
    const one = await Database.open('both-1', { storage: 'memory' });
    const two = await Database.open('both-2', { storage: 'memory', ...isSealed && { copyOf: one } });
    const everybody = async () => {
      for (const db of [one, two, one, two]) await db.sync(remote);
    };
    await one.put({ _id: 'p', n: 0 });
    await one.put({ _id: 'gone', n: 0 });
    await everybody();
    for (const [n, db] of [one, two].entries()) {
      const { _rev } = await db.get('p');
      await db.put({ _id: 'p', _rev, n, _attachments: { photo: { content_type: 'text/plain', data: new Blob([`photo ${n}`]) } } });
    }
    await one.put({ ...await one.get('gone'), n: 1 });
    await two.remove(await two.get('gone'));
    await everybody();
    const counts = [];
    for (const db of [one, two]) {
      const { results } = await db.conflicts();
      counts.push(results.map(({ id, conflicts, deletedConflicts }) => [id, conflicts.length, deletedConflicts.length]).sort());
      for (const { id, rev, conflicts, deletedConflicts } of results) {
        await db.resolve(id, 'keep-both', { revs: [rev, ...conflicts, ...deletedConflicts] });
      }
    }
    await everybody();
    const leaves = [];
    for (const db of [one, two]) {
      counts.push((await db.conflicts()).results.length);
      const { results } = await db.changes({ style: 'all_docs' });
      leaves.push(Object.fromEntries(results.map(({ id, changes }) => [id, changes.map(({ rev }) => rev).sort()])));
    }
    const ids = (await two.allDocs()).rows.map(({ id }) => id);
    const texts = [];
    for (const id of ids.filter((id) => id.startsWith('p'))) texts.push(await (await two.getAttachment(id, 'photo')).text());
    const revs = leaves.map((side) => Object.values(side).map(String).sort());
    for (const db of [one, two]) await db.close();
    return { leaves, ids, texts, counts, revs };
  }, [url, kind.sealed]);
  assert.deepEqual(counts, [[['gone', 0, 1], ['p', 1, 0]], [['gone', 0, 1], ['p', 1, 0]], 0, 0]);
  assert.equal(ids.length, 3);
  assert.match(ids[2], /^p~2-[0-9a-f]{32}$/);
  assert.deepEqual(texts.sort(), ['photo 0', 'photo 1']);
  const { results } = await couch.must('GET', `/${new URL(url).pathname.slice(1)}/_changes?style=all_docs`);
  const there = Object.fromEntries(results.map(({ id, changes }) => [id, changes.map(({ rev }) => rev).sort()]));
  // A server knows other names, and the channel's log.
  if (kind.sealed) assert.deepEqual(revs, Array(2).fill(Object.entries(there).filter(([id]) => id.startsWith('e-')).map(([, own]) => String(own)).sort()));
  else assert.deepEqual(leaves, [there, there]);
});
