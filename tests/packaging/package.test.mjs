// The package as its users get it: packed with npm, installed from the tarball
// into an empty project, then used from there in every place it claims to work.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { PKG, inRoot } from '../../tools/lib/paths.mjs';
import { overBudget } from '../../tools/lib/sizes.mjs';
import { startStaticServer } from '../../tools/lib/static.mjs';
import { launchBrowser } from '../e2e/lib/index.mjs';
import { exercise, EXPECTED } from './exercise.mjs';

const run = promisify(execFile);
const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];

let project; // an empty project that has only settee in it
let packed; // what npm said about the tarball
let server;
let browser;

before(async () => {
  project = mkdtempSync(path.join(tmpdir(), 'settee-packaging-'));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project, ...quiet], { cwd: PKG });
  const answer = JSON.parse(stdout);
  // npm 12 answers an object by package name, earlier ones a list.
  packed = Array.isArray(answer) ? answer[0] : Object.values(answer)[0];
  writeFileSync(path.join(project, 'package.json'), '{"private":true,"type":"module"}\n');
  await run('npm', ['install', '--ignore-scripts', '--offline', ...quiet, `./${packed.filename}`], { cwd: project });

  const main = '/settee/settee.js';
  const source = `import { Database } from '${main}';\n${exercise}\nconst work = (storage) => exercise(Database, storage);\n`;
  const site = path.join(project, 'site');
  mkdirSync(site);
  writeFileSync(path.join(site, 'worker.js'), `${source}
    const answer = (reply) => work('indexeddb').then((got) => reply({ got }), (error) => reply({ error: String(error) }));
    self.addEventListener('message', (event) => answer((message) => (event.ports[0] ?? self).postMessage(message)));
    self.addEventListener('connect', (event) => answer((message) => event.ports[0].postMessage(message)));
    self.addEventListener('install', () => self.skipWaiting());
  `);
  server = await startStaticServer({
    mounts: { '/': site, '/settee/': path.join(project, 'node_modules/settee') },
    pages: {
      // A bare page: no bundler, no import map.
      '/page.html': `<!doctype html><meta charset="utf-8"><title>page</title><link rel="icon" href="data:,">
        <script type="module">${source}
          const answer = document.createElement('output');
          const show = (message) => { answer.value = JSON.stringify(message); document.body.append(answer); };
          work('indexeddb').then((got) => show({ got }), (error) => show({ error: String(error) }));
        </script>`,
      '/empty.html': '<!doctype html><meta charset="utf-8"><title>empty</title><link rel="icon" href="data:,">',
    },
  });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  if (project) rmSync(project, { recursive: true, force: true });
});

const manifest = () => JSON.parse(readFileSync(path.join(project, 'node_modules/settee/package.json'), 'utf8'));

test('the tarball holds what a user needs and nothing else', () => {
  const files = packed.files.map((file) => file.path).sort();
  for (const needed of ['LICENSE', 'package.json', 'settee.js', 'settee.d.ts', 'settee.wasm']) {
    assert.ok(files.includes(needed), `${needed} is not in the tarball, which has ${files.join(', ')}`);
  }
  assert.equal(files.filter((name) => name.endsWith('.wasm')).length, 1, 'one .wasm file');
  const strange = files.filter((name) => !/(^|\/)(LICENSE|README\.md|package\.json|[\w.-]+\.(js|d\.ts|wasm))$/.test(name));
  assert.deepEqual(strange, []);
});

test('the manifest asks for no other package and runs no script', () => {
  const { dependencies = {}, peerDependencies = {}, optionalDependencies = {}, scripts = {}, type, name, license } = manifest();
  assert.equal(name, 'settee');
  assert.equal(type, 'module');
  assert.equal(license, 'Apache-2.0');
  assert.deepEqual({ ...dependencies, ...peerDependencies, ...optionalDependencies }, {});
  const atInstall = Object.keys(scripts).filter((key) => /install|prepare/.test(key));
  assert.deepEqual(atInstall, []);
});

