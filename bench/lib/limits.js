// What Settee has to reach, as multiples of the bare IndexedDB floor ("raw")
// of the same run. `of` names raw's task where it is another one.
import { median, time } from './stats.js';

export const LIMITS = [
  { task: 'bulk', limit: 0.25 },
  { task: 'revs', limit: 0.3 },
  { task: 'puts', limit: 1.2 },
  { task: 'burst', of: 'puts', limit: 0.15 },
  { task: 'gets', limit: 0.5 },
  { task: 'all', limit: 1.0 },
  { task: 'changes', limit: 0.5 },
  { task: 'coldOpen', limit: 2.0 },
  { task: 'attPut', limit: 1.2 },
  { task: 'attGet', limit: 1.2 },
  { task: 'pull', limit: 1.3 },
  { task: 'push', limit: 1.3 },
  { task: 'attPull', limit: 1.3 },
  { task: 'attPush', limit: 1.0 },
  { task: 'liveMedian', limit: 1.3 },
  { task: 'history', limit: 1.5 },
];
// What a sealed channel may cost over the same work on a clear one of the same run: as a multiple, in
// milliseconds more, or in milliseconds. And how many times faster it has to be than others that encrypt.
const SEALED = [
  { task: 'bulk', limit: 1.5 },
  { task: 'pull', limit: 1.5 },
  { task: 'attPush', limit: 1.3 },
  { task: 'attPull', limit: 1.3 },
  { task: 'large', more: 150 },
  { task: 'unlock', most: 500 },
  // Shown, without a limit.
  { task: 'all' }, { task: 'attPut' }, { task: 'attGet' }, { task: 'passphrase' }, { task: 'unlockList' }, { task: 'unlockAll' },
];
const FASTER = { comdb: 20, 'crypto-pouch': 10 };
const FASTER_AT = ['bulk', 'pull'];

export const LONGEST_BLOCK = 50;
// Renderer memory above idle in the photo tasks: three photos.
const MEMORY = { tasks: ['attPushMemory', 'attPushAgain', 'attPushBuffers', 'attPullMemory', 'attPullAgain', 'attPullBuffers'], photos: 3 };

// Runs are paired: each run's own ratio, then the median of those. A machine
// that slows down between runs then shifts both sides.
function ratio(result, name, { task, of = task }, floor = 'raw') {
  return paired(result, name, task, floor, of, (mine, least) => mine / least);
}

function paired(result, name, task, other, of, how) {
  const valueOf = (contender, metric, run) => result.samples
    .find((s) => s.contender === contender && s.run === run && s.metrics?.[metric]?.value !== undefined)?.metrics[metric].value;
  const list = [];
  for (let run = 1; run <= result.runs; run++) {
    const mine = valueOf(name, task, run);
    const theirs = valueOf(other, of, run);
    if (mine !== undefined && theirs) list.push(how(mine, theirs));
  }
  return list.length ? median(list) : null;
}

const times = (v) => (v === null ? '' : `${v.toFixed(2)}×`);

