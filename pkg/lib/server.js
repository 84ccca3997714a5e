// A replication that a server runs by itself. Loaded when somebody asks for one.
import * as glue from '../generated/settee_glue.js';
import { asText, badOption, options } from './json.js';

export async function replicateOnServer(server, job, { fetch, getToken, ...given } = {}) {
  if (job?.source?.getToken ?? job?.target?.getToken) {
    throw badOption('Option `getToken`: a server cannot ask this page for tokens; give it `auth`, or `headers` with one that lasts');
  }
  const raw = await glue.ServerReplication.start(asText(server, 'Server'), options(job) ?? {}, options(given), fetch, getToken);
  return {
    id: raw.id,
    status: async () => JSON.parse(await raw.next()),
    cancel: () => raw.cancel(),
    async* [Symbol.asyncIterator]() {
      for (let seen; (seen = await raw.next(seen)) !== undefined;) yield JSON.parse(seen);
    },
  };
}
