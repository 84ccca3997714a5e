// What a test file needs around it (servers, a site, browsers, pages), started before its first test, ended after its last.
import { after, before } from 'node:test';

// `parts` are functions by name, called in order; each gets what was started before it. Answers an object that has what they
// gave, from the first test on. Ends them in reverse, by `close()` or `stop()`, also when one of them did not start.
export function stage(parts) {
  const here = {};
  before(async () => {
    for (const [name, start] of Object.entries(parts)) here[name] = await start(here);
  });
  after(async () => {
    for (const name of Object.keys(parts).reverse()) await (here[name]?.close?.() ?? here[name]?.stop?.());
  });
  return here;
}
