//! Answers that a connection of short reads gives again until the database changes.
//!
//! An account's row is some hundred bytes, but four pages of tables and indices have to be looked at to find it, and a
//! page of a list has hundreds of columns. So what many requests ask is kept as it was found.
//!
//! Invariants: an answer is the one that its snapshot would give. Any commit that the connection sees, by whatever
//! process, makes it forget all of them. Tokens are in it sealed only.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::domain::weigh::Weigh;
use crate::store::Error;

type Map<K, T> = HashMap<K, Arc<T>>;

/// The answers of one connection.
#[derive(Default)]
pub(super) struct KnownAnswers {
    version: i64,
    /// A map from keys to answers for each pair of their types.
    maps: HashMap<TypeId, Box<dyn Any + Send>>,
    weight: usize,
    /// Counts the times at which some made room.
    evictions: usize,
}

impl KnownAnswers {
    /// Most bytes of all answers, about.
    const MOST: usize = 1024 * 1024;
    /// Most bytes of one answer.
    const MOST_OF_ONE: usize = Self::MOST / 8;
    /// One in so many answers makes room for others.
    const PART: usize = 8;

    /// Forgets all answers when the connection's snapshot is of another version of the database than the one before.
    pub(super) fn look(&mut self, version: i64) {
        if self.version != version {
            self.forget();
            self.version = version;
        }
    }

    fn forget(&mut self) {
        self.maps.clear();
        self.weight = 0;
    }

