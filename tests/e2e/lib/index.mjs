// Everything an end-to-end test needs, from one place:
//
//   import { launchBrowser, startCouch, startStatic, waitFor } from './lib/index.mjs';
export { launchBrowser } from './browser.mjs';
export { startCouch } from './couch.mjs';
export { startStatic, IMPORT_MAP, BLANK } from './static.mjs';
export { waitFor, sleep } from './wait.mjs';
