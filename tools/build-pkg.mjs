#!/usr/bin/env node
// Builds the npm package in pkg/: cargo (release, wasm32) -> wasm-bindgen
// (--target web) -> wasm-opt. Prints the sizes.
//
//   --check    fail when the package is over its size budget
//   --compare  also print what each wasm-opt level would give
//   --brief    no sizes when there was nothing to do
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { homedir } from 'node:os';
import { PKG, ROOT, TARGET, inRoot } from './lib/paths.mjs';
import { fail, note, step } from './lib/say.mjs';
import { compressed, overBudget, sizeTable } from './lib/sizes.mjs';

const flags = new Set(process.argv.slice(2));
// -Os and -Oz come out within 0.3 % of each other (brotli), -Os in half the time.
const LEVEL = process.env.WASM_OPT || '-Os';
// LLVM has inlined what is worth it. What Binaryen adds (every function with one caller) is 5 % more in brotli.
const INLINED = '--skip-pass=inlining-optimizing';
const LEVELS = ['-Oz', '-Os', '-O2', '-O3'];
// What rustc turns on for wasm32-unknown-unknown, and nothing else.
const FEATURES = ['--mvp-features', '--enable-bulk-memory', '--enable-bulk-memory-opt', '--enable-multivalue',
  '--enable-mutable-globals', '--enable-nontrapping-float-to-int', '--enable-reference-types', '--enable-sign-ext'];

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options });
  if (done.error) fail(`${command} could not be started: ${done.error.message}`);
  if (done.signal) process.exit(1);
  if (done.status !== 0) fail(`${path.basename(command)} failed (exit code ${done.status})`);
}

const version = spawnSync(inRoot('tools/wasm-bindgen-version.sh'), { encoding: 'utf8' }).stdout.trim();
const bindgen = path.join(TARGET, 'tools', `wasm-bindgen-${version}`, 'bin/wasm-bindgen');
const wasmOpt = inRoot('node_modules/binaryen/bin/wasm-opt');
const esbuild = inRoot('node_modules/.bin/esbuild');
if (!existsSync(bindgen)) fail(`wasm-bindgen ${version} is not installed; run \`make setup\``);
for (const tool of [wasmOpt, esbuild]) if (!existsSync(tool)) fail(`${path.basename(tool)} is not installed; run \`make setup\``);

step('Building the package in pkg/');
// Panic messages carry source paths; the package must not carry this machine's.
const cargoHome = process.env.CARGO_HOME || path.join(homedir(), '.cargo');
const remap = [[cargoHome, '/cargo'], [ROOT, '/settee']].map(([from, to]) => `--remap-path-prefix=${from}=${to}`);
// For what is compiled for speed (Cargo.toml). When that was everything, LLVM's own threshold (225) made it 8 %
// larger in brotli.
const inline = '-Cllvm-args=-inline-threshold=50';
const inherited = process.env.CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS || '';
run('cargo', ['build', '--release', '--lib', '--target', 'wasm32-unknown-unknown'], {
  env: {
    ...process.env,
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: [inherited, inline, ...remap].join(' ').trim(),
    // wasm-bindgen reads the target_features section; wasm-opt strips below.
    CARGO_PROFILE_RELEASE_STRIP: 'none',
  },
});

const compiled = path.join(TARGET, 'wasm32-unknown-unknown/release/settee.wasm');
const generated = path.join(PKG, 'generated');
const wasm = path.join(PKG, 'settee.wasm');
const stamp = path.join(generated, '.built-from');
const key = createHash('sha256').update(readFileSync(compiled)).update(`${version} ${LEVEL} ${INLINED} ${FEATURES}`)
  .update(readFileSync(inRoot('node_modules/binaryen/package.json'))).update(readFileSync(inRoot('tools/build-pkg.mjs'))).digest('hex');
const fresh = existsSync(wasm) && existsSync(stamp) && readFileSync(stamp, 'utf8') === key;

if (!fresh || flags.has('--compare')) {
  const work = path.join(TARGET, 'pkg-work');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  // The loader names the .wasm itself, so the glue must not.
  run(bindgen, [compiled, '--target', 'web', '--no-typescript', '--omit-default-module-path', '--remove-producers-section',
    '--out-dir', work, '--out-name', 'settee_glue']);
  const bound = path.join(work, 'settee_glue_bg.wasm');
  const optimise = (level, output) => run(process.execPath, [wasmOpt, ...FEATURES, level, INLINED, '--strip-debug', '--strip-producers', '--strip-target-features', bound, '-o', output]);

  if (flags.has('--compare')) {
    step('wasm-opt levels');
    for (const level of LEVELS) {
      const output = path.join(work, `settee${level}.wasm`);
      const began = performance.now();
      optimise(level, output);
      const { raw, gzip, brotli } = compressed(readFileSync(output));
      note(`${level.padEnd(4)} ${raw} raw, ${gzip} gzip, ${brotli} brotli (${((performance.now() - began) / 1000).toFixed(1)} s)`);
      rmSync(output);
    }
  }
  step(`Optimising (wasm-opt ${LEVEL})`);
  const optimised = path.join(work, 'settee.wasm');
  optimise(LEVEL, optimised);
  // The glue is private and generated; nobody reads it in the package.
  const glue = path.join(work, 'settee_glue.js');
  run(esbuild, [glue, '--minify', '--format=esm', '--target=es2022', '--log-level=warning', `--outfile=${glue}`, '--allow-overwrite']);
  rmSync(bound);
  rmSync(generated, { recursive: true, force: true });
  // Only complete results reach pkg/; the stamp comes last.
  renameSync(optimised, wasm);
  renameSync(work, generated);
  writeFileSync(stamp, key);
}
copyFileSync(inRoot('LICENSE'), path.join(PKG, 'LICENSE'));

if (!(fresh && flags.has('--brief'))) console.log(sizeTable());
if (flags.has('--check')) {
  const manifest = JSON.parse(readFileSync(path.join(PKG, 'package.json'), 'utf8'));
  const crate = /^version = "(.*)"$/m.exec(readFileSync(inRoot('Cargo.toml'), 'utf8'))[1];
  if (manifest.version !== crate) fail(`pkg/package.json is version ${manifest.version}, Cargo.toml ${crate}`);
  const over = overBudget();
  if (over.length) fail(`over budget: ${over.join('; ')}`);
}
