#!/usr/bin/env node
// Records what a real CouchDB answers to each request that Settee reads the answer of, into <version>.json beside this file.
// tests/native_recorded.rs reads them.
//
//   node tests/vectors/couchdb/record.mjs http://admin:secret@127.0.0.1:5984
//
// Makes two databases of its own and deletes them. In what is recorded they are called `db` and `empty`.
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
const KEPT = ['accept-ranges', 'content-encoding', 'content-length', 'content-md5', 'content-range', 'content-type', 'etag', 'retry-after', 'www-authenticate'];
const exchanges = {};

function send(method, where, { body, headers = {}, auth = basic(login), quiet } = {}) {
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
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }));
    });
    request.on('error', (error) => { if (!quiet) reject(error); });
    request.end(given);
  });
}

const isText = (bytes) => Buffer.from(bytes.toString()).equals(bytes);
const shown = (bytes) => (isText(bytes) ? { body: bytes.toString() } : { base64: bytes.toString('base64') });

// One exchange, kept under a name. `body` stands for a body too long to keep.
async function record(name, method, where, { note, ...given } = {}) {
  const { status, headers, body } = await send(method, where, given);
  const request = { method, path: where, ...(note ? { note } : given.body === undefined ? {} : shown(Buffer.from(typeof given.body === 'string' || Buffer.isBuffer(given.body) ? given.body : JSON.stringify(given.body)))) };
  exchanges[name] = { request, status, headers: Object.fromEntries(Object.entries(headers).filter(([header]) => KEPT.includes(header))), ...shown(body) };
  const answer = exchanges[name];
  if (answer.body) answer.body = answer.body.replaceAll(names.db, 'db').replaceAll(names.empty, 'empty');
  return body.toString();
}

const R = (c) => c.repeat(32);
const branch = (id, ids, more) => ({ _id: id, _rev: `${ids.length}-${ids[0]}`, _revisions: { start: ids.length, ids }, ...more });
const text = Buffer.from('Text that is worth compressing. '.repeat(40));
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

  await record('revs-diff', 'POST', '/db/_revs_diff', { body: { plain: [`2-${R('b')}`, `3-${R('c')}`], split: [`2-${R('2')}`], unheard: [`1-${R('1')}`] } });
  const wanted = { docs: [
    { id: 'plain', rev: `2-${R('b')}` }, { id: 'split', rev: `2-${R('2')}` }, { id: 'split', rev: `2-${R('3')}` },
    { id: 'gone', rev: `2-${R('d')}` }, { id: 'files', rev: `1-${R('f')}` }, { id: 'plain', rev: `9-${R('9')}` }, { id: 'unheard', rev: `1-${R('1')}` },
  ] };
  const asked = '/db/_bulk_get?revs=true&latest=true&att_encoding_info=true';
  await record('bulk-get', 'POST', asked, { body: wanted });
  await record('bulk-get-multipart', 'POST', `${asked}&attachments=true`, { body: wanted, headers: { accept: 'multipart/mixed' } });
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
  await record('attachment-missing', 'GET', `/db/files/none?${at}`, { headers: { accept: '*/*' } });

  const multipart = (doc, ...parts) => Buffer.concat([
    Buffer.from(`--xyz\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(doc)}`),
    ...parts.map((part) => Buffer.concat([Buffer.from('\r\n--xyz\r\n\r\n'), part])), Buffer.from('\r\n--xyz--'),
  ]);
  const follows = (rev, length, more) => branch('sent', [rev], { _attachments: { f: { content_type: 'application/x-test', revpos: 1, follows: true, length, ...more } } });
  const related = { 'content-type': 'multipart/related; boundary="xyz"' };
  await record('put-multipart', 'PUT', '/db/sent?new_edits=false', { body: multipart(follows(R('1'), binary.length), binary), headers: related, note: 'multipart/related' });
  await record('put-multipart-bad-digest', 'PUT', '/db/sent?new_edits=false', { body: multipart(follows(R('2'), binary.length, { digest: 'md5-1B2M2Y8AsgTpgAmY7PhCfg==' }), binary), headers: related, note: 'multipart/related' });
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
  await record('session-nobody', 'GET', '/_session', nobody);
  await record('unauthorized', 'GET', '/db', nobody);
  await record('unauthorized-bad-password', 'GET', '/db', { auth: basic(`${username}:wrong`) });
  await record('database-missing', 'GET', `/settee-recorded-none-${suffix}`);
  await record('doc-missing', 'GET', '/db/none');
  await record('doc-deleted', 'GET', '/db/gone');
  await record('not-acceptable-method', 'POST', '/db/_revs_limit', { body: 1 });
} finally {
  for (const name of ['/db', '/empty']) await send('DELETE', name);
}
for (const exchange of Object.values(exchanges)) exchange.request.path = exchange.request.path.replace(suffix, 'x');
const recorded = { server: welcome, date: new Date().toISOString().slice(0, 10), exchanges };
const file = path.join(path.dirname(fileURLToPath(import.meta.url)), `${welcome.version}.json`);
writeFileSync(file, `${JSON.stringify(recorded, null, 1)}\n`);
console.log(`${Object.keys(exchanges).length} exchanges with CouchDB ${welcome.version} are in ${file}`);
