// Replication that goes on: live, with a server that comes and goes, logins that end and tabs beside each other; and how it says
// what it does. Through a proxy that keeps what is said.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { sleep, waitFor } from './lib/index.mjs';
import { helpers, online } from './lib/online.mjs';
import { openTab } from './lib/tab.mjs';

const { here, put, get, bulk, allIds, said } = online();

test('live: changes go both ways as they happen, until cancelled', { timeout: 60_000 }, async (t) => {
  const name = await here.couch.create('live');
  await put(name, { _id: 'first', n: 1 });
  await here.page.evaluate(async (url) => {
    globalThis.db = await Database.open('live-sync');
    await db.put({ _id: 'mine', n: 1 });
    globalThis.task = watch(db.sync(url, { live: true }));
    await until(() => db.get('first'), 'the first document being here');
    await until(() => task.log.includes('paused'), 'pausing');
  }, here.proxy.dbUrl(name));
  await waitFor(() => get(name, 'mine'), { what: 'the first document being there' });

  const took = { pull: [], push: [] };
  for (let n = 0; n < 5; n += 1) {
    const waiting = here.page.evaluate(async (id) => { await until(() => db.get(id), `${id} arriving`); return Date.now(); }, `there:${n}`);
    await sleep(60);
    const began = Date.now();
    await put(name, { _id: `there:${n}`, n });
    took.pull.push(await waiting - began);
    const written = await here.page.evaluate(async (id) => { const at = Date.now(); await db.put({ _id: id }); return at; }, `here:${n}`);
    await waitFor(() => get(name, `here:${n}`), { what: `here:${n} arriving`, interval: 10 });
    took.push.push(Date.now() - written);
  }
  t.diagnostic(`from the server here: ${took.pull.join(', ')} ms; from here to the server: ${took.push.join(', ')} ms`);
  assert.ok(Math.max(...took.pull, ...took.push) < 10_000);
  const { log, change } = await here.page.evaluate(() => ({ log: task.log, change: task.details.find(([event]) => event === 'change')[1] }));
  assert.ok(['change', 'paused', 'active'].every((event) => log.includes(event)), log.join());
  assert.ok(!log.includes('error') && !log.includes('complete'));
  assert.ok(['push', 'pull'].includes(change.direction));
  assert.ok(Array.isArray(change.change.docs) && change.change.docs.length > 0);

  const ended = await here.page.evaluate(async () => {
    task.cancel();
    task.cancel();
    const result = await task;
    await db.put({ _id: 'too late' });
    return { push: result.push.status, pull: result.pull.status, log: task.log, state: task.state, cancelled: task.cancelled };
  });
  assert.deepEqual([ended.push, ended.pull, ended.cancelled], ['cancelled', 'cancelled', true]);
  assert.equal(ended.log.filter((event) => event === 'complete').length, 1);
  await sleep(300);
  const count = here.proxy.requests.length;
  await put(name, { _id: 'too late there' });
  await sleep(700);
  assert.equal(here.proxy.requests.length, count, `nothing is asked any more: ${said()}`);
  assert.equal((await here.couch.request('GET', `/${name}/too%20late`)).status, 404);
});

test('close(), and an AbortSignal, end a live replication', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('ended');
  const got = await here.page.evaluate(async (url) => {
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
  }, here.proxy.dbUrl(name));
  assert.deepEqual(got, { status: 'cancelled', push: 'cancelled', pull: 'cancelled' });
});

