// Many tabs, one replicator. Of all tabs and workers that ask for the same live replication, the one that
// holds the lock runs it; the others hear and tell what it tells, hand it their calls, and the browser
// gives the lock to the next one the moment it is gone, however it went.
import { firstStatus } from './feed.js';
import { failure } from './json.js';

export const canShare = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);

// Errors lose their fields on the way to another tab.
const pack = (error) => error && { ...error, status: error.status ?? 0, error: error.name, reason: error.reason ?? error.message, name: undefined };
const packed = (type, detail) => ({ type, detail: type === 'status' ? { ...detail, error: pack(detail.error) } : detail instanceof Error ? { failed: pack(detail) } : detail });
const unpacked = ({ type, detail }) => {
  if (type === 'status') return { ...detail, error: detail.error ? failure(detail.error) : null };
  return detail?.failed ? failure(detail.failed) : detail;
};

/**
 * Runs `begin(tell)`, which starts a replication and answers `[handle, ...peers]`, in one tab at a time for
 * all who share `name`. Answers the same; `tell(type, detail)` hears what the one that runs tells.
 */
export function share(name, begin, tell) {
  const channel = new BroadcastChannel(name);
  const giveUp = new AbortController();
  const lasting = new Map(); // what was asked of the leader and a new one has to be asked again
  const waiting = new Map(); // calls without an answer yet
  const own = crypto.randomUUID();
  let calls = 0;
  let led; // [handle, ...peers], where we lead
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

  channel.onmessage = ({ data }) => {
    const { type, to, call, answer, greets, leads } = data;
    if (type && !led && (!to || to === own)) heard(type, unpacked(data));
    if (leads) for (const { call: again } of waiting.values()) post({ call: again });
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
    if (greets && led) for (const message of [packed('status', status), mood]) if (message) post({ ...message, to: greets });
  };

  const lead = async () => {
    let handle;
    const started = await begin((type, detail) => queueMicrotask(() => { // its own call has to end first
      const now = type === 'status' ? handle.status() : detail;
      const message = packed(type, now);
      if (type === 'paused' || type === 'active') mood = message;
      post(message);
      heard(type, now);
    }));
    [handle] = started;
    led = started;
    if (giveUp.signal.aborted) handle.cancel();
    for (const [method, args] of lasting) await run(method, args).catch(() => {}); // as it failed there
    for (const [id, { call, resolve, reject }] of waiting) {
      waiting.delete(id);
      run(call.method, call.args).then(resolve, reject);
    }
    post({ leads: true });
    return handle.done();
  };
  const done = navigator.locks.request(name, { signal: giveUp.signal }, lead).catch((error) => {
    if (led || !giveUp.signal.aborted) throw error;
    return { ...summary, status: 'cancelled', end_time: new Date().toISOString() };
  }).finally(() => {
    channel.close();
    for (const { resolve } of waiting.values()) resolve();
  });
  done.catch(() => {});
  post({ greets: own });

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
      giveUp.abort();
      led?.[0].cancel();
    },
  }, { login: (...value) => ask('login', ...value), setVisible: (isVisible) => ask('setVisible', isVisible) }];
}
