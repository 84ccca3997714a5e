// A laptop that is shut, and a tab that the browser freezes: nothing of the page goes on, and its lines are dead without a word.
import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { launchBrowser, sleep, startCouch, waitFor } from './lib/index.mjs';
import { startFaultProxy } from './lib/proxy.mjs';
import { stage } from './lib/stage.mjs';
import { stories } from './lib/story.mjs';
import { startSite } from './lib/tab.mjs';

const here = stage({
  couch: () => startCouch(),
  proxy: ({ couch }) => startFaultProxy(couch),
  site: () => startSite(),
  browser: () => launchBrowser(),
});
after(() => assert.deepEqual(here.browser.errors, []));
beforeEach(() => here.proxy.calm());

const { beginInPage, bothTheSame, endSync, heard, isLive, judge, openIn, startSync, toldIn, work } = stories(here);

// How long nothing of the page went on, at most, since `watchClock`.
const watchClock = ({ page }) => page.evaluate(() => {
  globalThis.gap = 0;
  let last = Date.now();
  setInterval(() => {
    gap = Math.max(gap, Date.now() - last);
    last = Date.now();
  }, 50);
});

const ASLEEP_MS = 2_500;

// How soon a line is known to be dead. Where a server's lines are held back (pouchdb-server) there are no heartbeats to go by, and
// a browser keeps connections that died without a word: then it takes `timeout`, a minute unless told otherwise.
// A photo that goes over such a line (100 kB, at 2 kB a second at the slowest) is given up after 54 s, and the next line may be dead too.
const PATIENCE_MS = 240_000;
const OPTIONS = { retry: true, live: true, heartbeat: 800, connection_timeout: 2_000, timeout: 4_000 };

// What became of the lines meanwhile: [what, while asleep, after waking].
const LINES = [
  ['went dumb', () => here.proxy.mute()],
  ['were cut', async () => {
    await here.proxy.down();
    await here.proxy.up();
  }],
  ['stay', () => {}],
];

for (const [what, happens] of LINES) {
  test(`a laptop that sleeps while its lines ${what}`, { timeout: 900_000 }, async (t) => {
    const story = await beginInPage(what);
    t.after(() => story.tab.page.close());
    story.patience = PATIENCE_MS;
    const { tab, world } = story;
    await startSync(story, OPTIONS);
    await bothTheSame(story);
    await watchClock(tab);
    for (let round = 0; round < 2; round += 1) {
      await waitFor(() => isLive(story), { what: 'being live' });
      // Once with something under way.
      if (round) world.here.push(...await story.edit([{ _id: 'just before', _attachments: { f: { content_type: 'x/y', data: 'aGk=' } } }]));
      const wake = here.browser.sleep();
      try {
        await happens();
        await work(story, ['there']);
        await sleep(ASLEEP_MS);
      } finally {
        wake();
      }
      await bothTheSame(story, `round ${round}: all being there after waking up`);
      await work(story);
      await bothTheSame(story);
    }
    assert.ok(await tab.page.evaluate(() => gap) >= ASLEEP_MS, 'it did not sleep');
    await endSync(story);
    heard(await toldIn(story), { mayRepeat: true, ended: { push: 'complete', pull: 'complete' } });
    await judge(story);
  });
}

for (const type of ['basic', 'session']) {
  test(`a laptop that sleeps until its login has ended (${type})`, { timeout: 900_000 }, async (t) => {
    const { couch, proxy } = here;
    if (!couch.auth && type === 'session') return t.skip('this server lets everybody in');
    const story = await beginInPage(`login ${type}`);
    const { page } = story.tab;
    t.after(() => page.close());
    story.patience = PATIENCE_MS;
    story.url = proxy.dbUrl(story.name, null);
    await startSync(story, { ...OPTIONS, auth: couch.auth ? { ...couch.auth, type } : undefined }, 50);
    await bothTheSame(story);
    await waitFor(() => isLive(story), { what: 'being live' });
    let isOver = false;
    proxy.on(({ kind, method }) => { if (kind === 'session' && method === 'POST') isOver = false; });
    const wake = here.browser.sleep();
    try {
      await proxy.down();
      await proxy.up();
      isOver = true;
      proxy.plan([{ when: () => isOver, fault: { type: 'status', status: 401 } }]);
      await work(story, ['there']);
      await sleep(ASLEEP_MS);
    } finally {
      wake();
    }
    await story.edit([{ _id: 'written without a login' }]).then((done) => story.world.here.push(...done));
    if (type === 'basic') {
      await waitFor(() => page.evaluate(() => [task.push, task.pull].every(({ status }) => status.phase === 'needs-auth' && status.error.status === 401)), { what: 'both ways asking for a login' });
      await waitFor(() => page.evaluate(() => task.status.pending.up === 1), { what: 'what is to be sent being counted' });
      isOver = false;
      await page.evaluate((auth) => (auth ? task.login(auth) : task.resume()), couch.auth);
    }
    await bothTheSame(story, 'all being there after a login');
    await work(story);
    await bothTheSame(story);
    await endSync(story);
    heard(await toldIn(story), { mayRepeat: true, needsLogin: true, broken: type === 'basic' || undefined, ended: { push: 'complete', pull: 'complete' } });
    await judge(story);
  });
}

