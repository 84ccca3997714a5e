// A server that lies. Two ways: a copy of a database with something changed in it, which a real server then serves as well as
// it can; and a proxy that changes answers on the way. The proxy also keeps all that it heard, as somebody would who watches.
import http from 'node:http';

// Answers:
//   url, dbUrl(name)   what clients connect to
//   requests           all that came: { method, url, path, query, headers (as on the line), body, status, answer }, whole
//   show(name, other)  from now on `name` is the database `other` of the server; without `other` it is itself
//   lie(rules)         from now on these hold: [{ when(record), change(bytes, record), instead(record, body) }]. `change` gives other
//                      bytes for the answer; `instead` gives { status, body } and the server hears nothing. Without rules: none
//   lies               how often a rule did something
//   clear()            forgets what came
//   close()
export async function startLiar(couch) {
  const target = new URL(couch.url);
  const requests = [];
  const shown = new Map();
  let rules = [];
  const self = { requests, lies: 0 };

  const server = http.createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url, 'http://localhost');
    const record = {
      method: req.method, url: req.url, path: decodeURIComponent(pathname), query: searchParams, headers: req.rawHeaders, body: [], status: 0, answer: [],
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
    req.on('data', (chunk) => record.body.push(chunk));
    req.on('end', () => {
      const body = Buffer.concat(record.body);
      const rule = rules.find(({ when }) => when(record, body));
      if (rule) self.lies += 1;
      if (rule?.instead) {
        const { status, body: said } = rule.instead(record, body);
        record.status = status;
        res.writeHead(status, { ...cors, 'content-type': 'application/json' });
        res.end(typeof said === 'string' ? said : JSON.stringify(said));
        return;
      }
      const { origin: _, ...passed } = req.headers;
      const path = req.url.replace(/^\/([^/?]+)/, (all, name) => `/${shown.get(name) ?? name}`);
      const onward = http.request({
        host: target.hostname, port: target.port || 80, method: req.method, path,
        headers: { ...passed, host: target.host, 'accept-encoding': 'identity' },
      }, (answer) => {
        record.status = answer.statusCode;
        const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => (
          !name.startsWith('access-control-') && !(rule && ['content-length', 'transfer-encoding', 'etag'].includes(name)))));
        answer.on('error', () => res.destroy());
        if (!rule) {
          res.writeHead(answer.statusCode, { ...headers, ...cors });
          answer.on('data', (chunk) => record.answer.push(chunk));
          answer.pipe(res);
          return;
        }
        const chunks = [];
        answer.on('data', (chunk) => chunks.push(chunk));
        answer.on('end', () => {
          const changed = Buffer.from(rule.change(Buffer.concat(chunks), record));
          record.answer.push(changed);
          res.writeHead(answer.statusCode, { ...headers, ...cors, 'content-length': changed.length });
          res.end(changed);
        });
      });
      onward.on('error', () => req.socket.destroy());
      res.on('close', () => onward.destroy());
      onward.end(body);
    });
  });
  server.keepAliveTimeout = 0;
  await new Promise((resolve, reject) => { server.once('error', reject); server.listen(0, '127.0.0.1', resolve); });
  const url = `http://127.0.0.1:${server.address().port}`;
  return Object.assign(self, {
    url,
    show(name, other) {
      if (other) shown.set(name, other);
      else shown.delete(name);
    },
    lie(given = []) {
      rules = given;
      self.lies = 0;
    },
    clear() { requests.length = 0; },
    dbUrl(name, auth = couch.auth) {
      const address = new URL(`${url}/${name}`);
      if (auth) Object.assign(address, { username: encodeURIComponent(auth.username), password: encodeURIComponent(auth.password) });
      return address.href;
    },
    close: () => new Promise((resolve) => { server.close(() => resolve()); server.closeAllConnections(); }),
  });
}

export const bodyOf = ({ body }) => Buffer.concat(body);
export const answerOf = ({ answer }) => Buffer.concat(answer);

// Every leaf of every document of a database, with history and attachments as base64.
export async function leavesOn(couch, name) {
  const { results } = await couch.must('GET', `/${name}/_changes?style=all_docs`);
  const all = await Promise.all(results.map(async ({ id }) => {
    const path = `/${name}/${encodeURIComponent(id).replace(/^_design%2F/, '_design/')}?open_revs=all&revs=true&attachments=true`;
    const { status, json } = await couch.request('GET', path, undefined, { accept: 'application/json' });
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`);
    return json.map(({ ok }) => ok);
  }));
  return all.flat();
}

// A new database with these documents, as a server takes them from anybody.
export async function serveLeaves(couch, prefix, docs) {
  const name = await couch.create(prefix);
  const rows = await couch.must('POST', `/${name}/_bulk_docs`, { docs, new_edits: false });
  const refused = rows.filter(({ error }) => error);
  if (refused.length) throw new Error(`the server does not take the lie: ${JSON.stringify(refused)}`);
  return name;
}

// Other bytes instead of these, raw or in base64, with the length that a part of a multipart says before them: what a rule's
// `change` does to answers.
export function replaced(bytes, from, to) {
  let out = bytes;
  for (const [a, b] of [[from, to], [Buffer.from(from.toString('base64')), Buffer.from(to.toString('base64'))]]) {
    for (let at = out.indexOf(a); at >= 0;) {
      const begin = Math.max(out.lastIndexOf('\r\n--', at), 0);
      const head = out.subarray(begin, at).toString('latin1').replace(/^(content-length: )\d+/im, `$1${b.length}`);
      out = Buffer.concat([out.subarray(0, begin), Buffer.from(head, 'latin1'), b, out.subarray(at + a.length)]);
      at = out.indexOf(a, begin + head.length + b.length);
    }
  }
  return out;
}
