//! `Retry-After`: how long a server asks to be left alone.

/// Milliseconds from `now_ms` (since 1970). Seconds, or a date in the one form that servers send
/// (`Sun, 06 Nov 1994 08:49:37 GMT`); a date in the past is now. `None` for anything else.
pub fn retry_after_ms(value: &str, now_ms: f64) -> Option<u32> {
    let value = value.trim();
    let wait_ms = match value.parse::<u32>() {
        Ok(seconds) => f64::from(seconds) * 1000.0,
        Err(_) => date_ms(value)? - now_ms,
    };
    // `as` saturates, at both ends.
    Some(wait_ms as u32)
}

fn date_ms(text: &str) -> Option<f64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, date) = text.split_once(", ")?;
    let mut words = date.strip_suffix(" GMT")?.split([' ', ':']);
    let day = i64::from(words.next()?.parse::<u32>().ok()?);
    let month = words.next().filter(|word| word.len() == 3).and_then(|word| MONTHS.find(word))?;
    if month % 3 != 0 {
        return None;
    }
    let mut number = || words.next()?.parse::<u32>().ok().map(i64::from);
    let (mut year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    // Days since 1970 in a calendar whose year begins in March, so that the leap day is its last.
    let month = (month / 3) as i64 + 1;
    if month < 3 {
        year -= 1;
    }
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) as f64 * 60_000.0 + second as f64 * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        assert_eq!(retry_after_ms(" 120 ", 5.0), Some(120_000));
        assert_eq!(retry_after_ms("0", 5.0), Some(0));
        assert_eq!(retry_after_ms("4294967295", 5.0), Some(u32::MAX));
        let date = |text: &str| date_ms(text).map(|ms| ms as i64);
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(date("Tue, 29 Feb 2000 23:59:59 GMT"), Some(951_868_799_000));
        assert_eq!(date("Sat, 21 Nov 2026 13:00:00 GMT"), Some(1_795_266_000_000));
        let soon = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after_ms(soon, 784_111_770_000.0), Some(7_000));
        assert_eq!(retry_after_ms(soon, 784_111_780_000.0), Some(0));
    }

    #[test]
    fn what_is_neither_says_nothing() {
        for bad in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994",
            "Sun, x Nov 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 99999999999999999999 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(retry_after_ms(bad, 0.0), None, "{bad}");
        }
    }
}
