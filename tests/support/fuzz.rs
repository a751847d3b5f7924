//! Fuzzing on the stable toolchain: damages known inputs, and feeds a reader with them. A panic in the reader or a
//! failed assertion about what it read is a finding.
//!
//! The known inputs are the files in `tests/corpus/TARGET`. A finding is made smaller and kept there, so that each
//! later run begins with it. `FUZZ_SECONDS` is the time for each target; without it a few hundred inputs are tried.
//! The inputs are the same in each run, so that no change is refused for another's fault: `FUZZ_SEED`, a number, leads
//! to others.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Inputs of a run without a time, and between two looks at the clock.
const ROUND: usize = 300;

/// Longest input, in bytes.
const LONGEST: usize = 64 * 1024;

/// Random numbers that need not be good: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// A known input with a few changes; sometimes mere noise.
fn input(dice: &mut Dice, known: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    if dice.below(20) == 0 {
        return dice.bytes(256);
    }
    let mut input = dice.of(known).clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(input.len() + 1);
        let end = (at + 1 + dice.below(24)).min(input.len());
        match dice.below(8) {
            0 => drop(input.drain(at..end)),
            1 | 2 => drop(input.splice(at..at, dice.of(words).bytes())),
            3 => drop(input.splice(at..end, dice.of(words).bytes())),
            4 => drop(input.splice(at..at, dice.bytes(6))),
            5 => drop(input.splice(at..(at + 1).min(input.len()), dice.bytes(1))),
            6 => {
                let times = 1 << dice.below(9);
                let part = input[at..end].repeat(times);
                input.splice(at..at, part);
            }
            _ => {
                let other = dice.of(known);
                input.truncate(at);
                input.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
        }
        input.truncate(LONGEST);
    }
    input
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target)
}

/// Runs `check` on the known inputs of the target, and on damaged ones until the time is over. `words` are inserted
/// whole. `check` fails by a panic.
#[expect(clippy::disallowed_methods, reason = "the time to spend is real time")]
pub(crate) fn run(target: &str, words: &[&str], check: impl Fn(&[u8])) {
    let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input))).is_err();
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("tests/corpus/{target}: {error}"));
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let known: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, input) in paths.iter().zip(&known) {
        assert!(!fails(input), "{} fails", path.display());
    }
    let seconds = std::env::var("FUZZ_SECONDS").map_or(0, |text| text.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut dice = Dice(std::env::var("FUZZ_SEED").map_or(0, |text| text.parse().unwrap()));
    let mut tried = 0;
    while tried == 0 || Instant::now() < until {
        for _ in 0..ROUND {
            let input = input(&mut dice, &known, words);
            if fails(&input) {
                keep(target, smaller(input, fails));
            }
        }
        tried += ROUND;
    }
    println!("{target}: {tried} inputs");
}

/// Leaves out parts for as long as the input fails.
fn smaller(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut length = input.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < input.len() {
            let end = (at + length).min(input.len());
            let without = [&input[..at], &input[end..]].concat();
            if fails(&without) {
                input = without;
            } else {
                at = end;
            }
        }
        length /= 2;
    }
    input
}

/// Keeps an input that fails, and fails. The panic before this one says why.
fn keep(target: &str, input: Vec<u8>) -> ! {
    let path = folder(target).join(format!("found-{}", &hex::encode(Sha256::digest(&input))[..12]));
    let shown = String::from_utf8_lossy(&input).into_owned();
    fs::write(&path, input).unwrap();
    panic!("{target} fails, see the panic before this one. Commit {} with the fix: {shown:?}", path.display());
}
