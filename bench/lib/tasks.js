// The task list. Each task gets { b (browser), remote, size, goto, seeds } and
// returns metrics: { name: { value, unit, ...details } }.
// Timed work happens in page/harness.js; everything here is set-up and checks.
import { CANARY, docId, makeDoc } from './data.js';
import { median } from './stats.js';

const LIVE_PREFIX = 'live';

// Remote content to pull: plain documents, or the contender's own form of them.
async function pullSource(t, kind) {
  if (!t.seeds.has(kind)) {
    const db = await t.remote.fresh(kind);
    // A server keeps photos that were pushed in other pieces than those that are sent one by one, and reads them
    // several times as slowly. So what is held against one another is pushed alike.
    const seeder = await t.b.call('hasSeeder');
    const own = seeder.docs && (t.sealed || !seeder.optional);
    if (kind === 'docs') {
      if (own) await t.b.call('seedDocs', t.remote.target(db), t.size.docs);
      else await t.remote.seedDocs(db, t.size.docs);
    } else if (kind === 'history') await t.remote.seedHistory(db, t.size.docs, t.size.deleted, t.size.history);
    else if (own) await t.b.call('seedAttachments', t.remote.target(db), t.size.attachments, t.size.attachmentBytes);
    else await t.remote.seedAttachments(db, t.size.attachments, t.size.attachmentBytes);
    if (own) await t.goto();
    t.seeds.set(kind, db);
  }
  return t.remote.target(t.seeds.get(kind));
}

async function filledDb(t) {
  if (!t.state.filled) {
    await t.b.call('fill', 'local10k', t.size.docs);
    t.state.filled = true;
  }
}

// A database of a contender that must belong to what is on the remote before it can pull; not timed.
async function joined(t, source, ...names) {
  await t.goto();
  if (!await t.b.call('hasJoin')) return;
  for (const name of names) await t.b.call('join', name, source);
  await t.goto();
}

// How many documents a remote has, without a sealed channel's log.
async function docsOf(t, db) {
  const info = await t.remote.must('GET', `/${db}`);
  const range = new URLSearchParams({ startkey: '"k-"', endkey: '"k."' });
  return info.doc_count - (await t.remote.must('GET', `/${db}/_all_docs?${range}`)).rows.length;
}

async function pull(t, name, opts, metric) {
  const source = await pullSource(t, 'docs');
  await joined(t, source, name);
  await t.b.call('open', name);
  await t.b.heapAfterGc();
  t.b.resetPeak();
  const rssBefore = t.b.currentRss();
  const r = await t.measure('pull', name, source, opts);
  const peak = t.b.peakRss();
  const heap = await t.b.heapAfterGc();
  await t.b.call('verifyPulled', name, t.size.docs);
  await t.b.call('destroy', name);
  return {
    [metric]: r,
    ...(metric === 'pull' ? {
      pullPeakRss: { value: peak, unit: 'bytes' },
      pullGrowth: { value: peak - rssBefore, unit: 'bytes' },
      pullHeap: { value: heap, unit: 'bytes' },
    } : {}),
  };
}

async function push(t, name, opts, metric) {
  await t.goto();
  await t.b.call('fill', name, t.size.docs);
  await t.goto();
  await t.b.call('open', name);
  const db = await t.remote.fresh('push');
  const r = await t.measure('push', name, t.remote.target(db), opts);
  const count = await docsOf(t, db);
  if (count !== t.size.docs) throw new Error(`after push the remote has ${count} documents`);
  const page = await t.remote.must('GET', `/${db}/_all_docs?include_docs=true&limit=5`);
  r.remoteHasPlaintext = JSON.stringify(page).includes(CANARY);
  await t.b.call('destroy', name);
  await t.remote.drop(db);
  return { [metric]: r };
}

// Tasks that need no server, and those of `make bench`.
export const LOCAL = ['bulk', 'revs', 'puts', 'burst', 'gets', 'all', 'changes', 'cold', 'photos', 'find'];
// Those of `make bench-sealed`.
export const SEALED = ['bulk', 'all', 'pull', 'photos', 'attPush', 'attPull', 'large', 'unlock'];

