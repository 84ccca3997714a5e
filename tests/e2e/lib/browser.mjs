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
// Answers { context, page, userDataDir, errors, newPage, close, kill }.
// `errors` collects uncaught errors and failed console assertions of every
// page; kill() ends the browser as a power cut would.
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
      for (const pid of browserProcesses(profile)) { try { process.kill(pid, 'SIGKILL'); } catch { /* gone already */ } }
      await closed;
    },
  };
}

// The processes of the browser that was started on this profile, and no other.
function browserProcesses(profile) {
  return readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(`--user-data-dir=${profile}`);
    } catch { return false; }
  });
}
