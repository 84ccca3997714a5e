// The drawn photos of the demo: painted once by paint.mjs and kept in target/demo/photos, with an index.json that
// names them.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import jpeg from 'jpeg-js';
import { paint, SCENES, shrink } from './paint.mjs';
import { TARGET, inRoot } from './paths.mjs';

const THUMB_SIDE = 512;

const paintHash = createHash('sha256').update(readFileSync(inRoot('tools/lib/paint.mjs'))).digest('hex').slice(0, 8);
export const SAMPLES = path.join(TARGET, 'demo/photos', paintHash);

function write(file, content) {
  writeFileSync(`${file}.part`, content);
  renameSync(`${file}.part`, file);
}

/** A scene's original and thumbnail, as JPEG. */
export function draw(scene) {
  mkdirSync(SAMPLES, { recursive: true });
  const file = path.join(SAMPLES, scene.name);
  const small = path.join(SAMPLES, `thumb-${scene.name}`);
  if (!existsSync(file)) {
    const picture = paint(scene);
    for (const [to, content, quality] of [[small, shrink(picture, THUMB_SIDE), 82], [file, picture, 86]]) {
      write(to, jpeg.encode(content, quality).data);
    }
  }
  return { original: readFileSync(file), thumb: readFileSync(small) };
}

/** Draws all of them, and writes the index last: what it names is there. */
export function drawAll() {
  for (const scene of SCENES) draw(scene);
  write(path.join(SAMPLES, 'index.json'), JSON.stringify(SCENES.map(({ name }) => name)));
}
