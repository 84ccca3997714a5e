// The small dialog with the server's address and how things stand.

import { hostOf, objection, parseServer, shown } from './server.js';
import { settle } from './say.js';

const $ = (id) => document.getElementById(id);

const size = (bytes) => {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${bytes.toLocaleString(undefined, { maximumFractionDigits: bytes < 10 && at > 1 ? 1 : 0 })} ${units[at]}`;
};

/** The one sentence about what a server sees. */
export function shows(isPrivate, url) {
  const who = url ? `Whoever runs ${hostOf(url)}` : 'Whoever runs the server';
  return isPrivate
    ? `${who} cannot look at your photos, captions or names, but sees how many photos there are, how large they are, and when and from where they come.`
    : `${who} can see every photo, caption and file name; so can everyone who uses the same address.`;
}

async function storageWords() {
  const { usage, quota } = await navigator.storage.estimate();
  const kept = await navigator.storage.persisted();
  return `This browser keeps ${size(usage)} for this page and allows up to ${size(quota)}. ${kept
    ? 'It has promised not to throw photos away on its own.'
    : 'It may make room by itself when the device is nearly full.'}`;
}

export class Settings {
  #dialog = $('settings');
  #sync;
  #memory;
  #store;
  #asking = 0;
  #before = ''; // the address that is shown, with its password

  constructor(sync, memory, store) {
    this.#sync = sync;
    this.#memory = memory;
    this.#store = store;
    $('settings-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#connect();
    });
    $('disconnect').addEventListener('click', () => {
      memory.url = this.#before = '';
      sync.disconnect();
      $('server-name').value = $('server-password').value = '';
    });
    $('pause').addEventListener('click', () => (sync.state === 'paused' ? sync.resume() : sync.pause()));
    $('settings-close').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // the backdrop
    });
    this.#dialog.addEventListener('close', settle);
    sync.addEventListener('change', () => this.#show());
  }

  /** @param {{url?: string, note?: string}} [suggest] an address to begin with, and why it is asked about */
  open({ url = this.#sync.url || this.#memory.url, note = '' } = {}) {
    this.#before = url;
    $('server-address').value = shown(url);
    $('server-name').value = url ? decodeURIComponent(new URL(url).username) : '';
    $('server-password').value = '';
    $('server-password').placeholder = url && new URL(url).password ? 'Unchanged' : '';
    this.#complain(note);
    this.#show();
    this.#dialog.showModal();
    settle();
    storageWords().then((words) => { $('storage-words').textContent = words; }, () => {});
  }

  async #connect() {
    let url;
    try {
      url = parseServer($('server-address').value, {
        name: $('server-name').value.trim(),
        password: $('server-password').value,
        before: this.#before,
      });
    } catch (error) {
      this.#complain(error.message);
      $('server-address').focus();
      return;
    }
    this.#before = url;
    $('server-address').value = shown(url);
    this.#complain('');
    const asking = ++this.#asking;
    if (!this.#memory.knows(url)) {
      $('connect').disabled = true;
      const against = await objection(url, this.#store.sealed);
      $('connect').disabled = false;
      if (asking !== this.#asking) return;
      if (against) {
        this.#complain(against);
        $('server-address').focus();
        return;
      }
    }
    this.#memory.url = url;
    this.#sync.connect(url);
  }

  #complain(text) {
    $('server-problem').textContent = text;
    $('server-problem').hidden = !text;
  }

  #show() {
    const { state, text, more } = this.#sync;
    $('settings-state').textContent = text;
    $('settings-state').dataset.state = state;
    $('settings-more').textContent = more;
    $('settings-shows').textContent = shows(this.#store.sealed, this.#sync.url);
    $('disconnect').hidden = state === 'off';
    $('pause').hidden = ['off', 'failed'].includes(state);
    $('pause').textContent = state === 'paused' ? 'Go on' : 'Pause';
    $('connect').textContent = state === 'off' ? 'Connect' : 'Connect again';
  }
}
