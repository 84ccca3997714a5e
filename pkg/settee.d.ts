/**
 * Settee: a CouchDB peer that lives in a web page, a worker or Node.
 *
 * Methods, options and results are PouchDB 9's wherever it has them. Everything returns promises; what
 * fails rejects with a {@link SetteeError}.
 *
 * ```js
 * import { Database } from 'settee';
 *
 * const db = await Database.open('notes');
 * await db.put({ _id: 'a', title: 'Hello' });
 * db.changes({ since: 'now', live: true, include_docs: true }).on('change', ({ doc }) => show(doc));
 * db.sync('https://couch.example/notes', { live: true, retry: true });
 * ```
 * @packageDocumentation
 */

/** What JSON can carry. `undefined` members are left out, as `JSON.stringify` does. */
export type Json = string | number | boolean | null | undefined | Json[] | { [key: string]: Json };

/** A document's identifier. */
export type DocumentId = string;
/** An attachment's name within its document. */
export type AttachmentId = string;
/** A revision: `generation-id`. */
export type RevisionId = string;
/** A place in a changes feed: a number here, anything JSON in a server's. Opaque. */
export type Sequence = number | string | Json[];

/** Bytes as they may be given. They are copied; nothing keeps hold of the caller's object. */
export type Bytes = Blob | ArrayBuffer | ArrayBufferView;

/** An attachment in a document that is written. */
export interface AttachmentInput {
  /** Its MIME type; a `Blob`'s own if this is left out. */
  content_type?: string;
  /** Its bytes, or base64 text. Left out in a stub. */
  data?: Bytes | string;
  /** Keep what the parent revision has under this name (or digest). */
  stub?: boolean;
  /** `md5-…`. */
  digest?: string;
  /** The generation in which it came to be as it is. */
  revpos?: number;
  /** Its size in bytes. */
  length?: number;
  /** Written by servers; read and ignored. */
  follows?: boolean;
}

/** An attachment in a document that was read. */
export interface Attachment {
  content_type: string;
  /** `md5-…`, of the bytes as they are. */
  digest: string;
  /** The generation in which it came to be as it is. */
  revpos: number;
  /** Its size in bytes; in stubs. */
  length?: number;
  /** True where `data` was not asked for. */
  stub?: true;
  /** Base64, with `attachments: true`; a `Blob` with `binary: true` beside it. */
  data?: string | Blob;
}

/** The special members of a document that is written. */
export interface DocumentMeta {
  _id?: DocumentId;
  /** The revision this one follows. */
  _rev?: RevisionId | undefined;
  /** Makes it a tombstone. */
  _deleted?: boolean;
  /** History, newest first; with `new_edits: false`. */
  _revisions?: Revisions;
  _attachments?: { [name: AttachmentId]: AttachmentInput | Attachment };
}

/** A document as it is written. */
export type NewDocument<T extends object = {}> = T & DocumentMeta;

/** A document as it is read. */
export type ExistingDocument<T extends object = {}> = T & {
  _id: DocumentId;
  _rev: RevisionId;
  _deleted?: true;
  _attachments?: { [name: AttachmentId]: Attachment };
  /** With `revs`. */
  _revisions?: Revisions;
  /** With `revs_info`. */
  _revs_info?: RevisionInfo[];
  /** With `conflicts`: the other leaves that are not deleted. */
  _conflicts?: RevisionId[];
  /** With `deleted_conflicts`. */
  _deleted_conflicts?: RevisionId[];
  /** With `local_seq`. */
  _local_seq?: Sequence;
};

/** A branch: `start` is the generation of the first of `ids`. */
export interface Revisions {
  start: number;
  ids: string[];
}

export interface RevisionInfo {
  rev: RevisionId;
  status: 'available' | 'missing' | 'deleted';
}

/** A write that was done, and is durable. */
export interface Written {
  ok: true;
  id: DocumentId;
  rev: RevisionId;
}

/** A failure, with CouchDB's name, status and reason. */
export class SetteeError extends Error {
  private constructor();
  /** CouchDB's `error`. Those with status 0 are Settee's own: no server could answer them. */
  readonly name: ErrorName | (string & {});
  /** The HTTP status CouchDB answers with; 0 where the failure is the device's or the network's. */
  readonly status: number;
  /** In words. The same as `message`. */
  readonly reason: string;
  /** As in PouchDB. */
  readonly error: true;
  /** What the platform said, where there is more to know. */
  readonly cause?: unknown;
  /** The document, where the failure is one document's. */
  readonly id?: DocumentId;
  /** The same as `id`. */
  readonly docId?: DocumentId;
  /** What a replication that failed had done. */
  readonly result?: ReplicationResult;
}

export type ErrorName =
  | 'bad_request' | 'query_parse_error' | 'illegal_docid' | 'doc_validation'
  | 'unauthorized' | 'forbidden' | 'not_found' | 'conflict' | 'file_exists' | 'missing_stub'
  | 'document_too_large' | 'attachment_too_large' | 'insufficient_storage' | 'unknown_error'
  | 'network_error' | 'timeout' | 'cancelled' | 'store_closed' | 'schema_too_new'
  | 'storage_unavailable' | 'corrupt' | 'init_failed'
  // Of vaults and sealed channels:
  | 'locked' | 'vault_exists' | 'no_vault' | 'no_channel' | 'wrong_secret' | 'mistyped_code' | 'code_length'
  | 'empty_passphrase' | 'no_such_lock' | 'malformed_keys' | 'unknown_version' | 'cost_out_of_bounds'
  | 'nothing_to_recover' | 'device_unavailable' | 'no_randomness' | 'rollback' | 'foreign_channel' | 'other_channel'
  | 'unknown_epoch' | 'needs_update';

