// The same random work on a clear and on a sealed channel; each answer of one must be that of the other. Runs in Node and in
// pages alike, without imports.
//
// Revisions are keyed in a sealed channel, so which of two of one generation wins is another one there. The work is made so
// that all leaves of a document have generations of their own; then all else is decided alike.

/** A source of numbers from 0 to 1 that a seed decides (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const IDS = ['a', 'b', 'B', 'ä', 'A\u0308', 'é/ü', 'a/b', 'a%2Fb', 'a b', ' ', '0', '00', '-1', 'e-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  `k-${'a'.repeat(52)}`, '\u{1F30D}', '\uffff', '\ufb01n', 'nul\u0000inside', '~', 'constructor', 'toString', 'quote"back\\slash', 'x'.repeat(300),
  '_design/x', '_design/y/z', 'tab\tnew\nline', '{}', 'null'];
const LOCAL = ['_local/x', '_local/ä/b', '_local/settee'];
const NAMES = ['f', 'F', 'ä.jpg', 'a/b', 'a b', '%20', '\u{1F4F7}', 'constructor', 'n'.repeat(200)];
const TYPES = ['text/plain', 'text/plain; charset=utf-8', 'image/x-öö', 'application/octet-stream', 'x', 'a/b"c'];
const NUMBERS = ['0', '-0', '1', '1.0', '1e2', '1E+2', '1e400', '-1e-400', '123456789012345678901234567890', '0.1', '5e-324'];
const GONE = ['1-00000000000000000000000000000000', '3-abc', '2-ffffffffffffffffffffffffffffffff'];

/**
 * Does `ops` pieces of work that `seed` decides on both databases. Gives what differed, a line each; nothing if all is well.
 *
 *   open(which)   opens, or opens once more, the `clear` or the `sealed` database
 *   limit         the databases' revs_limit
 *   onOp          told each piece of work before it is done
 */
