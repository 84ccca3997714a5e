// Settee: a CouchDB peer that lives in a web page. The public API is in settee.d.ts.
import * as glue from './generated/settee_glue.js';
import { Changes, Emitter, LiveFind, Replication, Sync, breathe, status } from './lib/feed.js';
import {
  SetteeError, asText, badOption, badRequest, failure, isObject, isText, lift, open, options, toJson,
} from './lib/json.js';

export { SetteeError, status };

export const version = { version: '0.1.0', commit: undefined };

let ready;

export function init(source = new URL('./settee.wasm', import.meta.url)) {
  ready ??= load(source).catch((error) => {
    ready = undefined;
    const where = typeof source === 'string' || source instanceof URL ? ` from ${source}` : '';
    throw new SetteeError(0, 'init_failed', `Settee's WebAssembly could not be loaded${where}: ${error?.message ?? error}. `
      + 'Call init() with the URL, the bytes or the module of settee.wasm.', error);
  });
  return ready;
}

async function load(source) {
  const module_or_path = await compile(await source);
  await glue.default({ module_or_path });
  glue.start((...args) => new SetteeError(...args));
  version.commit = glue.commit();
  return module_or_path;
}

async function compile(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source === 'string') source = new URL(source, globalThis.location?.href);
  if (source instanceof URL) {
    if (source.protocol === 'file:' && globalThis.process?.versions?.node) {
      const fs = 'node:fs/promises'; // a name that bundlers cannot see: they have none
      const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ fs);
      source = await readFile(source);
    } else source = await fetch(source);
  }
  if (typeof Response === 'function' && source instanceof Response) {
    if (!source.ok) throw new Error(`the server answered ${source.status}`);
    const type = source.headers.get('content-type') ?? '';
    if (WebAssembly.compileStreaming && /^application\/wasm\b/.test(type)) return WebAssembly.compileStreaming(source);
    source = await source.arrayBuffer();
  }
  return WebAssembly.compile(source);
}

// Every database that is open here, by storage and name: its handles share one engine.
const engines = new Map();
const KEY = Symbol('open');

const docId = (id) => asText(id, 'Document id', 'illegal_docid');
const attachmentName = (name) => asText(name, 'Attachment name');
const revision = (rev) => {
  if (isText(rev)) return rev;
  throw badRequest('Invalid rev format');
};
const isUrl = (name) => /^https?:\/\//i.test(name);

export class Database extends Emitter {
  #engine;
  #running = new Set();

  constructor(key, name, shared) {
    super();
    if (key !== KEY) throw new TypeError('Use `await Database.open(name)`');
    this.name = name;
    this._shared = shared;
    shared.handles.add(this);
  }

