// The database in a real browser over IndexedDB: what lasts, what comes out as it went in, live changes across tabs
// and workers, and the shapes PouchDB's documentation promises.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { launchBrowser, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { openTab, ready, startSite } from './lib/tab.mjs';

const REV = /^[1-9]\d*-[0-9a-f]{32}$/;
const WORKER = `
  import * as settee from '/settee/settee.js';
  import { sealing } from '/lib/channels.mjs';
  const Database = ${kind.sealed} ? sealing(settee) : settee.Database;
  const seen = [];
  const listen = async (reply) => {
    const db = await Database.open('live');
    db.changes({ since: 0, live: true, include_docs: true })
      .on('change', ({ id, seq, doc }) => seen.push({ id, seq, n: doc.n }))
      .on('error', (error) => reply({ error: String(error) }));
    const write = { put: (doc) => db.put(doc), seen: () => seen };
    reply({ ready: true });
    return async ({ call, doc }) => reply({ [call]: await write[call](doc) });
  };
`;

let site;
let browser;

before(async () => {
  site = await startSite();
  browser = await launchBrowser();
  // Workers as real files of the origin; served by the page's own route.
  await browser.context.route('**/worker/*.js', (route) => route.fulfill({
    contentType: 'text/javascript',
    body: WORKER + (route.request().url().endsWith('shared.js')
      ? 'addEventListener("connect", async ({ ports: [port] }) => { const act = await listen((m) => port.postMessage(m)); port.onmessage = ({ data }) => act(data); });'
      : 'listen((m) => postMessage(m)).then((act) => { onmessage = ({ data }) => act(data); });'),
  }));
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

test('what was written survives a reload and a restart of the browser', { timeout: 60_000 }, async () => {
  const userDataDir = mkdtempSync(path.join(tmpdir(), 'settee-restart-'));
  let run;
  try {
    const write = () => globalThis.Database.open('lasting').then(async (db) => {
      await db.put({ _id: 'a', n: 1, text: 'grüße 🌊', list: [1.5, null, true] });
      await db.putAttachment('a', 'f', (await db.get('a'))._rev, new Blob(['hello']), 'text/plain');
      await db.put({ _id: 'b', n: 1 });
      await db.remove(await db.get('b'));
      await db.put({ _id: '_local/mark', n: 7 });
      const { told } = await bring(db, [
        { _id: 'c', _rev: '2-a', _revisions: { start: 2, ids: ['a', '0'] }, n: 1 },
        { _id: 'c', _rev: '3-b', _revisions: { start: 3, ids: ['b', '1', '0'] }, n: 2 },
      ]);
      return told((await db.get('c', { conflicts: true }))._conflicts);
    });
    const read = async () => {
      const db = await globalThis.Database.open('lasting');
      const { results, last_seq } = await db.changes({ style: 'all_docs', include_docs: true });
      const { uuid, ...info } = await db.info();
      return {
        info: { ...info, sizes: undefined }, uuid, last_seq, results,
        all: await db.allDocs({ include_docs: true, conflicts: true }),
        text: await (await db.getAttachment('a', 'f')).text(),
        local: (await db.get('_local/mark')).n,
      };
    };
    run = await launchBrowser({ userDataDir });
    let page = await openTab(run, site.origin);
    assert.deepEqual(await page.evaluate(write), ['2-a']);
    const before = await page.evaluate(read);
    assert.deepEqual(before.all.rows.map((row) => [row.id, row.doc.n, row.doc._conflicts?.length]), [['a', 1, undefined], ['c', 2, 1]]);
    assert.deepEqual([before.text, before.local], ['hello', 7]);
    await page.reload();
    await ready(page);
    assert.deepEqual(await page.evaluate(read), before, 'after a reload');
    await run.close({ keep: true });
    run = await launchBrowser({ userDataDir });
    page = await openTab(run, site.origin);
    const afterwards = await page.evaluate(read);
    assert.deepEqual(afterwards, before, 'after a restart');
    // It goes on from there.
    assert.equal(await page.evaluate(async () => {
      const db = await Database.open('lasting');
      await db.put({ ...await db.get('a'), n: 2 });
      return (await db.info()).update_seq;
    }), before.info.update_seq + 1);
    assert.deepEqual(run.errors, []);
  } finally {
    await run?.close();
    rmSync(userDataDir, { recursive: true, force: true, maxRetries: 10 });
  }
});

test('JSON text comes out byte for byte', async () => {
  const page = await openTab(browser, site.origin);
  const bodies = [
    '"n":1.0', '"n":1e3,"m":-0,"z":0.10', '"n":12345678901234567890,"huge":123456789012345678901234567890.5e-7',
    '"text":"grüße \\u00e9 \\ud83c\\udf0a \\" \\\\ / \\/","":"empty name"', '"z":1,"a":{"z":[ 1 , 2 ],"a":{}},"m":{"__proto__":{"x":1}}',
    `"long":"${'ü'.repeat(100_000)}"`, '"nul":"\\u0000","line":"\\u2028"',
  ];
  const got = await page.evaluate(async (texts) => {
    const db = await Database.open('bytes');
    const out = [];
    for (const [i, text] of texts.entries()) {
      const { rev } = await db.putJson(`{"_id":"doc${i}",${text}}`);
      out.push({ rev, json: await db.getJson(`doc${i}`) });
    }
    return out;
  }, bodies);
  got.forEach(({ rev, json }, i) => {
    assert.match(rev, REV);
    assert.equal(json, `{"_id":"doc${i}","_rev":"${rev}",${bodies[i]}}`);
  });
  // And after a reload; an edit of the text keeps the rest.
  await page.reload();
  await ready(page);
  const again = await page.evaluate(async () => {
    const db = await Database.open('bytes');
    const before = await db.getJson('doc2');
    const { rev } = await db.putJson(before.replace('"n":', '"added":true,"n":'));
    return { before, rev, after: await db.getJson('doc2'), old: await db.getJson('doc2', { rev: JSON.parse(before)._rev }) };
  });
  assert.equal(again.before, got[2].json);
  assert.equal(again.old, got[2].json);
  assert.equal(again.after, `{"_id":"doc2","_rev":"${again.rev}","added":true,${bodies[2]}}`);
  await page.close();
});

test('the same edit of the same parent is the same revision, whoever makes it', async () => {
  const page = await openTab(browser, site.origin);
  // In a sealed channel: on every device of it.
  const [one, two, three] = await page.evaluate(async (isSealed) => {
    const revs = [];
    let first;
    for (const [name, storage, doc] of [['r1', 'indexeddb', { _id: 'a', x: 1, y: 'ü' }], ['r2', 'memory', { _id: 'a', y: 'ü', x: 1 }], ['r3', 'memory', { _id: 'a', x: 2, y: 'ü' }]]) {
      const db = await Database.open(name, { storage, ...isSealed && first && { copyOf: first } });
      first ??= db;
      const { rev } = await db.put(doc);
      revs.push([rev, (await db.put({ ...doc, _rev: rev, more: [1] })).rev, (await db.remove(await db.get('a'))).rev]);
    }
    return revs;
  }, kind.sealed);
  assert.deepEqual(one, two);
  assert.notEqual(one[0], three[0]);
  assert.deepEqual(one.map((rev) => rev.split('-')[0]), ['1', '2', '3']);
  await page.close();
});

test('a hundred megabytes go in and out as a Blob', { timeout: 120_000 }, async (t) => {
  const page = await openTab(browser, site.origin);
  const MB = 1 << 20;
  // What the page writes, made again here.
  const block = (i) => { const bytes = Buffer.alloc(MB); for (let at = 0; at < MB; at += 4) bytes.writeUInt32LE((at * 2654435761 + i) >>> 0, at); return bytes; };
  const md5 = createHash('md5');
  for (let i = 0; i < 100; i += 1) md5.update(block(i));
  const digest = `md5-${md5.digest('base64')}`;

  const written = await page.evaluate(async (size) => {
    const parts = [];
    for (let i = 0; i < 100; i += 1) {
      const numbers = new Uint32Array(size / 4);
      for (let at = 0; at < size; at += 4) numbers[at / 4] = (Math.imul(at, 2654435761) + i) >>> 0;
      parts.push(new Blob([numbers]));
    }
    const blob = new Blob(parts, { type: 'video/mp4' });
    const db = await Database.open('large');
    const began = performance.now();
    // Not through _attachments: there is one more way in, used below.
    const { rev } = await db.putAttachment('film', 'film.mp4', blob, 'video/mp4');
    const took = performance.now() - began;
    const second = await db.put({ _id: 'copy', _attachments: { 'copy.mp4': { content_type: 'video/mp4', data: blob } } });
    const { _attachments } = await db.get('film', { rev });
    // How much of WebAssembly's memory was ever needed shows in its size: it never shrinks.
    return { took, _attachments, second, copy: (await db.get('copy'))._attachments };
  }, MB);
  assert.deepEqual(written._attachments, { 'film.mp4': { content_type: 'video/mp4', revpos: 1, digest, length: 100 * MB, stub: true } });
  assert.deepEqual(written.copy['copy.mp4'].digest, digest);

  await page.reload();
  await ready(page);
  const session = await browser.context.newCDPSession(page);
  const heap = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize, backingStorageSize = 0 } = await session.send('Runtime.getHeapUsage');
    return usedSize + backingStorageSize;
  };
  const before = await heap();
  const got = await page.evaluate(async (size) => {
    const db = await Database.open('large');
    const began = performance.now();
    const blob = await db.getAttachment('film', 'film.mp4');
    const took = performance.now() - began;
    const { _attachments } = await db.get('film', { attachments: true, binary: true });
    let wrong = 0;
    const reads = [0, 1, 50, 99];
    for (const i of reads) {
      const numbers = new Uint32Array(await blob.slice(i * size, (i + 1) * size).arrayBuffer());
      for (let at = 0; at < size; at += 4) if (numbers[at / 4] !== ((Math.imul(at, 2654435761) + i) >>> 0)) wrong += 1;
    }
    globalThis.kept = blob;
    return {
      took, size: blob.size, type: blob.type, isBlob: blob instanceof Blob, wrong,
      binary: { isBlob: _attachments['film.mp4'].data instanceof Blob, size: _attachments['film.mp4'].data.size },
    };
  }, MB);
  const grown = await heap() - before;
  t.diagnostic(`100 MB written in ${Math.round(written.took)} ms, opened in ${Math.round(got.took)} ms; the page's heap grew by ${(grown / 1e6).toFixed(1)} MB`);
  assert.deepEqual({ ...got, took: 0 }, {
    took: 0, size: 100 * MB, type: 'video/mp4', isBlob: true, wrong: 0, binary: { isBlob: true, size: 100 * MB },
  });
  assert.ok(grown < 20e6, `reading 100 MB as a Blob holds ${grown} bytes in memory`);

  // One content for both, but sealed for each: deleting one leaves the other whole, and compaction frees it when both are gone.
  const rest = await page.evaluate(async () => {
    const db = await Database.open('large');
    globalThis.kept = undefined;
    const contents = () => new Promise((resolve, reject) => {
      const open = indexedDB.open('settee:large');
      open.onerror = () => reject(open.error);
      open.onsuccess = () => {
        const request = open.result.transaction('contents').objectStore('contents').count();
        request.onsuccess = () => { open.result.close(); resolve(request.result); };
      };
    });
    const counts = [await contents()];
    await db.remove(await db.get('film'));
    await db.compact();
    counts.push(await contents());
    const { size } = await db.getAttachment('copy', 'copy.mp4');
    await db.remove(await db.get('copy'));
    await db.compact();
    counts.push(await contents());
    await db.destroy();
    return { counts, size };
  });
  assert.deepEqual(rest, { counts: [kind.sealed ? 2 : 1, 1, 0], size: 100 * MB });
  await page.close();
});

