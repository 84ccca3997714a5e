// What a replication tells of itself while it goes on, and whether that is true. Runs in Node and in pages alike.

// Everything that the replications in `ways` ({ push, pull } or one of them) tell from now on, in order:
// { way, type, state, phase, pending, failure, retryAt, error: { name, status, reason, id }, written, docs }: four of its
// `status`, of which `failure` is the name of its error, and the last two at `change`.
export function listen(ways) {
  const told = [];
  for (const [way, task] of Object.entries(ways)) {
    for (const type of ['change', 'paused', 'active', 'denied', 'checkpoint', 'complete', 'error']) {
      task.on(type, (detail) => {
        const { phase, pending, error: failed, retryAt } = task.status;
        const entry = { way, type, state: task.state, phase, pending, failure: failed?.name ?? null, retryAt };
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

const PHASES = { active: 'catching-up', change: 'catching-up', complete: 'stopped', error: 'failed' };

// The phase in which such an error is waited out.
function phaseOf({ name, status }) {
  if (name === 'network_error') return 'offline';
  return { 401: 'needs-auth', 507: 'paused' }[status] ?? 'waiting';
}

// What the status of an entry must be; gives what is not so, in words. A status is the newest there is, so what happened
// in one turn may show in it before the event is told: then it is that of the `next` one.
function untrue({ type, state, error, phase, pending, failure, retryAt }, next) {
  const wrong = [];
  const expected = type === 'paused' ? (error ? phaseOf(error) : 'live') : PHASES[type];
  if (expected && phase !== expected && phase === next?.phase && ['active', 'change', 'paused'].includes(type) && !error) return wrong;
  if (expected && phase !== expected) wrong.push(`the phase is not ${expected}`);
  if (type === 'paused' || type === 'error') {
    if (failure !== (error?.name ?? null)) wrong.push('its status has another error');
    if ((retryAt !== null) !== (type === 'paused' && Boolean(error))) wrong.push('nobody knows when it goes on');
  }
  const isDone = (type === 'paused' && !error) || (type === 'complete' && state === 'complete');
  if (isDone && (pending !== 0 || failure)) wrong.push('its status says that it is not done');
  return wrong;
}

// Whether all of these wait for changes with nothing left to do, and say so.
export const areLive = (...tasks) => tasks.every(({ status: { phase, pending, error, retryAt } }) => (
  phase === 'live' && pending === 0 && error === null && retryAt === null));

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
      // While nobody is logged in, an attempt counts once something was stored.
      const isStuck = needsLogin && entry.type === 'denied' && entry.state === 'stopped';
      const states = entry.type === 'paused' ? [entry.error ? 'stopped' : 'pending'] : STATES[entry.type];
      if (states && !isStuck && !states.includes(entry.state)) say(entry, `the state is not ${states.join(' or ')}`);
      for (const what of untrue(entry, mine[at + 1])) say(entry, what);
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
