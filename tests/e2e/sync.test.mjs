// Replication with a CouchDB-compatible server, once, through a proxy that keeps what is said; and between databases here. Live
// ones are in sync-live.test.mjs.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { waitFor } from './lib/index.mjs';
import { helpers, online } from './lib/online.mjs';
import { answerOf, bodyOf } from './lib/recorder.mjs';
import { ready } from './lib/tab.mjs';

const { here, put, get, bulk, allIds, to, said } = online();
const R = (c) => c.repeat(32);

// The leaves of a document: [rev, deleted, is], the winner first, the others sorted.
async function leavesThere(name, id) {
  const answer = await here.couch.must('GET', `/${name}/${encodeURIComponent(id)}?open_revs=all`, undefined, { accept: 'application/json' });
  const leaves = answer.filter(({ ok }) => ok).map(({ ok }) => [ok._rev, Boolean(ok._deleted), ok.is]);
  const winner = await here.couch.request('GET', `/${name}/${encodeURIComponent(id)}`);
  return { winner: winner.json._rev ?? winner.json.reason, leaves: leaves.sort() };
}
const leavesHere = (name, id) => here.page.evaluate(async ([called, doc]) => {
  const db = await Database.open(called);
  const leaves = (await db.get(doc, { open_revs: 'all' })).map(({ ok }) => [ok._rev, Boolean(ok._deleted), ok.is]);
  const winner = await db.get(doc).then(({ _rev }) => _rev, ({ reason }) => reason);
  return { winner, leaves: leaves.sort() };
}, [name, id]);

function judgeResult(result, expected) {
  assert.match(result.start_time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  assert.match(result.end_time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  assert.ok(Date.parse(result.end_time) >= Date.parse(result.start_time));
  assert.notEqual(result.last_seq, undefined);
  const { start_time, end_time, last_seq, pending, ...rest } = result;
  assert.deepEqual(rest, { ok: true, status: 'complete', doc_write_failures: 0, errors: [], ...expected });
}

test('push, once: all there is goes over, and nothing else', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('push');
  const { result, log, details, same } = await here.page.evaluate(async (url) => {
    const db = await Database.open('push');
    await db.bulkDocs([{ _id: 'a', n: 1.5, text: 'grüße 🌊' }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }, { _id: '_design/app', views: {} }]);
    await db.put({ ...await db.get('b'), n: 22 });
    await db.put({ ...await db.get('c'), _deleted: true, why: 'old' });
    await db.put({ _id: '_local/mine', n: 1 });
    const task = watch(db.replicate.to(url));
    const answer = await task;
    const complete = task.details.find(([event]) => event === 'complete')[1];
    return { result: answer, log: task.log, details: task.details, same: JSON.stringify(complete) === JSON.stringify(answer) };
  }, here.proxy.dbUrl(name));
  judgeResult(result, { docs_read: 4, docs_written: 4 });
  assert.ok(same, 'complete tells what the promise gives');
  assert.deepEqual(log.filter((event) => ['change', 'complete', 'error', 'denied'].includes(event)), ['change', 'complete']);
  const [, change] = details.find(([event]) => event === 'change');
  assert.deepEqual([change.ok, change.docs_read, change.docs_written, change.doc_write_failures, change.errors], [true, 4, 4, 0, []]);
  assert.deepEqual(change.docs.map(({ _id }) => _id).sort(), ['_design/app', 'a', 'b', 'c']);

  assert.deepEqual(await allIds(name), ['_design/app', 'a', 'b']);
  const { _rev, ...a } = await get(name, 'a');
  assert.deepEqual(a, { _id: 'a', n: 1.5, text: 'grüße 🌊' });
  assert.equal(_rev, await here.page.evaluate(async () => (await (await Database.open('push')).get('a'))._rev), 'the same revision on both sides');
  const b = await get(name, 'b', '?revs=true');
  assert.deepEqual([b.n, b._revisions.start, b._revisions.ids.length], [22, 2, 2]);
  assert.equal((await here.couch.request('GET', `/${name}/c`)).status, 404);
  const [[rev, isDeleted]] = (await leavesThere(name, 'c')).leaves;
  assert.equal(isDeleted, true);
  assert.equal((await get(name, 'c', `?rev=${rev}`)).why, 'old', 'a tombstone keeps its body');
  assert.equal((await here.couch.request('GET', `/${name}/_local/mine`)).status, 404);
  // As the protocol has it.
  // CouchDB counts tombstones and pouchdb-server's sequence is a number, so an empty database is known to lack everything.
  assert.equal(to('/_revs_diff').length, 0, said());
  const [batch] = to('/_bulk_docs');
  assert.equal(JSON.parse(bodyOf(batch)).new_edits, false);
  assert.ok(here.proxy.requests.some(({ method, path: where }) => method === 'PUT' && where.includes('/_local/')), said());
});

