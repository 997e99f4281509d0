//! Many connections at once, each with a request in flight: every answer is there, and is the answer to its request.

use std::net::SocketAddr;

use failbackd::transport::raise_open_files_limit;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{Lab, LabVm, envelope, failback, field, job_of, number, returned};
use crate::transport::{Client, basic, post, run};

const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const IDENTIFY: &str = r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body><i:Identify/></s:Body>
</s:Envelope>"#;
/// Of one page of the enumeration.
const INSTANCES: usize = 100;
/// Open files of the test's own process, beside its connections.
const FILES: u64 = 64;

/// Held jobs never end, so that what is read of them stays the same.
const SETTINGS: &[(&str, &str)] = &[("FAILBACKD_FAULT_BACKEND", "true"), ("FAILBACKD_TRANSFERS_HELD", "true")];

/// Connections that stay open from operation to operation.
struct Crowd {
    clients: Vec<Client<BufReader<TcpStream>>>,
    login: String,
}

impl Crowd {
    async fn connect(address: SocketAddr, count: usize, lab: &Lab) -> Self {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Client::new(BufReader::new(TcpStream::connect(address).await.unwrap())));
        }
        Self { clients, login: basic(&lab.user, &lab.password) }
    }

    /// One request a connection, all at once: `request` makes the one of a message id and a connection's index. The
    /// bodies of the answers, each of which is 200 and tells its request.
    async fn each(&mut self, what: &str, request: impl Fn(&str, usize) -> String) -> Vec<String> {
        let mut tasks = JoinSet::new();
        for (index, mut client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let message = format!("uuid:{what}-{index}");
            let headers = format!("{}Content-Type: application/soap+xml;charset=UTF-8\r\n", self.login);
            let request = post(&headers, &request(&message, index));
            tasks.spawn(async move {
                let reply = client.exchange(&request).await;
                (index, message, client, reply)
            });
        }
        let mut answers = tasks.join_all().await;
        answers.sort_by_key(|(index, ..)| *index);
        let mut bodies = Vec::new();
        for (_, message, client, reply) in answers {
            assert_eq!(reply.status, 200, "{message}: {}", reply.body);
            let relates = format!("RelatesTo>{message}<");
            assert!(what == "identify" || reply.body.contains(&relates), "{message}: {}", reply.body);
            self.clients.push(client);
            bodies.push(reply.body);
        }
        bodies
    }
}

fn query_job(message: &str, job: &str) -> String {
    let body = format!(
        r#"<n:Enumerate xmlns:n="{ENUMERATION}"><w:OptimizeEnumeration/><w:MaxElements>10</w:MaxElements>
<w:Filter Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL">select * from Msvm_ConcreteJob
 where InstanceID = '{job}'</w:Filter></n:Enumerate>"#
    );
    envelope(message, &format!("{ENUMERATION}/Enumerate"), "*", &[], &body)
}

fn enumerate(message: &str) -> String {
    let body = format!(
        r#"<n:Enumerate xmlns:n="{ENUMERATION}"><w:OptimizeEnumeration/><w:MaxElements>{INSTANCES}</w:MaxElements>
</n:Enumerate>"#
    );
    envelope(message, &format!("{ENUMERATION}/Enumerate"), "Msvm_ComputerSystem", &[], &body)
}

fn release(message: &str, context: &str) -> String {
    let body = format!(
        r#"<n:Release xmlns:n="{ENUMERATION}"><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>"#
    );
    envelope(message, &format!("{ENUMERATION}/Release"), "Msvm_ComputerSystem", &[], &body)
}

/// The context of an enumeration that has not ended.
fn context_of(answer: &str) -> String {
    let (_, rest) = answer.split_once("<n:EnumerationContext>").unwrap_or_else(|| panic!("no context in {answer}"));
    rest.split_once('<').unwrap().0.to_owned()
}

/// Every operation on every connection. `ready` are as many virtual machines as there are connections.
async fn work(crowd: &mut Crowd, job: &str, ready: &[LabVm], refusing: &LabVm) {
    for answer in crowd.each("identify", |_, _| IDENTIFY.to_owned()).await {
        assert!(answer.contains("ProductVendor>"), "{answer}");
    }
    let get = format!("{TRANSFER}/Get");
    let keys = [("InstanceID", job)];
    let mut polls = crowd.each("get", |message, _| envelope(message, &get, "Msvm_ConcreteJob", &keys, "")).await;
    polls.extend(crowd.each("query", |message, _| query_job(message, job)).await);
    for answer in polls {
        assert_eq!((field(&answer, "InstanceID"), number(&answer, "JobState")), (Some(job), 2), "{answer}");
    }
    let pages = crowd.each("enumerate", |message, _| enumerate(message)).await;
    for page in &pages {
        assert_eq!(page.matches("</p:Msvm_ComputerSystem>").count(), INSTANCES, "{page}");
    }
    let contexts: Vec<String> = pages.iter().map(|page| context_of(page)).collect();
    crowd.each("release", |message, index| release(message, &contexts[index])).await;
    for answer in crowd.each("refused", |message, _| failback(message, &refusing.id, "")).await {
        assert_eq!((returned(&answer), job_of(&answer)), (32775, None), "{answer}");
    }
    let accepted = crowd.each("accepted", |message, index| failback(message, &ready[index].id, "")).await;
    let mut jobs = Vec::new();
    for answer in accepted {
        assert_eq!(returned(&answer), 4096, "{answer}");
        jobs.push(job_of(&answer).unwrap());
    }
    let jobs_of = |message: &str, index: usize| {
        let keys = [("InstanceID", jobs[index].as_str())];
        envelope(message, &get, "Msvm_ConcreteJob", &keys, "")
    };
    for (index, answer) in crowd.each("job", jobs_of).await.iter().enumerate() {
        let wanted = format!("Initiate Failback: {}", ready[index].name);
        assert_eq!(field(answer, "Description"), Some(wanted.as_str()), "{answer}");
    }
}

#[test]
fn every_operation_on_256_and_then_1024_connections_at_once() {
    let open_files = raise_open_files_limit();
    assert!(open_files.is_none_or(|files| files >= 1024 + FILES), "at most {open_files:?} open files (ulimit -Hn)");
    let lab = Lab::prepare(1 + 256 + 1024 + 1, &["--diskless"]);
    let server = lab.serve(SETTINGS);
    let (ready, refusing) = lab.vms.split_at(lab.vms.len() - 1);
    // The one login that costs a password's verification; those after it are remembered.
    let job = job_of(&lab.wire(server.address()).ask(&failback("uuid:first", &ready[0].id, ""))).unwrap();
    run(async {
        for vms in [&ready[1..257], &ready[257..]] {
            let mut crowd = Crowd::connect(server.address(), vms.len(), &lab).await;
            work(&mut crowd, &job, vms, &refusing[0]).await;
        }
    });
    let log = server.log();
    assert!(!log.contains("\"WARN\"") && !log.contains("\"ERROR\""), "{log}");
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}