export interface OpenOptions {
  /**
   * Where documents are kept. `indexeddb` is the default where there is one, and `memory` in Node.
   * A database in memory lives until its last handle is closed.
   */
  storage?: 'indexeddb' | 'memory';
  /** How many revisions a branch keeps. Default 1000. */
  revs_limit?: number;
  /** Whether room is freed without being asked to. Default true. */
  auto_compaction?: boolean;
  /** The largest document, in bytes of JSON without attachments; of its sealed form in a sealed channel. Default 8,000,000. */
  max_document_size?: number;
  /**
   * Opens a sealed channel and unlocks it. A database that is not there is made and waits: replicate it, and it is
   * unlocked (`unlocked`) as soon as its channel has come. 403 `foreign_channel`, `rollback` if that is not it.
   */
  vault?: Vault;
  /**
   * With `vault`: a database that has no channel begins one. Say it where somebody asks for something new, not each time:
   * two devices that begin one each have two channels, and do not replicate with one another (403 `other_channel`).
   */
  create?: boolean;
  /** Opens a sealed channel locked; it replicates. 403 `forbidden` if the database is there and not sealed. */
  sealed?: boolean;
}

export interface PutOptions {
  /** Makes a new branch instead of a `conflict` when `_rev` is no leaf. */
  force?: boolean;
  /** `false`: the document brings its own `_rev` and `_revisions`, which are stored as they are. */
  new_edits?: boolean;
}

export interface GetOptions {
  /** This revision instead of the winner. */
  rev?: RevisionId | undefined;
  /** With `_revisions`. */
  revs?: boolean;
  /** With `_revs_info`. */
  revs_info?: boolean;
  /** These leaves, or all of them; the result is an array. */
  open_revs?: RevisionId[] | 'all';
  /** With `_conflicts`. */
  conflicts?: boolean;
  /** With `_deleted_conflicts`. */
  deleted_conflicts?: boolean;
  /** The leaves that followed the revisions asked for. */
  latest?: boolean;
  /** With `_local_seq`. */
  local_seq?: boolean;
  /** With the attachments' bytes: base64, or `Blob`s with `binary`. */
  attachments?: boolean;
  binary?: boolean;
  /** With the bytes of those attachments that are newer than these revisions. */
  atts_since?: RevisionId[];
}

export type OpenRevision<T extends object = {}> = { ok: ExistingDocument<T> } | { missing: RevisionId };

export interface BulkGetOptions {
  docs: { id: DocumentId; rev?: RevisionId | undefined; atts_since?: RevisionId[] }[];
  revs?: boolean;
  latest?: boolean;
  attachments?: boolean;
  binary?: boolean;
}

export interface BulkGetResult<T extends object = {}> {
  results: {
    id: DocumentId;
    docs: ({ ok: ExistingDocument<T>; error?: never } | { error: SetteeError; ok?: never })[];
  }[];
}

export interface AllDocsOptions {
  include_docs?: boolean;
  conflicts?: boolean;
  attachments?: boolean;
  binary?: boolean;
  startkey?: DocumentId | undefined;
  endkey?: DocumentId | undefined;
  start_key?: DocumentId | undefined;
  end_key?: DocumentId | undefined;
  /** Whether `endkey` belongs to the result. Default true. */
  inclusive_end?: boolean;
  key?: DocumentId;
  /** Just these, in this order, with an error row for one that is not there. */
  keys?: DocumentId[];
  descending?: boolean;
  limit?: number | undefined;
  skip?: number | undefined;
  /** With `update_seq`. */
  update_seq?: boolean;
}

export interface AllDocsRow<T extends object = {}> {
  id: DocumentId;
  key: DocumentId;
  value: { rev: RevisionId; deleted?: true };
  /** With `include_docs`; `null` for a tombstone that `keys` named. */
  doc?: ExistingDocument<T> | null;
  error?: never;
}

export interface AllDocsResult<T extends object = {}> {
  /** Documents in the database, not rows in the result. */
  total_rows: number;
  /** How many rows come before the first. */
  offset: number;
  rows: AllDocsRow<T>[];
  update_seq?: Sequence;
}

/** With `keys`, rows for documents that are not there. */
export interface AllDocsKeysResult<T extends object = {}> extends Omit<AllDocsResult<T>, 'rows'> {
  rows: (AllDocsRow<T> | { key: DocumentId; error: 'not_found'; id?: never; value?: never; doc?: never })[];
}

/** A Mango selector, as CouchDB has them. */
export type Selector = { [field: string]: Json };

/** Fields in dotted paths, all of them up or all of them down. */
export type SortFields = (string | { [field: string]: 'asc' | 'desc' })[];

export interface FindRequest {
  selector: Selector;
  /** Just these parts of each document, in dotted paths. Default: all of it. */
  fields?: string[] | undefined;
  /**
   * Documents that lack one of the fields are not found. Served by an index whose fields begin with these (after those
   * that the selector gives one value); else sorted when asked, with a warning.
   */
  sort?: SortFields | undefined;
  /** Default: all, as in PouchDB. CouchDB's 25 would leave documents out without a word. */
  limit?: number | undefined;
  skip?: number | undefined;
  /** The index to prefer: its `ddoc`, or that and its name. */
  use_index?: string | string[] | undefined;
}

export interface FindResult<T extends object = {}> {
  docs: ExistingDocument<T>[];
  /** That there was no index for it, or not the one asked for; a line each. */
  warning?: string;
}

export interface LiveFindRequest extends FindRequest {
  /** Ends it, as `cancel()` does. */
  signal?: AbortSignal | undefined;
}

/**
 * What a live query finds now, and what is different from the update before. Frozen. A document that did not change is the
 * same object as before; one that moved has changed, since what it is sorted by has.
 */
