// Medians over runs, and a Markdown table with ratios to the raw floor.
import { againstLimits, sealedAgainstClear } from './limits.js';
import { median, time } from './stats.js';

const ROWS = [
  ['bulk', 'bulk insert, {docs} docs in batches of 1000'],
  ['puts', '{puts} single puts, one after another'],
  ['burst', '{puts} puts started together'],
  ['gets', '{gets} random gets, one after another'],
  ['all', 'allDocs with {docs} docs'],
  ['changes', 'changes since 0, {docs} docs'],
  ['revs', '{revDocs} docs through {revs} revisions'],
  ['cold', 'page load to first document, {docs} docs in store'],
  ['coldOpen', '  of which open + first get'],
  ['pull', 'pull {docs} docs, default batch'],
  ['pullBatch', 'pull {docs} docs, batch 1000'],
  ['push', 'push {docs} docs, default batch'],
  ['pushBatch', 'push {docs} docs, batch 1000'],
  ['attPut', 'write {attachments} photos locally'],
  ['attGet', 'read {attachments} photos locally'],
  ['attPush', 'push {attachments} photos'],
  ['attPushMemory', '  renderer memory above idle'],
  ['attPushAgain', '  the same, once more on the same page'],
  ['attPushBuffers', '  of which array buffers, photos among them'],
  ['attPull', 'pull {attachments} photos'],
  ['attPullMemory', '  renderer memory above idle'],
  ['attPullAgain', '  the same, once more on the same page'],
  ['attPullBuffers', '  of which array buffers, photos among them'],
  ['findScan', 'find 25 of {docs} docs, no index, fresh page'],
  ['findAgain', '  once more'],
  ['findIndex', 'make an index, find one by it'],
  ['findOne', '  {finds} finds of one, one after another'],
  ['findRange', '  {finds} finds of the highest 25 under a number, sorted'],
  ['findLive', '  a live query of 25: from a put until it tells, median of {live}'],
  ['large', 'store a file of {largeMb} MB, median of {large}'],
  ['passphrase', 'unlocking: the passphrase itself'],
  ['unlock', '  the keys of {docs} docs and the first of them'],
  ['unlockList', '  the first allDocs after that (ids)'],
  ['unlockAll', '  and one with documents'],
  ['history', 'first sync of {docs} docs of {history} revisions, {deleted} deleted'],
  ['liveMedian', 'live change, remote write to local event, median of {live}'],
  ['liveP95', '  p95'],
  ['idleRequests', '{channels} live channels, requests in an idle minute'],
  ['channelsWorst', '  a change in one of them, worst of 10'],
  ['pullPeakRss', 'renderer peak memory during pull'],
  ['pullGrowth', '  growth over the idle page'],
  ['pullHeap', 'JS heap after pull and GC'],
];

export function summarize(result) {
  const out = {};
  for (const s of result.samples) {
    const c = (out[s.contender] ||= {});
    if (s.error) { (c[s.task] ||= { values: [] }).error = s.error; continue; }
    for (const [name, m] of Object.entries(s.metrics)) {
      const row = (c[name] ||= { values: [], unit: m.unit });
      if (m.na) { row.na = m.na; continue; }
      row.values.push(m.value);
      row.unit = m.unit;
      for (const key of ['mainThreadBusy', 'longestTask']) if (m[key] !== undefined) (row[key + 's'] ||= []).push(m[key]);
      if (m.requests) Object.assign(row, { requests: m.requests, bytes: m.bytes });
      for (const key of ['remoteHasPlaintext', 'deviceHasPlaintext']) if (m[key] !== undefined) row[key] = m[key];
    }
  }
  for (const c of Object.values(out)) {
    for (const row of Object.values(c)) {
      if (row.values.length) Object.assign(row, { median: median(row.values), min: Math.min(...row.values), max: Math.max(...row.values) });
      if (row.mainThreadBusys) row.mainThreadBusy = median(row.mainThreadBusys);
      if (row.longestTasks) row.longestTask = Math.max(...row.longestTasks); // the worst of all runs
    }
  }
  return out;
}

const times = (v) => `${v.toFixed(v < 1 ? 2 : 1)}×`;
const fill = (text, size) => text.replace(/\{(\w+)\}/g, (_, k) => size[k]);
const labelOf = (result) => (task) => fill(ROWS.find(([key]) => key === task)[1].trim().replace(/^of which /, ''), result.size);
const show = (unit, v) => (unit === 'bytes' ? `${(v / 1e6).toFixed(1)} MB` : unit === 'requests' ? String(v) : time(v));

