//! Limits the refreshes that one OAuth app has in flight: one until the first success, twice as many with each
//! success, and none during a pause, which the platform asks for or which its answers bring.
//!
//! A wrong secret costs the platform three calls at most, however many accounts there are, and a platform that comes
//! back from an outage does not meet all of them at once. One account never pauses the others: only several different
//! grants that fail in a row blame their app, whatever the platform says, and one success between ends that doubt. Nor
//! does one project pause the others: where all those grants are its own, it waits alone until the app succeeds with
//! another, and only a second project that fares the same blames the app.
//! Knows no clock: a pause that ends more than an hour from now was set by a wrong clock and is ignored.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::failure::Failure;
use super::id::{GrantId, ProjectId};
use super::time::Timestamp;

/// Different grants in a row whose failure may be the app's or their own, until the app is blamed.
const DOUBTFUL_AT_MOST: usize = 3;

/// Pause after the app's credentials were rejected. New credentials end it.
const REJECTED_FOR: Duration = Duration::from_hours(1);

/// Pause after refusals that may be the app's fault or the grants', and after answers that this program cannot read.
/// Shorter than the time by which refreshes are early, so that no token expires for a doubt.
const DOUBTED_FOR: Duration = Duration::from_mins(5);

/// Pause after the platform throttled the app without saying for how long.
const THROTTLED_FOR: Duration = Duration::from_mins(1);

/// Longest pause.
const LONGEST: Duration = Duration::from_hours(1);

/// Apps that are remembered. Beyond this number, only those with calls in flight or a pause.
const REMEMBERED: usize = 10_000;

/// Why and until when an app is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    pub until: Timestamp,
    pub kind: Failure,
}

impl Pause {
    /// A later end than the longest was set while the clock was ahead: it is ignored.
    fn is_running(&self, now: Timestamp) -> bool {
        now < self.until && self.until <= now.plus(LONGEST)
    }
}

/// The answer to a call that wants to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Yes. It counts as in flight from now on.
    Go(Epoch),
    Paused(Pause),
    /// Not before another call has ended.
    Wait,
}

/// How many calls of an app may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// At most this many, including those in flight.
    Free(u32),
    Paused(Pause),
}

/// The app's credential version. Results that belong to an older version are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch(u64);

/// A pause, and who is to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPause {
    /// The project that waits alone; `None`: the app, for all.
    pub project: Option<ProjectId>,
    pub pause: Pause,
}

/// A grant, and the project whose it is.
pub type Owned = (ProjectId, GrantId);

/// The latest grants whose failure may be their app's fault.
#[derive(Debug, Default)]
struct Doubts(VecDeque<Owned>);

impl Doubts {
    /// Adds a grant. True when there are enough of them to blame somebody. A grant that is among them already proves
    /// nothing new.
    fn add(&mut self, grant: Owned) -> bool {
        if self.0.contains(&grant) {
            return false;
        }
        self.0.push_back(grant);
        if self.0.len() > DOUBTFUL_AT_MOST {
            self.0.pop_front();
        }
        self.0.len() == DOUBTFUL_AT_MOST
    }

    /// True when all are grants of this project.
    fn are_all_of(&self, project: ProjectId) -> bool {
        self.0.iter().all(|(of, _)| *of == project)
    }
}

/// The way in for one app's calls.
#[derive(Debug)]
struct Gate {
    epoch: Epoch,
    window: u32,
    in_flight: u32,
    pause: Option<Pause>,
    /// The first projects that wanted to make calls: enough to know whether there are several.
    projects: Vec<ProjectId>,
    /// A project that waits alone, because its grants alone were rejected.
    suspended: Option<(ProjectId, Pause)>,
    /// Grants that were rejected, for the app's credentials or for their own token.
    refused: Doubts,
    /// Grants whose answers could not be read.
    unread: Doubts,
    last_success: Option<Timestamp>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            epoch: Epoch::default(),
            window: 1,
            in_flight: 0,
            pause: None,
            projects: Vec::new(),
            suspended: None,
            refused: Doubts::default(),
            unread: Doubts::default(),
            last_success: None,
        }
    }
}

