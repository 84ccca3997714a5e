// Every bad input, as a table that runs unchanged in a page and in Node: no imports.
//
//   [what, bad, error]           a document; tried with put, post and bulkDocs
//   error: [status, name, reason], the reason as text or as a pattern

const NO_OBJECT = [400, 'bad_request', 'Document must be a JSON object'];
const BAD_REV = [400, 'bad_request', 'Invalid rev format'];
const BAD_DATA = [400, 'bad_request', 'Invalid attachment data for f'];
const ID_NO_STRING = [400, 'illegal_docid', 'Document id must be a string'];
const RESERVED = [400, 'illegal_docid', 'Only reserved document ids may start with underscore.'];
const EMPTY_ID = [400, 'illegal_docid', 'Document id must not be empty'];
const CONFLICT = [409, 'conflict', 'Document update conflict.'];
const CLOSED = [0, 'store_closed', /closed; open it again/];
const HALF = '\ud83c'; // the first half of a surrogate pair
const bad = (reason) => [400, 'bad_request', reason];
const option = (name) => [400, 'query_parse_error', new RegExp(`\`${name}\``)];

function nested(depth, wrap) {
  let value = 0;
  for (let i = 0; i < depth; i += 1) value = wrap(value);
  return value;
}
function cyclic() {
  const doc = { _id: 'a', inner: { list: [1] } };
  doc.inner.list.push(doc.inner);
  return doc;
}
const withAttachment = (attachment, name = 'f') => ({ _id: 'a', _attachments: { [name]: attachment } });

