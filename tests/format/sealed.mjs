// The sealed format once more, written from docs/sealed-format.md with other people's primitives and none of
// Settee's code. Slow and plain on purpose; it exists so that the format is what the page says.
import { isDeepStrictEqual } from 'node:util';
import { xchacha20poly1305, chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { argon2id } from '@noble/hashes/argon2.js';
import { hkdf as hkdfOf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { md5 as md5Of } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';

export class Refused extends Error {}
const refuse = (why) => { throw new Refused(why); };
const check = (truth, why) => truth || refuse(why);

// Bytes and their texts.

export const utf8 = (text) => new TextEncoder().encode(text);
export const hex = (bytes) => Buffer.from(bytes).toString('hex');
export const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));
export const base64url = (bytes) => Buffer.from(bytes).toString('base64url');
const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567';

export function unbase64url(text) {
  check(typeof text === 'string', 'not a text');
  const bytes = new Uint8Array(Buffer.from(text, 'base64url'));
  check(base64url(bytes) === text, 'not canonical base64url');
  return bytes;
}

export function base32(bytes) {
  let out = '';
  let [held, bits] = [0, 0];
  for (const byte of bytes) {
    held = (held << 8 | byte) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) out += LETTERS[held >> (bits - 5) & 31];
  }
  return bits ? out + LETTERS[held << (5 - bits) & 31] : out;
}

export const join = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))));
const bytesOf = (part) => (typeof part === 'string' ? utf8(part) : part);
const u32 = (n) => { const out = Buffer.alloc(4); out.writeUInt32BE(n); return new Uint8Array(out); };
export const u64 = (n) => { const out = Buffer.alloc(8); out.writeBigUInt64BE(BigInt(n)); return new Uint8Array(out); };
export const same = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

export const enc = (...parts) => join(...parts.map(bytesOf).flatMap((part) => [u32(part.length), part]));

