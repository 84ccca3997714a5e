//! How long sealing takes, for people to read. Nothing here passes or fails by time:
//! `cargo test --release --test native_seal_speed -- --ignored --nocapture`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/seal.rs"]
mod seal;

use std::time::Instant;

use seal::*;
use settee::seal::*;

#[test]
#[ignore = "a measurement"]
fn speed() {
    let chance = Chance::new(1);
    let home = home(&chance);
    for size in [100, 1000, 10_000, 100_000] {
        let body = format!("{{\"text\":\"{}\",\"n\":1,\"tags\":[\"a\",\"b\"]}}", "word ".repeat(size / 5));
        let count = 1000;
        let start = Instant::now();
        let sealed: Vec<Sealed> = (0..count).map(|n| home.seal(&format!("document-{n}"), &body)).collect();
        let seal_us = start.elapsed().as_micros() as f64 / f64::from(count);
        let ids: Vec<String> = (0..count).map(|n| format!("document-{n}")).collect();
        let start = Instant::now();
        let new = |id| NewRevision { id, parent: None, deleted: false, body: &body, files: &[] };
        let prepared = ids.iter().map(|id| prepare_revision(home.channel(), &new(id)).unwrap());
        let prepared: Vec<Prepared> = prepared.collect();
        let prepare_us = start.elapsed().as_micros() as f64 / f64::from(count);
        let sealed_together = seal_revisions(home.channel(), &home.vault.author(), prepared).unwrap();
        let together_us = start.elapsed().as_micros() as f64 / f64::from(count);
        assert!(sealed.iter().zip(&sealed_together).all(|(alone, one)| alone.rev == one.rev));
        let wires: Vec<Wire> = sealed_together.iter().map(|sealed| Wire::new(sealed, &[], false)).collect();
        let timed = |open: &dyn Fn(&Wire)| {
            let start = Instant::now();
            wires.iter().for_each(open);
            start.elapsed().as_micros() as f64 / f64::from(count)
        };
        let open_us = timed(&|wire| assert!(wire.open(home.channel()).is_ok()));
        let read_us = timed(&|wire| assert!(read_revision(home.channel(), &wire.received()).is_ok()));
        let push_us = timed(&|wire| assert!(check_push(Some(home.channel()), &wire.received()).is_ok()));
        println!(
            "{size:>7} B: seal alone {seal_us:.0} µs, together {together_us:.1} ({prepare_us:.1} before signing), \
             open {open_us:.1}, read {read_us:.1}, check_push {push_us:.1}"
        );
    }
    for size in [500_000, 20_000_000] {
        let plain = plain(size);
        let start = Instant::now();
        let plain_file = PlainFile::of(&plain);
        let hashed = start.elapsed();
        let remote = home.channel().remote_id("a");
        let ch = home.channel().ch();
        let sealer = FileSealer::new(ch, &remote, "a", "b", plain_file, 1, &|bytes| chance.fill(bytes));
        let mut out = Vec::with_capacity(size * 9 / 8 + 100_000);
        let entry = sealer.seal_all(&plain, &mut out).unwrap();
        let sealed = start.elapsed();
        let start = Instant::now();
        assert_eq!(FileOpener::open_all(ch, &remote, &entry, &out).map(|back| back.len()), Ok(size));
        println!(
            "{size:>9} B file: hash {hashed:.1?}, with sealing {sealed:.1?}, open {:.1?}",
            start.elapsed()
        );
    }
    let start = Instant::now();
    let lock = PassphraseLock { salt: [1; 16], cost: Cost::FLOOR };
    passphrase_key("secret", &lock).ok().unwrap();
    println!("passphrase at the floor: {:.1?}", start.elapsed());
}
