// What every PouchDB-based contender shares. open(name) gives the adapter
// object described in README.md.
import { withCredentials } from './credentials.js';

// local: the database the application uses. wire: the one that replicates
// (the same, unless an encryption plugin keeps a second one).
export function pouchDb(PouchDB, local, { wire = local, encodeAttachment = (blob) => blob, destroy } = {}) {
  const http = (remote) => new PouchDB(withCredentials(remote), { skip_setup: true });
  const options = ({ batch }) => (batch ? { batch_size: batch } : {});
  const finished = (result) => {
    if (!result.ok || result.errors.length) throw new Error('replication: ' + JSON.stringify(result.errors.slice(0, 2)));
  };
  const checked = (rows) => rows.map((row) => {
    if (row.error) throw new Error(`write of ${row.id}: ${row.name}`);
    return row.rev;
  });
  return {
    bulkPut: async (docs) => checked(await local.bulkDocs(docs)),
    put: async (doc) => (await local.put(doc)).rev,
    get: (id) => local.get(id),
    allDocs: async () => (await local.allDocs({ include_docs: true })).rows.map((row) => row.doc),
    changes: async () => (await local.changes({ since: 0 })).results,
    async putAttachment(id, name, blob) {
      await local.put({ _id: id, type: 'photo', _attachments: { [name]: { content_type: blob.type, data: await encodeAttachment(blob) } } });
    },
    getAttachment: (id, name) => local.getAttachment(id, name),
    pull: async (remote, opts) => finished(await PouchDB.replicate(http(remote), wire, options(opts))),
    push: async (remote, opts) => finished(await PouchDB.replicate(wire, http(remote), options(opts))),
    async live(remote, onDoc) {
      const feed = local.changes({ since: 'now', live: true, include_docs: true }).on('change', (change) => onDoc(change.id));
      const replication = PouchDB.replicate(http(remote), wire, { live: true, retry: true });
      await new Promise((resolve) => replication.once('paused', resolve));
      return { async stop() { feed.cancel(); replication.cancel(); } };
    },
    close: () => local.close(),
    destroy: destroy || (() => local.destroy()),
  };
}
