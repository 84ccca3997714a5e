import { startStaticServer } from '../../../tools/lib/static.mjs';

// The gallery reaches the package by its public name through such a map.
export const IMPORT_MAP = '<script type="importmap">{"imports":{"settee":"/settee/settee.js"}}</script>';

// An empty page of the same origin that can `import('settee')`.
export const BLANK = '/blank.html';
const blank = `<!doctype html><html lang="en"><meta charset="utf-8"><title>blank</title><link rel="icon" href="data:,">${IMPORT_MAP}<body></body></html>`;

// The gallery at origin + '/', the package at origin + '/settee/', an empty
// page at origin + BLANK. Options are those of tools/lib/static.mjs.
export function startStatic({ pages = {}, ...options } = {}) {
  return startStaticServer({ pages: { [BLANK]: blank, ...pages }, ...options });
}