test('pull, once', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('pull');
  await bulk(name, [{ _id: 'a', n: 1.5, text: 'grüße 🌊' }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }, { _id: '_design/app', views: {} }]);
  await put(name, { ...await get(name, 'b'), n: 22 });
  const c = await get(name, 'c');
  await here.couch.must('DELETE', `/${name}/c?rev=${c._rev}`);
  const got = await here.page.evaluate(async (url) => {
    const db = await Database.open('pull');
    const task = watch(db.replicate.from(url));
    const result = await task;
    return {
      result, log: task.log, docs: (await db.allDocs({ include_docs: true })).rows.map(({ doc }) => doc), gone: await failure(db.get('c')),
      b: await db.get('b', { revs: true }),
    };
  }, here.proxy.dbUrl(name));
  judgeResult(got.result, { docs_read: 4, docs_written: 4 });
  assert.deepEqual(got.log.filter((event) => ['change', 'complete', 'error', 'denied'].includes(event)), ['change', 'complete']);
  assert.deepEqual(got.docs, await Promise.all(['_design/app', 'a', 'b'].map((id) => get(name, id))));
  assert.deepEqual([got.gone.status, got.gone.reason], [404, 'deleted']);
  assert.equal(got.b._revisions.ids.length, 2);
  assert.ok(to('/_bulk_get').length > 0, said());
});

test('a thousand documents take a handful of requests, each way', { timeout: 60_000 }, async (t) => {
  const name = await here.couch.create('many');
  const there = await here.page.evaluate(async (url) => {
    const db = await Database.open('many-out');
    await db.bulkDocs(Array.from({ length: 1000 }, (_, i) => ({ _id: `doc:${i}`, n: i, text: 'x'.repeat(300) })));
    const { docs_written } = await db.replicate.to(url);
    return docs_written;
  }, here.proxy.dbUrl(name));
  assert.equal(there, 1000);
  t.diagnostic(`push: ${here.proxy.requests.length} requests`);
  assert.ok(here.proxy.requests.length <= 20, said());
  here.proxy.clear();
  const back = await here.page.evaluate(async (url) => {
    const db = await Database.open('many-in');
    const { docs_written } = await db.replicate.from(url);
    const { rows } = await db.allDocs({ include_docs: true });
    const out = await (await Database.open('many-out')).allDocs({ include_docs: true });
    return { docs_written, same: JSON.stringify(rows) === JSON.stringify(out.rows) };
  }, here.proxy.dbUrl(name));
  assert.deepEqual(back, { docs_written: 1000, same: true });
  t.diagnostic(`pull: ${here.proxy.requests.length} requests`);
  assert.ok(here.proxy.requests.length <= 20, said());
});

