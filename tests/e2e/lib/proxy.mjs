// A reverse proxy before a CouchDB server that breaks what it is told to break, and always the same.
import http from 'node:http';

// Answers:
//   url, port        what clients connect to; stays the same, also over down() and up()
//   dbUrl(name)      address of a database, credentials included
//   plan(rules)      from now on these rules hold instead of the ones before; see below
//   storm(options)   the same with random faults; see below
//   calm()           from now on nothing is broken
//   requests         what came: { n, method, path, query, kind, nth, status, requestBytes, answerBytes, fault, whole, authorization,
//                    requestBody, answerBody }; `whole` once all of the answer went out, bodies only with `keep`
//   faults           those of them that were broken, in order
//   clear()          forgets both, and what was counted
//   on(listener)     called with each request before anything happens to it; gives a function that ends it
//   mute()           the connections that are open now stay so, and nothing comes through them any more; new ones are whole
//   down(), up()     refuses connections, as a server that is not there; and listens again
//   close()
//
// A rule is { method, path, kind, nth, times, when, fault }; all but `fault` may be left out. `path` is a RegExp or a
// string that the path ends with, `kind` one of kindOf's, `nth` which of the requests that fit (from 1, or a list of
// them), `times` how many at most, `when(record)` anything else. The first rule that fits decides. Preflights are broken
// only by a rule with method OPTIONS.
//
// A fault is one of
//   { type: 'refuse' }                  the connection is reset; the server hears nothing
//   { type: 'cut-request', bytes }      the server gets so much of the body, then nobody hears anything
//   { type: 'cut-answer', bytes }       the server did it all; the client gets so much of the body, then a reset
//   { type: 'delay', ms }               everything is late
//   { type: 'silence' }                 nothing is ever answered, and the connection stays
//   { type: 'status', status, headers, body }  this instead of the server's answer; the server hears nothing
//   { type: 'late-status', … }          the same, but the server did what it was asked
//   { type: 'html' }                    a page of a hotel, status 200; the server hears nothing
//   { type: 'truncate', bytes, cached } so much of the answer (half, if left out) with a Content-Length that agrees;
//                                       without the answer's ETag, so that no cache keeps it, unless `cached`
//   { type: 'double-body' }             the answer's body twice, with a Content-Length that agrees, and no ETag
//   { type: 'double-answer' }           a second answer on the same connection, nobody asked for; if it is a short one
//   { type: 'repeat' }                  the server gets the request twice, as after a retry on the way; the second answer counts
//   { type: 'rewrite', rewrite }        rewrite(json, record) gives the JSON that goes out
export async function startFaultProxy(couch, { keep = false } = {}) {
  const target = new URL(couch.url);
  // pouchdb-server 4.2 ends when the body of a multipart/related breaks off, so it gets those whole or not at all.
  const isFragile = !couch.isCouchDB;
  const listeners = new Set();
  const sockets = new Set();
  const requests = [];
  const faults = [];
  let counts = new Map();
  let decide = () => null;
  let total = 0;
  let port = 0;
  let server = null;

  function handle(req, res) {
    const { pathname, searchParams } = new URL(req.url, 'http://localhost');
    const record = {
      n: (total += 1), method: req.method, path: decodeURIComponent(pathname), query: searchParams, kind: '', nth: 0, status: 0,
      requestBytes: 0, answerBytes: 0, fault: null, whole: false, authorization: req.headers.authorization ?? '',
    };
    record.kind = kindOf(record);
    const cors = corsOf(req);
    if (req.method !== 'OPTIONS') {
      record.nth = (counts.get(record.kind) ?? 0) + 1;
      counts.set(record.kind, record.nth);
      requests.push(record);
      for (const listener of listeners) listener(record);
    }
    const fault = decide(record);
    if (fault) {
      record.fault = fault;
      faults.push(record);
    }
    if (req.method === 'OPTIONS' && !fault) {
      res.writeHead(204, cors);
      res.end();
      return;
    }
    if (keep) record.requestBody = [];
    req.pause(); // until somebody reads: what is only counted would be lost
    req.on('data', (chunk) => {
      record.requestBytes += chunk.length;
      if (keep) record.requestBody.push(chunk);
    });
    req.on('error', () => {});
    res.on('finish', () => { record.whole = true; });
    const go = () => { if (!req.socket.destroyed) act(fault ?? { type: 'none' }, { req, res, record, cors, target, keep, isWhole: isFragile && record.kind === 'document' }); };
    if (fault?.type === 'delay') setTimeout(go, fault.ms);
    else go();
  }

  async function up() {
    if (server) return;
    const listening = http.createServer(handle);
    listening.keepAliveTimeout = 0;
    listening.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => {});
    });
    await new Promise((resolve, reject) => { listening.once('error', reject); listening.listen(port, '127.0.0.1', resolve); });
    ({ port } = listening.address());
    server = listening;
  }
  function mute() {
    for (const socket of sockets) {
      socket.cork(); // what is written waits for good
      socket.pause();
    }
  }
  async function down() {
    if (!server) return;
    const closing = server;
    server = null;
    const closed = new Promise((resolve) => closing.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  await up();
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    requests,
    faults,
    plan(rules) { decide = planOf(rules); },
    storm(options) { decide = stormOf(options); },
    calm() { decide = () => null; },
    clear() {
      requests.length = 0;
      faults.length = 0;
      counts = new Map();
      total = 0;
    },
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    dbUrl(name, auth = couch.auth) {
      const address = new URL(`${url}/${name}`);
      if (auth) { address.username = encodeURIComponent(auth.username); address.password = encodeURIComponent(auth.password); }
      return address.href;
    },
    // For a failing test: what was asked and what was done to it.
    said: () => requests.map(({ n, method, path, kind, nth, status, fault, whole }) => (
      `${n} ${method} ${path} (${kind} ${nth}) ${status}${fault ? ` ${JSON.stringify(fault)}` : ''}${whole ? '' : ' (cut)'}`)).join('\n'),
    mute,
    up,
    down,
    close: down,
  };
}

