// What a replication tells of itself while it goes on, and whether that is true. Runs in Node and in pages alike.

// Everything that the replications in `ways` ({ push, pull } or one of them) tell from now on, in order:
// { way, type, state, error: { name, status, reason, id }, written, docs }, the last two at `change`.
export function listen(ways) {
  const told = [];
  for (const [way, task] of Object.entries(ways)) {
    for (const type of ['change', 'paused', 'active', 'denied', 'checkpoint', 'complete', 'error']) {
      task.on(type, (detail) => {
        const entry = { way, type, state: task.state };
        const error = ['paused', 'denied', 'error'].includes(type) ? detail : undefined;
        if (error) entry.error = { name: error.name, status: error.status, reason: error.reason, id: error.id };
        if (type === 'change') Object.assign(entry, { written: detail.docs_written, docs: detail.docs.map(({ _id, _rev }) => `${_id} ${_rev}`) });
        told.push(entry);
      });
    }
  }
  return told;
}

const STATES = { active: ['active'], change: ['active'], denied: ['active'], complete: ['complete', 'cancelled'], error: ['stopped'] };

// The one place that says what a replication has to tell; gives what is wrong, in words.
//
//   broken     true: it was interrupted by something that passes, and must have said so; undefined: it may have been
//   ended      { push: 'complete' or 'error', … }; a way that was cancelled tells its end too, as `complete`
//   needsLogin a way may have stopped, or paused, because the login was refused
//   mayRepeat  the source moved meanwhile, so a revision may have been stored again
export function complaints(told, { broken, ended = {}, mayRepeat = false, needsLogin = false } = {}) {
  const wrong = [];
  const say = (entry, what) => wrong.push(`${entry.way}: ${what}: ${JSON.stringify(entry).slice(0, 300)}`);
  for (const way of new Set(told.map((entry) => entry.way))) {
    const mine = told.filter((entry) => entry.way === way);
    const stored = new Set();
    let count = 0;
    for (const [at, entry] of mine.entries()) {
      const states = entry.type === 'paused' ? [entry.error ? 'stopped' : 'pending'] : STATES[entry.type];
      if (states && !states.includes(entry.state)) say(entry, `the state is not ${states.join(' or ')}`);
      if (['complete', 'error'].includes(entry.type) && at < mine.length - 1) say(mine[at + 1], 'told after the end');
      if (entry.error && (!entry.error.name || !entry.error.reason)) say(entry, 'an error without a name or reason');
      if (entry.type === 'denied' && !entry.error?.id) say(entry, 'nobody knows which document');
      if (entry.type !== 'change') continue;
      count += entry.docs.length;
      if (entry.written < count) say(entry, `${count} documents were told of`);
      for (const doc of entry.docs) {
        if (stored.has(doc) && !mayRepeat) say({ way, doc }, 'stored twice');
        stored.add(doc);
      }
    }
    const last = mine.at(-1);
    if (ended[way] && last?.type !== ended[way]) say(last ?? { way }, `did not end with ${ended[way]}`);
  }
  // An error that passes is one of the network or of a server in trouble, nothing else.
  const passing = told.filter(({ type, error }) => type === 'paused' && error);
  for (const entry of passing) {
    const { name, status } = entry.error;
    if (!(needsLogin && status === 401) && !['network_error', 'timeout'].includes(name) && status < 500 && status !== 429) say(entry, 'this does not pass by itself');
  }
  if (broken && !passing.length) wrong.push('it was interrupted and nobody was told');
  if (broken === false && passing.length) say(passing[0], 'nothing was broken');
  return wrong;
}