export interface LiveFindUpdate<T extends object = {}> {
  /** All of the result, in order. */
  readonly docs: readonly ExistingDocument<T>[];
  /** Those that were not in it: new, changed, or moved up into the limit. In the first update all of them. */
  readonly added: readonly ExistingDocument<T>[];
  /** Those that are not in it any more, as they were: deleted, changed, or moved down past the limit. */
  readonly removed: readonly ExistingDocument<T>[];
  /** Those that have another revision, as they are now. */
  readonly changed: readonly ExistingDocument<T>[];
  /** As `find` has it. */
  readonly warning?: string;
}

export type LiveFindEvents<T extends object = {}> = {
  /** The first result, also where it is empty; then whenever it is another one, once for all that changed meanwhile. */
  update: [update: LiveFindUpdate<T>];
  /** It was cancelled, or the database was closed. */
  complete: [result: LiveFindResult<T>];
  /** What `find` refuses; `locked` when a sealed channel is locked. It is over then, and `docs` is empty. */
  error: [error: SetteeError];
};

export interface LiveFindResult<T extends object = {}> {
  docs: readonly ExistingDocument<T>[];
  status: 'cancelled';
}

/**
 * The result of a `find`, kept up: an emitter, an async iterable that reads at your pace (the next update is made, for
 * all who listen, when the last one was taken; what changes until then comes as one), and a promise of its end. It begins when somebody listens, awaits or iterates. Leaving a
 * `for await` loop cancels it.
 */
export interface LiveFind<T extends object = {}>
  extends Task<LiveFindResult<T>, LiveFindEvents<T>>, AsyncIterable<LiveFindUpdate<T>> {
  /** The result as the last update told it; empty before the first. */
  readonly docs: readonly ExistingDocument<T>[];
  [Symbol.asyncIterator](): AsyncIterableIterator<LiveFindUpdate<T>>;
}

export interface IndexDefinition {
  index: {
    /** Which documents have them all is in the index. */
    fields: SortFields;
    /** As PouchDB has them; the same as those beside. */
    name?: string;
    ddoc?: string;
    type?: 'json';
  };
  /** Default: made of the fields. */
  name?: string;
  /** Default: the name. */
  ddoc?: string;
  type?: 'json';
}

export interface Index {
  /** `null` for that of all documents, which is always there. */
  ddoc: string | null;
  name: string;
  type: 'json' | 'special';
  def: { fields: { [field: string]: 'asc' | 'desc' }[] };
}

export interface ChangesOptions<T extends object = {}> {
  /** After this place; `'now'` for what happens from now on. */
  since?: Sequence | 'now' | undefined;
  /** Goes on with what happens, in any tab or worker, until cancelled. */
  live?: boolean;
  /** The same as `live`. */
  continuous?: boolean;
  limit?: number | undefined;
  /** Newest first. */
  descending?: boolean;
  include_docs?: boolean;
  conflicts?: boolean;
  attachments?: boolean;
  binary?: boolean;
  /** `all_docs` names every leaf in `changes`; a selector looks at the winner, where CouchDB asks each leaf. */
  style?: 'main_only' | 'all_docs';
  doc_ids?: DocumentId[];
  /** A Mango selector. It sees attachments as stubs, `_deleted`, and with `conflicts` also `_conflicts` (not with `all_docs`). */
  selector?: { [key: string]: Json };
  /** Only documents for which this is true. */
  filter?: ((doc: ExistingDocument<T>, request: { query: { [key: string]: any } }) => unknown) | '_doc_ids' | '_selector';
  /** For `filter`, as `query`. */
  query_params?: { [key: string]: any };
  /** Whether the promise's result has them all. Default: unless `live`. */
  return_docs?: boolean;
  /** Stops it, as `cancel()` does. */
  signal?: AbortSignal | undefined;
  /** Accepted for PouchDB's sake; a local feed has no use for them. */
  timeout?: number | false;
  heartbeat?: number | boolean;
  batch_size?: number;
  seq_interval?: number;
}

export interface Change<T extends object = {}> {
  seq: Sequence;
  id: DocumentId;
  /** The winner; every leaf with `style: 'all_docs'`. */
  changes: { rev: RevisionId }[];
  /** The winner is a tombstone. */
  deleted?: true;
  /** With `include_docs`. */
  doc?: ExistingDocument<T>;
}

export interface ChangesResult<T extends object = {}> {
  results: Change<T>[];
  /** Where to go on. */
  last_seq: Sequence;
  /** How many come after that. */
  pending?: number;
  /** It was cancelled. */
  status?: 'cancelled';
}

type Listener<A extends unknown[]> = (...args: A) => void;

/** Events. A listener that throws is reported as an uncaught error and disturbs nobody. No limit on listeners. */
export interface Emitter<Events extends { [event: string]: unknown[] }> {
  on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  once<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  off<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  addListener<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  removeListener<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  removeAllListeners(event?: keyof Events): this;
  listenerCount(event: keyof Events): number;
}

/** Something that goes on until it ends or is cancelled. It can be awaited; nothing is unhandled if it is not. */
export interface Task<Result, Events extends { [event: string]: unknown[] }> extends Emitter<Events> {
  then: Promise<Result>['then'];
  catch: Promise<Result>['catch'];
  finally: Promise<Result>['finally'];
  /** Ends it; it then resolves with status `cancelled`. Idempotent. */
  cancel(): void;
  readonly cancelled: boolean;
  /** Whether it is over. */
  readonly ended: boolean;
}

export type ChangesEvents<T extends object = {}> = {
  change: [change: Change<T>];
  /** Live: all there is has been told. */
  paused: [];
  /** Live: something came after a pause. */
  active: [];
  complete: [result: ChangesResult<T>];
  error: [error: SetteeError];
};

/**
 * A changes feed: a promise of all of it, an emitter, and an async iterable that reads at your pace.
 * It begins when somebody listens, awaits or iterates. Leaving a `for await` loop cancels it.
 */
