// Runs inside the page. install(contender) puts the timed halves of the tasks
// on window.bench; lib/tasks.js calls them and does the untimed halves.
import { makeDocs, makeDoc, docId, randomBytes, rng, expectedSum, CANARY } from '../lib/data.js';

export function install(contender) {
  const dbs = new Map();
  const liveSeen = new Map();
  const liveWaiters = new Map();
  let longest = 0;
  let liveHandle = null;
  new PerformanceObserver((list) => {
    for (const e of list.getEntries()) longest = Math.max(longest, e.duration);
  }).observe({ type: 'longtask' });

  const wall = () => performance.timeOrigin + performance.now();
  const need = (ok, what) => { if (!ok) throw new Error('check failed: ' + what); };
  async function db(name) {
    if (!dbs.has(name)) dbs.set(name, await contender.open(name));
    return dbs.get(name);
  }
  let prepared = null;
  let checking = null;
  const photo = (i, size) => new Blob([randomBytes(size, i + 1)], { type: 'image/jpeg' });

  const timedParts = {
    async bulk(name, count) {
      const batches = [];
      for (let i = 0; i < count; i += 1000) batches.push(makeDocs('note', i, Math.min(1000, count - i)));
      const d = await db(name);
      return { run: async () => { for (const b of batches) await d.bulkPut(b); } };
    },
    async puts(name, count) {
      const docs = makeDocs('single', 0, count);
      const d = await db(name);
      return { run: async () => { for (const doc of docs) await d.put(doc); } };
    },
    async burst(name, count) {
      const docs = makeDocs('single', 0, count);
      const d = await db(name);
      return {
        run: () => Promise.all(docs.map((doc) => d.put(doc))),
        async check() {
          const stored = await d.allDocs();
          need(stored.length === count, `burst: ${stored.length} docs`);
        },
      };
    },
    async gets(name, total, count) {
      const r = rng(99);
      const picks = Array.from({ length: count }, () => Math.floor(r() * total));
      const ids = picks.map((i) => docId('note', i));
      const d = await db(name);
      return {
        async run() {
          for (let k = 0; k < count; k++) {
            const doc = await d.get(ids[k]);
            need(doc.n === picks[k] && doc.body.startsWith(CANARY), 'get ' + ids[k]);
          }
        },
      };
    },
    async all(name, total) {
      const d = await db(name);
      return {
        async run() {
          const docs = await d.allDocs();
          let sum = 0; // reading is part of the task: some stores build documents lazily
          for (const doc of docs) sum += doc.body.startsWith(CANARY) ? doc.n : NaN;
          need(docs.length === total && sum === expectedSum(total), `allDocs: ${docs.length} docs, sum ${sum}`);
        },
      };
    },
    async changes(name, total) {
      const d = await db(name);
      return { run: () => d.changes(), check: (rows) => need(rows.length === total, `changes: ${rows.length} rows`) };
    },
    // `count` documents, `revs` revisions each: one bulk write of all documents per revision
    async revs(name, count, revs) {
      const docs = makeDocs('note', 0, count);
      const d = await db(name);
      return {
        async run() {
          let tokens = await d.bulkPut(docs);
          for (let r = 2; r <= revs; r++) {
            const next = docs.map((doc, i) => ({ ...doc, body: doc.body + r, _rev: tokens[i] }));
            tokens = await d.bulkPut(next);
          }
        },
        async check() {
          const last = await d.get(docs[count - 1]._id);
          need(last.body.endsWith(String(revs)), 'last revision is not current');
        },
      };
    },
    async attPut(name, count, size) {
      const blobs = Array.from({ length: count }, (_, i) => photo(i, size));
      const d = await db(name);
      return {
        async run() {
          for (let i = 0; i < count; i++) await d.putAttachment(docId('photo', i), 'photo', blobs[i]);
        },
      };
    },
    async attGet(name, count, size) {
      const d = await db(name);
      const got = [];
      return {
        async run() {
          for (let i = 0; i < count; i++) {
            const blob = await d.getAttachment(docId('photo', i), 'photo');
            got.push(new Uint8Array(await blob.arrayBuffer())); // the bytes, as a picture would need them
          }
        },
        check() {
          for (const i of [0, count >> 1, count - 1]) {
            const want = randomBytes(size, i + 1);
            need(got[i].length === size && got[i].every((b, k) => b === want[k]), 'attachment bytes ' + i);
          }
        },
      };
    },
    // Documents by what is in them, `times` times: by one value of `n`, or 25 in the order of it.
    async find(name, total, how, times, index) {
      const d = await db(name);
      const r = rng(7);
      const picks = Array.from({ length: times }, () => Math.floor(r() * (total - 25)));
      const asked = (n) => (how === 'one' ? { selector: { n } } : how === 'sorted'
        ? { selector: { n: { $lt: n + 25 } }, sort: [{ n: 'desc' }], limit: 25 } : { selector: { n: { $gte: n, $lt: n + 25 } } });
      return {
        async run() {
          if (index) await d.createIndex([index]);
          for (const n of picks) {
            const docs = await d.find(asked(n));
            const right = how === 'one' ? docs[0]?.n === n && docs.length === 1
              : docs.length === 25 && (how !== 'sorted' || docs.every((doc, i) => doc.n === n + 24 - i));
            need(right && docs[0].body.startsWith(CANARY), `find ${how} at ${n}: ${docs.length} docs`);
          }
        },
      };
    },
    // A live query of the first 25: from each of some puts, one after another, until it tells.
    async findLive(name, count) {
      const d = await db(name);
      let told;
      const next = () => new Promise((resolve) => { told = resolve; });
      let update = next();
      const live = d.liveFind({ selector: { n: { $lt: 0 } }, sort: ['n'], limit: 25 }, (docs) => told(docs));
      await update;
      return {
        async run() {
          const samples = [];
          for (let i = 1; i <= count; i++) {
            const doc = { ...makeDoc('found', i), n: -i };
            update = next();
            const began = performance.now();
            await d.put(doc);
            const docs = await update;
            samples.push(performance.now() - began);
            need(docs[0].n === -i && docs.length === Math.min(i, 25), `live query after ${i}: ${docs.length} docs`);
          }
          live.cancel();
          return samples;
        },
      };
    },
    // Large files, one after another; the first one is not counted.
    async large(name, count, size) {
      const blobs = Array.from({ length: count + 1 }, (_, i) => photo(i, size));
      const d = await db(name);
      const samples = [];
      return {
        async run() {
          for (const [i, blob] of blobs.entries()) {
            const began = performance.now();
            await d.putAttachment(docId('large', i), 'photo', blob);
            samples.push(performance.now() - began);
          }
          return samples.slice(1);
        },
        async check() {
          const got = new Uint8Array(await (await d.getAttachment(docId('large', count), 'photo')).arrayBuffer());
          const want = randomBytes(size, count + 1);
          need(got.length === size && got.every((b, k) => b === want[k]), 'bytes of a large file');
        },
      };
    },
    async pull(name, remote, opts) {
      const d = await db(name);
      return { run: () => d.pull(remote, opts || {}) };
    },
    async push(name, remote, opts) {
      const d = await db(name);
      return { run: () => d.push(remote, opts || {}) };
    },
  };

  const bench = {
    about: () => ({ label: contender.label, note: contender.note || '', unsupported: contender.unsupported || {} }),
    wall,
    async open(name) { await db(name); },
    async close(name) { if (dbs.has(name)) { await dbs.get(name).close(); dbs.delete(name); } },
    async destroy(name) { const d = await db(name); dbs.delete(name); await d.destroy(); },

    // untimed filling, in the same batches as the timed insert
    async fill(name, count) {
      const d = await db(name);
      for (let i = 0; i < count; i += 1000) await d.bulkPut(makeDocs('note', i, Math.min(1000, count - i)));
    },
    // A timed part in three calls: set up, run, check.
    async prepare(task, ...args) { prepared = await timedParts[task](...args); },
    async run() {
      const { run, check } = prepared;
      prepared = null;
      longest = 0;
      const t0 = performance.now();
      const got = await run();
      const ms = performance.now() - t0;
      checking = check && (() => check(got));
      await new Promise((r) => setTimeout(r, 60)); // let the longtask observer report
      return { ms, longest, got: Array.isArray(got) && got.every((v) => typeof v === 'number') ? got : undefined };
    },
    async check() { await checking?.(); checking = null; },
    async verifyPulled(name, total, prefix = 'note') {
      const d = await db(name);
      const r = rng(5);
      for (let k = 0; k < 20; k++) {
        const i = Math.floor(r() * total);
        const doc = await d.get(docId(prefix, i));
        need(doc.n === i, 'pulled doc ' + i);
      }
      const docs = await d.allDocs();
      need(docs.length === total, `after pull: ${docs.length} docs`);
    },

    hasFind: async (name) => { const { find, liveFind } = await db(name); return { find: !!find, live: !!liveFind }; },

    // Remote content in the contender's own form (ciphertext, say).
    // Optional for those who could as well pull what was made without them.
    hasSeeder: () => ({ docs: !!contender.seedRemote, optional: !!contender.seedsInClear, live: !!contender.encodeForRemote }),
    seedDocs: (remote, count) => contender.seedRemote(remote, async (d) => {
      for (let i = 0; i < count; i += 1000) await d.bulkPut(makeDocs('note', i, Math.min(1000, count - i)));
    }),
    seedAttachments: (remote, count, size) => contender.seedRemote(remote, async (d) => {
      for (let i = 0; i < count; i++) await d.putAttachment(docId('photo', i), 'photo', photo(i, size));
    }),
    async encodeLive(count) {
      const out = [];
      for (let i = 0; i < count; i++) out.push(await contender.encodeForRemote(makeDoc('live', i)));
      return out;
    },

    hasJoin: () => !!contender.join,
    join: (name, remote) => contender.join(name, remote),
    hasUnlock: () => !!contender.unlock,
    async unlock(name, count, i) {
      const { doc, counts, ...times } = await contender.unlock(name, docId('note', i));
      need(doc.n === i && doc.body.startsWith(CANARY), 'first get after unlocking');
      need(counts.every((n) => n === count), `after unlocking ${counts} docs`);
      return times;
    },

    async liveStart(name, remote) {
      const d = await db(name);
      liveHandle = await d.live(remote, (id) => {
        if (liveSeen.has(id)) return;
        liveSeen.set(id, wall());
        liveWaiters.get(id)?.(liveSeen.get(id));
      });
    },
    hasChannels: () => !!contender.channels,
    async channelsStart(remotes) {
      liveHandle = await contender.channels(remotes, (id) => {
        if (liveSeen.has(id)) return;
        liveSeen.set(id, wall());
        liveWaiters.get(id)?.(liveSeen.get(id));
      });
    },
    liveWait: (id) => (liveSeen.has(id) ? liveSeen.get(id) : new Promise((r) => liveWaiters.set(id, r))),
    async liveStop() { await liveHandle?.stop(); liveHandle = null; },
  };
  window.bench = bench;

  // Cold open: the page was loaded with ?cold=<db>&i=<doc number>.
  const q = new URLSearchParams(location.search);
  if (q.has('cold')) {
    const t0 = performance.now();
    window.cold = (async () => {
      const d = await db(q.get('cold'));
      const opened = performance.now();
      const doc = await d.get(docId('note', Number(q.get('i'))));
      need(doc.n === Number(q.get('i')), 'cold get');
      const t1 = performance.now();
      await new Promise((r) => setTimeout(r, 60)); // let the longtask observer report
      return { scriptStart: t0, open: opened - t0, openAndGet: t1 - t0, sinceNavigation: t1, longest };
    })();
    window.cold.catch(() => {});
  }
}
