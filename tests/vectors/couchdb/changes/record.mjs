#!/usr/bin/env node
// Records which documents a real CouchDB tells of in `_changes?filter=_selector`, into <version>.json beside this file.
// tests/native_find.rs reads it.
//
//   node tests/vectors/couchdb/changes/record.mjs http://admin:secret@127.0.0.1:5984
//
// Makes a database of its own and deletes it.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const server = new URL(process.argv[2] ?? process.env.COUCHDB_URL ?? 'http://admin:secret@127.0.0.1:5984');
const authorization = `Basic ${Buffer.from(`${decodeURIComponent(server.username)}:${decodeURIComponent(server.password)}`).toString('base64')}`;
const name = `settee-recorded-changes-${randomBytes(4).toString('hex')}`;

async function send(method, where, body) {
  const answer = await fetch(new URL(where, server.origin), {
    method, headers: { authorization, 'content-type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${where}: ${await answer.text()}`);
  return answer.json();
}

// Each step is an edit of what is there; one of `branch` stands beside its winner.
const steps = [
  { doc: { _id: 'file', n: 1, _attachments: { 'a.txt': { content_type: 'text/plain', data: 'aGVsbG8=' }, b: { content_type: 'image/png', data: '' } } } },
  { doc: { _id: 'plain', n: 1 } },
  { doc: { _id: 'gone', n: 1, _attachments: { 'a.txt': { content_type: 'text/plain', data: 'aGVsbG8=' } } } },
  { doc: { _id: 'gone', n: 2, _deleted: true } },
  { doc: { _id: 'two', n: 1 } },
  { doc: { _id: 'two', n: 2 } },
  { branch: { _id: 'two', n: 2, beside: true } },
  { doc: { _id: 'settled', n: 1 } },
  { doc: { _id: 'settled', n: 2 } },
  { branch: { _id: 'settled', n: 2, _deleted: true } },
  { doc: { _id: '_design/own', language: 'javascript', n: 1 } },
];
const FILE = '_attachments.a\\.txt';
const selectors = [
  {}, { n: { $gt: 0 } }, { _id: 'plain' }, { _id: { $gt: 'g' } }, { _rev: { $beginsWith: '2-' } }, { _rev: { $exists: true } },
  { _attachments: { $exists: true } }, { _attachments: { $exists: false } }, { [`${FILE}.content_type`]: 'text/plain' }, { [`${FILE}.length`]: 5 },
  { [`${FILE}.stub`]: true }, { [`${FILE}.digest`]: { $regex: '^md5-' } }, { '_attachments.b.digest': 'md5-1B2M2Y8AsgTpgAmY7PhCfg==' }, { [`${FILE}.revpos`]: 1 },
  { [`${FILE}.data`]: { $exists: true } }, { '_attachments.b.length': 0 }, { _attachments: { b: { content_type: 'image/png' } } },
  { _deleted: true }, { _deleted: false }, { _deleted: { $exists: true } }, { _deleted: { $exists: false } }, { _deleted: { $ne: true } }, { _deleted: true, n: 2 },
  { _conflicts: { $exists: true } }, { _conflicts: { $exists: false } }, { _conflicts: { $size: 1 } }, { '_conflicts.0': { $beginsWith: '2-' } }, { _deleted_conflicts: { $exists: true } },
  { _revisions: { $exists: true } }, { _revs_info: { $exists: true } }, { _local_seq: { $exists: true } },
];
const options = [{}, { conflicts: true }, { include_docs: true }, { conflicts: true, include_docs: true, attachments: true }];

const { version } = await send('GET', '/');
await send('PUT', `/${name}`);
try {
  const where = (id) => `/${name}/${id.replace('_design/', '_design%2F')}`;
  for (const { doc, branch } of steps) {
    const { _id } = doc ?? branch;
    const current = await send('GET', `${where(_id)}?revs=true`).catch(() => undefined);
    if (doc) await send('PUT', where(_id), { ...doc, _rev: current?._rev });
    else {
      const [, first] = current._revisions.ids;
      await send('POST', `/${name}/_bulk_docs`, { new_edits: false, docs: [{ ...branch, _revisions: { start: 2, ids: ['f'.repeat(32), first] } }] });
    }
  }
  const answers = [];
  for (const selector of selectors) {
    for (const given of options) {
      const query = new URLSearchParams({ filter: '_selector', ...given });
      const { results } = await send('POST', `/${name}/_changes?${query}`, { selector });
      answers.push({ selector, options: given, ids: results.map(({ id }) => id).sort() });
    }
  }
  const lines = (list) => list.map((item) => JSON.stringify(item)).join(',\n  ');
  const text = `{\n"about": "Which documents CouchDB ${version} tells of in _changes with a selector; record.mjs records it.",\n"steps": [\n  ${lines(steps)}\n],\n"answers": [\n  ${lines(answers)}\n]\n}\n`;
  writeFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), `${version}.json`), text);
} finally {
  await send('DELETE', `/${name}`);
}
