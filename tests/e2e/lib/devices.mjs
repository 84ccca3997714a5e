// Devices of one account, each a browser with its vault, and what a page needs to speak of sealed channels.
import { openTab } from './tab.mjs';

// A page with `Vault`, `begin(name)` (a new channel of this vault), `join(name, url)` (what is at the address, in a new database
// that is unlocked) and `census(db)`: every leaf of every document, bytes and history included.
export async function openDevice(browser, origin) {
  const page = await openTab(browser, origin);
  await page.evaluate(async () => {
    const sides = await import('/lib/sides.mjs');
    globalThis.Vault = settee.Vault;
    globalThis.begin = (name) => Database.open(name, { vault, create: true }).catch((error) => {
      if (error.name !== 'query_parse_error') throw error;
      return Database.open(name, { vault });
    });
    globalThis.join = async (name, url) => {
      const locked = await Database.open(name, { sealed: true });
      await locked.replicate.from(url);
      return Database.open(name, { vault });
    };
    globalThis.census = (db) => sides.censusOf(sides.local(db));
  });
  return page;
}

// The first device of a new account in this page: gives the recovery code.
export const createVault = (page) => page.evaluate(async () => {
  const made = await Vault.create({ passphrase: 'of the first device' });
  globalThis.vault = made.vault;
  return made.recoveryCode;
});

// Another device of it, which finds the account in the channel at the address.
export const recoverVault = (page, recoveryCode, url) => page.evaluate(async ([code, remote]) => {
  const database = await Database.open('recovered', { sealed: true });
  await database.replicate.from(remote);
  globalThis.vault = await Vault.recover({ recoveryCode: code, database, passphrase: 'of the second device' });
  await database.sync(remote);
  await database.close();
}, [recoveryCode, url]);
