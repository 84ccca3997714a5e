//! The recovery code: 128 bits that a person writes down, with check letters that find typing mistakes.
//!
//! 28 letters of Crockford's base32 in seven groups: 26 for the bits (two of the last letter's stay zero) and
//! two check letters of a Reed-Solomon code. Every mistake in one or two letters is found, so every wrong
//! letter and every two that changed places; of anything else, all but one in 4096.

use zeroize::{Zeroize as _, Zeroizing};

use super::{Entropy, Key, Locked, Signer, crypt::kdf};

const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 28;
const GROUP: usize = 4;

/// A recovery code. Wiped when dropped, never printed but by [`RecoveryCode::to_text`].
pub struct RecoveryCode([u8; 16]);

impl RecoveryCode {
    /// A new code.
    pub fn random(entropy: Entropy) -> Self {
        let mut code = Self([0; 16]);
        entropy(&mut code.0);
        code
    }

    /// A code of these bits.
    pub fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// As it is shown: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let bits = u128::from_be_bytes(self.0);
        let mut symbols = Zeroizing::new([0u8; LENGTH]);
        let mut shift = 128u32;
        for symbol in symbols.iter_mut().take(LENGTH - 2) {
            // The last one has three bits left, which stand high.
            *symbol = match shift.checked_sub(5) {
                Some(next) => {
                    shift = next;
                    (bits >> next) as u8 & 31
                }
                None => (bits << (5 - shift)) as u8 & 31,
            };
        }
        let (sum, weighted) = syndromes(symbols.iter().take(LENGTH - 2).copied());
        // sum + c26 + c27 = 0 and weighted + c26·a^26 + c27·a^27 = 0, over the field of 32 elements.
        let (w26, w27) = (power(LENGTH - 2), power(LENGTH - 1));
        let second = divided(weighted ^ times(sum, w26), w26 ^ w27);
        for (symbol, check) in symbols.iter_mut().skip(LENGTH - 2).zip([sum ^ second, second]) {
            *symbol = check;
        }
        let mut text = Zeroizing::new(String::with_capacity(LENGTH + LENGTH / GROUP));
        for (at, symbol) in symbols.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                text.push('-');
            }
            text.extend(LETTERS.get(usize::from(*symbol)).map(|letter| char::from(*letter)));
        }
        text
    }

    /// Reads a code as somebody types it: in either case, with or without spaces and dashes, and with the
    /// letters O, I and L for the digits they look like.
    ///
    /// Errors: `code_length`; `mistyped_code` if the check letters do not fit.
    pub fn parse(text: &str) -> Result<Self, Locked> {
        let mut symbols = Zeroizing::new([0u8; LENGTH]);
        let mut count = 0;
        for char in text.chars().filter(|char| !char.is_whitespace() && !"-–—.".contains(*char)) {
            if let Some(symbol) = symbols.get_mut(count) {
                *symbol = symbol_of(char).ok_or(Locked::Mistyped)?;
            }
            count += 1;
        }
        if count != LENGTH {
            return Err(Locked::WrongLength);
        }
        let mut bits =
            symbols.iter().take(LENGTH - 3).fold(0u128, |bits, symbol| bits << 5 | u128::from(*symbol));
        let last = symbols.get(LENGTH - 3).copied().unwrap_or_default();
        if syndromes(symbols.iter().copied()) != (0, 0) || last & 3 != 0 {
            return Err(Locked::Mistyped);
        }
        bits = bits << 3 | u128::from(last >> 2);
        Ok(Self(bits.to_be_bytes()))
    }

    /// The account's root: what it signs, all devices believe.
    pub(super) fn signer(&self) -> Signer {
        Signer::new(&kdf(&self.0, b"", "recovery-sign"))
    }

    /// Seals the account's user keys in the log.
    pub(super) fn user_key_lock(&self) -> Key {
        kdf(&self.0, b"", "recovery-user-key")
    }

    /// Seals the local master key in this device's record.
    pub(super) fn local_lock(&self) -> Key {
        kdf(&self.0, b"", "recovery-local")
    }
}

impl Drop for RecoveryCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn symbol_of(char: char) -> Option<u8> {
    let letter = match char.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = LETTERS.iter().position(|own| char::from(*own) == letter)?;
    u8::try_from(at).ok()
}

/// Sum and weighted sum of the symbols: both zero in a code that is right.
fn syndromes(symbols: impl Iterator<Item = u8>) -> (u8, u8) {
    symbols
        .enumerate()
        .fold((0, 0), |(sum, weighted), (at, symbol)| (sum ^ symbol, weighted ^ times(symbol, power(at))))
}

/// Multiplication in the field of 32 elements, modulo x⁵ + x² + 1.
fn times(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..5 {
        if b >> bit & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 32 != 0 {
            a ^= 0b10_0101;
        }
    }
    product
}

fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |power, _| times(power, 2))
}

/// Division: by a's inverse, which is its 30th power.
fn divided(a: u8, b: u8) -> u8 {
    (0..30).fold(a, |quotient, _| times(quotient, b))
}
