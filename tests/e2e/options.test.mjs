// What the options of a replication mean, as the server sees it, and which values are none. Those that choose documents are
// in pairs.test.mjs.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PKG } from '../../tools/lib/paths.mjs';
import { sealing } from './lib/channels.mjs';
import { startCouch, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { startFaultProxy } from './lib/proxy.mjs';
import { stage } from './lib/stage.mjs';

const here = stage({
  couch: () => startCouch(),
  proxy: ({ couch }) => startFaultProxy(couch),
  async settee() {
    const settee = await import(pathToFileURL(path.join(PKG, 'settee.js')).href);
    return kind.sealed ? { ...settee, Database: sealing(settee) } : settee;
  },
});

async function begin(t) {
  const { couch, proxy, settee: { Database } } = here;
  const name = await couch.create('options');
  const db = await Database.open(name);
  t.after(() => db.close());
  if (kind.sealed) await db.replicate.to(couch.dbUrl(name)); // its log
  proxy.calm();
  proxy.clear();
  return { name, db, url: proxy.dbUrl(name), asked: (kind) => proxy.requests.filter((request) => request.kind === kind) };
}

const NONE = {
  live: ['yes', 1], continuous: ['no'], retry: ['always', 1],
  since: [{ seq: 1 }, true], doc_ids: ['a', [1], { a: 1 }], selector: ['a', [], 1, { $bad: 1 }],
  filter: [1, 'no slash', (doc) => doc], query_params: ['a=1', [1]], style: ['some_docs', true],
  checkpoint: ['nowhere', 1], batch_size: [0, -1, 1.5, '10'], batches_limit: [0, -1, 'many'],
  heartbeat: [0, -1, 'often'], timeout: [0, -1, 1.5, 'long', false], back_off_function: [1000, 'double'],
  connection_timeout: [0, -1, 'long'], connections: [0, -1, 'all'], feed: ['eventsource', 1], leader: [],
  checkpoint_interval_ms: [-1, 'often'], create_target: ['yes'], headers: ['x: y', { x: 1 }], auth: ['me', { username: 1 }],
  getToken: ['token'], fetch: ['fetch'], liev: [true], 'since_seq': [1],
};

test('a value that makes no sense is refused with a typed error, whatever the ends', { timeout: 60_000 }, async (t) => {
  const { db, url } = await begin(t);
  const { Database, SetteeError } = here.settee;
  await db.put({ _id: 'a' });
  const other = await Database.open(`${db.name}-other`, kind.sealed ? { copyOf: db } : {});
  t.after(() => other.close());
  const ours = new Set(['headers', 'auth', 'getToken', 'fetch', 'feed', 'connections', 'connection_timeout', 'leader']);
  for (const [option, values] of Object.entries(NONE)) {
    for (const value of values) {
      for (const [from, to] of [[db, url], [url, db], [db, other]]) {
        if (ours.has(option) && to === other && !['getToken', 'fetch'].includes(option)) continue; // they speak of servers
        // CouchDB takes any `since` for one of its own; what it says of a filter or selector is its business.
        if (from === url && (option === 'since' || (option === 'filter' && value === 'no slash') || (option === 'selector' && !here.couch.isCouchDB))) continue;
        const task = Database.replicate(from, to, { [option]: value, ...(option === 'query_params' && from === url ? { filter: 'a/b' } : {}) });
        const error = await task.then(() => null, (failed) => failed);
        const what = `${option}: ${typeof value === 'function' ? value : JSON.stringify(value)} from ${from.name ?? 'a server'} to ${to.name ?? 'a server'}: ${error}`;
        assert.ok(error instanceof SetteeError, what);
        assert.equal(error.status, 400, what);
        assert.ok(['query_parse_error', 'bad_request'].includes(error.name), what);
        assert.equal(task.status.phase, 'failed', what);
      }
    }
  }
  for (const both of [{ doc_ids: ['a'], selector: {} }, { doc_ids: ['a'], filter: 'a/b' }, { selector: {}, filter: '_view' }, { selector: {}, filter: '_doc_ids' }]) {
    await assert.rejects(db.replicate.to(url, both), { status: 400, name: 'query_parse_error', reason: /exclude/ });
  }
  // With retry too it is told at once.
  await assert.rejects(db.sync(url, { live: true, retry: true, batch_size: 0 }), { status: 400, name: 'query_parse_error' });
  // null is nothing.
  const none = Object.fromEntries(Object.keys(NONE).filter((name) => !['liev', 'since_seq'].includes(name)).map((name) => [name, null]));
  assert.equal((await db.replicate.to(url, none)).docs_written, 1);
});

test('heartbeat, feed and style reach the server', { timeout: 60_000 }, async (t) => {
  const { proxy } = here;
  const { db, url, asked } = await begin(t);
  for (const feed of ['continuous', 'longpoll']) {
    proxy.clear();
    const task = db.replicate.from(url, { live: true, heartbeat: 7_000, feed });
    const [{ query }] = await waitFor(() => asked('wait').length && asked('wait'), { what: 'a waiting line' });
    assert.deepEqual([query.get('feed'), query.get('heartbeat'), query.get('style')], [feed, '7000', 'all_docs']);
    task.cancel();
    await task;
  }
});

test('timeout: a line that waits is asked again after that time', { timeout: 60_000 }, async (t) => {
  const { db, url, asked } = await begin(t);
  const task = db.replicate.from(url, { live: true, feed: 'longpoll', timeout: 300 });
  await waitFor(() => asked('wait').length >= 3, { what: 'the third time' });
  assert.equal(task.status.phase, 'live');
  task.cancel();
  await task;
});

test('retry: without it the first failure ends, with it back_off_function says when', { timeout: 60_000 }, async (t) => {
  const { proxy } = here;
  const { db, url } = await begin(t);
  await db.put({ _id: 'a' });
  const broken = () => proxy.plan([{ kind: 'bulk-docs', times: 3, fault: { type: 'status', status: 503 } }]);
  broken();
  await assert.rejects(db.replicate.to(url), { status: 503 });
  proxy.clear();
  broken();
  const given = [];
  const { docs_written } = await db.replicate.to(url, { retry: true, back_off_function: (last) => { given.push(last); return last + 7; } });
  assert.equal(docs_written, 1);
  assert.deepEqual(given, [0, 7, 14]);
});
