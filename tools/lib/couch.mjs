// The CouchDB-compatible server that the demo, the tests and the benchmarks
// talk to: npm pouchdb-server as a child process, or the one COUCHDB_URL names.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { inRoot } from './paths.mjs';
import { freePort } from './ports.mjs';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Starts pouchdb-server. storage: 'memory', 'leveldb' (a temporary folder,
// removed by close()), or { dir } to keep the data. stop() and start() keep
// the port (and, but for memory, the data); close() ends it for good.
export async function startPouchServer({ storage = 'memory', port: wanted = 0 } = {}) {
  const require = createRequire(inRoot('package.json'));
  let manifest;
  try { manifest = require.resolve('pouchdb-server/package.json'); } catch {
    throw new Error('pouchdb-server is not installed; run `npm ci --ignore-scripts` first');
  }
  const bin = path.join(path.dirname(manifest), 'bin/pouchdb-server');
  const work = mkdtempSync(path.join(tmpdir(), 'settee-couch-'));
  const data = storage.dir ? path.resolve(storage.dir) : path.join(work, 'data');
  mkdirSync(data, { recursive: true });
  const port = await freePort(wanted);
  const url = `http://127.0.0.1:${port}`;
  const logFile = path.join(work, 'output.txt');
  let child = null;
  let gone = Promise.resolve();

  const killNow = () => child?.kill('SIGKILL');
  process.on('exit', killNow);

  async function start() {
    if (child) return;
    const log = openSync(logFile, 'a');
    const preload = pathToFileURL(inRoot('tools/lib/exit-with-parent.mjs')).href;
    // The log file and config.json land in cwd; -n keeps the log off stdout.
    const args = ['--no-deprecation', '--import', preload, bin, '-o', '127.0.0.1', '-p', String(port), '-n'];
    args.push(...(storage === 'memory' ? ['-m'] : ['-d', data]));
    const started = spawn(process.execPath, args, { cwd: work, stdio: ['ignore', log, log, 'ipc'] });
    closeSync(log);
    started.channel?.unref();
    child = started;
    gone = new Promise((resolve) => started.once('exit', () => { if (child === started) child = null; resolve(); }));
    const deadline = Date.now() + 30_000;
    for (;;) {
      const ready = await fetch(url).then((res) => res.ok, () => false);
      if (ready && child === started) return;
      if (child !== started || Date.now() > deadline) {
        const output = readFileSync(logFile, 'utf8').trim().split('\n').slice(-8).join('\n');
        await stop();
        throw new Error(`pouchdb-server did not start on port ${port}:\n${output}`);
      }
      await sleep(50);
    }
  }
  async function stop() {
    if (!child) return;
    const stopping = child;
    stopping.kill('SIGTERM');
    const hard = setTimeout(() => stopping.kill('SIGKILL'), 3000);
    await gone;
    clearTimeout(hard);
  }
  async function close() {
    await stop();
    process.off('exit', killNow);
    rmSync(work, { recursive: true, force: true, maxRetries: 5 });
  }
  try { await start(); } catch (error) { await close(); throw error; }
  return { url, port, start, stop, close };
}

// An address with a user and password in it, taken apart.
export function splitCredentials(raw) {
  let parsed;
  try { parsed = new URL(raw); } catch { throw new Error('COUCHDB_URL is not a URL; it looks like http://user:password@127.0.0.1:5984'); }
  if (!/^https?:$/.test(parsed.protocol)) throw new Error('COUCHDB_URL must begin with http:// or https://');
  const auth = parsed.username
    ? { username: decodeURIComponent(parsed.username), password: decodeURIComponent(parsed.password) }
    : null;
  parsed.username = '';
  parsed.password = '';
  parsed.search = '';
  parsed.hash = '';
  return { url: parsed.href.replace(/\/+$/, ''), auth };
}

export function basicAuth(auth) {
  return auth ? { authorization: 'Basic ' + Buffer.from(`${auth.username}:${auth.password}`).toString('base64') } : {};
}

// A small HTTP client: request() answers { status, json }, must() throws on
// any status of 400 and above, naming method, path and reason.
export function couchClient({ url, auth = null }) {
  async function request(method, urlPath, body, headers = {}) {
    const raw = body instanceof Uint8Array || typeof body === 'string';
    const res = await fetch(url + urlPath, {
      method,
      headers: {
        accept: 'application/json',
        ...basicAuth(auth),
        ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || raw ? body : JSON.stringify(body),
    });
    const text = await res.text();
    let json = null;
    try { json = JSON.parse(text); } catch { /* an attachment, or no body */ }
    return { status: res.status, json, text, headers: res.headers };
  }
  async function must(method, urlPath, body, headers) {
    const { status, json, text } = await request(method, urlPath, body, headers);
    if (status >= 400) throw new Error(`${method} ${urlPath} answered ${status}: ${json?.reason || text.slice(0, 200)}`);
    return json;
  }
  return { request, must };
}
