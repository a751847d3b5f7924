//! A scripted DNS server on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

/// The answers for one name. Each query of a kind takes the next one; the last one stays.
#[derive(Default)]
struct Known {
    addresses: Vec<Vec<IpAddr>>,
    asked: usize,
    texts: Vec<String>,
    silent: bool,
}

#[derive(Clone)]
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl DnsServer {
    /// Every name is unknown at first.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self { address: socket.local_addr().unwrap(), known: Arc::default() };
        let known = server.known.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                if let Some(answer) = answer(&question, &mut known.lock().unwrap()) {
                    socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
                }
            }
        });
        server
    }

    /// Sets the addresses of a name, one for each query.
    pub(crate) fn addresses(&self, name: &str, each_time: &[&[&str]]) -> &Self {
        let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        self.with(name, |known| known.addresses = each_time.iter().map(parse).collect())
    }

    pub(crate) fn texts(&self, name: &str, texts: &[&str]) -> &Self {
        self.with(name, |known| known.texts = texts.iter().map(|text| (*text).to_owned()).collect())
    }

    /// Leaves queries for this name unanswered.
    pub(crate) fn silent(&self, name: &str) -> &Self {
        self.with(name, |known| known.silent = true)
    }

    /// The number of queries for a name's IPv4 addresses.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.known.lock().unwrap()[name].asked
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Known)) -> &Self {
        change(self.known.lock().unwrap().entry(name.to_owned()).or_default());
        self
    }
}

fn answer(question: &Message, known: &mut HashMap<String, Known>) -> Option<Message> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    let name = query.name().to_string().to_ascii_lowercase();
    let Some(known) = known.get_mut(name.trim_end_matches('.')) else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return Some(answer);
    };
    if known.silent {
        return None;
    }
    let data: Vec<RData> = match query.query_type() {
        RecordType::A => {
            let at = known.asked.min(known.addresses.len().saturating_sub(1));
            known.asked += 1;
            let addresses = known.addresses.get(at).cloned().unwrap_or_default();
            addresses.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(RData::A(A(*a))) } else { None }).collect()
        }
        RecordType::AAAA => {
            let at = known.asked.saturating_sub(1).min(known.addresses.len().saturating_sub(1));
            let addresses = known.addresses.get(at).cloned().unwrap_or_default();
            addresses
                .iter()
                .filter_map(|a| if let IpAddr::V6(a) = a { Some(RData::AAAA(AAAA(*a))) } else { None })
                .collect()
        }
        RecordType::TXT => known.texts.iter().map(|text| RData::TXT(TXT::new(pieces(text)))).collect(),
        _ => Vec::new(),
    };
    // A TTL of 0: no answer is cached.
    answer.add_answers(data.into_iter().map(|data| Record::from_rdata(query.name().clone(), 0, data)));
    Some(answer)
}

/// A TXT record in pieces, as long ones are sent.
fn pieces(text: &str) -> Vec<String> {
    text.as_bytes().chunks(10).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
}
