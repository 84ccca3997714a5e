// The keys of this device: one vault for all tabs of an origin. Loaded when somebody asks for it. No key is told
// to another tab, in an error or in a URL; what unlocks is posted to a worker of ours alone.
import * as glue from '../generated/settee_glue.js';
import { Emitter } from './feed.js';
import { SetteeError, asText, badOption, badRequest, failure, options } from './json.js';

const STORAGE = globalThis.indexedDB || !globalThis.process?.versions?.node ? 'indexeddb' : 'memory';

let opened;

/** The vault of this page, locked or not. */
async function its(module) {
  const before = opened;
  if ((await before)?._isGone && opened === before) opened = undefined;
  opened ??= glue.Vault.open(STORAGE).then((raw) => new Vault(raw, module)).catch((error) => {
    opened = undefined;
    throw error;
  });
  return opened;
}

function only(given, names) {
  const { database, ...rest } = given ?? {};
  const kept = options(rest) ?? {};
  for (const name in kept) if (!names.includes(name)) throw badOption(`Unknown option \`${name}\``);
  return { ...kept, database };
}

export async function status(module, given) {
  only(given, []);
  return (await its(module))._status();
}

export async function create(module, asked) {
  const given = only(asked, ['passphrase']);
  const vault = await its(module);
  return { vault, recoveryCode: await vault._make(given, (...passphrase) => vault._raw.create(...passphrase)) };
}

export async function recover(module, asked) {
  const { database, ...given } = only(asked, ['recoveryCode', 'passphrase']);
  if (!database?._shared || database.sealed === undefined) throw badRequest('Vault.recover() takes a `database` that was opened sealed and has replicated');
  const code = asText(given.recoveryCode, 'Recovery code');
  const vault = await its(module);
  const engine = await database._shared.engine;
  await vault._make(given, (...passphrase) => vault._raw.recover(code, engine, ...passphrase));
  await vault._lend(database._shared);
  return vault;
}

export async function unlock(module, asked) {
  const { database: _, ...given } = only(asked, ['passphrase', 'recoveryCode', 'device']);
  const ways = Object.keys(given);
  if (ways.length !== 1) throw badRequest('Vault.unlock() takes one of `passphrase`, `recoveryCode` and `device`');
  const vault = await its(module);
  const raw = vault._raw;
  const wasLocked = vault.locked;
  if (ways[0] === 'recoveryCode') await raw.unlockWithCode(asText(given.recoveryCode, 'Recovery code'));
  else if (ways[0] === 'passphrase') await using(vault._key(given.passphrase, await raw.passphraseLock()), (key) => raw.unlock('passphrase', key));
  else if (given.device === true) await using(fromDevice(), (key) => raw.unlock('device', key));
  else throw badOption('Option `device` must be true');
  await vault._relend();
  if (wasLocked) vault.emit('unlocked');
  return vault;
}

export async function destroy(module, given) {
  only(given, []);
  const vault = await its(module);
  await vault.lock();
  await vault._raw.destroy();
  vault._tell('destroy');
  vault._end();
}

export async function installGuard(module, given) {
  const { url, fetch, getToken, ...rest } = given ?? {};
  return glue.Peer.remote(asText(url, 'URL'), options(rest), fetch, getToken).installGuard();
}

/** Wipes a key after its use. */
async function using(key, act) {
  const bytes = await key;
  try {
    return await act(bytes);
  } finally {
    bytes.fill(0);
  }
}

export class Vault extends Emitter {
  #module;
  #raw;
  #lent = new Map(); // the databases that have, or had, their keys from here, with their engines
  #waiting = new Set(); // those whose channel has not come
  #channel;

  constructor(raw, module) {
    super();
    this.#raw = raw;
    this.#module = module;
    if (STORAGE === 'memory' || !globalThis.BroadcastChannel) return;
    this.#channel = new BroadcastChannel('settee-vault:lock');
    this.#channel.onmessage = ({ data }) => (data === 'destroy' ? this._end() : this._lockHere());
  }

