// The page: opens the store and ties the parts together.
//
// For tests, these stay as they are:
//   #file-input, #folder-input   the pickers
//   .tile[data-id]               one photo in the grid (<figure>), data-id its document's _id
//   .tile-open                   the button in it that opens the photo
//   .tile-caption                its caption
//   #sync-state                  the sentence about the server; data-state holds one of
//                                off connecting busy idle offline waiting sign-in paused full refused failed
//   #count                       how many photos there are, in words
//   #viewer, #viewer-original, #viewer-caption, #caption-field, #viewer-delete, #viewer-close
//   #settings, #server-address, #server-name, #server-password, #connect, #pause, #disconnect, #settings-close
//   #sign-in, #sign-in-name, #sign-in-password, #sign-in-go, #sign-in-problem, #sign-in-close
//   .toast                       a message; its button is the action (Undo)
//   #privacy-button, #privacy-state, #lock  locked, unlocked or not sealed (data-state: clear), and the lock
//   #privacy, #privacy-stay, #privacy-lock, #privacy-change, #new-passphrase
//   #begin, #join, #begin-clear, #create-passphrase, #create-stay, #code, #code-kept, #code-last
//   #join-address, #join-code, #join-passphrase, #unlock-passphrase, #unlock-code, #unlock-other, #unlock-stay, #behind
//   #aside-note, #aside, #aside-list, #aside-retry, #aside-discard
//   body[data-page]              opening, welcome, create, code, join, locked, ready or failed
// In the page's address: ?db=<database name>  ?server=<URL of a CouchDB database>  ?samples=<folder of this origin>

import { filesFromTransfer } from './files.js';
import { Memory, mayConnectUnasked, objection, parseServer, shown } from './server.js';
import { busy, hush, say } from './say.js';
import { PART, count, importReport, plain } from './words.js';

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const database = query.get('db') || 'photos';

// Nothing that goes wrong is lost.
addEventListener('unhandledrejection', (event) => {
  say(`Something went wrong. ${plain(event.reason)}`, { error: true });
});
addEventListener('error', (event) => {
  if (event.message?.startsWith('ResizeObserver')) return; // a notice, not an error
  say(`Something went wrong. ${plain(event.error ?? event)}`, { error: true });
});

function fail(heading, text) {
  document.body.dataset.page = 'failed';
  $('failure-heading').textContent = heading;
  $('failure-text').textContent = text;
  $('sync-state').textContent = '';
}

const asked = query.get('server') ?? '';

async function start() {
  let parts;
  try {
    const paths = ['keys', 'store', 'door', 'sync', 'grid', 'viewer', 'import', 'settings', 'sign-in', 'privacy', 'aside'];
    parts = Object.assign({}, ...await Promise.all(paths.map((path) => import(`./${path}.js`))));
  } catch (error) {
    console.error(error);
    fail('The page did not load completely', PART);
    return;
  }
  try {
    await enter(parts);
  } catch (error) {
    console.error(error);
    fail('Your photos could not be opened', plain(error));
  }
}

let add = null; // takes files, once there is a gallery that is not locked
const early = []; // files that came before

async function enter(parts) {
  const { Store, Keys, Door } = parts;
  takeFiles();
  const isThere = await Store.isThere(database);
  const keys = await Keys.find();
  let app = null;

  const begin = async (how, url) => {
    app = run(await Store.open(database, how), parts, { keys, url });
    app.store.addEventListener('locked', () => {
      clear(app);
      door.locked(app);
    });
    app.aside.addEventListener('change', () => { if (app.store.locked) door.behind(app.aside.behind); });
    return app;
  };
  const ready = ({ forgotten = false } = {}) => {
    const cameFrom = document.body.dataset.page;
    document.body.dataset.page = 'ready';
    app.grid.refresh();
    add = (...what) => app.importer.add(...what);
    if (early.length) add(early.splice(0));
    if (forgotten) app.privacy.open({ change: true });
    else if (cameFrom !== 'opening') document.querySelector(app.store.photos.length ? 'main' : '.invitation .main').focus({ preventScroll: true });
  };
  const forget = async () => {
    app.memory.url = '';
    app.sync.disconnect();
    await app.store.destroy();
    location.reload();
  };
  const door = new Door({ keys, asked: usable(asked), start: begin, ready, forget });

  if (!isThere) {
    await door.welcome();
    return;
  }
  await begin();
  if (app.store.locked && (keys.problem?.name === 'malformed_keys' || (keys.isMending && !keys.exist))) {
    door.damaged(app);
    return;
  }
  if (app.store.locked && keys.problem) throw keys.problem;
  if (app.store.locked && (app.store.waiting || !keys.exist)) { // begun on another visit
    door.join(app, app.memory.url);
    return;
  }
  if (app.store.locked && keys.stay) {
    try {
      await keys.unlock({ device: true });
      await app.store.unlock(keys.vault);
    } catch (error) { // then the passphrase does
      console.error(error);
    }
  }
  if (app.store.locked) door.locked(app);
  else ready();
}