function table(result, cell, rows) {
  const names = Object.keys(result.contenders);
  const lines = [`| task | ${names.join(' | ')} |`, `|---|${names.map(() => '---:').join('|')}|`];
  for (const [key, text] of rows) {
    if (!names.some((n) => result.summary[n]?.[key] && cell(result.summary[n][key], null, n) !== "")) continue;
    lines.push(`| ${fill(text, result.size)} | ${names.map((n) => cell(result.summary[n]?.[key], result.summary.raw?.[key], n)).join(' | ')} |`);
  }
  return lines;
}

export function markdown(result) {
  const names = Object.keys(result.contenders);
  const lines = [
    `${result.started.slice(0, 16)}Z, ${result.browser}, ${result.remote ? `remote ${result.remote}, ` : ''}${result.machine.cpus} cores, median of ${result.runs} run(s); (×) is the ratio to raw.`, '',
    ...names.map((n) => `- **${n}**: ${result.contenders[n].label}${result.contenders[n].note ? ` (${result.contenders[n].note})` : ''}`), '',
  ];
  lines.push(...table(result, (m, raw, n) => {
    if (!m) return '';
    if (m.na) return 'n/a';
    if (!m.values.length) return 'failed';
    const ratio = raw?.median && n !== 'raw' ? ` (${times(m.median / raw.median)})` : '';
    return show(m.unit, m.median) + ratio + (m.error ? ' !' : '');
  }, ROWS));
  const kb = (v) => `${(v / 1000).toFixed(1)} kB`;
  for (const [key, label] of [['min', 'bundle, minified'], ['gzip', 'bundle, gzip'], ['brotli', 'bundle, brotli']]) {
    lines.push(`| ${label} | ${names.map((n) => (result.contenders[n].size ? kb(result.contenders[n].size[key]) : '')).join(' | ')} |`);
  }
  lines.push('', 'Main thread busy (median) / longest single block (worst run), in ms:', '');
  lines.push(...table(result, (m) => (m?.mainThreadBusy === undefined ? '' : `${Math.round(m.mainThreadBusy)} / ${m.longestTask ? Math.round(m.longestTask) : '<50'}`),
    ROWS.filter(([key]) => !/^(cold|live|passphrase|unlock|idle|channels|pullPeak|pullGrowth|pullHeap)/.test(key))));
  const moved = (bytes) => (bytes ? `; ${show('bytes', bytes.sent)} up, ${show('bytes', bytes.received)} down` : '');
  const requests = table(result, (m) => (m?.requests ? Object.entries(m.requests).map(([k, v]) => `${v} ${k}`).join(', ') + moved(m.bytes) : ''),
    ROWS);
  if (requests.length > 2) lines.push('', 'HTTP requests, and bytes with headers:', '', ...requests);
  if (names.some((n) => result.summary[n]?.bulk || result.summary[n]?.push)) lines.push('', 'Test text found in clear:', '', `| | ${names.join(' | ')} |`, `|---|${names.map(() => '---').join('|')}|`);
  const yes = (v) => (v === undefined ? '' : v ? 'yes' : 'no');
  if (names.some((n) => result.summary[n]?.bulk)) lines.push(`| on the device | ${names.map((n) => yes(result.summary[n]?.bulk?.deviceHasPlaintext)).join(' | ')} |`);
  if (names.some((n) => result.summary[n]?.push)) lines.push(`| on the remote | ${names.map((n) => yes(result.summary[n]?.push?.remoteHasPlaintext)).join(' | ')} |`);
  const limits = againstLimits(result, labelOf(result));
  if (limits) lines.push('', 'Settee against its limits (each ratio is the median of the runs, raw and settee of the same run):', '', limits.markdown);
  const sealed = sealedAgainstClear(result, labelOf(result));
  if (sealed) lines.push('', 'Sealed channels against clear ones and against other ways to encrypt (medians of the runs, both of the same run):', '', sealed.markdown);
  const errors = result.samples.filter((s) => s.error);
  if (errors.length) lines.push('', 'Failures:', '', ...errors.map((s) => `- ${s.contender}, ${s.task}, run ${s.run}: ${s.error}`));
  return lines.join('\n') + '\n';
}