test('conflicts go both ways; both sides have the same leaves and the same winner', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('conflicts');
  const branch = (id, ids, is, more) => ({ _id: id, _rev: `${ids.length}-${ids[0]}`, _revisions: { start: ids.length, ids }, is, ...more });
  await bulk(name, [
    branch('a', [R('b'), R('1')], 'there'), branch('longer', [R('3'), R('2'), R('1')], 'there'),
    branch('deleted', [R('f'), R('e'), R('1')], 'there', { _deleted: true }), branch('apart', [R('5')], 'there'),
  ], { new_edits: false });
  await here.page.evaluate(async ([url, docs]) => {
    const db = await Database.open('conflicts');
    await db.bulkDocs(docs, { new_edits: false });
    const result = await db.sync(url);
    if (!result.push.ok || !result.pull.ok) throw new Error(JSON.stringify(result));
  }, [here.proxy.dbUrl(name), [
    branch('a', [R('c'), R('1')], 'here'), branch('longer', [R('9'), R('1')], 'here'),
    branch('deleted', [R('2'), R('1')], 'here'), branch('apart', [R('6')], 'here'),
  ]]);
  const expected = {
    a: [`2-${R('c')}`, [`2-${R('b')}`, false, 'there'], [`2-${R('c')}`, false, 'here']],
    longer: [`3-${R('3')}`, [`2-${R('9')}`, false, 'here'], [`3-${R('3')}`, false, 'there']],
    deleted: [`2-${R('2')}`, [`2-${R('2')}`, false, 'here'], [`3-${R('f')}`, true, 'there']],
    apart: [`1-${R('6')}`, [`1-${R('5')}`, false, 'there'], [`1-${R('6')}`, false, 'here']],
  };
  for (const [id, [winner, ...leaves]] of Object.entries(expected)) {
    assert.deepEqual(await leavesHere('conflicts', id), { winner, leaves }, `${id} here`);
    assert.deepEqual(await leavesThere(name, id), { winner, leaves }, `${id} there`);
  }
  // Settled on one side, it is settled on both.
  await here.page.evaluate(async (url) => {
    const db = await Database.open('conflicts');
    const doc = await db.get('a', { conflicts: true });
    await db.bulkDocs([{ ...doc, _conflicts: undefined, is: 'both' }, ...doc._conflicts.map((_rev) => ({ _id: 'a', _rev, _deleted: true }))]);
    await db.sync(url);
  }, here.proxy.dbUrl(name));
  const settled = await get(name, 'a', '?conflicts=true');
  assert.deepEqual([settled.is, settled._conflicts], ['both', undefined]);
});

test('attachments, small and large, byte for byte, the large ones not as base64', { timeout: 90_000 }, async (t) => {
  const name = await here.couch.create('attachments');
  const large = Buffer.alloc(300_000);
  for (let i = 0, x = 1; i < large.length; i += 1) { x = (Math.imul(x, 1664525) + 1013904223) >>> 0; large[i] = x >>> 24; }
  const middle = large.subarray(1000, 1000 + 70_000);
  const files = { 'large.bin': large, 'middle.bin': middle, 'small.txt': Buffer.from('hi'), empty: Buffer.alloc(0), 'dir/ü & more?.txt': Buffer.from('odd name') };
  const sum = (bytes) => createHash('md5').update(bytes).digest('base64');
  await here.page.evaluate(async ([url, given]) => {
    const db = await Database.open('attachments-out');
    const _attachments = Object.fromEntries(Object.entries(given).map(([file, base64]) => [file, {
      content_type: 'application/x-test', data: new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]),
    }]));
    await db.put({ _id: 'files', _attachments });
    await db.put({ _id: 'plain', n: 1 });
    const result = await db.replicate.to(url);
    if (result.docs_written !== 2) throw new Error(JSON.stringify(result));
  }, [here.proxy.dbUrl(name), Object.fromEntries(Object.entries(files).map(([file, bytes]) => [file, bytes.toString('base64')]))]);

  // Base64 of any part at any of its three alignments would show up in what was sent.
  const inBase64 = (text, bytes) => [0, 1, 2].some((shift) => text.includes(bytes.subarray(3000 + shift, 3060 + shift).toString('base64')));
  const sent = here.proxy.requests.map(bodyOf);
  assert.ok(!sent.some((body) => inBase64(body, large) || inBase64(body, middle)), 'nothing large went as base64');
  assert.ok(sent.some((body) => body.includes(large.subarray(5000, 5100))), 'it went as it is');
  const total = here.proxy.requests.reduce((bytes, { requestBytes }) => bytes + requestBytes, 0);
  t.diagnostic(`pushing ${large.length + middle.length} bytes of attachments took ${total} bytes in ${here.proxy.requests.length} requests`);
  assert.ok(total < 400_000, `${total} bytes were sent`);
  const stubs = (await get(name, 'files'))._attachments;
  for (const [file, bytes] of Object.entries(files)) {
    const res = await fetch(`${here.couch.url}/${name}/files/${encodeURIComponent(file)}`, { headers: here.couch.auth ? { authorization: `Basic ${btoa(`${here.couch.auth.username}:${here.couch.auth.password}`)}` } : {} });
    assert.equal(res.status, 200, file);
    assert.equal(sum(Buffer.from(await res.arrayBuffer())), sum(bytes), `${file} on the server`);
    assert.equal(stubs[file].content_type, 'application/x-test');
    assert.equal(stubs[file].length, bytes.length);
  }

  here.proxy.clear();
  const back = await here.page.evaluate(async (url) => {
    const db = await Database.open('attachments-in');
    await db.replicate.from(url);
    const out = {};
    const doc = await db.get('files');
    for (const file of Object.keys(doc._attachments)) {
      const blob = await db.getAttachment('files', file);
      const hash = await crypto.subtle.digest('SHA-1', await blob.arrayBuffer());
      out[file] = { digest: doc._attachments[file].digest, size: blob.size, type: blob.type, sha1: [...new Uint8Array(hash)].join() };
    }
    return { out, rev: doc._rev };
  }, here.proxy.dbUrl(name));
  const received = here.proxy.requests.map(answerOf);
  assert.ok(!received.some((body) => inBase64(body, large) || inBase64(body, middle)), 'nothing large came as base64');
  for (const [file, bytes] of Object.entries(files)) {
    assert.deepEqual(back.out[file], {
      digest: `md5-${sum(bytes)}`, size: bytes.length, type: 'application/x-test', sha1: [...createHash('sha1').update(bytes).digest()].join(),
    }, `${file} back here`);
  }

  // An edit beside them comes over; what is there already is not fetched again.
  const { _rev, _attachments } = await get(name, 'files');
  await put(name, { _id: 'files', _rev, n: 2, _attachments });
  here.proxy.clear();
  const again = await here.page.evaluate(async (url) => {
    const db = await Database.open('attachments-in');
    await db.replicate.from(url);
    return { n: (await db.get('files')).n, size: (await db.getAttachment('files', 'large.bin')).size };
  }, here.proxy.dbUrl(name));
  assert.deepEqual(again, { n: 2, size: large.length });
  const bytes = here.proxy.requests.reduce((all, { answerBytes }) => all + answerBytes, 0);
  t.diagnostic(`pulling an edit beside them took ${bytes} bytes`);
});

