// Keeps the photos in step with a server and says in words how that stands.

import { hostOf } from './server.js';
import { count } from './words.js';

/** What the server answered, as its own words go into ours. */
const reasonOf = (error) => {
  const inner = error?.doc ?? error;
  return String(inner?.reason || inner?.message || inner?.name || 'no reason given').replace(/\.$/, '');
};

/** "3 photos" when only new ones came, otherwise "3 changes". */
const received = (docs, pending) => {
  const onlyNew = docs.every((doc) => doc._id?.startsWith('photo:') && !doc._deleted && doc._rev?.startsWith('1-'));
  return count(docs.length + (pending || 0), onlyNew ? 'photo' : 'change');
};

const isRefusal = (error) => [401, 403].includes(error?.status) || ['unauthorized', 'forbidden'].includes(error?.name);

/** Emits `change` when `state` or `text` is no longer the same. */
export class Sync extends EventTarget {
  #store;
  #running = null;
  #unsent = new Map(); // id → 'photo' or 'change': written here, not yet taken by the server
  #receiving = '';
  #cut = new Set(); // directions that cannot reach the server
  #settling;
  #unwell = false; // it was reached, but cannot work just now
  #reason = '';
  url = '';
  state = 'off'; // off, connecting, busy, idle, offline, refused, failed
  text = 'Photos stay on this device';

  constructor(store) {
    super();
    this.#store = store;
    store.addEventListener('wrote', ({ detail: { id, kind } }) => {
      if (!this.url) return;
      this.#unsent.set(id, this.#unsent.get(id) ?? kind);
      this.#say(this.state === 'idle' ? 'busy' : this.state);
    });
  }

  connect(url) {
    this.disconnect();
    this.url = url;
    this.#say('connecting');
    const run = this.#running = this.#store.sync(url);
    const on = (type, react) => run.on(type, (detail) => {
      if (run === this.#running) react(detail); // not one that was left behind
    });
    // Each direction tells by itself why it pauses; the two together do not always.
    for (const direction of ['push', 'pull']) {
      run[direction]?.on?.('paused', (error) => {
        if (run === this.#running) this.#paused(error, direction);
      });
    }
    on('change', ({ direction, change }) => {
      const docs = change?.docs ?? [];
      this.#cut.delete(direction);
      clearTimeout(this.#settling);
      if (direction === 'push') for (const doc of docs) this.#unsent.delete(doc._id);
      else this.#receiving = received(docs, change?.pending);
      if (this.state !== 'refused') this.#say('busy');
    });
    on('paused', (error) => this.#paused(error, 'both'));
    on('denied', (error) => this.#refuse(error));
    on('error', (error) => {
      this.#reason = reasonOf(error);
      if (isRefusal(error) || error?.status === 404) this.#refuse(error);
      else this.#say('failed');
    });
    on('complete', () => {
      if (this.state !== 'refused' && this.state !== 'failed') this.#say('failed');
    });
    run.catch?.(() => {}); // the same error that `error` brings
  }

  disconnect() {
    const run = this.#running;
    this.#running = null;
    run?.cancel();
    clearTimeout(this.#settling);
    this.url = '';
    this.#unsent.clear();
    this.#receiving = '';
    this.#cut.clear();
    this.#reason = '';
    this.#say('off');
  }

  #paused(error, direction) {
    if (error && isRefusal(error)) this.#refuse(error);
    if (error) {
      this.#cut.add(direction);
      this.#unwell = error.status >= 500 || error.status === 429;
    } else this.#cut.delete(direction);
    if (this.state === 'refused') return;
    this.#receiving = '';
    if (this.#cut.size || direction === 'both') clearTimeout(this.#settling); // one way's own pause may come after
    if (this.#cut.size) this.#say('offline');
    else if (direction === 'both') {
      // A pause may be that of earlier work. What was written since gets a moment to be taken up;
      // what the server turned out to have already is never reported.
      this.#settling = setTimeout(() => {
        this.#unsent.clear();
        this.#say('idle');
      }, this.#unsent.size ? 1500 : 0);
    }
  }

  #refuse(error) {
    this.#reason = reasonOf(error);
    this.#say('refused');
  }

  #waiting() {
    const kinds = [...this.#unsent.values()];
    return count(kinds.length, kinds.every((kind) => kind === 'photo') ? 'photo' : 'change');
  }

  #say(state) {
    const host = this.url && hostOf(this.url);
    const some = this.#unsent.size > 0;
    const texts = {
      off: () => 'Photos stay on this device',
      connecting: () => (some ? `Sending ${this.#waiting()}…` : `Connecting to ${host}…`),
      busy: () => (this.#receiving ? `Receiving ${this.#receiving}…` : some ? `Sending ${this.#waiting()}…`
        : this.state === 'busy' ? this.text : `Sending changes to ${host}…`),
      idle: () => `Up to date with ${host}`,
      offline: () => `${this.#unwell ? 'The server is unwell' : 'Offline'} – ${
        some ? `${this.#waiting()} will be sent later` : 'will try again'}`,
      refused: () => `The server says no: ${this.#reason}`,
      failed: () => `Not in step with ${host}${this.#reason ? `: ${this.#reason}` : ''}`,
    };
    const text = texts[state]();
    if (state === this.state && text === this.text) return;
    this.state = state;
    this.text = text;
    this.dispatchEvent(new CustomEvent('change'));
  }
}
