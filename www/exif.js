// The date a photo was taken, read from its Exif block (JPEG, PNG or WebP).
//
// Every offset comes from the file and is checked before it is used: a broken
// or hostile file gives null, never an exception.
//
// Exif dates are wall-clock times without a zone. They stay that way
// ("2024-05-01T14:03:22"): the same file then gets the same id on every device,
// and a picture taken on the evening of the 31st stays in its month.

const ascii = (view, at, length) => {
  let text = '';
  for (let i = at; i < at + length && i < view.byteLength; i++) text += String.fromCharCode(view.getUint8(i));
  return text;
};

/** Where the TIFF structure lies in a file: [offset, length], or null. */
function findTiff(view) {
  const size = view.byteLength;
  if (size < 16) return null;
  if (view.getUint16(0) === 0xffd8) {
    let at = 2;
    while (at + 4 <= size) {
      if (view.getUint8(at) !== 0xff) return null;
      const marker = view.getUint8(at + 1);
      if (marker === 0xff) { at += 1; continue; } // fill byte
      if (marker === 0xda || marker === 0xd9) return null; // picture data begins
      const length = view.getUint16(at + 2);
      if (length < 2) return null;
      if (marker === 0xe1 && length >= 16 && ascii(view, at + 4, 6) === 'Exif\0\0') {
        return [at + 10, Math.min(length - 8, size - at - 10)];
      }
      at += 2 + length;
    }
  } else if (view.getUint32(0) === 0x89504e47) {
    for (let at = 8; at + 12 <= size;) {
      const length = view.getUint32(at);
      if (ascii(view, at + 4, 4) === 'eXIf') return [at + 8, Math.min(length, size - at - 8)];
      at += 12 + length;
    }
  } else if (ascii(view, 0, 4) === 'RIFF' && ascii(view, 8, 4) === 'WEBP') {
    for (let at = 12; at + 8 <= size;) {
      const length = view.getUint32(at + 4, true);
      if (ascii(view, at, 4) === 'EXIF') {
        const skip = ascii(view, at + 8, 6) === 'Exif\0\0' ? 6 : 0; // some writers keep the JPEG prefix
        return [at + 8 + skip, Math.min(length, size - at - 8) - skip];
      }
      at += 8 + length + (length & 1);
    }
  }
  return null;
}

/** The tags of one directory that we ask for: text for ASCII, a number for LONG. */
function readDirectory(tiff, little, at, wanted) {
  const found = {};
  if (at < 8 || at + 2 > tiff.byteLength) return found;
  const count = tiff.getUint16(at, little);
  for (let i = 0; i < count; i++) {
    const entry = at + 2 + i * 12;
    if (entry + 12 > tiff.byteLength) break;
    const tag = tiff.getUint16(entry, little);
    if (!wanted.includes(tag)) continue;
    const type = tiff.getUint16(entry + 2, little);
    const length = tiff.getUint32(entry + 4, little);
    if (type === 4 && length === 1) found[tag] = tiff.getUint32(entry + 8, little);
    if (type === 2 && length > 0 && length <= 64) {
      const from = length <= 4 ? entry + 8 : tiff.getUint32(entry + 8, little);
      if (from + length <= tiff.byteLength) found[tag] = ascii(tiff, from, length).replace(/\0.*$/s, '').trim();
    }
  }
  return found;
}

const EXIF_POINTER = 0x8769;
const DATE_TIME = 0x0132;
const ORIGINAL = 0x9003;
const DIGITIZED = 0x9004;
const SUBSEC_ORIGINAL = 0x9291;

/** "2024:05:01 14:03:22" → "2024-05-01T14:03:22"; null for blanks and impossible dates. */
function isoFrom(text, subsec) {
  const m = /^(\d{4})[:\-/.](\d\d)[:\-/.](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?/.exec(text ?? '');
  if (!m) return null;
  const [year, month, day, hour, minute, second] = m.slice(1).map((part) => Number(part ?? 0));
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const real = year >= 1826 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day
    && hour < 24 && minute < 60 && second < 60;
  if (!real) return null;
  const fraction = /^\d{1,9}$/.test(subsec ?? '') ? `.${subsec.padEnd(3, '0').slice(0, 3)}` : '';
  return date.toISOString().slice(0, 19) + fraction;
}

/**
 * @param {ArrayBuffer} buffer the whole file
 * @returns {string|null} wall-clock ISO time, or null when the file does not say
 */
export function exifTaken(buffer) {
  try {
    const place = findTiff(new DataView(buffer));
    if (!place || place[1] < 8) return null;
    const tiff = new DataView(buffer, place[0], place[1]);
    const order = ascii(tiff, 0, 2);
    if (order !== 'II' && order !== 'MM') return null;
    const little = order === 'II';
    if (tiff.getUint16(2, little) !== 42) return null;
    const main = readDirectory(tiff, little, tiff.getUint32(4, little), [DATE_TIME, EXIF_POINTER]);
    const exif = main[EXIF_POINTER] === undefined ? {}
      : readDirectory(tiff, little, main[EXIF_POINTER], [ORIGINAL, DIGITIZED, SUBSEC_ORIGINAL]);
    return isoFrom(exif[ORIGINAL], exif[SUBSEC_ORIGINAL]) ?? isoFrom(exif[DIGITIZED]) ?? isoFrom(main[DATE_TIME]);
  } catch {
    return null;
  }
}
