import { chromium } from 'playwright-core';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CHROMIUM_ARGS, needChromium } from '../../../tools/lib/chromium.mjs';

// One browser with its profile on disk. (Playwright's plain contexts keep
// IndexedDB in memory, so a restart would prove nothing.)
//
//   userDataDir  the profile; without one a temporary profile is made, and
//                removed by close() unless close({ keep: true })
//   the rest     options of Playwright's launchPersistentContext
//
// Answers { context, page, userDataDir, errors, newPage, close, kill, sleep }.
// `errors` collects uncaught errors and failed console assertions of every
// page; kill() ends the browser as a power cut would; sleep() stops all of its
// processes, as a laptop that is shut does, and gives a function that wakes it.
export async function launchBrowser({ userDataDir, ...options } = {}) {
  const executablePath = needChromium();
  const temporary = !userDataDir;
  const profile = userDataDir || mkdtempSync(path.join(tmpdir(), 'settee-profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    ignoreDefaultArgs: ['--headless'],
    viewport: { width: 1280, height: 800 },
    ...options,
    args: ['--headless=new', ...CHROMIUM_ARGS, ...(options.args || [])],
  });
  const errors = [];
  const watch = (page) => {
    page.on('pageerror', (error) => errors.push(`${page.url()}: ${error.stack || error}`));
    page.on('crash', () => errors.push(`${page.url()}: the page crashed`));
    page.on('console', (message) => {
      if (message.type() === 'assert') errors.push(`${page.url()}: ${message.text()}`);
    });
  };
  context.pages().forEach(watch);
  context.on('page', watch);
  const page = context.pages()[0] || await context.newPage();

  let ended = false;
  const remove = () => { if (temporary) rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }); };
  return {
    context,
    page,
    userDataDir: profile,
    errors,
    newPage: () => context.newPage(),
    async close({ keep = false } = {}) {
      if (!ended) { ended = true; await context.close(); }
      if (!keep) remove();
    },
    async kill() {
      if (ended) return;
      ended = true;
      const closed = new Promise((resolve) => context.once('close', resolve));
      for (const pid of browserProcesses(profile)) signal(pid, 'SIGKILL');
      await closed;
    },
    sleep() {
      const stopped = new Set();
      // One that was started meanwhile is found the next time round.
      for (let more = true; more;) {
        more = false;
        for (const pid of processTree(browserProcesses(profile))) {
          if (stopped.has(pid) || !signal(pid, 'SIGSTOP')) continue;
          stopped.add(pid);
          more = true;
        }
      }
      return () => stopped.forEach((pid) => signal(pid, 'SIGCONT'));
    },
  };
}

function signal(pid, name) {
  try { return process.kill(pid, name); } catch { return false; } // gone already
}

// These and all that they started.
function processTree(roots) {
  const parents = new Map(readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).map((pid) => {
    try { return [Number(pid), Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')[1])]; } catch { return [Number(pid), 0]; }
  }));
  const tree = new Set(roots);
  for (let size = 0; size < tree.size;) {
    ({ size } = tree);
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid);
  }
  return tree;
}

// The processes of the browser that was started on this profile, and no other.
function browserProcesses(profile) {
  return readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(`--user-data-dir=${profile}`);
    } catch { return false; }
  });
}