// What a request is for: info, create, local, record, changes, wait, diff, bulk-get, contents (of several documents at
// once), open-revs, attachment, bulk-docs, document (a PUT), session, other.
export function kindOf({ method, path, query }) {
  const [, , first, ...rest] = path.split('/');
  if (path.startsWith('/_session')) return 'session';
  if (first === undefined || first === '') return method === 'PUT' ? 'create' : 'info';
  if (first === '_local') return method === 'GET' ? 'local' : 'record';
  if (first === '_changes') return query.has('feed') && query.get('feed') !== 'normal' ? 'wait' : 'changes';
  if (first === '_revs_diff') return 'diff';
  if (first === '_bulk_get') return query.has('revs') ? 'bulk-get' : 'contents';
  if (first === '_bulk_docs') return 'bulk-docs';
  if (method === 'PUT') return 'document';
  if (method === 'GET' && query.has('open_revs')) return 'open-revs';
  if (method === 'GET' && rest.length) return 'attachment';
  return 'other';
}

// A small generator with a seed (mulberry32): numbers from 0 up to, but not, 1.
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

// The same number for the same text.
export function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

function planOf(rules) {
  const states = rules.map((rule) => ({ rule, seen: 0, done: 0 }));
  return (record) => {
    for (const state of states) {
      const { method, path, kind, nth, times = Infinity, when, fault } = state.rule;
      if (record.method === 'OPTIONS' ? method !== 'OPTIONS' : method && method !== record.method) continue;
      if (path && !(path instanceof RegExp ? path.test(record.path) : record.path.endsWith(path))) continue;
      if (kind && kind !== record.kind) continue;
      if (when && !when(record)) continue;
      state.seen += 1;
      if (nth && ![nth].flat().includes(state.seen)) continue;
      if (state.done >= times) continue;
      state.done += 1;
      return fault;
    }
    return null;
  };
}

