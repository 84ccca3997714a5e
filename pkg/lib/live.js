// Live queries: the result of a `find`, and what becomes of it. Loaded when somebody asks for one.
//
// The changes feed tells which documents changed. If one of them was in the result or belongs there now, the `find` runs
// again, once for all that came meanwhile, and the two results are compared by revision. The feed begins before the first
// `find`, so nothing is lost between them; what both saw is looked at twice and is the same.

/** So many documents are asked for by their ids, rather than all. */
const FEW = 500;

/** A `find` that takes longer, in ms, is not run again before as much time again has passed. */
const LONG = 20;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Keeps the result of a request (its JSON) up in `task` until that ends. Gives what makes an iterator of its updates. */
export function live(task, db, json) {
  const request = JSON.parse(json);
  const { selector, fields, skip, limit } = request;
  const names = Array.isArray(fields) && fields.length ? ['_id', '_rev'].filter((name) => !fields.includes(name)) : [];
  if (names.length) request.fields = [...fields, ...names];

  const readers = new Set();
  const changed = new Set();
  let isIdle = false; // the feed has told all there is
  let isScan = false;
  let shown; // the last update
  let known = new Map(); // the documents in it, with their revisions, by id
  let wake = () => {};

  const until = async (isTrue) => {
    while (!task.ended && !isTrue()) await new Promise((resolve) => { wake = resolve; });
  };
  const fail = (error) => {
    if (task.ended) return;
    // A lock leaves nothing plain behind.
    shown = undefined;
    known.clear();
    for (const reader of readers) reader.length = 0;
    task.docs = [];
    task._end(error);
  };
  const feed = db.changes({ live: true, since: 'now' });
  task._whenEnded(() => {
    feed.cancel();
    wake();
    for (const reader of readers) reader.wake?.();
  });
  feed.on('change', ({ id }) => changed.add(id));
  feed.on('active', () => { isIdle = false; });
  feed.on('paused', () => {
    isIdle = true;
    wake();
  });
  feed.then(() => task.cancel(), fail);

  // A selector that is empty matches all, but nothing among others.
  const within = (ids) => ({ $and: [{ _id: { $in: ids } }, ...Object.keys(selector).length ? [selector] : []] });

  /** The result, if it may be another one now that these have changed. */
  async function found(ids) {
    const others = ids.filter((id) => !known.has(id));
    if (shown && !skip && others.length <= FEW) {
      const isTouched = others.length < ids.length;
      const entering = () => db.find({ selector: within(others), fields: ['_id'], limit: 1 });
      if (!isTouched && !(await entering()).docs.length) return undefined;
      // Where all documents would be read, and nothing that belongs there was cut off.
      if (isScan && others.length + known.size <= FEW && known.size < (limit ?? Infinity)) {
        const { docs } = await db.find({ ...request, selector: within([...known.keys(), ...others]) });
        return { ...shown, docs };
      }
    }
    return db.find(request);
  }

  function show({ docs: read, warning }) {
    const [added, altered, kept] = [[], [], new Map()];
    for (const doc of read) {
      const { _id: id, _rev: rev } = doc;
      for (const name of names) delete doc[name];
      const before = known.get(id);
      if (!before) added.push(doc);
      else if (before.rev !== rev) altered.push(doc);
      kept.set(id, before?.rev === rev ? before : { rev, doc });
    }
    const docs = [...kept.values()].map(({ doc }) => doc);
    const removed = [...known].filter(([id]) => !kept.has(id)).map(([, { doc }]) => doc);
    known = kept;
    isScan = /^No matching index/m.test(warning);
    const before = shown?.docs;
    if (before?.length === docs.length && docs.every((doc, at) => doc === before[at])) return;
    shown = update(docs, added, removed, altered, warning);
    task.docs = docs;
    for (const reader of readers) {
      reader.push(shown);
      reader.wake?.();
    }
    task.emit('update', shown);
  }

  async function run() {
    while (!task.ended) {
      const ids = [...changed];
      changed.clear();
      const began = performance.now();
      const result = await found(ids);
      if (task.ended) return;
      if (result) show(result);
      const took = performance.now() - began;
      if (took > LONG) await sleep(Math.min(took, 1000));
      await until(() => isIdle && changed.size && ![...readers].some((reader) => reader.length));
    }
  }
  // That the database is closed is what the feed ends with.
  run().catch((error) => { if (error.name !== 'store_closed') fail(error); });

  return async function* updates() {
    const reader = shown ? [update(shown.docs, shown.docs, [], [], shown.warning)] : [];
    readers.add(reader);
    try {
      for (;;) {
        if (reader.length) {
          yield reader.shift();
          wake();
        } else if (task.ended) return;
        else await new Promise((resolve) => { reader.wake = resolve; });
      }
    } finally {
      readers.delete(reader);
      task.cancel();
    }
  };
}

function update(docs, added, removed, changed, warning) {
  for (const list of [docs, added, removed, changed]) Object.freeze(list);
  return Object.freeze({ docs, added, removed, changed, ...warning && { warning } });
}
