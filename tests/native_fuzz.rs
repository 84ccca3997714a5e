//! Every parser of what comes from outside, on what is almost right: seeded changes of valid inputs. None may
//! panic, go on for ever, or take memory out of proportion, and what it accepts it would write so.
//!
//! `SETTEE_CASES=1000000 cargo test --release --test native_fuzz` is a longer run; `fuzz/` finds its own way.
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code, reason = "a global allocator that counts can be written in no other way")]

#[path = "support/fuzz_targets.rs"]
mod fuzz_targets;
#[path = "support/rng.rs"]
mod rng;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use fuzz_targets::targets;
use rng::Rng;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|live| {
            live.set(live.get() + layout.size() as isize);
            PEAK.try_with(|peak| peak.set(peak.get().max(live.get())))
        });
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One change, as a disk, a server or somebody who means it might make one.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    const WORTH: &[&[u8]] = &[
        b"\0",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\"",
        b"{",
        b"}",
        b"[",
        b",",
        b":",
        b"\\u0000",
        b"-",
        b"0",
        b"1e9",
        b"\n",
    ];
    let at = rng.below(bytes.len() + 1);
    let most = if rng.percent(80) { 8 } else { bytes.len() + 1 };
    let end = (at + 1 + rng.below(most)).min(bytes.len());
    match rng.below(9) {
        0..=2 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        3 if at < bytes.len() => bytes[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'0', b'a']),
        4 => drop(bytes.drain(at.min(end)..end)),
        5 => bytes.truncate(at),
        6 => {
            let again = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, again);
        }
        7 => {
            let other = rng.pick(others);
            let from = rng.below(other.len() + 1);
            let to = (from + rng.below(64)).min(other.len());
            bytes.splice(at.min(end)..end, other[from..to].iter().copied());
        }
        _ => drop(bytes.splice(at..at, rng.pick(WORTH).iter().copied())),
    }
}

#[test]
fn what_is_almost_right_is_harmless() {
    let number =
        |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (cases, seed): (u64, u64) = (number("SETTEE_CASES", 2500), number("SETTEE_SEED", 1));
    for target in targets() {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| (target.run)(seed));
        let largest = seeds.iter().map(Vec::len).max().unwrap_or(0);
        // What takes long, or makes something large itself, runs less often.
        let cases = if largest > 10_000 { cases / 10 } else { cases };
        for case in 0..cases {
            let mut rng = Rng((seed + case).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ target.name.len() as u64);
            let mut bytes = rng.pick(&seeds).clone();
            for _ in 0..1 + rng.below(4) {
                change(&mut rng, &mut bytes, &seeds);
            }
            let live = LIVE.get();
            PEAK.set(live);
            let done = std::panic::catch_unwind(|| (target.run)(&bytes));
            let again = || {
                format!(
                    "{}, SETTEE_SEED={} SETTEE_CASES=1: {:?}",
                    target.name,
                    seed + case,
                    String::from_utf8_lossy(&bytes)
                )
            };
            assert!(done.is_ok(), "{}", again());
            let most = 600_000 + 64 * bytes.len() as isize;
            assert!(PEAK.get() - live < most, "{} bytes: {}", PEAK.get() - live, again());
        }
    }
}