test('identifiers of every kind', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('names');
  const ids = ['a/b', 'ü?&#+ %20', '🌊', '"quoted"', 'a\\b', '+1', 'x'.repeat(200), '_design/ü', 'tab\there', ' leading', '%2F', 'a&b=c;d'];
  const dots = ['.', '..']; // a URL cannot name these two, so they have no attachments
  await here.page.evaluate(async ([url, list, unnamed]) => {
    const db = await Database.open('names-out');
    for (const [i, _id] of list.entries()) {
      const large = new Uint8Array(70_000).fill(i);
      await db.put({ _id, is: _id, _attachments: { [`f ${i} ü/?`]: { content_type: 'x/y', data: i % 2 ? large : new Uint8Array([i]) } } });
    }
    for (const _id of unnamed) await db.put({ _id, is: _id });
    const result = await db.replicate.to(url);
    if (result.docs_written !== list.length + 2) throw new Error(JSON.stringify(result));
  }, [here.proxy.dbUrl(name), ids, dots]);
  // Asked one by one: pouchdb-server leaves out of _all_docs what sorts after U+FFFF.
  const { results } = await here.couch.must('POST', `/${name}/_bulk_get`, { docs: [...ids, ...dots].map((id) => ({ id })) });
  assert.deepEqual(results.map(({ docs }) => docs[0].ok?._id), [...ids, ...dots]);
  const back = await here.page.evaluate(async (url) => {
    const db = await Database.open('names-in');
    await db.replicate.from(url);
    const out = [];
    for (const { id, doc } of (await db.allDocs({ include_docs: true })).rows) {
      const [file] = Object.keys(doc._attachments ?? {});
      out.push([id, doc.is, file ? (await db.getAttachment(id, file)).size : 0]);
    }
    return out;
  }, here.proxy.dbUrl(name));
  const expected = [...ids.map((id, i) => [id, id, i % 2 ? 70_000 : 1]), ...dots.map((id) => [id, id, 0])];
  assert.deepEqual(back.sort(), expected.sort());
});

