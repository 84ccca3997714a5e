#!/usr/bin/env node
// Runs the test suites one after another and ends with each runner's own
// closing lines. `make test` prepares what they need.
//
//   node tools/test.mjs [native] [format] [browser] [e2e] [packaging]
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { ROOT, TARGET, inRoot } from './lib/paths.mjs';
import { fail, step } from './lib/say.mjs';

const SUITES = {
  native: {
    title: 'Native tests (cargo test)',
    command: () => ['cargo', ['test', '--no-fail-fast']],
  },
  format: { title: 'Format tests (what is sealed, by another implementation)', command: () => nodeTests('tests/format') },
  browser: {
    title: 'Browser tests (wasm-bindgen-test in headless Chromium)',
    command: () => ['cargo', ['test', '--target', 'wasm32-unknown-unknown', '--no-fail-fast'], {
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER: testRunner(),
      CHROMEDRIVER: process.env.CHROMEDRIVER || '/usr/bin/chromedriver',
      WASM_BINDGEN_TEST_TIMEOUT: process.env.WASM_BINDGEN_TEST_TIMEOUT || '300',
    }],
  },
  e2e: { title: 'End-to-end tests (Playwright, the built package and the gallery)', command: () => nodeTests('tests/e2e') },
  packaging: { title: 'Packaging tests (npm pack, then Node, pages and workers)', command: () => nodeTests('tests/packaging') },
};

function testRunner() {
  const version = spawnSync(inRoot('tools/wasm-bindgen-version.sh'), { encoding: 'utf8' }).stdout.trim();
  const runner = path.join(TARGET, 'tools', `wasm-bindgen-${version}`, 'bin/wasm-bindgen-test-runner');
  if (!existsSync(runner)) fail(`wasm-bindgen-test-runner ${version} is not installed; run \`make setup\``);
  return runner;
}

function nodeTests(folder) {
  const files = existsSync(inRoot(folder)) ? readdirSync(inRoot(folder)).filter((name) => name.endsWith('.test.mjs')).sort() : [];
  if (!files.length) fail(`there are no tests in ${folder}/`);
  // Once all tests of a file are done Node 20 may run in circles while it closes what they left open, for good.
  return [process.execPath, ['--test', '--test-force-exit', '--test-concurrency=1', '--test-reporter=spec', ...files.map((name) => path.join(folder, name))]];
}

// Closing lines: "test result: ok. 12 passed; …" and node's "ℹ pass 12".
const CLOSING = /^(test result: |ℹ (tests|pass|fail|cancelled|skipped|todo|duration_ms) )/;

function runSuite(name) {
  const { title, command } = SUITES[name];
  step(title);
  const [program, args, env = {}] = command();
  return new Promise((resolve) => {
    const closing = [];
    let rest = '';
    const child = spawn(program, args, {
      cwd: ROOT,
      env: { ...process.env, ...(process.stdout.isTTY ? { CARGO_TERM_COLOR: 'always', FORCE_COLOR: '1' } : {}), ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    running = child;
    child.stdout.setEncoding('utf8').on('data', (text) => {
      process.stdout.write(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      // eslint-disable-next-line no-control-regex
      closing.push(...lines.map((line) => line.replace(/\x1b\[[0-9;]*m/g, '')).filter((line) => CLOSING.test(line)));
    });
    child.once('error', (error) => { console.error(`${program}: ${error.message}`); resolve({ name, ok: false, closing }); });
    child.once('close', (code) => resolve({ name, ok: code === 0, closing }));
  });
}

let running = null;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => { running?.kill(signal); process.exitCode = 1; interrupted = true; });
}
let interrupted = false;

const chosen = process.argv.slice(2);
for (const name of chosen) if (!SUITES[name]) fail(`there is no suite ${name}; there are ${Object.keys(SUITES).join(', ')}`);
const results = [];
for (const name of chosen.length ? chosen : Object.keys(SUITES)) {
  if (interrupted) break;
  results.push(await runSuite(name));
}

const failed = results.filter((result) => !result.ok);
step(failed.length ? `Failed: ${failed.map((result) => result.name).join(', ')}` : 'All suites passed');
for (const { name, ok, closing } of results) {
  console.log(`${name}: ${ok ? 'ok' : 'FAILED'}`);
  for (const line of summarised(closing)) console.log(`  ${line}`);
}
if (failed.length || interrupted) process.exitCode = 1;

// cargo prints one closing line a test binary, most of them empty.
function summarised(lines) {
  const full = lines.filter((line) => !/^test result: ok\. 0 passed; 0 failed; 0 ignored/.test(line));
  return full.length ? full : lines.slice(-1);
}
