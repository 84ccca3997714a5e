// One round through the package, as source text so that it can be put into a
// page, a worker or a Node script unchanged. Answers what EXPECTED says.
async function round(Database, storage) {
  const db = await Database.open('packaging', { storage });
  const first = await db.put({ _id: 'a', n: 1 });
  await db.put({ _id: 'a', _rev: first.rev, n: 2 });
  const written = await db.bulkDocs([{ _id: 'b', title: 'grüße 🌊' }, { _id: 'a', n: 3 }]);
  const b = await db.get('b');
  await db.putAttachment('b', 'note.txt', b._rev, new Blob(['hello, blob'], { type: 'text/plain' }), 'text/plain');
  const attachment = await db.getAttachment('b', 'note.txt');
  const all = await db.allDocs({ include_docs: true });
  const changes = await db.changes({ since: 0 });
  await db.remove(await db.get('a'));
  const missing = await db.get('a').catch((error) => [error.status, error.name]);
  const { doc_count: count } = await db.info();
  await db.destroy();
  return {
    n: all.rows[0].doc.n,
    title: b.title,
    written: written.map((row) => row.error ? row.name : 'ok'),
    attachment: await attachment.text(),
    ids: all.rows.map((row) => row.id),
    changes: changes.results.length,
    missing,
    count,
  };
}

export const exercise = `const exercise = ${round};`;

export const EXPECTED = {
  n: 2,
  title: 'grüße 🌊',
  written: ['ok', 'conflict'],
  attachment: 'hello, blob',
  ids: ['a', 'b'],
  changes: 2,
  missing: [404, 'not_found'],
  count: 1,
};
