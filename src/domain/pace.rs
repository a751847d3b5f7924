//! How fast the refreshes of one OAuth app go: one at a time until the first success, then twice as many with each, and
//! none for a while when the platform says that it wants none.
//!
//! So a secret that is wrong costs a platform a call or three, whatever the number of accounts, and a platform that comes
//! back from an outage is not met by all of them at once. Knows no clock: pauses that reach further than any could are over.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::time::Timestamp;
use super::trouble::TroubleKind;

/// Refusals in a row that may be the app's or the grant's, until the app is taken to be at fault.
const DOUBTFUL_AT_MOST: u32 = 3;

/// How long an app rests whose credentials were refused: until then nothing but new credentials helps.
const REJECTED_FOR: Duration = Duration::from_hours(1);

/// How long an app rests where the platform asks to slow down and does not say for how long.
const THROTTLED_FOR: Duration = Duration::from_mins(1);

/// No pause is longer.
const LONGEST: Duration = Duration::from_hours(1);

/// Apps that are remembered; more are there only while they have something in flight or are paused.
const REMEMBERED: usize = 10_000;

/// Why and until when an app is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    pub until: Timestamp,
    pub kind: TroubleKind,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Yes, and it counts as in flight from now on.
    Go,
    Paused(Pause),
    /// When another has ended.
    Wait,
}

#[derive(Debug)]
struct Pace {
    window: u32,
    in_flight: u32,
    pause: Option<Pause>,
    doubtful: u32,
    last_success: Option<Timestamp>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: 1, in_flight: 0, pause: None, doubtful: 0, last_success: None }
    }
}

impl Pace {
    fn pause(&self, now: Timestamp) -> Option<Pause> {
        // Of a clock that was set back, and nobody is to wait for that.
        self.pause.filter(|pause| now < pause.until && pause.until <= now.plus(LONGEST))
    }
}

/// The paces of all apps, by whatever names an app.
#[derive(Debug)]
pub struct Paces<App> {
    paces: HashMap<App, Pace>,
    /// Calls of one app at a time, at most.
    most: u32,
}

