// Many tabs, one replicator: a leader runs a live replication for all, and is followed when it goes.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { onServer, openHouse, sealedOnServer } from './lib/ends.mjs';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { kind } from './lib/kind.mjs';
import { stage } from './lib/stage.mjs';
import { openTab, startSite } from './lib/tab.mjs';

const here = stage({ site: () => startSite(), couch: () => startCouch(), browser: () => launchBrowser() });

// A database on the server, made for that of this name here.
async function begin(name) {
  const { browser, couch, site } = here;
  const there = await couch.create(name);
  const url = couch.dbUrl(there);
  if (!kind.sealed) return { url, there: onServer(couch, there, url) };
  const page = await openTab(browser, site.origin);
  await openHouse(page);
  await page.evaluate((called) => house.open(called, {}), name);
  return { url, there: await sealedOnServer(page, couch, there, url, { local: name }) };
}

const START = async ({ name, url }) => {
  globalThis.db = await Database.open(name);
  globalThis.phases = [];
  globalThis.changes = [];
  globalThis.pauses = 0;
  globalThis.sync = db.sync(url, { live: true, retry: true });
  sync.on('status', ({ phase }) => { if (phases.at(-1) !== phase) phases.push(phase); });
  sync.on('paused', () => { pauses += 1; });
  sync.on('change', ({ direction, change }) => changes.push([direction, ...change.docs.map(({ _id }) => _id)]));
};

async function follow(name, url) {
  const page = await openTab(here.browser, here.site.origin);
  await page.evaluate(START, { name, url });
  return page;
}
const phase = (page) => page.evaluate(() => sync.status.phase);
const live = (page) => waitFor(async () => await phase(page) === 'live', { what: 'the state live' });

// Which pages ask the server for changes.
async function asking(pages) {
  const counts = await Promise.all(pages.map((page) => page.evaluate(() => performance.getEntriesByType('resource')
    .filter(({ name }) => name.includes('/_local/') || name.includes('_changes')).length)));
  return counts.map((count) => count > 0);
}

test('one of three tabs replicates, all know, and the next takes over', { timeout: 90_000 }, async () => {
  const { url, there } = await begin('leader');
  const pages = [];
  for (let i = 0; i < 3; i += 1) {
    pages.push(await follow('leader', url));
    await live(pages[i]);
    // Who comes later is told as well that all is done, and nobody twice.
    await waitFor(() => pages[i].evaluate(() => pauses > 0), { what: 'the event `paused`' });
  }
  assert.deepEqual(await Promise.all(pages.map((page) => page.evaluate(() => pauses))), [1, 1, 1]);
  assert.deepEqual(await asking(pages), [true, false, false]);

  await there.write({ _id: 'from-there', n: 1 });
  for (const page of pages) {
    await waitFor(() => page.evaluate(() => changes.some(([direction, id]) => direction === 'pull' && id === 'from-there')), { what: 'the change in every tab' });
    await waitFor(() => page.evaluate(() => sync.status.bytes.down > 0));
  }
  await pages[2].evaluate(() => db.put({ _id: 'from-a-follower' }));
  await waitFor(() => there.get('from-a-follower'), { what: 'a follower\'s document on the server' });
  await waitFor(() => pages[2].evaluate(() => sync.isPushed('from-a-follower')), { what: 'isPushed() in a follower' });

  // A call in a follower is as one in the leader.
  await pages[1].evaluate(() => sync.pause());
  for (const page of pages) await waitFor(async () => await phase(page) === 'paused', { what: 'the pause in every tab' });
  await there.write({ _id: 'while-paused', n: 2 });

  // The leader goes; what was asked of it holds.
  await pages[0].close();
  await waitFor(async () => (await asking(pages.slice(1))).filter(Boolean).length <= 1);
  await new Promise((resolve) => { setTimeout(resolve, 500); });
  assert.equal(await phase(pages[1]), 'paused');
  assert.equal(await pages[2].evaluate(() => db.get('while-paused').catch(({ status }) => status)), 404);
  await pages[2].evaluate(() => sync.resume());
  for (const page of pages.slice(1)) {
    await live(page);
    assert.equal((await page.evaluate(() => db.get('while-paused'))).n, 2);
  }

  // One that stops for itself stops nobody else, the leader or not.
  const leading = (await asking(pages.slice(1)))[0] ? 1 : 2;
  const result = await pages[leading].evaluate(async () => { sync.cancel(); return sync; });
  assert.equal(result.pull.status, 'cancelled');
  const last = pages[3 - leading];
  await there.write({ _id: 'at-last', n: 3 });
  await waitFor(() => last.evaluate(() => db.get('at-last').then(() => true, () => false)), { what: 'the last tab leading' });
  await live(last);
  await Promise.all(pages.slice(1).map((page) => page.close()));
});

// As if somebody went to another tab; a browser without a window shows them all.
const show = (page, isShown) => page.evaluate((seen) => {
  for (const [name, value] of [['visibilityState', seen ? 'visible' : 'hidden'], ['hidden', !seen]]) {
    Object.defineProperty(document, name, { value, configurable: true });
  }
  document.dispatchEvent(new Event('visibilitychange'));
}, isShown);

// The page that holds the lock.
async function leaderOf(pages) {
  for (const page of pages) {
    const client = await page.evaluate(async () => {
      const { held } = await navigator.locks.query();
      globalThis.mine ??= await navigator.locks.request(`mine ${crypto.randomUUID()}`, async ({ name }) => (
        (await navigator.locks.query()).held.find((lock) => lock.name === name).clientId));
      return held.some(({ name, clientId }) => name.startsWith('settee:') && clientId === globalThis.mine);
    });
    if (client) return pages.indexOf(page);
  }
  return -1;
}

