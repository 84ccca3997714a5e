// What goes on for a while: events, a changes feed, replications.
import { SetteeError, asText, badOption, failure, open, options } from './json.js';

const complain = (error) => (globalThis.reportError ?? console.error)(error);

/** Events. A listener that throws is reported and disturbs nobody. */
export class Emitter {
  #listeners = new Map();

  on(event, listener) {
    if (typeof listener !== 'function') throw new TypeError('A listener must be a function');
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    return this;
  }

  once(event, listener) {
    const once = (...args) => {
      this.off(event, once);
      listener(...args);
    };
    once.listener = listener;
    return this.on(event, once);
  }

  off(event, listener) {
    const rest = (this.#listeners.get(event) ?? []).filter((one) => one !== listener && one.listener !== listener);
    this.#listeners.set(event, rest);
    return this;
  }

  addListener(event, listener) {
    return this.on(event, listener);
  }

  removeListener(event, listener) {
    return this.off(event, listener);
  }

  removeAllListeners(event) {
    if (event === undefined) this.#listeners.clear();
    else this.#listeners.delete(event);
    return this;
  }

  listenerCount(event) {
    return this.#listeners.get(event)?.length ?? 0;
  }

  emit(event, ...args) {
    const listeners = this.#listeners.get(event) ?? [];
    for (const listener of listeners) {
      try {
        listener.apply(this, args);
      } catch (error) {
        complain(error);
      }
    }
    return listeners.length > 0;
  }
}

// The event loop turns, so that the page can paint and take input; a promise alone would not do.
const turn = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(0);
});

export async function breathe(since) {
  if (performance.now() - since < 12) return since;
  await turn();
  return performance.now();
}

class Task extends Emitter {
  #promise;
  #settle;
  #abort = () => this.cancel();
  #signal;
  #acts = [];
  ended = false;
  cancelled = false;

  constructor(signal) {
    super();
    this.#promise = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#promise.catch(() => {}); // it may as well be the `error` event that somebody listens to
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort);
    if (signal?.aborted) queueMicrotask(this.#abort);
  }

  on(event, listener) {
    this._begin();
    return super.on(event, listener);
  }

  then(fulfilled, rejected) {
    this._begin();
    return this.#promise.then(fulfilled, rejected);
  }

  catch(rejected) {
    return this.then(undefined, rejected);
  }

  finally(settled) {
    this._begin();
    return this.#promise.finally(settled);
  }

  /** Somebody wants to know. */
  _begin() {}

  _whenEnded(act) {
    if (this.ended) act();
    else this.#acts.push(act);
  }

  _end(error, result) {
    if (this.ended) return;
    this.ended = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    if (error) this.#settle.reject(error);
    else this.#settle.resolve(result);
    this.emit(error ? 'error' : 'complete', error ?? result);
    this.removeAllListeners();
    for (const act of this.#acts) act();
  }
}

/** A live query. What it does is loaded when somebody asks. */
export class LiveFind extends Task {
  docs = [];
  #updates;

  constructor(signal, start) {
    super(signal);
    this._start = start;
  }

  _begin() {
    if (!this.ended) this.#updates ??= this._start(this).catch((error) => this._end(error));
  }

  cancel() {
    if (this.ended) return;
    this.cancelled = true;
    this._end(undefined, { docs: this.docs, status: 'cancelled' });
  }

  async* [Symbol.asyncIterator]() {
    this._begin();
    yield* (await this.#updates)?.() ?? [];
    await this;
  }
}

// For who does not wait for it: the status tells a failure too.
function unasked(promise) {
  promise.catch(() => {});
  return promise;
}

const OWN = ['live', 'continuous', 'filter', 'query_params', 'view', 'return_docs', 'timeout', 'heartbeat', 'batch_size',
  'seq_interval', 'signal'];

// It begins when somebody asks.
export class Changes extends Task {
  #feed;
  #given;
  #isOpen;
  #begun = false;
  #failure;
  #results = [];
  #lastSeq = 0;
  #readers = new Set();
  #bell = newBell();

