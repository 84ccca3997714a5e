// What the tests of a page and its server have around them: a server, a proxy that keeps what is said, a page, and short ways
// to ask either.
import { launchBrowser, startCouch } from './index.mjs';
import { startRecorder } from './recorder.mjs';
import { beforeEach } from 'node:test';
import { stage } from './stage.mjs';
import { openTab, startSite } from './tab.mjs';

// Answers the stage as `here`, with { couch, proxy, site, browser, page }, and
//   put, get, bulk, allIds  of a database of the server, by its name
//   to(ending)       the requests whose path ends so; said() is all of them, for a failing test
export function online() {
  const here = stage({
    couch: () => startCouch(),
    proxy: ({ couch }) => startRecorder(couch),
    site: () => startSite(),
    browser: () => launchBrowser(),
    async page({ browser, site }) {
      const page = await openTab(browser, site.origin);
      await helpers(page);
      return page;
    },
  });
  beforeEach(() => {
    here.proxy.clear();
    here.proxy.fail(null);
  });
  const must = (...args) => here.couch.must(...args);
  return {
    here,
    put: (name, doc) => must('PUT', `/${name}/${encodeURIComponent(doc._id)}`, doc),
    get: (name, id, query = '') => must('GET', `/${name}/${encodeURIComponent(id)}${query}`),
    bulk: (name, docs, more) => must('POST', `/${name}/_bulk_docs`, { docs, ...more }),
    allIds: async (name) => (await must('GET', `/${name}/_all_docs`)).rows.map(({ id }) => id),
    to: (ending) => here.proxy.requests.filter(({ path }) => path.endsWith(ending)),
    said: () => here.proxy.requests.map(({ method, path, status }) => `${method} ${path} ${status}`).join('\n'),
  };
}

// In a page: watch(task), the same task with the names of its events in `task.log`, and until(probe, what).
export const helpers = (tab) => tab.evaluate(() => {
  globalThis.watch = (task) => {
    task.log = [];
    task.details = [];
    for (const event of ['change', 'paused', 'active', 'denied', 'checkpoint', 'complete', 'error']) {
      task.on(event, (detail) => { task.log.push(event); task.details.push([event, detail]); });
    }
    return task;
  };
  globalThis.until = async (probe, what, timeout = 15_000) => {
    for (const end = performance.now() + timeout; ;) {
      const value = await Promise.resolve(probe()).catch(() => {});
      if (value) return value;
      if (performance.now() > end) throw new Error(`${what} did not come true`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
});
