// What stands before the photos: choosing a kind of gallery, making keys, the recovery code, joining from another
// device, and unlocking. One screen at a time; which one is in body[data-page].

import { hostOf, parseServer, shown, whatIsAt } from './server.js';
import { advise } from './privacy.js';
import { busy, say } from './say.js';
import { plain, unlockWords } from './words.js';

const $ = (id) => document.getElementById(id);
const HEADINGS = { welcome: 'welcome-heading', create: 'create-heading', code: 'code-heading', join: 'join-heading', locked: 'unlock-heading' };
const LETTERS = /[^0-9a-z]/gi;
const ALIKE = { O: '0', I: '1', L: '1' }; // letters that codes do not have, and what they are misread from

/** A code's letters alone, as the check reads them. */
const lettersOf = (text) => text.replace(LETTERS, '').toUpperCase().replace(/[OIL]/g, (letter) => ALIKE[letter]);

/** Shows one screen and puts the keyboard there. */
export function show(page, focus = HEADINGS[page]) {
  document.body.dataset.page = page;
  document.documentElement.scrollTop = 0;
  if (focus) $(focus)?.focus({ preventScroll: true });
}

export class Door {
  #keys;
  #start;
  #asked; // the server's address in the page's address, if there is one
  #app = null; // {store, sync} once there is a gallery
  #code = '';
  #passphrase = null; // what is still to be set where somebody joins
  #begins = false; // whether unlocking is for a new gallery
  #mends = false; // whether what is kept of the keys cannot be read
  #byCode = false;

