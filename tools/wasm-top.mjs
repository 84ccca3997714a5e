#!/usr/bin/env node
// What the WebAssembly module is made of: code bytes by crate, and the largest
// functions. Reads the module that cargo built (it still has its names):
//
//   node tools/wasm-top.mjs [count]
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { TARGET } from './lib/paths.mjs';
import { fail } from './lib/say.mjs';

const count = Number(process.argv[2] || 30);
let bytes;
try {
  bytes = readFileSync(path.join(TARGET, 'wasm32-unknown-unknown/release/settee.wasm'));
} catch { fail('there is no release build yet; run `make pkg`'); }

let at = 8;
function leb() {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
}
const text = () => { const length = leb(); at += length; return bytes.toString('utf8', at - length, at); };

const sections = {};
const bodies = [];
const names = new Map();
let imported = 0;
while (at < bytes.length) {
  const id = bytes[at++];
  const size = leb();
  const end = at + size;
  const label = id === 0 ? `custom ${(() => { const back = at; const name = text(); const after = at; at = back; return [name, after]; })()[0]}`
    : ['', 'type', 'import', 'function', 'table', 'memory', 'global', 'export', 'start', 'element', 'code', 'data', 'data count'][id] ?? id;
  sections[label] = (sections[label] || 0) + size;
  if (id === 2) {
    for (let n = leb(); n > 0; n--) {
      text(); text();
      const kind = bytes[at++];
      if (kind === 0) { imported++; leb(); } else break;
    }
  } else if (id === 10) {
    for (let n = leb(); n > 0; n--) { const length = leb(); bodies.push(length); at += length; }
  } else if (label === 'custom name') {
    text();
    while (at < end) {
      const kind = bytes[at++];
      const stop = leb() + at;
      if (kind === 1) for (let n = leb(); n > 0; n--) { const index = leb(); names.set(index, text()); }
      at = stop;
    }
  }
  at = end;
}
if (!names.size) fail('the module has no names: it was built with strip = true');

// Both manglings of Rust keep path parts as <length><part>; v0 marks crates with C.
function partsOf(mangled) {
  const parts = [];
  for (let i = 0; i < mangled.length; i++) {
    const m = /^(\d{1,3})_?([A-Za-z_$])/.exec(mangled.slice(i));
    if (!m) continue;
    const length = Number(m[1]);
    const from = i + m[1].length + (mangled[i + m[1].length] === '_' && m[2] !== '_' ? 1 : 0);
    const part = mangled.slice(from, from + length);
    if (part.length !== length) continue;
    parts.push(part.replace(/\$LT\$/g, '<').replace(/\$GT\$/g, '>').replace(/\$u20\$/g, ' ').replace(/\$RF\$/g, '&').replace(/\$C\$/g, ',').replace(/\.\./g, '::'));
    i = from + length - 1;
  }
  return parts;
}
function readable(name) {
  const parts = /^_(ZN|R)/.test(name) ? partsOf(name).filter((part) => !/^h[0-9a-f]{16}$/.test(part)) : name.split('::');
  return parts.length ? parts.join('::') : name;
}
const byCrate = new Map();
const byName = new Map();
bodies.forEach((size, i) => {
  const name = readable(names.get(imported + i) || 'unnamed');
  const crate = /([a-z_][a-z0-9_]*)(\[[0-9a-f]+\])?::/.exec(name)?.[1] ?? 'other';
  const module = crate === 'settee' ? `settee::${/settee(?:\[[0-9a-f]+\])?::([a-z_0-9]+)/.exec(name)?.[1] ?? ''}` : crate;
  byCrate.set(module, (byCrate.get(module) || 0) + size);
  const whole = byName.get(name) || { size: 0, times: 0 };
  byName.set(name, { size: whole.size + size, times: whole.times + 1 });
});
const kb = (n) => `${(n / 1000).toFixed(1)} kB`.padStart(10);
console.log('Sections');
for (const [name, size] of Object.entries(sections).sort((a, b) => b[1] - a[1])) console.log(`${kb(size)}  ${name}`);
console.log('\nCode by crate (settee by module)');
for (const [name, size] of [...byCrate].sort((a, b) => b[1] - a[1]).slice(0, count)) console.log(`${kb(size)}  ${name}`);
console.log('\nLargest functions (copies together)');
for (const [name, { size, times }] of [...byName].sort((a, b) => b[1].size - a[1].size).slice(0, count)) {
  console.log(`${kb(size)}  ${times > 1 ? `${times} × ` : ''}${name.slice(0, 140)}`);
}
