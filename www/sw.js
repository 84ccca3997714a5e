// Keeps the page itself, so that it opens without a connection. It knows its own files and touches nothing else:
// neither photos nor what goes to a server.
//
// Files come from the network while there is one, so a new version is there at the next load, and are kept for when
// there is none. A page whose first file came from what is kept takes the others from there as well: no two versions
// are mixed.

const KEPT = 'settee-page-1';
const PATIENCE = 4000; // milliseconds that a page waits for the network before it takes what is kept

// What is loaded later is here too (keys, other tabs): without a connection it would be missing when it is needed.
const FILES = [
  './', 'icon.svg', 'manifest.webmanifest', 'private.html', 'style.css',
  'app.js', 'aside.js', 'door.js', 'exif.js', 'files.js', 'grid.js', 'import.js', 'justify.js', 'keys.js', 'prepare-worker.js',
  'prepare.js', 'privacy.js', 'say.js', 'server.js', 'settings.js', 'sha256.js', 'sign-in.js', 'standing.js', 'store.js',
  'strength.js', 'sync.js', 'tile.js', 'viewer.js', 'words.js',
  'settee/settee.js', 'settee/settee.wasm', 'settee/generated/settee_glue.js',
  'settee/lib/argon2.js', 'settee/lib/feed.js', 'settee/lib/json.js', 'settee/lib/leader.js', 'settee/lib/live.js', 'settee/lib/vault.js',
];
const OURS = new Set(FILES.map((file) => new URL(file, registration.scope).href));
const INDEX = new URL('index.html', registration.scope).href;

const withoutNetwork = new Set(); // pages that began with what is kept

/** The address under which a file is kept: without what is asked in it (the gallery's name, a server). */
function ourName(url) {
  const plain = new URL(url);
  plain.search = plain.hash = '';
  const name = plain.href === INDEX ? registration.scope : plain.href;
  return OURS.has(name) ? name : null;
}

addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(KEPT);
    await cache.addAll([...OURS].map((url) => new Request(url, { cache: 'no-cache' })));
    await skipWaiting();
  })());
});

addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith('settee-page-') && name !== KEPT) await caches.delete(name);
    await clients.claim();
  })());
});

async function fresh(event, name, kept) {
  const answer = await fetch(event.request);
  // Not an error, nor a hotel's login page.
  if (!answer.ok || answer.redirected || answer.type !== 'basic') throw new Error(`${name}: ${answer.status}`);
  const tag = answer.headers.get('etag');
  if (!tag || tag !== kept?.headers.get('etag')) {
    const copy = answer.clone();
    event.waitUntil(caches.open(KEPT).then((cache) => cache.put(name, copy)));
  }
  return answer;
}

async function answer(event, name) {
  const { request, clientId, resultingClientId } = event;
  const kept = await (await caches.open(KEPT)).match(name);
  if (kept && withoutNetwork.has(clientId)) return kept;
  const isPage = request.mode === 'navigate';
  const coming = fresh(event, name, kept);
  if (!kept) return coming;
  event.waitUntil(coming.catch(() => {}));
  try {
    if (!isPage) return await coming;
    return await Promise.race([coming, new Promise((_, reject) => { setTimeout(reject, PATIENCE, new Error('slow')); })]);
  } catch {
    if (isPage && resultingClientId) withoutNetwork.add(resultingClientId);
    return kept;
  }
}

addEventListener('fetch', (event) => {
  const name = event.request.method === 'GET' && ourName(event.request.url);
  if (name) event.respondWith(answer(event, name));
});