  /**
   * @param {{keys: import('./keys.js').Keys, asked: string, start: (how: object, url?: string) => Promise<object>,
   *   ready: (how?: object) => void, forget: () => Promise<void>}} page `start` opens the gallery and what belongs
   *   to it, `ready` shows the photos, `forget` removes what was begun and loads the page again
   */
  constructor({ keys, asked, start, ready, forget }) {
    this.#keys = keys;
    this.#asked = asked;
    this.#start = start;
    this.ready = ready;
    this.forget = forget;
    for (const button of document.querySelectorAll('[data-shows]')) {
      const field = $(button.dataset.shows);
      const turn = (isShown) => {
        field.type = isShown ? 'text' : 'password';
        button.textContent = isShown ? 'Hide' : 'Show';
        button.ariaPressed = isShown;
      };
      button.addEventListener('click', () => turn(field.type === 'password'));
      field.form.addEventListener('submit', () => turn(false));
      button.ariaLabel = 'Show the passphrase';
    }
    for (const button of document.querySelectorAll('[data-back]')) button.addEventListener('click', () => this.#back());
    $('begin').addEventListener('click', () => this.#guard(async () => {
      await keys.forgetUnconfirmed();
      if (keys.exist) this.#unlockToBegin();
      else this.#choose();
    }));
    $('begin-clear').addEventListener('click', () => this.#guard(() => this.#begin({})));
    $('join').addEventListener('click', () => this.#guard(async () => {
      await keys.forgetUnconfirmed();
      this.join();
    }));
    advise($('create-passphrase'), $('create-advice'));
    advise($('join-passphrase'), $('join-advice'));
    const submits = (form, act) => {
      $(form).addEventListener('submit', (event) => {
        event.preventDefault();
        act();
      });
      $(form).addEventListener('input', () => complain(form.split('-')[0], '')); // it is being seen to
    };
    submits('create-form', () => this.#create());
    submits('code-form', () => this.#confirm());
    submits('join-form', () => this.#join());
    submits('unlock-form', () => this.#unlock());
    $('code-copy').addEventListener('click', () => this.#copy());
    $('code-print').addEventListener('click', () => print());
    $('code-save').addEventListener('click', () => this.#save());
    $('code-kept').addEventListener('click', () => this.#ask(true));
    $('code-again').addEventListener('click', () => this.#ask(false));
    $('unlock-other').addEventListener('click', () => this.#by(!this.#byCode));
    for (const id of ['join-code', 'unlock-code']) $(id).addEventListener('blur', ({ target }) => { target.value = grouped(target.value); });
    addEventListener('beforeunload', (event) => { if (this.#code) event.preventDefault(); });
  }

  /** The first visit. */
  async welcome() {
    show('welcome', null);
    if (!this.#asked) return;
    const place = $('welcome-server');
    const url = parseServer(this.#asked);
    const holds = await whatIsAt(url);
    if (document.body.dataset.page !== 'welcome') return;
    const host = shown(url).replace(/^https?:\/\//, '');
    if (holds === 'private') {
      place.textContent = `A private gallery is kept at ${host}. If it is yours, open it with its recovery code.`;
      $('join').classList.replace('quiet', 'main');
      $('begin').classList.replace('main', 'quiet');
    } else if (holds === 'clear') {
      place.textContent = `The photos at ${host} are not sealed. To see them, keep a gallery that is not sealed. A private one needs an address of its own.`;
    } else return;
    place.hidden = false;
  }

  #back() {
    if (this.#app) this.forget(); // begun, and not come to an end
    else show('welcome', document.body.dataset.page === 'join' ? 'join' : 'begin');
  }

  async #guard(work) {
    try {
      await work();
    } catch (error) {
      console.error(error);
      say(plain(error), { error: true });
    }
  }

  async #begin(how, url) {
    this.#app = await this.#start(how, url);
    this.ready();
  }

  // Making keys

  #choose() {
    complain('create', '');
    show('create', 'create-passphrase');
  }

  async #create() {
    const passphrase = $('create-passphrase').value;
    complain('create', '');
    try {
      await busy($('create-form').querySelector('[type=submit]'), async () => {
        this.#code = await this.#keys.create(passphrase);
        if ($('create-stay').checked) await this.#keys.setStay(true);
      });
    } catch (error) {
      if (!this.#code) {
        complain('create', plain(error), 'create-passphrase');
        return;
      }
      say(plain(error), { error: true }); // it will ask for the passphrase, that is all
    }
    $('create-passphrase').value = '';
    $('code').replaceChildren(...this.#code.split('-').map((group) => {
      const part = document.createElement('span');
      part.textContent = group;
      return part;
    }));
    $('code-place').textContent = location.host;
    this.#ask(false);
  }

  #ask(asks) {
    $('code-show').hidden = asks;
    $('code-form').hidden = !asks;
    $('code-last').value = '';
    complain('code', '');
    show('code', asks ? 'code-last' : 'code-heading');
  }

  async #confirm() {
    const typed = lettersOf($('code-last').value);
    if (typed !== lettersOf(this.#code).slice(-4)) {
      complain('code', typed.length === 4 ? 'These are not the last four. Look at what you wrote down, or show it again.' : 'Type the four letters and digits after the last dash.', 'code-last');
      return;
    }
    this.#keys.confirmCode();
    await this.#guard(async () => {
      await this.#begin({ vault: this.#keys.vault, create: true });
      this.#code = '';
      $('code').replaceChildren();
    });
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#code);
      say('Copied. Put it where only you find it, and not on the server that keeps the photos.');
    } catch {
      say('This browser does not let the page copy. Write it down instead.', { error: true });
    }
  }

  #save() {
    const text = `Settee recovery code\n\n${this.#code}\n\nfor the gallery at ${location.host}, ${new Date().toLocaleDateString()}\n\n`
      + 'It opens the photos on another device, or should the passphrase be forgotten.\nWhoever finds it and gets at the server can read them: keep it as you keep a key.\n';
    const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = 'settee-recovery-code.txt';
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  // From another device

  /** @param {{store: object, sync: object} | null} [app] where it was begun before */
  join(app = null, url = this.#asked) {
    this.#app = app;
    $('join-form').dataset.keys = this.#keys.exist ? 'there' : 'none';
    $('join-passphrase').autocomplete = this.#keys.exist ? 'current-password' : 'new-password';
    if (url) {
      const { username } = new URL(parseServer(url));
      $('join-address').value = shown(parseServer(url));
      $('join-name').value = decodeURIComponent(username);
      $('join-password').placeholder = new URL(parseServer(url)).password ? 'Unchanged' : '';
    }
    $('join-login').open = Boolean($('join-name').value);
    complain('join', '');
    show('join', url ? (this.#keys.exist ? 'join-passphrase' : 'join-code') : 'join-address');
  }

  async #join() {
    const before = this.#app?.sync.url || (this.#asked ? parseServer(this.#asked) : '');
    let url;
    complain('join', '');
    try {
      url = parseServer($('join-address').value, { name: $('join-name').value.trim(), password: $('join-password').value, before });
    } catch (error) {
      complain('join', error.message, 'join-address');
      return;
    }
    const code = grouped($('join-code').value);
    const passphrase = $('join-passphrase').value;
    if (!this.#keys.exist && !lettersOf(code)) return complain('join', 'Type the recovery code of your gallery.', 'join-code');
    if (!passphrase) return complain('join', this.#keys.exist ? 'Type your passphrase.' : 'Choose a passphrase for this device.', 'join-passphrase');
    try {
      await busy($('join-form').querySelector('[type=submit]'), () => this.#open(url, code, passphrase));
    } catch (error) {
      const field = error.field ?? (this.#keys.exist ? 'join-passphrase' : 'join-code');
      return complain('join', error.words ?? unlockWords(error, !this.#keys.exist), field);
    }
    $('join-code').value = $('join-passphrase').value = $('join-password').value = '';
    this.ready();
  }

  async #open(url, code, passphrase) {
    const { exist } = this.#keys;
    if (exist) await this.#keys.unlock({ passphrase });
    const holds = await whatIsAt(url);
    const host = hostOf(url);
    const tell = (words, field = 'join-address') => Object.assign(new Error(words), { words, field });
    if (holds === 'clear') throw tell('What is at this address is not a private gallery.');
    if (holds === 'nothing') throw tell('There is nothing at this address yet. Is it the one that your other device uses?');
    if (holds === 'closed') $('join-login').open = true;
    if (holds === 'closed') throw tell(`${host} asks who you are: type the name and password that it knows you by.`, 'join-name');
    if (holds === 'unknown') throw tell(`${host} does not answer. Is the address right, and is there a connection?`);
    if (this.#app) this.#app.sync.connect(url);
    else this.#app = await this.#start({ sealed: true }, url);
    const { store, sync } = this.#app;
    const opened = exist && store.unlock(this.#keys.vault);
    while (store.locked) { // until enough of it has come
      const moved = new Promise((resolve) => { sync.addEventListener('moved', resolve, { once: true }); });
      const { state, text, more } = sync; // as it stood before this attempt
      let refused = null;
      if (!exist) refused = await this.#keys.recover(store.database, code).catch((error) => error);
      if (refused && !['nothing_to_recover', 'no_channel', 'unknown_epoch'].includes(refused.name)) throw refused;
      if (!store.locked) break;
      const whose = exist ? 'your keys on this device' : 'this recovery code';
      if (['idle', 'refused'].includes(state)) throw tell(`What is kept at this address does not belong to ${whose}. Is it the right address, and the right gallery?`, exist ? 'join-address' : 'join-code');
      if (!['connecting', 'busy'].includes(state)) throw tell(`${text}. ${more}`);
      await Promise.race(exist ? [moved, opened] : [moved]);
    }
    await (opened || store.unlock(this.#keys.vault));
    if (!exist) await this.#keys.changePassphrase(passphrase);
    if ($('join-stay').checked) await this.#keys.setStay(true).catch((error) => say(plain(error), { error: true }));
  }

  // Unlocking

  /** The gallery is there, and locked. */
  locked(app) {
    this.#app = app;
    this.#begins = false;
    this.#unlocking('Your photos are locked');
  }

  /** The gallery is there, and its keys are damaged. */
  damaged(app) {
    this.#mends = true;
    this.locked(app);
    $('unlock-heading').textContent = 'The keys in this browser are damaged';
    complain('unlock', 'Your photos are here as they were. The recovery code makes the keys anew.');
  }

  /** How many photos wait. */
  behind(words) {
    $('behind').textContent = words;
  }

  #unlockToBegin() {
    this.#begins = true;
    this.#unlocking('Unlock, to begin a new gallery');
    this.behind('It gets keys of its own, under the passphrase and the recovery code that you have.');
  }

  #unlocking(heading) {
    $('unlock-heading').textContent = heading;
    $('unlock-form').querySelector('[data-back]').hidden = !this.#begins;
    $('unlock-stay').checked = this.#keys.stay;
    $('unlock-passphrase').value = $('unlock-code').value = '';
    this.#by(!this.#keys.havePassphrase);
  }

  #by(code) {
    this.#byCode = code;
    $('unlock-form').dataset.by = code ? 'code' : 'passphrase';
    $('unlock-other').textContent = code ? 'Use the passphrase' : 'Forgot it?';
    $('unlock-other').hidden = !this.#keys.havePassphrase;
    complain('unlock', code && this.#keys.havePassphrase ? 'The recovery code opens it too. After that you choose a new passphrase.' : '');
    show('locked', document.querySelector('dialog[open]') ? null : code ? 'unlock-code' : 'unlock-passphrase');
  }

  async #unlock() {
    const isCode = this.#byCode;
    const field = isCode ? 'unlock-code' : 'unlock-passphrase';
    const text = isCode ? grouped($(field).value) : $(field).value;
    complain('unlock', '');
    if (!text) return complain('unlock', isCode ? 'Type your recovery code.' : 'Type your passphrase.', field);
    try {
      await busy($('unlock-form').querySelector('[type=submit]'), async () => {
        if (this.#mends) await this.#keys.mend(this.#app.store.database, text);
        else await this.#keys.unlock(isCode ? { recoveryCode: text } : { passphrase: text });
        this.#mends = false;
        if (!this.#begins) await this.#app.store.unlock(this.#keys.vault);
        else this.#app = await this.#start({ vault: this.#keys.vault, create: true });
      });
    } catch (error) {
      complain('unlock', unlockWords(error, isCode), field);
      $(field).select();
      return;
    }
    $(field).value = '';
    const stays = $('unlock-stay').checked;
    if (stays !== this.#keys.stay) await this.#keys.setStay(stays).catch((error) => say(plain(error), { error: true }));
    this.ready({ forgotten: isCode });
  }
}

/** A code in groups of four, as it was shown. */
function grouped(text) {
  const letters = text.replace(LETTERS, '').toUpperCase();
  return letters.match(/.{1,4}/g)?.join('-') ?? '';
}

function complain(form, text, field) {
  const place = $(`${form}-problem`);
  place.textContent = text;
  place.hidden = !text;
  if (field) $(field).focus();
}
