// Pages that use the package by its public name, and the packages of the tests' own that they load.
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { PKG, WWW } from '../../../tools/lib/paths.mjs';
import { kind } from './kind.mjs';
import { BLANK, startStatic } from './static.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));

// The static server of startStatic, with this folder at /lib/ besides.
export function startSite({ mounts = {}, ...options } = {}) {
  return startStatic({ mounts: { '/settee/': PKG, '/lib/': HERE, '/': WWW, ...mounts }, ...options });
}

// An empty page of the origin with the package in `settee`, `Database` beside it and `failure(promise)`,
// which answers what a call failed with as a plain object (null if it did not), and `bring(db, docs)` of sides.mjs. In a suite on sealed channels, `Database` opens those.
export async function openTab(browser, origin, { page, path: where = BLANK } = {}) {
  page ??= await browser.newPage();
  await page.goto(origin + where);
  await ready(page);
  return page;
}

export async function ready(page) {
  await page.evaluate(async (isSealed) => {
    globalThis.settee = await import('settee');
    globalThis.Database = isSealed ? (await import('/lib/channels.mjs')).sealing(settee) : settee.Database;
    globalThis.bring = async (...given) => (await import('/lib/sides.mjs')).bring(Database, ...given);
    globalThis.failure = (promise) => Promise.resolve(promise).then(() => null, (error) => ({
      isError: error instanceof Error, name: error.name, status: error.status, reason: error.reason, message: error.message,
    }));
  }, kind.sealed);
}
