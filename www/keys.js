// The keys of this device, and what is said when they do not fit. The only module that talks to the vault.

import { Vault } from 'settee';

const UNCONFIRMED = 'settee:code-unconfirmed';
const MENDING = 'settee:keys-mending';

/** Emits `change` whenever something about the keys is no longer the same. */
export class Keys extends EventTarget {
  #vault = null;
  #status = { exists: false, passphrase: false, device: false };
  problem = null; // why the keys cannot be looked at; a gallery that is not sealed works without

  /** Looks whether there are keys on this device. They are locked until somebody unlocks them. */
  static async find() {
    const keys = new Keys();
    await keys.#look().catch((error) => { keys.problem = error; });
    return keys;
  }

  get exist() { return this.#status.exists; }

  /** Whether a passphrase unlocks them; the recovery code always does. */
  get havePassphrase() { return this.#status.passphrase; }

  /** Whether they unlock by themselves here. */
  get stay() { return this.#status.device; }

  /** What `Database.open` takes, once they are unlocked. */
  get vault() { return this.#vault; }

  /** The recovery code was typed back: from now on there may be something that it opens. */
  confirmCode() {
    localStorage.removeItem(UNCONFIRMED);
  }

  /** Forgets keys whose recovery code was shown and not typed back, because the page was left: they open nothing yet. */
  async forgetUnconfirmed() {
    if (this.problem) throw this.problem;
    await this.#look(); // another tab may have made some
    if (localStorage.getItem(UNCONFIRMED) === null) return;
    if (this.exist) await Vault.destroy();
    localStorage.removeItem(UNCONFIRMED);
    await this.#look();
  }

  async #look() {
    this.#status = await Vault.status();
    this.dispatchEvent(new CustomEvent('change'));
  }

  /** @returns {Promise<string>} the recovery code; it is kept nowhere */
  async create(passphrase) {
    await this.#look();
    if (!this.exist) localStorage.setItem(UNCONFIRMED, 'yes'); // those of another tab are not ours to mark
    try {
      const { vault, recoveryCode } = await Vault.create({ passphrase });
      this.#vault = vault;
      return recoveryCode;
    } finally {
      await this.#look();
      if (!this.exist) localStorage.removeItem(UNCONFIRMED);
    }
  }

  /** @param {{passphrase: string} | {recoveryCode: string} | {device: true}} secret */
  async unlock(secret) {
    this.#vault = await Vault.unlock(secret);
    await this.#look();
  }

  /** Brings the account of a code to this device. `database` has pulled something of it. */
  async recover(database, recoveryCode) {
    this.#vault = await Vault.recover({ recoveryCode, database });
    localStorage.removeItem(UNCONFIRMED);
    localStorage.removeItem(MENDING);
    await this.#look();
  }

  /** Makes them anew from the gallery's `database` where what is kept of them here cannot be read. */
  async mend(database, recoveryCode) {
    try {
      await this.unlock({ recoveryCode }); // it also says whether the code is written well
      this.problem = null;
      return;
    } catch (error) {
      if (!['malformed_keys', 'no_vault'].includes(error.name)) throw error;
    }
    // The page may be left before the right code was found: what is here is asked for it the next time too.
    localStorage.setItem(MENDING, 'yes');
    await Vault.destroy();
    await this.recover(database, recoveryCode);
    this.problem = null;
  }

  /** Whether that was begun and not ended. */
  get isMending() { return localStorage.getItem(MENDING) !== null; }

  async changePassphrase(passphrase) {
    await this.#vault.changePassphrase(passphrase);
    await this.#look();
  }

  async setStay(stays) {
    await this.#vault.stayUnlocked(stays);
    await this.#look();
  }

  /** Locks every tab; nothing stays unlocked after it. */
  async lock() {
    await this.#vault.lock();
    await this.#look();
  }
}