/** The server's address in the page's address, if it is one. */
function usable(text) {
  try {
    return text && parseServer(text);
  } catch {
    return '';
  }
}

/** Takes everything that was seen of the photos from the page. */
function clear({ viewer, importer, privacy }) {
  add = null;
  importer.stop();
  viewer.close();
  privacy.close();
  hush();
}

function run(store, { Sync, Grid, Viewer, Importer, Settings, SignIn, Privacy, Aside }, { keys, url }) {
  const sync = new Sync(store);
  const memory = new Memory(database);
  const grid = new Grid($('grid'), store);
  const viewer = new Viewer(store);
  const importer = new Importer(store);
  const settings = new Settings(sync, memory, store);
  const signIn = new SignIn(sync, memory);
  const aside = new Aside(store, sync);
  const privacy = new Privacy({ store, keys, sync, beside: `?db=${encodeURIComponent(`${database}-private`)}` });
  const app = { store, sync, memory, grid, viewer, importer, settings, aside, privacy };

  const remove = async (id) => {
    const putBack = await store.remove(id);
    say('Photo deleted.', { action: 'Undo', seconds: 10, run: putBack });
  };
  const show = () => {
    const n = store.photos.length;
    $('count').textContent = n ? count(n, 'photo') : '';
    document.body.classList.toggle('empty', !n);
    grid.refresh();
    viewer.refresh();
  };
  store.addEventListener('change', show);
  grid.addEventListener('open', (event) => viewer.open(event.detail));
  grid.addEventListener('remove', (event) => remove(event.detail));
  viewer.addEventListener('remove', (event) => remove(event.detail));
  viewer.addEventListener('closed', (event) => grid.focus(event.detail));
  privacy.addEventListener('lock', async () => {
    add = null;
    importer.stop();
    viewer.close(); // which saves the caption that is being written
    await store.settled();
    await keys.lock();
  });
  $('invitation-where').textContent = store.sealed
    ? 'They are sealed before they are kept, in this browser and on the server that you choose, if you choose one.'
    : 'They are kept in this browser and go nowhere else, unless you choose a server to keep them in step with. This gallery is not sealed.';

  importing(importer);
  syncing({ sync, memory, settings, signIn, store, url });
  show();
  return app;
}

function takeFiles() {
  const isDrop = (event) => [...(event.clipboardData ?? event.dataTransfer).types].includes('Files');
  const take = async (event) => {
    if (event.target.closest('input, textarea') || !isDrop(event)) return;
    event.preventDefault();
    const { files, unreadable } = await filesFromTransfer(event.clipboardData ?? event.dataTransfer);
    if (add) add(files, unreadable);
    else if (document.body.dataset.page === 'locked') say('Unlock the gallery first, then add photos.');
    else {
      early.push(...files);
      say(`${count(early.length, 'file waits', 'files wait')} until you have chosen a gallery.`);
    }
  };
  addEventListener('paste', take);
  let depth = 0; // dragenter and dragleave also come from every child
  const over = (by) => {
    depth = by ? Math.max(0, depth + by) : 0;
    document.body.classList.toggle('dropping', depth > 0);
  };
  addEventListener('dragenter', (event) => { if (isDrop(event)) over(1); });
  addEventListener('dragleave', (event) => { if (isDrop(event)) over(-1); });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => { event.preventDefault(); over(0); take(event); });
}