test('a second run moves nothing; a third only what is new; a checkpoint that was lost costs no correctness', { timeout: 60_000 }, async (t) => {
  const name = await here.couch.create('checkpoints');
  await bulk(name, Array.from({ length: 50 }, (_, i) => ({ _id: `there:${i}` })));
  const sync = async () => {
    here.proxy.clear();
    await here.page.reload();
    await ready(here.page);
    await helpers(here.page);
    return here.page.evaluate(async (url) => {
      const db = await Database.open('checkpoints');
      if (!(await db.info()).doc_count) await db.bulkDocs(Array.from({ length: 50 }, (_, i) => ({ _id: `here:${i}` })));
      const { push, pull } = await db.sync(url);
      return { push: push.docs_written, pull: pull.docs_written, total: (await db.info()).doc_count };
    }, here.proxy.dbUrl(name));
  };
  const first = await sync();
  assert.equal(first.total, 100);
  assert.ok(first.push >= 50 && first.pull >= 50);
  const marks = [...new Set(here.proxy.requests.filter(({ method, path: where }) => method === 'PUT' && where.includes('/_local/')).map(({ path: where }) => where))];
  assert.ok(marks.length >= 1, said());

  await sync(); // each way may still have to look at what the other one wrote
  assert.deepEqual(await sync(), { push: 0, pull: 0, total: 100 });
  t.diagnostic(`with nothing to do: ${here.proxy.requests.length} requests`);
  assert.equal(to('/_bulk_docs').length + to('/_bulk_get').length + to('/_revs_diff').length, 0, said());
  assert.ok(here.proxy.requests.length <= 8, said());

  await put(name, { _id: 'new there' });
  assert.deepEqual(await sync(), { push: 0, pull: 1, total: 101 });
  const asked = to('/_bulk_get').flatMap((record) => JSON.parse(bodyOf(record)).docs);
  assert.deepEqual(asked.map(({ id }) => id), ['new there']);

  for (const mark of marks) {
    const { json } = await here.couch.request('GET', mark);
    await here.couch.must('DELETE', `${mark}?rev=${json._rev}`);
  }
  assert.deepEqual(await sync(), { push: 0, pull: 0, total: 101 });
  assert.equal(to('/_bulk_docs').length, 0, 'nothing is sent twice');
});

test('a document the server refuses does not hold up the others', { timeout: 60_000 }, async (t) => {
  const name = await here.couch.create('denied');
  await put(name, { _id: '_design/rules', validate_doc_update: 'function (doc) { if (doc.bad) throw({ forbidden: "bad documents are not welcome" }); }' });
  const probe = await here.couch.request('PUT', `/${name}/probe`, { bad: true });
  if (probe.status !== 403) return t.skip(`this server does not run validate_doc_update: it answered ${probe.status}`);
  const got = await here.page.evaluate(async (url) => {
    const db = await Database.open('denied');
    await db.bulkDocs(Array.from({ length: 20 }, (_, i) => ({ _id: `doc:${i}`, bad: i % 5 === 2 })));
    // One that goes over on its own, for its size.
    await db.put({ _id: 'large', bad: true, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(100_000) } } });
    await db.put({ _id: 'last', n: 1 });
    const task = watch(db.replicate.to(url));
    const result = await task;
    const denied = task.details.filter(([event]) => event === 'denied').map(([, error]) => [error instanceof settee.SetteeError, error.id, error.name, error.status, error.reason]);
    return { result, denied };
  }, here.proxy.dbUrl(name));
  const bad = ['doc:12', 'doc:17', 'doc:2', 'doc:7', 'large'];
  assert.deepEqual(got.denied.map(([, id]) => id).sort(), bad);
  for (const [isError, , called, status, reason] of got.denied) assert.deepEqual([isError, called, status, reason], [true, 'forbidden', 403, 'bad documents are not welcome']);
  assert.deepEqual([got.result.ok, got.result.status, got.result.docs_written, got.result.doc_write_failures], [true, 'complete', 17, 5]);
  assert.equal((await allIds(name)).length, 18);
  // What was refused is tried once by each replication that starts, and nothing else is.
  const again = await here.page.evaluate(async (url) => {
    const db = await Database.open('denied');
    const { docs_read, docs_written, doc_write_failures } = await db.replicate.to(url);
    // Changed, it is welcome.
    for (const { doc } of (await db.allDocs({ include_docs: true })).rows) if (doc.bad) await db.put({ ...doc, bad: undefined });
    const task = db.replicate.to(url);
    const changed = (await task).docs_written;
    return { docs_read, docs_written, doc_write_failures, changed, pushed: [await task.isPushed('large'), await task.isPushed('doc:12')] };
  }, here.proxy.dbUrl(name));
  assert.deepEqual(again, { docs_read: 5, docs_written: 0, doc_write_failures: 5, changed: 5, pushed: [true, true] });
  assert.equal(await here.page.evaluate(async (url) => (await (await Database.open('denied')).replicate.to(url)).docs_read, here.proxy.dbUrl(name)), 0);
});

