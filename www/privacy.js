// The sign in the bar that says whether the gallery is locked, unlocked or not sealed, and the dialog behind it.

import { shows } from './settings.js';
import { adviceOn } from './strength.js';
import { busy, say, settle } from './say.js';
import { plain } from './words.js';

const $ = (id) => document.getElementById(id);

const STATES = {
  locked: ['Locked', 'i-shut', 'Private gallery', 'It is locked. What comes from the server waits behind the lock, and what was added here is still sent.'],
  unlocked: ['Unlocked', 'i-open', 'Private gallery', 'Photos, captions and names are sealed on this device before they are kept or sent.'],
  clear: ['Not sealed', 'i-clear', 'Not sealed', 'This gallery is not a private one. A private one seals photos on this device before they are kept or sent.'],
};

/** The advice on a new passphrase, as it is typed. */
export function advise(field, place) {
  let timer;
  field.addEventListener('input', () => {
    const { level, words } = adviceOn(field.value);
    place.dataset.level = level;
    clearTimeout(timer); // so that not every letter is read out
    timer = setTimeout(() => { place.textContent = words; }, 250);
  });
}

/** Emits `lock` when somebody wants it locked. */
export class Privacy extends EventTarget {
  #dialog = $('privacy');
  #store;
  #keys;
  #sync;
  #spoken = '';

  constructor({ store, keys, sync, beside }) {
    super();
    this.#store = store;
    this.#keys = keys;
    this.#sync = sync;
    $('privacy-begin').href = beside;
    $('privacy-button').addEventListener('click', () => this.open());
    $('privacy-close').addEventListener('click', () => this.#dialog.close());
    for (const id of ['lock', 'privacy-lock']) $(id).addEventListener('click', () => this.dispatchEvent(new CustomEvent('lock')));
    this.#dialog.addEventListener('click', (event) => { if (event.target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener('close', () => {
      $('new-passphrase').value = '';
      this.#unfold(false);
      settle();
    });
    $('privacy-change').addEventListener('click', () => this.#unfold($('passphrase-form').hidden));
    $('privacy-stay').addEventListener('change', ({ target }) => this.#stay(target.checked));
    $('passphrase-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#change();
    });
    $('passphrase-form').addEventListener('input', () => this.#complain(''));
    advise($('new-passphrase'), $('new-advice'));
    for (const type of ['locked', 'unlocked']) store.addEventListener(type, () => this.#show());
    keys.addEventListener('change', () => this.#show());
    sync.addEventListener('change', () => this.#show());
    this.#show();
  }

  /** @param {{change?: boolean}} [how] whether to ask for a new passphrase at once */
  open({ change = false } = {}) {
    this.#show();
    this.#dialog.showModal();
    settle();
    if (change) this.#unfold(true);
  }

  close() {
    this.#dialog.close();
  }

  #unfold(is) {
    $('passphrase-form').hidden = !is;
    $('privacy-change').ariaExpanded = is;
    $('new-advice').textContent = '';
    this.#complain('');
    if (is) $('new-passphrase').focus();
  }

  #complain(text) {
    $('new-problem').textContent = text;
    $('new-problem').hidden = !text;
  }

  #show() {
    const state = !this.#store.sealed ? 'clear' : this.#store.locked ? 'locked' : 'unlocked';
    const [text, icon, heading, words] = STATES[state];
    $('privacy-button').hidden = false;
    $('privacy-button').dataset.state = this.#dialog.dataset.state = state;
    $('privacy-state').textContent = $('privacy-button').title = text;
    $('privacy-button').querySelector('use').setAttribute('href', `#${icon}`);
    $('lock').hidden = state !== 'unlocked';
    $('privacy-heading').textContent = heading;
    $('privacy-words').textContent = words;
    $('privacy-shows').textContent = shows(this.#store.sealed, this.#sync.url);
    $('privacy-stay').checked = this.#keys.stay;
    $('privacy-change').textContent = this.#keys.havePassphrase ? 'Change the passphrase' : 'Choose a passphrase';
    if (this.#spoken && this.#spoken !== state) $('privacy-spoken').textContent = `The gallery is ${text.toLowerCase()}.`;
    this.#spoken = state;
  }

  async #stay(stays) {
    $('privacy-stay').disabled = true;
    try {
      await this.#keys.setStay(stays);
      say(stays ? 'It stays unlocked on this device until you lock it.' : 'It asks for the passphrase from now on.');
    } catch (error) {
      say(plain(error), { error: true });
    }
    $('privacy-stay').disabled = false;
    this.#show();
  }

  async #change() {
    const passphrase = $('new-passphrase').value;
    try {
      await busy($('passphrase-form').querySelector('[type=submit]'), () => this.#keys.changePassphrase(passphrase));
    } catch (error) {
      this.#complain(plain(error));
      $('new-passphrase').focus();
      return;
    }
    $('new-passphrase').value = '';
    this.#unfold(false);
    this.#dialog.close();
    say('The new passphrase is set.');
  }
}
