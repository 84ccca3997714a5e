#!/usr/bin/env node
// Records what a real CouchDB answers to `_find` and `_index`, into <version>.json beside this file: the same requests of
// the same documents, first without an index and then with some. tests/native_find.rs reads it.
//
//   node tests/vectors/couchdb/find/record.mjs http://admin:secret@127.0.0.1:5984
//
// Makes a database of its own and deletes it.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const server = new URL(process.argv[2] ?? process.env.COUCHDB_URL ?? 'http://admin:secret@127.0.0.1:5984');
const authorization = `Basic ${Buffer.from(`${decodeURIComponent(server.username)}:${decodeURIComponent(server.password)}`).toString('base64')}`;
const name = `settee-recorded-find-${randomBytes(4).toString('hex')}`;

async function send(method, where, body) {
  const answer = await fetch(new URL(where, server.origin), {
    method, headers: { authorization, 'content-type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

const docs = [
  { _id: 'a', type: 'photo', taken: 3, tags: ['sea', 'sun'], place: { city: 'Oslo', at: [59.9, 10.7] }, title: 'Apple' },
  { _id: 'B', type: 'photo', taken: 1, tags: [], place: { city: 'Bergen' }, title: 'banana' },
  { _id: 'c', type: 'photo', taken: 2, tags: 'sea', title: 'apple' },
  { _id: 'd', type: 'album', taken: null, title: 'Apfel', count: 3 },
  { _id: 'e', type: 'album', title: 'Zebra', count: 30 },
  { _id: 'f', type: 'photo', taken: 'late', tags: ['sea'], title: 'cherry', place: 'nowhere' },
  { _id: 'g', type: 'photo', taken: 2.5, tags: [['sea']], title: '', place: { city: null } },
  { _id: 'h', taken: [1, 2], deep: { er: { still: true } }, list: [{ k: 1 }, 5, null], 'dotted.name': 'yes' },
  { _id: 'i', taken: { at: 1 }, type: 'photo' },
  { _id: '~last', type: 'photo', taken: 2 },
  { _id: 'é', type: 'photo', taken: 10, title: 'egg' },
  { _id: '_design/own', type: 'photo', taken: 2, language: 'javascript' },
  { _id: 'gone', _deleted: true, type: 'photo', taken: 2 },
];
// None with `_id`: CouchDB orders it there by its collation, compares it by its bytes, and so loses some.
const indexes = [
  { index: { fields: ['taken'] }, ddoc: 'by-taken', name: 'taken' },
  { index: { fields: ['type', 'taken'] }, ddoc: 'by-both', name: 'both' },
  { index: { fields: [{ 'place.city': 'desc' }] }, ddoc: 'by-city', name: 'city' },
  { index: { fields: ['title'] }, ddoc: 'by-title', name: 'title' },
];
const find = (selector, more) => ({ selector, ...more });
const requests = [
  find({}), find({ type: 'photo' }), find({ type: { $eq: 'photo' }, taken: 2 }), find({ taken: 2 }), find({ taken: null }),
  ...['$gt', '$gte', '$lt', '$lte', '$ne'].flatMap((op) => [2, null, 'late', [1], { at: 1 }].map((value) => find({ taken: { [op]: value } }))),
  find({ taken: { $gt: 1, $lt: 3 } }), find({ taken: { $gte: 2, $lte: 2 } }), find({ taken: { $gt: 3, $lt: 1 } }),
  find({ $and: [{ taken: { $gt: 1 } }, { taken: { $lt: 10 } }, { type: 'photo' }] }),
  find({ $or: [{ taken: 1 }, { title: 'Zebra' }] }), find({ $or: [{ taken: 1 }, { taken: 3 }] }), find({ $nor: [{ type: 'photo' }] }),
  find({ taken: { $exists: true } }), find({ taken: { $exists: false } }), find({ $not: { taken: 2 } }), find({ taken: { $not: { $gt: 2 } } }),
  find({ taken: { $in: [1, 3, 'late'] } }), find({ taken: { $in: [] } }), find({ taken: { $nin: [2, null] } }), find({ tags: { $in: ['sea'] } }),
  find({ tags: { $all: ['sea'] } }), find({ tags: { $elemMatch: { $eq: 'sun' } } }), find({ tags: { $size: 1 } }), find({ title: { $regex: '^[Aa]' } }),
  find({ title: { $beginsWith: 'a' } }), find({ title: { $beginsWith: '' } }), find({ title: { $gte: 'apple', $lt: 'b' } }), find({ title: { $gt: 'Zebra' } }),
  find({ 'place.city': 'Oslo' }), find({ place: { city: 'Bergen' } }), find({ 'place.city': { $gt: null } }), find({ 'place.at.0': { $gt: 59 } }),
  find({ 'dotted\\.name': 'yes' }), find({ type: 'album', count: { $mod: [2, 1] } }), find({ taken: { $type: 'string' } }),
  find({ $and: [] }), find({ $or: [] }),
  find({ _id: 'a' }), find({ _id: 'missing' }), find({ _id: 'gone' }), find({ _id: '_design/own' }), find({ _id: { $in: ['h', 'a', 'x', 'a'] } }),
  find({ _id: { $gte: 'a' } }), find({ _id: { $gt: 'a', $lte: 'c' } }), find({ _id: { $lt: 'b' } }), find({ _id: { $gt: null } }), find({ _id: { $lt: {} } }),
  find({ _id: { $beginsWith: 'a' } }), find({ _id: { $gte: 'a' }, type: 'album' }), find({ type: 'photo', _id: { $gt: 'a' } }), find({ _id: { $gte: 'a', $lt: 'a\uffff' } }), find({ _id: { $ne: 'a' } }),
  find({ _rev: { $gt: '1-' } }), find({ _id: 5 }),
  ...[{ sort: ['taken'] }, { sort: [{ taken: 'desc' }] }, { sort: ['taken'], limit: 2 }, { sort: [{ taken: 'desc' }], limit: 2, skip: 1 }].flatMap((more) => [
    find({ taken: { $gt: null } }, more), find({ type: 'photo' }, more), find({}, more), find({ type: 'photo', taken: { $lt: 3 } }, more)]),
  find({ type: 'photo', taken: { $gt: null } }, { sort: ['type', 'taken'] }), find({ type: { $gt: null } }, { sort: [{ type: 'desc' }, { taken: 'desc' }] }),
  find({ title: { $exists: true } }, { sort: ['title'] }), find({ 'place.city': { $exists: true } }, { sort: ['place.city'] }),
  find({ _id: { $gt: null } }, { sort: ['_id'] }), find({ _id: { $gt: null } }, { sort: [{ _id: 'desc' }], limit: 3 }), find({ type: 'photo' }, { sort: ['unknown'] }),
  find({}, { limit: 3 }), find({}, { limit: 3, skip: 2 }), find({}, { skip: 100 }), find({}, { limit: 0 }),
  find({ _id: 'a' }, { fields: ['_id', 'place.city', 'none', 'type'] }), find({ _id: 'a' }, { fields: ['place.at.1', 'tags.0'] }),
  find({ _id: 'a' }, { fields: ['place.city', 'place'] }), find({ _id: 'a' }, { fields: ['place', 'place.city'] }), find({ _id: 'h' }, { fields: ['list.0.k', 'list.7', 'deep.er', 'dotted\\.name'] }),
  find({ _id: 'a' }, { fields: [] }), find({ taken: 2 }, { fields: ['taken'] }),
  find({ taken: 2 }, { use_index: 'by-taken' }), find({ taken: 2 }, { use_index: '_design/by-taken' }), find({ taken: 2 }, { use_index: ['by-taken', 'taken'] }),
  find({ taken: 2 }, { use_index: ['by-taken', 'other'] }), find({ count: 3 }, { use_index: 'by-taken' }), find({ taken: 2 }, { use_index: [] }),
  // What is refused.
  5, {}, find(5), find([]), find({ taken: { $foo: 1 } }), find({ taken: { $in: 1 } }), find({ $gt: 1 }),
  find({}, { limit: -1 }), find({}, { limit: 1.5 }), find({}, { limit: 'a' }), find({}, { skip: -1 }),
  find({}, { sort: 'x' }), find({}, { sort: [5] }), find({}, { sort: [{ x: 'up' }] }), find({}, { sort: ['x', { y: 'desc' }] }), find({}, { sort: [''] }), find({}, { sort: [{}] }),
  find({}, { fields: 'x' }), find({}, { fields: [5] }), find({}, { fields: [''] }), find({}, { other: 1 }), find({}, { use_index: 5 }), find({}, { use_index: 'a/b/c' }), find({}, { use_index: [1] }),
];
const badIndexes = [
  5, {}, { index: 5 }, { index: {} }, { index: { fields: 'x' } }, { index: { fields: ['x', { y: 'desc' }] } }, { index: { fields: ['x'], other: 1 } },
  { index: { fields: ['x'] }, name: '' }, { index: { fields: ['x'] }, name: 5 }, { index: { fields: ['x'] }, ddoc: '' }, { index: { fields: ['x'] }, type: 'none' }, { index: { fields: ['x'] }, other: 1 },
];

const { body: { version } } = await send('GET', '/');
await send('PUT', `/${name}`);
try {
  const wrote = await send('POST', `/${name}/_bulk_docs`, { docs });
  if (wrote.body.some(({ ok }) => !ok)) throw new Error(JSON.stringify(wrote.body));
  const ask = (where, bodies) => Promise.all(bodies.map(async (request) => ({ request, ...await send('POST', `/${name}/${where}`, request) })));
  const without = ({ request, status, body: { bookmark, ...body } }) => {
    for (const doc of body.docs ?? []) delete doc._rev;
    return { request, status, body };
  };
  // It fails at a $nin of what an index has, once.
  const bare = (await ask('_find', requests)).filter(({ status }) => status < 500).map(without);
  const created = [];
  for (const index of [...indexes, indexes[0]]) created.push(...await ask('_index', [index]));
  const indexed = (await ask('_find', requests)).filter(({ status }) => status < 500).map(without);
  const refused = await ask('_index', badIndexes);
  const { body: listed } = await send('GET', `/${name}/_index`);
  const lines = (list) => list.map((item) => JSON.stringify(item)).join(',\n  ');
  const parts = Object.entries({ docs, created, refused, listed: listed.indexes, bare, indexed });
  const text = `{\n"about": "What CouchDB ${version} answers to _find and _index; record.mjs records it.",\n${parts.map(([key, list]) => `"${key}": [\n  ${lines(list)}\n]`).join(',\n')}\n}\n`;
  writeFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), `${version}.json`), text);
} finally {
  await send('DELETE', `/${name}`);
}