test('the server goes away and comes back: with retry it goes on by itself', { timeout: 120_000 }, async (t) => {
  const name = await here.couch.create('retry');
  await here.page.evaluate(async (url) => {
    globalThis.db = await Database.open('retry');
    globalThis.task = watch(db.sync(url, { live: true, retry: true, back_off_function: (last) => Math.min(1000, last ? last * 2 : 100) }));
    await db.put({ _id: 'before' });
    await until(() => task.log.includes('paused'), 'pausing');
  }, here.proxy.dbUrl(name));
  await waitFor(() => get(name, 'before'));
  await here.couch.stop();
  await here.page.evaluate(async () => {
    await db.put({ _id: 'meanwhile' });
    await until(() => task.details.some(([event, error]) => event === 'paused' && error), 'telling that the server is gone', 30_000);
  });
  const error = await here.page.evaluate(() => {
    const [, it] = task.details.find(([event, reason]) => event === 'paused' && reason);
    return { isError: it instanceof settee.SetteeError, name: it.name, status: it.status };
  });
  assert.deepEqual(error, { isError: true, name: 'network_error', status: 0 });
  await here.couch.start();
  const began = Date.now();
  await put(name, { _id: 'afterwards' });
  await waitFor(() => get(name, 'meanwhile'), { what: 'what was written meanwhile arriving', timeout: 60_000 });
  await here.page.evaluate(() => until(() => db.get('afterwards'), 'what was written there arriving', 60_000));
  t.diagnostic(`in step ${Date.now() - began} ms after the server was back`);

  // A server that is there and unwell is the same.
  here.proxy.fail(() => 503);
  await here.page.evaluate(async () => {
    task.log.length = task.details.length = 0;
    await db.put({ _id: 'unwell' });
    await until(() => task.details.some(([event, reason]) => event === 'paused' && reason?.status === 503), 'telling that the server is unwell', 30_000);
  });
  here.proxy.fail(null);
  await waitFor(() => get(name, 'unwell'), { what: 'it arriving after all', timeout: 60_000 });
  assert.deepEqual(await here.page.evaluate(async () => { task.cancel(); const { push } = await task; return [push.ok, task.log.includes('error')]; }), [true, false]);
});

