// Many tabs, one replicator. Of all tabs and workers that ask for the same live replication, the one that
// holds the lock runs it; the others hear and tell what it tells, hand it their calls, and the browser
// gives the lock to the next one the moment it is gone, however it went. A browser slows down what is hidden,
// so a leader that nobody sees gives way to a tab that somebody looks at. What is frozen answers nobody: then
// the lock is taken from it, and it stands in line like the others when it wakes up.
import { firstStatus } from './feed.js';
import { failure } from './json.js';

export const canShare = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);

// Who is looked at for so long asks for the lead: leafing through tabs is no reason to pass it round.
const LOOKED_AT_MS = 3_000;
// How long the lock is kept for who asked, who may be gone by then.
const KEPT_FOR_MS = 2_000;
// Who leads and runs at all hears a wish by then.
const HEARD_IN_MS = 5_000;
const isSeen = () => globalThis.document?.visibilityState === 'visible';
const isHidden = () => globalThis.document?.visibilityState === 'hidden'; // never a worker

// Errors lose their fields on the way to another tab.
const pack = (error) => error && { ...error, status: error.status ?? 0, error: error.name, reason: error.reason ?? error.message, name: undefined };
const packed = (type, detail) => ({ type, detail: type === 'status' ? { ...detail, error: pack(detail.error) } : detail instanceof Error ? { failed: pack(detail) } : detail });
const unpacked = ({ type, detail }) => {
  if (type === 'status') return { ...detail, error: detail.error ? failure(detail.error) : null };
  return detail?.failed ? failure(detail.failed) : detail;
};

const withoutPassword = (end) => {
  if (!/^https?:/i.test(end)) return end;
  const url = new URL(end);
  url.password = '';
  return url.href;
};

/**
 * Runs `begin(tell)`, which starts a replication and answers `[handle, ...peers]`, in one tab at a time for
 * all who share its ends and options. Answers the same; `tell(type, detail)` hears what the one that runs tells.
 */
