#!/usr/bin/env node
// node run.js [--contenders a,b] [--tasks x,y] [--runs 3] [--remote memory|leveldb]
//             [--sealed] [--scale 1] [--out results/name] [--profile] [--timeout 300]
import { readdirSync, mkdirSync, writeFileSync } from 'node:fs';
import { loadavg, cpus, totalmem } from 'node:os';
import path from 'node:path';
import { launch } from './lib/browser.js';
import { ROOT, buildPage, bundleSize, configOf } from './lib/build.js';
import { startServer } from './lib/server.js';
import { startRemote } from './lib/remote.js';
import { LOCAL, SEALED, TASKS } from './lib/tasks.js';
import { summarize, markdown } from './lib/report.js';
import { againstLimits, sealedAgainstClear } from './lib/limits.js';
import { topOfProfile } from './lib/profile.js';
import { CANARY } from './lib/data.js';

const args = {};
for (let i = 2; i < process.argv.length; i++) {
  const m = /^--([\w-]+)(?:=(.*))?$/.exec(process.argv[i]);
  if (!m) { console.error('unexpected argument ' + process.argv[i]); process.exit(2); }
  const next = process.argv[i + 1];
  args[m[1]] = m[2] ?? (next !== undefined && !next.startsWith('--') ? (i++, next) : true);
}
const list = (value, usual, all) => (value === 'all' ? all : value ? String(value).split(',') : usual);
const known = readdirSync(path.join(ROOT, 'contenders')).filter((f) => f.endsWith('.js')).map((f) => f.slice(0, -3));
const contenders = list(args.contenders,
  args.sealed ? ['settee', 'settee-sealed', 'comdb', 'crypto-pouch'] : ['raw', 'settee', 'pouchdb-idb', 'pouchdb-indexeddb'],
  ['raw', 'settee', ...known.filter((n) => n !== 'raw' && n !== 'settee')]);
const tasks = list(args.tasks, args.sealed ? SEALED : LOCAL, Object.keys(TASKS));
for (const c of contenders) if (!known.includes(c)) throw new Error(`no contender ${c}; there are ${known.join(', ')}`);
for (const t of tasks) if (!TASKS[t]) throw new Error(`no task ${t}; there are ${Object.keys(TASKS).join(', ')}`);
const runs = Number(args.runs || 3);
const scale = Number(args.scale || 1);
const timeout = Number(args.timeout || 300) * 1000;
const size = {
  docs: Math.round(10000 * scale), puts: Math.round(1000 * scale), gets: Math.round(1000 * scale), finds: 100,
  revDocs: Math.round(1000 * scale), revs: 10, history: 20, deleted: Math.round(2000 * scale), channels: Math.round(50 * scale),
  attachments: Math.round(100 * scale), attachmentBytes: 500 * 1000,
  large: 5, largeBytes: Math.round(20e6 * scale), largeMb: 20 * scale, live: Math.max(5, Math.round(50 * scale)),
};

const result = {
  started: new Date().toISOString(), size, runs, node: process.version,
  machine: { cpus: cpus().length, model: cpus()[0].model, memory: totalmem() },
  contenders: {}, samples: [],
};

// On a signal, end what was started here before leaving.
const running = new Set();
let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    stopping = true;
    await Promise.allSettled([...running].map((stop) => stop()));
    process.exit(1);
  });
}

const pages = new Map();
for (const name of contenders) {
  pages.set(name, { files: await buildPage(name, { minify: !args.profile }), config: configOf(name) });
  result.contenders[name] = { size: await bundleSize(name) };
}
const server = await startServer(pages);

