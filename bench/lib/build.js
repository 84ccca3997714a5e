// esbuild: the page bundle of a contender, and the size of its minimal app.
import * as esbuild from 'esbuild';
import { gzipSync, brotliCompressSync, constants } from 'node:zlib';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const common = {
  bundle: true,
  write: false,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  legalComments: 'none',
  logLevel: 'error',
  absWorkingDir: ROOT,
  define: { global: 'globalThis', 'process.env.NODE_ENV': '"production"' },
  loader: { '.wasm': 'file' },
};

// Optional contenders/<name>.config.json:
//   alias      bare import names, and the file each stands for
//   files      files served beside the page, by name (a .wasm file)
//   bundles    modules beside the page (workers), by name
//   headers    extra response headers for the page (for cross-origin isolation)
//   sizeFiles  files, relative to bench/, that count into the bundle size
export function configOf(name) {
  const file = path.join(ROOT, 'contenders', `${name}.config.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
}

const aliasOf = (name) => Object.fromEntries(Object.entries(configOf(name).alias || {}).map(([from, to]) => [from, path.join(ROOT, to)]));

// page: 'growth' for page/growth.js alone, otherwise the harness with the contender.
export async function buildPage(name, { minify = true, page = 'harness' } = {}) {
  const result = await esbuild.build({
    ...common,
    minify,
    alias: aliasOf(name),
    outdir: 'out',
    stdin: {
      contents: page === 'harness'
        ? `import contender from './contenders/${name}.js';\nimport { install } from './page/harness.js';\ninstall(contender);`
        : `import './page/${page}.js';`,
      resolveDir: ROOT,
      sourcefile: 'app.js',
    },
  });
  const files = new Map();
  for (const f of result.outputFiles) {
    const rel = path.relative(path.join(ROOT, 'out'), f.path);
    files.set(rel === 'stdin.js' ? 'app.js' : rel, Buffer.from(f.contents));
  }
  const { files: copied = {}, bundles = {} } = configOf(name);
  for (const [served, file] of Object.entries(copied)) files.set(served, readFileSync(path.join(ROOT, file)));
  for (const [served, file] of Object.entries(bundles)) {
    const { outputFiles: [built] } = await esbuild.build({ ...common, minify, outdir: 'out', entryPoints: [path.join(ROOT, file)] });
    files.set(served, Buffer.from(built.contents));
  }
  return files;
}

export async function bundleSize(name, app = name) {
  const entry = path.join(ROOT, 'apps', `${app}.js`);
  if (!existsSync(entry)) return null;
  const result = await esbuild.build({ ...common, minify: true, alias: aliasOf(name), outdir: 'out', entryPoints: [entry] });
  const buffers = result.outputFiles.map((f) => Buffer.from(f.contents));
  for (const f of configOf(name).sizeFiles || []) buffers.push(readFileSync(path.join(ROOT, f)));
  let min = 0, gzip = 0, brotli = 0;
  for (const b of buffers) {
    min += b.length;
    gzip += gzipSync(b, { level: 9 }).length;
    brotli += brotliCompressSync(b, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: b.length } }).length;
  }
  return { min, gzip, brotli };
}
