//! Seeded chance, and cases that tell how to run them again.
#![allow(dead_code)]

use std::cell::RefCell;

/// Splitmix64: the same numbers from the same seed, everywhere.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

thread_local! {
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes a step of the case that runs; shown if it fails.
pub fn note(step: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| trace.push(step()));
}

struct Running<'a>(&'a str, u64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            TRACE.with_borrow(|trace| {
                let from = trace.len().saturating_sub(40);
                for (at, step) in trace.iter().enumerate().skip(from) {
                    eprintln!("{at:5} {step:.700}");
                }
            });
            eprintln!("again with: SETTEE_SEED={} SETTEE_CASES=1 cargo test {}", self.1, self.0);
        }
    }
}

/// Runs `case` with seeds from 1 on. `SETTEE_SEED` names another first seed, `SETTEE_CASES` how many.
pub fn cases(name: &str, count: u64, mut case: impl FnMut(Rng)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SETTEE_SEED").unwrap_or(1);
    let count = number("SETTEE_CASES").unwrap_or(count);
    for seed in first..first + count {
        TRACE.with_borrow_mut(Vec::clear);
        let running = Running(name, seed);
        // Neighbouring seeds shall not begin alike.
        let mut rng = Rng(seed.wrapping_mul(0xd6e8_feb8_6659_fd93));
        rng.next();
        case(rng);
        drop(running);
    }
    println!("{name}: seeds {first} to {}", first + count - 1);
}