export interface Changes<T extends object = {}>
  extends Task<ChangesResult<T>, ChangesEvents<T>>, AsyncIterable<Change<T>> {
  [Symbol.asyncIterator](): AsyncIterableIterator<Change<T>>;
}

/** Those of a changes feed; a row names every leaf, so there is no `style`. */
export interface ConflictsOptions<T extends object = {}> extends Omit<ChangesOptions<T>, 'style'> {}

/** A document in conflict, or just out of it: then both lists are empty. */
export interface Conflict<T extends object = {}> {
  seq: Sequence;
  id: DocumentId;
  /** The winner. */
  rev: RevisionId;
  /** The other leaves that are not deleted. */
  conflicts: RevisionId[];
  /** Tombstones of deletions that stand beside an edit of the same revision: edited here, deleted elsewhere. */
  deletedConflicts: RevisionId[];
  /** It is out of its conflict because it is deleted. */
  deleted?: true;
  /** With `include_docs`: the winner. */
  doc?: ExistingDocument<T>;
}

export interface ConflictsResult<T extends object = {}> extends Omit<ChangesResult<T>, 'results'> {
  results: Conflict<T>[];
}

export type ConflictsEvents<T extends object = {}> = {
  change: [conflict: Conflict<T>];
  paused: [];
  active: [];
  complete: [result: ConflictsResult<T>];
  error: [error: SetteeError];
};

/** As {@link Changes}. */
export interface Conflicts<T extends object = {}>
  extends Task<ConflictsResult<T>, ConflictsEvents<T>>, AsyncIterable<Conflict<T>> {
  [Symbol.asyncIterator](): AsyncIterableIterator<Conflict<T>>;
}

/** The winner first; a deletion has `_deleted`. Attachments are stubs. */
export type Resolver<T extends object = {}> = (docs: ExistingDocument<T>[]) => NewDocument<T> | Promise<NewDocument<T>>;

export interface ResolveOptions {
  /** The leaves that were looked at, in any order: 409 `conflict` if others have come, and nothing is written. */
  revs?: RevisionId[] | undefined;
  /** What loses is kept in documents of its own, attachments included. */
  keepBoth?: boolean;
  /** Their ids, by the revision that lost. Default `id~rev`, the same on every device. */
  ids?: { [rev: RevisionId]: DocumentId };
}

export interface ReplicateOptions {
  /** Goes on with changes as they happen, until cancelled. */
  live?: boolean;
  /** The same as `live`. */
  continuous?: boolean;
  /**
   * Waits and tries again after the network or the server failed, where a login is missing (401) and where
   * there is no room (507); {@link Phase} says how.
   */
  retry?: boolean;
  /** Starts here, whatever the checkpoints say. */
  since?: Sequence | 'now' | undefined;
  /** Only these. Of a sealed channel too in the caller's own ids, which takes its keys: else 0 `locked`. */
  doc_ids?: DocumentId[];
  /** A Mango selector. 400 `query_parse_error` where it would pull into a sealed channel, as for `filter`. */
  selector?: { [key: string]: Json };
  /** A filter function of the source, `design/name`. */
  filter?: string;
  /** Parameters for `filter`. */
  query_params?: { [key: string]: any };
  /** Every leaf, or winners alone. Default `all_docs`. */
  style?: 'main_only' | 'all_docs';
  /** Changes in a batch. */
  batch_size?: number;
  /** Batches read ahead. */
  batches_limit?: number;
  /** How often the server keeps a waiting line alive, in ms. */
  heartbeat?: number | boolean;
  /** How long a line waits before it asks again, in ms. */
  timeout?: number;
  /**
   * How a server is waited for: one line that stays open, a request each time, or (`auto`, default) whichever
   * works. Over HTTP/1.1 a browser has six connections to a server, and a line that stays open holds one.
   */
  feed?: 'auto' | 'continuous' | 'longpoll';
  /**
   * How many connections all databases of that server share, on this page. Default 4: of a browser's six, two
   * stay the page's. Databases that have none to wait on are asked in turn, or when the server tells that they moved.
   */
  connections?: number;
  /**
   * Whether tabs that ask for the same live replication share one, which one of them runs. Default true; `false`
   * runs it in this tab whatever others do.
   */
  leader?: boolean;
  /** How long a server may say nothing before a request fails with `timeout`, in ms. Default 60,000. */
  connection_timeout?: number;
  /** Where checkpoints are kept. Default: on both sides. */
  checkpoint?: boolean | 'source' | 'target';
  /** While catching up, a checkpoint at most so often, in ms. */
  checkpoint_interval_ms?: number;
  /** Makes the target if there is none. Default true. */
  create_target?: boolean;
  /** The next pause in ms, from the last one (0 at first). */
  back_off_function?: (lastMs: number) => number;
  /** Sent with every request. */
  headers?: { [name: string]: string };
  /**
   * The login, in place of one in the URL. `basic` (default) sends it with every request; `session` logs in at
   * `_session` once, and again before the session ends or when the server has forgotten it.
   */
  auth?: { username: string; password: string; type?: 'basic' | 'session' };
  /**
   * Gives a bearer token, in place of `auth`. Asked once for all requests that wait for it: at first, shortly
   * before a JWT ends, and once after a 401. Throwing anything but `fetch`'s `TypeError` means that nobody can
   * log in now, as a 401 does.
   */
  getToken?: (asked: { reason: 'first' | 'expired' | 'rejected' }) => string | Promise<string>;
  /** In place of the platform's. */
  fetch?: typeof fetch;
  /** Stops it, as `cancel()` does. */
  signal?: AbortSignal | undefined;
}

/** A name and password, or what gives bearer tokens; see {@link ReplicateOptions}. */
export type Login = { username: string; password: string; type?: 'basic' | 'session' } | Required<Pick<ReplicateOptions, 'getToken'>>;