function importing(importer) {
  for (const button of document.querySelectorAll('[data-pick]')) {
    button.addEventListener('click', () => $(button.dataset.pick).click());
  }
  for (const id of ['file-input', 'folder-input']) {
    $(id).addEventListener('change', ({ target }) => {
      if (target.files.length) importer.add([...target.files]);
      target.value = ''; // so that the same files can be picked again
    });
  }
  const samples = query.get('samples');
  if (samples?.startsWith('/') && !samples.startsWith('//')) { // pictures of this origin
    $('samples').hidden = false;
    const get = async (name) => {
      const answer = await fetch(samples + name);
      if (!answer.ok) throw new Error('they are not there yet; try again in a moment');
      return answer;
    };
    $('samples').addEventListener('click', () => busy($('samples'), async () => {
      const names = await (await get('index.json')).json();
      importer.add(await Promise.all(names.map(async (name) => new File([await (await get(name)).blob()], name, { type: 'image/jpeg' }))));
    }).catch((error) => say(`The drawn photos could not be added: ${error.message}.`, { error: true })));
  }

  $('import-stop').addEventListener('click', () => importer.stop());
  importer.addEventListener('progress', ({ detail: { total, done, name } }) => {
    const left = done < total;
    document.body.classList.toggle('importing', left);
    $('import-words').textContent = total === 1 ? 'Adding a photo…' : `Adding ${Math.min(done + 1, total)} of ${total} photos…`;
    $('import-name').textContent = left ? name ?? '' : '';
    $('import-progress').max = total || 1;
    $('import-progress').value = done;
  });
  importer.addEventListener('finished', ({ detail }) => {
    document.body.classList.remove('importing');
    if (add || !detail.failed) say(importReport(detail), { error: Boolean(detail.failed), seconds: 8 });
    else say('The gallery was locked before all photos were added.', { error: true });
    if (detail.added.length) navigator.storage?.persist?.().catch(() => {}); // asked once there is something to keep
  });
  addEventListener('beforeunload', (event) => {
    if (document.body.classList.contains('importing')) event.preventDefault();
  });
}

// States worth a word to who cannot see them. Numbers that change within one are not.
const SPOKEN = ['idle', 'offline', 'waiting', 'sign-in', 'paused', 'full', 'refused', 'failed'];

function syncing({ sync, memory, settings, signIn, store, url: chosen }) {
  let settled;
  const speak = () => {
    const spoken = $('sync-spoken');
    if (!SPOKEN.includes(sync.state) || spoken.dataset.state === sync.state) return;
    spoken.dataset.state = sync.state;
    spoken.textContent = sync.text;
  };
  const show = () => {
    $('sync-state').textContent = sync.text;
    $('sync-state').dataset.state = $('sync-button').dataset.state = sync.state;
    if (sync.state === 'off') delete $('sync-spoken').dataset.state; // what comes next is news
    clearTimeout(settled);
    settled = setTimeout(speak, 1000);
  };
  sync.addEventListener('change', show);
  $('sync-button').addEventListener('click', () => (sync.state === 'sign-in' ? signIn : settings).open());
  signIn.addEventListener('server', () => settings.open());
  show();

  if (asked) { // a password does not stay in the address bar
    query.set('server', shown(usable(asked)) || asked);
    history.replaceState(null, '', `?${query}${location.hash}`);
  }
  if (chosen) { // by somebody who joined
    memory.url = chosen;
    sync.connect(chosen);
    return;
  }
  if (!asked) {
    if (memory.url) sync.connect(memory.url);
    return;
  }
  connectAsked({ sync, memory, settings, store }).catch(reportError);
}

async function connectAsked({ sync, memory, settings, store }) {
  let url;
  try {
    url = parseServer(asked, { before: memory.url });
  } catch (error) {
    say(`The server in the page's address cannot be used. ${error.message}`, { error: true });
    return;
  }
  const against = memory.knows(url) ? '' : await objection(url, store.sealed);
  if (against) {
    settings.open({ url, note: against });
  } else if (mayConnectUnasked(url, { remembered: memory.url, empty: store.photos.length === 0 })) {
    memory.url = url;
    sync.connect(url);
  } else {
    settings.open({ url, note: `This link asks to copy the ${count(store.photos.length, 'photo')} on this device to this server. Connect only if you know whose it is.` });
  }
}

start();
if ('serviceWorker' in navigator && isSecureContext) {
  navigator.serviceWorker.register('./sw.js').catch((error) => console.warn('The page does not work offline here.', error));
}
