// Replication with a CouchDB-compatible server, through a proxy that keeps what is said; and between databases here.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { launchBrowser, sleep, startCouch, waitFor } from './lib/index.mjs';
import { answerOf, bodyOf, startRecorder } from './lib/recorder.mjs';
import { openTab, ready, startSite } from './lib/tab.mjs';

let couch;
let proxy;
let site;
let browser;
let page;

before(async () => {
  couch = await startCouch();
  proxy = await startRecorder(couch);
  site = await startSite();
  browser = await launchBrowser();
  page = await openTab(browser, site.origin);
  await helpers(page);
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await proxy?.close();
  await couch?.close();
});
beforeEach(() => {
  proxy.clear();
  proxy.fail(null);
});

// watch(task): the same task, with the names of its events in `task.log`.
const helpers = (tab) => tab.evaluate(() => {
  globalThis.watch = (task) => {
    task.log = [];
    task.details = [];
    for (const event of ['change', 'paused', 'active', 'denied', 'checkpoint', 'complete', 'error']) {
      task.on(event, (detail) => { task.log.push(event); task.details.push([event, detail]); });
    }
    return task;
  };
  globalThis.until = async (probe, what, timeout = 15_000) => {
    for (const end = performance.now() + timeout; ;) {
      const value = await Promise.resolve(probe()).catch(() => {});
      if (value) return value;
      if (performance.now() > end) throw new Error(`${what} did not come true`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
});

const put = (name, doc) => couch.must('PUT', `/${name}/${encodeURIComponent(doc._id)}`, doc);
const get = (name, id, query = '') => couch.must('GET', `/${name}/${encodeURIComponent(id)}${query}`);
const bulk = (name, docs, more) => couch.must('POST', `/${name}/_bulk_docs`, { docs, ...more });
const allIds = async (name) => (await couch.must('GET', `/${name}/_all_docs`)).rows.map(({ id }) => id);
const to = (ending) => proxy.requests.filter(({ path: where }) => where.endsWith(ending));
const said = () => proxy.requests.map(({ method, path: where, status }) => `${method} ${where} ${status}`).join('\n');
const R = (c) => c.repeat(32);

// The leaves of a document: [rev, deleted, is], the winner first, the others sorted.
async function leavesThere(name, id) {
  const answer = await couch.must('GET', `/${name}/${encodeURIComponent(id)}?open_revs=all`, undefined, { accept: 'application/json' });
  const leaves = answer.filter(({ ok }) => ok).map(({ ok }) => [ok._rev, Boolean(ok._deleted), ok.is]);
  const winner = await couch.request('GET', `/${name}/${encodeURIComponent(id)}`);
  return { winner: winner.json._rev ?? winner.json.reason, leaves: leaves.sort() };
}
const leavesHere = (name, id) => page.evaluate(async ([called, doc]) => {
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
  const name = await couch.create('push');
  const { result, log, details, same } = await page.evaluate(async (url) => {
    const db = await Database.open('push');
    await db.bulkDocs([{ _id: 'a', n: 1.5, text: 'grüße 🌊' }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }, { _id: '_design/app', views: {} }]);
    await db.put({ ...await db.get('b'), n: 22 });
    await db.put({ ...await db.get('c'), _deleted: true, why: 'old' });
    await db.put({ _id: '_local/mine', n: 1 });
    const task = watch(db.replicate.to(url));
    const answer = await task;
    const complete = task.details.find(([event]) => event === 'complete')[1];
    return { result: answer, log: task.log, details: task.details, same: JSON.stringify(complete) === JSON.stringify(answer) };
  }, proxy.dbUrl(name));
  judgeResult(result, { docs_read: 4, docs_written: 4 });
  assert.ok(same, 'complete tells what the promise gives');
  assert.deepEqual(log.filter((event) => ['change', 'complete', 'error', 'denied'].includes(event)), ['change', 'complete']);
  const [, change] = details.find(([event]) => event === 'change');
  assert.deepEqual([change.ok, change.docs_read, change.docs_written, change.doc_write_failures, change.errors], [true, 4, 4, 0, []]);
  assert.deepEqual(change.docs.map(({ _id }) => _id).sort(), ['_design/app', 'a', 'b', 'c']);

  assert.deepEqual(await allIds(name), ['_design/app', 'a', 'b']);
  const { _rev, ...a } = await get(name, 'a');
  assert.deepEqual(a, { _id: 'a', n: 1.5, text: 'grüße 🌊' });
  assert.equal(_rev, await page.evaluate(async () => (await (await Database.open('push')).get('a'))._rev), 'the same revision on both sides');
  const b = await get(name, 'b', '?revs=true');
  assert.deepEqual([b.n, b._revisions.start, b._revisions.ids.length], [22, 2, 2]);
  assert.equal((await couch.request('GET', `/${name}/c`)).status, 404);
  const [[rev, isDeleted]] = (await leavesThere(name, 'c')).leaves;
  assert.equal(isDeleted, true);
  assert.equal((await get(name, 'c', `?rev=${rev}`)).why, 'old', 'a tombstone keeps its body');
  assert.equal((await couch.request('GET', `/${name}/_local/mine`)).status, 404);
  // As the protocol has it.
  // CouchDB counts tombstones, so an empty database is known to lack everything.
  assert.equal(to('/_revs_diff').length, couch.isCouchDB ? 0 : 1, said());
  const [batch] = to('/_bulk_docs');
  assert.equal(JSON.parse(bodyOf(batch)).new_edits, false);
  assert.ok(proxy.requests.some(({ method, path: where }) => method === 'PUT' && where.includes('/_local/')), said());
});

test('pull, once', { timeout: 60_000 }, async () => {
  const name = await couch.create('pull');
  await bulk(name, [{ _id: 'a', n: 1.5, text: 'grüße 🌊' }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }, { _id: '_design/app', views: {} }]);
  await put(name, { ...await get(name, 'b'), n: 22 });
  const c = await get(name, 'c');
  await couch.must('DELETE', `/${name}/c?rev=${c._rev}`);
  const got = await page.evaluate(async (url) => {
    const db = await Database.open('pull');
    const task = watch(db.replicate.from(url));
    const result = await task;
    return {
      result, log: task.log, docs: (await db.allDocs({ include_docs: true })).rows.map(({ doc }) => doc), gone: await failure(db.get('c')),
      b: await db.get('b', { revs: true }),
    };
  }, proxy.dbUrl(name));
  judgeResult(got.result, { docs_read: 4, docs_written: 4 });
  assert.deepEqual(got.log.filter((event) => ['change', 'complete', 'error', 'denied'].includes(event)), ['change', 'complete']);
  assert.deepEqual(got.docs, await Promise.all(['_design/app', 'a', 'b'].map((id) => get(name, id))));
  assert.deepEqual([got.gone.status, got.gone.reason], [404, 'deleted']);
  assert.equal(got.b._revisions.ids.length, 2);
  assert.ok(to('/_bulk_get').length > 0, said());
});

test('a thousand documents take a handful of requests, each way', { timeout: 60_000 }, async (t) => {
  const name = await couch.create('many');
  const there = await page.evaluate(async (url) => {
    const db = await Database.open('many-out');
    await db.bulkDocs(Array.from({ length: 1000 }, (_, i) => ({ _id: `doc:${i}`, n: i, text: 'x'.repeat(300) })));
    const { docs_written } = await db.replicate.to(url);
    return docs_written;
  }, proxy.dbUrl(name));
  assert.equal(there, 1000);
  t.diagnostic(`push: ${proxy.requests.length} requests`);
  assert.ok(proxy.requests.length <= 20, said());
  proxy.clear();
  const back = await page.evaluate(async (url) => {
    const db = await Database.open('many-in');
    const { docs_written } = await db.replicate.from(url);
    const { rows } = await db.allDocs({ include_docs: true });
    const out = await (await Database.open('many-out')).allDocs({ include_docs: true });
    return { docs_written, same: JSON.stringify(rows) === JSON.stringify(out.rows) };
  }, proxy.dbUrl(name));
  assert.deepEqual(back, { docs_written: 1000, same: true });
  t.diagnostic(`pull: ${proxy.requests.length} requests`);
  assert.ok(proxy.requests.length <= 20, said());
});

test('conflicts go both ways; both sides have the same leaves and the same winner', { timeout: 60_000 }, async () => {
  const name = await couch.create('conflicts');
  const branch = (id, ids, is, more) => ({ _id: id, _rev: `${ids.length}-${ids[0]}`, _revisions: { start: ids.length, ids }, is, ...more });
  await bulk(name, [
    branch('a', [R('b'), R('1')], 'there'), branch('longer', [R('3'), R('2'), R('1')], 'there'),
    branch('deleted', [R('f'), R('e'), R('1')], 'there', { _deleted: true }), branch('apart', [R('5')], 'there'),
  ], { new_edits: false });
  await page.evaluate(async ([url, docs]) => {
    const db = await Database.open('conflicts');
    await db.bulkDocs(docs, { new_edits: false });
    const result = await db.sync(url);
    if (!result.push.ok || !result.pull.ok) throw new Error(JSON.stringify(result));
  }, [proxy.dbUrl(name), [
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
  await page.evaluate(async (url) => {
    const db = await Database.open('conflicts');
    const doc = await db.get('a', { conflicts: true });
    await db.bulkDocs([{ ...doc, _conflicts: undefined, is: 'both' }, ...doc._conflicts.map((_rev) => ({ _id: 'a', _rev, _deleted: true }))]);
    await db.sync(url);
  }, proxy.dbUrl(name));
  const settled = await get(name, 'a', '?conflicts=true');
  assert.deepEqual([settled.is, settled._conflicts], ['both', undefined]);
});

test('attachments, small and large, byte for byte, the large ones not as base64', { timeout: 90_000 }, async (t) => {
  const name = await couch.create('attachments');
  const large = Buffer.alloc(300_000);
  for (let i = 0, x = 1; i < large.length; i += 1) { x = (Math.imul(x, 1664525) + 1013904223) >>> 0; large[i] = x >>> 24; }
  const middle = large.subarray(1000, 1000 + 70_000);
  const files = { 'large.bin': large, 'middle.bin': middle, 'small.txt': Buffer.from('hi'), empty: Buffer.alloc(0), 'dir/ü & more?.txt': Buffer.from('odd name') };
  const sum = (bytes) => createHash('md5').update(bytes).digest('base64');
  await page.evaluate(async ([url, given]) => {
    const db = await Database.open('attachments-out');
    const _attachments = Object.fromEntries(Object.entries(given).map(([file, base64]) => [file, {
      content_type: 'application/x-test', data: new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]),
    }]));
    await db.put({ _id: 'files', _attachments });
    await db.put({ _id: 'plain', n: 1 });
    const result = await db.replicate.to(url);
    if (result.docs_written !== 2) throw new Error(JSON.stringify(result));
  }, [proxy.dbUrl(name), Object.fromEntries(Object.entries(files).map(([file, bytes]) => [file, bytes.toString('base64')]))]);

  // Base64 of any part at any of its three alignments would show up in what was sent.
  const inBase64 = (text, bytes) => [0, 1, 2].some((shift) => text.includes(bytes.subarray(3000 + shift, 3060 + shift).toString('base64')));
  const sent = proxy.requests.map(bodyOf);
  assert.ok(!sent.some((body) => inBase64(body, large) || inBase64(body, middle)), 'nothing large went as base64');
  assert.ok(sent.some((body) => body.includes(large.subarray(5000, 5100))), 'it went as it is');
  const total = proxy.requests.reduce((bytes, { requestBytes }) => bytes + requestBytes, 0);
  t.diagnostic(`pushing ${large.length + middle.length} bytes of attachments took ${total} bytes in ${proxy.requests.length} requests`);
  assert.ok(total < 400_000, `${total} bytes were sent`);
  const stubs = (await get(name, 'files'))._attachments;
  for (const [file, bytes] of Object.entries(files)) {
    const res = await fetch(`${couch.url}/${name}/files/${encodeURIComponent(file)}`, { headers: couch.auth ? { authorization: `Basic ${btoa(`${couch.auth.username}:${couch.auth.password}`)}` } : {} });
    assert.equal(res.status, 200, file);
    assert.equal(sum(Buffer.from(await res.arrayBuffer())), sum(bytes), `${file} on the server`);
    assert.equal(stubs[file].content_type, 'application/x-test');
    assert.equal(stubs[file].length, bytes.length);
  }

  proxy.clear();
  const back = await page.evaluate(async (url) => {
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
  }, proxy.dbUrl(name));
  const received = proxy.requests.map(answerOf);
  assert.ok(!received.some((body) => inBase64(body, large) || inBase64(body, middle)), 'nothing large came as base64');
  for (const [file, bytes] of Object.entries(files)) {
    assert.deepEqual(back.out[file], {
      digest: `md5-${sum(bytes)}`, size: bytes.length, type: 'application/x-test', sha1: [...createHash('sha1').update(bytes).digest()].join(),
    }, `${file} back here`);
  }

  // An edit beside them comes over; what is there already is not fetched again.
  const { _rev, _attachments } = await get(name, 'files');
  await put(name, { _id: 'files', _rev, n: 2, _attachments });
  proxy.clear();
  const again = await page.evaluate(async (url) => {
    const db = await Database.open('attachments-in');
    await db.replicate.from(url);
    return { n: (await db.get('files')).n, size: (await db.getAttachment('files', 'large.bin')).size };
  }, proxy.dbUrl(name));
  assert.deepEqual(again, { n: 2, size: large.length });
  const bytes = proxy.requests.reduce((all, { answerBytes }) => all + answerBytes, 0);
  t.diagnostic(`pulling an edit beside them took ${bytes} bytes`);
});

test('identifiers of every kind', { timeout: 60_000 }, async () => {
  const name = await couch.create('names');
  const ids = ['a/b', 'ü?&#+ %20', '🌊', '"quoted"', 'a\\b', '+1', 'x'.repeat(200), '_design/ü', 'tab\there', ' leading', '%2F', 'a&b=c;d'];
  const dots = ['.', '..']; // a URL cannot name these two, so they have no attachments
  await page.evaluate(async ([url, list, unnamed]) => {
    const db = await Database.open('names-out');
    for (const [i, _id] of list.entries()) {
      const large = new Uint8Array(70_000).fill(i);
      await db.put({ _id, is: _id, _attachments: { [`f ${i} ü/?`]: { content_type: 'x/y', data: i % 2 ? large : new Uint8Array([i]) } } });
    }
    for (const _id of unnamed) await db.put({ _id, is: _id });
    const result = await db.replicate.to(url);
    if (result.docs_written !== list.length + 2) throw new Error(JSON.stringify(result));
  }, [proxy.dbUrl(name), ids, dots]);
  // Asked one by one: pouchdb-server leaves out of _all_docs what sorts after U+FFFF.
  const { results } = await couch.must('POST', `/${name}/_bulk_get`, { docs: [...ids, ...dots].map((id) => ({ id })) });
  assert.deepEqual(results.map(({ docs }) => docs[0].ok?._id), [...ids, ...dots]);
  const back = await page.evaluate(async (url) => {
    const db = await Database.open('names-in');
    await db.replicate.from(url);
    const out = [];
    for (const { id, doc } of (await db.allDocs({ include_docs: true })).rows) {
      const [file] = Object.keys(doc._attachments ?? {});
      out.push([id, doc.is, file ? (await db.getAttachment(id, file)).size : 0]);
    }
    return out;
  }, proxy.dbUrl(name));
  const expected = [...ids.map((id, i) => [id, id, i % 2 ? 70_000 : 1]), ...dots.map((id) => [id, id, 0])];
  assert.deepEqual(back.sort(), expected.sort());
});

test('a second run moves nothing; a third only what is new; a checkpoint that was lost costs no correctness', { timeout: 60_000 }, async (t) => {
  const name = await couch.create('checkpoints');
  await bulk(name, Array.from({ length: 50 }, (_, i) => ({ _id: `there:${i}` })));
  const sync = async () => {
    proxy.clear();
    await page.reload();
    await ready(page);
    await helpers(page);
    return page.evaluate(async (url) => {
      const db = await Database.open('checkpoints');
      if (!(await db.info()).doc_count) await db.bulkDocs(Array.from({ length: 50 }, (_, i) => ({ _id: `here:${i}` })));
      const { push, pull } = await db.sync(url);
      return { push: push.docs_written, pull: pull.docs_written, total: (await db.info()).doc_count };
    }, proxy.dbUrl(name));
  };
  const first = await sync();
  assert.equal(first.total, 100);
  assert.ok(first.push >= 50 && first.pull >= 50);
  const marks = [...new Set(proxy.requests.filter(({ method, path: where }) => method === 'PUT' && where.includes('/_local/')).map(({ path: where }) => where))];
  assert.ok(marks.length >= 1, said());

  await sync(); // each way may still have to look at what the other one wrote
  assert.deepEqual(await sync(), { push: 0, pull: 0, total: 100 });
  t.diagnostic(`with nothing to do: ${proxy.requests.length} requests`);
  assert.equal(to('/_bulk_docs').length + to('/_bulk_get').length + to('/_revs_diff').length, 0, said());
  assert.ok(proxy.requests.length <= 8, said());

  await put(name, { _id: 'new there' });
  assert.deepEqual(await sync(), { push: 0, pull: 1, total: 101 });
  const asked = to('/_bulk_get').flatMap((record) => JSON.parse(bodyOf(record)).docs);
  assert.deepEqual(asked.map(({ id }) => id), ['new there']);

  for (const mark of marks) {
    const { json } = await couch.request('GET', mark);
    await couch.must('DELETE', `${mark}?rev=${json._rev}`);
  }
  assert.deepEqual(await sync(), { push: 0, pull: 0, total: 101 });
  assert.equal(to('/_bulk_docs').length, 0, 'nothing is sent twice');
});

test('live: changes go both ways as they happen, until cancelled', { timeout: 60_000 }, async (t) => {
  const name = await couch.create('live');
  await put(name, { _id: 'first', n: 1 });
  await page.evaluate(async (url) => {
    globalThis.db = await Database.open('live-sync');
    await db.put({ _id: 'mine', n: 1 });
    globalThis.task = watch(db.sync(url, { live: true }));
    await until(() => db.get('first'), 'the first document being here');
    await until(() => task.log.includes('paused'), 'pausing');
  }, proxy.dbUrl(name));
  await waitFor(() => get(name, 'mine'), { what: 'the first document being there' });

  const took = { pull: [], push: [] };
  for (let n = 0; n < 5; n += 1) {
    const waiting = page.evaluate(async (id) => { await until(() => db.get(id), `${id} arriving`); return Date.now(); }, `there:${n}`);
    await sleep(60);
    const began = Date.now();
    await put(name, { _id: `there:${n}`, n });
    took.pull.push(await waiting - began);
    const written = await page.evaluate(async (id) => { const at = Date.now(); await db.put({ _id: id }); return at; }, `here:${n}`);
    await waitFor(() => get(name, `here:${n}`), { what: `here:${n} arriving`, interval: 10 });
    took.push.push(Date.now() - written);
  }
  t.diagnostic(`from the server here: ${took.pull.join(', ')} ms; from here to the server: ${took.push.join(', ')} ms`);
  assert.ok(Math.max(...took.pull, ...took.push) < 10_000);
  const { log, change } = await page.evaluate(() => ({ log: task.log, change: task.details.find(([event]) => event === 'change')[1] }));
  assert.ok(['change', 'paused', 'active'].every((event) => log.includes(event)), log.join());
  assert.ok(!log.includes('error') && !log.includes('complete'));
  assert.ok(['push', 'pull'].includes(change.direction));
  assert.ok(Array.isArray(change.change.docs) && change.change.docs.length > 0);

  const ended = await page.evaluate(async () => {
    task.cancel();
    task.cancel();
    const result = await task;
    await db.put({ _id: 'too late' });
    return { push: result.push.status, pull: result.pull.status, log: task.log, state: task.state, cancelled: task.cancelled };
  });
  assert.deepEqual([ended.push, ended.pull, ended.cancelled], ['cancelled', 'cancelled', true]);
  assert.equal(ended.log.filter((event) => event === 'complete').length, 1);
  await sleep(300);
  const count = proxy.requests.length;
  await put(name, { _id: 'too late there' });
  await sleep(700);
  assert.equal(proxy.requests.length, count, `nothing is asked any more: ${said()}`);
  assert.equal((await couch.request('GET', `/${name}/too%20late`)).status, 404);
});

test('close(), and an AbortSignal, end a live replication', { timeout: 60_000 }, async () => {
  const name = await couch.create('ended');
  const got = await page.evaluate(async (url) => {
    const db = await Database.open('ended');
    const controller = new AbortController();
    const first = watch(db.replicate.to(url, { live: true, signal: controller.signal }));
    await until(() => first.log.includes('paused'), 'pausing');
    controller.abort();
    const { status } = await first;
    const second = watch(db.sync(url, { live: true, retry: true }));
    await until(() => second.log.includes('paused'), 'pausing');
    await db.close();
    const both = await second;
    return { status, push: both.push.status, pull: both.pull.status };
  }, proxy.dbUrl(name));
  assert.deepEqual(got, { status: 'cancelled', push: 'cancelled', pull: 'cancelled' });
});

test('the server goes away and comes back: with retry it goes on by itself', { timeout: 120_000 }, async (t) => {
  const name = await couch.create('retry');
  await page.evaluate(async (url) => {
    globalThis.db = await Database.open('retry');
    globalThis.task = watch(db.sync(url, { live: true, retry: true, back_off_function: (last) => Math.min(1000, last ? last * 2 : 100) }));
    await db.put({ _id: 'before' });
    await until(() => task.log.includes('paused'), 'pausing');
  }, proxy.dbUrl(name));
  await waitFor(() => get(name, 'before'));
  await couch.stop();
  await page.evaluate(async () => {
    await db.put({ _id: 'meanwhile' });
    await until(() => task.details.some(([event, error]) => event === 'paused' && error), 'telling that the server is gone', 30_000);
  });
  const error = await page.evaluate(() => {
    const [, it] = task.details.find(([event, reason]) => event === 'paused' && reason);
    return { isError: it instanceof settee.SetteeError, name: it.name, status: it.status };
  });
  assert.deepEqual(error, { isError: true, name: 'network_error', status: 0 });
  await couch.start();
  const began = Date.now();
  await put(name, { _id: 'afterwards' });
  await waitFor(() => get(name, 'meanwhile'), { what: 'what was written meanwhile arriving', timeout: 60_000 });
  await page.evaluate(() => until(() => db.get('afterwards'), 'what was written there arriving', 60_000));
  t.diagnostic(`in step ${Date.now() - began} ms after the server was back`);

  // A server that is there and unwell is the same.
  proxy.fail(() => 503);
  await page.evaluate(async () => {
    task.log.length = task.details.length = 0;
    await db.put({ _id: 'unwell' });
    await until(() => task.details.some(([event, reason]) => event === 'paused' && reason?.status === 503), 'telling that the server is unwell', 30_000);
  });
  proxy.fail(null);
  await waitFor(() => get(name, 'unwell'), { what: 'it arriving after all', timeout: 60_000 });
  assert.deepEqual(await page.evaluate(async () => { task.cancel(); const { push } = await task; return [push.ok, task.log.includes('error')]; }), [true, false]);
});

test('what cannot work is told as a typed error', { timeout: 60_000 }, async () => {
  const name = await couch.create('errors');
  const failed = (what, ...args) => page.evaluate(what, args);
  const nowhere = 'http://127.0.0.1:9/db'; // nobody listens there
  for (const how of ['to', 'from']) {
    const got = await failed(async ([direction, url]) => {
      const db = await Database.open('errors');
      const task = watch(db.replicate[direction](url));
      return { ...await failure(task), log: task.log, state: task.state };
    }, how, nowhere);
    assert.deepEqual([got.isError, got.name, got.status], [true, 'network_error', 0], how);
    assert.deepEqual(got.log.filter((event) => event !== 'active'), ['error']);
  }
  const live = await failed(async ([url]) => failure((await Database.open('errors')).sync(url, { live: true })), nowhere);
  assert.deepEqual([live?.isError, live?.name], [true, 'network_error'], 'live without retry ends');
  for (const url of ['http://', 'http://:80/db', 'http://host:99999/db', 'https://exa mple/db']) {
    const got = await failed(async ([address]) => failure((await Database.open('errors')).sync(address)), url);
    assert.deepEqual([got?.isError, got?.name, got?.status], [true, 'bad_request', 400], url);
  }
  const missing = await failed(async ([url]) => failure((await Database.open('errors')).replicate.from(url)), proxy.dbUrl(couch.name('not-there')));
  assert.deepEqual([missing?.isError, missing?.name, missing?.status], [true, 'not_found', 404]);
  const notCouch = await failed(async ([url]) => failure((await Database.open('errors')).replicate.from(url)), `${site.origin}/blank.html`);
  assert.equal(notCouch?.isError, true);
  const nothing = await failed(async () => failure((await Database.open('errors')).sync()));
  assert.deepEqual([nothing?.isError, nothing?.name], [true, 'bad_request']);
  // A push makes the database that is not there.
  const fresh = couch.name('made');
  await page.evaluate(async (url) => {
    const db = await Database.open('errors');
    await db.put({ _id: 'a' });
    await db.replicate.to(url);
  }, proxy.dbUrl(fresh));
  assert.deepEqual(await allIds(fresh), ['a']);

  // A wrong password, that nobody gets to read.
  const password = 'p@ss:wörd/?#%20';
  const auth = { username: 'nobody ü', password };
  for (const [where, options] of [[proxy.dbUrl(name, auth), {}], [proxy.dbUrl(name, null), { auth }]]) {
    proxy.clear();
    const got = await failed(async ([url, given]) => {
      const db = await Database.open('errors');
      const task = watch(db.sync(url, given));
      const plain = await failure(task);
      const all = JSON.stringify([plain, task.log, task.details]) + await task.then(() => '', (error) => `${error} ${error.stack} ${error.cause} ${JSON.stringify(error)}`);
      return { plain, all };
    }, where, options);
    assert.deepEqual([got.plain.isError, got.plain.name, got.plain.status], [true, 'unauthorized', 401]);
    for (const secret of [password, encodeURIComponent(password), 'wörd', 'w%C3%B6rd', btoa(unescape(encodeURIComponent(`${auth.username}:${password}`)))]) {
      assert.ok(!got.all.includes(secret), `the password shows: ${got.all}`);
    }
    assert.equal(Buffer.from(proxy.requests[0].authorization.split(' ')[1], 'base64').toString(), `${auth.username}:${password}`);
  }
});

test('a document the server refuses does not hold up the others', { timeout: 60_000 }, async (t) => {
  const name = await couch.create('denied');
  await put(name, { _id: '_design/rules', validate_doc_update: 'function (doc) { if (doc.bad) throw({ forbidden: "bad documents are not welcome" }); }' });
  const probe = await couch.request('PUT', `/${name}/probe`, { bad: true });
  if (probe.status !== 403) return t.skip(`this server does not run validate_doc_update: it answered ${probe.status}`);
  const got = await page.evaluate(async (url) => {
    const db = await Database.open('denied');
    await db.bulkDocs(Array.from({ length: 20 }, (_, i) => ({ _id: `doc:${i}`, bad: i % 5 === 2 })));
    // One that goes over on its own, for its size.
    await db.put({ _id: 'large', bad: true, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(100_000) } } });
    await db.put({ _id: 'last', n: 1 });
    const task = watch(db.replicate.to(url));
    const result = await task;
    const denied = task.details.filter(([event]) => event === 'denied').map(([, error]) => [error instanceof settee.SetteeError, error.id, error.name, error.status, error.reason]);
    return { result, denied };
  }, proxy.dbUrl(name));
  const bad = ['doc:12', 'doc:17', 'doc:2', 'doc:7', 'large'];
  assert.deepEqual(got.denied.map(([, id]) => id).sort(), bad);
  for (const [isError, , called, status, reason] of got.denied) assert.deepEqual([isError, called, status, reason], [true, 'forbidden', 403, 'bad documents are not welcome']);
  assert.deepEqual([got.result.ok, got.result.status, got.result.docs_written, got.result.doc_write_failures], [true, 'complete', 17, 5]);
  assert.equal((await allIds(name)).length, 18);
  // What was refused is tried once by each replication that starts, and nothing else is.
  const again = await page.evaluate(async (url) => {
    const db = await Database.open('denied');
    const { docs_read, docs_written, doc_write_failures } = await db.replicate.to(url);
    // Changed, it is welcome.
    for (const { doc } of (await db.allDocs({ include_docs: true })).rows) if (doc.bad) await db.put({ ...doc, bad: undefined });
    const task = db.replicate.to(url);
    const changed = (await task).docs_written;
    return { docs_read, docs_written, doc_write_failures, changed, pushed: [await task.isPushed('large'), await task.isPushed('doc:12')] };
  }, proxy.dbUrl(name));
  assert.deepEqual(again, { docs_read: 5, docs_written: 0, doc_write_failures: 5, changed: 5, pushed: [true, true] });
  assert.equal(await page.evaluate(async (url) => (await (await Database.open('denied')).replicate.to(url)).docs_read, proxy.dbUrl(name)), 0);
});

