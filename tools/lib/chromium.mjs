// Where the browser is, and the switches every headless run uses.
import { existsSync } from 'node:fs';

export const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';

export const CHROMIUM_ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export function needChromium() {
  if (existsSync(CHROMIUM)) return CHROMIUM;
  throw new Error(`Chromium is not at ${CHROMIUM}; run \`make chromium\`, or set CHROMIUM to the browser's path`);
}
