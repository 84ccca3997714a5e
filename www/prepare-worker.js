// Prepares files away from the page, so that scrolling stays smooth.

import { prepare } from './prepare.js';

self.onmessage = async ({ data: { ticket, file } }) => {
  try {
    self.postMessage({ ticket, result: await prepare(file) });
  } catch (error) {
    self.postMessage({ ticket, error: { name: error.name, message: error.message } });
  }
};
