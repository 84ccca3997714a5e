// The photos, as documents of one database, and the list of them in memory.
// The only module that talks to the database.
//
//   {_id: "photo:<taken>:<8 hex of the file's SHA-256>", type: "photo", name, caption,
//    taken, added, width, height, _attachments: {original, thumb}}
//
// A private gallery is a sealed channel: while it is locked it replicates, and there are no photos in the list.

import { Database } from 'settee';

const isPhoto = (id) => id.startsWith('photo:');
const keyOf = (mark, size) => `${mark}/${size}`;
const keyOfDoc = (doc) => keyOf(doc._id.slice(-8), doc._attachments?.original?.length);

const times = new WeakMap();

/** When a photo was taken, in milliseconds; 0 when nothing says so. */
export function timeOf(doc) {
  if (!times.has(doc)) times.set(doc, Date.parse(doc.taken) || Date.parse(doc.added) || 0);
  return times.get(doc);
}

/** Newest first; the id decides between equals, so that every device agrees. */
const byTime = (a, b) => timeOf(b) - timeOf(a) || (a._id < b._id ? 1 : -1);

/**
 * Emits `change` whenever the list of photos or one of them is no longer the same, `locked` and `unlocked`.
 */
export class Store extends EventTarget {
  #db;
  #photos = new Map(); // id → document
  #contents = new Map(); // content key → id, to recognise a file added twice
  #sorted = null;
  #feed = null;
  #filling = null;
  #since;
  #turn = 0; // rises with every lock; what began before it says nothing any more
  #writes = new Set();

  /** Whether there is a gallery of this name in this browser. Opening one makes it. */
  static async isThere(name) {
    const all = await indexedDB.databases?.() ?? [];
    return all.some((one) => one.name === `settee:${name}`);
  }

  /** @param {{vault?: import('settee').Vault, sealed?: boolean}} [how] as `Database.open` takes it */
  static async open(name, how) {
    const store = new Store();
    store.#db = await Database.open(name, { storage: 'indexeddb', ...how });
    store.#db.on('locked', () => store.#empty());
    store.#db.on('unlocked', () => store.#fill().catch(reportError));
    if (!store.locked) await store.#fill();
    return store;
  }

  get sealed() {
    return this.#db.sealed;
  }

  /** Whether it is a private gallery whose keys are not at hand. */
  get locked() {
    return this.#db.sealed && this.#db.locked;
  }

  /** Whether it is to be one from another device of which nothing has come yet. */
  get waiting() {
    return this.#db.waiting;
  }

  /** For `Keys.recover`. */
  get database() {
    return this.#db;
  }

