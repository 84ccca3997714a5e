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
//   body[data-page]              opening, ready or failed
// In the page's address: ?db=<database name>  ?server=<URL of a CouchDB database>

import { filesFromTransfer } from './files.js';
import { Memory, mayConnectUnasked, parseServer, shown } from './server.js';
import { say } from './say.js';
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

async function start() {
  let parts;
  try {
    const [{ Store }, { Sync }, { Grid }, { Viewer }, { Importer }, { Settings }, { SignIn }] = await Promise.all(
      ['./store.js', './sync.js', './grid.js', './viewer.js', './import.js', './settings.js', './sign-in.js'].map((path) => import(path)),
    );
    parts = { Store, Sync, Grid, Viewer, Importer, Settings, SignIn };
  } catch (error) {
    console.error(error);
    fail('The page did not load completely', PART);
    return;
  }
  let store;
  try {
    store = await parts.Store.open(database);
  } catch (error) {
    console.error(error);
    fail('Your photos could not be opened', plain(error));
    return;
  }
  run(store, parts);
  document.body.dataset.page = 'ready';
}

function run(store, { Sync, Grid, Viewer, Importer, Settings, SignIn }) {
  const sync = new Sync(store);
  const memory = new Memory(database);
  const grid = new Grid($('grid'), store);
  const viewer = new Viewer(store);
  const importer = new Importer(store);
  const settings = new Settings(sync, memory);
  const signIn = new SignIn(sync, memory);

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

  importing(importer, store);
  syncing({ sync, memory, settings, signIn, store });
  show();
}

function importing(importer, store) {
  for (const button of document.querySelectorAll('[data-pick]')) {
    button.addEventListener('click', () => $(button.dataset.pick).click());
  }
  for (const id of ['file-input', 'folder-input']) {
    $(id).addEventListener('change', ({ target }) => {
      if (target.files.length) importer.add([...target.files]);
      target.value = ''; // so that the same files can be picked again
    });
  }
  const take = async (event) => {
    if (!event.target.closest('input, textarea') && [...(event.clipboardData ?? event.dataTransfer).types].includes('Files')) {
      event.preventDefault();
      const { files, unreadable } = await filesFromTransfer(event.clipboardData ?? event.dataTransfer);
      importer.add(files, unreadable);
    }
  };
  addEventListener('paste', take);
  let depth = 0; // dragenter and dragleave also come from every child
  const over = (by) => {
    depth = by ? Math.max(0, depth + by) : 0;
    document.body.classList.toggle('dropping', depth > 0);
  };
  addEventListener('dragenter', (event) => { if (event.dataTransfer.types.includes('Files')) over(1); });
  addEventListener('dragleave', (event) => { if (event.dataTransfer.types.includes('Files')) over(-1); });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => { event.preventDefault(); over(0); take(event); });

  $('import-stop').addEventListener('click', () => importer.stop());
  importer.addEventListener('progress', ({ detail: { total, done, name } }) => {
    const left = done < total;
    document.body.classList.toggle('importing', left);
    $('import-words').textContent = total === 1 ? 'Adding a photo…' : `Adding ${Math.min(done + 1, total)} of ${total} photos…`;
    $('import-name').textContent = name ?? '';
    $('import-progress').max = total || 1;
    $('import-progress').value = done;
  });
  importer.addEventListener('finished', ({ detail }) => {
    document.body.classList.remove('importing');
    say(importReport(detail), { error: Boolean(detail.failed), seconds: 8 });
    if (detail.added.length) navigator.storage?.persist?.().catch(() => {}); // asked once there is something to keep
  });
  addEventListener('beforeunload', (event) => {
    if (document.body.classList.contains('importing')) event.preventDefault();
  });
}

// States worth a word to who cannot see them. Numbers that change within one are not.
const SPOKEN = ['idle', 'offline', 'waiting', 'sign-in', 'paused', 'full', 'refused', 'failed'];

function syncing({ sync, memory, settings, signIn, store }) {
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

  const asked = query.get('server');
  if (!asked) {
    if (memory.url) sync.connect(memory.url);
    return;
  }
  let url;
  try {
    url = parseServer(asked, { before: memory.url });
  } catch (error) {
    say(`The server in the page's address cannot be used. ${error.message}`, { error: true });
    return;
  }
  query.set('server', shown(url)); // a password does not stay in the address bar
  history.replaceState(null, '', `?${query}${location.hash}`);
  if (mayConnectUnasked(url, { remembered: memory.url, empty: store.photos.length === 0 })) {
    memory.url = url;
    sync.connect(url);
  } else {
    settings.open({ url, note: `This link asks to copy the ${count(store.photos.length, 'photo')} on this device to this server. Connect only if you know whose it is.` });
  }
}

start();
