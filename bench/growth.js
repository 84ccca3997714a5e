#!/usr/bin/env node
// How Settee's costs grow: the same work at 1,000, 10,000 and 100,000
// documents (about 350 bytes each, 36-character ids), per document.
//
//   node bench/growth.js [--sizes 1000,10000,100000] [--out results/growth]
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './lib/browser.js';
import { ROOT, buildPage } from './lib/build.js';
import { startServer } from './lib/server.js';

const { values: args } = parseArgs({
  options: { sizes: { type: 'string', default: '1000,10000,100000' }, out: { type: 'string' } },
});
const sizes = args.sizes.split(',').map(Number);
if (sizes.some((n) => !Number.isInteger(n) || n < 1)) { console.error('--sizes takes whole numbers'); process.exit(2); }

const running = new Set();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await Promise.allSettled([...running].map((stop) => stop()));
    process.exit(1);
  });
}

const pages = new Map([['settee', { files: await buildPage('settee', { page: 'growth' }), config: {} }]]);
const server = await startServer(pages);
running.add(server.stop);
const PAGE = `${server.origin}/c/settee/`;
const started = new Date().toISOString();
let version = '';

// Each measurement on a freshly loaded page, so that nothing is warm.
async function measure(count) {
  const b = await launch();
  running.add(b.stop);
  version = await b.version();
  const fresh = async () => {
    await b.page.goto('about:blank');
    await b.page.goto(PAGE);
    await b.page.waitForFunction(() => !!window.growth);
  };
  const call = (name, ...rest) => b.page.evaluate(([f, a]) => window.growth[f](...a), [name, rest]);
  try {
    await fresh();
    const empty = await call('openEmpty');
    await fresh();
    const row = { count, insert: await call('insert', count) };
    await fresh();
    const open = await call('open', count);
    row.open = open;
    row.directoryBytes = (open.memory - empty.memory) / count;
    row.gets = await call('gets', count);
    await fresh();
    row.puts = await call('puts', count);
    await fresh();
    row.ids = await call('all', count, false);
    await fresh();
    row.all = await call('all', count, true);
    await fresh();
    row.changes = await call('changes', count);
    return row;
  } finally {
    running.delete(b.stop);
    await b.stop();
  }
}

const rows = [];
try {
  for (const count of sizes) {
    const row = await measure(count);
    rows.push(row);
    console.log(`${count} documents: insert ${Math.round(row.insert.ms)} ms, open and first get ${row.open.ms.toFixed(1)} ms, `
      + `allDocs ${Math.round(row.all.ms)} ms, changes ${Math.round(row.changes.ms)} ms`);
  }
} finally { await server.stop(); }

// [label, value, how it is shown, whether growth is told]
const us = (v) => `${v.toFixed(1)} µs`;
const perDoc = (part) => (r) => (r[part].ms * 1000) / r.count;
const TABLE = [
  ['insert in batches of 1,000, a document', perDoc('insert'), us, true],
  ['put of one document, median of 100', (r) => r.puts.ms * 1000, us, true],
  ['random get, a document (1,000 of them)', (r) => (r.gets.ms * 1000) / r.gets.n, us, true],
  ['allDocs with documents, a document', perDoc('all'), us, true],
  ['allDocs without documents, a row', perDoc('ids'), us, true],
  ['changes since 0, a row', perDoc('changes'), us, true],
  ['open + first get, a document', perDoc('open'), us, true],
  ['open + first get, in all', (r) => r.open.ms, (v) => `${v.toFixed(1)} ms`],
  ['longest main-thread block, any of these', longest, (v) => (v ? `${Math.round(v)} ms` : '<50 ms')],
  ['WebAssembly memory after open and first get', (r) => r.open.memory, (v) => `${(v / 1e6).toFixed(1)} MB`],
  ['  over that of an empty database, a document', (r) => r.directoryBytes, (v) => `${Math.round(v)} bytes`],
];
function longest(row) {
  return Math.max(...Object.values(row).map((part) => part?.longest || 0));
}
// At 1 the whole grows in line with the documents.
const growth = (value) => `${(value(rows.at(-1)) / value(rows[0])).toFixed(2)}×`;
const lines = [
  `${started.slice(0, 16)}Z, ${version}, ${cpus().length} cores`, '',
  `| | ${sizes.map((n) => n.toLocaleString('en')).join(' | ')} | last to first |`, `|---|${sizes.map(() => '---:|').join('')}---:|`,
  ...TABLE.map(([label, value, show, told]) => `| ${label} | ${rows.map((r) => show(value(r))).join(' | ')} | ${told ? growth(value) : ''} |`),
];
const out = path.resolve(args.out || path.join(ROOT, 'results', `growth-${started.replace(/[:.]/g, '-')}`));
mkdirSync(path.dirname(out), { recursive: true });
writeFileSync(`${out}.json`, JSON.stringify({ started, browser: version, rows }, null, 1));
writeFileSync(`${out}.md`, lines.join('\n') + '\n');
console.log(`\n${lines.join('\n')}\n\nWritten to ${path.relative(process.cwd(), out)}.md and .json`);