export async function differ({ open, seed, ops, limit = 1000, onOp = () => {} }) {
  const rand = random(seed);
  const int = (n) => Math.floor(rand() * n);
  const pick = (list) => list[int(list.length)];
  const chance = (p) => rand() < p;
  const sides = { clear: await open('clear'), sealed: await open('sealed') };
  const names = Object.keys(sides);
  const docs = new Map(); // id -> [{ rev: { clear, sealed }, generation, parent, isLeaf, isDeleted, attachments }]
  const asClear = new Map(); // the digits of a sealed revision -> those of the clear one
  const seqs = []; // pairs of places in the feeds
  const problems = [];

  const digits = (rev) => rev.slice(rev.indexOf('-') + 1);
  const both = async (work) => Promise.all(names.map(async (which) => {
    try { return { ok: await work(sides[which], which) }; } catch (error) { return { error }; }
  }));

  // An answer as a text that both sides must have.
  async function told(value, which) {
    const blobs = [];
    const plain = (one, key) => {
      if (one instanceof Blob) {
        const at = blobs.push(one) - 1;
        return { blob: at };
      }
      if (one instanceof Error) return { name: one.name, status: one.status, reason: one.reason, id: one.id, docId: one.docId, message: one.message };
      if (Array.isArray(one)) return one.map((each) => plain(each));
      if (typeof one === 'object' && one !== null) return Object.fromEntries(Object.entries(one).map(([name, each]) => [name, plain(each, name)]));
      if (['seq', 'update_seq', 'last_seq', '_local_seq'].includes(key)) return typeof one;
      if (key === 'db_name') return '';
      return Object.is(one, -0) ? '-0' : one;
    };
    const shape = plain(value);
    const bytes = await Promise.all(blobs.map(async (blob) => [blob.type, blob.size, await hex(blob)]));
    const text = JSON.stringify([shape, bytes]);
    return which === 'sealed' ? text.replace(/[0-9a-f]{32}/g, (found) => asClear.get(found) ?? found) : text;
  }
  async function compare(what, answers, change = (value) => value) {
    const texts = await Promise.all(answers.map(({ ok, error }, i) => told(error ? { error } : { ok: change(ok, names[i]) }, names[i])));
    if (texts[0] !== texts[1]) {
      const at = [...texts[0]].findIndex((letter, i) => letter !== texts[1][i]);
      const near = (text) => text.slice(Math.max(0, at - 150), at + 250);
      problems.push(`${what}\n  clear:  …${near(texts[0])}\n  sealed: …${near(texts[1])}`);
    }
    return answers;
  }
  const ask = async (what, work, change) => {
    onOp(what);
    return compare(what, await both(work), change);
  };

  // What is known of a document.
  const of = (id) => docs.get(id) ?? [];
  const leaves = (id) => of(id).filter(({ isLeaf }) => isLeaf);
  const winner = (id) => leaves(id).sort((a, b) => a.isDeleted - b.isDeleted || b.generation - a.generation)[0];
  const takes = (id, generation, parent) => !leaves(id).some((leaf) => leaf !== parent && leaf.generation === generation);
  // Whether it is in a history that reaches the first revision: below what is no leaf, a sealed channel seals nothing else.
  const remembered = (one) => [...docs.values()].flat().some((leaf) => {
    const path = [];
    if (leaf.isLeaf) for (let at = leaf; at; at = at.parent) path.push(at);
    return path.includes(one) && path.length <= limit && path.at(-1).generation === 1;
  });
  function wrote(id, answers, { parent, isDeleted = false, attachments = [] }) {
    const [clear, sealed] = answers.map((answer) => answer?.rev);
    if (!clear || !sealed) return;
    asClear.set(digits(sealed), digits(clear));
    if (id.startsWith('_local/')) return;
    if (!docs.has(id)) docs.set(id, []);
    // What is made anew after it was deleted goes on from there.
    if (!parent && !clear.startsWith('1-')) parent = winner(id);
    if (parent?.isLeaf) parent.isLeaf = false;
    const known = of(id).find((one) => one.rev.clear === clear);
    if (known) return;
    docs.get(id).push({ rev: { clear, sealed }, generation: Number.parseInt(clear, 10), parent, isLeaf: true, isDeleted, attachments });
  }

  let count = 0;
  const text = () => pick(['', 'x', 'zwölf', '\u{1F30D}\u0000', 'x'.repeat(int(2000)), `${int(1000)}`]);
  const json = (depth = 0) => {
    const kind = int(depth > 3 ? 5 : 7);
    if (kind === 0) return pick(NUMBERS);
    if (kind === 1) return String(int(1000) - 500);
    if (kind === 2) return JSON.stringify(text());
    if (kind === 3) return pick(['null', 'true', 'false']);
    if (kind === 4) return '"\\u0041\\/\\n"';
    const members = Array.from({ length: int(4) }, () => json(depth + 1));
    if (kind === 5) return `[${members.join(' ,')}]`;
    return `{${members.map((member, i) => `${JSON.stringify(pick(['a', 'b', 'ä', '', 'z'.repeat(50)]) + i)}: ${member}`).join(',')}}`;
  };
  const body = () => JSON.parse(`{"n": ${count += 1}, "kind": ${JSON.stringify(pick(['p', 'q']))}, "some": ${json().replace(/-?1e-?400/gi, '7')}}`);
  const bytes = () => Uint8Array.from({ length: pick([0, 1, 2, 3, 17, 1000, 65_535, 65_536, 65_537, 70_000]) }, (_, i) => (i * 7 + count) & 255);
  const attachment = () => {
    const data = bytes();
    const type = pick(TYPES);
    if (chance(0.4)) return { content_type: type, data: btoa(String.fromCharCode(...data.slice(0, 1000))) };
    return chance(0.5) ? { data: new Blob([data], { type: 'text/x' }) } : { content_type: type, data: chance(0.5) ? data : new Blob([data]) };
  };

  // One document to write, for each side, with what follows of it.
  function edit() {
    const id = pick(IDS);
    const doc = { _id: id, ...body() };
    const options = {};
    let parent;
    const how = rand();
    const known = of(id);
    if (known.length && how < 0.75) parent = winner(id);
    else if (known.length && how < 0.82) parent = pick(leaves(id));
    else if (known.length && how < 0.92) {
      parent = pick(known);
      if (chance(0.7) && remembered(parent)) options.force = true;
    } else if (known.length && how < 0.96) parent = { rev: { clear: GONE[0], sealed: GONE[0] }, generation: 1 };
    else if (chance(0.1)) options.force = true;
    if (chance(0.12)) doc._deleted = true;
    if (!takes(id, parent ? parent.generation + 1 : 1, parent?.isLeaf ? parent : undefined)) return edit();
    // Deleted documents go on from where they were.
    const dead = leaves(id).length && leaves(id).every(({ isDeleted }) => isDeleted);
    if (dead && parent && !parent.isLeaf) return edit();
    if (chance(0.3)) {
      doc._attachments = {};
      for (let n = int(3); n >= 0; n -= 1) doc._attachments[pick(NAMES)] = attachment();
    }
    for (const name of parent?.attachments ?? []) {
      if (chance(0.8)) (doc._attachments ??= {})[name] ??= { stub: true, ...chance(0.2) && { content_type: 'text/other' }, ...chance(0.2) && { revpos: int(9) } };
    }
    if (chance(0.03)) (doc._attachments ??= {}).never = { stub: true };
    const attachments = Object.keys(doc._attachments ?? {});
    const forSide = (which) => ({ ...doc, ...parent && { _rev: parent.rev[which] } });
    return { id, parent: parent?.isLeaf !== undefined ? parent : undefined, forSide, options, isDeleted: doc._deleted === true, attachments };
  }
  const anyRev = (id) => (chance(0.85) && of(id).length ? pick(of(id)).rev : { clear: pick(GONE), sealed: GONE[0] });
  const sameRev = (id) => { const rev = anyRev(id); return of(id).some((one) => one.rev === rev) ? rev : { clear: rev.clear, sealed: rev.clear }; };
  const some = (flags) => Object.fromEntries(flags.filter(() => chance(0.3)).map((flag) => [flag, true]));

  const work = {
    async put() {
      const one = edit();
      const isText = chance(0.2) && !one.attachments.length;
      const exact = json();
      const how = isText ? 'putJson' : 'put';
      const answers = await ask(`${how} ${one.id} ${JSON.stringify(one.options)} after ${one.parent?.rev.clear}`, (db, which) => {
        if (!isText) return db.put(one.forSide(which), one.options);
        return db.putJson(JSON.stringify(one.forSide(which)).replace(/\}$/, `, "exact" : ${exact}}`), one.options);
      }, (ok) => ({ ...ok, rev: String(ok.rev).split('-')[0] }));
      wrote(one.id, answers.map(({ ok }) => ok), one);
    },
    async bulkDocs() {
      const batch = new Map();
      for (let n = 1 + int(6); n > 0; n -= 1) { const one = edit(); if (!one.options.force) batch.set(one.id, one); }
      const list = [...batch.values()];
      const twice = list.length && chance(0.2);
      const answers = await ask(`bulkDocs ${list.map(({ id }) => id)}`, (db, which) => {
        const given = list.map(({ forSide }) => forSide(which));
        if (twice) given.push({ ...given[0], again: true });
        return db.bulkDocs(given);
      }, (rows) => rows.map((row) => (row.rev ? { ...row, rev: row.rev.split('-')[0] } : row)));
      list.forEach((one, i) => wrote(one.id, answers.map(({ ok }) => ok?.[i]), one));
    },
    async remove() {
      const id = pick(IDS);
      const leaf = winner(id);
      const rev = leaf?.rev ?? { clear: GONE[0], sealed: GONE[0] };
      if (leaf && !takes(id, leaf.generation + 1, leaf)) return;
      const how = int(3);
      const answers = await ask(`remove ${id}`, (db, which) => (how === 0 ? db.remove(id, rev[which]) : how === 1
        ? db.remove({ _id: id, _rev: rev[which] }) : db.remove({ _id: id }, { rev: rev[which] })), (ok) => ({ ...ok, rev: ok.rev.split('-')[0] }));
      wrote(id, answers.map(({ ok }) => ok), { parent: leaf, isDeleted: true });
    },
    async get() {
      const id = chance(0.9) ? pick(IDS) : pick(['never', '_design/never', ...LOCAL]);
      const flags = some(['revs', 'revs_info', 'conflicts', 'deleted_conflicts', 'latest', 'local_seq', 'attachments', 'binary']);
      const rev = chance(0.4) && sameRev(id);
      const open = !rev && chance(0.3) && (chance(0.5) ? 'all' : Array.from({ length: 1 + int(3) }, () => sameRev(id)));
      const since = chance(0.15) && [sameRev(id)];
      const isText = chance(0.2);
      await ask(`${isText ? 'getJson' : 'get'} ${id} ${JSON.stringify({ ...flags, rev, open, since })}`, (db, which) => {
        const options = { ...flags, ...rev && { rev: rev[which] }, ...open && { open_revs: open === 'all' ? 'all' : open.map((one) => one[which]) },
          ...since && { atts_since: since.map((one) => one[which]) } };
        if (isText) { delete options.binary; delete options.local_seq; return db.getJson(id, options); }
        return db.get(id, options);
      }, (ok) => (open === 'all' && Array.isArray(ok) ? [...ok].sort((a, b) => Number.parseInt(b.ok?._rev, 10) - Number.parseInt(a.ok?._rev, 10)) : ok));
    },
    async bulkGet() {
      const flags = some(['revs', 'latest', 'attachments', 'binary']);
      const list = Array.from({ length: 1 + int(5) }, () => {
        const id = chance(0.9) ? pick(IDS) : 'never';
        return { id, rev: chance(0.7) && sameRev(id), since: chance(0.1) && [sameRev(id)] };
      });
      await ask(`bulkGet ${JSON.stringify([flags, list])}`, (db, which) => db.bulkGet({ ...flags,
        docs: list.map(({ id, rev, since }) => ({ id, ...rev && { rev: rev[which] }, ...since && { atts_since: since.map((one) => one[which]) } })) }));
    },
    async allDocs() {
      const options = some(['include_docs', 'conflicts', 'attachments', 'binary', 'descending', 'update_seq']);
      const key = () => (chance(0.8) ? pick(IDS) : pick(['', 'zz', '\u0001', '_', '~~']));
      if (chance(0.15)) options.keys = Array.from({ length: int(6) }, key);
      else if (chance(0.1)) options.key = key();
      else {
        if (chance(0.4)) options[pick(['startkey', 'start_key'])] = key();
        if (chance(0.4)) options[pick(['endkey', 'end_key'])] = key();
        if (chance(0.3)) options.inclusive_end = chance(0.5);
      }
      if (chance(0.3)) options.limit = int(8);
      if (chance(0.3)) options.skip = int(8);
      await ask(`allDocs ${JSON.stringify(options)}`, (db) => db.allDocs(options));
    },
    async changes() {
      const options = some(['include_docs', 'conflicts', 'attachments', 'binary', 'descending']);
      if (chance(0.4)) options.style = pick(['all_docs', 'main_only']);
      if (chance(0.2)) options.doc_ids = Array.from({ length: int(5) }, () => pick(IDS));
      else if (chance(0.15)) options.selector = { kind: 'p' };
      if (chance(0.3)) options.limit = int(8);
      const from = chance(0.6) && seqs.length ? pick(seqs) : null;
      const answers = await ask(`changes ${JSON.stringify(options)}`, (db, which) => db.changes({ ...options, ...from && { since: from[which] } }));
      const last = answers.map(({ ok }) => ok?.last_seq);
      if (last.every((seq) => seq !== undefined) && !options.descending) seqs.push({ clear: last[0], sealed: last[1] });
    },
    async conflicts() {
      const options = some(['include_docs', 'attachments', 'descending']);
      await ask(`conflicts ${JSON.stringify(options)}`, (db) => db.conflicts(options));
    },
    async resolve() {
      const id = pick(IDS);
      if (leaves(id).length < 2 && chance(0.8)) return;
      const leaf = pick(leaves(id).length ? leaves(id) : [{ rev: { clear: GONE[0], sealed: GONE[0] } }]);
      // The losing leaves are ended one generation higher; all must still be apart.
      const top = winner(id);
      const after = leaves(id).map((each) => each.generation + (each === top || !each.isDeleted ? 1 : 0));
      if (new Set(after).size < after.length) return;
      const how = int(3);
      const before = leaves(id);
      await ask(`resolve ${id} ${how}`, (db, which) => db.resolve(id, how === 0 ? leaf.rev[which] : (list) => ({ ...list.at(-1), merged: list.length })),
        (ok) => ({ ...ok, rev: ok.rev.split('-')[0] }));
      await learn(id, before);
    },
    async putAttachment() {
      const id = pick(IDS);
      const leaf = winner(id);
      if (!takes(id, (leaf?.generation ?? 0) + 1, leaf)) return;
      if (leaf?.isDeleted && chance(0.9)) return;
      const name = pick(NAMES);
      const data = chance(0.5) ? bytes() : new Blob([bytes()]);
      const type = pick(TYPES);
      const answers = await ask(`putAttachment ${id} ${name}`, (db, which) => db.putAttachment(id, name, leaf?.rev[which], data, type),
        (ok) => ({ ...ok, rev: ok.rev.split('-')[0] }));
      wrote(id, answers.map(({ ok }) => ok), { parent: leaf, attachments: [...new Set([...leaf?.attachments ?? [], name])] });
    },
    async getAttachment() {
      const id = pick(IDS);
      const one = chance(0.5) ? winner(id) : of(id)[int(of(id).length)];
      const name = one?.attachments.length && chance(0.9) ? pick(one.attachments) : pick(NAMES);
      const rev = chance(0.6) && one;
      const from = int(70_000);
      await ask(`getAttachment ${id} ${name} ${rev && rev.rev.clear}`, async (db, which) => {
        const blob = await db.getAttachment(id, name, rev ? { rev: rev.rev[which] } : {});
        return [blob, blob.slice(from, from + 100)];
      });
    },
    async removeAttachment() {
      const id = pick(IDS);
      const leaf = winner(id);
      if (!leaf || !takes(id, leaf.generation + 1, leaf)) return;
      const name = leaf.attachments.length && chance(0.9) ? pick(leaf.attachments) : pick(NAMES);
      const answers = await ask(`removeAttachment ${id} ${name}`, (db, which) => db.removeAttachment(id, name, leaf.rev[which]),
        (ok) => ({ ...ok, rev: ok.rev.split('-')[0] }));
      wrote(id, answers.map(({ ok }) => ok), { parent: leaf, isDeleted: leaf.isDeleted, attachments: leaf.attachments.filter((each) => each !== name) });
    },
    async revsDiff() {
      const asked = Array.from({ length: 1 + int(4) }, () => { const id = chance(0.9) ? pick(IDS) : 'never'; return [id, Array.from({ length: 1 + int(3) }, () => sameRev(id))]; });
      await ask(`revsDiff ${JSON.stringify(asked)}`, (db, which) => db.revsDiff(Object.fromEntries(asked.map(([id, revs]) => [id, revs.map((rev) => rev[which])]))),
        // In the order of the revisions, which is another one.
        (ok) => Object.fromEntries(Object.entries(ok).map(([id, { missing, possible_ancestors: ancestors }]) => [id, { missing: [...new Set(missing)].map((rev) => Number.parseInt(rev, 10)).sort(),
          ancestors: ancestors?.map((rev) => Number.parseInt(rev, 10)).sort() }])));
    },
    async local() {
      const id = pick(LOCAL);
      const doc = { _id: id, ...body(), ...chance(0.2) && { _deleted: true } };
      await ask(`put ${id}`, async (db) => {
        const before = await db.get(id).catch(() => ({}));
        return [await db.put({ ...doc, _rev: before._rev }), await db.get(id).catch((error) => error)];
      });
    },
    async find() {
      const request = { selector: pick([{ kind: 'p' }, { n: { $gt: int(count + 1) } }, { _id: { $gt: pick(IDS) } }, { some: { $exists: true } }, { kind: { $in: ['q'] }, _id: { $lt: 'b' } }, {}]),
        ...chance(0.4) && { fields: ['_id', 'n', '_rev'] }, ...chance(0.5) && { sort: [pick([{ n: 'asc' }, { n: 'desc' }, '_id'])] } };
      if (request.sort) { if (chance(0.4)) request.limit = int(6); if (chance(0.3)) request.skip = int(4); }
      await ask(`find ${JSON.stringify(request)}`, (db) => db.find(request),
        (ok) => ({ ...ok, docs: request.sort ? ok.docs : [...ok.docs].sort((a, b) => (a._id < b._id ? -1 : 1)) }));
    },
    async info() {
      await ask('info', (db) => db.info(), ({ doc_count, doc_del_count, adapter }) => ({ doc_count, doc_del_count, adapter }));
    },
    async compact() { await ask('compact', (db) => db.compact()); },
    async reopen() {
      onOp('reopen');
      for (const which of names) sides[which] = await open(which, sides[which]);
    },
  };

  // After what wrote revisions that were not told: what the leaves are, in both.
  async function learn(id, before) {
    const [clear, sealed] = (await both(async (db) => {
      const list = (await db.get(id, { open_revs: 'all', revs: true })).map(({ ok }) => ok);
      return list.sort((a, b) => Number.parseInt(a._rev, 10) - Number.parseInt(b._rev, 10));
    })).map(({ ok }) => ok ?? []);
    if (clear.length !== sealed.length) { problems.push(`${id}: ${clear.length} leaves, and ${sealed.length} in the sealed one`); return; }
    clear.forEach((leaf, i) => {
      const twin = sealed[i];
      if (before.some((one) => one.rev.clear === leaf._rev)) return;
      const parentId = leaf._revisions.ids[1];
      const parent = of(id).find((one) => digits(one.rev.clear) === parentId);
      wrote(id, [{ rev: leaf._rev }, { rev: twin._rev }], { parent, isDeleted: leaf._deleted === true, attachments: Object.keys(leaf._attachments ?? {}) });
    });
  }

  const kinds = Object.entries({ put: 22, bulkDocs: 8, remove: 4, get: 18, bulkGet: 8, allDocs: 8, changes: 8, conflicts: 2, resolve: 4, putAttachment: 5, getAttachment: 6,
    removeAttachment: 2, revsDiff: 4, local: 2, find: 4, info: 1, compact: 1, reopen: 1 }).flatMap(([kind, n]) => Array(n).fill(kind));
  for (let op = 0; op < ops && problems.length < 5; op += 1) await work[pick(kinds)]();
  for (const which of names) await sides[which].close();
  return problems;
}

async function hex(blob) {
  const hash = await crypto.subtle.digest('SHA-256', await blob.arrayBuffer());
  return [...new Uint8Array(hash).slice(0, 8)].map((byte) => byte.toString(16)).join('.');
}
