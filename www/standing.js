// How a sync stands, from its `status` alone, in words for people.

import { clock, count } from './words.js';

/** A server's own words, to go into a sentence of ours; its full stop is left out. */
export const reasonOf = (error) => String(error?.reason || error?.message || error?.name || 'no reason given').replace(/\.$/, '');

const goesOn = 'Nothing is lost, and it goes on by itself.';

const trouble = ({ status, name }) => (
  [429, 503].includes(status) ? 'the server is busy' : status >= 500 && name !== 'timeout' ? 'the server has trouble' : 'the server does not answer'
);

const waits = (n, what, why, otherwise = '') => {
  if (n) return `${count(n, what)} to send – ${why}`;
  return why.charAt(0).toUpperCase() + why.slice(1) + otherwise;
};

function moving({ push, pull, pending: { up, down } }, what) {
  const sends = push.phase === 'catching-up' && up;
  const receives = pull.phase === 'catching-up' && down;
  if (sends && receives) return `Sending ${sends.toLocaleString()}, receiving ${count(receives, 'photo')}…`;
  if (sends) return `Sending ${count(sends, what)}…`;
  return receives ? `Receiving ${count(receives, 'photo')}…` : 'Looking for changes…';
}

/** Up to date, but for what one side did not take. */
function refusal(denied) {
  const unsent = denied.filter(({ direction }) => direction === 'push');
  const these = unsent.length ? unsent : denied;
  if (!these.length) return { state: 'refused', text: 'Some photos were refused', more: 'Everything else is up to date.' };
  const what = unsent.length ? 'refused' : 'not received';
  return {
    state: 'refused',
    text: `${count(these.length, 'photo was', 'photos were')} ${what}: ${reasonOf(these[0].doc)}`,
    more: unsent.length ? 'What was refused stays on this device. Everything else is up to date.' : 'Everything else is up to date.',
  };
}

/**
 * @param {import('settee').SyncStatus} status
 * @param {{host: string, hasLogin: boolean, denied: {direction: string, doc: Error}[] | null, what: string}} about the
 *   server; whether a name was given before; what was refused, as far as this page heard of it (`null`: nothing
 *   was); what it is that is sent
 * @returns {{state: string, text: string, more: string}} `state` for tests and colours, a short sentence, and
 *   what else there is to say where there is room for it
 */
export function standing(status, { host, hasLogin, denied, what }) {
  const { phase, error, push, pull } = status;
  const up = status.pending.up;
  const ways = [push, pull].filter((way) => way.phase === phase);
  switch (phase) {
    case 'connecting': return { state: 'connecting', text: `Connecting to ${host}…`, more: '' };
    case 'catching-up': return { state: 'busy', text: moving(status, what), more: '' };
    case 'live': return denied ? refusal(denied) : { state: 'idle', text: 'Up to date', more: `Everything here is on ${host} too.` };
    case 'offline': return {
      state: 'offline',
      text: waits(up, what, `offline since ${clock(status.since)}`, ', will retry'),
      more: `${host} cannot be reached. ${goesOn}`,
    };
    case 'waiting': {
      // A pause of seconds is over before it is read; one that the server asked for is worth a time.
      const retryAt = Math.min(...ways.map((way) => way.retryAt ?? Infinity));
      const isLong = retryAt < Infinity && retryAt - Date.now() > 60_000;
      const when = isLong ? `next try at ${clock(retryAt)}` : 'will retry';
      return {
        state: 'waiting',
        text: waits(up, what, `${trouble(error ?? {})}, ${when}`),
        more: `${error ? `It says: ${reasonOf(error)}. ` : ''}${goesOn}`,
      };
    }
    case 'needs-auth': return {
      state: 'sign-in',
      text: waits(up, what, hasLogin ? 'please sign in again' : 'please sign in'),
      more: `${host} asks who you are. Your photos stay on this device meanwhile.`,
    };
    case 'paused': {
      if (!error) return { state: 'paused', text: waits(up, what, 'paused'), more: 'Nothing is sent or received until you go on.' };
      const here = pull.phase === 'paused' && pull.error;
      return here
        ? { state: 'full', text: 'This device is full: free some space', more: 'New photos come once there is room. Those here are safe and still sent.' }
        : { state: 'full', text: waits(up, what, 'the server is full'), more: `${host} has no room left. ${goesOn}` };
    }
    default:
      if (error?.name === 'other_channel') {
        return {
          state: 'failed', text: 'Stopped: another private gallery is kept there',
          more: 'Nothing was sent or taken. Each private gallery needs an address of its own: choose another one.',
        };
      }
      return {
        state: 'failed',
        text: error ? `Stopped: ${reasonOf(error)}` : 'Stopped',
        more: 'Your photos are safe on this device. Connect again to go on.',
      };
  }
}
