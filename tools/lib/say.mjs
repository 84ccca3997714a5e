// One voice for every tool: a step says what is being done, a failure says
// what is missing or wrong, in one sentence, and ends the process with 1.
const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

export const bold = (text) => paint('1', text);
export const dim = (text) => paint('2', text);

export function step(text) {
  console.log(`${paint('1;36', '==>')} ${bold(text)}`);
}

export function note(text) {
  console.log(`    ${text}`);
}

export function fail(text) {
  console.error(`${paint('1;31', 'error:')} ${text}`);
  process.exit(1);
}