async function runContender(name, run) {
  let remote = null;
  if (tasks.some((task) => !LOCAL.includes(task))) {
    remote = await startRemote(args.remote || 'memory');
    running.add(remote.stop);
    result.remote = remote.describe;
  }
  const b = await launch();
  running.add(b.stop);
  result.browser = await b.version();
  const t = {
    b, remote, size, seeds: new Map(), state: {}, unsupported: {}, sealed: args.sealed,
    async goto(url, query = '') {
      await b.page.goto(url || `${server.origin}/c/${name}/${query}`);
      if (!url) await b.page.waitForFunction(() => !!window.bench);
    },
    // runs a timed part of page/harness.js and adds what is seen from outside
    async measure(part, ...partArgs) {
      await b.call('prepare', part, ...partArgs);
      b.takeRequests();
      const before = await b.metrics();
      if (args.profile) { await b.cdp.send('Profiler.enable'); await b.cdp.send('Profiler.start'); }
      const r = await b.call('run');
      if (args.profile) {
        const { profile } = await b.cdp.send('Profiler.stop');
        const file = path.join(ROOT, 'results', `${name}-${t.task}-${part}-${run}.cpuprofile`);
        mkdirSync(path.dirname(file), { recursive: true });
        writeFileSync(file, JSON.stringify(profile));
        console.log(`  profile of ${name} ${t.task} (${part}):\n${topOfProfile(profile)}`);
      }
      const after = await b.metrics();
      const { requests, bytes } = b.takeRequests();
      await b.call('check');
      return {
        value: r.ms, unit: 'ms', samples: r.got, longestTask: r.longest,
        mainThreadBusy: (after.TaskDuration - before.TaskDuration) * 1000,
        ...(Object.keys(requests).length ? { requests, bytes } : {}),
      };
    },
    // The same part again, not timed: what the first time left (compiled code, a heap that has grown) is there.
    async again(part, ...partArgs) {
      await b.call('prepare', part, ...partArgs);
      await b.heapAfterGc();
      const [memory, buffers] = [b.watchMemory(), b.watchBuffers()];
      await b.call('run');
      return [memory(), await buffers()].map((value) => ({ value, unit: 'bytes' }));
    },
  };
  try {
    await t.goto();
    const about = await b.call('about');
    Object.assign(result.contenders[name], about);
    t.unsupported = about.unsupported;
    for (const task of tasks) {
      if (stopping) break;
      t.task = task;
      const load = loadavg()[0];
      const began = performance.now();
      let metrics, error, timer;
      try {
        metrics = await Promise.race([
          TASKS[task](t),
          new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`no result after ${timeout / 1000} s`)), timeout); }),
        ]);
      } catch (e) {
        error = e.message.split('\n')[0].slice(0, 500);
        await t.goto('about:blank').catch(() => {});
      } finally { clearTimeout(timer); }
      if (task === 'bulk' && metrics) metrics.bulk.deviceHasPlaintext = b.storedText(CANARY);
      const sample = { contender: name, run, task, load, took: performance.now() - began, ...(error ? { error } : { metrics }) };
      if (b.errors.length) sample.pageErrors = b.errors.splice(0, 5);
      result.samples.push(sample);
      const shown = error ? 'ERROR ' + error
        : Object.entries(metrics).map(([k, m]) => `${k} ${m.na ? 'n/a' : m.unit === 'bytes' ? (m.value / 1e6).toFixed(1) + ' MB' : m.unit === 'requests' ? m.value + ' requests' : m.value.toFixed(1) + ' ms'}`).join(', ');
      console.log(`[run ${run}] ${name} ${task}: ${shown}  (${(sample.took / 1000).toFixed(1)} s, load ${load.toFixed(2)})`);
    }
  } finally {
    await b.stop().catch((e) => console.error('browser: ' + e.message));
    running.delete(b.stop);
    if (remote) {
      await remote.cleanup().catch(() => {});
      await remote.stop();
      running.delete(remote.stop);
    }
  }
}

try {
  for (let run = 1; run <= runs; run++) {
    // another order each run, so that drift of the machine does not favour one
    const order = contenders.map((_, i) => contenders[(i + run - 1) % contenders.length]);
    for (const name of order) {
      if (stopping) break;
      try { await runContender(name, run); } catch (e) {
        console.error(`${name} run ${run}: ${e.stack}`);
        result.samples.push({ contender: name, run, task: '(all)', error: e.message });
      }
    }
  }
} finally { await server.stop(); }

result.finished = new Date().toISOString();
result.summary = summarize(result);
result.limits = againstLimits(result, (task) => task);
result.sealed = sealedAgainstClear(result, (task) => task);
const out = path.resolve(args.out || path.join(ROOT, 'results', `${result.started.replace(/[:.]/g, '-')}`));
mkdirSync(path.dirname(out), { recursive: true });
writeFileSync(out + '.json', JSON.stringify(result, null, 1));
const table = markdown(result);
writeFileSync(out + '.md', table);
console.log(`\n${table}\nWritten to ${path.relative(process.cwd(), out)}.md and .json`);