  static async open(name, { storage, vault, ...given } = {}) {
    if (!name || !isText(name)) throw badRequest('A database needs a name');
    if (isUrl(name)) throw badRequest('Database.open takes the name of a local database; give URLs to sync() and replicate');
    storage ??= globalThis.indexedDB || !globalThis.process?.versions?.node ? 'indexeddb' : 'memory';
    if (storage !== 'indexeddb' && storage !== 'memory') throw badOption('Option `storage` must be "indexeddb" or "memory"');
    if (vault && !vault._lend) throw badOption('Option `vault` must be a Vault');
    const asked = options(given);
    // Wakes the browser's storage while the WebAssembly loads.
    if (storage === 'indexeddb') globalThis.indexedDB?.databases?.().catch(() => {});
    await init();
    const key = `${storage}:${name}`;
    for (;;) {
      let shared = engines.get(key);
      if (!shared) {
        const engine = vault?._open(name, storage, asked) ?? glue.Engine.open(name, storage, asked);
        shared = { key, storage, handles: new Set(), engine, gone: undefined };
        engines.set(key, shared);
      } else if (asked.sealed) (await shared.engine).requireSealed();
      const handle = new Database(KEY, name, shared); // from now on nobody else closes it
      try {
        handle.#engine = await shared.engine;
        if (!shared.gone && handle.#raw.isOpen) return await vault?._lend(shared, handle, asked.create) ?? handle;
        await shared.gone; // destroyed here or in another tab; what comes after is new
      } catch (error) {
        if (!shared.gone) throw error;
      } finally {
        if (!handle.#engine?.isOpen && engines.get(key) === shared) engines.delete(key);
      }
    }
  }

  get #raw() {
    if (!this.#engine) throw new SetteeError(0, 'store_closed', 'The database is closed; open it again to go on.');
    return this.#engine;
  }

  get sealed() {
    return this.#engine?.isSealed;
  }

  get locked() {
    return this.#engine?.isLocked;
  }

  get waiting() {
    return this.#engine?.isWaiting;
  }

  async quarantine() {
    return JSON.parse(await this.#raw.quarantine());
  }

  async retryQuarantine() {
    return this.#raw.retryQuarantine();
  }

  async discardQuarantine(id, rev) {
    return this.#raw.discardQuarantine(id && docId(id), id && revision(rev));
  }

  async put(doc, opts) {
    return this.#write('put', doc, opts);
  }

  async post(doc, opts) {
    return this.#write('post', doc, opts);
  }

  #write(how, doc, opts) {
    const contents = [];
    const json = toJson(lift(doc, contents, 'doc'), 'doc');
    return this.#named(doc._id, this.#raw[how](json, contents, options(opts)));
  }

  // The error of one document says whose it is, as PouchDB's does.
  #named(id, work) {
    return work.catch((error) => {
      if (typeof id === 'string') error.docId = error.id = id;
      throw error;
    });
  }

  // What CouchDB says to a deletion that does not name a revision.
  async #unnamed(id) {
    await this.#raw.get(docId(id));
    throw new SetteeError(409, 'conflict', 'Document update conflict.');
  }

  async putJson(text, opts) {
    if (!isText(text)) throw badRequest('putJson takes JSON text');
    return this.#raw.put(text, [], options(opts));
  }

  async getJson(id, opts) {
    return this.#raw.get(docId(id), options(opts, ['binary']));
  }

  async get(id, opts) {
    const rendered = await this.#named(id, this.#raw.get(docId(id), options(opts)));
    return open(rendered, (got) => (Array.isArray(got) ? got.map(({ ok }) => ok) : [got]));
  }

  async remove(doc, rev, opts) {
    let id = doc;
    if (isObject(doc)) {
      if (isObject(rev)) opts = rev;
      ({ _id: id, _rev: rev = opts?.rev } = doc);
    } else if (isObject(rev)) ({ rev, ...opts } = rev);
    for (const key in options(opts, ['rev'])) throw badOption(`Unknown option \`${key}\``);
    return this.#named(id, rev ? this.#raw.remove(docId(id), revision(rev)) : this.#unnamed(id));
  }

  async bulkDocs(given, opts) {
    const { docs, ...own } = Array.isArray(given) ? { docs: given } : given ?? {};
    if (!Array.isArray(docs)) throw badRequest("Missing JSON list of 'docs'");
    const contents = [];
    const json = toJson(docs.map((doc, i) => lift(doc, contents, `docs[${i}]`)), 'docs');
    const rows = JSON.parse(await this.#raw.bulkDocs(new TextEncoder().encode(json), contents, options({ ...own, ...opts })));
    return rows.map((row) => (row.error ? failure(row) : row));
  }

  async bulkGet(opts) {
    if (!Array.isArray(opts?.docs)) throw badRequest("Missing JSON list of 'docs'");
    const rendered = await this.#raw.bulkGet(options(opts));
    const got = open(rendered, ({ results }) => results.flatMap(({ docs }) => docs.map(({ ok }) => ok)));
    for (const { docs } of got.results) {
      for (const item of docs) if (item.error) item.error = failure({ status: 404, ...item.error });
    }
    return got;
  }

  async allDocs(opts) {
    return this.#paged('rows', this.#raw.allDocs(options(opts)));
  }

  async find(request) {
    return this.#paged('docs', this.#raw.find(toJson(request, 'request')));
  }

  async #paged(name, pages) {
    const items = [];
    const result = { ...JSON.parse(await pages.head()), [name]: items };
    let time = performance.now();
    for (let page; (page = await pages.next()) !== undefined;) {
      for (const item of open(page, (rows) => rows.map(({ doc }) => doc))) items.push(item);
      time = await breathe(time);
    }
    return result;
  }

