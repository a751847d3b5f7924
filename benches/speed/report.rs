//! The tables, for people as Markdown and for programs as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::Round;
use super::paths::Goals;

/// One path at one number of accounts: medians of its rounds.
pub(crate) struct Measured {
    name: &'static str,
    goals: Goals,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Share of the hello's rate in the same rounds.
    of_hello: f64,
    /// Operations for each durable commit in the same rounds, for the path that is limited by the disk.
    per_commit: Option<f64>,
    refused: Option<u16>,
}

/// What a broker costs at one number of accounts.
pub(crate) struct Costs {
    pub(crate) first_start: Duration,
    pub(crate) start: Duration,
    pub(crate) idle_memory: u64,
    pub(crate) peak_memory: u64,
    /// Share of a processor.
    pub(crate) idle_cpu: f64,
    pub(crate) database: u64,
}

/// All that was measured of one build.
pub(crate) struct Build {
    pub(crate) binary: String,
    pub(crate) size: u64,
    /// By number of accounts.
    pub(crate) paths: BTreeMap<usize, Vec<Measured>>,
    pub(crate) costs: BTreeMap<usize, Costs>,
}

/// The hello and the disk.
#[derive(Default)]
pub(crate) struct Yardsticks {
    /// Requests per second.
    pub(crate) hello: Vec<f64>,
    pub(crate) hello_p50: Vec<f64>,
    pub(crate) hello_p99: Vec<f64>,
    /// Commits per second.
    pub(crate) commits: Vec<f64>,
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Measured {
    /// `hello` and `commits`: the rates of the same rounds; `commits` is empty for most paths.
    pub(crate) fn new(name: &'static str, goals: Goals, rounds: &[Round], hello: &[f64], commits: &[f64]) -> Self {
        let over = |rates: &[f64]| median(rounds.iter().zip(rates).map(|(round, rate)| round.per_second / rate));
        let duration = |which: fn(&Round) -> Duration| {
            Duration::from_secs_f64(median(rounds.iter().map(|round| which(round).as_secs_f64())))
        };
        Self {
            name,
            goals,
            per_second: median(rounds.iter().map(|round| round.per_second)),
            p50: duration(|round| round.p50),
            p99: duration(|round| round.p99),
            of_hello: over(hello),
            per_commit: (!commits.is_empty()).then(|| over(commits)),
            refused: rounds.iter().find_map(|round| round.refused),
        }
    }

    /// For somebody who waits.
    pub(crate) fn line(&self) -> String {
        let [rate, p50, p99, of_hello] = self.cells();
        format!("{}: {rate} per s, p50 {p50} ms, p99 {p99} ms, {of_hello} of hello", self.name)
    }

    fn cells(&self) -> [String; 4] {
        let rate = if self.per_second < 100.0 {
            format!("{:.1}", self.per_second)
        } else {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of requests")]
            grouped(self.per_second as usize)
        };
        [rate, format!("{:.2}", ms(self.p50)), format!("{:.2}", ms(self.p99)), format!("{:.3}", self.of_hello)]
    }

    fn json(&self) -> Value {
        json!({
            "path": self.name,
            "goalOfHello": self.goals.of_hello,
            "goalKept": self.goals.kept,
            "perSecond": self.per_second,
            "p50Ms": ms(self.p50),
            "p99Ms": ms(self.p99),
            "ofHello": self.of_hello,
            "perDurableCommit": self.per_commit,
            "refusedWith": self.refused,
        })
    }
}

impl Build {
    pub(crate) fn print(&self) {
        println!("\n## {}, {:.1} MB\n", self.binary, mb(self.size));
        let columns = self.paths.keys().flat_map(|accounts| {
            [format!("{} accounts, per s", grouped(*accounts)), "p50 ms".into(), "p99 ms".into(), "of hello".into()]
        });
        head(
            "path",
            columns.chain(["goal, of hello".to_owned(), "kept at the most accounts".to_owned(), "goal".to_owned()]),
        );
        let rows = self.paths.values().next().map_or(0, Vec::len);
        for at in 0..rows {
            let here: Vec<&Measured> = self.paths.values().filter_map(|paths| paths.get(at)).collect();
            let (Some(few), Some(many)) = (here.first(), here.last()) else { continue };
            let share = |share: Option<f64>| share.map_or(String::new(), |share| format!("{share:.2}"));
            let kept = (here.len() > 1).then(|| many.of_hello / few.of_hello);
            let last = [share(few.goals.of_hello), share(kept), share(few.goals.kept)];
            row(few.name, here.into_iter().flat_map(Measured::cells).chain(last));
        }
        println!();
        for (accounts, path) in
            self.paths.iter().flat_map(|(accounts, paths)| paths.iter().map(|path| (*accounts, path)))
        {
            let at = format!("{}, {} accounts", path.name, grouped(accounts));
            if let Some(each) = path.per_commit {
                println!("{at}: {each:.2} for each durable commit (goal: 1)");
            }
            if let Some(status) = path.refused {
                println!("{at}: the rounds ended early, with an answer {status}");
            }
        }
        println!();
        head("cost", self.costs.keys().map(|accounts| format!("{} accounts", grouped(*accounts))));
        self.cost("start to first answer, ms", |costs| format!("{:.0}", ms(costs.start)));
        self.cost("the same after an upgrade from schema 6, ms", |costs| format!("{:.0}", ms(costs.first_start)));
        self.cost("memory idle, MB", |costs| format!("{:.1}", mb(costs.idle_memory)));
        self.cost("memory at most, MB", |costs| format!("{:.1}", mb(costs.peak_memory)));
        self.cost("processor idle, % of one", |costs| format!("{:.2}", costs.idle_cpu * 100.0));
        self.cost("database, MB", |costs| format!("{:.1}", mb(costs.database)));
    }

    fn cost(&self, name: &str, cell: impl Fn(&Costs) -> String) {
        row(name, self.costs.values().map(cell));
    }

    pub(crate) fn json(&self) -> Value {
        let costs = |costs: &Costs| {
            json!({
                "startMs": ms(costs.start),
                "upgradeMs": ms(costs.first_start),
                "idleMemory": costs.idle_memory,
                "peakMemory": costs.peak_memory,
                "idleCpu": costs.idle_cpu,
                "database": costs.database,
            })
        };
        let paths = |paths: &Vec<Measured>| -> Value { paths.iter().map(Measured::json).collect() };
        json!({
            "binary": self.binary,
            "size": self.size,
            "paths": self.paths.iter().map(|(size, these)| (size.to_string(), paths(these))).collect::<Map<_, _>>(),
            "costs": self.costs.iter().map(|(size, these)| (size.to_string(), costs(these))).collect::<Map<_, _>>(),
        })
    }
}

impl Yardsticks {
    pub(crate) fn print(&self) {
        println!(
            "\nhello: {:.0} per s, p50 {:.2} ms, p99 {:.2} ms. Durable commits, one after the other: {:.0} per s.",
            median(self.hello.iter().copied()),
            median(self.hello_p50.iter().copied()),
            median(self.hello_p99.iter().copied()),
            median(self.commits.iter().copied()),
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "helloPerSecond": median(self.hello.iter().copied()),
            "helloP50Ms": median(self.hello_p50.iter().copied()),
            "helloP99Ms": median(self.hello_p99.iter().copied()),
            "commitsPerSecond": median(self.commits.iter().copied()),
        })
    }
}

fn head(name: &str, columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    let rules = vec!["---:"; columns.len()].join("|");
    row(name, columns.into_iter());
    println!("|---|{rules}|");
}

fn row(name: &str, cells: impl Iterator<Item = String>) {
    println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
