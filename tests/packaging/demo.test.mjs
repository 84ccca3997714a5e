// `make demo` as a person meets it: an address that works, photos that arrive,
// and nothing left running after Ctrl-C.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT, inRoot } from '../../tools/lib/paths.mjs';
import { couchClient, startPouchServer } from '../../tools/lib/couch.mjs';
import { waitFor } from '../e2e/lib/wait.mjs';

let data;
before(() => { data = mkdtempSync(path.join(tmpdir(), 'settee-demo-')); });
after(() => rmSync(data, { recursive: true, force: true, maxRetries: 5 }));

async function startDemo(env) {
  const { COUCHDB_URL, ...rest } = process.env;
  const child = spawn(process.execPath, [inRoot('tools/demo.mjs')], {
    cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: { ...rest, NO_COLOR: '1', DEMO_DIR: data, ...env },
  });
  const demo = { child, output: '' };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => { demo.output += text; });
  demo.exited = new Promise((resolve) => child.once('exit', resolve));
  try {
    await waitFor(() => /Ctrl-C/.test(demo.output) || child.exitCode !== null, { timeout: 30_000, what: 'the address of the demo' });
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  const gallery = /The gallery\s+(\S+)/.exec(demo.output)?.[1];
  const server = /The server\s+(\S+)/.exec(demo.output)?.[1];
  const clear = /Not sealed\s+(\S+)/.exec(demo.output)?.[1];
  // `photos` is the database of the gallery that is not sealed, on the same server.
  return Object.assign(demo, { gallery: gallery && new URL(gallery), clear: clear && new URL(clear), server, photos: server && new URL('photos', server).href });
}

const answers = (url) => fetch(url).then(() => true, () => false);

test('it serves the gallery and the package, seeds photos, and stops as a whole', { timeout: 120_000 }, async () => {
  const demo = await startDemo({});
  try {
    const { origin, searchParams } = demo.gallery;
    assert.equal(searchParams.get('server'), demo.server);
    assert.equal(demo.clear.searchParams.get('server'), demo.photos);
    assert.notEqual(demo.clear.searchParams.get('db'), searchParams.get('db'));
    assert.equal((await (await fetch(demo.server)).json()).doc_count, 0, 'a private gallery begins empty');
    const page = await fetch(origin);
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type'), /^text\/html/);
    assert.match(await page.text(), /importmap/);
    const wasm = await fetch(`${origin}/settee/settee.wasm`);
    assert.equal(wasm.headers.get('content-type'), 'application/wasm');
    await wasm.arrayBuffer();
    const again = await fetch(`${origin}/settee/settee.wasm`, { headers: { 'if-none-match': wasm.headers.get('etag') } });
    assert.equal(again.status, 304);

    await waitFor(async () => (await (await fetch(demo.photos)).json()).doc_count === 8, { timeout: 90_000, interval: 300, what: 'eight photos' });
    const all = await (await fetch(`${demo.photos}/_all_docs?include_docs=true`)).json();
    for (const { doc } of all.rows) {
      assert.match(doc._id, /^photo:\d{4}-\d\d-\d\dT[\d:.]+Z:[0-9a-f]{8}$/);
      assert.equal(doc.type, 'photo');
      assert.deepEqual(Object.keys(doc._attachments).sort(), ['original', 'thumb']);
      assert.ok(doc.caption && doc.name && doc.width && doc.height && doc.added && doc.taken);
    }
    const bytes = Buffer.from(await (await fetch(`${demo.photos}/${encodeURIComponent(all.rows[0].id)}/original`)).arrayBuffer());
    assert.equal(bytes.subarray(0, 2).toString('hex'), 'ffd8');

    // The same photos are served as files, for a private gallery to try.
    const samples = new URL(searchParams.get('samples'), origin);
    const names = await (await fetch(new URL('index.json', samples))).json();
    assert.equal(names.length, 8);
    for (const name of names) assert.equal((await fetch(new URL(name, samples))).headers.get('content-type'), 'image/jpeg');
  } finally {
    demo.child.kill('SIGINT');
  }
  assert.equal(await demo.exited, 0, demo.output);
  assert.equal(await answers(demo.gallery.origin), false);
  assert.equal(await answers(demo.server), false);
});

