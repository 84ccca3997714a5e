// The databases that may stand at an end of a replication, with the same methods for all: in memory and in IndexedDB (both
// of a page), and on a server.
//
//   kind, name       `memory`, `indexeddb` or `http`
//   end              what a page gives to Database.replicate, by `end(it)` there
//   write(...docs)   as _bulk_docs; an error if one of them is refused. Gives the revisions
//   replicated(...docs)  the same with `new_edits: false`; in a sealed channel as `bring` of sides.mjs does it, in order
//   as(id, rev), told(value)  what that answers, for all that was brought
//   get(id, query)   a document, or null; `query` as get() takes it, of what a URL can say
//   edit(id, more)   writes the next revision: the winner with other members. Gives the revision
//   remove(id)       its tombstone
//   changes()        the feed, every leaf of each: [{ seq, id, … }]
//   ids()            those of all documents, sorted
//   leaves(), census()   those of sides.mjs
//   compact()        frees what can be freed, and waits for it
//   size()           { docs, gone }, gone being undefined where nobody counts
//   local            the name of the database of the page that has its channel's keys
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
    as: async (id, rev) => rev,
    told: async (value) => value,
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

// A database of the server that holds a sealed channel, as one more of its devices sees it (in memory, in a page), which brings
// its edits there and fetches what is new before it looks. `channel` is a side with that channel; without one a new one begins.
export async function sealedOnServer(page, couch, name, url, channel) {
  const device = await inPage(page, 'memory', `${name}~device`, channel && { copyOf: channel.local });
  const go = (way) => page.evaluate(([what, how, where]) => house.exchange(what, how, where), [device.name, way, couch.dbUrl(name)]);
  let known;
  const pull = async () => {
    const { update_seq: seq } = await couch.must('GET', `/${name}`);
    const now = Number.parseInt(seq, 10);
    if (now !== known) await go('from');
    known = now;
  };
  const seen = (look) => async (...given) => { await pull(); return look(...given); };
  const done = (act) => async (...given) => {
    await pull();
    const made = await act(...given);
    await go('to');
    return made;
  };
  await go('to');
  const raw = onServer(couch, name, url);
  const { as, told, get, ids, leaves, census, size } = device;
  return withEdits({
    ...raw,
    local: device.name,
    write: done(device.write),
    replicated: done(device.replicated),
    as,
    told,
    get: seen(get),
    async changes() {
      await pull();
      const rows = (await raw.changes()).filter(({ id }) => id.startsWith('e-'));
      const names = await page.evaluate(([what, list]) => house.names(what, list), [device.name, rows.map(({ id }) => id)]);
      return rows.map((row, i) => ({ ...row, id: names[i] }));
    },
    ids: seen(ids),
    leaves: seen(leaves),
    census: seen(census),
    size: seen(size),
  });
}

// A database of a page (`openHouse` was called there): `kind` is `memory` or `indexeddb`.
export async function inPage(page, kind, name, options = {}) {
  await page.evaluate(([what, given]) => house.open(what, given), [name, { storage: kind, ...options }]);
  const call = (method, ...args) => page.evaluate(([what, how, list]) => house[how](what, ...list), [name, method, args]);
  return withEdits({
    kind,
    name,
    local: name,
    end: { name },
    write: (...docs) => call('bulk', docs),
    replicated: (...docs) => call('bring', docs),
    as: (id, rev) => call('as', id, rev),
    told: (value) => call('told', value),
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
  const brought = new Map();
  const db = (name) => open.get(name) ?? (() => { throw new Error(`there is no ${name} here`); })();
  globalThis.end = ({ url, name }) => url ?? db(name);
  globalThis.house = {
    async open(name, { copyOf, ...options }) {
      open.set(name, await Database.open(name, { ...options, ...copyOf && { copyOf: db(copyOf) } }));
      brought.set(name, []);
    },
    async bulk(name, docs) {
      const rows = await db(name).bulkDocs(docs);
      const failed = rows.find(({ error }) => error);
      if (failed) throw failed;
      return rows.map(({ rev }) => rev);
    },
    async bring(name, docs) { brought.get(name).push(await bring(db(name), docs, { inOrder: true })); },
    as: (name, id, rev) => brought.get(name).reduce((given, { as }) => as(id, given), rev),
    told: (name, value) => brought.get(name).reduce((given, { told }) => told(given), value),
    async exchange(name, way, url) {
      const { doc_write_failures: failures, errors } = await db(name).replicate[way](url);
      if (failures) throw new Error(JSON.stringify(errors));
    },
    async names(name, ids) { return JSON.parse(await (await db(name)._shared.engine).names(ids)); },
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
