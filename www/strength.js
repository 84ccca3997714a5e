// What a passphrase is worth, as an honest guess at how long others would guess. There are no rules: people who are
// made to add a digit add a 1.

const GUESSES = 10_000; // a second, on many fast computers: each guess costs 64 MiB and a sixth of a second of one core

// What everybody tries first, also as a part of something longer.
const COMMON = /password|passwort|passphrase|letmein|welcome|iloveyou|dragon|monkey|football|master|sunshine|princess|secret|hello|photos?|gallery|settee|admin|love|qwert[yz]\w*|asdf\w*|abc\w{0,3}|(?:0?123|1234|12345|654321)\d*/giu;

const DAY = 86_400;
const TIMES = [
  [60, 'in no time'], [3600, 'within an hour'], [DAY, 'within a day'], [30 * DAY, 'within a month'],
  [365 * DAY, 'within a year'], [50 * 365 * DAY, 'within some years'],
];

/** How many bits somebody has to guess who knows how people choose: words count as words, not as letters. */
function bitsOf(text) {
  let rest = text.normalize('NFKC');
  let bits = 0;
  rest = rest.replace(COMMON, () => { bits += 4; return ' '; });
  const parts = new Set(rest.toLowerCase().match(/\p{L}+|\p{N}+|[^\p{L}\p{N}\s]/gu) ?? []); // said twice counts once
  for (const part of parts) {
    const length = [...part].length;
    const distinct = new Set(part).size;
    if (distinct === 1) bits += Math.min(5, length + 2);
    else if (/^\p{L}/u.test(part)) bits += Math.min(4.7 * distinct, 11 + Math.max(0, length - 7) * 1.2);
    else if (/^(19|20)\d\d$/.test(part)) bits += 6;
    else if (/^\p{N}/u.test(part)) bits += Math.min(3.3 * distinct, 3.3 * length);
    else bits += 4;
  }
  if (/\p{Lu}/u.test(rest.slice(1)) && /\p{Ll}/u.test(rest)) bits += 2;
  return bits;
}

/**
 * @param {string} text a passphrase
 * @returns {{level: '' | 'weak' | 'fair' | 'good', words: string}} empty for an empty one
 */
export function adviceOn(text) {
  if (!text) return { level: '', words: '' };
  const seconds = 2 ** (bitsOf(text) - 1) / GUESSES;
  const time = TIMES.find(([limit]) => seconds < limit)?.[1];
  const who = 'Somebody who has this device and many fast computers would guess it';
  if (!time) return { level: 'good', words: 'Good, unless it is a line or a saying that others know.' };
  if (seconds < DAY) return { level: 'weak', words: `Weak. ${who} ${time}. Another word or two would help a lot.` };
  return { level: 'fair', words: `Fair. ${who} ${time}. One more word makes it good.` };
}
