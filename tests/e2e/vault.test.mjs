// Sealed channels from a page: keys made, locked, unlocked and recovered; and what lies on the device and the server.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch, waitFor } from './lib/index.mjs';
import { answerOf, bodyOf, startRecorder } from './lib/recorder.mjs';
import { openTab, startSite } from './lib/tab.mjs';

let couch;
let proxy;
let site;
let first;
let second;
let page;
let code;

const PASSPHRASE = 'prächtig ﬁn canary-passphrase';

before(async () => {
  [couch, site, first, second] = await Promise.all([startCouch(), startSite(), launchBrowser(), launchBrowser()]);
  proxy = await startRecorder(couch);
  page = await tab(first);
});
after(async () => {
  await Promise.all([first?.close(), second?.close()]);
  await Promise.all([site?.stop(), proxy?.close()]);
  await couch?.close();
});

// A page with the package, and what went to its console in `page.said`.
async function tab(browser) {
  const opened = await openTab(browser, site.origin);
  opened.said = [];
  opened.on('console', (message) => opened.said.push(message.text()));
  await opened.evaluate(() => { globalThis.Vault = settee.Vault; });
  return opened;
}
const reloaded = async (old, browser = first) => {
  await old.close();
  return tab(browser);
};
const named = (which, evaluation) => which.evaluate(evaluation).then((error) => `${error?.status} ${error?.name}`);

test('a vault is made, a sealed database kept, and both are there after a reload', { timeout: 90_000 }, async () => {
  const made = await page.evaluate(async (passphrase) => {
    const before = await Vault.status();
    const noVault = await failure(Vault.unlock({ passphrase: 'x' }));
    const empty = await failure(Vault.create({ passphrase: '' }));
    const { vault, recoveryCode } = await Vault.create({ passphrase });
    const db = await Database.open('album', { vault });
    const written = await db.put({ _id: 'canary-id', canaryField: 'canary value' });
    await db.putAttachment('canary-id', 'canary.jpg', written.rev, new Blob(['canary bytes '.repeat(20_000)]), 'image/x-canary');
    return {
      before, recoveryCode, again: await failure(Vault.create()), noVault, empty, sealed: db.sealed, locked: db.locked,
      doc: await db.get('canary-id'), after: await Vault.status(), stepped: await failure(Database.open('clear').then((clear) => clear.close()).then(() => Database.open('clear', { vault }))),
    };
  }, PASSPHRASE);
  code = made.recoveryCode;
  assert.deepEqual(made.before, { exists: false, locked: true, passphrase: false, device: false });
  assert.deepEqual(made.after, { exists: true, locked: false, passphrase: true, device: false });
  assert.deepEqual([made.noVault.name, made.empty.name, made.again.name, made.stepped.name], ['no_vault', 'empty_passphrase', 'vault_exists', 'forbidden']);
  assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$/);
  assert.deepEqual([made.sealed, made.locked, made.doc.canaryField], [true, false, 'canary value']);

  page = await reloaded(page);
  const unlocked = await page.evaluate(async (passphrase) => {
    const plain = await Database.open('album');
    const was = [plain.sealed, plain.locked, (await failure(plain.get('canary-id'))).name, (await failure(plain.put({ _id: 'x' }))).name];
    const wrong = await failure(Vault.unlock({ passphrase: 'wrong' }));
    // Another way to write the same letters.
    const vault = await Vault.unlock({ passphrase: passphrase.normalize('NFD').replace('ﬁ', 'fi') });
    const events = [];
    plain.on('unlocked', () => events.push('unlocked'));
    const db = await Database.open('album', { vault });
    return {
      was, wrong, events, doc: await plain.get('canary-id'),
      bytes: (await (await db.getAttachment('canary-id', 'canary.jpg')).text()) === 'canary bytes '.repeat(20_000),
    };
  }, PASSPHRASE);
  assert.deepEqual(unlocked.was, [true, true, 'locked', 'locked']);
  assert.deepEqual([unlocked.wrong.name, unlocked.wrong.status], ['wrong_secret', 0]);
  assert.deepEqual([unlocked.doc.canaryField, unlocked.events, unlocked.bytes], ['canary value', ['unlocked'], true]);
});
