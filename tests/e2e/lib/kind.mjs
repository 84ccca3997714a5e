// Which kind of channels the suite of this process runs on: clear ones, or sealed ones where a file `*-sealed.test.mjs` runs it
// once more. Such a file imports lib/sealed.mjs and then the suite, which says in `kind.sealed` where it expects something else.
//
// What is different for a caller of a sealed channel, all of it:
//
//   new_edits: false     refused: 403 forbidden. Tests bring histories along with `bring` of sides.mjs, which makes them by edits
//   revisions            keyed, of 32 digits: not to be foreseen, the same on every device of the channel, others in another one
//   update_seq, seq      the channel's log takes numbers too; its entries are in no list, feed or count of documents
//   docs_read, …written  they count in replications, when they go over for the first time
//   a server, a relay    knows opaque ids and sealed bodies; who reads there is another device (`sealed` in ends.mjs)
//   max_document_size    counts the sealed form, as a server does
//   doc_ids              works both ways, in plain ids; pulling from a server the whole feed is read for it
//   selector             works on what is pushed; to pull by it is refused, and so is a `filter`: a server cannot look inside
//   keys                 without them: `locked`, but for what needs none
import { test } from 'node:test';

export const kind = { sealed: false };

/** A test that looks at nothing that could be sealed: not run once more. */
export const once = (...given) => { if (!kind.sealed) test(...given); };
