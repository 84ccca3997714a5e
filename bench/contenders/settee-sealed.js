// Settee's sealed channels: the same work, and nothing but ciphertext in IndexedDB and on the remote.
import { Database, Vault } from 'settee';
import { withCredentials } from '../lib/credentials.js';
import { adapt, seed } from './settee.js';

const PASSPHRASE = 'correct horse battery staple';
const SEALED = { storage: 'indexeddb', sealed: true };

let unlocked;
// One vault a profile. It stays unlocked, so that a fresh page does not begin with the passphrase's cost.
const vault = () => (unlocked ||= Vault.status().then(({ exists }) => (exists ? Vault.unlock({ device: true }) : make())));
async function make() {
  const made = await Vault.create({ passphrase: PASSPHRASE });
  await made.vault.stayUnlocked(true);
  return made.vault;
}
const openSealed = async (name) => Database.open(name, { storage: 'indexeddb', vault: await vault(), create: true });

export default {
  label: 'Settee, sealed channels',
  note: 'encrypted on the device and on the wire, attachments too',
  unsupported: { history: 'the history is made by plain documents', live: 'the changes are made by plain documents' },
  open: async (name) => adapt(await openSealed(name)),
  // Another database joins the channel that is on a remote: with the log's entries it has the keys.
  async join(name, remote) {
    const db = await Database.open(name, SEALED);
    // Of no documents, so of the channel's log alone.
    await db.replicate.from(withCredentials(remote), { doc_ids: [] });
    await db.close();
  },
  seedRemote: async (remote, fillDb) => seed(adapt(await openSealed('seed')), remote, fillDb),
  // From a locked database to its documents; the passphrase's own cost apart.
  async unlock(name, id) {
    const db = await Database.open(name, SEALED);
    const times = [performance.now()];
    const split = () => times.push(performance.now());
    const keys = await Vault.unlock({ passphrase: PASSPHRASE });
    split();
    await Database.open(name, { storage: 'indexeddb', vault: keys });
    const doc = await db.get(id);
    split();
    const { rows } = await db.allDocs();
    split();
    const whole = await db.allDocs({ include_docs: true });
    split();
    const [passphrase, unlock, list, all] = times.slice(1).map((at, i) => at - times[i]);
    return { passphrase, unlock, list, all, doc, counts: [rows.length, whole.rows.filter((row) => row.doc).length] };
  },
};