test('attachments: empty ones, every way in, base64 and bytes out', async () => {
  const page = await openTab(browser, site.origin);
  const got = await page.evaluate(async () => {
    const db = await Database.open('attachments');
    const bytes = new Uint8Array(70_000).map((_, i) => i * 7);
    const data = {
      empty: new Blob([]), emptyBytes: new Uint8Array(0), emptyText: '', blob: new Blob([bytes]), bytes, buffer: bytes.buffer,
      view: new DataView(bytes.buffer, 10, 20), file: new File([bytes], 'f.bin'), text: 'aGk=',
    };
    const _attachments = Object.fromEntries(Object.entries(data).map(([name, one]) => [name, { content_type: 'x/y', data: one }]));
    await db.put({ _id: 'a', _attachments });
    bytes.fill(0); // copied, not kept hold of
    const doc = await db.get('a');
    const inline = await db.get('a', { attachments: true });
    const binary = await db.get('a', { attachments: true, binary: true });
    const sums = {};
    for (const name of Object.keys(data)) {
      const blob = await db.getAttachment('a', name);
      const out = new Uint8Array(await blob.arrayBuffer());
      const base64 = inline._attachments[name].data;
      sums[name] = {
        type: blob.type, size: out.length, sum: out.reduce((a, b) => a + b, 0), isBlob: binary._attachments[name].data instanceof Blob,
        same: base64 === btoa([...out].map((byte) => String.fromCharCode(byte)).join('')),
        sameBinary: (await binary._attachments[name].data.arrayBuffer()).byteLength === out.length,
      };
    }
    return { doc: doc._attachments, sums, inline: inline._attachments.text };
  });
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7);
  const md5 = (data) => `md5-${createHash('md5').update(data).digest('base64')}`;
  const sum = (data) => data.reduce((a, b) => a + b, 0);
  const expected = {
    empty: '', emptyBytes: '', emptyText: '', blob: bytes, bytes, buffer: bytes, view: bytes.subarray(10, 30), file: bytes, text: Buffer.from('hi'),
  };
  assert.deepEqual(got.doc, Object.fromEntries(Object.entries(expected).map(([name, data]) => [
    name, { content_type: 'x/y', revpos: 1, digest: md5(data), length: data.length, stub: true },
  ])));
  assert.equal(got.doc.empty.digest, 'md5-1B2M2Y8AsgTpgAmY7PhCfg==');
  for (const [name, data] of Object.entries(expected)) {
    assert.deepEqual(got.sums[name], { type: 'x/y', size: data.length, sum: data.length ? sum([...data]) : 0, isBlob: true, same: true, sameBinary: true }, name);
  }
  assert.deepEqual(got.inline, { content_type: 'x/y', revpos: 1, digest: md5('hi'), data: 'aGk=' });

  // Stubs carry over, revpos stays, removal removes.
  const edited = await page.evaluate(async () => {
    const db = await Database.open('attachments');
    const doc = await db.get('a');
    delete doc._attachments.text;
    await db.put({ ...doc, n: 2 });
    const { rev } = await db.putAttachment('a', 'new', (await db.get('a'))._rev, new Blob(['n']), 'text/plain');
    await db.removeAttachment('a', 'empty', rev);
    const { _attachments } = await db.get('a');
    return {
      revpos: Object.fromEntries(Object.entries(_attachments).map(([name, one]) => [name, one.revpos])),
      old: await (await db.getAttachment('a', 'text', { rev: doc._rev })).text(),
      gone: await failure(db.getAttachment('a', 'text')),
    };
  });
  assert.deepEqual(edited.revpos, { emptyBytes: 1, emptyText: 1, blob: 1, bytes: 1, buffer: 1, view: 1, file: 1, new: 3 });
  assert.equal(edited.old, 'hi');
  assert.deepEqual([edited.gone.status, edited.gone.name], [404, 'not_found']);
  await page.close();
});

