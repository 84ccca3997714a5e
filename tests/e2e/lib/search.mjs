// Looks for what should not be there: a text in every form in which it may lie somewhere, in everything that a server holds or
// heard and that a browser's profile holds.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';

const latin1 = (bytes) => Buffer.from(bytes).toString('latin1');

// What is found: texts of one letter per byte. `of` is a text, a number, `{ bytes }` (a content that is searched by its digests
// and its length) or `{ length }` (a number of bytes).
export function formsOf(of) {
  if (of.length && typeof of !== 'string') return [new RegExp(`(?<![0-9a-fA-F])${of.length}(?![0-9a-fA-F])`)];
  if (of.bytes) return digestsOf(of.bytes);
  const forms = typeof of === 'number' ? [...bytesForms(String(of)), ...doublesOf(of)] : bytesForms(of);
  return [...new Set([...forms, ...digestsOf(Buffer.from(String(of)))])];
}

function doublesOf(number) {
  const little = Buffer.alloc(8);
  little.writeDoubleLE(number);
  return [latin1(little), latin1(Buffer.from(little).reverse())];
}

function bytesForms(text) {
  const bytes = Buffer.from(text);
  const wide = Buffer.from(text, 'utf16le');
  const hex = bytes.toString('hex');
  const escaped = [...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
  const percent = hex.replace(/../g, '%$&');
  const encoded = encodeURIComponent(text);
  return [
    latin1(bytes), latin1(wide), latin1(Buffer.from(wide).swap16()), ...base64s(bytes), ...base64s(wide),
    hex, hex.toUpperCase(), [...hex].reverse().join(''), encoded, encoded.replace(/%../g, (all) => all.toLowerCase()), encoded.replaceAll('%20', '+'),
    percent, percent.toUpperCase(), latin1(JSON.stringify(text).slice(1, -1)), escaped, escaped.toUpperCase().replaceAll('\\U', '\\u'),
    latin1([...text].reverse().join('')),
  ];
}

// As it looks within something longer, wherever that begins.
function base64s(bytes) {
  return [0, 1, 2].flatMap((shift) => {
    const whole = Buffer.concat([Buffer.alloc(shift), bytes]);
    const text = whole.subarray(0, whole.length - (whole.length % 3)).toString('base64').slice(Math.ceil((shift * 4) / 3));
    return [text, text.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

function digestsOf(bytes) {
  return ['md5', 'sha1', 'sha256', 'sha512'].flatMap((name) => {
    const digest = createHash(name).update(bytes).digest();
    const [hex, base64] = [digest.toString('hex'), digest.toString('base64').replace(/=+$/, '')];
    return [latin1(digest), hex, hex.toUpperCase(), [...hex].reverse().join(''), base64, base64.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

// The names of those canaries ({ name: what }) that are in any of the texts, in any form.
export function found(texts, canaries) {
  return Object.entries(canaries).filter(([, what]) => formsOf(what).some((form) => (
    texts.some((text) => (typeof form === 'string' ? text.includes(form) : form.test(text)))))).map(([name]) => name);
}

// Every file below a folder, as texts: its name and size, the bytes, and what is compressed or cut up in them.
export function filesBelow(folder) {
  return readdirSync(folder, { recursive: true }).flatMap((name) => {
    const stat = statSync(path.join(folder, name), { throwIfNoEntry: false });
    return stat?.isFile() ? [`${latin1(Buffer.from(name))}: ${stat.size} bytes`, ...readThrough(readFileSync(path.join(folder, name)))] : [];
  });
}

// The bytes themselves, what LevelDB keeps in them, and what snappy, gzip, deflate or brotli made smaller, to any depth.
export function readThrough(bytes, depth = 0) {
  const texts = [latin1(bytes)];
  if (depth > 2) return texts;
  const inner = [...levelTable(bytes), ...levelLog(bytes, depth)];
  // Chromium marks a value of IndexedDB that it compressed so.
  for (let at = bytes.indexOf(SNAPPY_VALUE); at >= 0; at = bytes.indexOf(SNAPPY_VALUE, at + 1)) inner.push(unsnappy(bytes.subarray(at + 3)));
  for (let at = bytes.indexOf(GZIP); at >= 0; at = bytes.indexOf(GZIP, at + 1)) inner.push(inflated(bytes.subarray(at)));
  for (const one of inner) if (one?.length) texts.push(...readThrough(one, depth + 1));
  return texts;
}

const SNAPPY_VALUE = Buffer.from([0xff, 0x11, 0x02]);
const GZIP = Buffer.from([0x1f, 0x8b, 0x08]);

function inflated(bytes) {
  try { return zlib.gunzipSync(bytes, { finishFlush: zlib.constants.Z_SYNC_FLUSH }); } catch { return null; }
}

// A number of LevelDB's and snappy's, and where it ends.
function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = bytes[at];
    if (byte === undefined) return [NaN, at];
    at += 1;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
  return [NaN, at];
}

// What snappy made of something, as far as it can be read.
export function unsnappy(bytes) {
  let [length, at] = varint(bytes, 0);
  if (!(length > 0 && length < 1 << 28)) return null;
  const out = Buffer.alloc(length);
  let end = 0;
  while (at < bytes.length && end < length) {
    const tag = bytes[at];
    at += 1;
    if ((tag & 3) === 0) {
      let size = tag >> 2;
      if (size >= 60) {
        const more = size - 59;
        if (at + more > bytes.length) break;
        size = bytes.readUIntLE(at, more);
        at += more;
      }
      bytes.copy(out, end, at, at + size + 1);
      [at, end] = [at + size + 1, end + size + 1];
      continue;
    }
    const width = [0, 1, 2, 4][tag & 3];
    if (at + width > bytes.length) break;
    const size = (tag & 3) === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const back = (tag & 3) === 1 ? ((tag >> 5) << 8) | bytes[at] : bytes.readUIntLE(at, width);
    at += width;
    if (back === 0 || back > end) return null;
    for (let i = 0; i < size && end < length; i += 1, end += 1) out[end] = out[end - back];
  }
  return out.subarray(0, end);
}

const TABLE_MAGIC = Buffer.from('57fb808b247547db', 'hex');

// The keys and values of one of LevelDB's tables, also those that were overwritten.
function* levelTable(bytes) {
  if (bytes.length < 48 || !bytes.subarray(-8).equals(TABLE_MAGIC)) return;
  const footer = bytes.subarray(-48);
  const pair = (buffer, start) => {
    const [offset, next] = varint(buffer, start);
    const [size, end] = varint(buffer, next);
    return [offset, size, end];
  };
  const [, , index] = pair(footer, 0);
  const block = ([offset, size]) => {
    const raw = bytes.subarray(offset, offset + size);
    return bytes[offset + size] === 1 ? unsnappy(raw) : raw;
  };
  for (const [, value] of levelEntries(block(pair(footer, index)))) {
    for (const [key, content] of levelEntries(block(pair(value, 0)))) yield Buffer.concat([key, content]);
  }
}

function* levelEntries(block) {
  if (!block || block.length < 4) return;
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  let key = Buffer.alloc(0);
  for (let at = 0; at < end;) {
    let [shared, own, size] = [0, 0, 0];
    [shared, at] = varint(block, at);
    [own, at] = varint(block, at);
    [size, at] = varint(block, at);
    key = Buffer.concat([key.subarray(0, shared), block.subarray(at, at + own)]);
    yield [key, block.subarray(at + own, at + own + size)];
    at += own + size;
  }
}

// The records of one of LevelDB's logs, put together again from the pieces of 32 KiB that they are cut into.
function* levelLog(bytes, depth) {
  if (depth) return;
  let parts = [];
  for (let start = 0; start < bytes.length; start += 32_768) {
    const end = Math.min(start + 32_768, bytes.length);
    for (let at = start; at + 7 <= end;) {
      const [size, type] = [bytes.readUInt16LE(at + 4), bytes[at + 6]];
      if (type < 1 || type > 4 || at + 7 + size > end) break;
      if (type < 3) parts = [];
      parts.push(bytes.subarray(at + 7, at + 7 + size));
      if (type === 1 || type === 4) yield Buffer.concat(parts);
      at += 7 + size;
    }
  }
}

// All that a server's API tells of a database.
export async function toldOf(couch, name) {
  const { rows } = await couch.must('GET', `/${name}/_all_docs`);
  const paths = [
    '', '/_all_docs?include_docs=true&attachments=true&conflicts=true', '/_changes?include_docs=true&attachments=true&style=all_docs&conflicts=true',
    '/_local_docs?include_docs=true', '/_design_docs?include_docs=true', '/_security', '/_revs_limit',
    ...rows.map(({ id }) => `/${encodeURIComponent(id).replace(/^_design%2F/, '_design/')}?open_revs=all&revs=true&attachments=true`),
    ...rows.map(({ id }) => `/${encodeURIComponent(id).replace(/^_design%2F/, '_design/')}?revs_info=true`),
  ];
  const answers = await Promise.all(paths.map((one) => couch.request('GET', `/${name}${one}`, undefined, { accept: 'application/json' })));
  return answers.flatMap(({ text, headers }) => [latin1(Buffer.from(text)), ...[...headers].flat()]).concat(contents(answers));
}

// What base64 in JSON stands for.
const contents = (answers) => answers.flatMap(({ text }) => [...text.matchAll(/"data":"([^"]+)"/g)].flatMap(([, data]) => readThrough(Buffer.from(data, 'base64'))));

// All that went through a proxy (liar.mjs) to databases whose path passes.
export const saidTo = (requests, passes) => requests.filter(({ path: where }) => passes(where)).flatMap(({ method, url, path: where, headers, body, answer }) => (
  [method, url, where, headers.join('\n'), ...readThrough(Buffer.concat(body)), ...readThrough(Buffer.concat(answer))]));
