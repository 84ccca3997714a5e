#!/usr/bin/env node
// Records what a real CouchDB answers to each request that Settee reads the answer of, into <version>.json beside this file.
// tests/native_recorded.rs reads them.
//
//   node tests/vectors/couchdb/record.mjs http://admin:secret@127.0.0.1:5984
//
// Of a server that does nothing else meanwhile: one feed tells of all its databases. Makes two databases of its own and deletes them. In what is recorded they are called `db` and `empty`.
import http from 'node:http';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const server = new URL(process.argv[2] ?? process.env.COUCHDB_URL ?? 'http://admin:secret@127.0.0.1:5984');
const login = `${decodeURIComponent(server.username)}:${decodeURIComponent(server.password)}`;
const basic = (text) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
const suffix = randomBytes(4).toString('hex');
const names = { db: `settee-recorded-${suffix}`, empty: `settee-recorded-empty-${suffix}` };
const KEPT = ['accept-ranges', 'content-encoding', 'content-length', 'content-md5', 'content-range', 'content-type', 'etag', 'retry-after', 'set-cookie', 'www-authenticate'];
const exchanges = {};

function send(method, where, { body, headers = {}, auth = basic(login), quiet, hangUpAfter } = {}) {
  const given = body === undefined ? undefined : Buffer.isBuffer(body) || typeof body === 'string' ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
  const real = where.replace(/^\/(db|empty)\b/, (_, name) => `/${names[name]}`);
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: server.hostname, port: server.port || 80, method, path: real,
      headers: { accept: 'application/json', ...(given && { 'content-type': 'application/json', 'content-length': given.length }), ...auth, ...headers },
    }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      const done = () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) });
      response.on('end', done);
      if (hangUpAfter) setTimeout(() => { done(); response.destroy(); }, hangUpAfter);
    });
    request.on('error', (error) => { if (!quiet) reject(error); });
    request.end(given);
  });
}

const isText = (bytes) => Buffer.from(bytes.toString()).equals(bytes);
const shown = (bytes) => (isText(bytes) ? { body: bytes.toString() } : { base64: bytes.toString('base64') });

const withoutLogins = (said) => said.replace(/(AuthSession=)[^;"]+/g, '$1recorded').replace(/("password":")[^"]*"/g, '$1recorded"');

// One exchange, kept under a name. `note` stands for a request's body that is not kept; `generated` is where in the bytes of
// `film` an answer begins that is not kept either.
async function record(name, method, where, { note, generated, ...given } = {}) {
  const { status, headers, body } = await send(method, where, given);
  const request = { method, path: where, ...(note ? { note } : given.body === undefined ? {} : shown(Buffer.from(typeof given.body === 'string' || Buffer.isBuffer(given.body) ? given.body : JSON.stringify(given.body)))) };
  const kept = Object.entries(headers).filter(([header]) => KEPT.includes(header)).map(([header, value]) => [header, withoutLogins(String(value))]);
  if (generated !== undefined && !film.subarray(generated).equals(body)) throw new Error(`${name}: not what was stored`);
  exchanges[name] = { request, status, headers: Object.fromEntries(kept), ...(generated === undefined ? shown(body) : { film: generated }) };
  const answer = exchanges[name];
  if (answer.body) answer.body = withoutLogins(answer.body).replaceAll(names.db, 'db').replaceAll(names.empty, 'empty');
  return body.toString();
}

const R = (c) => c.repeat(32);
const branch = (id, ids, more) => ({ _id: id, _rev: `${ids.length}-${ids[0]}`, _revisions: { start: ids.length, ids }, ...more });
const text = Buffer.from('Text that is worth compressing. '.repeat(40));
// Longer than what is fetched in one go.
const film = Buffer.from(Array.from({ length: 1_100_000 }, (_, i) => (i * 7) % 251));
const binary = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 7) % 256));

