import { Database, Vault } from 'settee';

const { vault, recoveryCode } = await Vault.create({ passphrase: 'password' });
console.log(recoveryCode);
const db = await Database.open('notes', { vault, storage: 'indexeddb' });
db.sync('https://example.org/notes', { live: true, retry: true }).on('change', (c) => console.log(c.direction));
