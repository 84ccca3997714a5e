// The border: what crosses into WebAssembly and back is JSON text and bytes.

export class SetteeError extends Error {
  constructor(status, name, reason, cause) {
    super(reason, cause === undefined ? undefined : { cause });
    Object.assign(this, { status, name, message: reason, reason, error: true }); // all of them enumerable, as PouchDB's
  }
}

export function failure({ status, error, reason, ...rest }) {
  return Object.assign(new SetteeError(status, error, reason), rest);
}

export const badRequest = (reason) => new SetteeError(400, 'bad_request', reason);
export const badOption = (reason) => new SetteeError(400, 'query_parse_error', reason);
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const DEEPEST = 1000;
const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isBytes = (value) => ArrayBuffer.isView(value) || /^(Blob|File|(Shared)?ArrayBuffer)$/.test(tagOf(value));
const isJsonless = (value) => isBytes(value) || /^(Weak)?(Map|Set|Ref)$|^Promise$/.test(tagOf(value));

// Where the walk is: objects[d] is being looked at, in its member keys[d].
const objects = [];
const keys = [];
let root = '';

function refuse(depth, what) {
  const path = keys.slice(0, Math.min(depth, 8)).map((key) => (typeof key === 'number' ? `[${key}]`
    : /^[\w$]+$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`));
  throw badRequest(`${root}${path.join('')}${depth > 8 ? '…' : ''} ${what}`);
}

// Gives back the value, or a copy where a toJSON() took a member's place.
function walk(value, depth, wellFormed) {
  switch (typeof value) {
    case 'string':
      if (wellFormed && !wellFormed(value)) refuse(depth, 'holds half of a surrogate pair, which is no text');
      return value;
    case 'boolean': case 'undefined': return value;
    case 'number':
      if (value - value !== 0) refuse(depth, `is ${value}, which JSON cannot carry`);
      return value;
    case 'object': break;
    default: refuse(depth, `is a ${typeof value}, which JSON cannot carry`);
  }
  if (value === null) return null;
  if (depth > DEEPEST) {
    refuse(depth, new Set(objects.slice(0, depth)).size < depth ? 'is cyclic' : `is nested deeper than ${DEEPEST} levels`);
  }
  objects[depth] = value;
  let copy = value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) {
      keys[depth] = i;
      const walked = walk(value[i], depth + 1, wellFormed);
      if (walked !== value[i]) {
        if (copy === value) copy = value.slice();
        copy[i] = walked;
      }
    }
    return copy;
  }
  if (typeof value.toJSON === 'function') {
    return walk(value.toJSON(String(keys[depth - 1] ?? '')), depth + 1, wellFormed);
  }
  const proto = Object.getPrototypeOf(value);
  if (proto !== Object.prototype && proto !== null && isJsonless(value)) {
    refuse(depth, `is a ${tagOf(value)}, which JSON cannot carry`);
  }
  for (const key of Object.keys(value)) {
    const member = value[key];
    if (!wellFormed && typeof member === 'string') continue;
    keys[depth] = key;
    if (wellFormed && !wellFormed(key)) refuse(depth + 1, 'is named by half of a surrogate pair, which is no text');
    const walked = walk(member, depth + 1, wellFormed);
    if (walked !== member) {
      if (copy === value) copy = { ...value };
      // Not by assignment: a member may be named __proto__.
      Object.defineProperty(copy, key, { value: walked, enumerable: true });
    }
  }
  return copy;
}

const isWellFormed = (text) => text.isWellFormed?.() ?? !/\p{Surrogate}/u.test(text);

export const isText = (value) => typeof value === 'string' && isWellFormed(value);

export function asText(value, what, name = 'bad_request') {
  if (isText(value)) return value;
  throw new SetteeError(400, name, `${what} must be a string${value?.slice ? ' of whole surrogate pairs' : ''}`);
}

/** What JSON.stringify would make of the value; an error that names the member where that would not be the value. */
export function toJson(value, name) {
  root = name;
  try {
    const walked = walk(value, 0);
    const text = JSON.stringify(walked);
    // Half a surrogate pair comes out as an escape; then it is worth finding out where.
    if (text?.includes('\\ud')) walk(walked, 0, isWellFormed);
    return text;
  } catch (error) { // a toJSON or a getter of the caller's may throw anything
    if (error instanceof SetteeError) throw error;
    throw new SetteeError(400, 'bad_request', `${name} cannot be written as JSON: ${error?.message ?? error}`, error);
  } finally {
    objects.length = keys.length = 0; // keeps nothing of the caller's
  }
}

/** The document with its attachments' bytes moved to `contents`, and their places there in the bytes' stead. */
export function lift(doc, contents, name) {
  if (typeof doc?.toJSON === 'function') doc = doc.toJSON();
  if (!isObject(doc)) throw badRequest('Document must be a JSON object');
  if (!isObject(doc._attachments)) return doc;
  const lifted = ([key, attachment]) => {
    const data = attachment?.data;
    if (typeof data === 'number') throw badRequest(`${name}._attachments.${key}.data is a number, not base64 or bytes`);
    return [key, isBytes(data)
      ? { content_type: data.type || undefined, ...attachment, data: contents.push(data) - 1 } : attachment];
  };
  return { ...doc, _attachments: Object.fromEntries(Object.entries(doc._attachments).map(lifted)) };
}

/** Reads what the engine rendered: JSON text, or an array of it and the bytes its attachments name by place. */
export function open(rendered, docsOf) {
  if (typeof rendered === 'string') return JSON.parse(rendered);
  const value = JSON.parse(rendered[0]);
  for (const doc of docsOf(value)) {
    for (const attachment of Object.values(doc?._attachments ?? {})) {
      if (typeof attachment.data === 'number') {
        const blob = rendered[attachment.data + 1];
        attachment.data = blob.slice(0, blob.size, attachment.content_type);
      }
    }
  }
  return value;
}

/** Options as the engine takes them: what is null or undefined is not given. */
export function options(given, own = []) {
  if (given === undefined || given === null) return undefined;
  if (!isObject(given)) throw badOption('Options must be an object');
  const kept = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || own.includes(key)) continue;
    if (typeof value === 'function') throw badOption(`Option \`${key}\` cannot be a function`);
    kept[key] = value;
  }
  return JSON.parse(toJson(kept, 'options'));
}