test('every path the manifest names is in the tarball', () => {
  const { exports, types, main } = manifest();
  const named = [];
  const collect = (value) => {
    if (typeof value === 'string') named.push(value);
    else if (value) Object.values(value).forEach(collect);
  };
  [exports, types, main].forEach(collect);
  const files = new Set(packed.files.map((file) => file.path));
  const missing = named.filter((value) => !value.includes('*') && !files.has(value.replace(/^\.\//, '')));
  assert.deepEqual(missing, []);
});

test('versions agree', () => {
  const crate = /^version = "(.*)"$/m.exec(readFileSync(inRoot('Cargo.toml'), 'utf8'))[1];
  assert.equal(manifest().version, crate);
  const loader = /version = \{ version: '([^']*)'/.exec(readFileSync(path.join(PKG, 'settee.js'), 'utf8'))?.[1];
  assert.equal(loader, crate, 'the version that settee.js exports');
});

test('no path of the machine it was built on is in the package', () => {
  const { HOME = '/root' } = process.env;
  for (const file of packed.files) {
    const bytes = readFileSync(path.join(project, 'node_modules/settee', file.path));
    for (const trace of [inRoot(''), path.join(HOME, '.cargo')]) {
      assert.ok(!bytes.includes(trace), `${file.path} names a folder of this machine`);
    }
  }
});

test('it is within its size budget', () => {
  assert.deepEqual(overBudget(), []);
});

test('Node: memory storage, and the process ends by itself', { timeout: 60_000 }, async () => {
  writeFileSync(path.join(project, 'main.js'), `import { Database } from 'settee';
    ${exercise}
    exercise(Database, 'memory').then((got) => console.log(JSON.stringify(got)));
  `);
  const { stdout, stderr } = await run(process.execPath, ['main.js'], { cwd: project, timeout: 30_000 });
  assert.deepEqual(JSON.parse(stdout), EXPECTED);
  assert.equal(stderr, '');
});

test('Node: a sealed channel, with its keys in memory', { timeout: 60_000 }, async () => {
  writeFileSync(path.join(project, 'sealed.js'), `import { Database, Vault } from 'settee';
    const { vault, recoveryCode } = await Vault.create({ passphrase: 'of this test' });
    const db = await Database.open('sealed', { vault, create: true });
    await db.put({ _id: 'a', text: 'canary' });
    const clear = await Database.open('clear');
    await db.replicate.to(clear);
    const copy = await Database.open('copy', { sealed: true });
    await copy.replicate.from(clear);
    vault.lock();
    const locked = await db.get('a').catch((error) => error.name);
    const device = await Vault.unlock({ recoveryCode }).then(() => vault.stayUnlocked(true)).catch((error) => error.name);
    await Database.open('copy', { vault });
    console.log(JSON.stringify([locked, device, (await db.get('a')).text, (await copy.get('a')).text,
      JSON.stringify(await clear.allDocs({ include_docs: true })).includes('canary')]));
  `);
  const { stdout, stderr } = await run(process.execPath, ['sealed.js'], { cwd: project, timeout: 30_000 });
  assert.deepEqual(JSON.parse(stdout), ['locked', 'device_unavailable', 'canary', 'canary', false]);
  assert.equal(stderr, '');
});

test('Node: IndexedDB storage is refused with an error', async () => {
  writeFileSync(path.join(project, 'refused.js'), `import { Database } from 'settee';
    Database.open('nowhere', { storage: 'indexeddb' }).then(
      () => console.log('opened'),
      (error) => console.log(error instanceof Error && error.message.length > 10 ? 'refused' : 'unclear: ' + error),
    );
  `);
  const { stdout } = await run(process.execPath, ['refused.js'], { cwd: project, timeout: 30_000 });
  assert.equal(stdout.trim(), 'refused');
});

test('a bare <script type="module">', { timeout: 60_000 }, async () => {
  const { page } = browser;
  await page.goto(`${server.origin}/page.html`);
  const text = await page.locator('output').textContent({ timeout: 30_000 });
  assert.deepEqual(JSON.parse(text), { got: EXPECTED });
});

const PLACES = {
  'a dedicated worker': () => new Promise((resolve, reject) => {
    const worker = new Worker('/worker.js', { type: 'module' });
    worker.onmessage = (event) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message || 'the worker did not load'));
    worker.postMessage('go');
  }),
  'a shared worker': () => new Promise((resolve, reject) => {
    const worker = new SharedWorker('/worker.js', { type: 'module' });
    worker.onerror = (event) => reject(new Error(event.message || 'the worker did not load'));
    worker.port.onmessage = (event) => resolve(event.data);
    worker.port.start();
  }),
  'a service worker': async () => {
    await navigator.serviceWorker.register('/worker.js', { type: 'module' });
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    const answered = new Promise((resolve) => { port1.onmessage = (event) => resolve(event.data); });
    active.postMessage('go', [port2]);
    return answered;
  },
};
for (const [place, inPage] of Object.entries(PLACES)) {
  test(place, { timeout: 60_000 }, async () => {
    const { page } = browser;
    await page.goto(`${server.origin}/empty.html`);
    assert.deepEqual(await page.evaluate(inPage), { got: EXPECTED });
  });
}

test('no page raised an error', () => {
  assert.deepEqual(browser.errors, []);
});
