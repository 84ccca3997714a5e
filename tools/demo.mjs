#!/usr/bin/env node
// `make demo`: a CouchDB-compatible server and the gallery on this machine,
// until Ctrl-C. With COUCHDB_URL set, that server is used and none is started;
// otherwise the server keeps its data in DEMO_DIR (target/demo/couch).
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { couchClient, splitCredentials, startPouchServer } from './lib/couch.mjs';
import { TARGET, inRoot } from './lib/paths.mjs';
import { freePort } from './lib/ports.mjs';
import { bold, dim, note, step } from './lib/say.mjs';
import { startStaticServer } from './lib/static.mjs';

const DATABASE = 'photos';
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
  const res = await fetch(`${server.url}/${DATABASE}`, {
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

function startSeeding(server) {
  const child = spawn(process.execPath, [inRoot('tools/seed.mjs'), `${server.url}/${DATABASE}`], {
    env: { ...process.env, SEED_AUTH: server.auth ? `${server.auth.username}:${server.auth.password}` : '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  toStop.push(() => child.kill());
  child.stdout.setEncoding('utf8').on('data', (text) => note(text.trim()));
}

async function main() {
  const server = process.env.COUCHDB_URL ? await yourServer(process.env.COUCHDB_URL) : await ownServer();
  if (stopping) return;

  const database = new URL(`${server.url}/${DATABASE}`);
  let link = `/?server=${encodeURIComponent(database.href)}`;
  const redirects = {};
  if (server.auth) {
    // The page gets the name and password, the terminal does not.
    database.username = server.auth.username;
    database.password = server.auth.password;
    link = `/open/${randomBytes(8).toString('hex')}`;
    redirects[link] = `/?server=${encodeURIComponent(database.href)}`;
  }
  const gallery = await startStaticServer({ port: await freePort(8080), redirects });
  toStop.push(gallery.stop);

  // A database that has something in it is somebody's; it is not added to.
  const info = server.own ? null : await couchClient(server).request('GET', `/${DATABASE}`);
  const seeding = server.own || info.status === 404 || info.json?.doc_count === 0;
  if (seeding) startSeeding(server);

  console.log('');
  console.log(`  ${bold('The gallery')}   ${bold(gallery.origin + link)}`);
  console.log(`  The server    ${server.url}/${DATABASE}${server.own ? '' : '  (yours, from COUCHDB_URL)'}`);
  console.log('');
  console.log('  Open the gallery in two browsers and add a photo in one of them.');
  console.log(dim('  Ctrl-C stops everything.'));
  console.log('');
  if (seeding && !server.own) note(`A few drawn photos are being added to ${DATABASE}, which was ${info.status === 404 ? 'not there yet' : 'empty'}.`);

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
