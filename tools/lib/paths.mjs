import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const inRoot = (...parts) => path.join(ROOT, ...parts);
export const PKG = inRoot('pkg');
export const WWW = inRoot('www');
export const TARGET = path.resolve(ROOT, process.env.CARGO_TARGET_DIR || 'target');
