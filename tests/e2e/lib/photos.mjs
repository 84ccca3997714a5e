// Real JPEG files with Exif, drawn once and kept in target/e2e/photos.
import jpeg from 'jpeg-js';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { paint, SCENES } from '../../../tools/lib/paint.mjs';
import { TARGET } from '../../../tools/lib/paths.mjs';

const FOLDER = path.join(TARGET, 'e2e/photos');
const VERSION = 1; // of what is drawn here

// An APP1 segment with orientation, date and camera, as cameras write it: little-endian, two directories.
function exif({ orientation = 1, taken = '2026:06:21 19:48:12' }) {
  const make = Buffer.from('Settee tests\0\0');
  const date = Buffer.from(`${taken}\0`);
  const ifd0 = 8;
  const entries = 4;
  const data = ifd0 + 2 + entries * 12 + 4;
  const sub = data + make.length + date.length + (date.length % 2);
  const tiff = Buffer.alloc(sub + 2 + 12 + 4 + date.length + 1);
  tiff.write('II*\0', 0, 'latin1');
  tiff.writeUInt32LE(ifd0, 4);
  let at = ifd0;
  const begin = (count) => { tiff.writeUInt16LE(count, at); at += 2; };
  const entry = (tag, type, count, value) => {
    tiff.writeUInt16LE(tag, at); tiff.writeUInt16LE(type, at + 2); tiff.writeUInt32LE(count, at + 4);
    if (type === 3) tiff.writeUInt16LE(value, at + 8); else tiff.writeUInt32LE(value, at + 8);
    at += 12;
  };
  begin(entries);
  entry(0x010f, 2, make.length, data); // Make
  entry(0x0112, 3, 1, orientation); // Orientation
  entry(0x0132, 2, date.length, data + make.length); // DateTime
  entry(0x8769, 4, 1, sub); // Exif directory
  make.copy(tiff, data);
  date.copy(tiff, data + make.length);
  at = sub;
  begin(1);
  entry(0x9003, 2, date.length, sub + 2 + 12 + 4); // DateTimeOriginal
  date.copy(tiff, sub + 2 + 12 + 4);
  const body = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff]);
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(body.length + 2, 2);
  return Buffer.concat([head, body]);
}

// The picture's pixels as a camera held sideways keeps them: turned so that orientation 6 shows them upright.
function turned({ width, height, data }) {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      // What is shown at (x, y) lies at column y, row width-1-x of the file, which is height wide.
      const to = ((width - 1 - x) * height + y) * 4;
      out.set(data.subarray((y * width + x) * 4, (y * width + x) * 4 + 4), to);
    }
  }
  return { width: height, height: width, data: out };
}

function encode(picture, { orientation = 1, taken, quality = 86 } = {}) {
  const { data } = jpeg.encode(orientation === 6 ? turned(picture) : picture, quality);
  const plain = Buffer.from(data);
  return Buffer.concat([plain.subarray(0, 2), exif({ orientation, taken }), plain.subarray(2)]); // right after the start marker
}

export const QUARTERS = { red: [220, 30, 30], green: [30, 180, 40], blue: [30, 60, 220], yellow: [230, 210, 40] };

// Four plain quarters: red, green / blue, yellow, as they are shown.
function quarters(width, height) {
  const colours = Object.values(QUARTERS);
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      data.set([...colours[(y * 2 >= height ? 2 : 0) + (x * 2 >= width ? 1 : 0)], 255], (y * width + x) * 4);
    }
  }
  return { width, height, data };
}

function file(name, draw) {
  const at = path.join(FOLDER, `v${VERSION}`, name);
  if (!existsSync(at)) {
    mkdirSync(path.dirname(at), { recursive: true });
    writeFileSync(`${at}.part`, draw());
    renameSync(`${at}.part`, at);
  }
  return at;
}

const exifDate = (iso) => iso.slice(0, 19).replace('T', ' ').replaceAll('-', ':');

/** Paths of so many painted photos (at most eight), each with its date in Exif. */
export function photos(count = SCENES.length) {
  return SCENES.slice(0, count).map((scene) => file(scene.name, () => {
    const [width, height] = scene.size.map((side) => Math.round(side * 0.36));
    return encode(paint({ ...scene, size: [width, height] }), { taken: exifDate(scene.taken), quality: 92 });
  }));
}

/** A portrait that was taken with the camera held sideways: 120 by 160 as shown, orientation 6. */
export const sideways = () => file('sideways.jpg', () => encode(quarters(120, 160), { orientation: 6, taken: '2025:12:24 18:00:00' }));

/** A small one of this name and date. */
export const small = (name, taken) => file(name, () => encode(quarters(144, 96), { taken }));