export function unenc(bytes) {
  const parts = [];
  for (let at = 0; at < bytes.length;) {
    check(at + 4 <= bytes.length, 'cut off');
    const length = Buffer.from(bytes.slice(at, at + 4)).readUInt32BE();
    check(at + 4 + length <= bytes.length, 'cut off');
    parts.push(bytes.slice(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return parts;
}

// Primitives.

export const H = (key, ...parts) => hmac(sha256, key, enc(...parts));
export const hash = (...parts) => sha256(enc(...parts));
const hkdf = (secret, salt, info) => hkdfOf(sha256, secret, salt, bytesOf(info), 32);
export const kdf = (secret, salt, label) => hkdf(secret, bytesOf(salt), `vault1/${label}`);

function opened(what, open) {
  try { return open(); } catch { return refuse(`${what} does not open`); }
}

export function wrap(key, label, aad, secret) {
  const nonce = H(kdf(key, label, 'wrap-nonce'), 'wrap', aad, secret).slice(0, 24);
  return join(nonce, xchacha20poly1305(kdf(key, label, 'wrap-key'), nonce, aad).encrypt(secret));
}

export function unwrap(key, label, aad, sealed) {
  const nonce = sealed.slice(0, 24);
  const secret = opened(label, () => xchacha20poly1305(kdf(key, label, 'wrap-key'), nonce, aad).decrypt(sealed.slice(24)));
  check(same(nonce, H(kdf(key, label, 'wrap-nonce'), 'wrap', aad, secret).slice(0, 24)), `${label}: nonce`);
  return secret;
}

export function padded(length) {
  if (length <= 16384) return Math.ceil(Math.max(length, 1) / 1024) * 1024;
  const exponent = Math.floor(Math.log2(length));
  const step = 2 ** (exponent - (Math.floor(Math.log2(exponent)) + 1));
  return Math.ceil(length / step) * step;
}

// A JSON text's form: numbers keep their text, so JSON.parse will not do.

export function form(text) {
  let at = 0;
  const space = () => { while (' \n\r\t'.includes(text[at]) && at < text.length) at += 1; };
  const u32le = (n) => { const out = Buffer.alloc(4); out.writeUInt32LE(n); return out; };
  function string() {
    const start = at;
    at += 1;
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    at += 1;
    const value = Buffer.from(JSON.parse(text.slice(start, at)), 'utf8');
    return Buffer.concat([u32le(value.length), value]);
  }
  function value() {
    space();
    if (text[at] === '"') return Buffer.concat([Buffer.from('s'), string()]);
    if ('tfn'.includes(text[at])) {
      const letter = text[at];
      at += letter === 'f' ? 5 : 4;
      return Buffer.from(letter);
    }
    if (text[at] === '[') {
      const items = [];
      at += 1;
      for (space(); text[at] !== ']'; space()) {
        if (text[at] === ',') at += 1;
        items.push(value());
      }
      at += 1;
      return Buffer.concat([Buffer.from('['), ...items, Buffer.from(']')]);
    }
    if (text[at] === '{') {
      const members = [];
      at += 1;
      for (space(); text[at] !== '}'; space()) {
        if (text[at] === ',') { at += 1; space(); }
        const name = string();
        space();
        at += 1;
        members.push(Buffer.concat([name, value()]));
      }
      at += 1;
      return Buffer.concat([Buffer.from('{'), ...members.sort(Buffer.compare), Buffer.from('}')]);
    }
    const number = /^[^,\]}\s]+/.exec(text.slice(at))[0];
    at += number.length;
    return Buffer.concat([Buffer.from(`#${number}`), Buffer.from([0])]);
  }
  return new Uint8Array(value());
}

// Recovery code.

const CODE = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
function times(a, b) {
  let product = 0;
  for (let bit = 0; bit < 5; bit += 1) {
    if (b >> bit & 1) product ^= a;
    a <<= 1;
    if (a & 32) a ^= 0b100101;
  }
  return product;
}
const power = (exponent) => (exponent ? times(power(exponent - 1), 2) : 1);
const sums = (symbols) => symbols.reduce(([sum, weighted], symbol, at) => [sum ^ symbol, weighted ^ times(symbol, power(at))], [0, 0]);

export function codeText(bits) {
  const whole = BigInt(`0x${hex(bits)}`) << 2n;
  const symbols = Array.from({ length: 26 }, (_, at) => Number(whole >> BigInt(125 - 5 * at) & 31n));
  for (let a = 0; a < 32; a += 1) {
    for (let b = 0; b < 32; b += 1) {
      if (sums([...symbols, a, b]).every((sum) => sum === 0)) {
        return [...symbols, a, b].map((symbol) => CODE[symbol]).join('').match(/.{4}/g).join('-');
      }
    }
  }
  throw new Error('no check letters fit');
}

export function readCode(text) {
  const letters = text.replace(/[\s-]/g, '').toUpperCase().replace(/O/g, '0').replace(/[IL]/g, '1');
  check(letters.length === 28, 'length');
  const symbols = [...letters].map((letter) => CODE.indexOf(letter));
  check(symbols.every((symbol) => symbol >= 0) && sums(symbols).every((sum) => sum === 0), 'mistyped');
  const whole = symbols.slice(0, 26).reduce((bits, symbol) => bits << 5n | BigInt(symbol), 0n);
  check((whole & 3n) === 0n, 'mistyped');
  return unhex((whole >> 2n).toString(16).padStart(32, '0'));
}

export function accountOf(code) {
  const rootSeed = kdf(code, '', 'recovery-sign');
  const root = ed25519.getPublicKey(rootSeed);
  return { rootSeed, root, name: hash('account', root), userKeyLock: kdf(code, '', 'recovery-user-key'), localLock: kdf(code, '', 'recovery-local') };
}

// The log.

const doc = (m, seed) => ({
  _id: `k-${base32(sha256(m))}`,
  _rev: `1-${hex(hash('log-rev', sha256(m)).slice(0, 16))}`,
  body: JSON.stringify({ x: { v: 1, t: 'log', m: base64url(m), g: base64url(ed25519.sign(enc('log', m), seed)) } }),
});
const inOrder = (hashes) => join(...[...hashes].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));

export function logEntry({ scope, id = new Uint8Array(0), prev = [], seen = [], seed, op, payload }) {
  const m = enc('log1', scope, id, inOrder(prev), inOrder(seen), ed25519.getPublicKey(seed), op, payload);
  return { m, hash: sha256(m), doc: doc(m, seed) };
}

