// A server that is asked to replicate by itself: it does, tells how it stands, and stops when it is told to.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
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

const count = async (name) => (await couch.must('GET', `/${name}`)).doc_count;

test('a server replicates until it is done or cancelled, and the same request is the same document', { timeout: 120_000 }, async () => {
  const [from, to] = [await couch.create('from'), await couch.create('to')];
  await couch.must('PUT', `/${from}/a`, { n: 1 });
  const page = await openTab(browser, site.origin);
  const job = { source: couch.dbUrl(from), target: couch.dbUrl(to) };
  const ask = (own) => page.evaluate(async ([server, asked, options]) => {
    globalThis.job = await Database.replicateOnServer(server, asked, options);
    return globalThis.job.id;
  }, [couch.url, { ...job, ...own }, couch.auth ? { auth: couch.auth } : {}]);

  const gone = async () => {
    const { name, status } = await page.evaluate(async () => {
      await globalThis.job.cancel();
      await globalThis.job.cancel();
      return failure(globalThis.job.status());
    });
    return [name, status];
  };

  const once = await ask({});
  assert.equal(await ask({}), once);
  const states = await page.evaluate(async () => {
    const seen = [];
    for await (const { state } of globalThis.job) seen.push(state);
    return seen;
  });
  assert.equal(states.at(-1), 'completed');
  assert.equal(await count(to), 1);
  assert.deepEqual(await gone(), ['not_found', 404]);

  // pouchdb-server 4.2.0 ends itself when the document of a replication that runs is deleted.
  if (!couch.isCouchDB) return;
  const live = await ask({ continuous: true });
  assert.equal(await ask({ continuous: true }), live);
  assert.notEqual(live, once);
  await couch.must('PUT', `/${from}/b`, { n: 2 });
  await waitFor(async () => (await count(to)) === 2, { timeout: 60_000, what: 'the document that was written later' });
  assert.deepEqual(await gone(), ['not_found', 404]);
});

test('tokens are for the page itself, and no server is told to ask for them', { timeout: 60_000 }, async () => {
  const page = await openTab(browser, site.origin);
  const [sent, refused] = await page.evaluate(async () => {
    const seen = [];
    const fetch = async (url, { headers }) => {
      seen.push([new URL(url).pathname, new Headers(headers).get('authorization')]);
      return new Response('{"ok":true,"id":"x","rev":"1-a"}', { status: 201 });
    };
    const job = { _id: 'x', source: 'http://h/a', target: 'http://h/b' };
    const getToken = () => 'tok';
    await Database.replicateOnServer('http://h', job, { fetch, getToken });
    return [seen, await failure(Database.replicateOnServer('http://h', { ...job, target: { url: 'http://h/b', getToken } }, { fetch }))];
  });
  assert.deepEqual(sent, [['/_replicator/x', 'Bearer tok']]);
  assert.deepEqual([refused.name, refused.status], ['query_parse_error', 400]);
});