// Every phase that a task is in, as its events and its iterator tell it.
const follow = (tab) => tab.evaluate(() => {
  globalThis.follow = (task) => {
    task.phases = [];
    task.iterated = [];
    const add = (list, { phase }) => { if (list.at(-1) !== phase) list.push(phase); };
    task.on('status', (status) => add(task.phases, status));
    task.iterating = (async () => { for await (const status of task) add(task.iterated, status); })();
    return task;
  };
});

test('the status of a sync tells what goes on: offline, unwell, a login, a pause; nothing is lost on the way', { timeout: 120_000 }, async () => {
  const name = await couch.create('status');
  await put(name, { _id: 'there' });
  await follow(page);
  const phase = (expected) => page.evaluate((it) => until(() => task.status.phase === it, `being ${it}`, 30_000), expected);
  await page.evaluate(async (url) => {
    globalThis.db = await Database.open('status');
    for (const failed of settee.status.status.replications) failed.cancel();
    await db.put({ _id: 'here', n: 1 });
    const began = Date.now();
    globalThis.task = follow(watch(db.sync(url, { live: true, retry: true, back_off_function: () => 200 })));
    const { phase: first, since, pending, bytes, error } = task.status;
    if (first !== 'connecting' || since < began - 1 || error !== null || !Object.isFrozen(task.status)) throw new Error(JSON.stringify(task.status));
    if (JSON.stringify([pending, bytes]) !== '[{"up":null,"down":null},{"up":0,"down":0}]') throw new Error(JSON.stringify(task.status));
  }, proxy.dbUrl(name));
  await phase('live');
  const done = await page.evaluate(() => ({ ...task.status, overall: settee.status.status.phase, mine: settee.status.status.replications.includes(task.push) }));
  assert.deepEqual([done.pending, done.error, done.push.docsWritten, done.pull.docsWritten], [{ up: 0, down: 0 }, null, 1, 1]);
  assert.ok(done.bytes.up > 0 && done.bytes.down > 0 && done.mine);
  assert.equal(done.overall, 'live');

  await couch.stop();
  await page.evaluate(() => db.bulkDocs([{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }]));
  await phase('offline');
  const offline = await page.evaluate(async () => {
    await until(() => task.status.pending.up === 3, 'counting what is to be sent');
    const { status } = task;
    return { name: status.error.name, isError: status.error instanceof settee.SetteeError, since: status.since, pushed: [await task.isPushed('a'), await task.isPushed('here')] };
  });
  assert.deepEqual([offline.name, offline.isError, offline.pushed], ['network_error', true, [false, true]]);
  await sleep(500);
  assert.equal(await page.evaluate(() => task.status.since), offline.since, 'offline since when it began');
  proxy.fail(() => 503);
  await couch.start();
  await phase('waiting');
  proxy.fail(() => 401);
  await phase('needs-auth');
  assert.equal(await page.evaluate(() => settee.status.status.error.status), 401);
  proxy.fail(null);
  await page.evaluate(() => task.login());
  await phase('live');
  assert.deepEqual(await allIds(name), ['a', 'b', 'c', 'here', 'there']);
  assert.equal(await page.evaluate(() => task.isPushed('a')), true);

  await page.evaluate(() => { task.log.length = 0; task.pause(); });
  await phase('paused');
  assert.ok((await page.evaluate(() => task.log)).includes('paused'));
  await page.evaluate(() => db.put({ _id: 'while paused' }));
  proxy.clear();
  await sleep(500);
  assert.equal(proxy.requests.length, 0, said());
  await page.evaluate(() => task.resume());
  await waitFor(() => get(name, 'while paused'), { what: 'what was written while it was paused arriving' });
  await phase('live');
  const ended = await page.evaluate(async () => {
    task.cancel();
    await task;
    await task.iterating;
    const { phases, iterated, status } = task;
    return { phases, iterated, phase: status.phase, push: status.push.phase, left: settee.status.status.replications.includes(task.push) };
  });
  assert.deepEqual([ended.phase, ended.push, ended.left], ['stopped', 'stopped', false]);
  const order = ['live', 'offline', 'waiting', 'needs-auth', 'live', 'paused', 'live', 'stopped'];
  for (const told of [ended.phases, ended.iterated]) {
    let at = 0;
    for (const it of told) if (it === order[at]) at += 1;
    assert.equal(at, order.length, told.join());
  }
});

