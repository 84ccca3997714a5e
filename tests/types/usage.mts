// Compiled, never run: the declarations allow what the package does, and
// refuse what it would refuse.
import { Database, SetteeError, Vault, init, status, version } from 'settee';
import type { Change, ExistingDocument, ReplicationResult, Sync, Written } from 'settee';

interface Photo {
  type: 'photo';
  caption: string;
  width?: number;
}

export async function documents(): Promise<string[]> {
  await init(new URL('https://example.org/settee.wasm'));
  const db: Database<Photo> = await Database.open<Photo>('photos', { storage: 'indexeddb', revs_limit: 50 });
  const written = await db.put({ _id: 'a', type: 'photo', caption: 'Hello' });
  await db.put({ _id: 'a', _rev: written.rev, type: 'photo', caption: 'Again' });
  await db.put({
    _id: 'b', type: 'photo', caption: '',
    _attachments: { original: { content_type: 'image/jpeg', data: new Blob([]) }, raw: { content_type: 'x/y', data: new Uint8Array(2) } },
  });
  const doc: ExistingDocument<Photo> = await db.get('a', { conflicts: true, revs: true });
  const caption: string = doc.caption;
  const conflicts: string[] = doc._conflicts ?? [];
  for (const branch of await db.get('a', { open_revs: 'all' })) {
    if ('ok' in branch) conflicts.push(branch.ok._rev);
    else conflicts.push(branch.missing);
  }
  for (const row of await db.bulkDocs([doc, { type: 'photo', caption: 'new' }])) {
    if (row.error) throw row;
    conflicts.push(row.rev);
  }
  const { rows, total_rows } = await db.allDocs({ include_docs: true, startkey: 'photo:', limit: total() });
  rows.forEach((row) => conflicts.push(row.doc?.caption ?? row.value.rev));
  for (const row of (await db.allDocs({ keys: ['a', 'x'] })).rows) conflicts.push(row.error ? row.key : row.id);
  const { id, name } = await db.createIndex({ index: { fields: ['type', { width: 'asc' }] } });
  const found = await db.find({ selector: { type: 'photo', width: { $gt: total() } }, sort: [{ width: 'desc' }], limit: total(), use_index: [id, name] });
  found.docs.forEach((one) => conflicts.push(one.caption, found.warning ?? ''));
  for (const index of (await db.getIndexes()).indexes) if (index.ddoc) await db.deleteIndex(index);
  await db.putAttachment('a', 'note', written.rev, 'aGk=', 'text/plain');
  const blob: Blob = await db.getAttachment('a', 'note');
  const diff = await db.revsDiff({ a: ['1-x'] });
  conflicts.push(...(diff['a']?.missing ?? []), await blob.text(), String(total_rows));
  for await (const { id, rev, deletedConflicts } of db.conflicts({ live: true, include_docs: true })) {
    await db.resolve(id, deletedConflicts[0] ?? rev, { revs: [rev, ...deletedConflicts], keepBoth: true, ids: { [rev]: 'copy' } });
    const merged: Written = await db.resolve(id, async ([winner, ...others]) => ({ ...winner!, caption: `${others.length}` }));
    conflicts.push(merged.rev, (await db.resolve(id, 'keep-both')).rev);
  }
  await db.remove(doc);
  await db.remove('b', '1-x');
  await db.compact();
  await db.close();
  return [caption, ...conflicts, version.version];
}
const total = (): number | undefined => undefined;

