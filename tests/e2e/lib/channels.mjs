// Sealed channels for tests that know nothing of them. Runs in Node and in pages alike.

/**
 * `Database` of the package, whose `open` makes and opens sealed channels, with one vault for a whole profile. The vault has no
 * passphrase, whose key takes a second, and stays unlocked on the device.
 *
 *   open(name, { copyOf, ...options })   with `copyOf` one more copy of that database's channel, with nothing but its log
 */
export function sealing({ Database, Vault }) {
  let vault;
  async function unlocked() {
    for (;;) {
      const { exists, device } = await Vault.status();
      if (device) return Vault.unlock({ device: true });
      if (!exists) {
        const made = await Vault.create().catch((error) => { if (error.name !== 'vault_exists') throw error; });
        if (made && globalThis.indexedDB) await made.vault.stayUnlocked(true);
        if (made) return made.vault;
      }
      await new Promise((resolve) => { setTimeout(resolve, 10); }); // another tab is making it
    }
  }
  const open = async (name, { copyOf, ...options } = {}) => {
    vault ??= unlocked();
    if (!copyOf) return Database.open(name, { vault: await vault, create: true, ...options });
    const copy = await Database.open(name, { sealed: true, ...options });
    await Database.replicate(copyOf, copy, { doc_ids: [] });
    return Database.open(name, { vault: await vault, ...options });
  };
  return new Proxy(Database, { get: (target, property) => (property === 'open' ? open : target[property]) });
}
