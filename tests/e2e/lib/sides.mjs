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
        if (!Object.hasOwn(census, id)) census[id] = {};
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
    if (Object.hasOwn(leaves, id)) throw new Error(`${id}: the feed names it twice`);
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

/**
 * Brings documents with their histories into a Database, as `new_edits: false` does. A sealed channel does not take that: there
 * each history is made by edits in further copies of the channel (`Database` being that of channels.mjs), and comes from them by
 * replication. Its revisions have other ids then; with `inOrder` in the order of those given, of up to three that have ancestors.
 *
 * Answers { as, told }: as(id, rev) is the revision made for the one given, told(value) a copy of a JSON value with all
 * revisions as they were given.
 */
export async function bring(Database, db, docs, { inOrder = false } = {}) {
  if (!db.sealed) {
    const failed = await db.bulkDocs(docs, { new_edits: false });
    if (failed.length) throw failed[0];
    return { as: (id, rev) => rev, told: (value) => value };
  }
  const copy = () => Database.open(`${db.name}~${crypto.randomUUID()}`, { storage: 'memory', copyOf: db });
  const pending = new Map();
  for (const doc of docs) pending.set(doc._id, [...pending.get(doc._id) ?? [], doc]);
  const made = new Map(); // of each document, the revision for each that was given
  const all = await copy();
  for (let attempt = 0; pending.size; attempt += 1) {
    const copies = []; // one for each root that a document has
    const settled = [];
    for (const [id, leaves] of pending) {
      const revs = new Map();
      const roots = [];
      for (const { _id, _rev, _revisions, ...body } of leaves) {
        const [start, hash] = _rev.split('-');
        const path = (_revisions?.ids ?? [hash]).map((one, i) => `${start - i}-${one}`).reverse();
        if (!roots.includes(path[0])) roots.push(path[0]);
        const at = roots.indexOf(path[0]);
        copies[at] ??= await copy();
        for (const [i, rev] of path.entries()) {
          if (revs.has(rev)) continue;
          const doc = { ...rev === _rev ? body : { ancestor: rev, attempt }, _id: id, _rev: revs.get(path[i - 1]) };
          revs.set(rev, (await copies[at].put(doc, { force: true })).rev);
        }
      }
      const given = leaves.map(({ _rev }) => _rev).sort();
      const isAfter = (rev, i) => !i || Number.parseInt(given[i - 1], 10) < Number.parseInt(rev, 10) || revs.get(given[i - 1]) < revs.get(rev);
      if (!inOrder || leaves.length > 3 || given.every(isAfter)) {
        made.set(id, revs);
        settled.push(id);
      }
    }
    for (const one of copies) {
      await one.replicate.to(all, { doc_ids: settled });
      await one.close();
    }
    for (const id of settled) pending.delete(id);
  }
  await all.replicate.to(db);
  await all.close();
  const given = new Map([...made.values()].flatMap((revs) => [...revs].map(([rev, own]) => [own, rev])));
  return {
    as: (id, rev) => made.get(id)?.get(rev) ?? rev,
    told: (value) => JSON.parse(JSON.stringify(value), (name, member) => {
      if (name === '_revisions') return { ...member, ids: member.ids.map((id, i) => given.get(`${member.start - i}-${id}`)?.replace(/^\d+-/, '') ?? id) };
      return typeof member === 'string' ? given.get(member) ?? member : member;
    }),
  };
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
