#!/usr/bin/env node
// Puts a few photos, drawn by tools/lib/paint.mjs, into a CouchDB database:
//
//   node tools/seed.mjs http://127.0.0.1:5984/photos
//
// SEED_AUTH holds the credentials as user:password where the server wants
// them. Creates the database when it is missing, leaves photos that are there
// or were deleted alone. Drawn files are kept in target/demo/photos.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import jpeg from 'jpeg-js';
import { couchClient } from './lib/couch.mjs';
import { paint, SCENES, shrink } from './lib/paint.mjs';
import { TARGET, inRoot } from './lib/paths.mjs';
import { fail } from './lib/say.mjs';

const THUMB_SIDE = 512;

const address = process.argv[2];
if (!address) fail('which database? For example: node tools/seed.mjs http://127.0.0.1:5984/photos');
const [username, ...password] = (process.env.SEED_AUTH || '').split(':');
const db = couchClient({ url: address.replace(/\/+$/, ''), auth: username ? { username, password: password.join(':') } : null });

const paintHash = createHash('sha256').update(readFileSync(inRoot('tools/lib/paint.mjs'))).digest('hex').slice(0, 8);
const folder = path.join(TARGET, 'demo/photos', paintHash);
mkdirSync(folder, { recursive: true });

function draw(scene) {
  const file = path.join(folder, scene.name);
  const small = path.join(folder, `thumb-${scene.name}`);
  if (!existsSync(file)) {
    const picture = paint(scene);
    for (const [to, content, quality] of [[small, shrink(picture, THUMB_SIDE), 82], [file, picture, 86]]) {
      writeFileSync(`${to}.part`, jpeg.encode(content, quality).data);
      renameSync(`${to}.part`, to);
    }
  }
  return { original: readFileSync(file), thumb: readFileSync(small) };
}

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
  const added = await seed();
  if (added) console.log(`${added} drawn photos are in the database`);
} catch (error) {
  fail(`seeding: ${error.message}`);
}