test('without retry a replication that fails says so, here and in the status of all', { timeout: 60_000 }, async () => {
  await follow(page);
  const got = await page.evaluate(async () => {
    const db = await Database.open('failing');
    const task = follow(db.replicate.to('http://127.0.0.1:9/db', { live: true }));
    await failure(task);
    await task.iterating;
    const overall = settee.status.status;
    const out = { phases: task.iterated, error: task.status.error.name, overall: [overall.phase, overall.error.name, overall.replications.includes(task)] };
    const never = db.replicate.to('http://');
    await failure(never);
    out.never = [never.status.phase, never.status.error.name];
    never.cancel();
    task.cancel();
    out.after = settee.status.status.replications.includes(task);
    return out;
  });
  assert.deepEqual(got, {
    phases: ['connecting', 'failed'], error: 'network_error', overall: ['failed', 'network_error', true], never: ['failed', 'bad_request'], after: false,
  });
});

test('a document that a login may not write goes over after the next one', { timeout: 60_000 }, async () => {
  const name = await couch.create('denied-login');
  await put(name, { _id: '_design/rules', validate_doc_update: 'function (doc) { if (doc.owner) throw { forbidden: "not yours" }; }' });
  await page.evaluate(async (url) => {
    globalThis.db = await Database.open('denied-login');
    await db.bulkDocs([{ _id: 'a' }, { _id: 'b', owner: 'somebody' }, { _id: 'c' }]);
    globalThis.task = watch(db.sync(url, { live: true, retry: true }));
    await until(() => task.log.includes('denied'), 'being denied');
    await until(() => task.status.phase === 'live', 'being live');
  }, proxy.dbUrl(name));
  assert.deepEqual(await allIds(name), ['_design/rules', 'a', 'c']);
  assert.equal(await page.evaluate(() => task.isPushed('b')), false);
  const rules = await get(name, '_design/rules');
  await couch.must('DELETE', `/${name}/_design/rules?rev=${rules._rev}`);
  await page.evaluate(() => task.login());
  await waitFor(() => get(name, 'b'), { what: 'the document arriving after a login' });
  await page.evaluate(() => until(() => task.isPushed('b'), 'being known as pushed'));
  await page.evaluate(async () => { task.cancel(); await task; });
});

