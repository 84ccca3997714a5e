// The databases that may stand at an end of a replication, with the same methods for all: in memory and in IndexedDB (both
// of a page), and on a server.
//
//   kind, name       `memory`, `indexeddb` or `http`
//   end              what a page gives to Database.replicate, by `end(it)` there
//   write(...docs)   as _bulk_docs; an error if one of them is refused. Gives the revisions
//   replicated(...docs)  the same with `new_edits: false`
//   get(id, query)   a document, or null; `query` as get() takes it, of what a URL can say
//   edit(id, more)   writes the next revision: the winner with other members. Gives the revision
//   remove(id)       its tombstone
//   changes()        the feed, every leaf of each: [{ seq, id, … }]
//   ids()            those of all documents, sorted
//   leaves(), census()   those of sides.mjs
//   compact()        frees what can be freed, and waits for it
//   size()           { docs, gone }, gone being undefined where nobody counts
import { waitFor } from './wait.mjs';
import { censusOf, leavesOf } from './sides.mjs';

const withEdits = (side) => Object.assign(side, {
  async edit(id, more) {
    const [rev] = await side.write({ ...await side.get(id), ...more });
    return rev;
  },
  async remove(id) {
    const [rev] = await side.write({ _id: id, _rev: (await side.get(id))._rev, _deleted: true });
    return rev;
  },
});

// A database of the server: `url` is its address as pages reach it.
export function onServer(couch, name, url) {
  const at = (id) => `/${name}/${encodeURIComponent(id).replace(/^_(design|local)%2F/, '_$1/')}`;
  const bulk = async (docs, more) => {
    const rows = await couch.must('POST', `/${name}/_bulk_docs`, { docs, ...more });
    const failed = rows.find(({ error }) => error);
    if (failed) throw new Error(`${name}: ${JSON.stringify(failed)}`);
    return rows.map(({ rev }) => rev);
  };
  const raw = {
    changes: async () => (await couch.must('GET', `/${name}/_changes?style=all_docs`)).results,
    bulkGet: async (docs) => (await couch.must('POST', `/${name}/_bulk_get?revs=true&attachments=true`, { docs })).results,
  };
  return withEdits({
    kind: 'http',
    name,
    end: { url },
    write: (...docs) => bulk(docs),
    replicated: (...docs) => bulk(docs, { new_edits: false }),
    async get(id, query = {}) {
      const asked = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, typeof value === 'string' && key !== 'open_revs' ? value : JSON.stringify(value)]));
      const { status, json } = await couch.request('GET', `${at(id)}?${asked}`, undefined, { accept: 'application/json' });
      if (status === 404) return null;
      if (status !== 200) throw new Error(`${name}/${id}: ${status} ${JSON.stringify(json)}`);
      return json;
    },
    changes: raw.changes,
    ids: async () => (await raw.changes()).filter(({ deleted }) => !deleted).map(({ id }) => id).sort(),
    leaves: () => leavesOf(raw),
    census: () => censusOf(raw),
    async compact() {
      await couch.must('POST', `/${name}/_compact`, {});
      await waitFor(async () => !(await couch.must('GET', `/${name}`)).compact_running, { what: 'the compaction', timeout: 30_000 });
    },
    async size() {
      const { doc_count: docs, doc_del_count: gone } = await couch.must('GET', `/${name}`);
      return { docs, gone };
    },
  });
}

// A database of a page (`openHouse` was called there): `kind` is `memory` or `indexeddb`.
export async function inPage(page, kind, name, options = {}) {
  await page.evaluate(([what, given]) => house.open(what, given), [name, { storage: kind, ...options }]);
  const call = (method, ...args) => page.evaluate(([what, how, list]) => house[how](what, ...list), [name, method, args]);
  return withEdits({
    kind,
    name,
    end: { name },
    write: (...docs) => call('bulk', docs, {}),
    replicated: (...docs) => call('bulk', docs, { new_edits: false }),
    get: (id, query) => call('get', id, query),
    changes: () => call('changes'),
    ids: () => call('ids'),
    leaves: () => call('leaves'),
    census: () => call('census'),
    compact: () => call('compact'),
    size: () => call('size'),
  });
}

// Makes `house` in a page: its databases by name, and `end(it)`.
export const openHouse = (page) => page.evaluate(async () => {
  const sides = await import('/lib/sides.mjs');
  const open = new Map();
  const db = (name) => open.get(name) ?? (() => { throw new Error(`there is no ${name} here`); })();
  globalThis.end = ({ url, name }) => url ?? db(name);
  globalThis.house = {
    async open(name, options) { open.set(name, await Database.open(name, options)); },
    async bulk(name, docs, more) {
      const rows = await db(name).bulkDocs(docs, more);
      const failed = rows.find(({ error }) => error);
      if (failed) throw failed;
      return rows.map(({ rev }) => rev);
    },
    get: (name, id, query) => db(name).get(id, query).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    }),
    changes: async (name) => (await db(name).changes({ style: 'all_docs' })).results,
    ids: async (name) => (await db(name).changes()).results.filter(({ deleted }) => !deleted).map(({ id }) => id).sort(),
    leaves: (name) => sides.leavesOf(sides.local(db(name))),
    census: (name) => sides.censusOf(sides.local(db(name))),
    compact: (name) => db(name).compact(),
    async size(name) {
      const { results } = await db(name).changes();
      const gone = results.filter(({ deleted }) => deleted).length;
      return { docs: results.length - gone, gone };
    },
    async destroyAll() {
      for (const one of open.values()) await one.destroy();
      open.clear();
    },
  };
});
