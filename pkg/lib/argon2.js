// A worker for one passphrase: its memory goes with it. See vault.js.
import * as glue from '../generated/settee_glue.js';

globalThis.onmessage = async ({ data: { module, passphrase, lock } }) => {
  try {
    await glue.default({ module_or_path: module });
    glue.start((status, error, reason) => ({ failed: { status, error, reason } }));
    globalThis.postMessage({ key: glue.passphraseKey(passphrase, lock) });
  } catch (error) {
    globalThis.postMessage(error.failed ? error : undefined);
  }
};
