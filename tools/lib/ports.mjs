import { createServer } from 'node:net';

function tryPort(port) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(null));
    probe.listen(port, '127.0.0.1', () => {
      const got = probe.address().port;
      probe.close(() => resolve(got));
    });
  });
}

// The preferred port, or one of the next few, or any free one; on 127.0.0.1.
// Without a preference: any free port.
export async function freePort(preferred = 0) {
  if (preferred) {
    for (let port = preferred; port < preferred + 10 && port < 65536; port++) {
      if (await tryPort(port)) return port;
    }
  }
  return tryPort(0);
}
