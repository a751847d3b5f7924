//! Shares the places for refreshes in flight among platforms and their apps, and among the servers that people chose.
//!
//! A platform may be slow, so it gets more than half of the places only where no other one waits. And anybody can run a
//! server that never answers, under as many names as they like. So all servers of people's choice share half of the
//! places, and those that have not answered well yet share a quarter. Among these, the server that waited longest comes
//! first, however soon the tokens there expire.

use std::collections::{HashMap, HashSet};

use crate::domain::throttle::{Pause, Room};
use crate::store::refreshes::AppKey;

/// The next thing to do with the refreshes that wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The refresh at this index of those that wait.
    Take(usize),
    /// All refreshes of an app are to be postponed.
    Postpone(AppKey, Pause),
    Nothing,
}

/// The facts about apps and servers that a choice depends on.
pub(super) trait Look {
    /// True where each account has a server of its own, and a key is such a server.
    fn is_server(&self, app: &AppKey) -> bool;

    /// How many refreshes an app may have in flight.
    fn room(&self, app: &AppKey) -> Room;
}

/// The refreshes in flight, by app or server.
pub(super) struct Places {
    most: u32,
    in_flight: HashMap<AppKey, u32>,
    /// When a server's latest refresh began, counted in refreshes.
    begun_at: HashMap<AppKey, u64>,
    begun: u64,
}

impl Places {
    /// `most`: refreshes in flight at once.
    pub(super) fn new(most: u32) -> Self {
        Self { most, in_flight: HashMap::new(), begun_at: HashMap::new(), begun: 0 }
    }

    pub(super) fn take(&mut self, app: &AppKey, is_server: bool) {
        *self.in_flight.entry(app.clone()).or_default() += 1;
        self.begun += 1;
        if is_server {
            self.begun_at.insert(app.clone(), self.begun);
        }
    }

    pub(super) fn leave(&mut self, app: &AppKey) {
        if let Some(count) = self.in_flight.get_mut(app) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(app);
            }
        }
    }

    pub(super) fn of(&self, app: &AppKey) -> u32 {
        self.in_flight.get(app).copied().unwrap_or_default()
    }

    /// The first of those that wait which has room, the most urgent one at the head. `apps`: how many different ones
    /// wait.
    pub(super) fn choose<'q>(
        &self,
        waiting: impl Iterator<Item = &'q AppKey>,
        apps: usize,
        look: &impl Look,
    ) -> Choice {
        let at_servers = |which: &dyn Fn(&AppKey) -> bool| -> u32 {
            self.in_flight.iter().filter(|(app, _)| look.is_server(app) && which(app)).map(|(_, count)| count).sum()
        };
        let half = self.most.div_ceil(2);
        let has_room_at_servers = at_servers(&|_| true) < half;
        let has_room_at_new_ones = at_servers(&|app| is_new(look.room(app))) < self.most.div_ceil(4);
        // Skips all refreshes of an app without room, however many wait.
        let mut seen: HashSet<&AppKey> = HashSet::new();
        let (mut beyond_half, mut new): (Option<usize>, Option<(u64, usize)>) = (None, None);
        for (at, app) in waiting.enumerate() {
            if seen.len() == apps {
                break;
            }
            if seen.contains(app) {
                continue;
            }
            let is_server = look.is_server(app);
            let room = match look.room(app) {
                Room::Free(room) => room,
                // Each refresh at a server postpones itself, without a call.
                Room::Paused(_) if is_server => u32::MAX,
                Room::Paused(pause) => return Choice::Postpone(app.clone(), pause),
            };
            let is_new = is_server && is_new(Room::Free(room));
            let has_room =
                self.of(app) < room && (!is_server || has_room_at_servers) && (!is_new || has_room_at_new_ones);
            if has_room && !is_new && self.at_platform(&app.platform) >= half {
                beyond_half = beyond_half.or(Some(at));
            } else if has_room && !is_new && new.is_none() {
                return Choice::Take(at);
            }
            if has_room && is_new {
                let begun_at = self.begun_at.get(app).copied().unwrap_or_default();
                if new.is_none_or(|(earliest, _)| begun_at < earliest) {
                    new = Some((begun_at, at));
                }
            }
            seen.insert(app);
        }
        new.map(|(_, at)| at).or(beyond_half).map_or(Choice::Nothing, Choice::Take)
    }

    fn at_platform(&self, platform: &str) -> u32 {
        self.in_flight.iter().filter(|(app, _)| app.platform == platform).map(|(_, count)| count).sum()
    }
}

