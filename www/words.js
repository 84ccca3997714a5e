// Sentences for people.

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

/** "a.txt, b.txt and 3 more" */
export function names(list, shown = 3) {
  const first = list.slice(0, shown);
  const rest = list.length - first.length;
  if (rest > 0) return `${first.join(', ')} and ${rest.toLocaleString()} more`;
  return first.length > 1 ? `${first.slice(0, -1).join(', ')} and ${first.at(-1)}` : first.join('');
}

export const day = (iso) => {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return '';
  return date.toLocaleString(undefined, { dateStyle: 'long', timeStyle: 'short' });
};

/** "12:40", with the day where that is not today */
export function clock(ms) {
  const at = new Date(ms);
  const isToday = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(undefined, { dateStyle: isToday ? undefined : 'medium', timeStyle: 'short' });
}

const FULL = 'This device has no room left. Free some space, then try again.';
const BLOCKED = 'This browser does not let the page keep anything. It may be a private window, or storage is switched off for this site.';

export const PART = 'A part of the page is missing, often because the connection broke while loading. Your photos are not touched. Load the page again.';

const KNOWN = { // by the error's name
  insufficient_storage: FULL,
  QuotaExceededError: FULL,
  storage_unavailable: BLOCKED,
  SecurityError: BLOCKED,
  init_failed: PART,
  schema_too_new: 'These photos were last kept by a newer version of this page. Load the page again to get that version.',
  corrupt: 'What this browser kept can no longer be read. Photos on a server are not affected.',
  conflict: 'This photo was changed somewhere else at the same moment.',
  not_found: 'This photo is no longer here.',
  locked: 'The gallery is locked.',
  mistyped_code: 'There is a typing mistake in the code. Compare it with what you wrote down, letter by letter.',
  code_length: 'A recovery code has seven groups of four letters and digits. Some are missing here, or too many.',
  empty_passphrase: 'Type a passphrase.',
  vault_exists: 'This browser has keys already, perhaps made in another tab. Load the page again.',
  no_vault: 'The keys of this gallery are no longer in this browser. Load the page again.',
  no_randomness: 'This browser cannot make keys, so there can be no private gallery in it.',
  device_unavailable: 'This browser cannot stay unlocked by itself.',
  malformed_keys: 'The keys in this browser cannot be read. Nothing was overwritten.',
  unknown_version: 'The keys in this browser were kept by a newer version of this page. Load the page again to get it.',
  cost_out_of_bounds: 'The keys in this browser were changed by somebody, so they are not used.',
  foreign_channel: 'This is another gallery than the one that was here before, or one of somebody else.',
  other_channel: 'Another private gallery is kept at this address. Each needs an address of its own.',
  needs_update: 'This gallery was changed by a newer version of this page. Load the page again to get it.',
  rollback: 'The server shows an older state of the gallery than this device has seen. Nothing is taken from it until that is put right.',
  unknown_epoch: 'A key that is needed to go on has not arrived from the server yet.',
};

/** Why a passphrase or a code did not unlock. */
export function unlockWords(error, isCode) {
  const another = 'The code is written well, but it is not the one of this gallery.';
  if (error.name === 'nothing_to_recover') return another;
  if (error.name === 'wrong_secret') {
    return isCode ? `${another} If you are sure that it is, the keys in this browser are damaged: open the gallery in another one.`
      : 'That did not unlock it. Look at capital letters and at the keyboard’s language.';
  }
  return plain(error);
}

/** What went wrong, in a sentence; the error's own words where we have none. */
export function plain(error) {
  const known = KNOWN[error?.name];
  if (known) return known;
  const said = error?.reason || error?.message || String(error ?? 'something unexpected');
  const sentence = said.charAt(0).toUpperCase() + said.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

/** What became of the files somebody added. */
export function importReport({ added, same, skipped, unreadable, failed, stopped }) {
  const parts = [];
  if (failed) parts.push(plain(failed));
  if (added.length) parts.push(`${count(added.length, 'photo')} added.`);
  if (same.length) {
    parts.push(same.length === 1 ? `${same[0]} was already here.` : `${same.length.toLocaleString()} were already here.`);
  }
  if (skipped.length) parts.push(`Not ${skipped.length === 1 ? 'a picture' : 'pictures'}, left out: ${names(skipped)}.`);
  if (unreadable.length) parts.push(`This browser could not read ${names(unreadable)}.`);
  if (stopped) parts.push(`${count(stopped, 'photo was', 'photos were')} not added.`);
  return parts.join(' ') || 'There was nothing in it to add.';
}