test('it takes other ports when its own are taken', { timeout: 60_000 }, async () => {
  const squatters = await Promise.all([5984, 8080].map((port) => new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null)); // somebody has it already: just as good
    server.listen(port, '127.0.0.1', () => resolve(server));
  })));
  const demo = await startDemo({});
  try {
    assert.notEqual(demo.gallery.port, '8080');
    assert.notEqual(new URL(demo.server).port, '5984');
    assert.ok(await answers(demo.gallery.origin) && await answers(demo.server));
  } finally {
    demo.child.kill('SIGTERM');
    for (const server of squatters) server?.close();
  }
  assert.equal(await demo.exited, 0, demo.output);
});

test('two at once do not get in each other\'s way', { timeout: 60_000 }, async () => {
  const demos = [];
  try {
    for (let i = 0; i < 2; i++) demos.push(await startDemo({}));
    assert.notEqual(demos[0].gallery.origin, demos[1].gallery.origin);
    for (const demo of demos) {
      await waitFor(async () => (await (await fetch(demo.photos)).json()).doc_count === 8, { timeout: 30_000, what: `photos in ${demo.photos}` });
    }
  } finally {
    for (const demo of demos) demo.child.kill('SIGTERM');
  }
  for (const demo of demos) assert.equal(await demo.exited, 0, demo.output);
});

test('a server of your own: its password is not printed, its data not added to', { timeout: 60_000 }, async () => {
  const couch = await startPouchServer();
  const yours = `${couch.url}/gallery`;
  const { must } = couchClient({ url: couch.url });
  await must('PUT', '/photos');
  await must('PUT', '/photos/mine', { n: 1 });
  await must('PUT', '/_config/admins/anna', '"se/cret"');
  const demo = await startDemo({ COUCHDB_URL: couch.url.replace('//', '//anna:se%2Fcret@') });
  try {
    assert.equal(demo.server, yours);
    assert.doesNotMatch(demo.output, /cret/);
    const opened = await fetch(demo.gallery, { redirect: 'manual' });
    assert.equal(opened.status, 302);
    assert.equal(new URL(opened.headers.get('location'), demo.gallery).searchParams.get('server'), yours.replace('//', '//anna:se%2Fcret@'));
    assert.equal((await (await fetch(demo.photos)).json()).doc_count, 1);
  } finally {
    demo.child.kill('SIGINT');
    await demo.exited;
    assert.equal(await answers(couch.url), true, 'the demo must leave a server it did not start');
    await couch.close();
  }
});

test('a wrong password is named', { timeout: 60_000 }, async () => {
  const couch = await startPouchServer();
  try {
    await couchClient({ url: couch.url }).must('PUT', '/_config/admins/anna', '"se/cret"');
    const demo = await startDemo({ COUCHDB_URL: couch.url.replace('//', '//anna:other@') });
    assert.equal(await demo.exited, 1);
    assert.match(demo.output, /refuses the name and password/);
    assert.doesNotMatch(demo.output, /other/);
  } finally { await couch.close(); }
});

test('a server that does not answer is named', { timeout: 60_000 }, async () => {
  const demo = await startDemo({ COUCHDB_URL: 'http://anna:secret@127.0.0.1:9' });
  assert.equal(await demo.exited, 1);
  assert.match(demo.output, /no server answers at http:\/\/127\.0\.0\.1:9/);
  assert.doesNotMatch(demo.output, /secret/);
});

test('nothing outside the gallery and the package is served', async () => {
  const { startStaticServer } = await import('../../tools/lib/static.mjs');
  const server = await startStaticServer();
  try {
    for (const path of ['/..%2fCargo.toml', '/settee/..%2f..%2fCargo.toml', '/settee/%2e%2e/%2e%2e/Cargo.toml', '/.git/config',
      '/settee/generated/.built-from', '/%00', '/%', '/..%5cCargo.toml', '/nothing']) {
      assert.equal((await fetch(server.origin + path)).status, 404, path);
    }
    assert.equal((await fetch(server.origin, { method: 'PUT' })).status, 405);
  } finally { await server.stop(); }
});
