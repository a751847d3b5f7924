//! `cargo bench --bench speed`: each path of the broker beside a bare actix hello, and what the broker costs.
//!
//! The client, the hello and the broker share the machine, so only rates of the same minute compare: for each path, the
//! hello and every build take turns, three times, and the share of the hello's rate is the median of the three. The
//! broker is a process of its own, of this build or of others (`--binary`, several times: before and after in one
//! sitting). All runs on loopback and in a temporary folder: about ten minutes, and three times the space of the
//! largest database, and once more for each further build.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark stops where something is not as it should be, reads the clock, and prints rates"
)]

mod broker;
mod client;
mod data;
mod paths;
mod report;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::Broker;
use clap::Parser;
use client::{Load, Round};
use data::Data;
use report::{Build, Costs, Measured, Yardsticks, median, ms};

/// Rounds of which the medians are taken.
const ROUNDS: usize = 3;

/// Measure the broker beside a bare actix hello
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of accounts
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
    accounts: Vec<usize>,
    /// Length of a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A build of the broker, with schema 6 or later; may be repeated. Without it: this one
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_postpeer"))]
    binary: Vec<PathBuf>,
    /// Only paths whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    path: String,
    /// Where the databases are made for a while, which chooses the disk
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the results here as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let dir = arguments.dir.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let (hello, platform) = (servers::hello(), servers::platform());
    let mut bench = Bench {
        time: Duration::from_secs_f64(arguments.seconds),
        only: arguments.path,
        dir: dir.path().to_owned(),
        hello,
        platform,
        yardsticks: Yardsticks::default(),
        builds: arguments.binary.iter().map(|binary| build(binary)).collect(),
    };
    // Start and memory of an empty broker belong to its costs.
    bench.measure(0);
    for accounts in arguments.accounts {
        bench.measure(accounts);
    }
    bench.yardsticks.print();
    for build in &bench.builds {
        build.print();
    }
    if let Some(file) = arguments.json {
        let builds: Vec<_> = bench.builds.iter().map(Build::json).collect();
        let all = serde_json::json!({"yardsticks": bench.yardsticks.json(), "builds": builds});
        fs::write(file, format!("{all:#}\n")).unwrap();
    }
}

fn build(binary: &Path) -> Build {
    let binary = fs::canonicalize(binary).unwrap();
    let size = fs::metadata(&binary).unwrap().len();
    Build { binary: binary.display().to_string(), size, paths: BTreeMap::new(), costs: BTreeMap::new() }
}

struct Bench {
    /// Length of a round.
    time: Duration,
    only: String,
    dir: PathBuf,
    hello: SocketAddr,
    platform: SocketAddr,
    yardsticks: Yardsticks,
    builds: Vec<Build>,
}

impl Bench {
    /// Measures all builds with this many accounts. With none, only the costs.
    fn measure(&mut self, accounts: usize) {
        eprintln!("{accounts} accounts");
        let data = data::make(&self.dir.join("data"), accounts);
        let brokers: Vec<Broker> = (0..self.builds.len()).map(|number| self.start(number, &data)).collect();
        if accounts > 0 {
            let mut paths = paths::all(&data);
            paths.retain(|path| path.name.contains(&self.only));
            for path in paths {
                self.path(path, accounts, &brokers);
            }
        }
        for (build, broker) in self.builds.iter_mut().zip(brokers) {
            build.costs.get_mut(&accounts).unwrap().peak_memory = broker.peak();
            let dir = broker.dir.clone();
            drop(broker);
            fs::remove_dir_all(dir).unwrap();
        }
    }

    /// Starts a build with its own copy of the data, and measures what it costs before anybody asks it anything.
    fn start(&mut self, number: usize, data: &Data) -> Broker {
        let dir = self.dir.join(number.to_string());
        data.copy_to(&dir);
        let build = self.builds.get_mut(number).unwrap();
        let binary = PathBuf::from(&build.binary);
        // The first start migrates. The copy that it makes before is of no use here.
        let first = Broker::start(&binary, &dir, self.platform);
        let first_start = first.started_in;
        first.settle();
        drop(first);
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if file.to_string_lossy().contains(".before-v") {
                fs::remove_file(file).unwrap();
            }
        }
        let starts = (0..ROUNDS).map(|_| Broker::start(&binary, &dir, self.platform).started_in.as_secs_f64());
        let start = Duration::from_secs_f64(median(starts));
        let broker = Broker::start(&binary, &dir, self.platform);
        broker.settle();
        let idle_cpu = broker.idle_cpu(self.time * 3);
        let costs = Costs {
            first_start,
            start,
            idle_memory: broker.resident(),
            peak_memory: 0,
            idle_cpu,
            database: broker.database(),
        };
        build.costs.insert(data.accounts, costs);
        broker
    }

    /// Measures one path: in each round the hello, the disk where it matters, and every build.
    fn path(&mut self, path: paths::Path, accounts: usize, brokers: &[Broker]) {
        let paths::Path { name, goals, mut load, shows } = path;
        let mut rounds: Vec<Vec<Round>> = brokers.iter().map(|_| Vec::new()).collect();
        let (mut hello, mut commits) = (Vec::new(), Vec::new());
        for broker in brokers {
            let answer = client::first(broker.address, &load);
            assert!(answer.contains(shows), "{name}: no {shows} in {answer}");
            // Not measured: the first read of an account costs more than the others.
            load = client::run_once(broker.address, load);
            (load, _) = client::run(broker.address, load, self.time / 4);
        }
        for _ in 0..ROUNDS {
            let (_, round) = client::run(self.hello, Load::get(["/".to_owned()], "", 200), self.time);
            hello.push(round.per_second);
            self.yardsticks.hello.push(round.per_second);
            self.yardsticks.hello_p50.push(ms(round.p50));
            self.yardsticks.hello_p99.push(ms(round.p99));
            if name == paths::WHOLE_CONNECTION {
                commits.push(data::commits_per_second(&self.dir, self.time));
            }
            for (broker, rounds) in brokers.iter().zip(&mut rounds) {
                let round;
                (load, round) = client::run(broker.address, load, self.time);
                if round.refused.is_some() {
                    data::forget_flows(&broker.dir.join("postpeer.db"));
                }
                rounds.push(round);
            }
        }
        self.yardsticks.commits.extend(&commits);
        for (build, rounds) in self.builds.iter_mut().zip(rounds) {
            let measured = Measured::new(name, goals, &rounds, &hello, &commits);
            eprintln!("  {}", measured.line());
            build.paths.entry(accounts).or_default().push(measured);
        }
    }
}