// As in CouchDB, a document that is malformed fails a whole bulkDocs; what only the database can know fails its row.
const ROW = [409, 412];
const DOCUMENTS = {
  ids: [
    ['an empty id', { _id: '' }, EMPTY_ID],
    ['a number as id', { _id: 1 }, ID_NO_STRING],
    ['null as id', { _id: null }, ID_NO_STRING],
    ['a boolean as id', { _id: true }, ID_NO_STRING],
    ['an array as id', { _id: ['a'] }, ID_NO_STRING],
    ['an object as id', { _id: {} }, ID_NO_STRING],
    ['an id that begins with _', { _id: '_a' }, RESERVED],
    ['_ as id', { _id: '_' }, RESERVED],
    ['an id like a reserved one', { _id: '_designs/a' }, RESERVED],
    ['_design/ alone', { _id: '_design/' }, [400, 'illegal_docid', 'Illegal document id `_design/`']],
    ['_local/ alone', { _id: '_local/' }, [400, 'illegal_docid', 'Illegal document id `_local/`']],
  ],
  members: [
    ['an unknown _ member', { _id: 'a', _foo: 1 }, [400, 'doc_validation', 'Bad special document member: _foo']],
    ['_ as a member', { _id: 'a', _: 1 }, [400, 'doc_validation', 'Bad special document member: _']],
    ['an unknown _ member that is null', { _id: 'a', _bar: null }, [400, 'doc_validation', 'Bad special document member: _bar']],
    ['_deleted that is no boolean', { _id: 'a', _deleted: 'yes' }, [400, 'doc_validation', /_deleted/]],
    ['_revisions without start', { _id: 'a', _revisions: { ids: ['a'] } }, [400, 'doc_validation', "_revisions.start isn't an integer."]],
    ['_revisions without ids', { _id: 'a', _revisions: { start: 1 } }, [400, 'doc_validation', "_revisions.ids isn't a array."]],
    ['_revisions with a number', { _id: 'a', _revisions: { start: 1, ids: [1] } }, [400, 'doc_validation', "RevId isn't a string"]],
    ['_attachments that is an array', { _id: 'a', _attachments: [] }, bad('Attachments must be a JSON object')],
    ['_attachments that is text', { _id: 'a', _attachments: 'f' }, bad('Attachments must be a JSON object')],
  ],
  revisions: [
    ...['', '1', '1-', '-a', 'a-b', 'abc', '0-a', '-1-a', '+1-a', '1.5-a', ' 1-a', '99999999999999999999-a', `1-${'z'.repeat(32)}`]
      .map((rev) => [`${JSON.stringify(rev)} as _rev`, { _id: 'a', _rev: rev }, BAD_REV]),
    ['a number as _rev', { _id: 'a', _rev: 1 }, BAD_REV],
    ['an object as _rev', { _id: 'a', _rev: {} }, BAD_REV],
    ['_rev of a document that is not there', { _id: 'a', _rev: '1-abc' }, CONFLICT],
  ],
  base64: [
    ...['a', 'abc', 'ab=c', '====', 'YW I=', 'YWI', 'grüße!==', 'YWI=YWI=', 'data:text/plain;base64,YWI=']
      .map((data) => [`${JSON.stringify(data)} as data`, withAttachment({ content_type: 'text/plain', data }), BAD_DATA]),
    ['data that is an object', withAttachment({ data: {} }), BAD_DATA],
    ['data that is true', withAttachment({ data: true }), BAD_DATA],
    ['no data and no stub', withAttachment({ content_type: 'text/plain' }), BAD_DATA],
    ['an attachment that is null', withAttachment(null), BAD_DATA],
    ['an attachment that is text', withAttachment('YWI='), BAD_DATA],
    ['a content_type that is a number', withAttachment({ content_type: 1, data: 'YWI=' }), BAD_DATA],
    ['an attachment without a name', withAttachment({ data: 'YWI=' }, ''), bad('Attachment name must not be empty')],
    ['an attachment named _f', withAttachment({ data: 'YWI=' }, '_f'), bad("Attachment name '_f' starts with prohibited character '_'")],
    ['a stub of nothing', withAttachment({ stub: true }), [412, 'missing_stub', 'Invalid attachment stub in a for f']],
  ],
  bodies: [
    ['an array', ['a'], NO_OBJECT],
    ['null', null, NO_OBJECT],
    ['undefined', undefined, NO_OBJECT],
    ['text', '{"_id":"a"}', NO_OBJECT],
    ['a number', 1, NO_OBJECT],
    ['a boolean', true, NO_OBJECT],
    ['a function', () => {}, NO_OBJECT],
    ['a symbol', Symbol('a'), NO_OBJECT],
    ['a BigInt', 1n, NO_OBJECT],
    ['a Map', new Map([['_id', 'a']]), bad(/is a Map, which JSON cannot carry/)],
    ['bytes', new Uint8Array(3), bad(/is a Uint8Array, which JSON cannot carry/)],
  ],
  'what JSON cannot carry': [
    ['a cycle', cyclic(), bad(/inner\.list\[1\].* is cyclic/)],
    ['a function', { _id: 'a', inner: { f() {} } }, bad(/\.inner\.f is a function/)],
    ['a function in an array', { _id: 'a', list: [1, () => {}] }, bad(/\.list\[1\] is a function/)],
    ['a symbol', { _id: 'a', s: Symbol('a') }, bad(/\.s is a symbol/)],
    ['a BigInt', { _id: 'a', n: 12345678901234567890n }, bad(/\.n is a bigint/)],
    ['NaN', { _id: 'a', n: NaN }, bad(/\.n is NaN/)],
    ['Infinity', { _id: 'a', n: [Infinity] }, bad(/\.n\[0\] is Infinity/)],
    ['-Infinity', { _id: 'a', n: { m: -Infinity } }, bad(/\.n\.m is -Infinity/)],
    ['a Set', { _id: 'a', s: new Set() }, bad(/\.s is a Set/)],
    ['bytes', { _id: 'a', s: new Uint8Array(2) }, bad(/\.s is a Uint8Array/)],
    ['a Blob', { _id: 'a', s: new Blob(['a']) }, bad(/\.s is a Blob/)],
    ['half a surrogate pair as id', { _id: `a${HALF}` }, bad(/\._id holds half of a surrogate pair/)],
    ['half a surrogate pair as a value', { _id: 'a', list: ['', { text: `${HALF}b` }] }, bad(/\.list\[1\]\.text holds half of a surrogate pair/)],
    ['the other half', { _id: 'a', text: '\udf0a' }, bad(/\.text holds half of a surrogate pair/)],
    ['half a surrogate pair as a name', { _id: 'a', inner: { [HALF]: 1 } }, bad(/named by half of a surrogate pair/)],
    ['half a surrogate pair as an attachment name', withAttachment({ data: 'YWI=' }, `f${HALF}`), bad(/named by half of a surrogate pair/)],
    ['objects nested 5,000 deep', { _id: 'a', deep: nested(5000, (a) => ({ a })) }, bad(/is nested deeper than 1000 levels/)],
    ['arrays nested 5,000 deep', { _id: 'a', deep: nested(5000, (a) => [a]) }, bad(/is nested deeper than 1000 levels/)],
    ['a getter that throws', { _id: 'a', get n() { throw new RangeError('out of order'); } }, bad(/cannot be written as JSON: out of order/)],
    ['a toJSON that throws', { _id: 'a', n: { toJSON() { throw new Error('not me'); } } }, bad(/cannot be written as JSON: not me/)],
    ['an attachment that is a number', withAttachment({ data: 1 }), bad(/_attachments\.f\.data is a number/)],
  ],
};

