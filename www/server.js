// The server's address as people type it, and where it is remembered: only in
// this browser, as the name and password may be part of it.

const isLoopback = (host) => /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(host);

/** An address without its name and password, fit to be shown. */
export function shown(url) {
  if (!url) return '';
  const clean = new URL(url);
  clean.username = clean.password = '';
  return clean.href;
}

export const hostOf = (url) => new URL(url).host;

/** The same address for another name and password. */
export function withLogin(url, name, password) {
  const other = new URL(url);
  other.username = encodeURIComponent(name);
  other.password = encodeURIComponent(password);
  return other.href;
}

/**
 * @param {string} text an address, with or without scheme
 * @param {{name?: string, password?: string, before?: string}} [who] `before` is the address used so
 *   far: its password still holds where the address and name are the same and none was typed
 * @returns {string} the URL, with credentials when there are any
 * @throws {Error} with a sentence saying what is wrong
 */
export function parseServer(text, { name = '', password = '', before = '' } = {}) {
  const typed = text.trim();
  if (!typed) throw new Error('Type the address of a CouchDB database, for example https://couch.example.org/photos.');
  const guess = /^[\w.-]*(localhost|127\.)/.test(typed) ? 'http://' : 'https://';
  let url;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(typed) ? typed : guess + typed);
  } catch {
    throw new Error('This does not look like an address. One looks like https://couch.example.org/photos.');
  }
  if (!/^https?:$/.test(url.protocol)) throw new Error('The address of a CouchDB server begins with https:// or http://.');
  if (url.pathname.length < 2) throw new Error(`Add the name of the database at the end, for example ${url.host}/photos.`);
  if (location.protocol === 'https:' && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new Error('This page came over https, so the browser only lets it talk to a server whose address begins with https://.');
  }
  url.search = url.hash = '';
  url.pathname = url.pathname.replace(/\/+$/, '');
  if (name && (password || !url.username)) { // a login that is typed within the address is one as well
    url.username = name;
    url.password = password;
  }
  const old = before && new URL(before);
  if (old && old.host === url.host && old.pathname === url.pathname && !url.password
    && (!url.username || url.username === old.username)) {
    url.username = old.username;
    url.password = old.password;
  }
  return url.href;
}

/**
 * Whether a server that merely stood in the page's address may be used without asking. A link
 * somebody sends must not be enough to copy another person's photos to the sender's server.
 */
export function mayConnectUnasked(url, { remembered, empty }) {
  const { hostname } = new URL(url);
  return empty || shown(remembered) === shown(url) || hostname === location.hostname
    || (isLoopback(hostname) && isLoopback(location.hostname));
}

/**
 * What a database on a server holds.
 * @returns {Promise<'nothing' | 'private' | 'clear' | 'closed' | 'unknown'>} `closed`: it asks who we are;
 *   `unknown`: it was not reached, or is no CouchDB
 */
export async function whatIsAt(url) {
  const { username, password } = new URL(url);
  const headers = { accept: 'application/json' };
  if (username) {
    const login = new TextEncoder().encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
    headers.authorization = `Basic ${btoa(String.fromCharCode(...login))}`;
  }
  const ids = async (asked) => {
    const answer = await fetch(`${shown(url)}/_all_docs?${new URLSearchParams(asked)}`, {
      headers, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(8000),
    });
    if (answer.ok) return (await answer.json()).rows.map((row) => row.id);
    if (answer.status === 404) return [];
    throw Object.assign(new Error(), { status: answer.status });
  };
  try {
    // The log of a sealed channel, without which there is none; then anything but rules for the server.
    if ((await ids({ startkey: '"k-"', endkey: '"k."', limit: 1 })).length) return 'private';
    return (await ids({ limit: 4 })).some((id) => !id.startsWith('_design/')) ? 'clear' : 'nothing';
  } catch (error) {
    return [401, 403].includes(error.status) ? 'closed' : 'unknown';
  }
}

/** Why a gallery that never met this database should not be kept in step with it; '' if nothing speaks against it. */
export async function objection(url, isPrivate) {
  const holds = await whatIsAt(url);
  if (holds === 'private') {
    return isPrivate
      ? 'Another private gallery is kept at this address already. Each needs an address of its own. If it is yours, open it in a browser that has no gallery yet, with its recovery code.'
      : 'A private gallery is kept at this address. Photos that are not sealed do not belong there: choose another address.';
  }
  if (holds === 'clear' && isPrivate) return 'There are things at this address that are not sealed. A private gallery needs an address of its own.';
  return '';
}

export class Memory {
  #key;

  constructor(database) {
    this.#key = `settee:server:${database}`;
  }

  /** Whether this gallery is kept in step with that database already. */
  knows(url) {
    return Boolean(this.url) && shown(this.url) === shown(url);
  }

  get url() {
    try {
      return localStorage.getItem(this.#key) ?? '';
    } catch { // storage is blocked: then there is nothing to remember
      return '';
    }
  }

  set url(url) {
    try {
      if (url) localStorage.setItem(this.#key, url);
      else localStorage.removeItem(this.#key);
    } catch { /* as above */ }
  }
}
