// What Settee sealed, opened and made again by another implementation of the format: byte for byte.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import * as sealed from './sealed.mjs';

const vectors = JSON.parse(readFileSync(new URL('../vectors/seal/v1.json', import.meta.url), 'utf8'));
const { hex, unhex, enc, u64, wrap } = sealed;
const draws = (from) => Object.fromEntries(Object.entries(from).map(([name, value]) => [name, unhex(value)]));
const account = draws(vectors.account.draws);
const plain = (length) => Uint8Array.from({ length }, (_, at) => at * 31 + 7 & 255);
const code = sealed.readCode(vectors.recovery_code);
const channel = sealed.openLog(code, vectors.channel.log);
const heads = vectors.channel.heads.map(unhex);
const inEpoch = (number) => ({ ...channel, logHead: heads[number - 1] });

function filesOf(revision) {
  return vectors.files.filter(({ name }) => revision.files.includes(name)).map((vector) => (
    sealed.sealFile(channel.ch, revision.sealed._id, { ...vector, key: unhex(vector.draws.key) }, plain(vector.length)).file
  ));
}
const parentOf = ({ parent }) => parent && { rev: parent.rev, line: unhex(parent.line) };

test('recovery code, forms and lengths', () => {
  assert.equal(hex(code), vectors.account.draws.code);
  assert.equal(sealed.codeText(code), vectors.recovery_code);
  for (const { json, form } of vectors.forms) assert.equal(hex(sealed.form(json)), form, json);
  for (const [length, padded] of vectors.padded) assert.equal(sealed.padded(length), padded, String(length));
});

test('the log opens with the code alone, and is made again', () => {
  const { root, rootSeed, name, userKeyLock } = sealed.accountOf(code);
  assert.equal(hex(name), vectors.account.name);
  assert.equal(hex(channel.ch), vectors.channel.ch);
  assert.equal(channel.epochs.length, 2);
  assert.equal(channel.devices.length, 1);
  const device = ed25519.getPublicKey(account.device_seed);
  assert.equal(hex(channel.devices[0]), hex(device));
  assert.ok(!sealed.same(root, device));

  const made = [];
  const add = (entry) => { made.push(entry); return entry; };
  const none = new Uint8Array(0);
  const added = add(sealed.logEntry({ scope: 'account', id: name, seed: rootSeed, op: 'device', payload: enc(device) }));
  const userKeyId = sealed.userKeyId(name, account.user_key);
  const locked = enc('rc1', name, new Uint8Array(16), wrap(userKeyLock, 'rc1', enc('user-key', name, u64(1), userKeyId), account.user_key));
  const known = add(sealed.logEntry({
    scope: 'account', id: name, prev: [added.hash], seed: rootSeed, op: 'user-key', payload: enc(u64(1), userKeyId, enc(locked)),
  }));
  const { id_key: idKey, random, epoch_key: epochKey } = draws(vectors.channel.draws);
  const seen = [known.hash];
  const seed = account.device_seed;
  const genesis = add(sealed.logEntry({ scope: 'channel', seen, seed, op: 'genesis', payload: enc(name, random, sealed.H(idKey, 'id-commit')) }));
  const ch = genesis.hash;
  const members = sealed.hash('members', name);
  const epochEntry = (number, key, prev, back) => {
    const epoch = sealed.epochKeys(ch, key);
    const aad = enc('wrap', ch, epoch.id, members, name, userKeyId);
    const forOwner = enc('uk1', name, userKeyId, wrap(account.user_key, 'channel', aad, sealed.join(key, idKey)));
    const payload = enc(u64(number), epoch.id, epoch.commit, members, back(epoch), enc(forOwner));
    return sealed.logEntry({ scope: 'channel', id: ch, prev: [prev], seen, seed, op: 'epoch', payload });
  };
  const first = add(epochEntry(1, epochKey, ch, () => none));
  const earlier = sealed.epochKeys(ch, epochKey);
  const second = unhex(vectors.channel.rotate_draws.epoch_key);
  add(epochEntry(2, second, first.hash, (epoch) => enc(enc(earlier.id, wrap(epoch.back, 'back', enc('back', ch, epoch.id, earlier.id), epochKey)))));
  assert.deepEqual(made.map(({ doc }) => doc), vectors.channel.log);
  assert.deepEqual([first, made.at(-1)].map((entry) => hex(sealed.hash('heads', entry.hash))), vectors.channel.heads);
});

