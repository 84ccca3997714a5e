// A replication that a server does by itself.
export class ServerReplication {
  #raw;

  constructor(raw) {
    this.#raw = raw;
    this.id = raw.id;
  }

  async status() {
    return JSON.parse(await this.#raw.next());
  }

  async cancel() {
    return this.#raw.cancel();
  }

  async* [Symbol.asyncIterator]() {
    for (let seen; (seen = await this.#raw.next(seen)) !== undefined;) yield JSON.parse(seen);
  }
}
