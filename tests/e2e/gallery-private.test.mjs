// Private galleries as their owner meets them: made, locked, unlocked and opened on a second device, through a real server
// that learns nothing; and every word that a person needs on the way.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { launchBrowser, startCouch, startStatic, waitFor } from './lib/index.mjs';
import {
  PASSPHRASE, add, begin, bound, caption, count, ids, join, look, pictured, says, screen, tile, unlock,
} from './lib/gallery.mjs';
import { photos, small } from './lib/photos.mjs';
import { answerOf, bodyOf, startRecorder } from './lib/recorder.mjs';

let couch;
let proxy;
let site;
const runs = [];

before(async () => {
  [couch, site] = await Promise.all([startCouch(), startStatic()]);
  proxy = await startRecorder(couch);
});
after(async () => {
  await Promise.all(runs.map((run) => run.close()));
  await Promise.all([site?.stop(), proxy?.close()]);
  await couch?.close();
});

async function device(options) {
  const run = await launchBrowser({ acceptDownloads: true, ...options });
  runs.push(run);
  return run;
}
const address = (name, db = 'gallery') => `${site.origin}/?db=${db}&server=${encodeURIComponent(proxy.dbUrl(name))}`;
const text = (page, id) => page.locator(`#${id}`).textContent();
const told = (page, id, pattern) => waitFor(async () => pattern.test(await text(page, id)), { what: `${pattern} in #${id}`, ...bound })
  .catch(async (error) => { throw new Error(`${error.message}; it says “${await text(page, id)}”`); });
const focused = (page) => page.evaluate(() => document.activeElement.id);
const page_ = (page) => page.evaluate(() => document.body.dataset.page);
const html = (page) => page.evaluate(() => document.documentElement.outerHTML);
// Nothing of a photo is on the page, not even where nobody looks.
async function bare(page, ...secrets) {
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('img')].filter((image) => image.src).length), 0);
  const all = await html(page);
  for (const secret of secrets) assert.ok(!all.includes(secret), `“${secret}” is still on the page`);
}
// What a screen reader has to go by: a name for each control that shows.
const nameless = (page) => page.evaluate(() => [...document.querySelectorAll('input, textarea, button, a[href]')].filter((one) => one.checkVisibility()
  && !one.labels?.length && !one.getAttribute('aria-label') && !one.textContent.trim() && !one.title && !one.querySelector('img[alt]')).map((one) => one.outerHTML));

// Each step builds on those before.
const steps = (t) => {
  let broken = false;
  return (title, work) => t.test(title, async (sub) => {
    if (broken) return sub.skip('an earlier step failed');
    broken = true;
    await work(sub);
    broken = false;
  });
};

