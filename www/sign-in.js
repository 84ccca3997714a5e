// The small dialog for the name and password that a server asks for while
// everything else goes on.

import { hostOf } from './server.js';
import { reasonOf } from './standing.js';
import { say, settle } from './say.js';

const $ = (id) => document.getElementById(id);

export class SignIn extends EventTarget {
  #dialog = $('sign-in');
  #sync;
  #memory;

  constructor(sync, memory) {
    super();
    this.#sync = sync;
    this.#memory = memory;
    $('sign-in-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    for (const id of ['sign-in-close', 'sign-in-server']) $(id).addEventListener('click', () => this.#dialog.close());
    $('sign-in-server').addEventListener('click', () => this.dispatchEvent(new CustomEvent('server')));
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // the backdrop
    });
    this.#dialog.addEventListener('close', () => {
      $('sign-in-password').value = '';
      settle();
    });
    sync.addEventListener('change', () => { // somebody signed in elsewhere
      if (['busy', 'idle', 'off'].includes(sync.state) && !$('sign-in-go').disabled) this.#dialog.close();
    });
  }

  open() {
    $('sign-in-why').textContent = `${hostOf(this.#sync.url)} asks who you are. Your photos are safe on this device and go on as soon as you have signed in.`;
    $('sign-in-name').value = decodeURIComponent(new URL(this.#sync.url).username);
    this.#complain('');
    this.#dialog.showModal();
    $($('sign-in-name').value ? 'sign-in-password' : 'sign-in-name').focus();
    settle();
  }

  async #submit() {
    const name = $('sign-in-name').value.trim();
    const password = $('sign-in-password').value;
    if (!name || !password) {
      this.#complain('Type your name and your password.');
      $(name ? 'sign-in-password' : 'sign-in-name').focus();
      return;
    }
    this.#complain('');
    this.#busy(true);
    let refused;
    try {
      refused = await this.#sync.login(name, password);
    } catch (error) {
      refused = error;
    }
    this.#busy(false);
    if (refused) {
      this.#complain(`The server did not let you in: ${reasonOf(refused)}.`);
      $('sign-in-password').select();
      return;
    }
    if (this.#sync.url) this.#memory.url = this.#sync.url;
    this.#dialog.close();
    say('You are signed in.');
  }

  #busy(is) {
    $('sign-in-go').disabled = is;
    $('sign-in-go').textContent = is ? 'Signing in…' : 'Sign in';
  }

  #complain(text) {
    $('sign-in-problem').textContent = text;
    $('sign-in-problem').hidden = !text;
  }
}