// Stops a page as a browser does with a tab that nobody looks at: no timer, no message, no answer gets through, and its locks
// stay its own. Gives a function that thaws it. (Chromium freezes no page that Playwright holds, whatever it is told.)
async function freeze(page) {
  const session = await here.browser.context.newCDPSession(page);
  await session.send('Debugger.enable');
  const paused = new Promise((resolve) => { session.once('Debugger.paused', resolve); });
  await page.evaluate(() => { setTimeout(() => { debugger; }, 0); });
  await paused;
  return async () => {
    await session.send('Debugger.resume');
    await session.detach();
    await page.evaluate(() => document.dispatchEvent(new Event('resume')));
  };
}

// As if somebody went to another tab; a browser without a window shows them all.
const show = ({ tab }, isShown) => tab.page.evaluate((seen) => {
  for (const [name, value] of [['visibilityState', seen ? 'visible' : 'hidden'], ['hidden', !seen]]) {
    Object.defineProperty(document, name, { value, configurable: true });
  }
  document.dispatchEvent(new Event('visibilitychange'));
}, isShown);

test('two tabs, and the one that replicates is frozen', { timeout: 900_000 }, async (t) => {
  const { proxy, couch } = here;
  const story = await beginInPage('two tabs');
  const first = story.tab.page;
  t.after(() => first.close());
  story.patience = PATIENCE_MS;
  await startSync(story, OPTIONS);
  await bothTheSame(story);
  await waitFor(() => isLive(story), { what: 'being live' });
  const other = { ...story, tab: { page: await openIn(here.browser, story.name) } };
  const second = other.tab.page;
  t.after(() => second.close());
  await show(other, false);
  await startSync(other, OPTIONS);
  await waitFor(() => isLive(other), { what: 'the other tab knowing it' });
  for (const round of [1, 2]) {
    const thaw = await freeze(first);
    proxy.mute();
    // What happens while nobody replicates.
    const { rev } = await couch.must('PUT', `/${story.name}/frozen:${round}`, { n: round });
    story.world.there.push({ _id: `frozen:${round}`, _rev: rev });
    story.world.here.push(...await second.evaluate((n) => sides.editDocs(db, [{ _id: `meanwhile:${n}` }]), round));
    // Somebody looks at the other tab: it leads, since nobody else answers.
    await show(other, true);
    await waitFor(() => second.evaluate((n) => db.get(`frozen:${n}`).then(() => true, () => false), round), { timeout: 40_000, what: 'what was written there' });
    await waitFor(async () => (await couch.request('GET', `/${story.name}/meanwhile:${round}`)).status === 200, { timeout: 40_000, what: 'what was written here' });
    await waitFor(() => isLive(other), { what: 'the other tab being live' });
    await thaw();
    await waitFor(() => isLive(story), { what: 'the frozen tab knowing how it stands' });
    await work(story);
    await bothTheSame(story, `round ${round}: both sides the same after it woke up`);
    const leads = await Promise.all([first, second].map((page) => page.evaluate(async () => {
      const { held } = await navigator.locks.query();
      return held.filter(({ name }) => name.startsWith('settee:') && name.includes(db.name)).length;
    })));
    assert.deepEqual(leads, [2, 2], 'one leads, each way');
    await show(other, false);
  }
  for (const page of [first, second]) {
    assert.equal(await page.evaluate(() => task.ended ?? false), false);
    const wrong = (await page.evaluate(() => told)).filter(({ type }) => ['error', 'complete', 'denied'].includes(type));
    assert.deepEqual(wrong, []);
  }
  await judge(story);
});
