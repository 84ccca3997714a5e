// Two sides of a replication that have something to say to each other, the same for the same seed.
import { hashOf, seeded } from './proxy.mjs';

// Answers { here, there, lacks }: documents for `new_edits: false` on either side, some hundred and eighty in all, and how many
// leaves each side lacks that the other has. There are histories, conflicts within a side and between the sides, tombstones,
// documents that are edited on one side and deleted on the other, names that need encoding, and attachments of 10 KB,
// 100 KB and 1.2 MB (more than comes in one piece), some of them older than their document's newest revision.
export function worldOf(seed) {
  const random = seeded(hashOf(`world ${seed}`));
  const hex = () => Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join('');
  const sides = { here: [], there: [] };
  const lacks = { here: 0, there: 0 };
  const history = (length, after = []) => [...Array.from({ length }, hex), ...after];
  const add = (side, id, ids, more = {}) => {
    sides[side].push({ _id: id, _rev: `${ids.length}-${ids[0]}`, _revisions: { start: ids.length, ids }, side, text: `${id} ${'x'.repeat(Math.floor(random() * 300))}`, ...more });
    lacks[side === 'here' ? 'there' : 'here'] += 1;
  };
  const both = (id, ids, more) => {
    const kept = { ...lacks };
    for (const side of ['here', 'there']) add(side, id, ids, { side: 'both', text: id, ...more });
    Object.assign(lacks, kept);
  };
  const times = (count, make) => { for (let n = 0; n < count; n += 1) make(String(n).padStart(2, '0')); };
  const files = (...sizes) => ({
    _attachments: Object.fromEntries(sizes.map((size, at) => [`file ${at} & ü.bin`, { content_type: 'application/x-test', revpos: 1, data: bytesOf(size, random).toString('base64') }])),
  });

  for (const side of ['here', 'there']) {
    times(45, (n) => add(side, `plain:${side}:${n}`, history(1 + Math.floor(random() * 4))));
    times(8, (n) => add(side, `gone:${side}:${n}`, history(2), { _deleted: true, why: 'old' }));
    times(5, (n) => add(side, `small:${side}:${n}`, history(1), files(10_000, 17)));
    times(2, (n) => add(side, `middle:${side}:${n}`, history(2), files(100_000, 10_000)));
    add(side, `large:${side}`, history(1), files(1_200_000));
    for (const id of [`odd ${side} /?&=%#+`, `grüße 🌊 ${side}`, `"${side}"`]) add(side, id, history(1), { n: 1.5, text: 'grüße 🌊 "quoted"' });
    times(4, (n) => {
      const root = history(1);
      times(3, () => add(side, `split:${side}:${n}`, history(1, root)));
    });
  }
  times(10, (n) => both(`same:${n}`, history(2)));
  times(12, (n) => {
    const root = history(1);
    add('here', `conflict:${n}`, history(1 + Number(n) % 2, root));
    add('there', `conflict:${n}`, history(1 + Number(n) % 3, root));
  });
  times(4, (n) => {
    const root = history(1);
    add('here', `edited or deleted:${n}`, history(1, root), Number(n) % 2 ? { _deleted: true } : {});
    add('there', `edited or deleted:${n}`, history(1, root), Number(n) % 2 ? {} : { _deleted: true });
  });
  return { ...sides, lacks };
}

// Bytes that no compression makes much of.
export function bytesOf(length, random) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = Math.floor(random() * 4294967296); i < length; i += 1) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

// What a side must hold after all: every leaf that was anywhere is a leaf or an ancestor of one.
export function lost(world, census) {
  return [...world.here, ...world.there].filter(({ _id, _rev }) => (
    !Object.values(census[_id] ?? {}).some(({ path }) => path.includes(_rev)))).map(({ _id, _rev }) => `${_id} ${_rev}`);
}
