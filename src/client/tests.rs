//! The client against a scripted server on loopback.

use super::*;
use crate::soap::{Selector, SelectorValue};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// One HTTP answer of the script: what goes back, and whether the connection is closed after it.
struct Scripted {
    status: &'static str,
    body: String,
    close: bool,
}

fn answer(body: &str) -> Scripted {
    let body = format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"><s:Header/><s:Body>{body}</s:Body></s:Envelope>"#
    );
    Scripted { status: "200 OK", body, close: false }
}

/// What is told of a connection in place of a request, when the script has closed it.
const CLOSED: &str = "closed";

/// Serves the script, over as many connections as the client opens; tells each request's connection and text.
fn serve(script: Vec<Scripted>) -> (Target, Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/wsman", listener.local_addr().unwrap()).parse().unwrap();
    let (requests, seen) = channel();
    std::thread::spawn(move || {
        let mut script = script.into_iter().peekable();
        let mut connection = 0;
        while script.peek().is_some() {
            let (stream, _) = listener.accept().unwrap();
            connection += 1;
            let mut reader = BufReader::new(stream);
            while script.peek().is_some() {
                let Some(request) = read_request(&mut reader) else { break };
                let scripted = script.next().unwrap();
                requests.send((connection, request)).unwrap();
                write_answer(reader.get_mut(), &scripted);
                if scripted.close {
                    drop(reader);
                    requests.send((connection, CLOSED.to_owned())).unwrap();
                    break;
                }
            }
        }
    });
    (target, seen)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn write_answer(stream: &mut TcpStream, scripted: &Scripted) {
    let kind = if scripted.body.starts_with('<') { "application/soap+xml;charset=UTF-8" } else { "text/plain" };
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: {}\r\n\r\n{}",
        scripted.status,
        scripted.body.len(),
        scripted.body
    );
    stream.write_all(text.as_bytes()).unwrap();
}

fn client(target: Target) -> Client {
    let credentials = Credentials { user: "Aladdin".to_owned(), password: Zeroizing::new("open sesame".to_owned()) };
    let settings = Settings {
        credentials: Some(credentials),
        trust: Trust::default(),
        timeout: Duration::from_secs(30),
        ids: || Uuid::from_u128(7),
    };
    Client::new(target, &settings).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn exchanges_share_a_connection_and_survive_its_end() {
    let one = || answer(r#"<p:Msvm_X xmlns:p="urn:x"><p:Name>web01</p:Name></p:Msvm_X>"#);
    let (target, seen) = serve(vec![one(), Scripted { close: true, ..one() }, one()]);
    let mut requests = Vec::new();
    run(async {
        let mut client = client(target);
        let key = Selector { name: "Name".to_owned(), value: SelectorValue::Text("a&b".to_owned()) };
        for number in 1..=3 {
            let instance = client.get("urn:x", &SelectorSet(vec![key.clone()])).await.unwrap();
            assert_eq!(instance.text("Name"), Some("web01"));
            if number == 2 {
                // What is sent just before the end has come in is lost, and not sent again: it may have been taken.
                requests.extend(seen.iter().take_while(|(_, text)| text != CLOSED));
                // The runtime looks at its sockets when it has nothing else to do.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    requests.extend(seen.iter());
    assert_eq!(requests.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [1, 1, 2]);
    let (_, request) = &requests[0];
    assert!(request.starts_with("POST /wsman HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "{request}");
    assert!(request.contains(">a&amp;b</"), "{request}");
    assert!(request.contains("uuid:") && request.contains("00000000-0000-0000-0000-000000000007"), "{request}");
}

#[test]
fn an_enumeration_is_pulled_to_its_end() {
    let item = |name: &str| format!(r#"<p:X xmlns:p="urn:x"><p:Name>{name}</p:Name></p:X>"#);
    let (target, seen) = serve(vec![
        answer(&format!(
            "<n:EnumerateResponse><n:EnumerationContext>c1</n:EnumerationContext><w:Items>{}</w:Items></n:EnumerateResponse>",
            item("a") + &item("b")
        )),
        answer(&format!("<n:PullResponse><n:Items>{}</n:Items></n:PullResponse>", item("c"))),
        answer(&format!("<n:PullResponse><n:Items>{}</n:Items><n:EndOfSequence/></n:PullResponse>", item("d"))),
    ]);
    let mut names = Vec::new();
    run(async {
        let enumeration = Enumeration {
            resource_uri: "urn:x".to_owned(),
            wql: Some("SELECT * FROM X WHERE A < 1".to_owned()),
            ..Enumeration::default()
        };
        let collect = |page: Vec<Item>| {
            for item in page {
                let Item::Object(instance, None) = item else { panic!("{item:?}") };
                names.push(instance.text("Name").unwrap().to_owned());
            }
        };
        client(target).enumerate(&enumeration, collect).await.unwrap();
    });
    assert_eq!(names, ["a", "b", "c", "d"]);
    let requests: Vec<String> = seen.iter().map(|(_, request)| request).collect();
    assert!(requests[0].contains("OptimizeEnumeration") && requests[0].contains("WHERE A &lt; 1"), "{}", requests[0]);
    assert!(requests[2].contains(">c1</"), "the context is kept when a server does not repeat it: {}", requests[2]);
}

#[test]
fn faults_refusals_and_other_answers_are_told_apart() {
    let fault = answer(
        r#"<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>w:InvalidSelectors</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">unexpected</s:Text></s:Reason><s:Detail><w:FaultDetail>http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/UnexpectedSelectors</w:FaultDetail><f:WSManFault Code="2150858843" Machine="h"><f:Message>the selector X is unexpected</f:Message></f:WSManFault></s:Detail></s:Fault>"#,
    );
    let (target, _seen) = serve(vec![
        Scripted { status: "500 Internal Server Error", ..fault },
        Scripted { status: "401 Unauthorized", body: String::new(), close: false },
        Scripted { status: "404 Not Found", body: "nothing here".to_owned(), close: false },
        Scripted { status: "200 OK", body: "<x/>".to_owned(), close: false },
    ]);
    run(async {
        let mut client = client(target);
        let mut problem = async || client.identify().await.unwrap_err();
        let received = problem().await;
        let fault = received.fault().unwrap();
        assert_eq!((fault.subcode.as_deref(), fault.number), (Some("InvalidSelectors"), Some(2_150_858_843)));
        let told = received.to_string();
        assert_eq!(told, "fault InvalidSelectors: unexpected [UnexpectedSelectors] (2150858843)");
        assert_eq!(problem().await.to_string(), "not signed in: wrong user or password");
        assert_eq!(problem().await.to_string(), "HTTP 404: Not Found: nothing here");
        assert!(matches!(problem().await, ClientError::Answer(_)));
    });
}

#[test]
fn nobody_listening_is_told() {
    let target = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
    };
    let problem = run(client(target).identify()).unwrap_err().to_string();
    assert!(problem.contains("nothing listens"), "{problem}");
    let socket = Target::socket(std::path::PathBuf::from("/does/not/exist/admin.sock"));
    let problem = run(client(socket).identify()).unwrap_err().to_string();
    assert!(problem.contains("no server runs"), "{problem}");
}
