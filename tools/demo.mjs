#!/usr/bin/env node
// `make demo`: a CouchDB-compatible server and the gallery on this machine,
// until Ctrl-C. With COUCHDB_URL set, that server is used and none is started;
// otherwise the server keeps its data in DEMO_DIR (target/demo/couch).
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { couchClient, splitCredentials, startPouchServer } from './lib/couch.mjs';
import { PKG, TARGET, WWW, inRoot } from './lib/paths.mjs';
import { freePort } from './lib/ports.mjs';
import { SAMPLES } from './lib/samples.mjs';
import { bold, dim, note, step } from './lib/say.mjs';
import { startStaticServer } from './lib/static.mjs';

const PRIVATE = 'gallery';
const CLEAR = 'photos';
const toStop = [];
let stopping = null;

function stopAll(code) {
  stopping ??= (async () => {
    await Promise.allSettled(toStop.reverse().map((stop) => stop()));
    process.exit(code);
  })();
  return stopping;
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (stopping) process.exit(1); // asked twice: at once
    console.log('\nStopping.');
    stopAll(0);
  });
}

// LevelDB is for one process at a time. Whether the folder is ours from now on.
function claim(dir) {
  mkdirSync(dir, { recursive: true });
  const lock = path.join(dir, 'demo.pid');
  const alive = (pid) => { try { process.kill(pid, 0); return true; } catch (error) { return error.code === 'EPERM'; } };
  try {
    const holder = Number(readFileSync(lock, 'utf8'));
    if (holder && alive(holder)) return false;
  } catch (error) { if (error.code !== 'ENOENT') throw error; }
  writeFileSync(lock, `${process.pid}\n`);
  process.on('exit', () => rmSync(lock, { force: true }));
  return true;
}

async function ownServer() {
  const dir = path.resolve(process.env.DEMO_DIR || path.join(TARGET, 'demo/couch'));
  const mine = claim(dir);
  if (!mine) note('Another demo uses the stored data, so this one begins with an empty server.');
  const server = await startPouchServer({ storage: mine ? { dir } : 'memory', port: 5984 });
  toStop.push(server.close);
  return { url: server.url, auth: null, own: true };
}

async function yourServer(raw) {
  const { url, auth } = splitCredentials(raw);
  let answer;
  try { answer = await couchClient({ url, auth }).request('GET', '/'); } catch (error) {
    throw new Error(`no server answers at ${url} (${error.cause?.code || error.message}); is it running, and is COUCHDB_URL right?`);
  }
  if (answer.status === 401) {
    throw new Error(auth ? `the server at ${url} refuses the name and password in COUCHDB_URL`
      : `the server at ${url} wants a name and password: COUCHDB_URL=http://name:password@…`);
  }
  if (answer.status >= 400 || !answer.json) throw new Error(`what answers at ${url} is not a CouchDB (status ${answer.status})`);
  return { url, auth, own: false };
}

// What keeps pages of this origin from talking to the server; [] if nothing.
async function corsProblems(server, origin) {
  const problems = [];
  const res = await fetch(`${server.url}/${PRIVATE}`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'authorization,content-type' },
  }).catch(() => null);
  const list = (name) => (res?.headers.get(name) || '').toLowerCase().split(/\s*,\s*/);
  const allowed = res?.headers.get('access-control-allow-origin');
  if (allowed !== '*' && allowed !== origin) problems.push(`origins = ${origin}`);
  const methods = list('access-control-allow-methods');
  if (!methods.includes('put') || !methods.includes('delete')) problems.push('methods = GET, PUT, POST, HEAD, DELETE');
  const headers = list('access-control-allow-headers');
  if (!headers.includes('authorization') || !headers.includes('content-type')) {
    problems.push('headers = accept, authorization, content-type, origin, referer');
  }
  if (server.auth && res?.headers.get('access-control-allow-credentials') !== 'true') problems.push('credentials = true');
  return problems;
}

// Draws the photos, and puts them into the gallery that is not sealed if `into` it is wanted.
function startSeeding(server, into) {
  const child = spawn(process.execPath, [inRoot('tools/seed.mjs'), ...into ? [`${server.url}/${CLEAR}`] : []], {
    env: { ...process.env, SEED_AUTH: server.auth ? `${server.auth.username}:${server.auth.password}` : '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  toStop.push(() => child.kill());
  child.stdout.setEncoding('utf8').on('data', (text) => note(text.trim()));
}

async function main() {
  const server = process.env.COUCHDB_URL ? await yourServer(process.env.COUCHDB_URL) : await ownServer();
  if (stopping) return;

  // The private gallery begins empty: nobody but a device of its owner can put something into it.
  const created = await couchClient(server).request('PUT', `/${PRIVATE}`);
  if (![200, 201, 202, 412].includes(created.status)) throw new Error(`the database ${PRIVATE} could not be created: ${created.json?.reason || created.status}`);

  const redirects = {};
  const linkTo = (name) => {
    const database = new URL(`${server.url}/${name}`);
    const address = () => `/?db=${name}&samples=/samples/&server=${encodeURIComponent(database.href)}`;
    if (!server.auth) return address();
    // The page gets the name and password, the terminal does not.
    database.username = server.auth.username;
    database.password = server.auth.password;
    const link = `/open/${randomBytes(8).toString('hex')}`;
    redirects[link] = address();
    return link;
  };
  const links = { private: linkTo(PRIVATE), clear: linkTo(CLEAR) };
  mkdirSync(SAMPLES, { recursive: true });
  const gallery = await startStaticServer({ port: await freePort(8080), redirects, mounts: { '/settee/': PKG, '/samples/': SAMPLES, '/': WWW } });
  toStop.push(gallery.stop);

  // A database that has something in it is somebody's; it is not added to.
  const info = server.own ? null : await couchClient(server).request('GET', `/${CLEAR}`);
  const seeding = server.own || info.status === 404 || info.json?.doc_count === 0;
  startSeeding(server, seeding);

  console.log('');
  console.log(`  ${bold('The gallery')}   ${bold(gallery.origin + links.private)}`);
  console.log(`  Not sealed    ${gallery.origin + links.clear}`);
  console.log(`  The server    ${server.url}/${PRIVATE}${server.own ? '' : '  (yours, from COUCHDB_URL)'}`);
  console.log('');
  console.log('  Open the gallery in two browsers: start it in one, open it in the other with the recovery code.');
  console.log('  Add a photo in one of them.');
  console.log(dim('  Ctrl-C stops everything.'));
  console.log('');
  if (seeding && !server.own) note(`A few drawn photos are being added to ${CLEAR}, which was ${info.status === 404 ? 'not there yet' : 'empty'}.`);

  if (!server.own) {
    const problems = await corsProblems(server, gallery.origin);
    if (problems.length) {
      step('The server does not let the page in (CORS). Its configuration needs:');
      console.log(['[chttpd]', 'enable_cors = true', '[cors]', ...problems].map((line) => `      ${line}`).join('\n'));
      note('Nothing was changed there. The gallery works meanwhile, without syncing.');
    }
  }
}

main().catch(async (error) => {
  console.error(`error: ${error.message}`);
  await stopAll(1);
});
