export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Calls probe() until it answers something true, and answers that. A throwing
// probe counts as "not yet"; its last error is named when time runs out.
export async function waitFor(probe, { timeout = 15_000, interval = 50, what = 'the condition' } = {}) {
  const deadline = Date.now() + timeout;
  let lastError = null;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
      lastError = null;
    } catch (error) { lastError = error; }
    if (Date.now() > deadline) {
      throw new Error(`${what} did not come true within ${timeout} ms${lastError ? `: ${lastError.message}` : ''}`);
    }
    await sleep(interval);
  }
}
