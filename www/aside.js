// What came from the server and did not prove itself: a calm line, and a dialog that says why.

import { count, plain } from './words.js';
import { busy, say, settle } from './say.js';

const $ = (id) => document.getElementById(id);
const CALM = 400; // milliseconds between two looks while a lot comes in

// Why, for people; several kinds say the same.
const CHANGED = 'changed or moved after it was sealed';
const WHY = {
  not_sealed: 'not sealed at all',
  foreign_id: 'not sealed at all',
  malformed: 'not sealed in a way that is known here',
  unknown_version: 'sealed by a newer version of this page',
  needs_update: 'sealed by a newer version of this page',
  unknown_epoch: 'sealed with a key that has not arrived; it may come in by itself',
  unknown_author: 'sealed by a device that is not known here; it may come in by itself',
  rollback: 'from an older state of the gallery than was seen here',
  foreign_channel: 'of another gallery',
  other_channel: 'of another gallery',
  too_large: 'too large',
  bad_document: 'nothing that can be kept here',
};

/** Emits `change` when `behind` (how many wait for the lock to open) or the line is no longer the same. */
export class Aside extends EventTarget {
  #dialog = $('aside');
  #store;
  #list = [];
  #timer;
  behind = '';

  constructor(store, sync) {
    super();
    this.#store = store;
    if (!store.sealed) return;
    for (const type of ['locked', 'unlocked']) store.addEventListener(type, () => this.#soon());
    sync.addEventListener('aside', () => this.#soon());
    $('aside-note').querySelector('button').addEventListener('click', () => this.#open());
    $('aside-close').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('click', (event) => { if (event.target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener('close', settle);
    $('aside-retry').addEventListener('click', () => this.#retry());
    $('aside-discard').addEventListener('click', () => this.#discard());
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(async () => {
      try {
        await this.#look();
      } finally {
        this.#timer = undefined;
      }
    }, CALM);
  }

  async #look() {
    const all = await this.#store.aside();
    const behind = all.filter(({ error }) => error === 'locked');
    this.#list = all.filter(({ error }) => error !== 'locked');
    this.behind = this.#store.locked ? waiting(behind) : '';
    const n = this.#list.length;
    $('aside-note').hidden = !n;
    const words = `${count(n, 'thing')} from the server did not prove to be yours and ${n === 1 ? 'is' : 'are'} kept aside. Your photos are not affected.`;
    const line = $('aside-note').firstElementChild;
    if (n && line.textContent !== words) line.textContent = words;
    if (!n && this.#dialog.open && !$('aside-outcome').textContent) this.#dialog.close();
    this.#show();
    this.dispatchEvent(new CustomEvent('change'));
  }

  #show() {
    const reasons = new Map();
    for (const { error, reason } of this.#list) {
      const why = WHY[error] ?? (error.startsWith('wrong_') || error === 'not_opened' ? CHANGED : reason);
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
    }
    $('aside-list').replaceChildren(...[...reasons].map(([why, n]) => {
      const item = document.createElement('li');
      item.textContent = `${why.charAt(0).toUpperCase()}${why.slice(1).replace(/\.$/, '')}: ${n.toLocaleString()}`;
      return item;
    }));
    $('aside-retry').disabled = this.#store.locked || !this.#list.length;
    $('aside-discard').disabled = !this.#list.length;
  }

  #open() {
    $('aside-outcome').textContent = '';
    this.#show();
    this.#dialog.showModal();
    settle();
  }

  async #retry() {
    let passed;
    try {
      passed = await busy($('aside-retry'), () => this.#store.retryAside());
      await this.#look();
    } catch (error) {
      $('aside-outcome').textContent = plain(error);
      return;
    }
    $('aside-outcome').textContent = passed ? `${count(passed, 'of them is', 'of them are')} among your photos now.` : 'Nothing has changed: it still does not prove itself.';
    this.#show();
  }

  async #discard() {
    const gone = this.#list;
    for (const one of gone) {
      try {
        await this.#store.discardAside(one);
      } catch (error) {
        if (error.name !== 'not_found') throw error; // another tab was quicker, or it passed meanwhile
      }
    }
    this.#dialog.close();
    await this.#look();
    say(`${count(gone.length, 'thing')} discarded.`);
  }
}

/** What waits behind the lock: each is a revision of a photo; a first one is a new photo. */
function waiting(held) {
  const photos = new Map();
  for (const { id, rev } of held) if (id.startsWith('e-')) photos.set(id, photos.has(id) || !rev.startsWith('1-'));
  if (!photos.size) return '';
  const areNew = [...photos.values()].every((changed) => !changed);
  const waits = photos.size === 1 ? 'waits' : 'wait';
  return `${count(photos.size, areNew ? 'new photo' : 'new or changed photo')} ${waits} behind the lock.`;
}