export interface SyncOptions extends ReplicateOptions {
  /** For the way there alone. */
  push?: ReplicateOptions;
  /** For the way back alone. */
  pull?: ReplicateOptions;
}

export interface ReplicationResult {
  /** False if it ended with an error. Documents that were denied leave it true. */
  ok: boolean;
  status: 'active' | 'complete' | 'cancelled' | 'aborting';
  /** ISO 8601. */
  start_time: string;
  /** ISO 8601. */
  end_time?: string;
  docs_read: number;
  docs_written: number;
  doc_write_failures: number;
  /** The newest hundred. */
  errors: SetteeError[];
  /** Up to where the target has everything, in the source's feed. */
  last_seq: Sequence;
  /** How many changes are still to come, where the source knows. */
  pending?: number;
}

export interface ReplicationProgress extends ReplicationResult {
  /** What was stored just now. */
  docs: { _id: DocumentId; _rev: RevisionId; _deleted?: true }[];
}

export type ReplicationState = 'pending' | 'active' | 'stopped' | 'complete' | 'cancelled';

/**
 * What a replication is doing.
 *
 * - `connecting`: asking both sides who they are.
 * - `catching-up`: documents are on their way.
 * - `live`: all there is has gone over; waiting for a change.
 * - `offline`: no CouchDB was reached: no network, no server, or something else in its place.
 * - `waiting`: the server was reached and answered badly or too late; it may have said until when.
 * - `needs-auth`: 401, or CouchDB locked the account after wrong passwords (403); goes on after `login()` or `resume()`.
 * - `paused`: by `pause()`; or, with an `error`, because the target has no room.
 * - `stopped`: over, complete or cancelled.
 * - `failed`: over, with an error.
 *
 * `offline`, `waiting`, `needs-auth` and `paused` with an error are there with `retry` only, and go on by
 * themselves: by back-off, and when the page comes online or is shown. Without `retry` it has failed.
 */
export type Phase =
  | 'connecting' | 'catching-up' | 'live' | 'offline' | 'waiting' | 'needs-auth' | 'paused' | 'stopped' | 'failed';

/** How a replication stands. Frozen; another one takes its place when something changes. */
export interface ReplicationStatus {
  readonly phase: Phase;
  /** When this phase began, in ms since 1970. Attempts that fail in the same way do not begin it anew. */
  readonly since: number;
  /** Changes still to go over; `null` if nobody knows. With `doc_ids` or `selector` at most so many. */
  readonly pending: number | null;
  readonly docsRead: number;
  readonly docsWritten: number;
  /** Documents that were denied. */
  readonly docWriteFailures: number;
  /** Bytes of documents and attachments that were stored. */
  readonly bytes: number;
  /** The last error, until the next success. */
  readonly error: SetteeError | null;
  /** When the next attempt comes by itself, in ms since 1970. */
  readonly retryAt: number | null;
  /**
   * Revisions that did not prove themselves and are kept aside by the sealed channel at its end; what arrives while it
   * is locked counts until it is unlocked. {@link Database.quarantine} names them. 0 for clear databases.
   */
  readonly quarantined: number;
}

/** Several replications as one: the phase that a person should hear about first, and sums. */
export interface MergedStatus {
  readonly phase: Phase;
  /** When that one's phase began; `null` if there is none. */
  readonly since: number | null;
  readonly pending: { readonly up: number | null; readonly down: number | null };
  readonly bytes: { readonly up: number; readonly down: number };
  /** That one's error. */
  readonly error: SetteeError | null;
}

export interface SyncStatus extends MergedStatus {
  readonly push: ReplicationStatus;
  readonly pull: ReplicationStatus;
}

export interface OverallStatus extends MergedStatus {
  /** Those that run, and live ones that failed. */
  readonly replications: readonly Replication[];
}

/**
 * All replications of this page or worker. A live one that failed stays until `cancel()` is called on it or
 * another one between the same ends begins.
 */
export const status: Emitter<{ status: [status: OverallStatus] }> & AsyncIterable<OverallStatus> & {
  readonly status: OverallStatus;
};

/** What can be done with a replication under way. */
export interface Steering {
  /**
   * Holds it: what is under way is dropped, and comes again from the last checkpoint. A `paused` event tells.
   */
  pause(): void;
  /** Goes on after `pause()`, at once after a failure, and with documents that were denied. */
  resume(): void;
  /**
   * A new login for the servers at its ends; it goes on with it once they took it. Rejects with 401 or 403 if one
   * refused (the login before stays), and with another error if it could not be asked: then the new one is used
   * when it can.
   */
  login(value: Login): Promise<void>;
  /** The user looks at this channel, or (`false`) no longer does: where many share few connections it goes first. */
  prioritize(isVisible?: boolean): Promise<void>;
  /**
   * Whether nothing of a document is left to go over (for a sync: to be pushed): each change of it has been
   * dealt with, and none was denied. True of a document that the source does not have.
   */
  isPushed(id: DocumentId): Promise<boolean>;
}

export type ReplicationEvents = {
  /** `status` is another one; once for all that changes in one turn. */
  status: [status: ReplicationStatus];
  change: [progress: ReplicationProgress];
  /** All there is has been done, or `pause()` was called; with an error, the next attempt waits. */
  paused: [error?: SetteeError];
  active: [];
  /** One document was refused; the others go on. */
  denied: [error: SetteeError];
  checkpoint: [checkpoint: { checkpoint: Sequence }];
  complete: [result: ReplicationResult];
  error: [error: SetteeError];
};

/** Iterating gives its statuses, the newest each time, until it ends. Leaving the loop changes nothing. */
export interface Replication
  extends Task<ReplicationResult, ReplicationEvents>, Steering, AsyncIterable<ReplicationStatus> {
  readonly status: ReplicationStatus;
  /** `pending`: nothing to do now. `stopped`: it failed; with `retry`, until the next attempt. */
  readonly state: ReplicationState;
}

