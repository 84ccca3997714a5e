import { createServer, connect } from 'node:net';
import { randomBytes } from 'node:crypto';
import { couchClient, splitCredentials, startPouchServer } from '../../../tools/lib/couch.mjs';

// A CouchDB-compatible server for one test file: npm pouchdb-server on a free
// port with clean storage, or, with COUCHDB_URL set, that server.
//
//   url            address without credentials, no slash at the end
//   auth           { username, password } or null
//   name(prefix)   a database name nobody else uses, deleted by close()
//   create(prefix) the same, and the database is there already
//   dbUrl(name)    address of a database, credentials included
//   request, must  plain HTTP against it: must('GET', `/${name}/_all_docs`)
//   stop, start    the server goes away and comes back on the same port with
//                  the same data
//   close          ends it; call it once, in after()
//
// storage 'memory' is quicker, but forgets everything at stop().
export async function startCouch({ storage = 'leveldb' } = {}) {
  const real = process.env.COUCHDB_URL ? await viaProxy(process.env.COUCHDB_URL) : null;
  const server = real || await startPouchServer({ storage });
  const auth = real ? real.auth : null;
  const client = couchClient({ url: server.url, auth });
  const names = new Set();

  const self = {
    url: server.url,
    auth,
    isCouchDB: Boolean(real),
    request: client.request,
    must: client.must,
    name(prefix = 'test') {
      const name = `${prefix}-${Date.now().toString(36)}-${randomBytes(4).toString('hex')}`;
      names.add(name);
      return name;
    },
    async create(prefix) {
      const name = self.name(prefix);
      await client.must('PUT', `/${name}`);
      return name;
    },
    dbUrl(name) {
      const address = new URL(`${server.url}/${name}`);
      if (auth) { address.username = encodeURIComponent(auth.username); address.password = encodeURIComponent(auth.password); }
      return address.href;
    },
    start: server.start,
    stop: server.stop,
    async close() {
      if (real) {
        await server.start();
        for (const name of names) await client.request('DELETE', `/${name}`);
      }
      await server.close();
    },
  };
  return self;
}

// A server that is not ours cannot be stopped, so tests reach it through a
// loopback forwarder that can.
async function viaProxy(raw) {
  const { url, auth } = splitCredentials(raw);
  const target = new URL(url);
  if (target.protocol !== 'http:' || target.pathname !== '/') {
    throw new Error('the tests need COUCHDB_URL to be a plain http:// address without a path');
  }
  const sockets = new Set();
  let server = null;
  let port = 0;
  async function start() {
    if (server) return;
    const listening = createServer((inner) => {
      const outer = connect(Number(target.port || 80), target.hostname);
      for (const [from, to] of [[inner, outer], [outer, inner]]) {
        sockets.add(from);
        from.on('error', () => to.destroy());
        from.on('close', () => { sockets.delete(from); to.destroy(); });
        from.pipe(to);
      }
    });
    await new Promise((resolve, reject) => { listening.once('error', reject); listening.listen(port, '127.0.0.1', resolve); });
    port = listening.address().port;
    server = listening;
  }
  async function stop() {
    if (!server) return;
    const closing = server;
    server = null;
    const closed = new Promise((resolve) => closing.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  await start();
  return { url: `http://127.0.0.1:${port}`, auth, start, stop, close: stop };
}