test('two tabs, a worker and a shared worker each see every commit once, in order', { timeout: 90_000 }, async () => {
  const [one, two] = [await openTab(browser, site.origin), await openTab(browser, site.origin)];
  for (const page of [one, two]) {
    await page.evaluate(async () => {
      globalThis.db = await Database.open('live');
      globalThis.seen = [];
      db.changes({ since: 0, live: true, include_docs: true }).on('change', ({ id, seq, doc }) => seen.push({ id, seq, n: doc.n }));
    });
  }
  await one.evaluate(async () => {
    const connect = (port) => {
      const waiting = [];
      port.onmessage = ({ data }) => waiting.shift()(data);
      const answer = () => new Promise((resolve) => waiting.push(resolve));
      return { first: answer(), ask: (message) => { port.postMessage(message); return answer(); } };
    };
    globalThis.worker = connect(new Worker('/worker/dedicated.js', { type: 'module' }));
    globalThis.shared = connect(new SharedWorker('/worker/shared.js', { type: 'module' }).port);
    const answers = await Promise.all([worker.first, shared.first]);
    if (!answers.every((answer) => answer.ready)) throw new Error(JSON.stringify(answers));
  });
  // All four write their own documents at once: one by one, started together, and in batches.
  const COUNT = 60;
  await Promise.all([
    one.evaluate(async (count) => {
      for (let i = 0; i < count; i += 1) await db.put({ _id: `one:${String(i).padStart(3, '0')}`, n: i });
    }, COUNT),
    two.evaluate(async (count) => {
      await Promise.all(Array.from({ length: count }, (_, i) => db.put({ _id: `two:${String(i).padStart(3, '0')}`, n: i })));
      for (let i = 0; i < 5; i += 1) await db.bulkDocs(Array.from({ length: 20 }, (_, k) => ({ _id: `bulk:${i}:${k}`, n: k })));
    }, COUNT),
    one.evaluate(async (count) => {
      for (let i = 0; i < count; i += 1) {
        const answers = await Promise.all([
          worker.ask({ call: 'put', doc: { _id: `worker:${i}`, n: i } }), shared.ask({ call: 'put', doc: { _id: `shared:${i}`, n: i } }),
        ]);
        if (!answers.every(({ put }) => put?.ok)) throw new Error(JSON.stringify(answers));
      }
    }, COUNT),
  ]);
  const total = 4 * COUNT + 100;
  const all = async () => ({
    one: await one.evaluate(() => seen), two: await two.evaluate(() => seen),
    worker: await one.evaluate(async () => (await worker.ask({ call: 'seen' })).seen),
    shared: await one.evaluate(async () => (await shared.ask({ call: 'seen' })).seen),
  });
  const seen = await waitFor(async () => {
    const now = await all();
    return Object.values(now).every((list) => list.length >= total) && now;
  }, { what: 'every listener having seen every change' });
  for (const [who, list] of Object.entries(seen)) {
    assert.equal(list.length, total, `${who} saw each change once`);
    assert.equal(new Set(list.map((change) => change.id)).size, total, `${who} saw every document`);
    assert.ok(list.every((change, i) => i === 0 || change.seq > list[i - 1].seq), `${who} saw them in order`);
  }
  assert.deepEqual(seen.two, seen.one);
  assert.deepEqual(seen.worker, seen.one);
  assert.deepEqual(seen.shared, seen.one);
  // Once more a moment later: nothing came twice.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal((await all()).two.length, total);
  await one.close();
  await two.close();
});

