//! How long something looks: steps of 1 KiB up to 16 KiB, then Padmé, which adds at most 6 % there.

const STEP: u64 = 1024;
const STEPS_UP_TO: u64 = 16 * STEP;

/// The length that a content of `length` bytes is filled up to with zeros.
///
/// Padmé (Nikitin and others, PETS 2019): of the number's bits, only as many as its exponent has are kept.
pub fn padded_len(length: u64) -> u64 {
    if length <= STEPS_UP_TO {
        return length.max(1).next_multiple_of(STEP);
    }
    let exponent = length.ilog2();
    let mask = (1u64 << (exponent - (exponent.ilog2() + 1))) - 1;
    // Past this no device holds it; it must only not wrap around.
    length.checked_add(mask).map_or(u64::MAX, |sum| sum & !mask)
}
