// The design document that guards a sealed channel: what it lets in and what it keeps out.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const validate = vm.runInNewContext(`(${read('../../src/seal/guard.js.txt')})`);
const { revisions, channel: { log } } = JSON.parse(read('../vectors/seal/v1.json'));

const person = { name: 'somebody', roles: [] };
function answer(doc, userCtx = person, before = null) {
  try {
    validate(doc, before, userCtx, {});
    return 'ok';
  } catch (error) {
    assert.equal(typeof error.forbidden, 'string', `it threw ${error}`);
    return error.forbidden;
  }
}

const docOf = ({ sealed, deleted }) => ({
  _id: sealed._id,
  _rev: sealed._rev,
  _revisions: { start: 1, ids: [sealed._rev.split('-')[1]] },
  ...(deleted && { _deleted: true }),
  ...(sealed.stubs.length && { _attachments: Object.fromEntries(sealed.stubs.map(({ name, ...stub }) => [name, { ...stub, stub: true }])) }),
  ...JSON.parse(sealed.body),
});
const entryOf = ({ _id, _rev, body }) => ({ _id, _rev, ...JSON.parse(body) });

test('sealed documents, tombstones, stubs and log entries get in', () => {
  for (const revision of revisions) assert.equal(answer(docOf(revision)), 'ok');
  assert.ok(revisions.some(({ deleted }) => deleted) && revisions.some(({ sealed }) => sealed.stubs.length));
  for (const entry of log) assert.equal(answer(entryOf(entry)), 'ok');
  assert.equal(answer({ _id: '_design/guard', language: 'javascript' }, { name: 'admin', roles: ['_admin'] }), 'ok');
});

test('everything else is refused', () => {
  const doc = docOf(revisions[1]);
  const entry = entryOf(log[0]);
  const withX = (of, change) => ({ ...of, x: { ...of.x, ...change } });
  const [name] = Object.keys(doc._attachments);
  const bad = {
    'a clear document': { _id: 'holiday', title: 'Holiday' },
    'a clear document under a sealed id': { _id: doc._id, title: 'Holiday' },
    'a clear member beside the envelope': { ...doc, title: 'Holiday' },
    'a bare tombstone': { _id: doc._id, _deleted: true },
    'an extra member in the envelope': withX(doc, { hint: 'a' }),
    'a newer version': withX(doc, { v: 2 }),
    'a short ciphertext': withX(doc, { c: 'AAAA' }),
    'a clear ciphertext': withX(doc, { c: 'my holiday in clear words '.repeat(80) }),
    'a parent of another kind': withX(doc, { p: '1-abc' }),
    'an epoch that is a number': withX(doc, { e: 1 }),
    'a null envelope': { _id: doc._id, x: null },
    'an attachment with its name': { ...doc, _attachments: { 'holiday.jpg': doc._attachments[name] } },
    'an attachment with its type': { ...doc, _attachments: { [name]: { ...doc._attachments[name], content_type: 'image/jpeg' } } },
    'another class': { ...doc, _id: 'c-invite' },
    'an id of other letters': { ...doc, _id: `e-${'A'.repeat(32)}` },
    'a design document': { _id: '_design/views', views: {} },
    'a log entry that is deleted': { ...entry, _deleted: true },
    'a log entry with an attachment': { ...entry, _attachments: doc._attachments },
    'a log entry with a note': { ...entry, note: 'mine' },
    'a log entry without a signature': withX(entry, { g: '' }),
  };
  for (const [what, document] of Object.entries(bad)) {
    const said = answer(document);
    assert.match(said, /^This channel is sealed: /, what);
    assert.doesNotMatch(said, /Holiday/, 'contents are not repeated');
  }
  assert.match(answer({ _id: '_design/guard' }), /administrator/);
  // A log entry has one revision: with another on top, a device that comes new would not find it.
  assert.match(answer(entry, person, entry), /neither changed/);
});