impl Gate {
    fn running_pause(&self, now: Timestamp) -> Option<Pause> {
        self.pause.filter(|pause| pause.is_running(now))
    }

    /// The project that waits alone, and its pause.
    fn suspension(&self, now: Timestamp) -> Option<(ProjectId, Pause)> {
        self.suspended.filter(|(_, pause)| pause.is_running(now))
    }

    /// Counts a refusal that may be the app's fault, or its project's. `rest`: for how long whoever is blamed waits. What
    /// several grants in a row are refused for is taken to be the credentials, whether or not the platform named them.
    fn refuse(&mut self, grant: Owned, rest: Duration, now: Timestamp) -> Option<NewPause> {
        if !self.refused.add(grant) {
            return None;
        }
        let kind = Failure::CredentialsRejected;
        let (project, _) = grant;
        let is_only_project = self.projects.iter().all(|of| *of == project);
        let is_second = self.suspension(now).is_some_and(|(suspended, _)| suspended != project);
        if is_only_project || is_second || !self.refused.are_all_of(project) {
            return self.rest(kind, rest, now);
        }
        let pause = Pause { until: now.plus(rest), kind };
        self.suspended = Some((project, pause));
        self.refused = Doubts::default();
        Some(NewPause { project: Some(project), pause })
    }

    /// The platform accepted the app's credentials. `is_understood`: it also issued tokens.
    fn succeed(&mut self, is_understood: bool, most: u32, now: Timestamp) {
        self.refused = Doubts::default();
        self.suspended = None;
        if is_understood {
            // Only new tokens prove that nothing is wrong with the app.
            self.last_success = Some(now);
            self.unread = Doubts::default();
        }
        // A throttled app stays paused, whatever earlier calls bring.
        let goes_on = |pause: &Pause| {
            pause.kind == Failure::PlatformThrottled
                || (pause.kind == Failure::PlatformAnswerUnreadable && !is_understood)
        };
        self.pause = self.running_pause(now).filter(goes_on);
        if self.pause.is_none() && self.unread.0.is_empty() {
            self.window = self.window.saturating_mul(2).min(most);
        }
    }

    /// Pauses the app. Returns the pause if it ends later than a running one.
    fn rest(&mut self, kind: Failure, rest: Duration, now: Timestamp) -> Option<NewPause> {
        let pause = Pause { until: now.plus(rest), kind };
        if self.running_pause(now).is_some_and(|running| running.until >= pause.until) {
            return None;
        }
        self.pause = Some(pause);
        Some(NewPause { project: None, pause })
    }
}

/// The gates of all apps. `App` is what identifies one.
#[derive(Debug)]
pub struct Throttles<App> {
    gates: HashMap<App, Gate>,
    /// Calls of one app in flight, at most.
    most: u32,
}