export function sealedAgainstClear(result, labelOf) {
  const [clear, sealed] = [result.summary.settee, result.summary['settee-sealed']];
  if (!sealed) return null;
  const others = Object.keys(FASTER).filter((name) => result.summary[name]);
  const rows = [];
  for (const { task, limit, more, most } of SEALED) {
    if (!sealed[task]?.values.length) continue;
    const of = (how) => paired(result, 'settee-sealed', task, 'settee', task, how);
    const [ratio, added] = [of((mine, theirs) => mine / theirs), of((mine, theirs) => mine - theirs)];
    const value = sealed[task].median;
    const [is, allowed] = limit ? [ratio, limit] : more ? [added, more] : [value, most];
    const met = allowed === undefined || is === null ? null : is <= allowed;
    rows.push({
      task, clear: clear?.[task]?.values.length ? clear[task].median : null, value, ratio, added, met,
      goal: limit ? `${limit}×` : more ? `${more} ms more` : most ? `${most} ms` : '',
      verdict: met === null ? '' : met ? 'met' : `**over by ${Math.round((is / allowed - 1) * 100)} %**`,
      faster: others.map((name) => {
        const factor = paired(result, name, task, 'settee-sealed', task, (theirs, mine) => theirs / mine);
        return { factor, met: factor === null || !FASTER_AT.includes(task) ? null : factor >= FASTER[name] };
      }),
    });
  }
  if (!rows.length) return null;
  const cell = ({ factor, met }) => times(factor) + (met === null ? '' : met ? ', met' : ', **missed**');
  const markdown = [
    `| task | clear | sealed | sealed, × clear | more | goal | |${others.map((name) => ` ${name} takes (goal ${FASTER[name]}×) |`).join('')}`,
    `|---|---:|---:|---:|---:|---:|---|${others.map(() => '---:|').join('')}`,
    ...rows.map((r) => `| ${labelOf(r.task)} | ${r.clear === null ? '' : time(r.clear)} | ${time(r.value)} | ${times(r.ratio)} | `
      + `${r.added === null ? '' : `${Math.round(r.added)} ms`} | ${r.goal} | ${r.verdict} |${r.faster.map((f) => ` ${cell(f)} |`).join('')}`),
  ].join('\n');
  return { rows, markdown };
}

export function againstLimits(result, labelOf) {
  const { summary } = result;
  if (!summary.settee || !summary.raw) return null;
  const others = Object.keys(result.contenders).filter((n) => n !== 'settee' && n !== 'raw');
  const rows = [];
  for (const entry of LIMITS) {
    const mine = ratio(result, 'settee', entry);
    if (mine === null) continue;
    rows.push({
      ...entry, ratio: mine, met: mine <= entry.limit,
      floor: summary.raw[entry.of || entry.task].median, value: summary.settee[entry.task].median,
      others: others.map((n) => ratio(result, n, entry)),
    });
  }
  if (!rows.length) return null;
  let worst = { ms: 0, task: '' };
  for (const [task, row] of Object.entries(summary.settee)) {
    for (const ms of row.longestTasks || []) if (ms > worst.ms) worst = { ms, task };
  }
  const verdict = (met, over) => (met ? 'met' : `**over by ${over}**`);
  const mb = (name, task) => (summary[name][task]?.values.length ? `${(summary[name][task].max / 1e6).toFixed(1)} MB` : '');
  const most = MEMORY.photos * result.size.attachmentBytes;
  const memory = MEMORY.tasks.filter((task) => summary.settee[task]?.values.length);
  const lines = [
    `| task | raw | settee | settee, × raw | limit | | ${others.map((n) => `${n}, × raw |`).join(' ')}`,
    `|---|---:|---:|---:|---:|---|${others.map(() => '---:|').join('')}`,
    ...rows.map((r) => `| ${labelOf(r.task)}${r.of ? ` (of raw's ${r.of})` : ''} | ${time(r.floor)} | ${time(r.value)} | ${times(r.ratio)} | ${r.limit} | `
      + `${verdict(r.met, `${Math.round((r.ratio / r.limit - 1) * 100)} %`)} | ${r.others.map((v) => `${times(v)} |`).join(' ')}`),
    ...memory.map((task) => `| ${task} | ${mb('raw', task)} | ${mb('settee', task)} | | ${most / 1e6} MB | `
      + `${verdict(summary.settee[task].max <= most, `${((summary.settee[task].max - most) / 1e6).toFixed(1)} MB`)} | ${others.map((n) => `${mb(n, task)} |`).join(' ')}`),
    `| longest main-thread block, any task, any run | | ${worst.ms ? `${Math.round(worst.ms)} ms (${worst.task})` : 'under 50 ms'} | | ${LONGEST_BLOCK} ms | ${verdict(worst.ms < LONGEST_BLOCK, `${Math.round(worst.ms - LONGEST_BLOCK)} ms`)} | ${others.map((n) => `${longest(summary[n])} |`).join(' ')}`,
  ];
  return { rows, longestBlock: worst, markdown: lines.join('\n') };
}

function longest(contender) {
  const all = Object.values(contender).flatMap((row) => row.longestTasks || []);
  const max = Math.max(0, ...all);
  return max ? `${Math.round(max)} ms` : '<50 ms';
}