export async function feeds(db: Database<Photo>, signal: AbortSignal): Promise<void> {
  const live = db.changes({ since: 'now', live: true, include_docs: true, signal });
  live.on('change', (change: Change<Photo>) => console.log(change.doc?.caption, change.deleted === true));
  live.on('error', (error: SetteeError) => console.log(error.status, error.reason));
  live.cancel();
  for await (const change of db.changes({ live: true })) console.log(change.seq, change.changes[0]?.rev);
  const { results, last_seq } = await db.changes({ since: 0, filter: (doc) => doc.type === 'photo' });
  console.log(results.length, last_seq);
  const found = db.liveFind({ selector: { type: 'photo' }, sort: ['width'], limit: total(), signal });
  found.on('update', ({ docs, added, removed, changed, warning }) => console.log(docs[0]?.caption, [...added, ...removed, ...changed].length, warning));
  for await (const { docs } of db.liveFind<Photo>({ selector: {} })) console.log(docs.map(({ caption }) => caption), found.docs.length);
  const { status }: { status: 'cancelled' } = await found;
  console.log(status);
  // @ts-expect-error a result is nobody's to change
  found.docs.push();
}

export async function replication(db: Database<Photo>): Promise<boolean> {
  const sync: Sync = db.sync('https://name:secret@couch.example/photos', { live: true, retry: true, push: { batch_size: 10 } });
  sync.on('change', ({ direction, change }) => console.log(direction, change.docs.length))
    .on('paused', (error) => console.log(error?.message))
    .on('denied', ({ doc }) => console.log(doc.docId));
  sync.on('status', ({ phase, since, pending, push }) => console.log(phase, since, pending.up, push.retryAt, push.quarantined));
  status.on('status', ({ phase, replications }) => console.log(phase, replications[0]?.status.bytes));
  for await (const { phase, error } of sync) console.log(phase, error?.reason);
  sync.pause();
  await sync.login({ username: 'name', password: 'secret' });
  await sync.prioritize();
  console.log(await sync.isPushed('a'), status.status.pending.down);
  sync.cancel();
  const once: ReplicationResult = await db.replicate.to('https://couch.example/photos', { checkpoint: 'source' });
  await Database.replicate('one', db);
  const job = await Database.replicateOnServer('https://couch.example', { source: 'https://a.example/x', target: { url: 'https://b.example/x' } });
  for await (const { state, info } of job) console.log(job.id, state, info?.error ?? info?.docs_written);
  await job.cancel();
  return once.ok;
}

export async function mistakes(db: Database<Photo>): Promise<void> {
  // @ts-expect-error a storage that is not there
  await Database.open('x', { storage: 'websql' });
  // @ts-expect-error handles come from Database.open
  new Database('x');
  // @ts-expect-error put needs an id
  await db.put({ type: 'photo', caption: '' });
  // @ts-expect-error an option nobody knows
  await db.get('a', { revision: '1-x' });
  // @ts-expect-error of another type
  await db.put({ _id: 'a', type: 'note', caption: '' });
  // @ts-expect-error no such event
  db.changes().on('changed', () => {});
}

export async function sealed(): Promise<string> {
  const { vault, recoveryCode } = await Vault.create({ passphrase: 'correct horse' });
  const db = await Database.open('album', { vault, create: true });
  db.on('locked', () => vault.on('unlocked', () => {}));
  const { exists, device }: { exists: boolean; device: boolean } = await Vault.status();
  const copy = await Database.open('copy', { sealed: true });
  const joined: Vault = await Vault.recover({ recoveryCode, database: copy });
  await joined.changePassphrase('another');
  await joined.stayUnlocked(!device && exists);
  await joined.rotateKeys(copy);
  await joined.lock();
  await Vault.unlock({ device: true });
  const isNew: boolean = await Vault.installGuard({ url: 'https://couch.example/album', auth: { username: 'a', password: 'b' } });
  if (isNew && copy.waiting) await Vault.destroy();
  // @ts-expect-error a channel is begun or not
  await Database.open('album', { vault, create: 'new' });
  // @ts-expect-error one way at a time is enough, and there is no third
  await Vault.unlock({ pin: '1234' });
  for (const { id, rev, reason } of await db.quarantine()) if (reason) await db.discardQuarantine(id, rev);
  return String(db.locked ?? (await db.retryQuarantine()));
}