export function share(ends, options, begin, tell) {
  const name = `settee:${JSON.stringify([...ends.map(withoutPassword), options])}`;
  const channel = new BroadcastChannel(name);
  const lasting = new Map(); // what was asked of the leader and a new one has to be asked again
  const waiting = new Map(); // calls without an answer yet
  const own = crypto.randomUUID();
  let calls = 0;
  let led; // [handle, ...peers], where we lead
  let heir; // who we make way for
  let place; // ours in the line for the lock
  let isTaking = false; // we were given it before our turn
  let isOver = false; // cancelled here
  let looking;
  let mood; // the last `paused` or `active` that was told, for who comes later
  let status = firstStatus();
  let summary = { ok: true, start_time: new Date().toISOString(), docs_read: 0, docs_written: 0, doc_write_failures: 0, errors: [], last_seq: 0 };

  const heard = (type, detail) => {
    if (type === 'status') status = detail;
    if (type === 'change') summary = { ...detail, docs: undefined };
    tell(type, type === 'status' ? undefined : detail);
  };
  const remember = (method, args) => {
    if (method === 'pause') lasting.delete('resume');
    if (method === 'resume') lasting.delete('pause');
    if (/^(login|pause|resume|setVisible)$/.test(method)) lasting.set(method, args);
  };
  const run = async (method, args) => {
    const [handle, ...peers] = led;
    if (handle[method]) return handle[method](...args);
    for (const peer of peers) await peer[method](...args);
    return undefined;
  };
  const post = (message) => channel.postMessage(message);
  const look = () => {
    clearTimeout(looking);
    if (isHidden() && led) post({ hides: true });
    if (led || !isSeen()) return;
    looking = setTimeout(() => {
      post({ wants: own });
      looking = setTimeout(take, HEARD_IN_MS);
    }, LOOKED_AT_MS);
  };
  const take = () => {
    if (led) return;
    isTaking = true;
    place.abort();
  };

  channel.onmessage = ({ data }) => {
    const { type, to, call, answer, greets, leads, hides, wants, hears, yours } = data;
    if (type && !led && (!to || to === own)) heard(type, unpacked(data));
    if (leads) for (const { call: again } of waiting.values()) post({ call: again });
    if (leads || hides) look();
    if (wants && led) {
      post({ hears: wants });
      if (!heir && isHidden()) {
        heir = wants;
        led[0].cancel();
      }
    }
    if (hears === own) clearTimeout(looking);
    if (yours === own) take();
    if (answer) {
      const pending = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.failed) pending?.reject(failure(answer.failed));
      else pending?.resolve(answer.result);
    }
    if (call) {
      remember(call.method, call.args);
      if (led) {
        run(call.method, call.args).then((result) => ({ result }), (error) => ({ failed: pack(error) }))
          .then((outcome) => post({ answer: { id: call.id, ...outcome } }));
      }
    }
    if (greets && led) {
      post(packed('status', status)); // to all: one that was frozen may have told its own
      if (mood) post({ ...mood, to: greets });
    }
  };

  const lead = async () => {
    let handle;
    isTaking = false;
    const started = await begin((type, detail) => queueMicrotask(() => { // its own call has to end first
      if (heir || led?.[0] !== handle) return; // it is not over
      const now = type === 'status' ? handle.status() : detail;
      const message = packed(type, now);
      if (type === 'paused' || type === 'active') mood = message;
      post(message);
      heard(type, now);
    }));
    [handle] = started;
    led = started;
    if (isOver) handle.cancel();
    for (const [method, args] of lasting) await run(method, args).catch(() => {}); // as it failed there
    for (const [id, { call, resolve, reject }] of waiting) {
      waiting.delete(id);
      run(call.method, call.args).then(resolve, reject);
    }
    post({ leads: true });
    look();
    const result = await handle.done();
    if (!heir || led !== started) return result;
    led = undefined;
    post({ yours: heir });
    return new Promise((resolve) => { setTimeout(resolve, KEPT_FOR_MS); }); // unless it is taken before
  };
  // In the line until we led to the end.
  const compete = async () => {
    for (let steal = false; !isOver;) {
      place = new AbortController();
      const result = await navigator.locks.request(name, steal ? { steal } : { signal: place.signal }, lead).catch((error) => {
        const isTaken = led && error instanceof DOMException;
        if (!heir && !isTaking && !isOver && !isTaken) throw error;
        if (!isTaken) return;
        const [handle] = led;
        led = undefined;
        handle.cancel();
      });
      if (result) return result;
      steal = isTaking;
      heir = undefined;
      post({ greets: own });
    }
    return { ...summary, status: 'cancelled', end_time: new Date().toISOString() };
  };
  globalThis.document?.addEventListener('visibilitychange', look);
  const done = compete().finally(() => {
    isOver = true;
    clearTimeout(looking);
    globalThis.document?.removeEventListener('visibilitychange', look);
    channel.close();
    for (const { resolve } of waiting.values()) resolve();
  });
  done.catch(() => {});
  post({ greets: own });
  look();

  const ask = async (method, ...args) => {
    remember(method, args);
    const canTravel = args.every((arg) => typeof arg !== 'function');
    if (led) {
      if (canTravel) post({ call: { method, args } }); // the others remember it too
      return run(method, args);
    }
    if (!canTravel) return undefined; // ours from the day we lead
    return new Promise((resolve, reject) => {
      calls += 1;
      const call = { id: `${own}:${calls}`, method, args };
      waiting.set(call.id, { call, resolve, reject });
      post({ call });
    });
  };
  return [{
    done: () => done,
    status: () => status,
    pause: () => { ask('pause').catch(() => {}); },
    resume: () => { ask('resume').catch(() => {}); },
    isPushed: (id) => ask('isPushed', id),
    cancel() {
      isOver = true;
      place.abort();
      led?.[0].cancel();
    },
  }, { login: (...value) => ask('login', ...value), setVisible: (isVisible) => ask('setVisible', isVisible) }];
}
