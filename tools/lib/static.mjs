// A static file server on 127.0.0.1 for the gallery and the tests: /settee/ is
// the package, everything else is the page. Files are revalidated on every
// load (ETag), so a rebuild shows at the next reload.
import { createServer } from 'node:http';
import { createReadStream, realpathSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { PKG, WWW } from './paths.mjs';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
  '.ts': 'text/plain; charset=utf-8',
  '.md': 'text/plain; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
  '.avif': 'image/avif',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
};

// Where a URL path leads, or null. Names with a NUL, dot files and anything
// that resolves outside the mounted folder (through .. or a symbolic link)
// lead nowhere.
function resolveFile(mounts, pathname) {
  let decoded;
  try { decoded = decodeURIComponent(pathname); } catch { return null; }
  if (decoded.includes('\0') || decoded.includes('\\')) return null;
  if (decoded.split('/').some((part) => part.startsWith('.'))) return null;
  for (const [prefix, folder] of mounts) {
    if (!decoded.startsWith(prefix)) continue;
    const rest = decoded.slice(prefix.length);
    const file = path.join(folder, rest === '' || rest.endsWith('/') ? rest + 'index.html' : rest);
    try {
      const real = realpathSync(file);
      const base = realpathSync(folder);
      return real.startsWith(base + path.sep) ? real : null;
    } catch { return null; }
  }
  return null;
}

// mounts: { '/prefix/': folder }, the longest prefix wins. pages: extra pages
// that are not files, { '/path': html }. redirects: { '/path': '/other' }.
// headers go with every answer.
export async function startStaticServer({ port = 0, mounts = { '/settee/': PKG, '/': WWW }, pages = {}, redirects = {}, headers = {} } = {}) {
  const ordered = Object.entries(mounts).sort((a, b) => b[0].length - a[0].length);

  async function answer(req, res) {
    const { pathname } = new URL(req.url, 'http://localhost');
    const send = (status, type, body) => {
      res.writeHead(status, { ...headers, 'content-type': type, 'cache-control': 'no-cache' });
      res.end(req.method === 'HEAD' ? undefined : body);
    };
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('allow', 'GET, HEAD');
      return send(405, TYPES['.txt'], 'Only GET and HEAD are served here.\n');
    }
    if (Object.hasOwn(pages, pathname)) return send(200, TYPES['.html'], pages[pathname]);
    if (Object.hasOwn(redirects, pathname)) {
      res.writeHead(302, { ...headers, location: redirects[pathname], 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
      return res.end();
    }
    const file = resolveFile(ordered, pathname);
    const info = file && await stat(file).catch(() => null);
    if (!info) return send(404, TYPES['.txt'], 'Not found.\n');
    if (info.isDirectory()) {
      res.writeHead(308, { ...headers, location: `${pathname}/` });
      return res.end();
    }
    const etag = `"${info.size.toString(36)}-${Math.round(info.mtimeMs * 1000).toString(36)}"`;
    const common = { ...headers, etag, 'cache-control': 'no-cache' };
    if ((req.headers['if-none-match'] || '').split(/,\s*/).includes(etag)) {
      res.writeHead(304, common);
      return res.end();
    }
    res.writeHead(200, {
      ...common,
      'content-type': TYPES[path.extname(file).toLowerCase()] || 'application/octet-stream',
      'content-length': info.size,
      'x-content-type-options': 'nosniff',
    });
    if (req.method === 'HEAD') return res.end();
    createReadStream(file).on('error', () => res.destroy()).pipe(res);
  }

  const server = createServer((req, res) => {
    answer(req, res).catch(() => { if (!res.headersSent) res.writeHead(500); res.end(); });
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    port: server.address().port,
    stop: () => new Promise((resolve) => { server.close(() => resolve()); server.closeAllConnections(); }),
  };
}
