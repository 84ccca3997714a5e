// Settee itself, through its public API alone.
import { Database } from 'settee';
import { withCredentials } from '../lib/credentials.js';

const checked = (rows) => rows.map((row) => {
  if (row.error) throw new Error(`write of ${row.id}: ${row.name}`);
  return row.rev;
});
const options = ({ batch }) => (batch ? { batch_size: batch } : {});
const finished = (result) => {
  if (!result.ok || result.errors?.length) throw new Error('replication: ' + JSON.stringify(result.errors?.slice(0, 2) ?? result));
};

// A database as the tasks want it.
export function adapt(db) {
  return {
    bulkPut: async (docs) => checked(await db.bulkDocs(docs)),
    put: async (doc) => (await db.put(doc)).rev,
    get: (id) => db.get(id),
    allDocs: async () => (await db.allDocs({ include_docs: true })).rows.map((row) => row.doc),
    changes: async () => (await db.changes({ since: 0 })).results,
    async putAttachment(id, name, blob) {
      await db.put({ _id: id, type: 'photo', _attachments: { [name]: { content_type: blob.type, data: blob } } });
    },
    getAttachment: (id, name) => db.getAttachment(id, name),
    find: async (request) => (await db.find(request)).docs,
    createIndex: (fields) => db.createIndex({ index: { fields } }),
    liveFind: (request, onDocs) => db.liveFind(request).on('update', ({ docs }) => onDocs(docs)),
    pull: async (remote, opts) => finished(await db.replicate.from(withCredentials(remote), options(opts))),
    push: async (remote, opts) => finished(await db.replicate.to(withCredentials(remote), options(opts))),
    async live(remote, onDoc) {
      const feed = db.changes({ since: 'now', live: true, include_docs: true });
      feed.on('change', (change) => onDoc(change.id));
      const replication = db.replicate.from(withCredentials(remote), { live: true, retry: true });
      await new Promise((resolve) => {
        let idle = false;
        replication.on('paused', () => { if (!idle) { idle = true; resolve(); } });
      });
      return { async stop() { feed.cancel(); replication.cancel(); } };
    },
    close: () => db.close(),
    destroy: () => db.destroy(),
  };
}

const open = async (name) => adapt(await Database.open(name, { storage: 'indexeddb' }));

// A live replication into each of many databases; resolves when all have caught up.
async function channels(remotes, onDoc) {
  const running = await Promise.all(remotes.map(async (remote, i) => {
    const db = await Database.open(`channel${i}`, { storage: 'indexeddb' });
    const feed = db.changes({ since: 'now', live: true }).on('change', (change) => onDoc(change.id));
    const replication = db.replicate.from(withCredentials(remote), { live: true, retry: true });
    await new Promise((resolve) => { replication.once('paused', resolve); });
    return { db, feed, replication };
  }));
  return {
    async stop() {
      for (const { db, feed, replication } of running) {
        feed.cancel();
        replication.cancel();
        await db.destroy();
      }
    },
  };
}

// What a remote has of a database that was filled and pushed.
export async function seed(db, remote, fillDb) {
  await fillDb(db);
  await db.push(remote, {});
  await db.destroy();
}

export default {
  label: 'Settee',
  open,
  channels,
  seedsInClear: true,
  seedRemote: async (remote, fillDb) => seed(await open('seed'), remote, fillDb),
};