export interface SyncResult {
  push: ReplicationResult;
  pull: ReplicationResult;
}

type Direction = 'push' | 'pull';

export type SyncEvents = {
  /** `status` is another one; once for all that changes in one turn. */
  status: [status: SyncStatus];
  change: [change: { direction: Direction; change: ReplicationProgress }];
  /** Both ways are done or wait; with an error, at least one of them waits for its next attempt. */
  paused: [error?: SetteeError];
  active: [which: { direction: Direction }];
  denied: [denied: { direction: Direction; doc: SetteeError }];
  checkpoint: [checkpoint: { direction: Direction; checkpoint: Sequence }];
  complete: [result: SyncResult];
  error: [error: SetteeError];
};

/** Iterating gives its statuses, the newest each time, until it ends. Leaving the loop changes nothing. */
export interface Sync extends Task<SyncResult, SyncEvents>, Steering, AsyncIterable<SyncStatus> {
  readonly status: SyncStatus;
  readonly push: Replication;
  readonly pull: Replication;
  readonly state: ReplicationState;
}

/** A database as a server reaches it. A login may stand in the URL as well. */
export type ServerReplicationEnd = string | {
  url: string;
  auth?: { basic: { username: string; password: string } };
  headers?: { [name: string]: string };
};

/** A document of a server's `_replicator` database; members that are not here are sent as they are. */
export interface ServerReplicationJob {
  /** Default: made of all the rest but the logins, so that the same request is the same document. */
  _id?: DocumentId;
  source: ServerReplicationEnd;
  target: ServerReplicationEnd;
  continuous?: boolean;
  create_target?: boolean;
  doc_ids?: DocumentId[];
  selector?: { [key: string]: Json };
  /** A filter function of the source, `design/name`. */
  filter?: string;
  query_params?: { [key: string]: any };
  since_seq?: Sequence;
  [more: string]: Json;
}

export interface ServerReplicationOptions {
  /** The login at the server that replicates, in place of one in its URL. */
  auth?: { username: string; password: string };
  /** Bearer tokens for the same. The ends of the job take none: a server cannot ask this page for the next one. */
  getToken?: ReplicateOptions['getToken'];
  headers?: { [name: string]: string };
  /** In place of the platform's. */
  fetch?: typeof fetch;
}

export interface ServerReplicationStatus {
  /** `crashing` and `error`: it will be tried again. `failed` and `completed`: it is over. */
  state: 'initializing' | 'running' | 'pending' | 'crashing' | 'error' | 'failed' | 'completed' | (string & {});
  /** Counts as CouchDB has them, or what went wrong. No logins. */
  info: { error?: string; docs_read?: number; docs_written?: number; doc_write_failures?: number;
    changes_pending?: number | null; [more: string]: unknown } | null;
  /** How often it failed in a row. */
  error_count?: number;
  /** ISO 8601. */
  last_updated?: string | null;
  [more: string]: unknown;
}

/** A replication that a server does by itself. Iterates over its states, asking every two seconds, to its end. */
export interface ServerReplication extends AsyncIterable<ServerReplicationStatus> {
  /** Its document in `_replicator`. */
  readonly id: DocumentId;
  /** How it stands; 404 `not_found` once it was cancelled. */
  status(): Promise<ServerReplicationStatus>;
  /** Ends it, for everybody: its document is deleted. */
  cancel(): Promise<void>;
}

export interface DatabaseInfo {
  db_name: string;
  /** Documents that are not deleted. */
  doc_count: number;
  /** Where the changes feed ends now. */
  update_seq: Sequence;
  adapter: 'indexeddb' | 'memory';
  /** How many revisions a sealed channel keeps aside, see {@link Database.quarantine}; not there for a clear database. */
  quarantined?: number;
  [more: string]: unknown;
}

/** A revision that did not pass the gate of a sealed channel. It is kept aside and does not replicate. */
export interface Quarantined {
  /** The document, as the server names it. */
  id: string;
  rev: RevisionId;
  /** Why, for programs: `not_sealed`, `foreign_id`, `not_opened`, …; `locked` and `unknown_epoch` may pass by themselves. */
  error: string;
  /** Why, in words. */
  reason: string;
}

export interface VaultStatus {
  /** Whether there is a vault on this device. */
  readonly exists: boolean;
  /** Whether it is locked in this page or worker. */
  readonly locked: boolean;
  /** Whether a passphrase unlocks it. */
  readonly passphrase: boolean;
  /** Whether it stays unlocked on this device. */
  readonly device: boolean;
}

export type VaultEvents = { locked: []; unlocked: [] };

/**
 * The keys of this device's account: one vault for all tabs of an origin. Not for service workers, which may not load
 * it; a sealed database replicates there, locked.
 */
export interface Vault extends Emitter<VaultEvents> {
  /** Whether the keys are not at hand in this page. */
  readonly locked: boolean;
  /**
   * Drops the keys in every tab, at once; databases tell `locked`, their feeds end with that error, replication goes on.
   * Ends `stayUnlocked` too, so that a reload asks: that is done when the promise resolves.
   */
  lock(): Promise<void>;
  /**
   * A new key for what is written into this channel from now on, in every tab and, when they have replicated, on every
   * device. What was written before stays readable to whoever has the key before. 0 `locked`; 403 `needs_update`.
   */
  rotateKeys(database: Database<any>): Promise<void>;
  /** Another passphrase, or a first one. 0 `locked`; `empty_passphrase`. */
  changePassphrase(passphrase: string): Promise<void>;
  /**
   * Whether `{ device: true }` unlocks it here from now on, until `lock()`.
   * 0 `locked`; `device_unavailable` where there is no IndexedDB or WebCrypto.
   */
  stayUnlocked(stays: boolean): Promise<void>;
}

