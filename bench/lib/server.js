// Static server on 127.0.0.1: /c/<contender>/ is a page that loads app.js.
import { createServer } from 'node:http';
import path from 'node:path';

const TYPES = { '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html', '.json': 'application/json' };
const HTML = '<!doctype html><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,"><script type="module" src="app.js"></script>';

// pages: Map(name -> { files: Map(path -> Buffer), config })
export async function startServer(pages) {
  const server = createServer((req, res) => {
    const url = new URL(req.url, 'http://x');
    const m = /^\/c\/([\w.-]+)\/(.*)$/.exec(url.pathname);
    const page = m && pages.get(m[1]);
    if (!page) { res.writeHead(404).end(); return; }
    const rest = m[2];
    let body = null;
    if (rest === '') body = Buffer.from(HTML);
    else if (page.files.has(rest)) body = page.files.get(rest);
    if (!body) { res.writeHead(404).end(); return; }
    res.writeHead(200, {
      'content-type': rest === '' ? TYPES['.html'] : TYPES[path.extname(rest)] || 'application/octet-stream',
      'content-length': body.length,
      'cache-control': rest === '' ? 'no-store' : 'max-age=3600',
      ...page.config.headers,
    });
    res.end(body);
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((r) => { server.close(r); server.closeAllConnections(); }),
  };
}
