// What an image file becomes before it is stored: its size as displayed, the
// time it was taken, a fingerprint and an upright thumbnail. The file itself is
// never changed. Runs in prepare-worker.js, or in the page where that fails.

import { exifTaken } from './exif.js';
import { sha256 } from './sha256.js';

const THUMB_SIDE = 512;

/**
 * @param {File} file
 * @returns {Promise<{hash: string, taken: string, width: number, height: number, thumb: Blob}>}
 */
export async function prepare(file) {
  let bytes = await file.arrayBuffer();
  const taken = exifTaken(bytes) ?? new Date(file.lastModified).toISOString();
  const hash = await sha256(bytes);
  bytes = null; // a big file should not be held while its pixels are
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => {
    throw Object.assign(new Error('the browser cannot show this kind of picture'), { name: 'unreadable_image' });
  });
  try {
    const { width, height } = bitmap;
    const scale = Math.min(1, THUMB_SIDE / Math.max(width, height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    const pen = canvas.getContext('2d', { alpha: false });
    pen.fillStyle = '#fff'; // what shows through transparent pictures
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const thumb = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.82 });
    return { hash, taken, width, height, thumb };
  } finally {
    bitmap.close();
  }
}