export const Vault: {
  /**
   * Makes an account with this device in it. Show the recovery code and let it be written down: it is kept nowhere.
   * 412 `vault_exists`; nothing is overwritten.
   */
  create(options?: { passphrase?: string | undefined }): Promise<{ vault: Vault; recoveryCode: string }>;
  /**
   * Unlocks the vault here, and the databases that were opened with it. 404 `no_vault`; 0 `wrong_secret`, also if what
   * is stored was changed; `mistyped_code`, `code_length`; `no_such_lock`.
   */
  unlock(secret: { passphrase: string } | { recoveryCode: string } | { device: true }): Promise<Vault>;
  /**
   * Opens the account on another device: `database` was opened `sealed` and has pulled a channel of the account.
   * Makes a vault only if that channel opens with it. 412 `vault_exists`; 0 `nothing_to_recover`, `mistyped_code`,
   * `code_length`; 403 `foreign_channel`, `rollback`, `unknown_epoch`.
   */
  recover(options: { recoveryCode: string; database: Database<any>; passphrase?: string | undefined }): Promise<Vault>;
  status(): Promise<VaultStatus>;
  /**
   * Forgets the keys of this device, in every tab, locked or not. What is sealed stays where it is, and **nothing but the
   * recovery code opens it again** (`recover`, from the database that is here or from its server): without it, never.
   */
  destroy(): Promise<void>;
  /**
   * Puts a rule on the server that refuses documents which are not sealed: a net against accidents, in a database that
   * holds a sealed channel alone. Whether it was not there yet. 403 `forbidden` if this login is no administrator's.
   */
  installGuard(options: { url: string } & Pick<ReplicateOptions, 'auth' | 'headers' | 'getToken' | 'fetch'>): Promise<boolean>;
};

export type DatabaseEvents = {
  /** The keys of this sealed channel were dropped. */
  locked: [];
  /** It has its keys again. */
  unlocked: [];
  /** This handle was closed. */
  closed: [];
  /** The database was destroyed through this or another handle of this context. */
  destroyed: [];
};

/** One end of a replication: a database, a URL (`https://name:password@host/db`) or the name of a local database. */
export type ReplicationEnd = Database<any> | string;

/**
 * A handle on a database. Several in one page, tab or worker share one engine, and every tab of an
 * origin may open the same database.
 */
export class Database<T extends object = any> implements Emitter<DatabaseEvents> {
  private constructor();

  /** Opens a database; makes it if there is none. */
  static open<T extends object = any>(name: string, options?: OpenOptions): Promise<Database<T>>;
  /** Replicates from one end to the other. */
  static replicate(source: ReplicationEnd, target: ReplicationEnd, options?: ReplicateOptions): Replication;
  /** Replicates both ways. */
  static sync(one: ReplicationEnd, other: ReplicationEnd, options?: SyncOptions): Sync;
  /**
   * Asks a server to replicate with another by itself, through its `_replicator` database, with this page or without.
   * The same request again finds the replication that is there; one that is over starts anew. 409 `conflict` if the
   * `_id` stands for another one.
   */
  static replicateOnServer(server: string, job: ServerReplicationJob, options?: ServerReplicationOptions): Promise<ServerReplication>;

  readonly name: string;
  /** Whether it is a sealed channel; fixed when it was made. `undefined` once it is closed. */
  readonly sealed: boolean | undefined;
  /** Whether it is one without its keys: reading and writing fail with `locked`, replication goes on. */
  readonly locked: boolean | undefined;
  /** Whether it is one whose channel has not come and was not begun: they fail with `no_channel`. */
  readonly waiting: boolean | undefined;

  /** What came in and did not prove itself; empty unless it is sealed. */
  quarantine(): Promise<Quarantined[]>;
  /** Looks at it once more; how many revisions passed. 0 `locked`. */
  retryQuarantine(): Promise<number>;
  /** Forgets it, or one revision of it; how many were forgotten. 404 `not_found` if that one is not held. */
  discardQuarantine(id?: string, rev?: RevisionId): Promise<number>;

  /** Writes a document: a new one, or the next revision of `_rev`. */
  put(doc: NewDocument<T> & { _id: DocumentId }, options?: PutOptions): Promise<Written>;
  /** Writes a document, under a new id if it has none. */
  post(doc: NewDocument<T>, options?: PutOptions): Promise<Written>;
  /** Writes a document that is JSON text: numbers stay as they are written. */
  putJson(json: string, options?: PutOptions): Promise<Written>;

  /** Reads a document. 404 `not_found` if there is none or it is deleted. */
  get<D extends object = T>(id: DocumentId, options: GetOptions & { open_revs: RevisionId[] | 'all' }): Promise<OpenRevision<D>[]>;
  get<D extends object = T>(id: DocumentId, options?: GetOptions): Promise<ExistingDocument<D>>;
  /** Reads a document as JSON text, attachments as base64 if asked for. */
  getJson(id: DocumentId, options?: Omit<GetOptions, 'binary'>): Promise<string>;

  /** Deletes a document. */
  remove(doc: { _id: DocumentId; _rev: RevisionId }, options?: { rev?: RevisionId }): Promise<Written>;
  remove(id: DocumentId, rev: RevisionId): Promise<Written>;