impl<App: Eq + Hash> Paces<App> {
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { paces: HashMap::new(), most }
    }

    /// What [`Paces::enter`] would say.
    #[must_use]
    pub fn peek(&self, app: &App, now: Timestamp) -> Entry {
        let Some(pace) = self.paces.get(app) else { return Entry::Go };
        match pace.pause(now) {
            Some(pause) => Entry::Paused(pause),
            None if pace.in_flight < pace.window => Entry::Go,
            None => Entry::Wait,
        }
    }

    /// Begins a call, if one may be made now.
    pub fn enter(&mut self, app: App, now: Timestamp) -> Entry {
        let entry = self.peek(&app, now);
        if entry == Entry::Go {
            if self.paces.len() >= REMEMBERED {
                self.paces.retain(|_, pace| pace.in_flight > 0 || pace.pause(now).is_some());
            }
            self.paces.entry(app).or_default().in_flight += 1;
        }
        entry
    }

    /// Ends a call that [`Paces::enter`] began and of which nothing is learned.
    pub fn leave(&mut self, app: &App) {
        if let Some(pace) = self.paces.get_mut(app) {
            pace.in_flight = pace.in_flight.saturating_sub(1);
        }
    }

    /// Learns from a call that was made; the pause, if it brought one. `trouble`: how it failed, and what the platform
    /// asked for.
    pub fn learn(
        &mut self,
        app: &App,
        trouble: Option<(TroubleKind, Option<Duration>)>,
        now: Timestamp,
    ) -> Option<Pause> {
        let most = self.most;
        let pace = self.paces.get_mut(app)?;
        let Some((kind, retry_after)) = trouble.filter(|(kind, _)| kind.ends_grant().is_none()) else {
            // Whatever was said of the grant, it was said to an app whose credentials are good.
            pace.window = pace.window.saturating_mul(2).min(most);
            pace.doubtful = 0;
            pace.pause = None;
            pace.last_success = Some(now);
            return None;
        };
        let rest = match kind {
            TroubleKind::AppRejected => Some(REJECTED_FOR),
            TroubleKind::AppOrGrantRejected => {
                pace.doubtful += 1;
                (pace.doubtful >= DOUBTFUL_AT_MOST).then_some(REJECTED_FOR)
            }
            TroubleKind::Throttled => Some(retry_after.unwrap_or(THROTTLED_FOR).min(LONGEST)),
            TroubleKind::Unavailable => {
                pace.window = (pace.window / 2).max(1);
                return None;
            }
            _ => return None,
        };
        pace.window = 1;
        pace.pause = rest.map(|rest| Pause { until: now.plus(rest), kind });
        pace.pause
    }

    /// Whether a call of the app succeeded at `since` or later.
    #[must_use]
    pub fn has_succeeded_since(&self, app: &App, since: Timestamp) -> bool {
        self.paces.get(app).and_then(|pace| pace.last_success).is_some_and(|success| success >= since)
    }

    /// Begins anew with apps for which this holds: their credentials were changed. What is in flight stays counted.
    pub fn forget(&mut self, which: impl Fn(&App) -> bool) {
        for (_, pace) in self.paces.iter_mut().filter(|(app, _)| which(app)) {
            *pace = Pace { in_flight: pace.in_flight, ..Pace::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "app";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn paces() -> Paces<&'static str> {
        Paces::new(8)
    }

    fn call(paces: &mut Paces<&'static str>, trouble: Option<TroubleKind>, seconds: u64) -> Option<Pause> {
        assert_eq!(paces.enter(APP, at(seconds)), Entry::Go);
        let pause = paces.learn(&APP, trouble.map(|kind| (kind, None)), at(seconds));
        paces.leave(&APP);
        pause
    }

    /// How many calls may be in flight at once now.
    fn room(paces: &mut Paces<&'static str>) -> u32 {
        let mut entered = 0;
        while paces.enter(APP, at(0)) == Entry::Go {
            entered += 1;
        }
        (0..entered).for_each(|_| paces.leave(&APP));
        entered
    }

    #[test]
    fn an_app_is_tried_with_one_call_and_goes_faster_with_each_success() {
        let mut paces = paces();
        let mut rooms = vec![room(&mut paces)];
        for _ in 0..5 {
            assert_eq!(call(&mut paces, None, 0), None);
            rooms.push(room(&mut paces));
        }
        assert_eq!(rooms, [1, 2, 4, 8, 8, 8]);
        assert_eq!(call(&mut paces, Some(TroubleKind::Unavailable), 0), None);
        assert_eq!(room(&mut paces), 4);
        assert_eq!(call(&mut paces, Some(TroubleKind::RefreshRejected), 0), None);
        assert_eq!(room(&mut paces), 8, "a no to one grant is a yes to the app");
        assert_eq!(paces.peek(&"another", at(0)), Entry::Go);
    }

    #[test]
    fn wrong_credentials_pause_the_app_at_once_and_doubtful_ones_after_three() {
        let mut paces = paces();
        let pause = call(&mut paces, Some(TroubleKind::AppRejected), 0).unwrap();
        assert_eq!(pause, Pause { until: at(3600), kind: TroubleKind::AppRejected });
        assert_eq!(paces.enter(APP, at(3599)), Entry::Paused(pause));
        assert_eq!(paces.peek(&APP, at(3600)), Entry::Go);

        let mut paces = self::paces();
        let doubtful = Some(TroubleKind::AppOrGrantRejected);
        assert_eq!(call(&mut paces, doubtful, 0), None);
        assert_eq!(call(&mut paces, doubtful, 0), None);
        assert_eq!(call(&mut paces, None, 5), None);
        assert!(paces.has_succeeded_since(&APP, at(5)) && !paces.has_succeeded_since(&APP, at(6)));
        assert_eq!(call(&mut paces, doubtful, 5), None);
        assert_eq!(call(&mut paces, doubtful, 5), None);
        assert!(call(&mut paces, doubtful, 5).is_some());
    }

    #[test]
    fn the_platform_says_for_how_long_and_new_credentials_end_a_pause() {
        let mut paces = paces();
        assert_eq!(paces.enter(APP, at(0)), Entry::Go);
        let asked = Some((TroubleKind::Throttled, Some(Duration::from_mins(5))));
        assert_eq!(paces.learn(&APP, asked, at(0)).unwrap().until, at(300));
        paces.forget(|app| *app == APP);
        assert_eq!(paces.enter(APP, at(0)), Entry::Wait, "the one in flight still counts");
        paces.leave(&APP);
        assert_eq!(paces.enter(APP, at(0)), Entry::Go);
    }

    #[test]
    fn a_clock_that_is_set_back_pauses_nobody_for_longer() {
        let mut paces = paces();
        call(&mut paces, Some(TroubleKind::AppRejected), 86_400);
        assert_eq!(paces.peek(&APP, at(0)), Entry::Go);
    }
}