test('only some documents: doc_ids, selector, since', { timeout: 60_000 }, async (t) => {
  const name = await couch.create('some');
  await bulk(name, ['a', 'b', 'c', 'd'].map((_id, n) => ({ _id, n })));
  if (!couch.isCouchDB) t.diagnostic('no pull with a selector: pouchdb-server has no such filter, and ends when it is asked');
  const got = await page.evaluate(async ([url, isCouchDB]) => {
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
  }, [proxy.dbUrl(name), couch.isCouchDB]);
  assert.deepEqual(got, { ids: 'b,d', ...couch.isCouchDB && { selector: 'c,d' }, now: '' });
  assert.deepEqual(await allIds(name), ['a', 'b', 'c', 'd', 'y', 'z']);
});

test('between databases here: by handle, by name, both ways, live', { timeout: 60_000 }, async () => {
  const got = await page.evaluate(async () => {
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

test('two tabs replicate the same database at once: nothing is doubled or lost', { timeout: 60_000 }, async () => {
  const name = await couch.create('tabs');
  const other = await openTab(browser, site.origin);
  await helpers(other);
  for (const tab of [page, other]) {
    await tab.evaluate(async (url) => {
      globalThis.db = await Database.open('tabs-sync');
      globalThis.task = watch(db.sync(url, { live: true, retry: true }));
    }, proxy.dbUrl(name));
  }
  await Promise.all([page, other].map((tab, who) => tab.evaluate(async (me) => {
    for (let n = 0; n < 30; n += 1) await db.put({ _id: `tab${me}:${n}`, n });
  }, who)));
  await bulk(name, Array.from({ length: 30 }, (_, n) => ({ _id: `server:${n}` })));
  await waitFor(async () => (await allIds(name)).length === 90, { what: 'all on the server', timeout: 30_000 });
  await page.evaluate(() => until(async () => (await db.info()).doc_count === 90, 'all here', 30_000));
  const { rows } = await couch.must('GET', `/${name}/_all_docs?include_docs=true&conflicts=true`);
  assert.deepEqual(rows.filter(({ doc }) => doc._conflicts || !doc._rev.startsWith('1-')), []);
  for (const tab of [page, other]) assert.deepEqual(await tab.evaluate(async () => { task.cancel(); await task; return task.log.includes('error'); }), false);
  await other.close();
});

test('in Node, from memory', { timeout: 60_000 }, async () => {
  const name = await couch.create('node');
  const { Database } = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
  const db = await Database.open('node-sync');
  await put(name, { _id: 'there', n: 1 });
  await db.put({ _id: 'here', n: 2, _attachments: { f: { content_type: 'x/y', data: new Uint8Array(100_000).fill(9) } } });
  const { push, pull } = await db.sync(proxy.dbUrl(name));
  assert.deepEqual([push.docs_written, pull.docs_written], [1, 1]);
  assert.equal((await db.get('there')).n, 1);
  const stub = (await get(name, 'here'))._attachments.f;
  assert.equal(stub.length, 100_000);
  const live = db.sync(proxy.dbUrl(name), { live: true, retry: true });
  await put(name, { _id: 'later' });
  await waitFor(() => db.get('later'), { what: 'a change arriving live' });
  await db.close();
  assert.equal((await live).pull.status, 'cancelled');
});