const TOO_LARGE = [413, 'document_too_large', 'a'];

// A JSON text of each; putJson takes it.
const TEXTS = [
  ['nothing', '', bad(/./)],
  ['half a text', '{"_id":"a"', bad(/^invalid UTF-8 JSON/)],
  ['two values', '{"_id":"a"} {}', bad(/^invalid UTF-8 JSON/)],
  ['an array', '[{"_id":"a"}]', NO_OBJECT],
  ['text', '"a"', NO_OBJECT],
  ['null', 'null', NO_OBJECT],
  ['no id', '{"n":1}', bad('_id is required for puts')],
  ['an unknown _ member', '{"_id":"a","_foo":1}', [400, 'doc_validation', 'Bad special document member: _foo']],
  ['an escaped half of a surrogate pair', '{"_id":"a","text":"\\ud83c"}', bad(/./)],
  ['an escaped half of a surrogate pair as id', '{"_id":"\\ud83c"}', [400, /bad_request|illegal_docid/, /./]],
  ['an escaped half of a surrogate pair as a name', '{"_id":"a","n":{"\\ud83c":1}}', bad(/./)],
  ['half a surrogate pair itself', `{"_id":"a","text":"${HALF}"}`, bad('putJson takes JSON text')],
  ['NaN', '{"_id":"a","n":NaN}', bad(/^invalid UTF-8 JSON/)],
  ['an array nested 5,000 deep', `{"_id":"a","deep":${'['.repeat(5000)}${']'.repeat(5000)}}`, bad(/./)],
  ['an object nested 5,000 deep', `{"_id":"a","deep":${'{"a":'.repeat(5000)}0${'}'.repeat(5000)}}`, bad(/./)],
  ['a document over 8 MB', `{"_id":"a","text":"${'x'.repeat(8_000_000)}"}`, TOO_LARGE],
  ['an object', { _id: 'a' }, bad('putJson takes JSON text')],
  ['undefined', undefined, bad('putJson takes JSON text')],
];

