// One side of a replication: what it holds, in a form that two of them can be compared in, and edits. Runs in Node and in
// pages alike.

// Every leaf of every document: { [id]: { [rev]: { path, deleted, body, attachments: { [name]: { type, length, digest, sha } } } } },
// `path` being the history that is remembered, newest first, and `sha` of the bytes themselves.
//
//   changes()      the feed from the beginning, with style=all_docs
//   bulkGet(docs)  the results of _bulk_get with revs and attachments as base64
export async function censusOf({ changes, bulkGet }) {
  const leaves = await leavesOf({ changes });
  const wanted = Object.entries(leaves).flatMap(([id, revs]) => revs.map((rev) => ({ id, rev })));
  const census = {};
  for (let at = 0; at < wanted.length; at += 100) {
    for (const { id, docs } of await bulkGet(wanted.slice(at, at + 100))) {
      for (const { ok, error } of docs) {
        if (!ok) throw new Error(`${id}: the feed names a leaf that cannot be read: ${JSON.stringify(error)}`);
        census[id] ??= {};
        if (census[id][ok._rev]) throw new Error(`${id}: the leaf ${ok._rev} is there twice`);
        census[id][ok._rev] = await leafOf(ok);
      }
    }
  }
  return census;
}

// The leaves by document: { [id]: [rev, …] }, sorted.
export async function leavesOf({ changes }) {
  const leaves = {};
  for (const { id, changes: revs } of await changes()) {
    if (leaves[id]) throw new Error(`${id}: the feed names it twice`);
    leaves[id] = revs.map(({ rev }) => rev).sort();
    if (new Set(leaves[id]).size < revs.length) throw new Error(`${id}: the feed names a leaf twice: ${leaves[id]}`);
  }
  return Object.fromEntries(Object.entries(leaves).sort(([a], [b]) => (a < b ? -1 : 1)));
}

// For a Database of this package.
export const local = (db) => ({
  changes: async () => (await db.changes({ style: 'all_docs' })).results,
  bulkGet: async (docs) => (await db.bulkGet({ docs, revs: true, attachments: true })).results,
});

async function leafOf({ _id, _rev, _deleted = false, _revisions, _attachments = {}, ...body }) {
  const attachments = {};
  for (const [name, { content_type: type, digest, data }] of Object.entries(_attachments)) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const sha = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    attachments[name] = { type, length: bytes.length, digest, sha };
  }
  return { path: _revisions.ids.map((id, at) => `${_revisions.start - at}-${id}`), deleted: _deleted, body, attachments };
}

// Edits a Database: documents as put() takes them, and those with `edit` as the next revision of that document. Gives the
// _id and _rev of each.
export async function editDocs(db, todo) {
  const done = [];
  for (const { edit: id, ...doc } of todo) {
    if (id) Object.assign(doc, { _id: id, _rev: (await db.get(id))._rev });
    done.push({ _id: doc._id, _rev: (await db.put(doc)).rev });
  }
  return done;
}
