// The photos, as documents of one database, and the list of them in memory.
// The only module that talks to the database.
//
//   {_id: "photo:<taken>:<8 hex of the file's SHA-256>", type: "photo", name, caption,
//    taken, added, width, height, _attachments: {original, thumb}}

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
 * Emits `change` whenever the list of photos or one of them is no longer the same.
 */
export class Store extends EventTarget {
  #db;
  #photos = new Map(); // id → document
  #contents = new Map(); // content key → id, to recognise a file added twice
  #sorted = null;
  #feed;
  #since;

  static async open(name) {
    const store = new Store();
    store.#db = await Database.open(name, { storage: 'indexeddb' });
    // The place in the feed is taken before the list is read, so nothing falls between.
    store.#since = (await store.#db.info()).update_seq;
    const { rows } = await store.#db.allDocs({ include_docs: true, startkey: 'photo:', endkey: 'photo:\ufff0' });
    for (const row of rows) store.#take(row.doc);
    store.#listen();
    return store;
  }

  #listen() {
    this.#feed = this.#db.changes({ since: this.#since, live: true, include_docs: true });
    this.#feed.on('change', (change) => {
      this.#since = change.seq;
      if (!isPhoto(change.id)) return;
      if (change.deleted) this.#forget(change.id);
      else if (change.doc) this.#take(change.doc);
      this.dispatchEvent(new CustomEvent('change'));
    });
    this.#feed.on('error', (error) => {
      reportError(error); // shown as any unexpected error is
      setTimeout(() => this.#listen(), 1000); // from where it broke off
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

  async add(doc) {
    await this.#db.put(doc);
    this.#contents.set(keyOf(doc._id.slice(-8), doc._attachments.original.data.size), doc._id);
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
  async setCaption(id, caption) {
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
    await this.#db.remove(doc);
    return () => this.#db.put({ ...rest, _attachments: kept });
  }

  /** Live, two-way replication with the database at a URL; see sync.js. */
  sync(url) {
    return this.#db.sync(url, { live: true, retry: true });
  }
}