test('only some documents: doc_ids, selector, since', { timeout: 60_000 }, async (t) => {
  const name = await here.couch.create('some');
  await bulk(name, ['a', 'b', 'c', 'd'].map((_id, n) => ({ _id, n })));
  if (!here.couch.isCouchDB) t.diagnostic('no pull with a selector: pouchdb-server has no such filter, and ends when it is asked');
  const got = await here.page.evaluate(async ([url, isCouchDB]) => {
    const ids = async (db) => (await db.allDocs()).rows.map(({ id }) => id).join();
    const out = {};
    for (const [called, options] of Object.entries({ ids: { doc_ids: ['b', 'd', 'nobody'] }, ...isCouchDB && { selector: { selector: { n: { $gte: 2 } } } }, now: { since: 'now' } })) {
      const db = await Database.open(`some-${called}`);
      await db.replicate.from(url, options);
      out[called] = await ids(db);
    }
    const from = await Database.open('some-out');
    await from.bulkDocs(['x', 'y', 'z'].map((_id, n) => ({ _id, n })));
    await from.replicate.to(url, { doc_ids: ['y'] });
    await from.replicate.to(url, { selector: { n: 2 } });
    return out;
  }, [here.proxy.dbUrl(name), here.couch.isCouchDB]);
  assert.deepEqual(got, { ids: 'b,d', ...here.couch.isCouchDB && { selector: 'c,d' }, now: '' });
  assert.deepEqual(await allIds(name), ['a', 'b', 'c', 'd', 'y', 'z']);
});

test('between databases here: by handle, by name, both ways, live', { timeout: 60_000 }, async () => {
  const got = await here.page.evaluate(async () => {
    const [a, b, m] = [await Database.open('local-a'), await Database.open('local-b'), await Database.open('local-m', { storage: 'memory' })];
    await a.put({ _id: 'a', n: 1, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(100_000).fill(7) } } });
    await b.put({ _id: 'b', n: 2 });
    const out = {};
    const { push, pull } = await a.sync(b);
    out.sync = [push.docs_written, pull.docs_written, (await b.getAttachment('a', 'f')).size, (await a.get('b')).n];
    const result = await Database.replicate('local-b', 'local-c');
    out.byName = [result.ok, result.docs_written, (await (await Database.open('local-c')).info()).doc_count];
    out.toMemory = (await m.replicate.from(a)).docs_written;
    out.again = (await m.replicate.from(a)).docs_written;
    const live = watch(Database.sync(a, m, { live: true }));
    await until(() => live.log.includes('paused'), 'pausing');
    await a.put({ _id: 'later', n: 3 });
    await m.put({ _id: 'too', n: 4 });
    out.live = [(await until(() => m.get('later'), 'push')).n, (await until(() => a.get('too'), 'pull')).n];
    live.cancel();
    out.ended = (await live).push.status;
    await m.remove(await m.get('a'));
    await m.replicate.to(a);
    out.deleted = (await failure(a.get('a'))).reason;
    return out;
  });
  assert.deepEqual(got, {
    sync: [1, 1, 100_000, 2], byName: [true, 2, 2], toMemory: 2, again: 0, live: [3, 4], ended: 'cancelled', deleted: 'deleted',
  });
});

test('in Node, from memory', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('node');
  const { Database } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  const db = await Database.open('node-sync');
  await put(name, { _id: 'there', n: 1 });
  await db.put({ _id: 'here', n: 2, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(100_000).fill(9) } } });
  const { push, pull } = await db.sync(here.proxy.dbUrl(name));
  assert.deepEqual([push.docs_written, pull.docs_written], [1, 1]);
  assert.equal((await db.get('there')).n, 1);
  const stub = (await get(name, 'here'))._attachments.f;
  assert.equal(stub.length, 100_000);
  const live = db.sync(here.proxy.dbUrl(name), { live: true, retry: true });
  await put(name, { _id: 'later' });
  await waitFor(() => db.get('later'), { what: 'a change arriving live' });
  await db.close();
  assert.equal((await live).pull.status, 'cancelled');
});
