// Two channels with other contents of the same shape look the same to a server: its dumps, and all that it heard, differ in
// nothing but what looks random. So what a server learns is the shape alone; a new leak breaks this.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launchBrowser, startCouch } from './lib/index.mjs';
import { createVault, openDevice } from './lib/devices.mjs';
import { leavesOn, startLiar } from './lib/liar.mjs';
import { maskJson, maskRequest, maskText } from './lib/mask.mjs';
import { startSite } from './lib/tab.mjs';

let couch;
let liar;
let site;

before(async () => {
  [couch, site] = await Promise.all([startCouch(), startSite()]);
  liar = await startLiar(couch);
});
after(async () => {
  await Promise.all([site?.stop(), liar?.close()]);
  await couch?.close();
});

// What happens in every world, with contents made of one letter: `more` letters more in one document.
const LIFE = async ([isSealed, url, letter, more, large]) => {
  const db = isSealed ? await begin('world') : await Database.open('world');
  const word = (length) => letter.repeat(length);
  const file = (size) => ({ content_type: `image/${word(4)}`, data: new Blob([new Uint8Array(size).fill(letter.charCodeAt(0))]) });
  const n = letter.charCodeAt(0) * 11;
  for (let i = 0; i < 12; i += 1) await db.put({ _id: `${word(3)}-${i}`, [word(5)]: word(100 * i), n });
  await db.put({ _id: word(20), [word(2)]: { [word(3)]: [word(10), n, true] }, text: word(500 + more) });
  await db.put({ _id: 'photo', _attachments: { [`${word(7)}.jpg`]: file(30_000), [`${word(3)}.png`]: file(large) } });
  await db.replicate.to(url);
  const edit = async (id, change, force) => db.put({ ...await db.get(id), ...change }, force);
  await edit(`${word(3)}-3`, { [word(5)]: word(42) });
  await edit('photo', { caption: word(9) });
  await db.putAttachment('photo', `${word(7)}.jpg`, (await db.get('photo'))._rev, new Blob([word(31_000)]), `image/${word(4)}`);
  await db.remove(await db.get(`${word(3)}-4`));
  const [one] = [await db.get(`${word(3)}-5`)];
  for (const i of [1, 2]) await db.put({ ...one, i: `${letter}${i}` }, { force: true });
  await db.put({ _id: `_local/${word(8)}`, text: word(30) });
  await db.replicate.to(url);
  await db.resolve(`${word(3)}-5`, (docs) => docs[0]);
  await db.put({ _id: `${word(3)}-4`, again: word(3) });
  await db.replicate.to(url);
  await db.replicate.from(url);
  await db.close();
};

// What the server has and heard of such a life, masked.
async function world({ letter, more = 0, sealed = true, large = 150_000 }) {
  const browser = await launchBrowser();
  try {
    const page = await openDevice(browser, site.origin);
    if (sealed) await createVault(page);
    const name = await couch.create('world');
    liar.clear();
    await page.evaluate(LIFE, [sealed, liar.dbUrl(name), letter, more, large]);
    const dump = await Promise.all(['', '/_all_docs?include_docs=true&attachments=true&conflicts=true&update_seq=true', '/_changes?style=all_docs&include_docs=true']
      .map((path) => couch.must('GET', `/${name}${path}`)));
    // In the order of their ids or of a server's own, which is none. The order in which things were sent is in the requests.
    const rowsOf = (rows) => rows.map(({ seq: _, ...row }) => JSON.stringify(maskJson(row))).sort();
    const requests = liar.requests.map((request) => maskRequest(request, name)).sort();
    return {
      info: maskJson({ ...dump[0], update_seq: '' }), docs: rowsOf(dump[1].rows), changes: rowsOf(dump[2].results), leaves: rowsOf(await leavesOn(couch, name)), requests,
    };
  } finally {
    await browser.close();
  }
}

let first;

test('two worlds of one shape look the same', { timeout: 120_000 }, async () => {
  first = await world({ letter: 'a' });
  // The dumps are of the life that was led, not of nothing.
  assert.equal(first.leaves.filter((leaf) => leaf.includes('"e-')).length, 15);
  assert.ok(first.requests.length > 12 && first.requests.some((request) => request.includes('multipart/related')));
  const second = await world({ letter: 'k' });
  assert.deepEqual(second, first);
});

test('and so does one with a little more in it, within a step of the padding', { timeout: 120_000 }, async () => {
  assert.deepEqual(await world({ letter: 'w', more: 50 }), first);
});

test('one with a longer document or attachment does not', { timeout: 120_000 }, async () => {
  const [longer, larger] = [await world({ letter: 'a', more: 1_024 }), await world({ letter: 'a', large: 250_000 })];
  for (const other of [longer, larger]) for (const part of ['leaves', 'changes', 'requests']) assert.notDeepEqual(other[part], first[part], part);
});

test('two clear worlds do not', { timeout: 120_000 }, async () => {
  const [one, two] = [await world({ letter: 'a', sealed: false }), await world({ letter: 'k', sealed: false })];
  for (const part of ['leaves', 'changes', 'requests', 'docs']) assert.notDeepEqual(one[part], two[part], part);
});