export function readLogDoc({ _id, _rev, body }) {
  const { x, ...rest } = JSON.parse(body);
  check(!Object.keys(rest).length && Object.keys(x).sort().join() === 'g,m,t,v' && x.v === 1 && x.t === 'log', 'form');
  const m = unbase64url(x.m);
  check(_id === `k-${base32(sha256(m))}` && _rev === doc(m, new Uint8Array(32))._rev, 'name');
  const [format, scope, id, prev, seen, by, op, payload, ...more] = unenc(m);
  check(Buffer.from(format).toString() === 'log1' && !more.length && seen.length % 32 === 0, 'form');
  check(ed25519.verify(unbase64url(x.g), enc('log', m), by, { zip215: false }), 'signature');
  const hashes = Array.from({ length: prev.length / 32 }, (_, at) => hex(prev.slice(32 * at, 32 * at + 32)));
  return { hash: sha256(m), scope: Buffer.from(scope).toString(), id, prev: hashes, by, op: Buffer.from(op).toString(), payload: unenc(payload) };
}

export function userKeyId(account, key) { return kdf(key, account, 'user-key-id').slice(0, 16); }

export function epochKeys(ch, key) {
  const keys = Object.fromEntries(['enc', 'nonce', 'rev', 'back', 'commit'].map((label) => [label, kdf(key, ch, label)]));
  return { key, ...keys, id: kdf(key, ch, 'epoch-id').slice(0, 16) };
}

/** Everything that a device with nothing but the code finds in a log, and an error for anything that does not fit. */
export function openLog(code, docs) {
  const account = accountOf(code);
  const entries = docs.map(readLogDoc);
  const devices = [];
  const userKeys = [];
  for (const entry of entries.filter(({ scope }) => scope === 'account')) {
    check(same(entry.id, account.name), 'another account');
    check(same(entry.by, account.root) || devices.some((device) => same(device, entry.by)), 'a stranger');
    if (entry.op === 'device') devices.push(entry.payload[0]);
    else if (entry.op === 'user-key') {
      const [number, id, wraps] = entry.payload;
      const [kind, whose, , sealed] = unenc(unenc(wraps)[0]);
      check(Buffer.from(kind).toString() === 'rc1' && same(whose, account.name), 'wrap');
      const key = unwrap(account.userKeyLock, 'rc1', enc('user-key', account.name, number, id), sealed);
      check(same(userKeyId(account.name, key), id), 'user key');
      userKeys.push({ id, key });
    } else refuse(`unknown ${entry.op}`);
  }
  const genesis = entries.find(({ scope, id }) => scope === 'channel' && !id.length);
  const ch = genesis.hash;
  const [owner, , commitment] = genesis.payload;
  check(same(owner, account.name) && devices.some((device) => same(device, genesis.by)), 'genesis');
  const epochs = [];
  let idKey;
  for (const entry of entries.filter(({ scope, id }) => scope === 'channel' && id.length)) {
    check(same(entry.id, ch) && entry.op === 'epoch' && devices.some((device) => same(device, entry.by)), 'epoch');
    const [number, id, commit, members, back, wraps] = entry.payload;
    check(same(members, hash('members', account.name)), 'members');
    const [kind, whose, which, sealed] = unenc(unenc(wraps)[0]);
    check(Buffer.from(kind).toString() === 'uk1' && same(whose, account.name), 'wrap');
    const { key } = userKeys.find((own) => same(own.id, which));
    const secret = unwrap(key, 'channel', enc('wrap', ch, id, members, account.name, which), sealed);
    const epoch = epochKeys(ch, secret.slice(0, 32));
    idKey = secret.slice(32);
    check(secret.length === 64 && same(epoch.id, id) && same(epoch.commit, commit) && same(H(idKey, 'id-commit'), commitment), 'keys');
    for (const [earlier, old] of unenc(back).map(unenc)) {
      const before = epochs.find((known) => same(known.id, earlier));
      check(same(unwrap(epoch.back, 'back', enc('back', ch, id, earlier), old), before.key), 'back');
    }
    check(Number(Buffer.from(number).readBigUInt64BE()) === epochs.length + 1, 'number');
    epochs.push(epoch);
  }
  return { ch, idKey, epochs, devices, logHead: genesis && hash('heads', entries.at(-1).hash) };
}

// Attachments.

