//! How long to wait before the next attempt.

use super::options::{BackOff, MAX_BACK_OFF_MS};
use crate::platform::Platform;

const FIRST_MS: u32 = 1_000;

/// A server that asks for a longer pause than this (`Retry-After`) is asked again all the same: some say a
/// day, and mean that they do not know.
pub const MAX_ASKED_MS: u32 = 600_000;

/// The pauses between attempts: doubled each time up to a minute, and each a little different, so that
/// the devices that a server lost all at once do not come back all at once.
pub struct Pauses {
    back_off: BackOff,
    last_ms: u32,
}

impl Pauses {
    pub fn new(back_off: BackOff) -> Self {
        Self { back_off, last_ms: 0 }
    }

    /// Whether the caller decides.
    pub fn are_custom(&self) -> bool {
        self.back_off.custom().is_some()
    }

    /// The next pause: between half of it and all of it, unless the caller decides.
    pub fn next_ms(&mut self, platform: &dyn Platform) -> u32 {
        if let Some(next_ms) = self.back_off.custom() {
            self.last_ms = next_ms(self.last_ms);
            return self.last_ms;
        }
        self.last_ms = self.last_ms.saturating_mul(2).clamp(FIRST_MS, MAX_BACK_OFF_MS);
        let mut random = [0; 4];
        platform.random_bytes(&mut random);
        let half = self.last_ms / 2;
        half + u32::from_le_bytes(random) % (half + 1)
    }

    /// The pause before `ms` are over that a server asked for, with a little on top, so that not all
    /// whom it asked come back at once.
    pub fn after_ms(platform: &dyn Platform, ms: u32) -> u32 {
        let asked = ms.min(MAX_ASKED_MS);
        let mut random = [0; 4];
        platform.random_bytes(&mut random);
        asked + u32::from_le_bytes(random) % (asked / 4 + 1)
    }

    /// Something went well: the next pause is a short one again.
    pub fn reset(&mut self) {
        self.last_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::LocalBoxFuture;

    struct Fixed(u8);

    impl Platform for Fixed {
        fn now_ms(&self) -> f64 {
            0.0
        }

        fn random_bytes(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }

        fn sleep(&self, _ms: u32) -> LocalBoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_start_again() {
        let mut pauses = Pauses::new(BackOff::default());
        let shortest: Vec<u32> = (0..8).map(|_| pauses.next_ms(&Fixed(0))).collect();
        assert_eq!(shortest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert!((30_000..=60_000).contains(&pauses.next_ms(&Fixed(0xa7))));
        pauses.reset();
        assert_eq!(pauses.next_ms(&Fixed(0)), 500);
    }

    #[test]
    fn what_a_server_asks_for_is_kept_up_to_ten_minutes() {
        assert_eq!(Pauses::after_ms(&Fixed(0), 90_000), 90_000);
        assert!((90_000..=112_500).contains(&Pauses::after_ms(&Fixed(0xa7), 90_000)));
        assert_eq!(Pauses::after_ms(&Fixed(0), u32::MAX), MAX_ASKED_MS);
    }

    #[test]
    fn a_caller_may_decide() {
        let mut pauses = Pauses::new(BackOff::new(|last| last + 7));
        assert_eq!([pauses.next_ms(&Fixed(1)), pauses.next_ms(&Fixed(1))], [7, 14]);
    }
}