test('attachments are made again and open', () => {
  const rid = vectors.revisions[0].sealed._id;
  for (const vector of vectors.files) {
    const { file, sealed: bytes } = sealed.sealFile(channel.ch, rid, { ...vector, key: unhex(vector.draws.key) }, plain(vector.length));
    assert.deepEqual(sealed.stub(file), vector.stub);
    assert.equal(bytes.length, vector.sealed_length);
    assert.equal(sealed.digest(bytes), vector.stub.digest);
    if (vector.sealed) assert.equal(hex(bytes), vector.sealed);
    assert.equal(hex(sealed.openFile(channel.ch, rid, file, bytes)), hex(plain(vector.length)));
    for (const at of [0, 15, 16, 900, bytes.length - 17, bytes.length - 1]) {
      const changed = Uint8Array.from(bytes);
      changed[at] ^= 1;
      assert.throws(() => sealed.openFile(channel.ch, rid, file, changed), sealed.Refused, `byte ${at}`);
    }
    assert.throws(() => sealed.openFile(channel.ch, rid, file, bytes.slice(0, -1)), sealed.Refused);
  }
});

test('revisions are made again and open', () => {
  for (const [at, revision] of vectors.revisions.entries()) {
    const parent = parentOf(revision);
    // Those that were signed together stand one after the other.
    const first = at - revision.together.indexOf(revision.id);
    const together = vectors.revisions.slice(first, first + revision.together.length);
    assert.deepEqual(together.map(({ id }) => id), revision.together);
    const all = together.map((one) => ({ ...one, parent: parentOf(one), files: filesOf(one) }));
    const made = sealed.sealRevisions(inEpoch(revision.epoch), channel.epochs[revision.epoch - 1], account.device_seed, all);
    assert.deepEqual(made[at - first], revision.sealed);
    const opened = sealed.openRevision(channel, { ...revision.sealed, deleted: revision.deleted }, parent);
    assert.deepEqual([opened.id, opened.body], [revision.id, revision.body]);
    assert.deepEqual(opened.files.map(({ name }) => name), revision.files);
    assert.equal(hex(opened.logHead), vectors.channel.heads[revision.epoch - 1]);
  }
});

test('a changed byte of any vector fails', () => {
  const revision = vectors.revisions[2];
  const parent = parentOf(revision);
  const { x } = JSON.parse(revision.sealed.body);
  for (const [name, text] of Object.entries(x).filter(([name]) => 'elnc'.includes(name))) {
    for (const at of [0, Math.floor(text.length / 2), text.length - 1]) {
      const letter = text[at] === 'A' ? 'B' : 'A';
      const body = JSON.stringify({ x: { ...x, [name]: text.slice(0, at) + letter + text.slice(at + 1) } });
      assert.throws(() => sealed.openRevision(channel, { ...revision.sealed, body, deleted: false }, parent), sealed.Refused, `${name} ${at}`);
    }
  }
  for (const [at, doc] of vectors.channel.log.entries()) {
    const { x: entry } = JSON.parse(doc.body);
    for (const name of ['m', 'g']) {
      const bytes = sealed.unbase64url(entry[name]);
      bytes[bytes.length >> 1] ^= 4;
      const body = JSON.stringify({ x: { ...entry, [name]: sealed.base64url(bytes) } });
      assert.throws(() => sealed.readLogDoc({ ...doc, body }), sealed.Refused, `entry ${at}, ${name}`);
    }
  }
});

test('the key record opens with the code and the passphrase, and is made again', () => {
  const { localLock } = sealed.accountOf(code);
  const { record } = vectors;
  const master = unhex(record.draws.master);
  const secrets = sealed.openKeyRecord(unhex(record.code_only), 'code', localLock);
  const none = new Uint8Array(0);
  const byCode = { kind: 'code', params: none, key: localLock };
  assert.equal(hex(sealed.keyRecord(master, [byCode], secrets)), record.code_only);
  const [head, root, seed, keys, entries, pins, ...more] = sealed.unenc(secrets);
  assert.equal(Buffer.from(head).toString(), 'vault1');
  assert.equal(hex(root), hex(sealed.accountOf(code).root));
  assert.equal(hex(seed), vectors.account.draws.device_seed);
  assert.equal(hex(sealed.unenc(sealed.unenc(keys)[0])[2]), vectors.account.draws.user_key);
  assert.equal(sealed.unenc(entries).length, 2);
  assert.equal(hex(sealed.unenc(sealed.unenc(pins)[0])[0]), vectors.channel.ch);
  assert.equal(more.length, 0);

  const { passphrase, draws: { salt }, memory_kib: memory, passes, key, record: both } = record.passphrase;
  const made = sealed.passphraseKey(passphrase, unhex(salt), memory, passes);
  assert.equal(hex(made), key);
  const byPassphrase = { kind: 'passphrase', params: sealed.lockParams(unhex(salt), memory, passes), key: made };
  assert.equal(hex(sealed.keyRecord(master, [byCode, byPassphrase], secrets)), both);
  assert.equal(hex(sealed.openKeyRecord(unhex(both), 'passphrase', made)), hex(secrets));
  assert.throws(() => sealed.openKeyRecord(unhex(both), 'passphrase', localLock), sealed.Refused);
});