impl<App: Eq + Hash> Throttles<App> {
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { gates: HashMap::new(), most }
    }

    /// How many calls of an app [`Throttles::enter`] lets in. For projects that do not wait alone: of one that does, `enter`
    /// lets in none.
    #[must_use]
    pub fn room(&self, app: &App, now: Timestamp) -> Room {
        let Some(gate) = self.gates.get(app) else { return Room::Free(1) };
        gate.running_pause(now).map_or(Room::Free(gate.window), Room::Paused)
    }

    /// Begins a call for a grant of this project, if one may be made now.
    pub fn enter(&mut self, app: App, project: ProjectId, now: Timestamp) -> Entry {
        if self.gates.len() >= REMEMBERED && !self.gates.contains_key(&app) {
            self.gates.retain(|_, gate| gate.in_flight > 0 || gate.running_pause(now).is_some());
        }
        let gate = self.gates.entry(app).or_default();
        if gate.projects.len() < 2 && !gate.projects.contains(&project) {
            gate.projects.push(project);
        }
        if let Some(pause) = gate.running_pause(now) {
            return Entry::Paused(pause);
        }
        if let Some((_, pause)) = gate.suspension(now).filter(|(suspended, _)| *suspended == project) {
            return Entry::Paused(pause);
        }
        if gate.in_flight >= gate.window {
            return Entry::Wait;
        }
        gate.in_flight += 1;
        Entry::Go(gate.epoch)
    }

    /// Ends a call that [`Throttles::enter`] began.
    pub fn leave(&mut self, app: &App) {
        if let Some(gate) = self.gates.get_mut(app) {
            gate.in_flight = gate.in_flight.saturating_sub(1);
        }
    }

    /// Learns from a call that was made for a grant; who is to wait, if anybody. `trouble`: how it failed, and what
    /// the platform asked for.
    pub fn learn(
        &mut self,
        app: &App,
        epoch: Epoch,
        grant: Owned,
        trouble: Option<(Failure, Option<Duration>)>,
        now: Timestamp,
    ) -> Option<NewPause> {
        let most = self.most;
        let gate = self.gates.get_mut(app).filter(|gate| gate.epoch == epoch)?;
        let Some((kind, retry_after)) = trouble else {
            gate.succeed(true, most, now);
            return None;
        };
        if kind.ends_grant().is_some() {
            // The platform judged the grant, so it accepted the app's credentials.
            gate.succeed(false, most, now);
            return None;
        }
        gate.window = match kind {
            Failure::CredentialsRejected
            | Failure::AppOrGrantRejected
            | Failure::PlatformAnswerUnreadable
            | Failure::PlatformThrottled => 1,
            Failure::PlatformUnavailable => (gate.window / 2).max(1),
            _ => gate.window,
        };
        match kind {
            // Some platforms blame the client for a grant that was made under another one.
            Failure::CredentialsRejected => gate.refuse(grant, REJECTED_FOR, now),
            // Grants that were not asked about are not in doubt: the app's failure says nothing of them.
            Failure::AppOrGrantRejected => gate.refuse(grant, DOUBTED_FOR, now),
            Failure::PlatformAnswerUnreadable if gate.unread.add(grant) => gate.rest(kind, DOUBTED_FOR, now),
            Failure::PlatformThrottled => gate.rest(kind, retry_after.unwrap_or(THROTTLED_FOR).min(LONGEST), now),
            _ => None,
        }
    }

    /// True when the app's credentials may have changed since a call with this epoch began.
    #[must_use]
    pub fn is_outdated(&self, app: &App, epoch: Epoch) -> bool {
        self.gates.get(app).is_some_and(|gate| gate.epoch != epoch)
    }

    /// True when a call of the app succeeded at `since` or later. A success in the future was seen by a wrong clock
    /// and does not count.
    #[must_use]
    pub fn has_succeeded_since(&self, app: &App, since: Timestamp, now: Timestamp) -> bool {
        let success = self.gates.get(app).and_then(|gate| gate.last_success);
        success.is_some_and(|success| since <= success && success <= now)
    }

    /// Starts over with all apps, each with at most `most` calls in flight from now on.
    pub fn restart(&mut self, most: u32) {
        self.most = most;
        self.forget(|_| true);
    }

    /// Starts over with the apps that `which` selects, because their credentials were changed. Calls in flight stay
    /// counted, and their results are ignored.
    pub fn forget(&mut self, which: impl Fn(&App) -> bool) {
        for (_, gate) in self.gates.iter_mut().filter(|(app, _)| which(app)) {
            *gate = Gate { epoch: Epoch(gate.epoch.0 + 1), in_flight: gate.in_flight, ..Gate::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    const APP: &str = "app";

    const REJECTED: Option<Failure> = Some(Failure::CredentialsRejected);
    const DOUBTFUL: Option<Failure> = Some(Failure::AppOrGrantRejected);
    const UNREAD: Option<Failure> = Some(Failure::PlatformAnswerUnreadable);
    const THROTTLED: Option<Failure> = Some(Failure::PlatformThrottled);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn project(number: u128) -> ProjectId {
        ProjectId::from_uuid(Uuid::from_u128(number))
    }

    /// Grants from 100 on are of another project, and so on.
    fn grant(number: u128) -> Owned {
        (project(number / 100), GrantId::from_uuid(Uuid::from_u128(number)))
    }

    fn throttles() -> Throttles<&'static str> {
        Throttles::new(8)
    }

    fn enter(throttles: &mut Throttles<&'static str>, seconds: u64) -> Epoch {
        let Entry::Go(epoch) = throttles.enter(APP, project(0), at(seconds)) else { panic!("no call may be made") };
        epoch
    }

    fn end(
        throttles: &mut Throttles<&'static str>,
        epoch: Epoch,
        number: u128,
        trouble: Option<Failure>,
        seconds: u64,
    ) -> Option<Pause> {
        let paused = throttles.learn(&APP, epoch, grant(number), trouble.map(|kind| (kind, None)), at(seconds));
        throttles.leave(&APP);
        paused.filter(|paused| paused.project.is_none()).map(|paused| paused.pause)
    }

    /// A call of one grant.
    fn call_of(
        throttles: &mut Throttles<&'static str>,
        number: u128,
        trouble: Option<Failure>,
        seconds: u64,
    ) -> Option<Pause> {
        let Entry::Go(epoch) = throttles.enter(APP, grant(number).0, at(seconds)) else {
            panic!("no call may be made")
        };
        end(throttles, epoch, number, trouble, seconds)
    }

    fn call(throttles: &mut Throttles<&'static str>, trouble: Option<Failure>, seconds: u64) -> Option<Pause> {
        call_of(throttles, 0, trouble, seconds)
    }

    /// How many calls may be in flight at once now.
    fn room(throttles: &mut Throttles<&'static str>) -> u32 {
        let mut entered = 0;
        while let Entry::Go(_) = throttles.enter(APP, project(0), at(0)) {
            entered += 1;
            assert!(matches!(throttles.room(&APP, at(0)), Room::Free(room) if room >= entered));
        }
        (0..entered).for_each(|_| throttles.leave(&APP));
        assert_eq!(throttles.room(&APP, at(0)), Room::Free(entered));
        entered
    }

    /// Pauses after so many of different grants.
    fn pause_after(throttles: &mut Throttles<&'static str>, trouble: Option<Failure>, seconds: u64) -> (u128, Pause) {
        (1..9).find_map(|number| call_of(throttles, number, trouble, seconds).map(|pause| (number, pause))).unwrap()
    }

    #[test]
    fn calls_in_flight_stay_counted_over_a_restart() {
        let mut throttles = throttles();
        for _ in 0..4 {
            call(&mut throttles, None, 0);
        }
        let epoch = enter(&mut throttles, 0);
        throttles.restart(2);
        assert_eq!(throttles.enter(APP, project(0), at(0)), Entry::Wait);
        end(&mut throttles, epoch, 0, None, 0);
        assert_eq!(room(&mut throttles), 1, "what an earlier call brought is no news of these credentials");
        for _ in 0..4 {
            call(&mut throttles, None, 0);
        }
        assert_eq!(room(&mut throttles), 2);
    }

    #[test]
    fn an_app_is_tried_with_one_call_and_goes_faster_with_each_success() {
        let mut throttles = throttles();
        assert_eq!(throttles.room(&APP, at(0)), Room::Free(1));
        let mut rooms = vec![room(&mut throttles)];
        for _ in 0..5 {
            assert_eq!(call(&mut throttles, None, 0), None);
            rooms.push(room(&mut throttles));
        }
        assert_eq!(rooms, [1, 2, 4, 8, 8, 8]);
        assert_eq!(call(&mut throttles, Some(Failure::PlatformUnavailable), 0), None);
        assert_eq!(room(&mut throttles), 4);
        assert_eq!(call(&mut throttles, Some(Failure::RefreshRejected), 0), None);
        assert_eq!(room(&mut throttles), 8, "a no to one grant is a yes to the app");
        assert_eq!(throttles.room(&"another", at(0)), Room::Free(1));
    }

    #[test]
    fn an_app_is_blamed_after_three_different_grants() {
        for (trouble, rest) in [(REJECTED, 3600), (DOUBTFUL, 300)] {
            let mut throttles = throttles();
            assert_eq!(call_of(&mut throttles, 1, trouble, 0), None);
            assert_eq!(call_of(&mut throttles, 2, trouble, 0), None);
            assert_eq!(call_of(&mut throttles, 2, None, 5), None);
            // The app is blamed: grants that were never tried must not end for it.
            let pause = Pause { until: at(5 + rest), kind: Failure::CredentialsRejected };
            assert_eq!(pause_after(&mut throttles, trouble, 5), (3, pause));
            assert_eq!(throttles.enter(APP, project(0), at(4 + rest)), Entry::Paused(pause));
            assert_eq!(throttles.room(&APP, at(4 + rest)), Room::Paused(pause));
            assert_eq!(throttles.room(&APP, at(5 + rest)), Room::Free(1));
        }
    }

    #[test]
    fn one_grant_that_is_refused_over_and_over_pauses_nobody() {
        let mut throttles = throttles();
        for round in 0..9 {
            assert_eq!(call_of(&mut throttles, round % 2, DOUBTFUL, 0), None);
            assert_eq!(call_of(&mut throttles, round % 2, REJECTED, 0), None);
            assert_eq!(call_of(&mut throttles, round % 2, UNREAD, 0), None);
        }
        assert!(call_of(&mut throttles, 2, DOUBTFUL, 0).is_some());
        // The rejected grants are tried first again, and do not block the ones after them.
        for number in 0..3 {
            assert_eq!(call_of(&mut throttles, number, DOUBTFUL, 3600), None);
        }
        assert!(call_of(&mut throttles, 3, DOUBTFUL, 3600).is_some(), "but another that is refused as well does");
    }

    #[test]
    fn one_project_does_not_pause_the_others() {
        for (trouble, rest) in [(REJECTED, 3600), (DOUBTFUL, 300)] {
            let mut throttles = throttles();
            // The only one that has made calls so far.
            let (_, pause) = pause_after(&mut throttles, trouble, 0);
            assert_eq!(throttles.enter(APP, project(1), at(0)), Entry::Paused(pause));
            // From then on there are two.
            assert_eq!(call_of(&mut throttles, 11, trouble, rest), None);
            let pause = Pause { until: at(2 * rest), kind: Failure::CredentialsRejected };
            assert_eq!(throttles.enter(APP, project(0), at(2 * rest - 1)), Entry::Paused(pause));
            assert_eq!(throttles.room(&APP, at(rest)), Room::Free(1));
            let epoch = enter(&mut throttles, 2 * rest);
            let blame = (20..23).map(|number| {
                throttles.learn(&APP, epoch, grant(number), trouble.map(|kind| (kind, None)), at(2 * rest))
            });
            assert_eq!(blame.last().unwrap().unwrap().project, Some(project(0)));
            throttles.leave(&APP);
            call_of(&mut throttles, 100, None, 2 * rest);
            assert!(matches!(throttles.enter(APP, project(0), at(2 * rest)), Entry::Go(_)), "the app is good");
        }
    }

    #[test]
    fn a_second_project_that_is_refused_blames_the_app() {
        let mut throttles = throttles();
        call_of(&mut throttles, 100, None, 0);
        for number in [0, 1, 2, 101, 102] {
            assert_eq!(call_of(&mut throttles, number, REJECTED, 1), None);
        }
        assert_eq!(call_of(&mut throttles, 103, REJECTED, 1).unwrap().until, at(3601));

        let mut throttles = self::throttles();
        assert_eq!(call_of(&mut throttles, 0, REJECTED, 0), None);
        assert_eq!(call_of(&mut throttles, 100, REJECTED, 0), None);
        assert!(call_of(&mut throttles, 1, REJECTED, 0).is_some(), "nor is it the fault of any of them");
    }

    #[test]
    fn answers_that_nobody_understands_pause_the_app() {
        let mut throttles = throttles();
        (0..3).for_each(|_| assert_eq!(call(&mut throttles, None, 0), None));
        assert_eq!(call_of(&mut throttles, 1, UNREAD, 0), None);
        assert_eq!(room(&mut throttles), 1);
        assert_eq!(call_of(&mut throttles, 2, UNREAD, 0), None);
        assert_eq!(call_of(&mut throttles, 3, None, 0), None);
        assert_eq!(room(&mut throttles), 2, "and one that is understood is the end of it");
        let pause = Pause { until: at(300), kind: Failure::PlatformAnswerUnreadable };
        assert_eq!(pause_after(&mut throttles, UNREAD, 0), (3, pause));

        let mut throttles = self::throttles();
        assert_eq!(call_of(&mut throttles, 1, UNREAD, 0), None);
        call_of(&mut throttles, 2, Some(Failure::ConsentRevoked), 0);
        assert_eq!(room(&mut throttles), 1, "a no says nothing of what a yes looks like");
        call_of(&mut throttles, 3, UNREAD, 0);
        assert_eq!(call_of(&mut throttles, 4, UNREAD, 0), Some(pause));
    }

    #[test]
    fn the_platform_says_for_how_long_and_new_credentials_end_a_pause() {
        let mut throttles = throttles();
        let epoch = enter(&mut throttles, 0);
        let asked = Some((Failure::PlatformThrottled, Some(Duration::from_mins(5))));
        assert_eq!(throttles.learn(&APP, epoch, grant(1), asked, at(0)).unwrap().pause.until, at(300));
        throttles.forget(|app| *app == APP);
        assert_eq!(throttles.enter(APP, project(0), at(0)), Entry::Wait, "the one in flight still counts");
        throttles.leave(&APP);
        enter(&mut throttles, 0);
    }

    #[test]
    fn what_was_called_before_a_pause_neither_ends_nor_shortens_it() {
        let mut throttles = throttles();
        (0..3).for_each(|_| assert_eq!(call(&mut throttles, None, 0), None));
        let epochs: Vec<_> = (0..8).map(|_| enter(&mut throttles, 0)).collect();
        let asked = Some((Failure::PlatformThrottled, Some(Duration::from_mins(5))));
        let pause = throttles.learn(&APP, epochs[0], grant(0), asked, at(0)).unwrap().pause;
        let mut others = epochs.into_iter().skip(1);
        for trouble in [None, Some(Failure::RefreshRejected), THROTTLED, REJECTED, REJECTED] {
            let grant = u128::try_from(others.len()).unwrap();
            assert_eq!(end(&mut throttles, others.next().unwrap(), grant, trouble, 1), None);
            assert_eq!(throttles.room(&APP, at(1)), Room::Paused(pause), "{trouble:?}");
        }
        let longer = end(&mut throttles, others.next().unwrap(), 9, REJECTED, 1).unwrap();
        assert_eq!(throttles.room(&APP, at(1)), Room::Paused(longer));
        assert_eq!(end(&mut throttles, others.next().unwrap(), 1, None, 1), None);
        assert_eq!(throttles.room(&APP, at(1)), Room::Free(2), "the credentials are good");
    }

    #[test]
    fn what_is_said_of_the_old_credentials_says_nothing_of_the_new() {
        for trouble in [REJECTED, DOUBTFUL, THROTTLED, None] {
            let mut throttles = throttles();
            let old = enter(&mut throttles, 0);
            throttles.forget(|app| *app == APP);
            assert_eq!(end(&mut throttles, old, 1, trouble, 0), None);
            assert_eq!(room(&mut throttles), 1, "{trouble:?}");
            assert!(!throttles.has_succeeded_since(&APP, at(0), at(0)));
            let new = enter(&mut throttles, 0);
            assert_ne!(old, new);
            assert!(end(&mut throttles, new, 1, THROTTLED, 0).is_some());
        }
    }

    #[test]
    fn a_success_counts_from_its_time_on() {
        let mut throttles = throttles();
        call(&mut throttles, None, 5);
        assert!(
            throttles.has_succeeded_since(&APP, at(5), at(5)) && !throttles.has_succeeded_since(&APP, at(6), at(9))
        );
        assert!(!throttles.has_succeeded_since(&APP, at(1), at(4)), "the clock was set back");
    }

    #[test]
    fn a_clock_that_is_set_back_pauses_nobody_for_longer() {
        let mut throttles = throttles();
        assert!(call(&mut throttles, THROTTLED, 86_400).is_some());
        assert_eq!(throttles.room(&APP, at(0)), Room::Free(1));
        assert!(call(&mut throttles, THROTTLED, 0).is_some(), "and hides no pause of now");
    }
}