const CHUNK = 65536;
const chunkNonce = (index, last) => join(new Uint8Array(3), u64(index), [last ? 1 : 0]);
const contentsHash = (plain) => {
  const hashes = [];
  for (let at = 0; at < plain.length; at += CHUNK) hashes.push(sha256(plain.slice(at, at + CHUNK)));
  return hash('contents', join(...hashes));
};
const salt = (ch, rid, file) => H(file.key, 'file', ch, rid, file.opaque, file.hash, u64(file.length)).slice(0, 16);
export const opaqueOf = (ch, rid, file) => H(file.key, 'name', ch, rid, file.name, file.hash).slice(0, 16);
export const digest = (bytes) => `md5-${Buffer.from(md5Of(bytes)).toString('base64')}`;

export function sealFile(ch, rid, { name, content_type, key, revpos }, plain) {
  const file = { name, content_type, key, revpos, length: plain.length, hash: contentsHash(plain), md5: md5Of(plain) };
  file.opaque = opaqueOf(ch, rid, file);
  const head = salt(ch, rid, file);
  const stream = hkdf(key, head, 'payload');
  const whole = join(plain, new Uint8Array(padded(plain.length) - plain.length));
  const parts = [head];
  for (let at = 0; at < whole.length; at += CHUNK) {
    parts.push(chacha20poly1305(stream, chunkNonce(at / CHUNK, at + CHUNK >= whole.length)).encrypt(whole.slice(at, at + CHUNK)));
  }
  const sealed = join(...parts);
  return { file: { ...file, sealedMd5: md5Of(sealed) }, sealed };
}

export function openFile(ch, rid, file, sealed) {
  check(same(sealed.slice(0, 16), salt(ch, rid, file)), 'salt');
  const stream = hkdf(file.key, sealed.slice(0, 16), 'payload');
  const parts = [];
  for (let at = 16, index = 0; at < sealed.length; at += CHUNK + 16, index += 1) {
    const last = at + CHUNK + 16 >= sealed.length;
    parts.push(opened('chunk', () => chacha20poly1305(stream, chunkNonce(index, last)).decrypt(sealed.slice(at, at + CHUNK + 16))));
  }
  const whole = join(...parts);
  const plain = whole.slice(0, file.length);
  check(whole.length === padded(file.length) && whole.slice(file.length).every((byte) => byte === 0), 'padding');
  check(same(contentsHash(plain), file.hash), 'contents');
  return plain;
}

export const stub = (file) => ({
  name: base32(file.opaque),
  content_type: 'application/octet-stream',
  revpos: file.revpos,
  length: 16 + padded(file.length) + 16 * Math.ceil(padded(file.length) / CHUNK),
  digest: `md5-${Buffer.from(file.sealedMd5).toString('base64')}`,
});

const byName = (a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name));
const manifest = (files) => enc(...[...files].sort(byName).map((file) => enc(
  file.name, file.content_type, file.opaque, file.key, file.hash, file.md5, file.sealedMd5, u64(file.length), u64(file.revpos),
)));

function readManifest(bytes) {
  return unenc(bytes).map((entry) => {
    const [name, type, opaque, key, contents, md5, sealedMd5, length, revpos] = unenc(entry);
    const number = (part) => Number(Buffer.from(part).readBigUInt64BE());
    return { name: Buffer.from(name).toString(), content_type: Buffer.from(type).toString(), opaque, key, hash: contents, md5, sealedMd5, length: number(length), revpos: number(revpos) };
  });
}

// Revisions.

export const remoteId = (idKey, id) => `e-${base32(H(idKey, 'id', id).slice(0, 20))}`;
export const lineOf = (ch, rid, parent) => (parent ? hash('next', parent.line, parent.rev) : hash('line', ch, rid));
const generation = (rev) => Number(rev.split('-')[0]);

function context(ch, epoch, { rid, parent, line, deleted }) {
  return enc('ctx', ch, [1], epoch.id, rid, u64(parent ? generation(parent) + 1 : 1), parent, line, [deleted ? 1 : 0]);
}
const revOf = (epoch, ctx, parent, id, body, files) => `${parent ? generation(parent) + 1 : 1}-${hex(H(epoch.rev, 'rev', ctx, id, form(body), files).slice(0, 16))}`;
const aadOf = (ctx, rev, stubs) => enc(ctx, rev, enc(...stubs.map(({ name }) => name)));
const signedOf = (ctx, rev, core, logHead) => enc('doc', ctx, rev, sha256(core), logHead);