  /**
   * Writes documents in one transaction; one row each, in order. A row that conflicts fails alone; a document that is
   * malformed fails the call, and nothing is written. In a sealed channel each 256 documents are a transaction: where one
   * of several fails (507, `locked`), its rows say so and the others are written; where all fail, the call does.
   * With `new_edits: false`, the rows that failed.
   */
  bulkDocs(docs: NewDocument<T>[] | { docs: NewDocument<T>[]; new_edits?: boolean }, options?: { new_edits?: boolean }):
    Promise<(Written & { error?: never } | SetteeError)[]>;
  /** Reads revisions. */
  bulkGet<D extends object = T>(options: BulkGetOptions): Promise<BulkGetResult<D>>;
  /** Rows by id, in CouchDB's raw order of bytes. */
  allDocs<D extends object = T>(options: AllDocsOptions & { keys: DocumentId[] }): Promise<AllDocsKeysResult<D>>;
  allDocs<D extends object = T>(options?: AllDocsOptions): Promise<AllDocsResult<D>>;
  /**
   * The documents that a selector picks: CouchDB's `_find`. Winners, no deleted ones, no design documents; as they are at
   * that moment, whoever wrote them. Without a fitting index every document is read.
   * 400 with CouchDB's names for what makes no sense; `locked` as {@link get}.
   */
  find<D extends object = T>(request: FindRequest): Promise<FindResult<D>>;
  /**
   * A live query: the result of a `find`, told again whenever it is another one, whoever wrote: this tab, another, a
   * replication. It ends as a changes feed does: by `cancel()`, when the database is closed, with `locked` when the channel
   * is. Its code is loaded when it begins, so a service worker, which may not import later, has none.
   */
  liveFind<D extends object = T>(request: LiveFindRequest): LiveFind<D>;
  /**
   * Declares an index. It is in memory alone, made when first used and kept up from then on, and ends with the last handle
   * here: a page declares its indexes each time it starts. (CouchDB keeps them in design documents. Here nothing of a sealed
   * channel may be written in clear.) A lock drops what is in it; it is made again when used after unlocking.
   */
  createIndex(definition: IndexDefinition): Promise<{ result: 'created' | 'exists'; id: DocumentId; name: string }>;
  getIndexes(): Promise<{ total_rows: number; indexes: Index[] }>;
  /** Drops one; takes an entry of {@link getIndexes}. 404 `not_found` if there is none. */
  deleteIndex(index: { ddoc: string | null; name: string }): Promise<{ ok: true }>;
  /** The changes feed. */
  changes<D extends object = T>(options?: ChangesOptions<D>): Changes<D>;
  /**
   * The documents in conflict, as a changes feed: two or more leaves that are not deleted, or edited on one device while
   * deleted on another. Live, or with `since`, also those that got out of it.
   */
  conflicts<D extends object = T>(options?: ConflictsOptions<D>): Conflicts<D>;
  /**
   * Settles a conflict in one transaction: the content of one of the leaves stands (that of a deletion deletes the
   * document), or what a function makes of them. The winner goes on with it and the others are ended, so that devices
   * which decide alike write the same. `'keep-both'` leaves the winner and keeps the others as documents of their own.
   * Without a conflict nothing happens and no function is called. 409 `conflict` if `how` is no such revision or the
   * leaves changed meanwhile. Resolves to the winner.
   */
  resolve<D extends object = T>(id: DocumentId, how: RevisionId | 'keep-both' | Resolver<D>, options?: ResolveOptions): Promise<Written>;

  /** Attaches bytes (or base64 text) to a document; makes the document if there is no `rev`. */
  putAttachment(id: DocumentId, name: AttachmentId, rev: RevisionId | null | undefined, data: Bytes | string, type: string): Promise<Written>;
  putAttachment(id: DocumentId, name: AttachmentId, data: Bytes | string, type: string): Promise<Written>;
  /** An attachment's bytes. */
  getAttachment(id: DocumentId, name: AttachmentId, options?: { rev?: RevisionId | undefined }): Promise<Blob>;
  removeAttachment(id: DocumentId, name: AttachmentId, rev: RevisionId): Promise<Written>;

  /** Which of these revisions are not here. */
  revsDiff(revs: { [id: DocumentId]: RevisionId[] }):
    Promise<{ [id: DocumentId]: { missing: RevisionId[]; possible_ancestors?: RevisionId[] } }>;
  info(): Promise<DatabaseInfo>;
  /** Frees what nobody can read any more. */
  compact(): Promise<{ ok: true }>;

  readonly replicate: {
    /** Replicates from here. */
    to(target: ReplicationEnd, options?: ReplicateOptions): Replication;
    /** Replicates to here. */
    from(source: ReplicationEnd, options?: ReplicateOptions): Replication;
  };
  /** Replicates both ways. */
  sync(other: ReplicationEnd, options?: SyncOptions): Sync;

  /** Lets go of this handle: its feeds and replications are cancelled, later calls fail with `store_closed`. Idempotent. */
  close(): Promise<void>;
  /** Deletes the database, for every handle, tab and worker. */
  destroy(): Promise<{ ok: true }>;
  [Symbol.asyncDispose](): Promise<void>;

  on<E extends keyof DatabaseEvents>(event: E, listener: () => void): this;
  once<E extends keyof DatabaseEvents>(event: E, listener: () => void): this;
  off<E extends keyof DatabaseEvents>(event: E, listener: () => void): this;
  addListener<E extends keyof DatabaseEvents>(event: E, listener: () => void): this;
  removeListener<E extends keyof DatabaseEvents>(event: E, listener: () => void): this;
  removeAllListeners(event?: keyof DatabaseEvents): this;
  listenerCount(event: keyof DatabaseEvents): number;
}

/**
 * Loads the WebAssembly. `Database.open` does it by itself; call this to have it loaded early, or from
 * somewhere else: a URL, a response, the bytes or the compiled module. Later calls return the first one's promise,
 * unless that failed.
 */
export function init(
  source?: string | URL | Response | BufferSource | WebAssembly.Module | Promise<Response | BufferSource | WebAssembly.Module>,
): Promise<void>;

/** What this is, for bug reports. `commit` is known once the WebAssembly is loaded, if the build knew it. */
export const version: { readonly version: string; readonly commit: string | undefined };
