//! A DNS server on loopback that says what a test tells it to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

/// A scripted DNS server. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Dns {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    says: HashMap<String, Says>,
    /// Names that were asked for, each once for A and once for AAAA.
    asked: Vec<String>,
}

/// What is said of a name.
#[derive(Clone)]
pub enum Says {
    /// These addresses, for so many seconds.
    Is(Vec<IpAddr>, u32),
    NoSuchName,
    ServerFailure,
    /// It exists and has no address.
    Nothing,
    Silence,
}

impl Dns {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let dns = Self { address, state: Arc::default() };
        let serving = dns.clone();
        tokio::spawn(async move {
            let mut room = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut room).await {
                if let Some(answer) = serving.answer(&room[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        dns
    }

    /// Says this of a name from now on.
    pub fn on(&self, name: &str, says: Says) -> &Self {
        self.state.lock().unwrap().says.insert(name.to_owned(), says);
        self
    }

    /// A name is these addresses for so many seconds.
    pub fn is(&self, name: &str, addresses: &[&str], ttl_s: u32) -> &Self {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        self.on(name, Says::Is(addresses, ttl_s))
    }

    /// How often a name was asked for, A and AAAA each counted.
    pub fn asked(&self, name: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| *asked == name).count()
    }

    fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).ok()?;
        let question = query.queries.first()?.clone();
        let name = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let says = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(name.clone());
            state.says.get(&name).cloned().unwrap_or(Says::NoSuchName)
        };
        let mut answer = query.clone();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        let wants_v4 = question.query_type() == RecordType::A;
        match says {
            Says::Silence => return None,
            Says::Nothing => {}
            Says::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
            Says::ServerFailure => answer.metadata.response_code = ResponseCode::ServFail,
            Says::Is(addresses, ttl_s) => {
                let wanted = addresses.into_iter().filter(|ip| ip.is_ipv4() == wants_v4);
                answer.answers = wanted
                    .map(|ip| Record::from_rdata(question.name().clone(), ttl_s, RData::from(ip)))
                    .collect();
            }
        }
        answer.to_vec().ok()
    }
}
