//! Dates as text, without a calendar library.

/// `2026-07-14T09:05:00.250Z`, from milliseconds since 1970.
pub fn iso8601(ms: f64) -> String {
    let date = Date::of(ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year, date.month, date.day, date.hour, date.minute, date.second, date.millis
    )
}

/// `Tue, 14 Jul 2026 09:05:00 GMT`, as CouchDB writes it into checkpoints.
pub fn rfc1123(ms: f64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = Date::of(ms);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[date.weekday],
        date.day,
        MONTHS[date.month - 1],
        date.year,
        date.hour,
        date.minute,
        date.second
    )
}

struct Date {
    year: i64,
    month: usize,
    day: i64,
    /// 0 is Thursday, as 1970-01-01 was.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
}

impl Date {
    /// Days to year, month and day in the Gregorian calendar, counting years from March so that the
    /// leap day comes last. Source: H. Hinnant, "chrono-compatible low-level date algorithms".
    fn of(ms: f64) -> Self {
        let ms = if ms.is_finite() { ms.floor() as i64 } else { 0 };
        let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as usize,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            weekday: days.rem_euclid(7) as usize,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1_000 % 60,
            millis: in_day % 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_the_calendar_has_them() {
        assert_eq!(iso8601(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(951_782_400_000.0), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso8601(1_735_689_599_999.0), "2024-12-31T23:59:59.999Z");
        assert_eq!(iso8601(f64::NAN), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc1123(784_111_777_000.0), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc1123(0.0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
