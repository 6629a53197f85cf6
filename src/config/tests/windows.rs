//! Calendar windows across changes of the clock and ends of months.

use super::*;
use crate::config::window::Clock;
use crate::units::UnixMs;
use proptest::prelude::*;

fn opening(every: Every, zone: &str, instant: &str) -> (UnixMs, UnixMs) {
    let opening = Window::new(every, zone).unwrap().opening(at(instant));
    (opening.opens, opening.closes)
}

#[test]
fn days_are_as_long_as_the_clock_makes_them() {
    // Berlin, 29 March 2026: 23 hours; 25 October 2026: 25 hours.
    let spring = opening(Every::Day, "Europe/Berlin", "2026-03-29T10:00:00Z");
    assert_eq!(
        spring,
        (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"))
    );
    let autumn = opening(Every::Day, "Europe/Berlin", "2026-10-25T22:59:59Z");
    assert_eq!(
        autumn,
        (at("2026-10-24T22:00:00Z"), at("2026-10-25T23:00:00Z"))
    );
}

#[test]
fn a_day_may_begin_after_midnight() {
    // In Santiago the clocks went from 24:00 to 01:00 on 8 September 2024.
    let day = opening(Every::Day, "America/Santiago", "2024-09-08T12:00:00Z");
    assert_eq!(
        day,
        (at("2024-09-08T04:00:00Z"), at("2024-09-09T03:00:00Z"))
    );
}

#[test]
fn months_and_weeks_end_where_the_calendar_says() {
    let february = opening(Every::Month, "UTC", "2028-02-29T23:59:59.999Z");
    assert_eq!(
        february,
        (at("2028-02-01T00:00:00Z"), at("2028-03-01T00:00:00Z"))
    );
    let new_year = opening(Every::Month, "America/New_York", "2027-01-01T04:59:59Z");
    assert_eq!(
        new_year,
        (at("2026-12-01T05:00:00Z"), at("2027-01-01T05:00:00Z"))
    );
    // 1 January 2027 is a Friday: its week began on Monday, 28 December.
    let week = opening(Every::Week, "UTC", "2027-01-01T12:00:00Z");
    assert_eq!(
        week,
        (at("2026-12-28T00:00:00Z"), at("2027-01-04T00:00:00Z"))
    );
}

#[test]
fn hours_follow_the_clock_face_of_the_zone() {
    let hour = opening(Every::Hour, "Asia/Kolkata", "2026-06-01T10:45:00Z");
    assert_eq!(
        hour,
        (at("2026-06-01T10:30:00Z"), at("2026-06-01T11:30:00Z"))
    );
    let minute = opening(Every::Minute, "UTC", "1969-12-31T23:59:59.500Z");
    assert_eq!(minute, (at("1969-12-31T23:59:00Z"), UnixMs(0)));
}

#[test]
fn windows_only_move_forward() {
    let clock = Clock::new(Window::new(Every::Day, "UTC").unwrap());
    let (monday, tuesday) = (at("2026-06-01T00:00:00Z"), at("2026-06-02T00:00:00Z"));
    assert_eq!(clock.opened(at("2026-06-01T23:59:59Z")), monday);
    assert_eq!(clock.opened(tuesday), tuesday);
    assert_eq!(
        clock.opened(at("2026-06-01T12:00:00Z")),
        tuesday,
        "the clock stepped back"
    );
    assert_eq!(clock.reached(), Some(tuesday));
}

#[test]
fn a_reload_keeps_the_window_reached() {
    let text =
        "[[limit]]\nname = \"o\"\nper = \"owner\"\nusd = \"1\"\nwindow = { every = \"day\" }\n";
    let parse = || Policies::parse(text, Path::new("l.toml")).unwrap();
    let (before, after) = (parse(), parse());
    before.not_before(at("2026-06-02T12:00:00Z"));
    after.follow(&before);
    let reset = after.resets_at(LimitIndex(0), at("2026-06-01T12:00:00Z"));
    assert_eq!(reset, Some(at("2026-06-03T00:00:00Z")));
}

#[test]
fn an_unknown_zone_is_refused() {
    assert!(Window::new(Every::Day, "Mars/Olympus").is_err());
}

proptest! {
    /// Every instant lies in its window, and the window's last millisecond lies in the same one.
    #[test]
    fn a_window_holds_its_instants(
        ms in -2_000_000_000_000_i64..4_000_000_000_000,
        every in prop::sample::select(Every::ALL.to_vec()),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu"]),
    ) {
        let window = Window::new(every, zone).unwrap();
        let opening = window.opening(UnixMs(ms));
        prop_assert!(opening.opens.0 <= ms && ms < opening.closes.0);
        prop_assert!(opening.closes.0 - opening.opens.0 >= 60_000);
        if matches!(every, Every::Day | Every::Week | Every::Month) {
            prop_assert_eq!(window.opening(UnixMs(opening.closes.0 - 1)), opening);
            prop_assert_eq!(window.opening(opening.closes).opens, opening.closes);
        }
    }

    /// No instant whatever upsets the calendar.
    #[test]
    fn any_instant_has_a_window(ms: i64) {
        let window = Window::new(Every::Month, "Europe/Berlin").unwrap();
        prop_assert!(window.opening(UnixMs(ms)).opens.0 <= ms);
    }
}
