// Adds files to the store, two at a time, and tells how it goes. Files are only
// handles until their turn comes, so hundreds of photos need the memory of two.

import { isPicture, isSystemFile } from './files.js';
import { prepare } from './prepare.js';

const AT_ONCE = 2;

let worker;
let tickets = 0;
const waiting = new Map(); // ticket → {file, resolve, reject}

function startWorker() {
  worker = new Worker(new URL('./prepare-worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data: { ticket, result, error } }) => {
    const job = waiting.get(ticket);
    waiting.delete(ticket);
    if (error) job?.reject(Object.assign(new Error(error.message), { name: error.name }));
    else job?.resolve(result);
  };
  worker.onerror = () => { // no module workers here, or it ran out of memory: go on in the page
    worker = null;
    const jobs = [...waiting.values()];
    waiting.clear();
    for (const { file, resolve, reject } of jobs) prepare(file).then(resolve, reject);
  };
}

function prepareAside(file) {
  if (worker === undefined) startWorker();
  if (!worker) return prepare(file);
  return new Promise((resolve, reject) => {
    const ticket = ++tickets;
    waiting.set(ticket, { file, resolve, reject });
    worker.postMessage({ ticket, file });
  });
}

export class Importer extends EventTarget {
  #store;
  #queue = [];
  #running = 0;
  #report = null;
  #claimed = new Set(); // contents being stored right now, by hash and size

  constructor(store) {
    super();
    this.#store = store;
  }

  /** Files may be added while earlier ones are still being stored; they join the queue. */
  add(files, unreadable = []) {
    this.#report ??= { total: 0, done: 0, added: [], same: [], skipped: [], unreadable: [], failed: null, stopped: 0 };
    this.#report.unreadable.push(...unreadable);
    for (const file of files) {
      if (isSystemFile(file)) continue;
      if (!isPicture(file)) this.#report.skipped.push(file.name);
      else {
        this.#queue.push(file);
        this.#report.total += 1;
      }
    }
    this.#tell('progress');
    this.#pump();
  }

  /** Gives up on what has not begun. */
  stop() {
    if (!this.#report) return;
    this.#report.stopped += this.#queue.length;
    this.#queue.length = 0;
  }

  #tell(type) {
    this.dispatchEvent(new CustomEvent(type, { detail: this.#report }));
  }

  #pump() {
    while (this.#running < AT_ONCE && this.#queue.length) {
      const file = this.#queue.shift();
      this.#running += 1;
      this.#one(file, this.#report).then(() => {
        this.#running -= 1;
        this.#report.done += 1;
        this.#tell('progress');
        this.#pump();
      });
    }
    if (!this.#running && this.#report) {
      this.#tell('finished');
      this.#report = null;
    }
  }

  async #one(file, report) {
    let claim;
    try {
      report.name = file.name;
      const { hash, taken, width, height, thumb } = await prepareAside(file);
      const mark = hash.slice(0, 8);
      if (this.#claimed.has(mark + file.size) || this.#store.has(mark, file.size)) {
        report.same.push(file.name);
        return;
      }
      this.#claimed.add(claim = mark + file.size);
      await this.#store.add({
        _id: `photo:${taken}:${mark}`,
        type: 'photo',
        name: file.name,
        caption: '',
        taken,
        added: new Date().toISOString(),
        width,
        height,
        _attachments: {
          original: { content_type: file.type || 'application/octet-stream', data: file },
          thumb: { content_type: 'image/jpeg', data: thumb },
        },
      });
      report.added.push(file.name);
    } catch (error) {
      if (error.name === 'conflict') report.same.push(file.name); // another tab was quicker
      else if (error.name === 'unreadable_image' || error.name === 'NotReadableError' || error.name === 'NotFoundError') {
        report.unreadable.push(file.name);
      } else { // the store refuses: what follows would fail as well
        report.failed ??= error;
        report.stopped += 1;
        this.stop();
      }
    } finally {
      this.#claimed.delete(claim);
    }
  }
}