test('a leader that nobody sees gives way to a tab that somebody looks at', { timeout: 90_000 }, async () => {
  const { url, there } = await begin('seen');
  const pages = [];
  for (let i = 0; i < 3; i += 1) {
    pages.push(await follow('seen', url));
    await live(pages[i]);
    await show(pages[i], i === 0);
  }
  const [first, second, third] = pages;
  assert.equal(await leaderOf(pages), 0);
  await second.evaluate(() => db.put({ _id: 'before' }));
  await waitFor(() => there.get('before'));

  // Leafed past, the third is not worth it; looked at, it leads, before its turn.
  await show(first, false);
  await show(third, true);
  await show(third, false);
  await show(second, true);
  await new Promise((resolve) => { setTimeout(resolve, 500); });
  await show(second, false);
  await show(third, true);
  await new Promise((resolve) => { setTimeout(resolve, 1_500); });
  assert.equal(await leaderOf(pages), 0);
  await third.evaluate(() => { phases.length = 0; });
  await waitFor(async () => await leaderOf(pages) === 2, { what: 'the third tab leading' });
  for (const page of pages) await live(page);
  assert.ok(!(await third.evaluate(() => phases)).includes('stopped'), 'it was not over');
  await there.write({ _id: 'from-there', n: 1 });
  await first.evaluate(() => db.put({ _id: 'from-the-first' }));
  for (const page of pages) await waitFor(() => page.evaluate(() => db.get('from-there').then(() => true, () => false)), { what: 'what came from there' });
  await waitFor(() => there.get('from-the-first'), { what: 'what went there' });
  for (const page of pages) assert.deepEqual(await page.evaluate(() => [sync.ended, sync.push.status.error, sync.pull.status.error]), [false, null, null]);

  // A pause that was asked for before holds under the next leader, and one who is seen keeps the lead.
  await first.evaluate(() => sync.pause());
  for (const page of pages) await waitFor(async () => await phase(page) === 'paused');
  await show(second, true);
  await new Promise((resolve) => { setTimeout(resolve, 4_000); });
  assert.equal(await leaderOf(pages), 2);
  await show(third, false);
  await waitFor(async () => await leaderOf(pages) === 1, { what: 'the second tab leading' });
  await new Promise((resolve) => { setTimeout(resolve, 300); });
  assert.deepEqual(await Promise.all(pages.map(phase)), ['paused', 'paused', 'paused']);
  await first.evaluate(() => sync.resume());
  for (const page of pages) await live(page);

  // The one that made way takes its turn again when the others are gone, and ends like any other.
  await Promise.all([second.close(), third.close()]);
  await waitFor(async () => await leaderOf([first]) === 0, { what: 'the first tab leading again' });
  await there.write({ _id: 'at-last', n: 1 });
  await waitFor(() => first.evaluate(() => db.get('at-last').then(() => true, () => false)), { what: 'the first tab going on' });
  const { pull } = await first.evaluate(async () => { sync.cancel(); return sync; });
  assert.equal(pull.status, 'cancelled');
  await first.close();
});

test('a leader whose tab crashes is followed at once', { timeout: 60_000 }, async () => {
  const { url, there } = await begin('crash');
  const first = await follow('crash', url);
  await live(first);
  const second = await follow('crash', url);
  await live(second);
  const session = await here.browser.context.newCDPSession(first);
  const crashed = new Promise((resolve) => { first.once('crash', resolve); });
  session.send('Page.crash').catch(() => {});
  await crashed;
  await there.write({ _id: 'after', n: 1 });
  await waitFor(() => second.evaluate(() => db.get('after').then(() => true, () => false)), { what: 'the change in the tab that is left' });
  await first.close();
  await second.close();
  here.browser.errors.splice(0, Infinity, ...here.browser.errors.filter((error) => !error.includes('the page crashed')));
});

if (kind.sealed) {
  test('a tab with keys is told plain ids by a leader without', { timeout: 60_000 }, async () => {
    const { url, there } = await begin('without-keys');
    const leading = await openTab(here.browser, here.site.origin);
    await leading.evaluate(() => { globalThis.Database = settee.Database; });
    await leading.evaluate(START, { name: 'without-keys', url });
    await live(leading);
    const following = await follow('without-keys', url);
    await live(following);
    assert.deepEqual([await leading.evaluate(() => db.locked), await following.evaluate(() => db.locked)], [true, false]);
    assert.equal(await leaderOf([leading, following]), 0);
    await there.write({ _id: 'from-there', n: 1 });
    const heard = (page) => waitFor(() => page.evaluate(() => changes.length && changes), { what: 'the change' });
    assert.deepEqual(await heard(following), [['pull', 'from-there']]);
    assert.match((await heard(leading))[0][1], /^e-/);
    await following.evaluate(() => db.put({ _id: 'from-here' }));
    await waitFor(() => there.get('from-here'), { what: 'the follower\'s document' });
    await waitFor(() => following.evaluate(() => sync.isPushed('from-here')), { what: 'isPushed() in a follower' });
    assert.equal((await leading.evaluate(() => failure(sync.isPushed('from-here')))).name, 'locked');
    await Promise.all([leading.close(), following.close()]);
  });
}
