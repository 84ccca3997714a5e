// One Chromium with a fresh profile, and what is measured from outside the page.
import { chromium } from 'playwright-core';
import { mkdtempSync, rmSync, readdirSync, readFileSync, writeFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CHROMIUM_ARGS, needChromium } from '../../tools/lib/chromium.mjs';


export async function launch() {
  const profile = mkdtempSync(path.join(tmpdir(), 'bench-profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: needChromium(),
    headless: true,
    args: CHROMIUM_ARGS,
    handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false, // run.js does
  });
  const page = context.pages()[0] || await context.newPage();
  page.setDefaultTimeout(0);
  const cdp = await context.newCDPSession(page);
  await cdp.send('Performance.enable');

  const requests = new Map();
  const count = (key) => requests.set(key, (requests.get(key) || 0) + 1);
  let bytes = { sent: 0, received: 0 };
  await cdp.send('Network.enable', { maxTotalBufferSize: 1, maxResourceBufferSize: 1 });
  cdp.on('Network.requestWillBeSentExtraInfo', ({ headers }) => {
    for (const [name, value] of Object.entries(headers)) {
      bytes.sent += name.length + value.length + 4;
      if (name.toLowerCase() === 'content-length') bytes.sent += Number(value);
    }
  });
  cdp.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes.received += encodedDataLength; });
  page.on('request', (req) => {
    const url = new URL(req.url());
    const part = url.pathname.split('/').slice(2); // after the database
    let kind = part[0] || '(db)';
    if (!/^[_(]/.test(kind)) kind = part.length > 1 ? 'attachment' : 'doc';
    if (url.pathname.startsWith('/c/')) return;
    count(`${req.method()} ${kind}`);
  });
  const errors = [];
  page.on('pageerror', (e) => errors.push(String(e)));
  page.on('crash', () => errors.push('page crashed'));

  const self = {
    context, page, cdp, errors,
    version: async () => (await cdp.send('Browser.getVersion')).product,
    call: (fn, ...args) => page.evaluate(([f, a]) => window.bench[f](...a), [fn, args]),
    // What was asked of the server since the last call, and the bytes of that, headers included.
    takeRequests() {
      const out = { requests: Object.fromEntries(requests), bytes };
      requests.clear();
      bytes = { sent: 0, received: 0 };
      return out;
    },
    async metrics() {
      const { metrics } = await cdp.send('Performance.getMetrics');
      return Object.fromEntries(metrics.map((m) => [m.name, m.value]));
    },
    async heapAfterGc() {
      await cdp.send('HeapProfiler.collectGarbage');
      return (await cdp.send('Runtime.getHeapUsage')).usedSize;
    },
    // Renderer processes of this browser: peak resident memory since the reset.
    resetPeak() { for (const pid of renderers(profile)) { try { writeFileSync(`/proc/${pid}/clear_refs`, '5'); } catch {} } },
    peakRss() {
      const peaks = renderers(profile).map((pid) => status(pid, 'VmHWM')).filter(Boolean);
      return peaks.length ? Math.max(...peaks) : null;
    },
    currentRss() {
      const now = renderers(profile).map((pid) => status(pid, 'VmRSS')).filter(Boolean);
      return now.length ? Math.max(...now) : null;
    },
    // How much a renderer's own memory (anonymous and shared, without the pages of Chromium's files) grows over what
    // it is now, looked at every few milliseconds until the result is called.
    watchMemory() {
      const own = (pid) => (status(pid, 'RssAnon') || 0) + (status(pid, 'RssShmem') || 0);
      const idle = renderers(profile).map((pid) => [pid, own(pid)]);
      let above = 0;
      const look = () => { for (const [pid, before] of idle) above = Math.max(above, own(pid) - before); };
      const timer = setInterval(look, 5);
      return () => { clearInterval(timer); look(); return above; };
    },
    // The same of the page's array buffers alone. Takes the page's main thread, so not for what is timed.
    watchBuffers() {
      const now = async () => (await cdp.send('Runtime.getHeapUsage')).backingStorageSize;
      let idle, above = 0, over = false;
      const looking = (async () => {
        idle = await now();
        while (!over) {
          above = Math.max(above, await now() - idle);
          await new Promise((r) => setTimeout(r, 10));
        }
      })();
      return async () => { over = true; await looking; return above; };
    },
    // Does the profile hold this text in clear?
    storedText(text) { return searchFiles(profile, 'IndexedDB', Buffer.from(text)); },
    async stop() {
      await context.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return self;
}

function status(pid, field) {
  try {
    const m = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return m ? Number(m[1]) * 1024 : null;
  } catch { return null; }
}

function renderers(profile) {
  const parent = new Map();
  const command = new Map();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      parent.set(entry, stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      command.set(entry, readFileSync(`/proc/${entry}/cmdline`, 'utf8'));
    } catch {}
  }
  const root = [...command].find(([, c]) => c.includes(profile) && !c.includes('--type='))?.[0];
  const under = (pid) => { for (let p = pid; p; p = parent.get(p)) if (p === root) return true; return false; };
  return [...command].filter(([pid, c]) => c.includes('--type=renderer') && under(pid)).map(([pid]) => pid);
}

function searchFiles(dir, below, needle) {
  const walk = (d, inside) => {
    for (const name of readdirSync(d)) {
      const file = path.join(d, name);
      let st;
      try { st = statSync(file); } catch { continue; }
      if (st.isDirectory()) { if (walk(file, inside || name === below)) return true; }
      else if (inside && readFileSync(file).includes(needle)) return true;
    }
    return false;
  };
  return walk(dir, false);
}