test('a new gallery is private: passphrase, recovery code, photos, and a lock for every tab', { timeout: 300_000 }, async (t) => {
  const step = steps(t);
  const run = await device();
  const { page } = run;
  let code;
  let other;

  await step('the first screen offers the three ways, and nothing is made before one is taken', async () => {
    await page.goto(`${site.origin}/?db=gallery`);
    await screen(page, 'welcome');
    assert.deepEqual(await nameless(page), []);
    assert.deepEqual((await page.evaluate(() => indexedDB.databases())).map(({ name }) => name).filter((name) => name === 'settee:gallery'), []);
    await look(page, 'private-welcome');
  });

  await step('a passphrase: honest advice, no rule but that there is one', async () => {
    await page.locator('#begin').click();
    await screen(page, 'create');
    assert.equal(await focused(page), 'create-passphrase');
    await page.locator('#create-passphrase').press('Enter');
    await told(page, 'create-problem', /^Type a passphrase\.$/);
    for (const [phrase, level] of [['hello123', 'weak'], ['aaaaaaaaaaaaaaaaaa', 'weak'], ['1990-01-01', 'weak'], ['qwertyuiop', 'weak'], ['otter lamp violin', 'fair'], ['otter lamp violin stone meadow', 'good']]) {
      await page.locator('#create-passphrase').fill(phrase);
      await told(page, 'create-advice', { weak: /^Weak\. /, fair: /^Fair\. /, good: /^Good, / }[level]);
      assert.equal(await page.locator('#create-advice').getAttribute('data-level'), level, phrase);
    }
    await page.locator('#create-passphrase').fill('hello123');
    await told(page, 'create-advice', /within|in no time/);
    await look(page, 'private-create');
    await page.locator('[data-shows=create-passphrase]').click();
    assert.equal(await page.locator('#create-passphrase').getAttribute('type'), 'text');
    await page.locator('#create-form [data-back]').click();
    await screen(page, 'welcome');
    assert.equal(await focused(page), 'begin');
    await page.locator('#begin').click();
    await page.locator('#create-passphrase').fill(PASSPHRASE);
    await page.locator('#create-passphrase').press('Enter');
    await screen(page, 'code');
  });

  await step('the recovery code: shown once, kept where the person wants, typed back', async () => {
    const groups = await page.locator('#code span').allTextContents();
    code = groups.join('-');
    assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$/);
    assert.deepEqual(await nameless(page), []);
    await look(page, 'private-code');
    await run.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: site.origin });
    await page.locator('#code-copy').click();
    await page.locator('.toast', { hasText: 'Copied' }).waitFor(bound);
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), code);
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#code-save').click()]);
    assert.equal(download.suggestedFilename(), 'settee-recovery-code.txt');
    assert.ok(readFileSync(await download.path(), 'utf8').includes(code));
    await page.evaluate(() => { globalThis.print = () => { globalThis.printed = true; }; });
    await page.locator('#code-print').click();
    assert.equal(await page.evaluate(() => printed), true);
    await page.emulateMedia({ media: 'print' });
    assert.deepEqual(await page.evaluate(() => ['code', 'code-copy', 'code-kept'].map((id) => document.getElementById(id).checkVisibility())), [true, false, false]);
    await page.emulateMedia({ media: 'screen' });

    await page.locator('#code-kept').click();
    assert.equal(await focused(page), 'code-last');
    assert.equal(await page.locator('#code').isVisible(), false);
    await page.locator('#code-last').fill('ab');
    await page.locator('#code-last').press('Enter');
    await told(page, 'code-problem', /^Type the four/);
    await page.locator('#code-last').fill(groups[0] === groups[6] ? 'ZZZZ' : groups[0]);
    await page.locator('#code-last').press('Enter');
    await told(page, 'code-problem', /^These are not the last four/);
    assert.equal(await page_(page), 'code');
    await page.locator('#code-again').click();
    assert.equal(await page.locator('#code').isVisible(), true);
    await page.locator('#code-kept').click();
    await page.locator('#code-last').fill(` ${groups[6].toLowerCase()}`);
    await page.locator('#code-last').press('Enter');
    await screen(page, 'ready');
    assert.ok(!(await html(page)).includes(groups[3]), 'the code is nowhere on the page any more');
    assert.equal(await text(page, 'privacy-state'), 'Unlocked');
  });

  await step('locked in one tab, locked in all, and no picture is left', async () => {
    await add(page, photos(3));
    await count(page, 3);
    await pictured(page);
    const [id] = await ids(page);
    await caption(page, id, 'By the old mill');
    other = await run.newPage();
    await other.goto(`${site.origin}/?db=gallery`);
    await screen(other, 'locked');
    assert.equal(await focused(other), 'unlock-passphrase');
    assert.deepEqual(await nameless(other), []);
    await unlock(other);
    await count(other, 3);
    await tile(other, id).locator('.tile-open').click();
    await other.locator('#viewer-original.ready').waitFor(bound);
    await other.locator('#viewer-caption').click();
    await other.locator('#caption-field').fill('Being written');

    const [open] = await page.evaluate(() => [[...document.querySelectorAll('.tile img')].map((image) => image.src)]);
    await page.bringToFront();
    await page.locator('#lock').click();
    for (const each of [page, other]) {
      await screen(each, 'locked');
      await waitFor(async () => (await ids(each)).length === 0, { what: 'the tiles leaving', ...bound });
      await waitFor(() => each.evaluate(() => !document.querySelector('.tile-leaving')), { what: 'the last of them', ...bound });
      await bare(each, 'By the old mill', 'Being written', 'evening-ridges.jpg', id);
      assert.deepEqual(await each.evaluate(() => [document.getElementById('viewer').open, document.getElementById('count').textContent, document.getElementById('caption-field').value]), [false, '', '']);
      assert.equal(await text(each, 'privacy-state'), 'Locked');
      await told(each, 'privacy-spoken', /^The gallery is locked\.$/);
    }
    for (const url of open) assert.equal(await page.evaluate((one) => fetch(one).then(() => 'there', () => 'gone'), url), 'gone', 'the pictures in memory are let go of');
    await other.close();
    await look(page, 'private-locked');
  });

  await step('a wrong passphrase, no passphrase, the right one', async () => {
    await page.locator('#unlock-form [type=submit]').click();
    await told(page, 'unlock-problem', /^Type your passphrase\.$/);
    await page.locator('#unlock-passphrase').fill('not this one');
    await page.locator('#unlock-passphrase').press('Enter');
    await told(page, 'unlock-problem', /^That did not unlock it\. /);
    assert.equal(await focused(page), 'unlock-passphrase');
    assert.equal(await page_(page), 'locked');
    await look(page, 'private-wrong');
    await unlock(page);
    await count(page, 3);
    await pictured(page);
  });

  await step('forgotten: mistyped codes are told from wrong ones, and a new passphrase is asked for', async () => {
    await page.reload();
    await screen(page, 'locked');
    await page.locator('#unlock-other').click();
    assert.equal(await focused(page), 'unlock-code');
    const typed = async (attempt, pattern) => {
      await page.locator('#unlock-code').fill(attempt);
      await page.locator('#unlock-code').press('Enter');
      await told(page, 'unlock-problem', pattern);
    };
    const swap = (letter) => (letter === 'A' ? 'B' : 'A');
    await typed(code.slice(0, -1), /^A recovery code has seven groups/);
    await typed(code.slice(0, -1) + swap(code.at(-1)), /typing mistake/);
    await typed('00000-00000-00000-00000-00000-000', /is not the one of this gallery/);
    await look(page, 'private-forgotten');
    await page.locator('#unlock-code').fill(code.toLowerCase().replaceAll('-', ' '));
    await page.locator('#unlock-code').press('Enter');
    await screen(page, 'ready');
    await page.locator('#privacy[open]').waitFor(bound);
    assert.equal(await focused(page), 'new-passphrase');
    await page.locator('#new-passphrase').press('Enter');
    await told(page, 'new-problem', /^Type a passphrase\.$/);
    await page.locator('#new-passphrase').fill('a quite different one');
    await look(page, 'private-change');
    await page.locator('#new-passphrase').press('Enter');
    await page.locator('.toast', { hasText: 'The new passphrase is set' }).waitFor(bound);
    await page.reload();
    await screen(page, 'locked');
    await page.locator('#unlock-passphrase').fill(PASSPHRASE);
    await page.locator('#unlock-passphrase').press('Enter');
    await told(page, 'unlock-problem', /^That did not unlock it\. /);
    await unlock(page, 'a quite different one');
    await count(page, 3);
  });

  await step('it stays unlocked on this device until it is locked', async () => {
    await page.locator('#privacy-button').click();
    assert.deepEqual(await nameless(page), []);
    assert.match(await text(page, 'privacy-shows'), /^Whoever runs the server cannot look at your photos, captions or names, but sees how many photos there are, how large they are, and when and from where they come\.$/);
    await look(page, 'private-dialog');
    await page.locator('#privacy-stay').check();
    await page.locator('.toast', { hasText: 'stays unlocked' }).waitFor(bound);
    await page.reload();
    await screen(page, 'ready');
    await count(page, 3);
    await page.locator('#privacy-button').click();
    assert.equal(await page.locator('#privacy-stay').isChecked(), true);
    await page.locator('#privacy-lock').click();
    await screen(page, 'locked');
    await page.reload();
    await screen(page, 'locked');
    await page.locator('#unlock-stay').check();
    await unlock(page, 'a quite different one');
    await page.reload();
    await screen(page, 'ready');
    await count(page, 3);
  });

  await step('the page that says what shows is there, and looks as the rest', async () => {
    const link = page.locator('#privacy a', { hasText: 'What shows' });
    const [shown] = await Promise.all([run.context.waitForEvent('page'), page.locator('#privacy-button').click().then(() => link.click())]);
    await shown.waitForLoadState();
    assert.match(await shown.locator('h1').textContent(), /^What shows of a private gallery/);
    await look(shown, 'private-page', { fullPage: true });
    await shown.close();
  });

  await step('a further gallery in the same browser takes the keys that are there', async () => {
    await page.goto(`${site.origin}/?db=second`);
    await screen(page, 'welcome');
    await page.locator('#begin').click();
    await screen(page, 'locked');
    assert.equal(await text(page, 'unlock-heading'), 'Unlock, to begin a new gallery');
    await unlock(page, 'a quite different one');
    assert.equal(await text(page, 'privacy-state'), 'Unlocked');
    await add(page, photos(1));
    await count(page, 1);
  });
  assert.deepEqual(run.errors, []);
});

