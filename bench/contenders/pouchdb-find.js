// PouchDB with its plugin for Mango queries, whose indexes are databases of their own.
import PouchDB from 'pouchdb-core';
import indexeddb from 'pouchdb-adapter-indexeddb';
import http from 'pouchdb-adapter-http';
import replication from 'pouchdb-replication';
import find from 'pouchdb-find';
import { pouchDb } from '../lib/pouch-adapter.js';

PouchDB.plugin(indexeddb).plugin(http).plugin(replication).plugin(find);

export default {
  label: 'PouchDB 9.0.0, indexeddb adapter, with pouchdb-find',
  note: 'its indexes are kept on the device',
  open: async (name) => {
    const db = new PouchDB(name, { adapter: 'indexeddb' });
    return {
      ...pouchDb(PouchDB, db),
      find: async (request) => (await db.find(request)).docs,
      createIndex: (fields) => db.createIndex({ index: { fields } }),
    };
  },
};