test('what cannot work is told as a typed error', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('errors');
  const failed = (what, ...args) => here.page.evaluate(what, args);
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
  const missing = await failed(async ([url]) => failure((await Database.open('errors')).replicate.from(url)), here.proxy.dbUrl(here.couch.name('not-there')));
  assert.deepEqual([missing?.isError, missing?.name, missing?.status], [true, 'not_found', 404]);
  const notCouch = await failed(async ([url]) => failure((await Database.open('errors')).replicate.from(url)), `${here.site.origin}/blank.html`);
  assert.equal(notCouch?.isError, true);
  const nothing = await failed(async () => failure((await Database.open('errors')).sync()));
  assert.deepEqual([nothing?.isError, nothing?.name], [true, 'bad_request']);
  // A push makes the database that is not there.
  const fresh = here.couch.name('made');
  await here.page.evaluate(async (url) => {
    const db = await Database.open('errors');
    await db.put({ _id: 'a' });
    await db.replicate.to(url);
  }, here.proxy.dbUrl(fresh));
  assert.deepEqual(await allIds(fresh), ['a']);

  // A wrong password, that nobody gets to read.
  const password = 'p@ss:wörd/?#%20';
  const auth = { username: 'nobody ü', password };
  for (const [where, options] of [[here.proxy.dbUrl(name, auth), {}], [here.proxy.dbUrl(name, null), { auth }]]) {
    here.proxy.clear();
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
    assert.equal(Buffer.from(here.proxy.requests[0].authorization.split(' ')[1], 'base64').toString(), `${auth.username}:${password}`);
  }
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
  const name = await here.couch.create('status');
  await put(name, { _id: 'there' });
  await follow(here.page);
  const phase = (expected) => here.page.evaluate((it) => until(() => task.status.phase === it, `being ${it}`, 30_000), expected);
  await here.page.evaluate(async (url) => {
    globalThis.db = await Database.open('status');
    for (const failed of settee.status.status.replications) failed.cancel();
    await db.put({ _id: 'here', n: 1 });
    const began = Date.now();
    globalThis.task = follow(watch(db.sync(url, { live: true, retry: true, back_off_function: () => 200 })));
    const { phase: first, since, pending, bytes, error } = task.status;
    if (first !== 'connecting' || since < began - 1 || error !== null || !Object.isFrozen(task.status)) throw new Error(JSON.stringify(task.status));
    if (JSON.stringify([pending, bytes]) !== '[{"up":null,"down":null},{"up":0,"down":0}]') throw new Error(JSON.stringify(task.status));
  }, here.proxy.dbUrl(name));
  await phase('live');
  const done = await here.page.evaluate(() => ({ ...task.status, overall: settee.status.status.phase, mine: settee.status.status.replications.includes(task.push) }));
  assert.deepEqual([done.pending, done.error, done.push.docsWritten, done.pull.docsWritten], [{ up: 0, down: 0 }, null, 1, 1]);
  assert.ok(done.bytes.up > 0 && done.bytes.down > 0 && done.mine);
  assert.equal(done.overall, 'live');

  await here.couch.stop();
  await here.page.evaluate(() => db.bulkDocs([{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }]));
  await phase('offline');
  const offline = await here.page.evaluate(async () => {
    await until(() => task.status.pending.up === 3, 'counting what is to be sent');
    const { status } = task;
    return { name: status.error.name, isError: status.error instanceof settee.SetteeError, since: status.since, pushed: [await task.isPushed('a'), await task.isPushed('here')] };
  });
  assert.deepEqual([offline.name, offline.isError, offline.pushed], ['network_error', true, [false, true]]);
  await sleep(500);
  assert.equal(await here.page.evaluate(() => task.status.since), offline.since, 'offline since when it began');
  here.proxy.fail(() => 503);
  await here.couch.start();
  await phase('waiting');
  here.proxy.fail(() => 401);
  await phase('needs-auth');
  assert.equal(await here.page.evaluate(() => settee.status.status.error.status), 401);
  here.proxy.fail(null);
  await here.page.evaluate(() => task.login());
  await phase('live');
  assert.deepEqual(await allIds(name), ['a', 'b', 'c', 'here', 'there']);
  assert.equal(await here.page.evaluate(() => task.isPushed('a')), true);

  await here.page.evaluate(() => { task.log.length = 0; task.pause(); });
  await phase('paused');
  assert.ok((await here.page.evaluate(() => task.log)).includes('paused'));
  await here.page.evaluate(() => db.put({ _id: 'while paused' }));
  here.proxy.clear();
  await sleep(500);
  assert.equal(here.proxy.requests.length, 0, said());
  await here.page.evaluate(() => task.resume());
  await waitFor(() => get(name, 'while paused'), { what: 'what was written while it was paused arriving' });
  await phase('live');
  const ended = await here.page.evaluate(async () => {
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
  await follow(here.page);
  const got = await here.page.evaluate(async () => {
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
  const name = await here.couch.create('denied-login');
  await put(name, { _id: '_design/rules', validate_doc_update: 'function (doc) { if (doc.owner) throw { forbidden: "not yours" }; }' });
  await here.page.evaluate(async (url) => {
    globalThis.db = await Database.open('denied-login');
    await db.bulkDocs([{ _id: 'a' }, { _id: 'b', owner: 'somebody' }, { _id: 'c' }]);
    globalThis.task = watch(db.sync(url, { live: true, retry: true }));
    await until(() => task.log.includes('denied'), 'being denied');
    await until(() => task.status.phase === 'live', 'being live');
  }, here.proxy.dbUrl(name));
  assert.deepEqual(await allIds(name), ['_design/rules', 'a', 'c']);
  assert.equal(await here.page.evaluate(() => task.isPushed('b')), false);
  const rules = await get(name, '_design/rules');
  await here.couch.must('DELETE', `/${name}/_design/rules?rev=${rules._rev}`);
  await here.page.evaluate(() => task.login());
  await waitFor(() => get(name, 'b'), { what: 'the document arriving after a login' });
  await here.page.evaluate(() => until(() => task.isPushed('b'), 'being known as pushed'));
  await here.page.evaluate(async () => { task.cancel(); await task; });
});

test('two tabs replicate the same database at once: nothing is doubled or lost', { timeout: 60_000 }, async () => {
  const name = await here.couch.create('tabs');
  const other = await openTab(here.browser, here.site.origin);
  await helpers(other);
  for (const tab of [here.page, other]) {
    await tab.evaluate(async (url) => {
      globalThis.db = await Database.open('tabs-sync');
      globalThis.task = watch(db.sync(url, { live: true, retry: true }));
    }, here.proxy.dbUrl(name));
  }
  await Promise.all([here.page, other].map((tab, who) => tab.evaluate(async (me) => {
    for (let n = 0; n < 30; n += 1) await db.put({ _id: `tab${me}:${n}`, n });
  }, who)));
  await bulk(name, Array.from({ length: 30 }, (_, n) => ({ _id: `server:${n}` })));
  await waitFor(async () => (await allIds(name)).length === 90, { what: 'all on the server', timeout: 30_000 });
  await here.page.evaluate(() => until(async () => (await db.info()).doc_count === 90, 'all here', 30_000));
  const { rows } = await here.couch.must('GET', `/${name}/_all_docs?include_docs=true&conflicts=true`);
  assert.deepEqual(rows.filter(({ doc }) => doc._conflicts || !doc._rev.startsWith('1-')), []);
  for (const tab of [here.page, other]) assert.deepEqual(await tab.evaluate(async () => { task.cancel(); await task; return task.log.includes('error'); }), false);
  await other.close();
});
