// Gathers files from a drop, a picker or the clipboard; folders are walked.

const PICTURE = /\.(jpe?g|jfif|png|gif|webp|avif|bmp|heic|heif|tiff?|svg)$/i;
const SYSTEM_FILE = /^(\.|thumbs\.db$|desktop\.ini$)/i; // kept by file managers, nobody chose them

/** True for what looks like a picture; folders' files often come without a type. */
export const isPicture = (file) => (file.type ? file.type.startsWith('image/') : PICTURE.test(file.name));

export const isSystemFile = (file) => SYSTEM_FILE.test(file.name);

async function* walk(entry) {
  if (entry.isFile) {
    yield await new Promise((resolve, reject) => entry.file(resolve, reject));
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) { // a reader hands out a hundred entries at a time, then an empty list
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const child of some) yield* walk(child);
    }
  }
}

/**
 * Must be called in the event itself: the browser empties the transfer afterwards.
 * @param {DataTransfer} transfer from a drop or a paste
 * @returns {Promise<{files: File[], unreadable: string[]}>}
 */
export function filesFromTransfer(transfer) {
  const sources = [];
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue;
    const entry = item.webkitGetAsEntry?.();
    sources.push(entry ?? item.getAsFile());
  }
  return (async () => {
    const files = [];
    const unreadable = [];
    for (const source of sources) {
      if (source instanceof File) files.push(source);
      else if (source) {
        try {
          for await (const file of walk(source)) files.push(file);
        } catch {
          unreadable.push(source.name);
        }
      }
    }
    return { files, unreadable };
  })();
}