export const TASKS = {
  async bulk(t) {
    await t.goto();
    const r = await t.measure('bulk', 'local10k', t.size.docs);
    t.state.filled = true;
    return { bulk: r };
  },
  async puts(t) {
    await t.goto();
    const r = await t.measure('puts', 'puts', t.size.puts);
    await t.b.call('destroy', 'puts');
    return { puts: r };
  },
  // The same writes, all started before the first is done.
  async burst(t) {
    await t.goto();
    const r = await t.measure('burst', 'burst', t.size.puts);
    await t.b.call('destroy', 'burst');
    return { burst: r };
  },
  // Reload the page, open the database and read one document.
  async cold(t) {
    await t.goto();
    await filledDb(t);
    await t.b.call('close', 'local10k');
    await t.goto('about:blank');
    const samples = [];
    for (let i = 0; i < 5; i++) {
      await t.goto(null, `?cold=local10k&i=${(i * 1777) % t.size.docs}`);
      const s = await t.b.page.evaluate(() => window.cold);
      if (i > 0) samples.push(s); // the first load fills the HTTP cache
    }
    const median = (key) => samples.map((s) => s[key]).sort((a, b) => a - b)[samples.length >> 1];
    return {
      cold: { value: median('sinceNavigation'), unit: 'ms', samples },
      coldOpen: { value: median('openAndGet'), unit: 'ms', longestTask: Math.max(...samples.map((s) => s.longest)) },
    };
  },
  async gets(t) {
    await t.goto();
    await filledDb(t);
    await t.goto();
    await t.b.call('open', 'local10k');
    return { gets: await t.measure('gets', 'local10k', t.size.docs, t.size.gets) };
  },
  async all(t) {
    await t.goto();
    await filledDb(t);
    await t.goto();
    await t.b.call('open', 'local10k');
    return { all: await t.measure('all', 'local10k', t.size.docs) };
  },
  async changes(t) {
    await t.goto();
    await filledDb(t);
    await t.goto();
    await t.b.call('open', 'local10k');
    return { changes: await t.measure('changes', 'local10k', t.size.docs) };
  },
  async revs(t) {
    await t.goto();
    const r = await t.measure('revs', 'revs', t.size.revDocs, t.size.revs);
    await t.b.call('destroy', 'revs');
    return { revs: r };
  },
  pull: (t) => pull(t, 'pull', {}, 'pull'),
  // A second device's first sync: documents with a past, some of them deleted.
  async history(t) {
    if (t.unsupported.history) return { history: { na: t.unsupported.history } };
    const source = await pullSource(t, 'history');
    await t.goto();
    await t.b.call('open', 'history');
    const r = await t.measure('pull', 'history', source, { history: true });
    await t.b.call('verifyPulled', 'history', t.size.docs - t.size.deleted);
    await t.b.call('destroy', 'history');
    return { history: r };
  },
  // Many live channels, none of which changes: requests in a minute. Then one does, and another.
  async channels(t) {
    if (!await t.b.call('hasChannels')) return { idleRequests: { na: 'not part of this contender' } };
    await t.goto();
    const dbs = [];
    for (let i = 0; i < t.size.channels; i++) dbs.push(await t.remote.fresh(`channel${i}`));
    await t.b.call('channelsStart', dbs.map((db) => t.remote.target(db)));
    await sleep(10_000);
    t.b.takeRequests();
    await sleep(60_000);
    const { requests } = t.b.takeRequests();
    const offset = await clockOffset(t.b);
    const samples = [];
    for (let i = 0; i < 10; i++) {
      const at = (i * 17) % dbs.length;
      const doc = makeDoc(LIVE_PREFIX, i);
      const seen = t.b.call('liveWait', doc._id);
      const sent = wall();
      await t.remote.must('PUT', `/${dbs[at]}/${encodeURIComponent(doc._id)}`, doc);
      samples.push(await Promise.race([seen, sleep(30_000).then(() => { throw new Error(`change ${i} not seen`); })]) - offset - sent);
    }
    await t.b.call('liveStop');
    for (const db of dbs) await t.remote.drop(db);
    return {
      idleRequests: { value: Object.values(requests).reduce((a, b) => a + b, 0), unit: 'requests', requests },
      channelsWorst: { value: Math.max(...samples), unit: 'ms', samples },
    };
  },
  pullBatch: (t) => pull(t, 'pullbatch', { batch: 1000 }, 'pullBatch'),
  push: (t) => push(t, 'push', {}, 'push'),
  pushBatch: (t) => push(t, 'pushbatch', { batch: 1000 }, 'pushBatch'),

  // Photos written, and read back on a fresh page; no server.
  async photos(t) {
    const { attachments: n, attachmentBytes: bytes } = t.size;
    await t.goto();
    const put = await t.measure('attPut', 'photos', n, bytes);
    await t.goto();
    const get = await t.measure('attGet', 'photos', n, bytes);
    await t.b.call('destroy', 'photos');
    return { attPut: put, attGet: get };
  },
  // Local photo writes (timed), then their push.
  async attPush(t) {
    const { attachments: n, attachmentBytes: bytes } = t.size;
    await t.goto();
    const put = await t.measure('attPut', 'photos', n, bytes);
    if (t.unsupported.attPush) {
      // without a pull there is nothing else to read photos back from
      await t.goto();
      const get = await t.measure('attGet', 'photos', n, bytes);
      await t.b.call('destroy', 'photos');
      return { attPut: put, attGet: get, attPush: { na: t.unsupported.attPush } };
    }
    await t.goto();
    await t.b.call('open', 'photos');
    const db = await t.remote.fresh('attpush');
    await t.b.heapAfterGc();
    const watch = t.b.watchMemory();
    const r = await t.measure('push', 'photos', t.remote.target(db));
    const above = { value: watch(), unit: 'bytes' };
    const count = await docsOf(t, db);
    if (count !== n) throw new Error(`after push the remote has ${count} documents`);
    const other = await t.remote.fresh('attpush');
    const [again, buffers] = await t.again('push', 'photos', t.remote.target(other));
    await t.b.call('destroy', 'photos');
    await t.remote.drop(db);
    await t.remote.drop(other);
    return { attPut: put, attPush: r, attPushMemory: above, attPushAgain: again, attPushBuffers: buffers };
  },
  async attPull(t) {
    if (t.unsupported.attPull) return { attPull: { na: t.unsupported.attPull } };
    const { attachments: n, attachmentBytes: bytes } = t.size;
    await t.goto();
    const source = await pullSource(t, 'atts');
    await joined(t, source, 'photospull', 'photosagain');
    await t.b.call('open', 'photospull');
    await t.b.heapAfterGc();
    const watch = t.b.watchMemory();
    const r = await t.measure('pull', 'photospull', source);
    const above = { value: watch(), unit: 'bytes' };
    await t.b.call('open', 'photosagain');
    const [again, buffers] = await t.again('pull', 'photosagain', source);
    await t.b.call('destroy', 'photosagain');
    await t.goto();
    const get = await t.measure('attGet', 'photospull', n, bytes);
    await t.b.call('destroy', 'photospull');
    return { attPull: r, attPullMemory: above, attPullAgain: again, attPullBuffers: buffers, attGet: get };
  },
  // Documents by what is in them, on a fresh page: without an index, then with one on `n`.
  async find(t) {
    await t.goto();
    if (!(await t.b.call('hasFind', 'local10k')).find) return { findScan: { na: 'no queries' } };
    await filledDb(t);
    await t.goto();
    const { live } = await t.b.call('hasFind', 'local10k');
    const find = (...how) => t.measure('find', 'local10k', t.size.docs, ...how);
    const metrics = {
      findScan: await find('range', 1), findAgain: await find('range', 1), findIndex: await find('one', 1, 'n'),
      findOne: await find('one', t.size.finds), findRange: await find('sorted', t.size.finds),
    };
    if (!live) return { ...metrics, findLive: { na: 'no live queries' } };
    const { samples, ...r } = await t.measure('findLive', 'local10k', t.size.live);
    t.state.filled = false; // there are more now
    await t.b.call('destroy', 'local10k');
    return { ...metrics, findLive: { ...r, value: median(samples), samples } };
  },
  // Files of 20 MB, stored; the median of several.
  async large(t) {
    await t.goto();
    const { samples, ...r } = await t.measure('large', 'large', t.size.large, t.size.largeBytes);
    await t.b.call('destroy', 'large');
    return { large: { ...r, value: median(samples), samples } };
  },
  // A fresh page and a locked database: the passphrase's own cost, then until the first document is read, then
  // the first lists.
  async unlock(t) {
    await t.goto();
    if (!await t.b.call('hasUnlock')) return { unlock: { na: 'nothing is locked' } };
    await filledDb(t);
    await t.goto();
    const times = await t.b.call('unlock', 'local10k', t.size.docs, t.size.docs >> 1);
    const metric = (value) => ({ value, unit: 'ms' });
    return {
      passphrase: metric(times.passphrase), unlock: metric(times.unlock),
      unlockList: metric(times.list), unlockAll: metric(times.all),
    };
  },
  async live(t) {
    if (t.unsupported.live) return { liveMedian: { na: t.unsupported.live } };
    await t.goto();
    const db = await t.remote.fresh('live');
    const own = (await t.b.call('hasSeeder')).live;
    const docs = own ? await t.b.call('encodeLive', t.size.live)
      : Array.from({ length: t.size.live }, (_, i) => makeDoc(LIVE_PREFIX, i));
    const offset = await clockOffset(t.b);
    await t.b.call('liveStart', 'live', t.remote.target(db));
    await sleep(1000);
    const samples = [];
    const overheads = [];
    for (let i = 0; i < docs.length; i++) {
      const seen = t.b.call('liveWait', docId(LIVE_PREFIX, i));
      await sleep(40 + (i * 37) % 110);
      const sent = wall();
      await t.remote.must('PUT', `/${db}/${encodeURIComponent(docs[i]._id)}`, docs[i]);
      overheads.push(wall() - sent);
      const at = await Promise.race([seen, sleep(15000).then(() => { throw new Error('live change ' + i + ' not seen'); })]);
      samples.push(at - offset - sent);
    }
    await t.b.call('liveStop');
    samples.sort((a, b) => a - b);
    overheads.sort((a, b) => a - b);
    return {
      liveMedian: { value: samples[samples.length >> 1], unit: 'ms', samples, putMedian: overheads[overheads.length >> 1] },
      liveP95: { value: samples[Math.ceil(samples.length * 0.95) - 1], unit: 'ms' },
    };
  },
};

const wall = () => performance.timeOrigin + performance.now();
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

// page clock minus this process's clock, from the tightest of 30 round trips
async function clockOffset(b) {
  let best = Infinity, offset = 0;
  for (let i = 0; i < 30; i++) {
    const t0 = wall();
    const there = await b.call('wall');
    const t1 = wall();
    if (t1 - t0 < best) { best = t1 - t0; offset = there - (t0 + t1) / 2; }
  }
  return offset;
}