    /// The answer that was found before and that `holds`, or else the one that is read now, which is kept.
    pub(super) fn find<K, T>(
        &mut self,
        key: &K,
        holds: impl FnOnce(&T) -> bool,
        read: impl FnOnce() -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error>
    where
        K: Clone + Eq + Hash + Send + 'static,
        T: Weigh + Send + Sync + 'static,
    {
        let of = TypeId::of::<(K, T)>();
        let map = self.maps.get(&of).and_then(|map| map.downcast_ref::<Map<K, T>>());
        if let Some(answer) = map.and_then(|map| map.get(key)).filter(|answer| holds(answer)) {
            return Ok(Some(answer.clone()));
        }
        let Some(answer) = read()?.map(Arc::new) else { return Ok(None) };
        let map = self.maps.entry(of).or_insert_with(|| Box::new(Map::<K, T>::new()));
        let Some(map) = map.downcast_mut::<Map<K, T>>() else { return Ok(Some(answer)) };
        if let Some(former) = map.remove(key) {
            self.weight -= weigh::<K, T>(&former);
        }
        let weight = weigh::<K, T>(&answer);
        if weight > Self::MOST_OF_ONE {
            return Ok(Some(answer));
        }
        if self.weight + weight > Self::MOST {
            // Others each time, in no order: of answers that do not quite fit and are asked for in turn, most stay.
            self.evictions += 1;
            let mut number = self.evictions;
            map.retain(|_, answer| {
                number += 1;
                let stays = !number.is_multiple_of(Self::PART);
                self.weight -= if stays { 0 } else { weigh::<K, T>(answer) };
                stays
            });
        }
        if self.weight + weight <= Self::MOST {
            map.insert(key.clone(), answer.clone());
            self.weight += weight;
        } else {
            // The room is taken by answers of other kinds.
            self.forget();
        }
        Ok(Some(answer))
    }
}

/// Bytes of an entry, about: half of a map's slots are empty.
fn weigh<K, T: Weigh>(answer: &T) -> usize {
    answer.weight() + size_of::<T>() + 2 * size_of::<(K, Arc<T>)>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Text(String);

    impl Weigh for Text {
        fn weight(&self) -> usize {
            self.0.len()
        }
    }

    /// Finds the answer under a key. True when it was read for that.
    fn find(answers: &mut KnownAnswers, key: u32, holds: bool, text: &str) -> (String, bool) {
        let mut was_read = false;
        let read = || {
            was_read = true;
            Ok(Some(Text(text.to_owned())))
        };
        let found = answers.find(&key, |_| holds, read).unwrap().unwrap();
        (found.0.clone(), was_read)
    }

    #[test]
    fn an_answer_is_given_again_until_the_database_changes_or_it_holds_no_more() {
        let mut answers = KnownAnswers::default();
        answers.look(7);
        assert_eq!(find(&mut answers, 1, true, "a"), ("a".to_owned(), true));
        assert_eq!(find(&mut answers, 1, true, "b"), ("a".to_owned(), false));
        assert_eq!(find(&mut answers, 2, true, "c"), ("c".to_owned(), true));
        answers.look(7);
        assert_eq!(find(&mut answers, 1, false, "d"), ("d".to_owned(), true));
        assert_eq!(find(&mut answers, 1, true, "e"), ("d".to_owned(), false));
        answers.look(8);
        assert_eq!(find(&mut answers, 1, true, "f"), ("f".to_owned(), true));
        assert_eq!(find(&mut answers, 2, true, "g"), ("g".to_owned(), true));
    }

    #[test]
    fn what_is_not_there_and_what_fails_is_asked_again() {
        let mut answers = KnownAnswers::default();
        for _ in 0..2 {
            assert!(answers.find::<_, Text>(&1, |_| true, || Ok(None)).unwrap().is_none());
            assert!(answers.find::<_, Text>(&1, |_| true, || Err(Error::NotChanged)).is_err());
        }
        assert_eq!(find(&mut answers, 1, true, "a"), ("a".to_owned(), true));
    }

    #[test]
    fn keys_of_another_type_ask_something_else() {
        let mut answers = KnownAnswers::default();
        assert!(find(&mut answers, 1, true, "a").1);
        let other = answers.find(&1_u64, |_| true, || Ok(Some(Text("b".to_owned())))).unwrap();
        assert_eq!(other.as_deref(), Some(&Text("b".to_owned())));
        assert_eq!(find(&mut answers, 1, true, "c"), ("a".to_owned(), false));
    }

    #[test]
    fn an_answer_that_is_replaced_weighs_nothing_any_more() {
        let mut answers = KnownAnswers::default();
        find(&mut answers, 1, true, "a");
        let weight = answers.weight;
        find(&mut answers, 1, false, "abc");
        assert_eq!(answers.weight, weight + 2);
        assert_eq!(find(&mut answers, 1, false, "b"), ("b".to_owned(), true));
        assert_eq!(answers.weight, weight);
    }

    #[test]
    fn the_memory_for_answers_is_bounded() {
        let mut answers = KnownAnswers::default();
        let large = "x".repeat(KnownAnswers::MOST_OF_ONE);
        for _ in 0..2 {
            assert!(find(&mut answers, 0, true, &large).1, "too large to be kept");
        }
        let text = "x".repeat(KnownAnswers::MOST_OF_ONE / 20);
        let fit = u32::try_from(KnownAnswers::MOST / weigh::<u32, _>(&Text(text.clone()))).unwrap();
        let mut ask = |keys: std::ops::Range<u32>| {
            let read = keys.filter(|key| {
                let read = find(&mut answers, *key, true, &text).1;
                assert!(answers.weight <= KnownAnswers::MOST);
                read
            });
            read.count()
        };
        ask(1..fit);
        assert_eq!(ask(1..fit), 0, "they fit");
        let more = 1..fit + fit / 10;
        for _ in 0..20 {
            ask(more.clone());
        }
        let read = ask(more.clone());
        assert!(read > 0 && read < more.len() / 2, "{read} of {} were read again", more.len());
    }

    #[test]
    fn answers_of_another_kind_give_way() {
        let mut answers = KnownAnswers::default();
        let text = "x".repeat(KnownAnswers::MOST_OF_ONE / 2);
        for key in 1..20 {
            find(&mut answers, key, true, &text);
        }
        let before = answers.weight;
        let mut ask = || answers.find(&1_u64, |_| true, || Ok(Some(Text(text.clone())))).unwrap();
        assert_eq!((ask(), ask()), (Some(Arc::new(Text(text.clone()))), Some(Arc::new(Text(text.clone())))));
        assert!(answers.weight <= KnownAnswers::MOST && answers.weight < before);
        find(&mut answers, 1, true, "a");
        assert!(!find(&mut answers, 1, true, "b").1, "both kinds have room again");
    }
}
