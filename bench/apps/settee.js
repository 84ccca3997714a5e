import { Database } from 'settee';

const db = await Database.open('notes', { storage: 'indexeddb' });
db.sync('https://example.org/notes', { live: true, retry: true }).on('change', (c) => console.log(c.direction));