  get locked() {
    return this.#raw.isLocked;
  }

  get _raw() {
    return this.#raw;
  }

  async lock() {
    this._lockHere();
    this._tell('lock');
    // Who locks it wants to be asked the next time.
    await alone(forgetDevice);
  }

  async rotateKeys(database) {
    this.#mustBeOpen();
    const shared = database?._shared;
    if (!this.#lent.has(shared)) throw badRequest('vault.rotateKeys() takes a `database` that was opened with this vault');
    await this.#raw.rotate(await shared.engine);
  }

  _tell(message) {
    this.#channel?.postMessage(message);
  }

  _end() {
    this._lockHere();
    this._isGone = true;
    this.#channel?.close();
  }

  _lockHere() {
    const wasLocked = this.locked;
    this.#raw.lock();
    this.#each((engine, handles) => {
      if (engine.isLocked) return;
      engine.lock();
      for (const handle of handles) handle.emit('locked');
    });
    if (!wasLocked) this.emit('locked');
  }

  async changePassphrase(passphrase) {
    this.#mustBeOpen();
    const lock = this.#raw.newLock();
    await using(this._key(passphrase, lock), (key) => this.#raw.setPassphrase(lock, key));
  }

  async stayUnlocked(stays) {
    this.#mustBeOpen();
    if (stays && (STORAGE === 'memory' || !globalThis.crypto?.subtle)) {
      throw new SetteeError(0, 'device_unavailable', 'This browser cannot keep this page unlocked (it needs https and storage). The passphrase and the recovery code go on working.');
    }
    await alone(() => (stays ? this.#stay() : forgetDevice().then(() => this.#raw.endStay())));
  }

  async #stay() {
    const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
    const algorithm = { name: 'AES-GCM', iv: crypto.getRandomValues(new Uint8Array(12)), additionalData: BOUND_TO };
    const sealed = await using(this.#raw.stayUnlocked(), (bytes) => crypto.subtle.encrypt(algorithm, key, bytes));
    await deviceKey('readwrite', (store) => store.put({ key, iv: algorithm.iv, sealed }, DEVICE));
    if (!this.locked) return;
    await forgetDevice(); // it was locked meanwhile
    this.#mustBeOpen();
  }

  async _status() {
    const { device, ...rest } = await this.#raw.status();
    return { ...rest, device: device && Boolean(await deviceKey('readonly', (store) => store.get(DEVICE))) };
  }

  #mustBeOpen() {
    if (this.locked) throw new SetteeError(0, 'locked', 'The vault is locked; unlock it first.');
  }

  /** Makes the vault, with the lock and the key of a passphrase if there is one. */
  async _make({ passphrase }, make) {
    if (passphrase === undefined) return make();
    const lock = this.#raw.newLock();
    return using(this._key(passphrase, lock), (key) => make(lock, key));
  }

  /** The key of a passphrase. Its 64 MB are a worker's, which ends; where there are no workers, ours. */
  async _key(passphrase, lock) {
    const text = asText(passphrase, 'Passphrase').normalize('NFKC');
    let worker;
    try {
      worker = new Worker(new URL('./argon2.js', import.meta.url), { type: 'module' });
      const answer = await new Promise((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => {
          event.preventDefault();
          resolve();
        };
        worker.postMessage({ module: this.#module, passphrase: text, lock });
      });
      if (answer?.failed) throw failure(answer.failed);
      if (answer) return answer.key;
    } catch (error) {
      if (error instanceof SetteeError) throw error;
    } finally {
      worker?.terminate();
    }
    return glue.passphraseKey(text, lock);
  }

  async _open(name, storage, { create, ...asked } = {}) {
    if (![undefined, true, false].includes(create)) throw badOption('Option `create` must be true or false');
    return this.#raw.openDatabase(name, storage, asked, create === true);
  }

  /**
   * Gives a database its keys, or sees to it that it gets them when its channel comes; `creates` begins one. If
   * that fails, the handle that asked for it is closed.
   */
  async _lend(shared, handle, creates) {
    const engine = await shared.engine;
    this.#lent.set(shared, engine);
    shared.plain = (detail) => named(engine, detail);
    try {
      if (!engine.isLocked && engine.isSealed) return handle;
      await this.#raw.unlockDatabase(engine, creates === true);
      if (this.locked) { // meanwhile
        engine.lock();
        this.#mustBeOpen();
      }
    } catch (error) {
      if (error.name === 'no_channel') {
        this.#await(shared, engine);
        return handle;
      }
      await handle?.close();
      throw error;
    }
    for (const one of shared.handles) if (one !== handle) one.emit('unlocked');
    return handle;
  }

  /** Unlocks a database that waits, as soon as enough of its channel's log is there. */
  async #await(shared, engine) {
    if (this.#waiting.has(shared)) return;
    this.#waiting.add(shared);
    try {
      for (let seen = 0; engine.isLocked && !this.locked;) {
        seen = await engine.logGrew(seen);
        // The rest of it may be on its way; opening it again says what else it is.
        await this._lend(shared).catch(() => {});
      }
    } catch {
      // It was closed.
    } finally {
      this.#waiting.delete(shared);
    }
  }

  async _relend() {
    const locked = [];
    this.#each((engine, handles, shared) => { if (engine.isLocked) locked.push(shared); });
    // One that does not unlock stays locked; opening it says why.
    await Promise.all(locked.map((shared) => this._lend(shared).catch(() => {})));
  }

  #each(act) {
    for (const [shared, engine] of this.#lent) {
      if (engine.isOpen) act(engine, shared.handles, shared);
      else this.#lent.delete(shared);
    }
  }
}

/** Gives what a replication tells the ids that a caller knows, as far as there are keys; the channel's own is left out. */
async function named(engine, detail) {
  const items = [...detail?.docs ?? [], ...detail?.errors ?? [detail]].filter((item) => item?._id ?? item?.id);
  if (!items.length || engine.isLocked) return;
  const names = await engine.names(items.map(({ _id, id }) => _id ?? id)).then(JSON.parse, () => []);
  items.forEach((item, i) => { if (names[i]) item[item._id ? '_id' : 'id'] = names[i]; });
  if (detail.docs) detail.docs = detail.docs.filter((_, i) => names[i] !== '');
}

const DEVICE = 'device';
const BOUND_TO = new TextEncoder().encode('settee device lock 1');

const forgetDevice = () => deviceKey('readwrite', (store) => store.delete(DEVICE));

/** One at a time in all tabs: what seals the device's key and what it opens are kept in two databases. */
async function alone(act) {
  const locks = STORAGE === 'indexeddb' && globalThis.navigator?.locks;
  return locks ? locks.request('settee-device', act) : act();
}

/** The key that cannot be read out, and what it seals. */
async function deviceKey(mode, act) {
  if (STORAGE === 'memory') return undefined;
  const refuse = (reject) => ({ target }) => reject(
    new SetteeError(0, 'storage_unavailable', 'The browser does not let this page store a key.', target.error));
  const database = await new Promise((resolve, reject) => {
    const opening = indexedDB.open('settee-device', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = refuse(reject);
  });
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction('keys', mode);
      const request = act(transaction.objectStore('keys'));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = refuse(reject);
    });
  } finally {
    database.close();
  }
}

async function fromDevice() {
  const row = await deviceKey('readonly', (store) => store.get(DEVICE));
  if (!row) throw new SetteeError(0, 'no_such_lock', 'No passphrase was set here, or this device does not stay unlocked. Unlock it in another way.');
  try {
    const { key, iv, sealed } = row;
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: BOUND_TO }, key, sealed));
  } catch {
    throw new SetteeError(0, 'wrong_secret', 'That did not unlock it. Nothing was changed.');
  }
}
