// Keeps the photos in step with a server and says in words how that stands.

import { hostOf, withLogin } from './server.js';
import { standing } from './standing.js';

const OFF = { state: 'off', text: 'Photos stay on this device', more: 'Choose a server to keep them in step with other devices.' };

/**
 * Emits `change` when `state`, `text` or `more` is no longer the same, `moved` whenever it did something, and
 * `aside` when `aside` is another number.
 */
export class Sync extends EventTarget {
  #store;
  #running = null;
  #denied = new Map(); // what was refused, by direction and id
  #heard = 0; // refusals, as the status counts them
  url = '';
  state = 'off'; // off, connecting, busy, idle, offline, waiting, sign-in, paused, full, refused, failed
  text = OFF.text;
  more = OFF.more;
  aside = 0; // how much did not prove itself, or waits behind the lock

  constructor(store) {
    super();
    this.#store = store;
  }

  connect(url) {
    this.disconnect();
    this.url = url;
    const run = this.#running = this.#store.sync(url);
    const on = (type, react) => run.on(type, (detail) => {
      if (run === this.#running) react(detail); // not one that was left behind
    });
    on('denied', (denied) => {
      this.#heard++;
      this.#denied.set(`${denied.direction} ${denied.doc.id}`, denied);
    });
    on('change', ({ direction, change }) => {
      for (const doc of change.docs) this.#denied.delete(`${direction} ${doc._id}`);
    });
    on('status', () => {
      this.#look();
      this.dispatchEvent(new CustomEvent('moved'));
    });
    run.catch(() => {}); // its status tells
    this.#look();
  }

  disconnect() {
    const run = this.#running;
    this.#running = null;
    run?.cancel();
    this.url = '';
    this.#denied.clear();
    this.#heard = 0;
    this.#say(OFF);
  }

  pause() {
    this.#running?.pause();
  }

  resume() {
    this.#running?.resume();
  }

  /**
   * Goes on with this name and password.
   * @returns {Promise<Error | null>} resolves once the server answered: what it said where it refused them
   */
  async login(username, password) {
    const run = this.#running;
    const began = Date.now();
    run.pause(); // an attempt under way would still answer for the old password
    try {
      await run.login({ username, password });
    } finally {
      run.resume();
    }
    for await (const { phase, error, push, pull } of run) {
      if (phase === 'failed') return error;
      const refused = [push, pull].find((way) => way.phase === 'needs-auth' && way.since >= began);
      if (refused) return refused.error;
      if (![push, pull].some((way) => way.phase === 'needs-auth' || way.phase === 'connecting' || (way.phase === 'paused' && !way.error))) break;
    }
    if (run === this.#running) this.url = withLogin(this.url, username, password);
    return null;
  }

  #look() {
    const status = this.#running.status;
    const aside = status.pull.quarantined ?? 0;
    if (aside !== this.aside) {
      this.aside = aside;
      this.dispatchEvent(new CustomEvent('aside'));
    }
    // Another tab may have heard of those that this page did not.
    const failures = status.push.docWriteFailures + status.pull.docWriteFailures;
    const denied = this.#denied.size || failures > this.#heard ? [...this.#denied.values()] : null;
    // At first the keys of a private gallery go along, and there is more to send than there are photos.
    const what = status.pending.up > this.#store.photos.length ? 'change' : 'photo';
    this.#say(standing(status, { host: hostOf(this.url), hasLogin: Boolean(new URL(this.url).username), denied, what }));
  }

  #say({ state, text, more }) {
    if (state === this.state && text === this.text && more === this.more) return;
    Object.assign(this, { state, text, more });
    this.dispatchEvent(new CustomEvent('change'));
  }
}
