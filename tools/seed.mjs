#!/usr/bin/env node
// Puts a few photos, drawn by tools/lib/paint.mjs, into a CouchDB database:
//
//   node tools/seed.mjs http://127.0.0.1:5984/photos
//
// SEED_AUTH holds the credentials as user:password where the server wants
// them. Creates the database when it is missing, leaves photos that are there
// or were deleted alone. Without an address it only draws them.
import { createHash } from 'node:crypto';
import { couchClient } from './lib/couch.mjs';
import { SCENES } from './lib/paint.mjs';
import { draw, drawAll } from './lib/samples.mjs';
import { fail } from './lib/say.mjs';

const address = process.argv[2];
const [username, ...password] = (process.env.SEED_AUTH || '').split(':');
const db = address && couchClient({ url: address.replace(/\/+$/, ''), auth: username ? { username, password: password.join(':') } : null });

async function seed() {
  const created = await db.request('PUT', '');
  if (![200, 201, 202, 412].includes(created.status)) {
    throw new Error(`the database could not be created: ${created.json?.reason || created.status}`);
  }
  let added = 0;
  for (const scene of SCENES) {
    const { original, thumb } = draw(scene);
    const mark = createHash('sha256').update(original).digest('hex').slice(0, 8);
    const _id = `photo:${scene.taken}:${mark}`;
    // A deleted photo is listed too, so it does not come back.
    const { rows } = await db.must('POST', '/_all_docs', { keys: [_id] });
    if (rows[0]?.value) continue;
    const attachment = (bytes) => ({ content_type: 'image/jpeg', data: bytes.toString('base64') });
    await db.must('PUT', `/${encodeURIComponent(_id)}`, {
      _id, type: 'photo', name: scene.name, caption: scene.caption, taken: scene.taken, added: new Date().toISOString(),
      width: scene.size[0], height: scene.size[1],
      _attachments: { original: attachment(original), thumb: attachment(thumb) },
    });
    added++;
  }
  return added;
}

try {
  drawAll();
  const added = address ? await seed() : 0;
  if (added) console.log(`${added} drawn photos are in the database`);
} catch (error) {
  fail(`seeding: ${error.message}`);
}