// What passes by itself: every client that tries again has to get over these.
export const PASSING = [
  { type: 'refuse' }, { type: 'cut-request' }, { type: 'cut-answer' }, { type: 'delay' }, { type: 'truncate' }, { type: 'double-body' },
  { type: 'double-answer' }, { type: 'repeat' }, { type: 'html' },
  { type: 'status', status: 429, headers: { 'retry-after': '0' } }, { type: 'status', status: 500 }, { type: 'status', status: 502 },
  { type: 'status', status: 503 }, { type: 'status', status: 504 }, { type: 'late-status', status: 500 }, { type: 'late-status', status: 504 },
];

// Breaks a share (`rate`) of the requests of each kind, `limit` in all. What happens to a kind's nth request is decided by
// the seed, the kind and n alone, so that the order in which two kinds come does not change it.
function stormOf({ seed, rate = 0.3, limit = 30, types = PASSING, kinds }) {
  let done = 0;
  return (record) => {
    if (record.method === 'OPTIONS' || done >= limit || (kinds && !kinds.includes(record.kind))) return null;
    const random = seeded(hashOf(`${seed} ${record.kind} ${record.nth}`));
    if (random() >= rate) return null;
    done += 1;
    const type = types[Math.floor(random() * types.length)];
    const sized = ['cut-request', 'cut-answer'].includes(type.type) ? { bytes: Math.floor(10 ** (random() * 6.5)) - 1 } : {};
    return { ...type, ...sized, ...(type.type === 'delay' ? { ms: Math.floor(random() * 200) } : {}) };
  };
}

function corsOf({ headers }) {
  const { origin } = headers;
  return !origin ? {} : {
    'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', 'access-control-max-age': '600',
    'access-control-allow-methods': 'GET, PUT, POST, HEAD, DELETE',
    'access-control-allow-headers': headers['access-control-request-headers'] ?? '*',
    'access-control-expose-headers': 'etag, content-type, content-length, retry-after', vary: 'origin',
  };
}

const WORDS = {
  400: 'bad_request', 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 409: 'conflict', 412: 'precondition_failed',
  413: 'too_large', 429: 'too_many_requests', 500: 'internal_server_error', 502: 'bad_gateway', 503: 'service_unavailable', 504: 'gateway_timeout',
};

// Ends the connection as a line that breaks does, without a last word.
const cut = (socket) => { if (socket.resetAndDestroy) socket.resetAndDestroy(); else socket.destroy(); };

