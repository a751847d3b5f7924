//! A log that nobody reads, or that cannot be written, stops neither requests nor the broker.

use std::fs::File;
use std::time::Duration;

use super::own_address::own_address;
use super::*;

/// Their lines fill a pipe and the queue behind it.
const REQUESTS: usize = 5_000;
/// Requests that are sent before their answers are read.
const AT_ONCE: usize = 50;

/// Runs `serve` with this standard error. Returns it with its own address and that of the metrics, once it answers.
fn serve(instance: &Instance, stderr: Stdio) -> (Child, String, String) {
    // The log does not tell.
    let [address, metrics] = [(); 2].map(|()| own_address().to_string());
    let mut command = instance.command(&["serve"]);
    // Each refused request costs something of a budget.
    command.env("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "0");
    command.env("POSTPEER_SERVER__LISTEN", &address).env("POSTPEER_SERVER__METRICS_LISTEN", &metrics);
    let mut child = command.stderr(stderr).spawn().unwrap();
    while TcpStream::connect(&address).is_err() || TcpStream::connect(&metrics).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "it stopped");
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, address, metrics)
}

/// Sends refused requests on one connection, and reads all answers.
fn ask_many(address: &str) {
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    let requests = format!("GET /v1/apps HTTP/1.1\r\nhost: {address}\r\n\r\n").repeat(AT_ONCE);
    for number in 0..REQUESTS {
        if number % AT_ONCE == 0 {
            stream.get_mut().write_all(requests.as_bytes()).unwrap();
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "no answer: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
    }
}

fn lost_lines(metrics: &str) -> u64 {
    let shown = ask(metrics, "GET", "/metrics", "");
    let name = "postpeer_log_lines_dropped_total ";
    shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

/// Asks it to stop as a service manager does, and waits for that.
fn stop(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_delays_neither_requests_nor_the_stop() {
    let instance = Instance::new();
    let (mut child, address, metrics) = serve(&instance, Stdio::piped());
    ask_many(&address);
    assert_ne!(lost_lines(&metrics), 0);
    // The reader comes back: it gets what was queued, and learns that more was lost.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("lines of the log were lost") {
        said.clear();
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it stopped");
    }
    ask_many(&address);
    stop(child);
}

#[test]
fn a_log_whose_reader_is_gone_or_whose_disk_is_full_stops_nothing() {
    let instance = Instance::new();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for stderr in [Stdio::piped(), full()] {
        let (mut child, address, metrics) = serve(&instance, stderr);
        drop(child.stderr.take());
        ask_many(&address);
        assert_ne!(lost_lines(&metrics), 0);
        stop(child);
    }
    // What a command has to say is lost as well, and its exit code is not.
    for (arguments, code) in [(&["project", "create", "one"][..], 0), (&["project", "create", "one"], 64)] {
        assert_eq!(instance.command(arguments).stderr(full()).status().unwrap().code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn the_last_words_of_a_broker_that_cannot_serve_are_read() {
    let instance = Instance::new();
    fs::write(instance.path("postpeer.db"), "not a database, but longer than a header of one would be").unwrap();
    let said = refused(&instance.run(&["serve"]), 65);
    assert!(said.ends_with('\n') && said.contains("postpeer: "), "{said}");
}