export function sealRevision(channel, epoch, seed, { id, parent, deleted, body, files }) {
  const { ch, idKey, logHead } = channel;
  const rid = remoteId(idKey, id);
  const line = lineOf(ch, rid, parent);
  const ctx = context(ch, epoch, { rid, parent: parent?.rev ?? '', line, deleted });
  const entries = manifest(files);
  const rev = revOf(epoch, ctx, parent?.rev, id, body, entries);
  const core = enc(id, body, entries);
  const signature = ed25519.sign(signedOf(ctx, rev, core, logHead), seed);
  const content = join(u32(core.length), core, ed25519.getPublicKey(seed), logHead, signature);
  const text = join(content, new Uint8Array(padded(content.length) - content.length));
  const stubs = files.map(stub).sort(byName);
  const nonce = H(epoch.nonce, 'nonce', ctx, rev, text).slice(0, 24);
  const sealed = xchacha20poly1305(epoch.enc, nonce, aadOf(ctx, rev, stubs)).encrypt(text);
  const x = { v: 1, s: 1, e: base64url(epoch.id), p: parent?.rev ?? '', l: base64url(line), n: base64url(nonce), c: base64url(sealed) };
  return { _id: rid, _rev: rev, line: hex(line), stubs, body: JSON.stringify({ x }) };
}

/** Opens a revision whose parent (with its line) is known, or that is the first. */
export function openRevision(channel, { _id, _rev, deleted, stubs, body }, parent) {
  const { x, ...rest } = JSON.parse(body);
  check(x && !Object.keys(rest).length && Object.keys(x).sort().join() === 'c,e,l,n,p,s,v', 'form');
  check(x.v === 1 && x.s === 1, 'version');
  const [e, line, nonce, sealed] = [x.e, x.l, x.n, x.c].map(unbase64url);
  const epoch = channel.epochs.find((known) => same(known.id, e)) ?? refuse('epoch');
  check(x.p === (parent?.rev ?? '') && same(line, lineOf(channel.ch, _id, parent)), 'history');
  const ctx = context(channel.ch, epoch, { rid: _id, parent: x.p, line, deleted });
  const text = opened('revision', () => xchacha20poly1305(epoch.enc, nonce, aadOf(ctx, _rev, [...stubs].sort(byName))).decrypt(sealed));
  check(same(nonce, H(epoch.nonce, 'nonce', ctx, _rev, text).slice(0, 24)), 'nonce');
  const length = Buffer.from(text).readUInt32BE();
  const core = text.slice(4, 4 + length);
  const [author, logHead, signature, fill] = [[0, 32], [32, 64], [64, 128], [128, text.length]].map(([from, to]) => text.slice(4 + length + from, 4 + length + to));
  check(fill.every((byte) => byte === 0) && padded(4 + length + 128) === text.length, 'padding');
  const [id, written, entries, ...more] = unenc(core);
  const content = Buffer.from(written).toString();
  check(!more.length && _rev === revOf(epoch, ctx, x.p, id, content, entries), 'revision');
  check(_id === remoteId(channel.idKey, id), 'id');
  const files = readManifest(entries);
  check(isDeepStrictEqual(files.map(stub).sort(byName), [...stubs].sort(byName)), 'attachments');
  check(ed25519.verify(signature, signedOf(ctx, _rev, core, logHead), author, { zip215: false }), 'signature');
  check(channel.devices.some((device) => same(device, author)), 'author');
  return { id: Buffer.from(id).toString(), body: content, files, author, logHead };
}

// Keys at rest.

export const passphraseKey = (passphrase, saltBytes, memoryKib, passes) => argon2id(utf8(passphrase.normalize('NFKC')), saltBytes, { m: memoryKib, t: passes, p: 1, dkLen: 32 });

export function keyRecord(master, locks, secrets) {
  const list = enc(...locks.map(({ kind, params, key }) => enc(kind, params, wrap(key, 'master', enc('lock', kind, params), master))));
  return enc('settee keys', [1], list, wrap(master, 'vault', list, secrets));
}

export function openKeyRecord(record, kind, key) {
  const [head, version, list, sealed] = unenc(record);
  check(Buffer.from(head).toString() === 'settee keys' && version[0] === 1, 'version');
  const lock = unenc(list).map(unenc).find(([name]) => Buffer.from(name).toString() === kind) ?? refuse('no such lock');
  return unwrap(unwrap(key, 'master', enc('lock', kind, lock[1]), lock[2]), 'vault', list, sealed);
}
export const lockParams = (saltBytes, memoryKib, passes) => enc(saltBytes, u32(memoryKib), u32(passes));