const put = (...args) => (db) => db.putAttachment(...args);
const ATTACHING = [
  ['an empty id', put('', 'f', 'YWI=', 'text/plain'), EMPTY_ID],
  ['a number as id', put(1, 'f', 'YWI=', 'text/plain'), ID_NO_STRING],
  ['no id', put(undefined, 'f', 'YWI=', 'text/plain'), ID_NO_STRING],
  ['an id that begins with _', put('_a', 'f', 'YWI=', 'text/plain'), RESERVED],
  ['half a surrogate pair as id', put(`a${HALF}`, 'f', 'YWI=', 'text/plain'), [400, /bad_request|illegal_docid/, /surrogate/]],
  ['a _local document', put('_local/a', 'f', 'YWI=', 'text/plain'), bad('_local documents do not accept attachments.')],
  ['no attachment name', put('a', '', 'YWI=', 'text/plain'), bad('Attachment name must not be empty')],
  ['undefined as attachment name', put('a', undefined, 'YWI=', 'text/plain'), bad(/[Aa]ttachment name/)],
  ['an object as attachment name', put('a', {}, 'YWI=', 'text/plain'), bad(/[Aa]ttachment name/)],
  ['an attachment named _f', put('a', '_f', 'YWI=', 'text/plain'), bad(/prohibited character '_'/)],
  ['half a surrogate pair as attachment name', put('a', `f${HALF}`, 'YWI=', 'text/plain'), bad(/surrogate/)],
  ['a malformed revision', put('a', 'f', 'one', 'YWI=', 'text/plain'), BAD_REV],
  ['a number as revision', put('a', 'f', 1, 'YWI=', 'text/plain'), BAD_REV],
  ['a revision of nothing', put('a', 'f', '1-abc', 'YWI=', 'text/plain'), CONFLICT],
  ['an existing document without its revision', put('here', 'f', 'YWI=', 'text/plain'), CONFLICT],
  ['malformed base64', put('a', 'f', 'YWI', 'text/plain'), bad(/[Ii]nvalid attachment data/)],
  ['malformed base64 and a Blob type', put('a', 'f', null, '?', 'text/plain'), bad(/[Ii]nvalid attachment data/)],
  ['null as data', put('a', 'f', undefined, null, 'text/plain'), bad(/^The attachment's data must be/)],
  ['a number as data', put('a', 'f', undefined, 1, 'text/plain'), bad(/^The attachment's data must be/)],
  ['an object as data', put('a', 'f', undefined, {}, 'text/plain'), bad(/^The attachment's data must be/)],
  ['a number as type', put('a', 'f', undefined, 'YWI=', 1), bad(/type/)],
  ['half a surrogate pair in the type', put('a', 'f', undefined, 'YWI=', `text/${HALF}`), bad(/surrogate/)],
  ['removeAttachment without a revision', (db) => db.removeAttachment('here', 'f'), CONFLICT],
  ['removeAttachment with a malformed revision', (db) => db.removeAttachment('here', 'f', 'x'), BAD_REV],
  ['removeAttachment with a number as revision', (db) => db.removeAttachment('here', 'f', 1), BAD_REV],
  ['removeAttachment of what is not there', async (db) => db.removeAttachment('here', 'f', (await db.get('here'))._rev),
    [404, 'not_found', 'Document is missing attachment']],
  ['getAttachment of no document', (db) => db.getAttachment('gone', 'f'), [404, 'not_found', 'missing']],
  ['getAttachment of no attachment', (db) => db.getAttachment('here', 'f'), [404, 'not_found', 'Document is missing attachment']],
];

const OTHERS = [
  ['put without an id', (db) => db.put({ n: 1 }), bad('_id is required for puts')],
  ['put with undefined as id', (db) => db.put({ _id: undefined }), bad('_id is required for puts')],
  ['put of nothing', (db) => db.put(), NO_OBJECT],
  ['a document over 8 MB', (db) => db.put({ _id: 'a', text: 'x'.repeat(8_000_000) }), TOO_LARGE],
  ['post of a document over 8 MB', (db) => db.post({ _id: 'a', text: 'x'.repeat(8_000_000) }), TOO_LARGE],
  ['many small members over 8 MB', (db) => db.put({ _id: 'a', list: Array(2_000_001).fill(1.5) }), TOO_LARGE],
  ['an update without the revision', (db) => db.put({ _id: 'here' }), CONFLICT],
  ['an update of no leaf', (db) => db.put({ _id: 'here', _rev: '1-abc' }), CONFLICT],
  ['new_edits: false without a revision', (db) => db.put({ _id: 'a' }, { new_edits: false }), [400, /bad_request|doc_validation/, /./]],
  ['new_edits: false with a malformed revision', (db) => db.put({ _id: 'a', _rev: 'x' }, { new_edits: false }), BAD_REV],
  ['bulkDocs of nothing', (db) => db.bulkDocs(), bad("Missing JSON list of 'docs'")],
  ['bulkDocs of an object', (db) => db.bulkDocs({ _id: 'a' }), bad("Missing JSON list of 'docs'")],
  ['bulkDocs of text', (db) => db.bulkDocs('[]'), bad("Missing JSON list of 'docs'")],
  ['bulkDocs of docs that are no list', (db) => db.bulkDocs({ docs: {} }), bad("Missing JSON list of 'docs'")],
  ['bulkDocs with one that is none beside a good one', (db) => db.bulkDocs([{ _id: 'good' }, null]), NO_OBJECT],
  ['remove without a revision', (db) => db.remove('here'), CONFLICT],
  ['remove of a document without a revision', (db) => db.remove({ _id: 'here' }), CONFLICT],
  ['remove of what is not there', (db) => db.remove('gone'), [404, 'not_found', 'missing']],
  ['remove with a malformed revision', (db) => db.remove('here', 'x'), BAD_REV],
  ['remove with half a surrogate pair as revision', (db) => db.remove('here', `1-${HALF}`), BAD_REV],
  ['remove with a number as revision', (db) => db.remove('here', 1), BAD_REV],
  ['remove of nothing', (db) => db.remove(), ID_NO_STRING],
  ['remove of no leaf', (db) => db.remove('here', '1-abc'), CONFLICT],
  ['remove of half a surrogate pair', (db) => db.remove(HALF, '1-abc'), [400, /bad_request|illegal_docid/, /surrogate/]],
  ['get of nothing', (db) => db.get(), ID_NO_STRING],
  ['get of an empty id', (db) => db.get(''), EMPTY_ID],
  ['get of an id that begins with _', (db) => db.get('_a'), RESERVED],
  ['get of what is not there', (db) => db.get('gone'), [404, 'not_found', 'missing']],
  ['get of half a surrogate pair', (db) => db.get(HALF), [400, /bad_request|illegal_docid/, /surrogate/]],
  ['get of a malformed revision', (db) => db.get('here', { rev: 'x' }), BAD_REV],
  ['get of a malformed open revision', (db) => db.get('here', { open_revs: ['x'] }), BAD_REV],
  ['get of open_revs that is a number', (db) => db.get('here', { open_revs: 1 }), [400, /bad_request|query_parse_error/, /./]],
  ['bulkGet of nothing', (db) => db.bulkGet(), bad("Missing JSON list of 'docs'")],
  ['revsDiff of a list', (db) => db.revsDiff([]), bad('revsDiff takes an object of lists of revisions')],
  ['revsDiff of a revision that is no list', (db) => db.revsDiff({ a: '1-a' }), bad(/./)],
  ['revsDiff of a malformed revision', (db) => db.revsDiff({ a: ['x'] }), BAD_REV],
  ['a selector that is none', (db) => db.changes({ selector: { n: { $near: 1 } } }), [400, 'bad_request', /\$near/]],
  ['a filter that throws', (db) => db.changes({ filter() { throw new Error('not today'); } }), bad(/not today/)],
];

// What a sealed channel answers otherwise.
const SEALED = new Map([
  ['new_edits: false without a revision', [403, 'forbidden', /^The revisions of a sealed channel/]],
]);

const OPTIONS = [
  ...['put', 'post'].map((method) => [`${method}`, (db) => db[method]({ _id: 'a' }, { colour: 'red' }), option('colour')]),
  ['bulkDocs', (db) => db.bulkDocs([{ _id: 'a' }], { colour: 'red' }), option('colour')],
  ['bulkDocs of an object', (db) => db.bulkDocs({ docs: [{ _id: 'a' }], colour: 'red' }), option('colour')],
  ['putJson', (db) => db.putJson('{"_id":"a"}', { colour: 'red' }), option('colour')],
  ['get', (db) => db.get('here', { colour: 'red' }), option('colour')],
  ['getJson', (db) => db.getJson('here', { colour: 'red' }), option('colour')],
  ['bulkGet', (db) => db.bulkGet({ docs: [{ id: 'here' }], colour: 'red' }), option('colour')],
  ['allDocs', (db) => db.allDocs({ colour: 'red' }), option('colour')],
  ['changes', (db) => db.changes({ colour: 'red' }), option('colour')],
  ['getAttachment', (db) => db.getAttachment('here', 'f', { colour: 'red' }), option('colour')],
  ['remove', async (db) => db.remove(await db.get('here'), { colour: 'red' }), option('colour')],
  ['replicate', (db) => db.replicate.to('other', { colour: 'red' }), option('colour')],
  ['sync', (db) => db.sync('other', { colour: 'red' }), option('colour')],
  ['a misspelt one', (db) => db.allDocs({ includeDocs: true }), option('includeDocs')],
  ['a limit that is text', (db) => db.allDocs({ limit: 'ten' }), option('limit')],
  ['a limit below 0', (db) => db.allDocs({ limit: -1 }), option('limit')],
  ['a limit that is no whole number', (db) => db.changes({ limit: 1.5 }), option('limit')],
  ['include_docs that is text', (db) => db.allDocs({ include_docs: 'yes' }), option('include_docs')],
  ['a key that is a number', (db) => db.allDocs({ startkey: 1 }), [400, 'query_parse_error', /key/]],
  ['keys that is text', (db) => db.allDocs({ keys: 'a' }), option('keys')],
  ['an unknown style', (db) => db.changes({ style: 'every' }), option('style')],
  ['a since that is none', (db) => db.changes({ since: 'yesterday' }), [400, 'bad_request', /yesterday/]],
  ['a filter by name', (db) => db.changes({ filter: 'app/by_type' }), option('filter')],
  ['options that are text', (db) => db.put({ _id: 'a' }, 'force'), [400, 'query_parse_error', 'Options must be an object']],
  ['options that are an array', (db) => db.allDocs([]), [400, 'query_parse_error', 'Options must be an object']],
  ['half a surrogate pair in an option', (db) => db.allDocs({ startkey: HALF }), bad(/surrogate/)],
];

const OPENING = (Database, storage) => [
  ['no name', () => Database.open(), bad('A database needs a name')],
  ['an empty name', () => Database.open('', { storage }), bad('A database needs a name')],
  ['a number as name', () => Database.open(1, { storage }), bad('A database needs a name')],
  ['half a surrogate pair as name', () => Database.open(`x${HALF}`, { storage }), bad('A database needs a name')],
  ['a URL', () => Database.open('https://couch.example/db', { storage }), bad(/^Database\.open takes the name of a local database/)],
  ['an unknown storage', () => Database.open('x', { storage: 'cloud' }), option('storage')],
  ['an unknown option', () => Database.open('x', { storage, colour: 'red' }), option('colour')],
  ['a limit that is text', () => Database.open('x', { storage, max_document_size: 'big' }), option('max_document_size')],
  ['revs_limit 0', () => Database.open('x', { storage, revs_limit: 0 }), [400, /bad_request|query_parse_error/, /revs_limit/]],
];

const CALLS = {
  put: (db) => db.put({ _id: 'late' }),
  post: (db) => db.post({}),
  putJson: (db) => db.putJson('{"_id":"late"}'),
  get: (db) => db.get('here'),
  getJson: (db) => db.getJson('here'),
  remove: (db) => db.remove('here', '1-abc'),
  bulkDocs: (db) => db.bulkDocs([{ _id: 'late' }]),
  bulkGet: (db) => db.bulkGet({ docs: [{ id: 'here' }] }),
  allDocs: (db) => db.allDocs(),
  changes: (db) => db.changes(),
  'changes, live': (db) => db.changes({ live: true }),
  'changes, iterated': async (db) => { for await (const change of db.changes({ live: true })) return change; },
  putAttachment: (db) => db.putAttachment('late', 'f', 'YWI=', 'text/plain'),
  getAttachment: (db) => db.getAttachment('here', 'f'),
  removeAttachment: (db) => db.removeAttachment('here', 'f', '1-abc'),
  revsDiff: (db) => db.revsDiff({}),
  info: (db) => db.info(),
  compact: (db) => db.compact(),
  destroy: (db) => db.destroy(),
  'replicate.to': (db) => db.replicate.to('other'),
  'replicate.from': (db) => db.replicate.from('other'),
  sync: (db) => db.sync('other'),
};

// What is wrong with how a call failed; nothing if it failed as it must.
async function judge(settee, call, [status, name, reason]) {
  let error;
  try {
    const answer = await call();
    return `it did not fail; it answered ${String(JSON.stringify(answer)).slice(0, 80)}`;
  } catch (thrown) { error = thrown; }
  return compare(settee, error, [status, name, reason]);
}

function compare({ SetteeError }, error, [status, name, reason]) {
  const is = (got, wanted) => (wanted instanceof RegExp ? typeof got === 'string' && wanted.test(got) : got === wanted);
  const problems = [];
  if (!(error instanceof Error)) problems.push(`it is no Error: ${error}`);
  if (!(error instanceof SetteeError)) problems.push(`it is no SetteeError: ${error?.stack ?? error}`);
  if (error?.status !== status) problems.push(`status is ${error?.status}, not ${status}`);
  if (!is(error?.name, name)) problems.push(`name is ${error?.name}, not ${name}`);
  if (!is(error?.reason, reason)) problems.push(`reason is ${JSON.stringify(error?.reason)?.slice(0, 200)}, not ${reason}`);
  if (error?.message !== error?.reason) problems.push(`message is not the reason but ${error?.message}`);
  if (error?.error !== true) problems.push('error is not true');
  if (typeof error?.stack !== 'string') problems.push('it has no stack');
  return problems.join('; ');
}

const snapshot = async (db) => {
  const { update_seq, doc_count } = await db.info();
  const { rows } = await db.allDocs();
  return JSON.stringify({ update_seq, doc_count, rows });
};

/**
 * Runs the whole table over a storage; `isSealed` if the databases that `settee.Database` opens are sealed channels.
 * @returns {Promise<{group: string, cases: number, problems: string[]}[]>}
 */
export async function runBadInputs(settee, storage, isSealed) {
  const { Database } = settee;
  const name = `bad-input-${storage}`;
  const db = await Database.open(name, { storage });
  await db.put({ _id: 'here', n: 1 });
  let before = await snapshot(db);
  const report = [];
  let group;
  const begin = (title) => report.push(group = { group: title, cases: 0, problems: [] });
  const check = async (what, call, error) => {
    group.cases += 1;
    const problem = await judge(settee, call, error).catch((thrown) => `the test failed: ${thrown}`);
    if (problem) group.problems.push(`${what}: ${problem}`);
    const now = await snapshot(db);
    if (now !== before) {
      group.problems.push(`${what}: something was written; the database was ${before} and is ${now}`);
      for (const { id, value } of (await db.allDocs()).rows) if (id !== 'here') await db.remove(id, value.rev);
      if (!now.includes('"here"')) await db.put({ _id: 'here', n: 1 });
      before = await snapshot(db);
    }
  };

  for (const [title, cases] of Object.entries(DOCUMENTS)) {
    begin(`documents: ${title}`);
    for (const [what, doc, error] of cases) {
      await check(`put of ${what}`, () => db.put(doc), error);
      await check(`post of ${what}`, () => db.post(doc), error);
      await check(`bulkDocs of ${what}`, async () => {
        const [row] = await db.bulkDocs([doc]);
        if (!ROW.includes(error[0])) throw new Error(`a row came: ${JSON.stringify(row)}`);
        if (row?.error) throw row;
        return row;
      }, error);
      if (!ROW.includes(error[0])) await check(`bulkDocs of ${what} between good ones`, () => db.bulkDocs([{ _id: 'x' }, doc, { _id: 'y' }]), error);
    }
  }
  const simple = async (title, list) => {
    begin(title);
    for (const [what, call, error] of list) await check(what, () => call(db), error);
  };
  await simple('JSON text', TEXTS.map(([what, text, error]) => [what, () => db.putJson(text), error]));
  await simple('attachments', ATTACHING);
  await simple('other calls', OTHERS.map((row) => (isSealed && SEALED.has(row[0]) ? [row[0], row[1], SEALED.get(row[0])] : row)));
  await simple('options', OPTIONS);
  await simple('opening', OPENING(Database, storage));

  begin('a limit of one\'s own');
  // Sealed, it is padded and in base64: steps of 1,024 bytes, with what lies beside the document.
  const [limit, fits, over] = isSealed ? [8000, 4100, 4121] : [1000, 1000, 1001];
  const small = await Database.open(`${name}-small`, { storage, max_document_size: limit });
  const text = (length) => 'x'.repeat(length - '{"text":""}'.length);
  for (const [method, call] of Object.entries({
    put: (doc) => small.put(doc), post: (doc) => small.post(doc), putJson: (doc) => small.putJson(JSON.stringify(doc)),
    bulkDocs: async (doc) => { const [row] = await small.bulkDocs([doc]); if (row.error) throw row; return row; },
  })) {
    await check(`${method} of ${over} bytes`, () => call({ _id: 'a', text: text(over) }), TOO_LARGE);
    await call({ _id: method, text: text(fits) }).catch((error) => group.problems.push(`${method} of ${fits} bytes: ${error}`));
  }
  if ((await small.info()).doc_count !== 4) group.problems.push('not just the four documents that fit are there');
  await small.destroy();

  begin('a batch with conflicts in it');
  group.cases += 1;
  const stub = { f: { content_type: 'text/plain', stub: true } };
  const batch = await db.bulkDocs([{ _id: 'one' }, { _id: 'here' }, { _id: 'three', _attachments: stub }, { _id: 'one' }, { _id: 'five' }]);
  const outcome = batch.map((row) => (row.error ? row.name : row.id));
  if (outcome.join() !== 'one,conflict,missing_stub,conflict,five') group.problems.push(`the rows are ${outcome}`);
  const there = (await db.allDocs()).rows.map((row) => row.id);
  if (there.join() !== 'five,here,one') group.problems.push(`these are there: ${there}`);

  begin('a database that is closed');
  const other = await Database.open(name, { storage }); // keeps it, to look whether something was written
  await db.close();
  await db.close();
  before = await snapshot(other);
  for (const [what, call] of Object.entries(CALLS)) {
    group.cases += 1;
    const problem = await judge(settee, () => call(db), CLOSED);
    if (problem) group.problems.push(`${what} after close(): ${problem}`);
  }
  if (await snapshot(other) !== before) group.problems.push('something was written after close()');

  begin('a database that is destroyed');
  const third = await Database.open(name, { storage });
  await other.destroy();
  for (const handle of [other, third]) {
    for (const [what, call] of Object.entries(CALLS)) {
      group.cases += 1;
      const problem = await judge(settee, () => call(handle), [0, 'store_closed', /./]);
      if (problem) group.problems.push(`${what} after destroy(): ${problem}`);
    }
  }
  const fresh = await Database.open(name, { storage });
  if ((await fresh.info()).doc_count !== 0) group.problems.push('a destroyed database has documents');
  await fresh.destroy();
  return report;
}
