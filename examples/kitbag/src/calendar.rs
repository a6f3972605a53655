//! Dates of the Gregorian calendar and spans of time.

/// Tells whether a year has a 29th of February.
pub fn is_leap_year(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// Returns the number of days of a month, counted from 1, or `None` for a month that does not exist.
pub fn days_in_month(year: i32, month: u32) -> Option<u32> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if is_leap_year(year) { 29 } else { 28 }),
        _ => None,
    }
}

/// Tells whether year, month and day name a date.
pub fn is_valid_date(year: i32, month: u32, day: u32) -> bool {
    match days_in_month(year, month) {
        Some(days) => day >= 1 && day <= days,
        None => false,
    }
}

/// Returns the day of the year, counted from 1, or `None` if the date does not exist.
pub fn day_of_year(year: i32, month: u32, day: u32) -> Option<u32> {
    if !is_valid_date(year, month, day) {
        return None;
    }
    let mut total = day;
    for earlier in 1..month {
        total += days_in_month(year, earlier)?;
    }
    Some(total)
}

/// Returns the weekday of a date by Zeller's congruence: 0 is Saturday, 6 is Friday.
pub fn weekday(year: i32, month: u32, day: u32) -> u32 {
    let (shifted_year, shifted_month) = if month < 3 {
        (year - 1, month + 12)
    } else {
        (year, month)
    };
    let century = shifted_year.div_euclid(100);
    let rest = shifted_year.rem_euclid(100);
    let sum = day as i32 + 13 * (shifted_month as i32 + 1) / 5 + rest + rest / 4 + century / 4 + 5 * century;
    sum.rem_euclid(7) as u32
}

/// Writes a span of seconds as hours, minutes and seconds: "1:02:03".
pub fn format_duration(seconds: u64) -> String {
    let hours = seconds / 3600;
    let minutes = seconds % 3600 / 60;
    format!("{}:{:02}:{:02}", hours, minutes, seconds % 60)
}

/// Reads "hours:minutes" as minutes since midnight, or `None` if it is no time of day.
pub fn minutes_since_midnight(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let hours: u32 = hours.parse().ok()?;
    let minutes: u32 = minutes.parse().ok()?;
    if hours < 24 && minutes < 60 {
        Some(hours * 60 + minutes)
    } else {
        None
    }
}

/// Counts the leap years in a range that includes its first year and not its last.
pub fn leap_years_between(first: i32, last: i32) -> usize {
    (first..last).filter(|year| is_leap_year(*year)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_is_leap_year() {
        assert!(is_leap_year(2000));
        assert!(is_leap_year(2024));
        assert!(!is_leap_year(1900));
    }

    #[test]
    fn test_days_in_month() {
        assert_eq!(days_in_month(2023, 2), Some(28));
        assert_eq!(days_in_month(2023, 4), Some(30));
        assert_eq!(days_in_month(2023, 13), None);
    }

    #[test]
    fn test_is_valid_date() {
        assert!(is_valid_date(2024, 2, 29));
        assert!(!is_valid_date(2023, 2, 29));
        assert!(!is_valid_date(2023, 1, 0));
    }

    #[test]
    fn test_day_of_year() {
        assert_eq!(day_of_year(2023, 1, 1), Some(1));
        assert_eq!(day_of_year(2024, 12, 31), Some(366));
        assert_eq!(day_of_year(2024, 4, 31), None);
    }

    #[test]
    fn test_weekday() {
        assert_eq!(weekday(2000, 1, 1), 0);
        assert_eq!(weekday(2024, 3, 1), 6);
    }

    #[test]
    fn test_format_duration() {
        assert_eq!(format_duration(3723), "1:02:03");
        assert_eq!(format_duration(59), "0:00:59");
    }

    #[test]
    fn test_minutes_since_midnight() {
        assert_eq!(minutes_since_midnight("13:05"), Some(785));
        assert_eq!(minutes_since_midnight("24:00"), None);
        assert_eq!(minutes_since_midnight("noon"), None);
    }

    #[test]
    fn test_leap_years_between() {
        assert_eq!(leap_years_between(2000, 2009), 3);
    }
}
