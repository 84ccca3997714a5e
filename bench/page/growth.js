// The page half of growth.js.
import contender from '../contenders/settee.js';
import { Database } from 'settee';
import { makeDoc, hex, rng } from '../lib/data.js';

const NAME = 'growth';
let longest = 0;
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) longest = Math.max(longest, e.duration);
}).observe({ type: 'longtask' });

// Every WebAssembly memory of this page; they only grow.
const memories = new Set();
for (const name of ['instantiate', 'instantiateStreaming']) {
  const real = WebAssembly[name];
  WebAssembly[name] = async (...args) => {
    const got = await real.apply(WebAssembly, args);
    for (const value of Object.values((got.instance || got).exports)) if (value instanceof WebAssembly.Memory) memories.add(value);
    return got;
  };
}
const memory = () => [...memories].reduce((sum, m) => sum + m.buffer.byteLength, 0);

// 36 characters, as a UUID, in no order.
const id = (i) => {
  const h = hex(rng(i * 7919 + 17), 26) + String(i).padStart(6, '0');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
};
const docs = (from, n) => Array.from({ length: n }, (_, k) => ({ ...makeDoc('x', from + k), _id: id(from + k) }));
const need = (ok, what) => { if (!ok) throw new Error('check failed: ' + what); };

async function timed(work) {
  longest = 0;
  const t0 = performance.now();
  const got = await work();
  const ms = performance.now() - t0;
  await new Promise((r) => setTimeout(r, 60)); // let the longtask observer report
  return { got, result: { ms, longest, memory: memory() } };
}

window.growth = {
  async openEmpty() {
    const { got: db, result } = await timed(async () => {
      const opened = await Database.open('empty', { storage: 'indexeddb' });
      await opened.put({ _id: 'one' });
      await opened.get('one');
      return opened;
    });
    await db.close();
    return result;
  },
  async insert(count) {
    const db = await contender.open(NAME);
    let ms = 0, worst = 0;
    for (let i = 0; i < count; i += 1000) {
      const batch = docs(i, Math.min(1000, count - i)); // made outside the timed part
      await new Promise((r) => setTimeout(r, 0));
      const { result } = await timed(() => db.bulkPut(batch));
      ms += result.ms;
      worst = Math.max(worst, result.longest);
    }
    await db.close();
    return { ms, longest: worst, memory: memory() };
  },
  async open(count) {
    const { got, result } = await timed(async () => (await contender.open(NAME)).get(id(count >> 1)));
    need(got.n === count >> 1, 'first get');
    return result;
  },
  async gets(count) {
    const db = await contender.open(NAME);
    const r = rng(99);
    const n = Math.min(1000, count);
    const picks = Array.from({ length: n }, () => Math.floor(r() * count));
    const ids = picks.map(id);
    const { result } = await timed(async () => {
      for (let k = 0; k < n; k++) need((await db.get(ids[k])).n === picks[k], 'get');
    });
    return { ...result, n };
  },
  async puts(count) {
    const db = await contender.open(NAME);
    const samples = [];
    let worst = 0;
    await db.put({ _id: 'warm-up' });
    for (let i = 0; i < 100; i++) {
      const doc = { ...makeDoc('x', i), _id: `zz-${count}-${i}` };
      longest = 0;
      const t0 = performance.now();
      await db.put(doc);
      samples.push(performance.now() - t0);
    }
    await new Promise((r) => setTimeout(r, 60));
    worst = longest;
    samples.sort((a, b) => a - b);
    return { ms: samples[samples.length >> 1], longest: worst, memory: memory() };
  },
  async all(count, withDocs) {
    const db = await Database.open(NAME, { storage: 'indexeddb' });
    const { got, result } = await timed(() => db.allDocs({ include_docs: withDocs }));
    need(got.rows.length >= count && (!withDocs || got.rows.every((row) => row.doc)), `allDocs: ${got.rows.length} rows`);
    return result;
  },
  async changes(count) {
    const db = await contender.open(NAME);
    const { got, result } = await timed(() => db.changes());
    need(got.length >= count, `changes: ${got.length} rows`);
    return result;
  },
};
