// What tests of the gallery do and ask, as a person would.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { TARGET } from '../../../tools/lib/paths.mjs';
import { waitFor } from './wait.mjs';

export const DEVICES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
export const SCREENSHOTS = path.join(TARGET, 'screenshots');
mkdirSync(SCREENSHOTS, { recursive: true });

export const BOUND_MS = 10_000; // what a busy machine may take
export const bound = { timeout: BOUND_MS };
export const PASSPHRASE = 'otter lamp violin stone';

export const state = (page) => page.locator('#sync-state').getAttribute('data-state');
export const words = (page) => page.locator('#sync-state').textContent();
// Until the sentence about the server is one of these.
export const says = (page, pattern, timeout = 30_000) => waitFor(async () => pattern.test(await words(page)), { what: String(pattern), timeout })
  .catch(async (error) => { throw new Error(`${error.message}; it says “${await words(page)}”`); });
export const TIME = String.raw`(\w+ \d?\d, \d{4}, )?\d?\d:\d\d(\s[AP]M)?`; // as this browser's language writes it; about midnight with the day
export const ids = (page) => page.locator('.tile').evaluateAll((tiles) => tiles.map((tile) => tile.dataset.id));
export const add = (page, paths) => page.locator('#file-input').setInputFiles(paths);
export const tile = (page, id) => page.locator(`.tile[data-id="${id}"]`);
export const count = (page, n, what = `${n} photos`) => waitFor(async () => (await ids(page)).length === n, { what, ...bound });
// Every picture near the screen is there, decoded.
export const pictured = (page) => waitFor(() => page.locator('.tile').evaluateAll((tiles) => tiles.every((one) => {
  const { top, bottom } = one.getBoundingClientRect();
  const image = one.querySelector('img');
  return bottom < 0 || top > innerHeight || (one.classList.contains('loaded') && image.naturalWidth > 0);
})), { what: 'every picture being shown', ...bound });

export async function caption(page, id, text) {
  await tile(page, id).locator('.tile-open').click();
  await page.locator('#viewer-caption').click();
  await page.locator('#caption-field').fill(text);
  await page.locator('#caption-field').press('Enter');
  await page.locator('#viewer-close').click();
}

/** Until the page shows one of these screens; answers which. */
export async function screen(page, ...names) {
  await page.waitForSelector([...names, 'failed'].map((name) => `body[data-page=${name}]`).join(', '), { timeout: 30_000 });
  const shown = await page.evaluate(() => document.body.dataset.page);
  assert.ok(names.includes(shown), `${shown}: ${await page.locator('#failure-text').textContent()}`);
  return shown;
}

/** From the first screen to an empty private gallery; answers the recovery code. */
export async function begin(page, { passphrase = PASSPHRASE, stay = false } = {}) {
  await screen(page, 'welcome');
  await page.locator('#begin').click();
  await page.locator('#create-passphrase').fill(passphrase);
  if (stay) await page.locator('#create-stay').check();
  await page.locator('#create-passphrase').press('Enter');
  await screen(page, 'code');
  const code = (await page.locator('#code span').allTextContents()).join('-');
  await page.locator('#code-kept').click();
  await page.locator('#code-last').fill(code.slice(-4));
  await page.locator('#code-last').press('Enter');
  await screen(page, 'ready');
  return code;
}

/** From the first screen to the gallery that a server keeps; the address is known to the page, or given. */
export async function join(page, code, { server, passphrase = PASSPHRASE } = {}) {
  if (await screen(page, 'welcome', 'join') === 'welcome') await page.locator('#join').click();
  if (server) await page.locator('#join-address').fill(server);
  await page.locator('#join-code').fill(code);
  await page.locator('#join-passphrase').fill(passphrase);
  await page.locator('#join-passphrase').press('Enter');
}

export async function unlock(page, passphrase = PASSPHRASE) {
  await screen(page, 'locked');
  await page.locator('#unlock-passphrase').fill(passphrase);
  await page.locator('#unlock-passphrase').press('Enter');
  await screen(page, 'ready');
}

/** Pictures of what is shown, on each device, by day and by night; nothing sticks out at the side. */
export async function look(page, what, { devices = DEVICES, fullPage = false } = {}) {
  const before = page.viewportSize();
  for (const [device, viewport] of Object.entries(devices)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(300);
      await page.screenshot({ path: path.join(SCREENSHOTS, `${what}-${device}-${colorScheme}.png`), fullPage });
    }
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${what}, ${device}: nothing sticks out at the side`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(before);
}
