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
export const LONGEST_BLOCK = 50;
// Renderer memory above idle in the photo tasks: three photos.
const MEMORY = { tasks: ['attPushMemory', 'attPushAgain', 'attPushBuffers', 'attPullMemory', 'attPullAgain', 'attPullBuffers'], photos: 3 };

// Runs are paired: each run's own ratio, then the median of those. A machine
// that slows down between runs then shifts both sides.
function ratio(result, name, { task, of = task }) {
  const valueOf = (contender, metric, run) => result.samples
    .find((s) => s.contender === contender && s.run === run && s.metrics?.[metric]?.value !== undefined)?.metrics[metric].value;
  const list = [];
  for (let run = 1; run <= result.runs; run++) {
    const mine = valueOf(name, task, run);
    const floor = valueOf('raw', of, run);
    if (mine !== undefined && floor) list.push(mine / floor);
  }
  return list.length ? median(list) : null;
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
  const times = (v) => (v === null ? '' : `${v.toFixed(2)}×`);
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
