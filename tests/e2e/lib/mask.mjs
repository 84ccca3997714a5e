// What a server sees of a sealed channel, with everything that looks random made the same: of each such text its length stays.
// What is left is what it can learn.
const x = (text) => `<${text.length}>`;

const RANDOM = [
  /^(e-)([a-z2-7]{32})$/, /^(k-)([a-z2-7]{52})$/, // documents, log entries
  /^(\d+-)([0-9a-f]{32})$/, /^()([0-9a-f]{32})$/, // revisions
  /^()([a-z2-7]{26})$/, /^(md5-)([A-Za-z0-9+/]{22}==)$/, // attachments
];
// Nonces, lines, epochs, ciphertexts, log entries, contents.
const SEALED = new Set(['e', 'l', 'n', 'c', 'm', 'g', 'data']);
// A server's own: times, names of lives, opaque sequences, and how much room it takes on its disk.
const OF_THE_SERVER = /^(session_id|start_time|end_time|instance_start_time|(source|target)_instance|uuid|db_name|disk_size|data_size|sizes|backend_adapter|db_uuid|replication_id_version)$/;

// CouchDB's sequences tell of its own nodes and files, in more or fewer letters.
const SEQUENCES = /\d+-g1AAA[\w-]+/g;
const SEQUENCE = new RegExp(`^${SEQUENCES.source}$`);

const byText = (a, b) => (JSON.stringify(a.slice(0, 2)) < JSON.stringify(b.slice(0, 2)) ? -1 : 1);

export function maskText(text) {
  for (const pattern of RANDOM) if (pattern.test(text)) return text.replace(pattern, (all, kind, random) => kind + x(random));
  return text;
}

export function maskJson(value, key = '') {
  if (OF_THE_SERVER.test(key)) return typeof value === 'string' ? x(value) : '';
  if (/seq$/.test(key) && (typeof value === 'number' || SEQUENCE.test(value))) return '';
  if (typeof value === 'string') return SEALED.has(key) ? x(value) : maskText(value);
  if (Array.isArray(value)) {
    const masked = value.map((one) => maskJson(one));
    return masked.every((one) => typeof one === 'string') ? masked.sort() : masked;
  }
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, member]) => [maskText(name), maskJson(member, name), name]);
  // What is in the order of such names is in none.
  if (members.some(([masked, , name]) => masked !== name)) members.sort(byText);
  // Two that look alike are both there.
  return Object.fromEntries(members.map(([masked, member, name], at) => [masked === name ? name : `${masked} (${at})`, member]));
}

// A path or URL: the database is `channel`, checkpoints are as long as they are.
export const maskUrl = (url, name) => url.replaceAll(name, 'channel').split(/([/?&=])/).map((part) => {
  const plain = decodeURIComponent(part);
  if (SEQUENCE.test(plain)) return '';
  if (/^[A-Za-z0-9+_.-]{22,}$/.test(plain) && url.includes(`/_local/${part}`)) return x(plain);
  if (/^\[?"/.test(plain)) return encodeURIComponent(JSON.stringify(maskJson(JSON.parse(plain))));
  return maskText(plain);
}).join('');

// A request as somebody on the way sees it.
export function maskRequest({ method, url, headers, body, status, answer }, name) {
  const bytes = Buffer.concat(body);
  const type = headers[headers.findIndex((header, at) => at % 2 === 0 && /^content-type$/i.test(header)) + 1] ?? '';
  const boundary = /boundary="?([^";]+)/.exec(type)?.[1];
  const size = bytes.toString('latin1').replace(SEQUENCES, '').length;
  return JSON.stringify({
    method, url: maskUrl(url, name), status, bytes: size, answer: sizeOf(Buffer.concat(answer)),
    headers: headers.map((header, at) => (/^if-none-match$/i.test(headers[at - 1] ?? '') ? x(header)
      : /^content-length$/i.test(headers[at - 1] ?? '') ? size
      : maskText(boundary ? header.replace(boundary, x(boundary)) : header.replaceAll(name, 'channel')))),
    body: boundary ? partsOf(bytes, boundary) : jsonOf(bytes),
  });
}

const jsonOf = (bytes) => { try { return maskJson(JSON.parse(bytes.toString())); } catch { return `${bytes.length} bytes`; } };
// A server's answers have times and sequences in them.
const sizeOf = (bytes) => { const json = jsonOf(bytes); return typeof json === 'string' ? json : JSON.stringify(json).length; };

const partsOf = (bytes, boundary) => bytes.toString('latin1').split(`--${boundary}`).map((part) => {
  const at = part.indexOf('\r\n\r\n');
  if (at < 0) return part.trim();
  const heads = part.slice(0, at).trim().replace(/(filename=")([^"]+)/, (all, before, file) => before + maskText(file));
  return JSON.stringify([heads, jsonOf(Buffer.from(part.slice(at + 4), 'latin1'))]);
}).sort();