test('nothing is missed between the backlog and the live part', { timeout: 60_000 }, async () => {
  const [reader, writer] = [await openTab(browser, site.origin), await openTab(browser, site.origin)];
  await writer.evaluate(async () => {
    globalThis.db = await Database.open('seam');
    await db.bulkDocs(Array.from({ length: 1500 }, (_, i) => ({ _id: `old:${i}` })));
  });
  const writing = writer.evaluate(async () => {
    let written = 0;
    for (const end = performance.now() + 1500; performance.now() < end; written += 1) await db.put({ _id: `new:${written}` });
    return written;
  });
  // Feeds that begin at all moments while the other tab writes.
  const counts = reader.evaluate(async () => {
    const db = await Database.open('seam');
    globalThis.feeds = [];
    for (let i = 0; i < 20; i += 1) {
      const seen = [];
      db.changes({ since: 0, live: true }).on('change', ({ id, seq }) => seen.push({ id, seq }));
      feeds.push(seen);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  });
  const written = await writing;
  await counts;
  assert.ok(written > 20, `the other tab wrote ${written} documents`);
  await waitFor(() => reader.evaluate((total) => feeds.every((seen) => seen.length >= total), 1500 + written), { what: 'every feed being complete' });
  const problems = await reader.evaluate((total) => feeds.flatMap((seen, i) => {
    const wrong = [];
    if (seen.length !== total || new Set(seen.map((change) => change.id)).size !== total) wrong.push(`feed ${i} saw ${seen.length} of ${total}`);
    if (seen.some((change, k) => k && change.seq <= seen[k - 1].seq)) wrong.push(`feed ${i} is out of order`);
    return wrong;
  }), 1500 + written);
  assert.deepEqual(problems, []);
  await reader.close();
  await writer.close();
});

test('feeds: for await, cancel, AbortSignal, a listener that throws, a hundred listeners', { timeout: 60_000 }, async () => {
  const page = await openTab(browser, site.origin);
  const errorsBefore = browser.errors.length;
  const got = await page.evaluate(async () => {
    const db = await Database.open('feeds');
    const out = {};
    await db.bulkDocs([{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }]);

    // for await: the backlog, then what comes; leaving the loop ends the feed.
    const ids = [];
    const iterated = db.changes({ since: 0, live: true });
    setTimeout(() => db.put({ _id: 'd' }), 50);
    for await (const change of iterated) {
      ids.push(change.id);
      if (change.id === 'd') break;
    }
    out.iterated = { ids, cancelled: iterated.cancelled, ended: iterated.ended };
    // Over what there is, it ends by itself.
    const all = [];
    for await (const { id } of db.changes()) all.push(id);
    out.all = all;

    // cancel() resolves with what there was; then it is quiet.
    const cancelled = db.changes({ since: 'now', live: true, return_docs: true });
    let heard = 0;
    cancelled.on('change', () => { heard += 1; });
    await new Promise((resolve) => cancelled.once('paused', resolve));
    await db.put({ _id: 'e' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    cancelled.cancel();
    cancelled.cancel();
    await db.put({ _id: 'f' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { status, results } = await cancelled;
    out.cancelled = { heard, status, ids: results.map(({ id }) => id), isCancelled: cancelled.cancelled };

    // AbortSignal: during, and before it began.
    const controller = new AbortController();
    const aborted = db.changes({ since: 0, live: true, signal: controller.signal });
    let complete = 0;
    aborted.on('complete', () => { complete += 1; });
    setTimeout(() => controller.abort(), 50);
    out.aborted = { status: (await aborted).status, complete };
    const early = db.changes({ live: true, signal: AbortSignal.abort() });
    let tooMany = 0;
    early.on('change', () => { tooMany += 1; });
    out.early = { status: (await early).status, tooMany };

    // A listener that throws is told as an uncaught error and disturbs nobody, nor the feed.
    const others = [];
    const uncaught = [];
    const listen = (event) => { uncaught.push(event.error?.message); event.preventDefault(); };
    addEventListener('error', listen);
    const thrown = db.changes({ since: 'now', live: true });
    thrown.on('change', () => { throw new Error('a listener of the test'); });
    thrown.on('change', ({ id }) => others.push(id));
    await new Promise((resolve) => thrown.once('paused', resolve));
    await db.put({ _id: 'g' });
    await db.put({ _id: 'h' });
    await new Promise((resolve) => setTimeout(resolve, 150));
    removeEventListener('error', listen);
    out.thrown = { others, uncaught, ended: thrown.ended };
    thrown.cancel();

    // A hundred feeds, a hundred listeners on one: each hears each change once; nothing is warned about.
    const warnings = [];
    const warn = console.warn;
    console.warn = (...args) => warnings.push(args.join(' '));
    const counts = Array(200).fill(0);
    const feeds = Array.from({ length: 100 }, (_, i) => db.changes({ since: 'now', live: true }).on('change', () => { counts[i] += 1; }));
    const one = db.changes({ since: 'now', live: true });
    for (let i = 100; i < 200; i += 1) one.on('change', () => { counts[i] += 1; });
    out.listenerCount = one.listenerCount('change');
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (let i = 0; i < 10; i += 1) await db.put({ _id: `many:${i}` });
    for (const end = performance.now() + 5000; counts.some((n) => n < 10) && performance.now() < end;) await new Promise((resolve) => setTimeout(resolve, 20));
    console.warn = warn;
    out.counts = [...new Set(counts)];
    out.warnings = warnings;
    for (const feed of [...feeds, one]) feed.cancel();
    return out;
  });
  assert.deepEqual(got, {
    iterated: { ids: ['a', 'b', 'c', 'd'], cancelled: true, ended: true },
    all: ['a', 'b', 'c', 'd'],
    cancelled: { heard: 1, status: 'cancelled', ids: ['e'], isCancelled: true },
    aborted: { status: 'cancelled', complete: 1 },
    early: { status: 'cancelled', tooMany: 0 },
    thrown: { others: ['g', 'h'], uncaught: ['a listener of the test', 'a listener of the test'], ended: false },
    listenerCount: 100,
    counts: [10],
    warnings: [],
  });
  assert.deepEqual(browser.errors.slice(errorsBefore).filter((error) => !error.includes('a listener of the test')), []);
  await page.close();
});

test('allDocs has PouchDB\'s options and shapes', async () => {
  const page = await openTab(browser, site.origin);
  const got = await page.evaluate(async () => {
    const db = await Database.open('all-docs');
    const before = (await db.info()).update_seq;
    const { rev: root } = await db.put({ _id: 'b', is: 'first' });
    await db.put({ _id: 'b', _rev: (await db.put({ _id: 'b', _rev: root, is: 'second' })).rev, is: 'b' });
    const { rev: loser } = await db.put({ _id: 'b', _rev: root, is: 'loser' }, { force: true });
    await db.bulkDocs(['a', 'B', 'ä', '10', '9', '🌊', 'z'].map((_id) => ({ _id, is: _id })));
    await db.remove(await db.get('z'));
    const run = async (options) => {
      const { rows, ...head } = await db.allDocs(options);
      if (head.update_seq) head.update_seq -= before;
      return { ...head, rows: rows.map((row) => row.error ? [row.key, row.error] : row.value.deleted ? [row.id, 'deleted'] : row.id) };
    };
    const asked = {
      all: undefined, descending: { descending: true }, range: { startkey: 'B', endkey: 'b' }, start_key: { start_key: 'B', end_key: 'b' },
      exclusive: { startkey: 'B', endkey: 'b', inclusive_end: false }, backwards: { startkey: 'b', endkey: 'B', descending: true },
      backwardsExclusive: { startkey: 'b', endkey: 'B', descending: true, inclusive_end: false },
      limit: { limit: 2, skip: 1 }, none: { limit: 0 }, past: { skip: 100 }, nothing: { startkey: 'x', endkey: 'y' },
      key: { key: 'ä' }, noKey: { key: 'nobody' }, keys: { keys: ['b', 'nobody', 'a', 'z', 'a'] }, keysLimited: { keys: ['b', 'nobody', 'a'], skip: 1, limit: 1 },
      noKeys: { keys: [] }, prefix: { startkey: 'a', endkey: 'a\ufff0' }, seq: { limit: 0, update_seq: true },
    };
    const out = {};
    for (const [name, options] of Object.entries(asked)) out[name] = await run(options);
    const [first] = (await db.allDocs({ key: 'b', include_docs: true, conflicts: true })).rows;
    const withKeys = (await db.allDocs({ keys: ['z', 'a'], include_docs: true })).rows;
    return { out, first, withKeys, loser, plain: (await db.allDocs({ key: 'a' })).rows[0] };
  });
  const order = ['10', '9', 'B', 'a', 'b', 'ä', '🌊'];
  const rows = (ids, offset, more) => ({ total_rows: 7, offset, rows: ids, ...more });
  assert.deepEqual(got.out, {
    all: rows(order, 0), descending: rows([...order].reverse(), 0), range: rows(['B', 'a', 'b'], 2), start_key: rows(['B', 'a', 'b'], 2),
    exclusive: rows(['B', 'a'], 2), backwards: rows(['b', 'a', 'B'], 2), backwardsExclusive: rows(['b', 'a'], 2),
    limit: rows(['9', 'B'], 1), none: rows([], 0), past: rows([], 7), nothing: rows([], got.out.nothing.offset),
    key: rows(['ä'], 5), noKey: rows([], got.out.noKey.offset),
    keys: rows(['b', ['nobody', 'not_found'], 'a', ['z', 'deleted'], 'a'], 0), keysLimited: rows([['nobody', 'not_found']], got.out.keysLimited.offset),
    noKeys: rows([], 0), prefix: rows(['a'], 3), seq: rows([], 0, { update_seq: 12 }),
  });
  assert.deepEqual(Object.keys(got.plain), ['id', 'key', 'value']);
  assert.match(got.plain.value.rev, REV);
  assert.deepEqual(got.first, {
    id: 'b', key: 'b', value: { rev: got.first.doc._rev }, doc: { _id: 'b', _rev: got.first.doc._rev, is: 'b', _conflicts: [got.loser] },
  });
  assert.deepEqual(got.withKeys.map((row) => [row.id, row.value.deleted, row.doc && row.doc.is]), [['z', true, null], ['a', undefined, 'a']]);
  await page.close();
});

test('changes has PouchDB\'s options and shapes', async () => {
  const page = await openTab(browser, site.origin);
  const got = await page.evaluate(async () => {
    const db = await Database.open('changes');
    const { rev: root } = await db.put({ _id: 'c', n: 0 });
    await db.put({ _id: 'c', _rev: root, n: 1 });
    const base = (await db.info()).update_seq;
    await db.put({ _id: 'a', n: 1 }); // 1 from here on
    await db.put({ _id: 'b', n: 2 }); // 2
    await db.put({ ...await db.get('a'), n: 3 }); // 3: a moves to the end
    await db.put({ ...await db.get('c'), n: 4 }); // 4
    await db.remove(await db.get('b')); // 5
    const { rev: loser } = await db.put({ _id: 'c', _rev: root, n: -1 }, { force: true }); // 6: c again, with a loser
    await db.put({ _id: '_local/x', n: 5 }); // not in the feed
    await db.put({ _id: '_design/d', n: 6 }); // 7
    const run = async (options) => {
      const { results, ...rest } = await db.changes(options);
      rest.last_seq -= base;
      return { ...rest, results: results.map(({ seq, id, deleted }) => `${seq - base} ${id}${deleted ? ' deleted' : ''}`) };
    };
    const out = {};
    for (const [name, options] of Object.entries({
      all: undefined, since: { since: base + 3 }, sinceText: { since: String(base + 3) }, now: { since: 'now' }, limit: { limit: 2 }, descending: { descending: true },
      newest: { descending: true, limit: 1 }, ids: { doc_ids: ['a', 'b', 'nobody'] }, selector: { selector: { n: { $gt: 3 } } },
      filter: { filter: (doc, req) => doc.n >= req.query.least, query_params: { least: 4 } }, quiet: { return_docs: false },
      filterLimit: { filter: (doc) => doc.n > 3, limit: 1 },
    })) out[name] = await run(options);
    const { results } = await db.changes({ style: 'all_docs', include_docs: true, conflicts: true });
    const events = [];
    const feed = db.changes({ limit: 1 });
    for (const event of ['change', 'complete', 'paused', 'active', 'error']) feed.on(event, (detail) => events.push([event, detail]));
    await feed;
    return { out, results, events, loser, base };
  });
  const all = ['3 a', '5 b deleted', '6 c', '7 _design/d'];
  assert.deepEqual(got.out, {
    all: { last_seq: 7, pending: 0, results: all }, since: { last_seq: 7, pending: 0, results: all.slice(1) },
    sinceText: { last_seq: 7, pending: 0, results: all.slice(1) }, now: { last_seq: 7, pending: 0, results: [] },
    limit: { last_seq: 5, pending: 2, results: all.slice(0, 2) }, descending: { last_seq: 7, pending: 0, results: [...all].reverse() },
    newest: { last_seq: 7, pending: 0, results: ['7 _design/d'] }, ids: { last_seq: 7, pending: 0, results: all.slice(0, 2) },
    selector: { last_seq: 7, pending: 0, results: all.slice(2) }, filter: { last_seq: 7, results: all.slice(2) },
    quiet: { last_seq: 7, pending: 0, results: [] }, filterLimit: { last_seq: 6, results: ['6 c'] },
  });
  const c = got.results.find(({ id }) => id === 'c');
  assert.equal(c.changes.length, 2);
  assert.match(c.changes[0].rev, REV);
  const { loser, base } = got;
  assert.deepEqual(c, {
    seq: base + 6, id: 'c', changes: [{ rev: c.changes[0].rev }, { rev: loser }], doc: { _id: 'c', _rev: c.changes[0].rev, n: 4, _conflicts: [loser] },
  });
  const b = got.results.find(({ id }) => id === 'b');
  assert.deepEqual(b, { seq: base + 5, id: 'b', changes: [{ rev: b.doc._rev }], deleted: true, doc: { _id: 'b', _rev: b.doc._rev, _deleted: true } });
  assert.deepEqual(got.events.map(([event]) => event), ['change', 'complete']);
  assert.deepEqual(got.events[1][1].results.map(({ id }) => id), ['a']);
  await page.close();
});

test('get, bulkGet, bulkDocs and revsDiff have PouchDB\'s options and shapes', async () => {
  const page = await openTab(browser, site.origin);
  const got = await page.evaluate(async () => {
    const db = await Database.open('reads');
    const R = (c) => c.repeat(32);
    const given = (start, ids, more) => ({ _id: 'a', _rev: `${start}-${ids[0]}`, _revisions: { start, ids }, ...more });
    const { as, told } = await bring(db, [
      given(3, [R('c'), R('b'), R('a')], { is: 'long' }),
      given(2, [R('d'), R('a')], { is: 'short' }),
      given(4, [R('e'), R('f'), R('b'), R('a')], { _deleted: true, is: 'gone' }),
    ]);
    const rev = (start, c) => as('a', `${start}-${R(c)}`);
    const out = {};
    out.winner = await db.get('a', { revs: true, conflicts: true, deleted_conflicts: true, revs_info: true, local_seq: true });
    out.open = await db.get('a', { open_revs: 'all' });
    out.openSome = await db.get('a', { open_revs: [rev(2, 'd'), rev(9, '9')] });
    out.latest = await db.get('a', { rev: rev(1, 'a'), latest: true });
    out.missing = await failure(db.get('a', { rev: rev(1, 'a') }));
    out.bulkGet = await db.bulkGet({ docs: [{ id: 'a' }, { id: 'a', rev: rev(2, 'd') }, { id: 'nobody' }, { id: 'a', rev: rev(7, '7') }], revs: true });
    out.bulkGetErrors = out.bulkGet.results.flatMap(({ docs }) => docs).filter((doc) => doc.error).map(({ error }) => [error instanceof Error, error.status, error.name, error.reason]);
    out.bulkDocs = await db.bulkDocs([{ _id: 'x', n: 1 }, { _id: 'a' }, { n: 2 }, { _id: 'x', n: 2 }]);
    out.bulkErrors = out.bulkDocs.map((row) => row instanceof settee.SetteeError && [row.id, row.error, row.status, row.name, row.reason, JSON.parse(JSON.stringify(row)).name]);
    out.diff = await db.revsDiff({ a: [rev(3, 'c'), rev(5, '5'), rev(2, '2')], new: ['1-x'], x: [] });
    const deleted = await db.remove(await db.get('x'));
    out.deleted = [await failure(db.get('x')), (await db.get('x', { rev: deleted.rev }))];
    out.again = await db.put({ _id: 'x', n: 3 });
    out.info = await db.info();
    out.body = await db.put({ _id: 'tomb', _deleted: true, why: 'kept' }).then((written) => db.get('tomb', { rev: written.rev }));
    return told(out);
  });
  const R = (c) => c.repeat(32);
  assert.deepEqual(got.winner, {
    _id: 'a', _rev: `3-${R('c')}`, is: 'long', _revisions: { start: 3, ids: [R('c'), R('b'), R('a')] }, _local_seq: got.winner._local_seq,
    _conflicts: [`2-${R('d')}`], _deleted_conflicts: [`4-${R('e')}`],
    _revs_info: [{ rev: `3-${R('c')}`, status: 'available' }, { rev: `2-${R('b')}`, status: 'missing' }, { rev: `1-${R('a')}`, status: 'missing' }],
  });
  const byRev = (list) => list.map(({ ok, missing }) => missing ?? [ok._rev, ok.is, ok._deleted ?? false]).sort();
  assert.deepEqual(byRev(got.open), [[`2-${R('d')}`, 'short', false], [`3-${R('c')}`, 'long', false], [`4-${R('e')}`, 'gone', true]]);
  assert.deepEqual(byRev(got.openSome), [[`2-${R('d')}`, 'short', false], `9-${R('9')}`]);
  assert.equal(got.latest._rev, `3-${R('c')}`);
  assert.deepEqual([got.missing.status, got.missing.name, got.missing.reason], [404, 'not_found', 'missing']);
  assert.deepEqual(got.bulkGet.results.map(({ id, docs }) => [id, docs.length, docs[0].ok?._rev]),
    [['a', 1, `3-${R('c')}`], ['a', 1, `2-${R('d')}`], ['nobody', 1, undefined], ['a', 1, undefined]]);
  assert.deepEqual(got.bulkGetErrors, [[true, 404, 'not_found', 'missing'], [true, 404, 'not_found', 'missing']]);
  const conflict = (id) => [id, true, 409, 'conflict', 'Document update conflict.', 'conflict'];
  assert.deepEqual(got.bulkErrors, [false, conflict('a'), false, conflict('x')]);
  assert.deepEqual(got.bulkDocs[0], { ok: true, id: 'x', rev: got.bulkDocs[0].rev });
  assert.match(got.bulkDocs[2].id, /^[0-9a-f-]{32,36}$/);
  assert.deepEqual([...got.diff.a.missing].sort(), [`2-${R('2')}`, `5-${R('5')}`]);
  assert.deepEqual(got.diff.new, { missing: ['1-x'] });
  assert.deepEqual(Object.keys(got.diff).sort(), ['a', 'new']);
  assert.deepEqual([got.deleted[0].status, got.deleted[0].reason], [404, 'deleted']);
  assert.deepEqual(got.deleted[1], { _id: 'x', _rev: got.deleted[1]._rev, _deleted: true });
  assert.match(got.again.rev, /^3-/);
  assert.equal(got.info.db_name, 'reads');
  assert.equal(got.info.doc_count, 3);
  assert.deepEqual(got.body, { _id: 'tomb', _rev: got.body._rev, _deleted: true, why: 'kept' });
  await page.close();
});

test('a database with ten thousand documents opens, lists and pages without holding up the page', { timeout: 60_000 }, async (t) => {
  const page = await openTab(browser, site.origin);
  await page.evaluate(async () => {
    const db = await Database.open('many');
    for (let batch = 0; batch < 10; batch += 1) {
      await db.bulkDocs(Array.from({ length: 1000 }, (_, i) => ({ _id: `doc:${String(batch * 1000 + i).padStart(5, '0')}`, text: 'x'.repeat(300), n: i })));
    }
  });
  await page.reload();
  await ready(page);
  const got = await page.evaluate(async () => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: 'longtask' });
    await settee.init();
    const db = await Database.open('many');
    const { rows } = await db.allDocs({ include_docs: true });
    const { results } = await db.changes();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return { rows: rows.length, results: results.length, sorted: rows.every((row, i) => !i || rows[i - 1].id < row.id), tasks };
  });
  t.diagnostic(`tasks over 50 ms: ${got.tasks.join(', ') || 'none'}`);
  assert.deepEqual({ ...got, tasks: 0 }, { rows: 10_000, results: 10_000, sorted: true, tasks: 0 });
  await page.close();
});
