// A reverse proxy before a CouchDB server that keeps what goes through it, as somebody's nginx would stand there.
import http from 'node:http';

const KEEP_BYTES = 4 << 20;

// Answers:
//   url          what pages connect to; port stays the same for good
//   dbUrl(name)  address of a database, credentials included
//   requests     what went through: { method, path, query, type, body, status, answerType, answer }, bodies as Buffers
//                of at most 4 MB; `requestBytes` and `answerBytes` count all of them
//   clear()      forgets them
//   fail(test)   while set: test(request) answers a status, and nothing reaches the server; null ends it
//   close()
// Where the server lets no page in (a CouchDB as it comes), the proxy does.
export async function startRecorder(couch) {
  const target = new URL(couch.url);
  const requests = [];
  let failing = null;

  const server = http.createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url, 'http://localhost');
    const record = {
      method: req.method, path: decodeURIComponent(pathname), query: searchParams, type: req.headers['content-type'] ?? '',
      authorization: req.headers.authorization ?? '', requestBytes: 0, answerBytes: 0, body: [], answer: [], status: 0, answerType: '', began: Date.now(),
    };
    const keep = (list, count) => (chunk) => {
      record[count] += chunk.length;
      if (record[count] <= KEEP_BYTES) list.push(chunk);
    };
    const { origin } = req.headers;
    const cors = !origin ? {} : {
      'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', 'access-control-max-age': '600',
      'access-control-allow-methods': 'GET, PUT, POST, HEAD, DELETE',
      'access-control-allow-headers': req.headers['access-control-request-headers'] ?? '*',
      'access-control-expose-headers': 'etag, content-type, content-length',
    };
    if (req.method === 'OPTIONS') {
      res.writeHead(204, cors);
      res.end();
      return;
    }
    requests.push(record);
    const planned = failing?.(record);
    if (planned) {
      record.status = planned;
      req.resume();
      res.writeHead(planned, { ...cors, 'content-type': 'application/json' });
      res.end(JSON.stringify({ error: 'service_unavailable', reason: 'The proxy of the test says so.' }));
      return;
    }
    const { origin: _, ...passed } = req.headers;
    const onward = http.request({
      host: target.hostname, port: target.port || 80, method: req.method, path: req.url,
      headers: { ...passed, host: target.host, 'accept-encoding': 'identity' },
    }, (answer) => {
      record.status = answer.statusCode;
      record.answerType = answer.headers['content-type'] ?? '';
      const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !name.startsWith('access-control-')));
      res.writeHead(answer.statusCode, { ...headers, ...cors });
      answer.on('data', keep(record.answer, 'answerBytes'));
      answer.on('error', () => res.destroy());
      answer.pipe(res);
    });
    // The server is gone: so is the connection, as without a proxy.
    onward.on('error', () => { req.socket.destroy(); });
    res.on('close', () => onward.destroy());
    req.on('data', keep(record.body, 'requestBytes'));
    req.pipe(onward);
  });
  server.keepAliveTimeout = 0;
  await new Promise((resolve, reject) => { server.once('error', reject); server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    requests,
    clear() { requests.length = 0; },
    fail(test) { failing = test; },
    dbUrl(name, auth = couch.auth) {
      const address = new URL(`${url}/${name}`);
      if (auth) { address.username = encodeURIComponent(auth.username); address.password = encodeURIComponent(auth.password); }
      return address.href;
    },
    close: () => new Promise((resolve) => { server.close(() => resolve()); server.closeAllConnections(); }),
  };
}

export const bodyOf = (record) => Buffer.concat(record.body);
export const answerOf = (record) => Buffer.concat(record.answer);