function act(fault, exchange) {
  const { req, res, record, cors } = exchange;
  const own = () => {
    const { status, headers, body = JSON.stringify({ error: WORDS[status] ?? 'unknown_error', reason: 'The proxy of the test says so.' }) } = fault;
    answer(exchange, status, { 'content-type': 'application/json', ...headers }, Buffer.from(body));
  };
  switch (fault.type) {
    case 'refuse':
      cut(req.socket);
      return;
    case 'silence':
      req.resume();
      return;
    case 'status':
      req.resume();
      own();
      return;
    case 'html':
      req.resume();
      answer(exchange, 200, { 'content-type': 'text/html; charset=utf-8' }, Buffer.from('<!doctype html><title>Welcome to the hotel</title><form>Room number?</form>'));
      return;
    case 'cut-request': {
      if (exchange.isWhole) {
        req.on('data', () => { if (record.requestBytes >= fault.bytes) cut(req.socket); });
        req.on('end', () => cut(req.socket));
        req.resume();
        return;
      }
      // The server sees the length that was announced, so it knows that something is missing.
      let left = fault.bytes;
      const onward = ask(exchange, () => {});
      const end = () => {
        onward.destroy();
        cut(req.socket);
      };
      req.on('data', (chunk) => {
        onward.write(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) onward.destroyed || setTimeout(end, 5); // what was written is to leave
      });
      req.on('end', end);
      req.resume();
      return;
    }
    case 'cut-answer': {
      let left = fault.bytes;
      forward(exchange, (from) => {
        record.status = from.statusCode;
        res.writeHead(from.statusCode, { ...passed(from.headers), ...cors });
        res.flushHeaders();
        const end = () => setTimeout(() => cut(req.socket), 5);
        from.on('data', (chunk) => {
          if (left > 0) res.write(chunk.subarray(0, left));
          record.answerBytes += Math.min(left, chunk.length);
          left -= chunk.length;
          if (left <= 0) end();
        });
        from.on('end', end);
      });
      return;
    }
    case 'repeat':
      whole(req).then((body) => {
        const first = ask(exchange, (from) => {
          from.resume();
          from.on('end', () => forward(exchange, undefined, body));
        });
        first.end(body);
      });
      return;
    case 'late-status': case 'truncate': case 'double-body': case 'double-answer': case 'rewrite':
      forward(exchange, (from) => {
        whole(from).then((bytes) => {
          if (fault.type === 'late-status') {
            own();
            return;
          }
          let body = bytes;
          if (fault.type === 'truncate') body = bytes.subarray(0, fault.bytes ?? bytes.length >> 1);
          if (fault.type === 'double-body') body = Buffer.concat([bytes, bytes]);
          if (fault.type === 'rewrite') body = Buffer.from(JSON.stringify(fault.rewrite(JSON.parse(bytes.toString()), record)));
          const { etag, ...headers } = passed(from.headers);
          // Both in one piece: an answer that comes after the client has asked for something else would be taken for that
          // one's, and nobody could tell.
          const isDouble = fault.type === 'double-answer' && body.length < 16_384;
          const { socket } = res;
          if (!socket) return; // whoever asked has hung up
          if (isDouble) socket.cork();
          answer(exchange, from.statusCode, etag && (fault.cached || isDouble) ? { ...headers, etag } : headers, body);
          if (!isDouble) return;
          socket.end(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
          socket.uncork();
        }, () => cut(req.socket));
      });
      return;
    default: // 'none', 'delay'
      forward(exchange);
  }
}

const LENGTHS = ['content-length', 'transfer-encoding', 'connection', 'keep-alive'];
function passed(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('access-control-') && !LENGTHS.includes(name)));
}

function answer({ res, record, cors }, status, headers, body) {
  record.status = status;
  record.answerBytes = body.length;
  const length = [204, 304].includes(status) ? {} : { 'content-length': body.length };
  res.writeHead(status, { ...headers, ...cors, ...length });
  res.end(body);
}

async function whole(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function ask({ req, res, target, isWhole }, heard) {
  const { origin: _, ...headers } = req.headers;
  const onward = http.request({
    host: target.hostname, port: target.port || 80, method: req.method, path: req.url,
    headers: { ...headers, host: target.host, 'accept-encoding': 'identity' },
  }, heard);
  // The server is gone: so is the connection, as without a proxy.
  onward.on('error', () => cut(req.socket));
  if (!isWhole) res.on('close', () => onward.destroy());
  return onward;
}

function forward(exchange, heard, body) {
  const { req, res, record, cors, keep, isWhole } = exchange;
  if (isWhole && !body) {
    whole(req).then((all) => forward(exchange, heard, all), () => {});
    return;
  }
  const onward = ask(exchange, heard ?? ((from) => {
    record.status = from.statusCode;
    const length = from.headers['content-length'];
    res.writeHead(from.statusCode, { ...passed(from.headers), ...cors, ...(length === undefined ? {} : { 'content-length': length }) });
    res.flushHeaders();
    if (keep) record.answerBody = [];
    from.on('data', (chunk) => {
      record.answerBytes += chunk.length;
      if (keep) record.answerBody.push(chunk);
    });
    from.on('error', () => cut(req.socket));
    from.pipe(res);
  }));
  if (body) onward.end(body);
  else req.pipe(onward);
}