const welcome = JSON.parse((await send('GET', '/')).body.toString());
try {
  await record('welcome', 'GET', '/');
  await record('create', 'PUT', '/db');
  await record('create-again', 'PUT', '/db');
  await send('PUT', '/empty');
  await record('info-empty', 'GET', '/empty');

  await record('bulk-docs-replicated', 'POST', '/db/_bulk_docs', { body: { new_edits: false, docs: [
    branch('plain', [R('b'), R('a')], { n: 1.5, big: 12345678901234567890, text: 'grüße 🌊' }),
    branch('split', [R('2'), R('1')], { is: 'one' }), branch('split', [R('3'), R('1')], { is: 'other' }),
    branch('gone', [R('d'), R('c')], { _deleted: true, why: 'old' }),
    branch('files', [R('f')], { _attachments: {
      'a.txt': { content_type: 'text/plain', revpos: 1, data: text.toString('base64') },
      'b.bin': { content_type: 'application/x-test', revpos: 1, data: binary.toString('base64') },
      'no revpos': { content_type: 'application/x-test', data: 'aGk=' },
    } }),
  ] } });
  await send('PUT', '/db/_design/guard', { body: {
    validate_doc_update: 'function(doc, old, user) { if (doc._id === "refused") throw({ forbidden: "not here" }); if (doc._id === "unknown") throw({ unauthorized: "who are you" }); }',
    filters: { even: 'function(doc, req) { return doc.n % 2 == 0; }' },
  } });
  await record('bulk-docs-forbidden', 'POST', '/db/_bulk_docs', { body: { new_edits: false, docs: [
    branch('fine', [R('1')], { n: 2 }), branch('refused', [R('4')]), branch('unknown', [R('5')]),
  ] } });
  await record('bulk-docs-missing-stub', 'POST', '/db/_bulk_docs', { body: { new_edits: false, docs: [
    branch('stub', [R('6')], { _attachments: { f: { stub: true, content_type: 'text/plain', digest: 'md5-1B2M2Y8AsgTpgAmY7PhCfg==', length: 0, revpos: 1 } } }),
  ] } });
  await record('bulk-docs-malformed', 'POST', '/db/_bulk_docs', { body: { new_edits: false, docs: [{ _id: 'bad', _rev: 'x', n: 1 }] } });

  await record('info', 'GET', '/db');
  await record('changes', 'GET', '/db/_changes?style=all_docs&limit=500&since=0');
  const page = JSON.parse(await record('changes-page', 'GET', '/db/_changes?style=all_docs&limit=2&since=0'));
  await record('changes-next-page', 'GET', `/db/_changes?style=all_docs&limit=2&since=${encodeURIComponent(page.last_seq)}`);
  await record('changes-doc-ids', 'POST', '/db/_changes?style=all_docs&filter=_doc_ids', { body: { doc_ids: ['plain', 'split'] } });
  await record('changes-selector', 'POST', '/db/_changes?style=all_docs&filter=_selector', { body: { selector: { n: 2 } } });
  await record('changes-filter', 'GET', '/db/_changes?style=all_docs&filter=guard/even');
  await record('changes-filter-missing', 'GET', '/db/_changes?style=all_docs&filter=guard/none');
  const { update_seq: now } = JSON.parse((await send('GET', '/db')).body.toString());
  const since = encodeURIComponent(now);
  await record('longpoll-timeout', 'GET', `/db/_changes?style=all_docs&feed=longpoll&timeout=300&since=${since}`);
  const waiting = record('longpoll', 'GET', `/db/_changes?style=all_docs&feed=longpoll&heartbeat=100&since=${since}`);
  await new Promise((resolve) => setTimeout(resolve, 350));
  await send('PUT', '/db/later', { body: { n: 3 } });
  await waiting;
  const streaming = record('continuous', 'GET', `/db/_changes?style=all_docs&feed=continuous&timeout=600&since=${since}`);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await send('PUT', '/db/even-later', { body: { n: 4 } });
  await streaming;
  // A line that stays open: an empty row for each heartbeat, until we hang up.
  const open = record('continuous-heartbeats', 'GET', `/db/_changes?style=all_docs&feed=continuous&heartbeat=100&since=${since}`, { hangUpAfter: 900 });
  await new Promise((resolve) => setTimeout(resolve, 500));
  await send('PUT', '/db/last', { body: { n: 5 } });
  await open;
  await record('filter-code', 'GET', '/db/_design/guard');

  await record('revs-diff', 'POST', '/db/_revs_diff', { body: { plain: [`2-${R('b')}`, `3-${R('c')}`], split: [`2-${R('2')}`], unheard: [`1-${R('1')}`] } });
  const wanted = { docs: [
    { id: 'plain', rev: `2-${R('b')}` }, { id: 'split', rev: `2-${R('2')}` }, { id: 'split', rev: `2-${R('3')}` },
    { id: 'gone', rev: `2-${R('d')}` }, { id: 'files', rev: `1-${R('f')}` }, { id: 'plain', rev: `9-${R('9')}` }, { id: 'unheard', rev: `1-${R('1')}` },
  ] };
  const asked = '/db/_bulk_get?revs=true&latest=true&att_encoding_info=true';
  await record('bulk-get', 'POST', asked, { body: wanted });
  const revs = encodeURIComponent(JSON.stringify([`2-${R('2')}`, `2-${R('3')}`, `9-${R('9')}`]));
  await record('open-revs', 'GET', `/db/split?open_revs=${revs}&revs=true&latest=true&att_encoding_info=true`);
  const one = encodeURIComponent(JSON.stringify([`1-${R('f')}`]));
  await record('open-revs-multipart', 'GET', `/db/files?open_revs=${one}&revs=true&attachments=true`, { headers: { accept: 'multipart/mixed' } });

  const at = `rev=1-${R('f')}`;
  await record('attachment', 'GET', `/db/files/b.bin?${at}`, { headers: { accept: '*/*' } });
  await record('attachment-compressed', 'GET', `/db/files/a.txt?${at}`, { headers: { accept: '*/*' } });
  await record('attachment-range', 'GET', `/db/files/b.bin?${at}`, { headers: { accept: '*/*', range: 'bytes=100-199' } });
  await record('attachment-range-of-compressed', 'GET', `/db/files/a.txt?${at}`, { headers: { accept: '*/*', range: 'bytes=100-199' } });
  await record('attachment-range-beyond', 'GET', `/db/files/b.bin?${at}`, { headers: { accept: '*/*', range: 'bytes=300-' } });
  const { rev: filmed } = JSON.parse((await send('PUT', '/db/film/film.bin', { body: film, headers: { 'content-type': 'video/x' } })).body.toString());
  const part = (from) => ({ headers: { accept: '*/*', ...(from && { range: `bytes=${from}-` }) }, ...(from < film.length && { generated: from }) });
  await record('film', 'GET', `/db/film/film.bin?rev=${filmed}`, part(0));
  await record('film-range', 'GET', `/db/film/film.bin?rev=${filmed}`, part(600_000));
  await record('film-range-beyond', 'GET', `/db/film/film.bin?rev=${filmed}`, part(1_100_000));
  await record('attachment-missing', 'GET', `/db/files/none?${at}`, { headers: { accept: '*/*' } });

  const multipart = (doc, ...parts) => Buffer.concat([
    Buffer.from(`--xyz\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(doc)}`),
    ...parts.map((part) => Buffer.concat([Buffer.from('\r\n--xyz\r\n\r\n'), part])), Buffer.from('\r\n--xyz--'),
  ]);
  const follows = (rev, length, more) => branch('sent', [rev], { _attachments: { f: { content_type: 'application/x-test', revpos: 1, follows: true, length, ...more } } });
  const related = { 'content-type': 'multipart/related; boundary="xyz"' };
  await record('put-multipart', 'PUT', '/db/sent?new_edits=false', { body: multipart(follows(R('1'), binary.length), binary), headers: related, note: 'multipart/related' });
  await record('put-multipart-bad-digest', 'PUT', '/db/sent?new_edits=false', { body: multipart(follows(R('2'), binary.length, { digest: 'md5-1B2M2Y8AsgTpgAmY7PhCfg==' }), binary), headers: related, note: 'multipart/related' });
  const withFiles = { docs: [{ id: 'files', rev: `1-${R('f')}` }, { id: 'unheard', rev: `1-${R('1')}` }, { id: 'plain', rev: `2-${R('b')}` }, { id: 'sent', rev: `1-${R('1')}` }] };
  await record('bulk-get-multipart', 'POST', '/db/_bulk_get', { body: withFiles, headers: { accept: 'multipart/mixed' } });
  await record('put-forbidden', 'PUT', '/db/refused?new_edits=false', { body: branch('refused', [R('4')]) });
  await record('put-unauthorized', 'PUT', '/db/unknown?new_edits=false', { body: branch('unknown', [R('5')]) });
  await record('put-missing-stub', 'PUT', '/db/stub?new_edits=false', { body: branch('stub', [R('6')], { _attachments: { f: { stub: true, content_type: 'text/plain', revpos: 1 } } }) });
  await record('put-conflict', 'PUT', '/db/plain', { body: { n: 2 } });
  await record('put-too-large', 'PUT', '/db/long?new_edits=false', { body: branch('long', [R('7')], { text: 'x'.repeat(8_100_000) }), note: 'a document of 8.1 MB' });

  await record('local-missing', 'GET', '/db/_local/session');
  const { rev } = JSON.parse(await record('local-put', 'PUT', '/db/_local/session', { body: { history: [], source_last_seq: '1-x' } }));
  await record('local', 'GET', '/db/_local/session');
  await record('local-other-rev', 'PUT', '/db/_local/session', { body: { _rev: '0-9', history: [] } });
  await record('local-put-again', 'PUT', '/db/_local/session', { body: { _rev: rev, history: [] } });

  const nobody = { auth: {} };
  const [username, password] = login.split(':');
  await record('session-login', 'POST', '/_session', { ...nobody, body: { name: username, password }, note: 'name and password' });
  await record('session-login-bad', 'POST', '/_session', { ...nobody, body: { name: username, password: 'wrong' }, note: 'a wrong password' });
  await record('session', 'GET', '/_session');
  const [cookie] = (await send('POST', '/_session', { ...nobody, body: { name: username, password } })).headers['set-cookie'];
  const value = /AuthSession=([^;]+)/.exec(cookie)[1];
  const [who, , seal] = Buffer.from(value, 'base64url').toString('latin1').split(/:([0-9A-F]+):/);
  const expired = Buffer.from(`${who}:5F000000:${seal ?? ''}`, 'latin1').toString('base64url');
  for (const [name, sent] of [['with-session', value], ['with-session-expired', expired], ['with-session-garbage', 'bm9ib2R5']]) {
    await record(name, 'GET', '/db', { auth: { cookie: `AuthSession=${sent}` } });
  }
  await record('session-nobody', 'GET', '/_session', nobody);
  await record('unauthorized', 'GET', '/db', nobody);
  await record('unauthorized-bad-password', 'GET', '/db', { auth: basic(`${username}:wrong`) });
  await record('database-missing', 'GET', `/settee-recorded-none-${suffix}`);
  await record('doc-missing', 'GET', '/db/none');
  await record('doc-deleted', 'GET', '/db/gone');
  await record('not-acceptable-method', 'POST', '/db/_revs_limit', { body: 1 });

  const moved = JSON.parse(await record('db-updates-now', 'GET', '/_db_updates?since=now')).last_seq;
  const moving = record('db-updates', 'GET', `/_db_updates?feed=longpoll&heartbeat=100&since=${encodeURIComponent(moved)}`);
  await new Promise((resolve) => setTimeout(resolve, 350));
  await send('PUT', '/db/moved', { body: {} });
  await moving;

  await send('PUT', '/_replicator');
  const end = (name) => ({ url: `${server.origin}/${name}`, auth: { basic: { username, password } } });
  const doc = (name) => `/_replicator/${name}-${suffix}`;
  const scheduled = (name) => `/_scheduler/docs/_replicator/${name}-${suffix}`;
  const until = async (name, test) => {
    for (let tries = 0; tries < 200; tries += 1) {
      const { status, body } = await send('GET', scheduled(name));
      if (status === 200 && test(JSON.parse(body.toString()))) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${name} does not get there`);
  };
  const jobs = {
    'job-live': { source: end(names.db), target: end(names.empty), continuous: true }, 'job-once': { source: end(names.db), target: end(names.empty) },
    'job-bad': { source: end(`${names.db}-none`), target: end(names.empty) },
  };
  const { 'job-live': first } = jobs;
  const { rev: made } = JSON.parse(await record('replicator-put', 'PUT', doc('job-live'), { body: first, note: 'source, target, continuous' }));
  await record('replicator-put-again', 'PUT', doc('job-live'), { body: first, note: 'the same' });
  await until('job-live', ({ state, info }) => state === 'running' && info);
  await record('scheduler-running', 'GET', scheduled('job-live'));
  await record('replicator-running', 'GET', doc('job-live'));
  await record('replicator-delete', 'DELETE', `${doc('job-live')}?rev=${made}`);
  for (const [name, state] of [['job-once', 'completed'], ['job-bad', 'crashing']]) {
    await send('PUT', doc(name), { body: jobs[name] });
    await until(name, (told) => told.state === state);
    await record(`scheduler-${state}`, 'GET', scheduled(name));
    await record(`replicator-${state}`, 'GET', doc(name));
  }
  await record('replicator-missing', 'GET', doc('job-live'));
  await record('scheduler-missing', 'GET', scheduled('job-never'));
} finally {
  for (const name of ['/db', '/empty']) await send('DELETE', name);
  for (const name of ['job-once', 'job-bad']) {
    const { _rev } = JSON.parse((await send('GET', `/_replicator/${name}-${suffix}`)).body.toString());
    if (_rev) await send('DELETE', `/_replicator/${name}-${suffix}?rev=${_rev}`);
  }
}
for (const exchange of Object.values(exchanges)) exchange.request.path = exchange.request.path.replace(suffix, 'x');
const recorded = { server: welcome, date: new Date().toISOString().slice(0, 10), exchanges };
const file = path.join(path.dirname(fileURLToPath(import.meta.url)), `${welcome.version}.json`);
writeFileSync(file, `${JSON.stringify(recorded, null, 1)}\n`);
console.log(`${Object.keys(exchanges).length} exchanges with CouchDB ${welcome.version} are in ${file}`);