  liveFind(request) {
    const { signal, ...asked } = Object(request);
    return this.#keep(new LiveFind(signal, async (task) => {
      const json = toJson(asked, 'request');
      return (await import('./lib/live.js')).live(task, this, json);
    }));
  }

  async createIndex(index) {
    return this.#indexes('create', index);
  }

  async deleteIndex(index) {
    return this.#indexes('delete', index);
  }

  async getIndexes() {
    return this.#indexes('list');
  }

  #indexes(how, index) {
    return JSON.parse(this.#raw.indexes(how, toJson(index, 'index')));
  }

  changes(opts) {
    return this.#feed(opts, false);
  }

  conflicts(opts) {
    return this.#feed(opts, true);
  }

  #feed(opts, ofConflicts) {
    const task = this.#keep(new Changes(opts, (asked) => this.#raw.changes(asked, ofConflicts), () => this.#engine?.isOpen));
    task._whenEnded(() => { // another tab may have destroyed it
      if (this.#engine?.isOpen === false) this.#let('destroyed');
    });
    return task;
  }

  async resolve(id, how, opts) {
    const contents = [];
    let revs;
    if (typeof how === 'function') {
      const docs = JSON.parse(await this.#named(id, this.#raw.contestedDocs(docId(id))));
      revs = docs.map(({ _rev }) => _rev);
      how = docs[1] ? toJson(lift(await how(docs), contents, 'doc'), 'doc') : revs[0];
    }
    return this.#named(id, this.#raw.resolve(docId(id), revision(how), contents, options({ revs, ...opts })));
  }

  #keep(task) {
    if (this.#engine) this.#running.add(task);
    task._whenEnded(() => this.#running.delete(task));
    return task;
  }

  async putAttachment(id, name, rev, data, type) {
    if (type === undefined && (data === undefined || typeof data === 'string')) [rev, data, type] = [undefined, rev, data];
    rev = rev ? revision(rev) : undefined;
    type = asText(type || data?.type || 'application/octet-stream', 'Content type');
    return this.#named(id, this.#raw.putAttachment(docId(id), attachmentName(name), rev, data, type));
  }

  async getAttachment(id, name, opts) {
    return this.#raw.getAttachment(docId(id), attachmentName(name), options(opts));
  }

  async removeAttachment(id, name, rev) {
    if (!rev) return this.#named(id, this.#unnamed(id));
    return this.#named(id, this.#raw.removeAttachment(docId(id), attachmentName(name), revision(rev)));
  }

  async revsDiff(revs) {
    if (!isObject(revs)) throw badRequest('revsDiff takes an object of lists of revisions');
    return JSON.parse(await this.#raw.revsDiff(toJson(revs, 'revs')));
  }

  async info() {
    return { ...await this.#raw.info(), adapter: this._shared.storage };
  }

  async compact() {
    await this.#raw.compact();
    return { ok: true };
  }

  async close() {
    if (!this.#engine) return;
    const { handles, key } = this._shared;
    const engine = this.#engine;
    this.#let('closed');
    handles.delete(this);
    if (handles.size) return;
    if (engines.get(key) === this._shared) engines.delete(key);
    await engine.close();
  }

  async destroy() {
    const engine = this.#raw;
    const shared = this._shared;
    shared.gone = (async () => {
      for (const handle of shared.handles) handle.#let();
      try {
        await engine.destroy();
      } finally {
        if (engines.get(shared.key) === shared) engines.delete(shared.key);
      }
    })();
    await shared.gone;
    for (const handle of shared.handles) handle.emit('destroyed');
    return { ok: true };
  }

  // Lets go of the engine: what goes on is cancelled, what is called from now on fails.
  #let(event) {
    this.#engine = undefined;
    for (const task of this.#running) task.cancel();
    if (event) this.emit(event);
  }

  replicate = {
    to: (target, opts) => Database.replicate(this, target, opts),
    from: (source, opts) => Database.replicate(source, this, opts),
  };

  sync(other, opts) {
    return Database.sync(this, other, opts);
  }

  static replicate(source, target, given) {
    const { headers, auth, getToken, fetch, heartbeat, feed, connections, connection_timeout, back_off_function } = given ?? {};
    const names = [source, target].map((end) => (end instanceof Database ? end._shared.key : isText(end) ? end : ''));
    const task = new Replication(given, names.join(' '), isUrl(names[1]) ? 'up' : 'down', async (tell) => {
      await init();
      for (const [name, value] of Object.entries({ getToken, fetch, back_off_function })) {
        if (typeof (value ?? init) !== 'function') throw badOption(`Option \`${name}\` must be a function`);
      }
      const peers = await Promise.all([source, target].map(async (end) => {
        if (typeof end === 'string') {
          if (isUrl(end)) {
            try { new URL(end); } catch { throw badRequest('A remote database has a URL such as https://example.org/notes.'); }
            return glue.Peer.remote(end, options({ headers, auth, heartbeat, feed, connections, connection_timeout }), fetch, getToken);
          }
          const opened = end = await Database.open(end);
          task._whenEnded(() => opened.close());
        }
        if (!(end instanceof Database)) throw badRequest('A replication has a Database, a URL or a name at each end');
        if (end.sealed) task._plain = (detail) => end._shared.plain?.(detail);
        return end.#raw.peer();
      }));
      const asked = { ...given, live: given?.live ?? given?.continuous };
      const plain = options(asked, NOT_FOR_PEERS);
      const stored = (given) => glue.storedIds(...peers, given);
      plain.doc_ids = stored(plain);
      task._stored = (id) => stored({ doc_ids: [id] })[0];
      const begin = (hear) => [glue.replicate(...peers, plain, back_off_function, hear), ...peers];
      const isHere = [source, target].some((end) => end instanceof Database && end._shared.storage === 'indexeddb');
      if (!asked.live || asked.leader === false || !isHere) return begin(tell);
      // A service worker may not import later; it runs its own.
      const leader = await import('./lib/leader.js').catch(() => {});
      if (!leader?.canShare()) return begin(tell);
      return leader.share(names, plain, begin, tell);
    });
    for (const end of [source, target]) if (end instanceof Database) end.#keep(task);
    return task;
  }

  static sync(db, other, given) {
    const one = (from, to, own) => Database.replicate(from, to, { ...given, signal: undefined, ...own });
    return new Sync(given, one(db, other, given?.push), one(other, db, given?.pull));
  }

  static async replicateOnServer(server, job, { fetch, getToken, ...given } = {}) {
    await init();
    if (job?.source?.getToken ?? job?.target?.getToken) {
      throw badOption('Option `getToken`: a server cannot ask this page for tokens; give it `auth`, or `headers` with one that lasts');
    }
    const raw = await glue.ServerReplication.start(asText(server, 'Server'), options(job) ?? {}, options(given), fetch, getToken);
    return {
      id: raw.id,
      status: async () => JSON.parse(await raw.next()),
      cancel: () => raw.cancel(),
      async* [Symbol.asyncIterator]() {
        for (let seen; (seen = await raw.next(seen)) !== undefined;) yield JSON.parse(seen);
      },
    };
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.close();
  }
}

export const Vault = Object.fromEntries(['create', 'destroy', 'installGuard', 'recover', 'status', 'unlock'].map((name) => [
  name, async (given) => (await import('./lib/vault.js'))[name](await init(), given),
]));

const NOT_FOR_PEERS = [
  'continuous', 'signal', 'headers', 'auth', 'getToken', 'fetch', 'feed', 'connections', 'connection_timeout', 'leader',
  'back_off_function', 'push', 'pull',
];