test('left before the recovery code was typed back, it begins anew', { timeout: 120_000 }, async () => {
  const run = await device();
  const { page } = run;
  page.on('dialog', (dialog) => dialog.accept()); // it asks whether to leave
  await page.goto(`${site.origin}/?db=gallery`);
  await screen(page, 'welcome');
  await page.locator('#begin').click();
  await page.locator('#create-passphrase').fill(PASSPHRASE);
  await page.locator('#create-passphrase').press('Enter');
  await screen(page, 'code');
  const lost = await page.locator('#code span').allTextContents();
  await page.reload();
  const code = await begin(page, { passphrase: 'another after all' });
  assert.notEqual(code, lost.join('-'));
  assert.equal(await text(page, 'privacy-state'), 'Unlocked');
  assert.deepEqual(run.errors, []);
});

test('photos that are dropped before there is a gallery are in it afterwards', { timeout: 120_000 }, async () => {
  const run = await device();
  const { page } = run;
  await page.goto(`${site.origin}/?db=gallery`);
  await screen(page, 'welcome');
  await page.evaluate((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(bytes)], 'early.jpg', { type: 'image/jpeg' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, [...readFileSync(small('early.jpg', '2026:01:02 03:04:05'))]);
  await page.locator('.toast', { hasText: '1 file waits until you have chosen' }).waitFor(bound);
  await begin(page);
  await count(page, 1);
  await page.locator('#lock').click();
  await screen(page, 'locked');
  await page.evaluate(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(['x'], 'late.jpg', { type: 'image/jpeg' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  });
  await page.locator('.toast', { hasText: 'Unlock the gallery first' }).waitFor(bound);
  assert.deepEqual(run.errors, []);
});

// Bytes from the middle of a photo's picture.
const middle = (file) => { const bytes = readFileSync(file); return bytes.subarray(bytes.length - 200, bytes.length - 168); };
const CANARIES = (file) => ({
  'file name': path.basename(file, '.jpg'), caption: 'canary caption 🌄', EXIF: 'Settee tests', 'EXIF date': '2024:02:03 04:05:06', 'date taken': '2024-02-03T04:05:06', picture: middle(file), type: 'image/jpeg',
});
const ALBUM = { album: 'canary-album' };

/** Every form of a text or bytes, as texts of one letter per byte. */
function forms(canary) {
  const bytes = Buffer.from(canary);
  const base64 = [0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64').slice(Math.ceil((shift * 4) / 3), -4));
  const all = [bytes.toString('latin1'), bytes.toString('hex'), ...base64, ...base64.map((one) => one.replaceAll('+', '-').replaceAll('/', '_'))];
  if (typeof canary === 'string') all.push(Buffer.from(canary, 'utf16le').toString('latin1'), encodeURIComponent(canary), JSON.stringify(canary).slice(1, -1));
  return all;
}

/** Which of the canaries (`{what: text or bytes}`) are in these texts, by their names. */
const found = (texts, canaries) => Object.entries(canaries)
  .filter(([, canary]) => forms(canary).some((form) => texts.some((text) => text.includes(form)))).map(([what]) => what);

// All that a server has and heard of a database.
async function onServer(name) {
  const dump = await Promise.all(['_all_docs?include_docs=true&attachments=true&conflicts=true', '_changes?include_docs=true&style=all_docs', '']
    .map((asked) => couch.must('GET', `/${name}/${asked}`)));
  const said = proxy.requests.filter(({ path: asked }) => asked.startsWith(`/${name}`)).flatMap((request) => (
    [request.path, String(request.query), request.type, bodyOf(request).toString('latin1'), answerOf(request).toString('latin1')]));
  return [...dump.map((json) => JSON.stringify(json)), ...said];
}

test('two devices, and a server that learns nothing', { timeout: 300_000 }, async (t) => {
  const step = steps(t);
  const name = await couch.create('private');
  const [first, second] = [await device(), await device()];
  const [one, two] = [first.page, second.page];
  const canary = small('canary-file-name.jpg', '2024:02:03 04:05:06');
  let code;

  await step('the first device begins, and sends', async () => {
    await one.goto(address(name, ALBUM.album));
    code = await begin(one);
    await says(one, /^Up to date$/);
    await add(one, [canary, ...photos(2)]);
    await count(one, 3);
    await caption(one, (await ids(one)).at(-1), CANARIES(canary).caption);
    await says(one, /^Up to date$/);
    await look(one, 'private-busy');
  });

  await step('what the server holds and heard has none of it, and the same search finds all of a gallery that is not sealed', async () => {
    const clear = await couch.create('clear');
    const plain = await device();
    await plain.page.goto(address(clear, 'plain'));
    await screen(plain.page, 'welcome');
    await plain.page.locator('#begin-clear').click();
    await screen(plain.page, 'ready');
    await add(plain.page, [canary]);
    await count(plain.page, 1);
    await caption(plain.page, (await ids(plain.page))[0], CANARIES(canary).caption);
    await says(plain.page, /^Up to date$/);
    await waitFor(async () => found(await onServer(clear), CANARIES(canary)).includes('caption'), { what: 'the caption on the server', ...bound });
    assert.deepEqual(found(await onServer(clear), CANARIES(canary)), Object.keys(CANARIES(canary)), 'the search is blind');
    const server = await onServer(name);
    assert.ok(server.join('').includes('"e-') && server.length > 20);
    assert.deepEqual(found(server, { ...CANARIES(canary), ...ALBUM, passphrase: PASSPHRASE, code, 'code, plain': code.replaceAll('-', '') }), []);
    assert.equal(await text(plain.page, 'privacy-state'), 'Not sealed');
    await plain.page.locator('#privacy-button').click();
    assert.match(await text(plain.page, 'privacy-shows'), /can see every photo, caption and file name/);
    await look(plain.page, 'clear-dialog');
  });

  await step('the second device is told what is there, and what is wrong with what it is given', async () => {
    await two.goto(address(name));
    await screen(two, 'welcome');
    await told(two, 'welcome-server', /^A private gallery is kept at .* If it is yours, open it with its recovery code\.$/);
    await look(two, 'private-welcome-known');
    await two.locator('#join').click();
    await screen(two, 'join');
    assert.equal(await focused(two), 'join-code');
    assert.deepEqual(await nameless(two), []);
    const attempt = async (given, pattern) => {
      await two.locator('#join-address').fill(given.server ?? proxy.dbUrl(name).replace(/\/\/.*@/, '//'));
      await two.locator('#join-code').fill(given.code ?? code);
      await two.locator('#join-passphrase').fill(given.passphrase ?? 'for the second device');
      await two.locator('#join-passphrase').press('Enter');
      await told(two, 'join-problem', pattern);
    };
    await attempt({ server: 'ftp://example.org/photos' }, /begins with https/);
    await attempt({ code: '' }, /^Type the recovery code/);
    await attempt({ passphrase: '' }, /^Choose a passphrase/);
    await attempt({ server: proxy.dbUrl(couch.name('nowhere')) }, /^There is nothing at this address yet/);
    const clear = await couch.create('clear');
    await couch.must('PUT', `/${clear}/something`, { clear: true });
    await attempt({ server: proxy.dbUrl(clear) }, /is not a private gallery/);
    await attempt({ server: 'http://127.0.0.1:9/gallery' }, /does not answer/);
    await attempt({ code: code.slice(0, -1) + (code.endsWith('A') ? 'B' : 'A') }, /typing mistake/);
    await attempt({ code: code.slice(5) }, /seven groups/);
    await look(two, 'private-join');
    await attempt({ code: '0'.repeat(28) }, /does not belong to this recovery code/);
  });

  await step('it begins where it was left, and opens with the right code', async () => {
    await two.reload();
    await screen(two, 'join'); // something was begun
    await join(two, code, { server: proxy.dbUrl(name), passphrase: 'for the second device' });
    await screen(two, 'ready');
    await count(two, 3);
    await pictured(two);
    assert.deepEqual(await ids(two), await ids(one));
    assert.equal(await tile(two, (await ids(two)).at(-1)).locator('.tile-caption').textContent(), CANARIES(canary).caption);
    await says(two, /^Up to date$/);
    await two.reload();
    await unlock(two, 'for the second device');
    await count(two, 3);
  });

  await step('behind the lock it goes on receiving, and says how much', async () => {
    await two.locator('#lock').click();
    await screen(two, 'locked');
    await add(one, photos(4).slice(2));
    await told(two, 'behind', /^2 new photos wait behind the lock\.$/);
    await says(two, /^Up to date$/);
    await look(two, 'private-behind');
    assert.equal(await two.locator('#aside-note').isVisible(), false);
    await bare(two, CANARIES(canary).caption);
    await unlock(two, 'for the second device');
    await count(two, 5);
    await pictured(two);
    await two.locator('#lock').click();
    await screen(two, 'locked');
    await caption(one, (await ids(one))[0], 'Changed meanwhile');
    await told(two, 'behind', /^1 new or changed photo waits behind the lock\.$/);
    await unlock(two, 'for the second device');
    await waitFor(async () => await tile(two, (await ids(one))[0]).locator('.tile-caption').textContent() === 'Changed meanwhile', { what: 'the caption', ...bound });
  });

  await step('what does not prove itself is kept aside, with a calm word and what can be done', async () => {
    await couch.must('PUT', `/${name}/by-hand`, { canary: 'clear' });
    const { rows } = await couch.must('GET', `/${name}/_all_docs?include_docs=true`);
    const sealed = rows.find(({ id }) => id.startsWith('e-')).doc;
    await couch.must('PUT', `/${name}/e-${'a'.repeat(32)}`, { x: sealed.x });
    for (const page of [one, two]) {
      await told(page, 'aside-note', /^2 things from the server did not prove to be yours and are kept aside\. Your photos are not affected\./);
      await count(page, 5);
      await says(page, /^Up to date$/);
    }
    await look(one, 'private-aside');
    await one.locator('#aside-note button').click();
    assert.deepEqual(await nameless(one), []);
    assert.deepEqual((await one.locator('#aside-list li').allTextContents()).sort(), ['Changed or moved after it was sealed: 1', 'Not sealed at all: 1']);
    await look(one, 'private-aside-dialog');
    await one.locator('#aside-retry').click();
    await told(one, 'aside-outcome', /^Nothing has changed/);
    await one.locator('#aside-discard').click();
    await one.locator('#aside').waitFor({ state: 'hidden', ...bound });
    await waitFor(async () => !await one.locator('#aside-note').isVisible(), { what: 'the note leaving', ...bound });
    await count(one, 5);
    // At once: how far the pull came may not be noted yet, and what was let go of comes once more.
    await one.reload();
    await unlock(one);
    await count(one, 5);
    assert.equal(await one.locator('#aside-note').isVisible(), false);
    assert.equal(await two.locator('#aside-note').isVisible(), true, 'each device has its own');
  });

  await step('without the server it says so, locked or not; and when it cannot go on', async () => {
    await couch.stop();
    await says(two, /^Offline since/);
    await look(two, 'private-offline');
    await two.locator('#lock').click();
    await screen(two, 'locked');
    await look(two, 'private-locked-offline');
    await couch.start();
    await says(two, /^Up to date$/, 75_000);
    await unlock(two, 'for the second device');
    proxy.fail(({ method }) => (method === 'GET' || method === 'POST' ? 403 : 0));
    await two.locator('#sync-button').click();
    await two.locator('#connect').click();
    await says(two, /^Stopped: /);
    assert.match(await text(two, 'settings-shows'), /cannot look at your photos/);
    await look(two, 'private-failing');
    proxy.fail(null);
    await two.locator('#connect').click();
    await says(two, /^Up to date$/);
    await two.locator('#settings-close').click();
  });
  assert.deepEqual([...first.errors, ...second.errors], []);
});

test('two galleries that are not one keep out of each other\'s address', { timeout: 120_000 }, async () => {
  const name = await couch.create('taken');
  const [first, second, third] = [await device(), await device(), await device()];
  await first.page.goto(address(name));
  await begin(first.page);
  await says(first.page, /^Up to date$/);
  const before = (await couch.must('GET', `/${name}`)).doc_count;

  // Another private one, begun although the first screen told of it.
  await second.page.goto(address(name));
  await begin(second.page);
  await second.page.locator('#settings[open]').waitFor(bound);
  await told(second.page, 'server-problem', /^Another private gallery is kept at this address/);
  await second.page.locator('#connect').click();
  await told(second.page, 'server-problem', /^Another private gallery is kept at this address/);
  assert.equal(await second.page.locator('#sync-state').getAttribute('data-state'), 'off');
  // Where the page could not look beforehand, the replication finds out.
  proxy.fail(({ path: asked }) => (asked.endsWith('/_all_docs') ? 503 : 0));
  await second.page.locator('#connect').click();
  await says(second.page, /^Stopped: another private gallery is kept there$/);
  proxy.fail(null);
  assert.equal((await couch.must('GET', `/${name}`)).doc_count, before, 'nothing was sent there');

  // One that is not sealed, from before there were private ones.
  await third.page.goto(`${site.origin}/blank.html`);
  await third.page.evaluate(async () => {
    const { Database } = await import('settee');
    const db = await Database.open('gallery');
    await db.put({ _id: 'photo:2020-01-01T00:00:00:00000000', type: 'photo', name: 'old.jpg', caption: 'From before', taken: '2020-01-01T00:00:00', width: 3, height: 2 });
    await db.close();
  });
  await third.page.goto(address(name));
  await screen(third.page, 'ready');
  await count(third.page, 1);
  assert.equal(await text(third.page, 'privacy-state'), 'Not sealed');
  await told(third.page, 'server-problem', /^A private gallery is kept at this address\. Photos that are not sealed do not belong there/);
  await third.page.waitForTimeout(1000);
  assert.equal((await couch.must('GET', `/${name}`)).doc_count, before, 'nothing was sent there');

  // Its owner is offered a private one beside it.
  await third.page.locator('#settings-close').click();
  await third.page.locator('#privacy-button').click();
  await third.page.locator('#privacy-begin').click();
  await screen(third.page, 'welcome');
  await begin(third.page);
  await third.page.goto(`${site.origin}/?db=gallery`);
  await screen(third.page, 'ready');
  await count(third.page, 1);
  assert.deepEqual([first, second, third].flatMap((run) => run.errors), []);
});

test('a private gallery to go with photos that are not sealed needs an address of its own', { timeout: 120_000 }, async () => {
  const name = await couch.create('mixed');
  await couch.must('PUT', `/${name}/something`, { clear: true });
  const { page, errors } = await device();
  await page.goto(address(name));
  await screen(page, 'welcome');
  await told(page, 'welcome-server', /are not sealed\. To see them/);
  await begin(page);
  await told(page, 'server-problem', /^There are things at this address that are not sealed/);
  assert.deepEqual((await couch.must('GET', `/${name}/_all_docs`)).rows.map(({ id }) => id), ['something']);
  assert.deepEqual(errors, []);
});