  constructor(given, start, isOpen) {
    super(given?.signal);
    this.#isOpen = isOpen;
    const { filter, view, live = given?.continuous, since, limit, include_docs } = given ?? {};
    this.#given = { ...given, live, return_docs: given?.return_docs ?? !live, filter: undefined, limit: undefined };
    try {
      if (view || filter === '_view') throw badOption('Option `view`: a local database has no views to filter by');
      const asked = { ...given, since: since === 'latest' ? 'now' : since ?? 0 };
      if (typeof filter === 'function') { // then `limit` counts what passed it
        Object.assign(this.#given, { filter, limit });
        Object.assign(asked, { include_docs: true, limit: undefined });
      } else if (filter && filter !== '_doc_ids' && filter !== '_selector') {
        throw badOption('Option `filter` must be a function here; those of design documents run on a server');
      }
      this.#feed = start(options(asked, OWN));
      this.#lastSeq = this.#feed.lastSeq;
    } catch (error) {
      this.#failure = error;
    }
  }

  cancel() {
    if (this.ended) return;
    this.cancelled = true;
    this.#feed?.cancel();
    this.#end(undefined, 'cancelled');
  }

  #end(error, status = this.#given.live && !this.#isOpen() ? 'cancelled' : undefined) {
    this.#failure = error;
    const result = { results: this.#results, last_seq: this.#lastSeq };
    if (status) result.status = status;
    else if (!error && !this.#given.filter) result.pending = this.#feed.pending;
    this._end(error, result);
    this.#ring();
  }

  _begin() {
    if (this.#begun || this.ended) return;
    this.#begun = true;
    this.#run().then(() => this.#end(), (error) => this.#end(error));
  }

  async #run() {
    await null; // for whoever is still to attach in this turn
    if (this.#failure) throw this.#failure;
    const { live, filter, limit, include_docs, query_params, return_docs } = this.#given;
    const keep = return_docs && !this.#readers.size;
    let time = performance.now();
    for (let passed = 0; !this.ended;) {
      let page = await this.#feed.next(false);
      if (page === undefined && live && !this.ended) {
        this.emit('paused');
        page = await this.#feed.next(true);
        if (page !== undefined) this.emit('active');
        time = performance.now();
      }
      if (page === undefined) break;
      for (const change of open(page, (changes) => changes.map(({ doc }) => doc))) {
        if (this.ended) return;
        this.#lastSeq = change.seq;
        if (filter && !this.#passes(filter, change.doc, query_params)) continue;
        if (filter && !include_docs) delete change.doc;
        if (keep) this.#results.push(change);
        for (const reader of this.#readers) reader.push(change);
        if (this.#readers.size) this.#ring();
        this.emit('change', change);
        passed += 1;
        if (passed >= limit) {
          this.#feed.cancel();
          return;
        }
      }
      while (!this.ended && [...this.#readers].some((reader) => reader.length)) await this.#bell.promise;
      time = await breathe(time);
    }
    if (!this.ended) this.#lastSeq = this.#feed.lastSeq; // past what a selector passed over
  }

  #passes(filter, doc, query) {
    try {
      return filter(doc, { query: query ?? {} });
    } catch (error) {
      this.#feed.cancel();
      throw new SetteeError(400, 'bad_request', `Filter function threw: ${error}`, error);
    }
  }

  #ring() {
    this.#bell.resolve();
    this.#bell = newBell();
  }

  /** Reads at the reader's pace, a page ahead at most. Leaving the loop cancels the feed. */
  [Symbol.asyncIterator]() {
    const waiting = [];
    this.#readers.add(waiting);
    this._begin();
    return {
      next: async () => {
        while (!waiting.length) {
          if (this.ended) {
            if (this.#failure) throw this.#failure;
            return { value: undefined, done: true };
          }
          await this.#bell.promise;
        }
        const value = waiting.shift();
        if (!waiting.length) this.#ring();
        return { value, done: false };
      },
      return: async (value) => {
        this.#readers.delete(waiting);
        this.cancel();
        return { value, done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}

function newBell() {
  let resolve;
  const promise = new Promise((ring) => {
    resolve = ring;
  });
  return { promise, resolve };
}

// What a person should hear about first.
const URGENCY = ['failed', 'needs-auth', 'paused', 'offline', 'waiting', 'catching-up', 'connecting', 'live', 'stopped'];

// Several statuses as one; each with its direction, `up` or `down`.
function merged(statuses) {
  let first = { phase: 'stopped', since: null, error: null };
  const pending = { up: null, down: null };
  const bytes = { up: 0, down: 0 };
  for (const [direction, status] of statuses) {
    const is = URGENCY.indexOf(status.phase) - URGENCY.indexOf(first.phase);
    if (is < 0 || first.since === null) first = status;
    if (status.pending !== null) pending[direction] += status.pending;
    bytes[direction] += status.bytes;
  }
  const { phase, since, error } = first;
  return { phase, since, pending: Object.freeze(pending), bytes: Object.freeze(bytes), error };
}

// The newest status whenever there is a newer one; a slow reader misses what is in between.
async function* statuses(of) {
  for (let seen; ;) {
    while (seen !== of.status) yield seen = of.status;
    if (of.ended) return;
    await new Promise((resolve) => of.once('status', resolve));
  }
}

// Tells of a status made of others, once for all that change in one turn.
function teller(of) {
  let isQueued = false;
  return () => {
    if (isQueued) return;
    isQueued = true;
    queueMicrotask(() => {
      isQueued = false;
      if (!of.ended) of.emit('status', of.status);
    });
  };
}

/** All replications of this page that run, and live ones that failed, until the like of them is started or they are cancelled. */
class Overall extends Emitter {
  #all = new Set();
  #status;
  #tell = teller(this);

  get status() {
    const replications = [...this.#all];
    this.#status ??= Object.freeze({
      ...merged(replications.map(({ _direction, status }) => [_direction, status])), replications: Object.freeze(replications),
    });
    return this.#status;
  }

  _begins(replication) {
    for (const other of this.#all) if (other.ended && other._name === replication._name) this.#all.delete(other);
    this.#all.add(replication);
    this._changed();
  }

  _ends(replication) {
    this.#all.delete(replication);
    this._changed();
  }

  _changed() {
    this.#status = undefined;
    this.#tell();
  }

  [Symbol.asyncIterator]() {
    return statuses(this);
  }
}

export const status = new Overall();

/** How a replication stands before anything is known of it. */
export const firstStatus = () => ({
  phase: 'connecting', since: Date.now(), pending: null, docsRead: 0, docsWritten: 0, docWriteFailures: 0, bytes: 0, error: null,
  retryAt: null, quarantined: 0,
});

export class Replication extends Task {
  state = 'pending';
  #status = Object.freeze(firstStatus());
  #started;
  #raw;
  #isHeld = false;
  #isLive;
  #told = Promise.resolve();

  constructor(given, name, direction, start) {
    super(given?.signal);
    Object.defineProperties(this, { _name: { value: name }, _direction: { value: direction } }); // the name may hold a password
    this.#isLive = given?.live ?? given?.continuous;
    this.#started = start((type, detail) => {
      this.#told = this.#told.then(() => this._plain?.(detail)).then(() => this.#tell(type, detail));
    });
    this.#run().then((result) => this.#end(undefined, result), (error) => this.#end(error));
    status._begins(this);
  }

  async #run() {
    [this.#raw] = await this.#started;
    if (this.#isHeld) this.#raw.pause();
    if (this.cancelled) this.#raw.cancel();
    return this.#raw.done();
  }

  get status() {
    return this.#status;
  }

  #look(now) {
    this.#status = Object.freeze(now);
    status._changed();
    this.emit('status', now);
  }

  #tell(type, detail) {
    if (this.ended) return;
    if (type === 'status') this.#look(this.#raw.status());
    if (type === 'status' || this.cancelled) return;
    if (type === 'active') this.state = type;
    if (type === 'paused') this.state = detail ? 'stopped' : 'pending';
    if (type === 'denied') detail = failure(detail);
    if (type === 'change') detail.errors = detail.errors.map(failure);
    this.emit(type, detail);
  }

  async #end(error, result) {
    const summary = result ?? error.result;
    await this.#told;
    await this._plain?.(summary);
    if (!this.cancelled) this.state = error ? 'stopped' : 'complete';
    if (summary) summary.errors = summary.errors.map(failure);
    const last = { ...this.#status, phase: error ? 'failed' : 'stopped', since: Date.now(), error: error ?? null };
    this.#look(this.#raw?.status() ?? last);
    this._end(error, result);
    if (!error || !this.#isLive) status._ends(this); // who waits for the end of one knows that it failed
  }

  pause() {
    this.#isHeld = true;
    this.#raw?.pause();
  }

  resume() {
    this.#isHeld = false;
    this.#raw?.resume();
  }

  login(value) {
    return unasked(this.#login(value));
  }

  async #login(value) {
    const [, ...peers] = await this.#started;
    const { getToken, ...auth } = value ?? {};
    try {
      for (const peer of peers) await peer.login({ auth: auth.username === undefined ? undefined : auth }, getToken);
    } catch (error) { // the server could not be asked: it is used when it can
      if (error.status !== 401 && error.status !== 403) this.resume();
      throw error;
    }
    this.resume();
  }

  async prioritize(isVisible = true) {
    const [, ...peers] = await this.#started;
    for (const peer of peers) await peer.setVisible(isVisible);
  }

  async isPushed(id) {
    const [raw] = await this.#started;
    return raw.isPushed(this._stored(asText(id, 'Document id', 'illegal_docid')));
  }

  [Symbol.asyncIterator]() {
    return statuses(this);
  }

  cancel() {
    if (this.ended) status._ends(this);
    if (this.ended || this.cancelled) return;
    this.cancelled = true;
    this.state = 'cancelled';
    this.#raw?.cancel();
  }
}

export class Sync extends Task {
  #status;

  constructor(given, push, pull) {
    super(given?.signal);
    Object.assign(this, { push, pull });
    const ways = Object.entries({ push, pull });
    const paused = { push: false, pull: false };
    const reasons = {};
    const tell = teller(this);
    for (const [direction, way] of ways) {
      way.on('status', tell);
      way.on('change', (change) => this.emit('change', { direction, change }));
      way.on('denied', (doc) => this.emit('denied', { direction, doc }));
      way.on('checkpoint', (checkpoint) => this.emit('checkpoint', { direction, ...checkpoint }));
      way.on('active', () => {
        const first = paused.push && paused.pull;
        paused[direction] = false;
        if (first) this.emit('active', { direction });
      });
      way.on('paused', (error) => {
        paused[direction] = true;
        reasons[direction] = error;
        if (paused.push && paused.pull) this.emit('paused', error ?? reasons.push ?? reasons.pull);
      });
    }
    if (given?.live || given?.continuous) {
      push.on('complete', () => pull.cancel());
      pull.on('complete', () => push.cancel());
    }
    const end = (...how) => {
      this.emit('status', this.status); // whoever iterates looks once more, and finds that it is over
      this._end(...how);
    };
    Promise.all([push, pull]).then(([pushed, pulled]) => end(undefined, { push: pushed, pull: pulled }), (error) => {
      end(error);
      this.cancel();
    });
  }

  get state() {
    const states = [this.push.state, this.pull.state];
    return ['active', 'stopped', 'pending'].find((state) => states.includes(state)) ?? states[0];
  }

  get status() {
    const [push, pull] = [this.push.status, this.pull.status];
    if (this.#status?.push !== push || this.#status.pull !== pull) {
      this.#status = Object.freeze({ ...merged([['up', push], ['down', pull]]), push, pull });
    }
    return this.#status;
  }

  pause() {
    this.push.pause();
    this.pull.pause();
  }

  resume() {
    this.push.resume();
    this.pull.resume();
  }

  login(value) {
    return unasked(Promise.all([this.push.login(value), this.pull.login(value)]).then(() => {}));
  }

  async prioritize(isVisible) {
    await Promise.all([this.push.prioritize(isVisible), this.pull.prioritize(isVisible)]);
  }

  isPushed(id) {
    return this.push.isPushed(id);
  }

  [Symbol.asyncIterator]() {
    return statuses(this);
  }

  cancel() {
    this.cancelled = true;
    this.push.cancel();
    this.pull.cancel();
  }
}
