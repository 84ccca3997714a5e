// The CouchDB-compatible server that contenders sync with: npm pouchdb-server
// (--remote memory or leveldb), or the one COUCHDB_URL names.
import { couchClient, splitCredentials, startPouchServer } from '../../tools/lib/couch.mjs';
import { makeDocs, randomBytes, docId, hex, rng } from './data.js';

export async function startRemote(kind) {
  if (process.env.COUCHDB_URL) {
    const { url, auth } = splitCredentials(process.env.COUCHDB_URL);
    return connect(url, auth, async () => {});
  }
  const server = await startPouchServer({ storage: kind });
  try { return await connect(server.url, null, server.close); } catch (error) { await server.close(); throw error; }
}

async function connect(base, auth, stop) {
  const { request, must } = couchClient({ url: base, auth });
  const info = await must('GET', '/');
  const made = new Set();
  let counter = 0;
  const self = {
    base, auth, stop, request, must,
    describe: info.couchdb ? `couchdb ${info.version}` : `pouchdb-server ${info.version} (${(info['pouchdb-adapters'] || []).join()})`,
    // what an adapter gets
    target: (db) => ({ url: `${base}/${db}`, auth }),
    async fresh(label) {
      const db = `bench-${process.pid}-${label}-${counter++}`;
      await must('PUT', `/${db}`);
      made.add(db);
      return db;
    },
    async drop(db) {
      made.delete(db);
      await request('DELETE', `/${db}`);
    },
    async cleanup() {
      for (const db of [...made]) await self.drop(db);
    },
    async seedDocs(db, count) {
      for (let i = 0; i < count; i += 1000) {
        await must('POST', `/${db}/_bulk_docs`, { docs: makeDocs('note', i, Math.min(1000, count - i)) });
      }
    },
    // Documents with revisions before the one that is told, as edits elsewhere would have left them; the last
    // `deleted` end in tombstones.
    async seedHistory(db, count, deleted, revs) {
      const random = rng(7);
      for (let from = 0; from < count; from += 500) {
        const docs = makeDocs('note', from, Math.min(500, count - from)).map((doc, i) => {
          const _revisions = { start: revs, ids: Array.from({ length: revs }, () => hex(random, 32)) };
          const _rev = `${revs}-${_revisions.ids[0]}`;
          return from + i < count - deleted ? { ...doc, _rev, _revisions } : { _id: doc._id, _deleted: true, _rev, _revisions };
        });
        await must('POST', `/${db}/_bulk_docs`, { docs, new_edits: false });
      }
    },
    async seedAttachments(db, count, size) {
      for (let i = 0; i < count; i++) {
        const id = docId('photo', i);
        await must('PUT', `/${db}/${encodeURIComponent(id)}`, {
          type: 'photo', n: i,
          _attachments: { photo: { content_type: 'image/jpeg', data: Buffer.from(randomBytes(size, i + 1)).toString('base64') } },
        });
      }
    },
  };
  return self;
}