  /** Unlocks it; resolves when the photos are there. One that is waiting is unlocked when it comes. */
  async unlock(vault) {
    const comes = new Promise((resolve) => { this.addEventListener('unlocked', resolve, { once: true }); });
    const again = await Database.open(this.#db.name, { storage: 'indexeddb', vault });
    await again.close(); // the keys stay with the one that is open here
    await (this.locked ? comes : this.#fill());
  }

  /** Removes it from this device. */
  destroy() {
    return this.#db.destroy();
  }

  #fill() {
    return (this.#filling ??= this.#load().finally(() => { this.#filling = null; }));
  }

  async #load() {
    while (!this.#feed && !this.locked) {
      const turn = this.#turn;
      try {
        // The place in the feed is taken before the list is read, so nothing falls between.
        const since = (await this.#db.info()).update_seq;
        const { rows } = await this.#db.allDocs({ include_docs: true, startkey: 'photo:', endkey: 'photo:\ufff0' });
        if (turn !== this.#turn) continue; // locked meanwhile, and perhaps unlocked again
        this.#since = since;
        for (const row of rows) this.#take(row.doc);
      } catch (error) {
        if (turn === this.#turn) throw error;
        continue;
      }
      this.#listen();
      this.dispatchEvent(new CustomEvent('unlocked'));
      this.dispatchEvent(new CustomEvent('change'));
    }
  }

  #empty() {
    this.#turn += 1;
    this.#feed?.cancel();
    this.#feed = null;
    this.#photos.clear();
    this.#contents.clear();
    this.#sorted = null;
    this.dispatchEvent(new CustomEvent('locked'));
    this.dispatchEvent(new CustomEvent('change'));
  }

  #listen() {
    const turn = this.#turn;
    this.#feed = this.#db.changes({ since: this.#since, live: true, include_docs: true });
    this.#feed.on('change', (change) => {
      if (turn !== this.#turn) return;
      this.#since = change.seq;
      if (!isPhoto(change.id)) return;
      if (change.deleted) this.#forget(change.id);
      else if (change.doc) this.#take(change.doc);
      this.dispatchEvent(new CustomEvent('change'));
    });
    this.#feed.on('error', (error) => {
      if (turn !== this.#turn || error.name === 'locked') return;
      reportError(error); // shown as any unexpected error is
      setTimeout(() => { if (turn === this.#turn) this.#listen(); }, 1000); // from where it broke off
    });
  }

  #take(doc) {
    this.#photos.set(doc._id, doc);
    this.#contents.set(keyOfDoc(doc), doc._id);
    this.#sorted = null;
  }

  #forget(id) {
    const doc = this.#photos.get(id);
    if (!doc) return;
    this.#photos.delete(id);
    if (this.#contents.get(keyOfDoc(doc)) === id) this.#contents.delete(keyOfDoc(doc));
    this.#sorted = null;
  }

  get photos() {
    return (this.#sorted ??= [...this.#photos.values()].sort(byTime));
  }

  get(id) {
    return this.#photos.get(id);
  }

  /** Whether a file with this mark (8 hex) and size is already among the photos. */
  has(mark, size) {
    return this.#contents.has(keyOf(mark, size));
  }

  #write(work) {
    this.#writes.add(work);
    const done = () => this.#writes.delete(work);
    work.then(done, done);
    return work;
  }

  /** Until what is being written is written, or failed. */
  async settled() {
    while (this.#writes.size) await Promise.allSettled(this.#writes);
  }

  async add(doc) {
    await this.#write(this.#db.put(doc));
    if (!this.locked) this.#contents.set(keyOf(doc._id.slice(-8), doc._attachments.original.data.size), doc._id);
  }

  /** @returns {Promise<Blob>} */
  thumb(id) {
    const kept = this.#photos.get(id)?._attachments ?? {};
    return this.#db.getAttachment(id, kept.thumb ? 'thumb' : 'original');
  }

  /** @returns {Promise<Blob>} */
  original(id) {
    return this.#db.getAttachment(id, 'original');
  }

  /** Saves a caption; when somebody else changed the photo meanwhile, once more on top of that. */
  setCaption(id, caption) {
    return this.#write(this.#setCaption(id, caption));
  }

  async #setCaption(id, caption) {
    for (let last = false; ; last = true) {
      const doc = await this.#db.get(id);
      if (doc.caption === caption) return;
      try {
        await this.#db.put({ ...doc, caption });
        return;
      } catch (error) {
        if (error.name !== 'conflict' || last) throw error;
      }
    }
  }

  /**
   * Deletes a photo.
   * @returns {Promise<() => Promise<unknown>>} a function that puts it back
   */
  async remove(id) {
    const doc = await this.#db.get(id);
    const { _rev, _attachments, ...rest } = doc;
    const kept = {};
    for (const [name, { content_type }] of Object.entries(_attachments ?? {})) {
      kept[name] = { content_type, data: await this.#db.getAttachment(id, name) };
    }
    await this.#write(this.#db.remove(doc));
    return () => this.#write(this.#db.put({ ...rest, _attachments: kept }));
  }

  /** Live, two-way replication with the database at a URL; see sync.js. */
  sync(url) {
    return this.#db.sync(url, { live: true, retry: true });
  }

  /** What came from elsewhere and is not among the photos; see aside.js. */
  aside() {
    return this.#db.quarantine();
  }

  /** @returns {Promise<number>} how many passed now */
  retryAside() {
    return this.#db.retryQuarantine();
  }

  /** Forgets one of them. */
  discardAside({ id, rev }) {
    return this.#db.discardQuarantine(id, rev);
  }
}