/// True for a server that has not answered well since it was last in trouble.
const fn is_new(room: Room) -> bool {
    matches!(room, Room::Free(0 | 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::time::Timestamp;

    /// Apps and servers by name: a server's begins with `@`.
    struct Scene(HashMap<&'static str, Room>);

    impl Look for Scene {
        fn is_server(&self, app: &AppKey) -> bool {
            app.client_id.starts_with('@')
        }

        fn room(&self, app: &AppKey) -> Room {
            self.0.get(&*app.client_id).copied().unwrap_or(Room::Free(1))
        }
    }

    /// The platform is what its name begins with, before a dot.
    fn app(name: &str) -> AppKey {
        let platform = name.split('.').next().unwrap_or_default().to_owned();
        AppKey { platform, client_id: name.to_owned(), app: None }
    }

    /// Begins what may be begun. Returns it, in order.
    fn begin<'n>(places: &mut Places, waiting: &mut Vec<&'n str>, scene: &Scene) -> Vec<&'n str> {
        let mut begun = Vec::new();
        let most = usize::try_from(places.most).unwrap();
        while usize::try_from(places.in_flight.values().sum::<u32>()).unwrap() < most {
            let keys: Vec<_> = waiting.iter().map(|name| app(name)).collect();
            let Choice::Take(at) = places.choose(keys.iter(), keys.iter().collect::<HashSet<_>>().len(), scene) else {
                break;
            };
            let name = waiting.remove(at);
            places.take(&app(name), name.starts_with('@'));
            begun.push(name);
        }
        begun
    }

    fn names(of: &str, count: usize) -> Vec<&str> {
        std::iter::repeat_n(of, count).collect()
    }

    #[test]
    fn a_server_that_never_answered_has_one_place_however_many_accounts_it_has() {
        let mut waiting = names("@hangs", 300);
        waiting.extend(["@honest", "app", "app"]);
        let mut places = Places::new(32);
        assert_eq!(begin(&mut places, &mut waiting, &Scene(HashMap::new())), ["@hangs", "@honest", "app"]);
        places.leave(&app("app"));
        assert_eq!(begin(&mut places, &mut waiting, &Scene(HashMap::new())), ["app"]);
    }

    #[test]
    fn new_servers_share_a_quarter_of_the_places_and_all_servers_half() {
        let hosts: Vec<String> = (0..40).map(|number| format!("@new{number}")).collect();
        let mut waiting: Vec<&str> = hosts.iter().map(String::as_str).collect();
        waiting.extend(names("@known", 40));
        waiting.extend(names("app", 40));
        let scene = Scene(HashMap::from([("@known", Room::Free(32)), ("app", Room::Free(32))]));
        let begun = begin(&mut Places::new(32), &mut waiting, &scene);
        let count = |start: &str| begun.iter().filter(|name| name.starts_with(start)).count();
        assert_eq!((count("@new"), count("@known"), count("app")), (8, 8, 16));
        // Even with a single place, each kind has its turn.
        for all in [names("@new", 2), names("@known", 2), names("app", 2)] {
            assert_eq!(begin(&mut Places::new(1), &mut all.clone(), &scene).len(), 1);
        }
    }

    #[test]
    fn a_slow_platform_leaves_half_of_the_places_to_whoever_else_waits() {
        let names_of_apps = ["slow.1", "slow.2", "quick"];
        let scene = Scene(names_of_apps.map(|name| (name, Room::Free(8))).into());
        let mut places = Places::new(8);
        let mut waiting = [names("slow.1", 20), names("slow.2", 20)].concat();
        assert_eq!(begin(&mut places, &mut waiting, &scene), names("slow.1", 8), "nobody else waits");
        waiting.extend(names("quick", 20));
        for expected in ["quick", "quick", "quick", "quick", "slow.1", "slow.1"] {
            places.leave(&app("slow.1"));
            assert_eq!(begin(&mut places, &mut waiting, &scene), [expected]);
        }
    }

    #[test]
    fn among_new_servers_whoever_waited_longest_comes_first() {
        let mut places = Places::new(4);
        let scene = Scene(HashMap::new());
        let mut order = Vec::new();
        for _ in 0..6 {
            let mut waiting = vec!["@a", "@a", "@b", "@c", "@c"];
            let begun = begin(&mut places, &mut waiting, &scene);
            assert_eq!(begun.len(), 1);
            places.leave(&app(begun[0]));
            order.extend(begun);
        }
        assert_eq!(order, ["@a", "@b", "@c", "@a", "@b", "@c"]);
    }

    #[test]
    fn a_paused_app_is_postponed_and_what_waits_at_a_paused_server_postpones_itself() {
        let pause = Pause {
            until: Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_mins(1)),
            kind: Failure::PlatformThrottled,
        };
        let scene = Scene(HashMap::from([("app", Room::Paused(pause)), ("@server", Room::Paused(pause))]));
        let places = Places::new(4);
        assert_eq!(places.choose([app("app")].iter(), 1, &scene), Choice::Postpone(app("app"), pause));
        assert_eq!(places.choose([app("@server"), app("app")].iter(), 2, &scene), Choice::Take(0));
        assert_eq!(places.choose([].iter(), 0, &scene), Choice::Nothing);
    }
}
