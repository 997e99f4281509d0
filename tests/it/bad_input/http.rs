//! HTTP that cannot be served: methods, media types, framing, pipelining.

use super::lab::{Lab, SOAP, head, post};

#[test]
fn get_is_told_what_this_is() {
    let lab = Lab::shared();
    for method in ["GET", "PUT", "DELETE", "TRACE"] {
        let reply = lab.connect().exchange(format!("{method} /wsman HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
        assert!(reply.text().contains("POST"), "{}", reply.text());
    }
    lab.still_answers("GET");
}

#[test]
fn a_media_type_may_be_missing_but_not_another() {
    let lab = Lab::shared();
    let envelope = lab.get_vm("uuid:1");
    for accepted in ["", SOAP, "text/xml", "Application/SOAP+XML; Charset=\"utf-8\""] {
        let reply = lab.connect().exchange(&post("viewer", accepted, envelope.as_bytes()));
        assert_eq!(reply.status, 200, "{accepted:?}: {}", reply.text());
    }
    for refused in ["application/json", "multipart/related;type=x"] {
        let mut client = lab.connect();
        let reply = client.exchange(&post("viewer", refused, envelope.as_bytes()));
        assert_eq!(reply.status, 415, "{refused}");
        let named = refused.rsplit('=').next().unwrap().trim_start_matches('x');
        assert!(reply.text().contains(named), "{refused}: {}", reply.text());
        let reply = client.exchange(&post("viewer", SOAP, envelope.as_bytes()));
        assert_eq!(reply.status, 200, "the connection goes on after {refused}");
    }
}

#[test]
fn damaged_chunks_end_the_connection_only() {
    let lab = Lab::shared();
    let envelope = lab.get_vm("uuid:1");
    let chunked = head("Transfer-Encoding: chunked\r\n");
    let (length, half) = (envelope.len(), envelope.len() / 2);
    let whole = format!(
        "{chunked}{half:x};ext=\"1\"\r\n{}\r\n{:X}\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
        &envelope[..half],
        length - half,
        &envelope[half..]
    );
    assert_eq!(lab.connect().exchange(whole.as_bytes()).status, 200, "chunks as they should be");
    for (what, size) in [
        ("no number", "xyz\r\n".to_owned()),
        ("a negative number", format!("-{length:x}\r\n")),
        ("more than fits", format!("1{}\r\n", "0".repeat(16))),
        ("blanks inside", format!("{length:x} {length:x}\r\n")),
        ("no line end", format!("{length:x}\n")),
        ("an extension without end", format!("{length:x};{}", "x".repeat(100_000))),
        ("too short a size", format!("{half:x}\r\n")),
    ] {
        let mut client = lab.connect();
        client.send(format!("{chunked}{size}{envelope}\r\n0\r\n\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.as_ref().is_none_or(|reply| reply.status == 400), "{what}: {reply:?}");
        assert!(client.closed(), "{what}");
        lab.still_answers(what);
    }
}

#[test]
fn lengths_that_contradict_themselves_end_the_connection() {
    let lab = Lab::shared();
    let envelope = lab.get_vm("uuid:1");
    let length = envelope.len();
    for (what, lines) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1)),
        ("a negative length", "Content-Length: -1\r\n".to_owned()),
        ("a length that overflows", "Content-Length: 99999999999999999999999\r\n".to_owned()),
        ("a signed length", format!("Content-Length: +{length}\r\n")),
        ("an unknown coding", "Transfer-Encoding: gzip\r\n".to_owned()),
    ] {
        let mut client = lab.connect();
        client.send(format!("{}{envelope}", head(&lines)).as_bytes());
        let reply = client.reply();
        assert!(reply.as_ref().is_none_or(|reply| reply.status == 400), "{what}: {reply:?}");
        assert!(client.closed(), "{what}");
        lab.still_answers(what);
    }
    // Length and chunks at once: the chunks count, and what follows them is no request of somebody else's.
    let both = head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"));
    let mut client = lab.connect();
    client.send(format!("{both}{length:x}\r\n{envelope}\r\n0\r\n\r\n").as_bytes());
    let reply = client.reply();
    assert!(reply.as_ref().is_none_or(|reply| matches!(reply.status, 200 | 400)), "{reply:?}");
    lab.still_answers("length and chunks");
}

#[test]
fn many_or_large_header_lines_are_refused() {
    let lab = Lab::shared();
    let many = (0..5_000).map(|at| format!("X-{at}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X-Long: {}\r\n", "x".repeat(200_000));
    let unfinished = format!("X-Fold: a\r\n{}", " b\r\n".repeat(50_000));
    for (what, lines) in [("many", many), ("long", long), ("folded", unfinished)] {
        let mut client = lab.connect();
        client.send(head(&lines).as_bytes());
        let reply = client.reply();
        assert!(reply.as_ref().is_none_or(|reply| matches!(reply.status, 400 | 431)), "{what}: {reply:?}");
        assert!(client.closed(), "{what}");
        lab.still_answers(what);
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let lab = Lab::shared();
    let good = |id: &str| post("viewer", SOAP, lab.get_vm(id).as_bytes());
    let bad = lab.get_vm("uuid:b").replace("transfer/Get", "transfer/Nope");
    let all =
        [good("uuid:a"), post("viewer", SOAP, bad.as_bytes()), post("viewer", "text/plain", b"x"), good("uuid:c")];
    let mut client = lab.connect();
    client.send(&all.concat());
    for (status, id) in [(200, "uuid:a"), (500, "uuid:b"), (415, ""), (200, "uuid:c")] {
        let reply = client.reply().expect("an answer to each");
        assert_eq!(reply.status, status, "{}", reply.text());
        let relates_to = reply.between("<a:RelatesTo>", "</a:RelatesTo>").unwrap_or_default();
        assert_eq!(relates_to, id);
    }
}

#[test]
fn a_body_past_the_limit_is_413_and_its_sender_reads_that() {
    let lab = Lab::shared();
    let nested = format!("<s:Envelope>{}", "<a>".repeat(10 * 1024 * 1024 / 3));
    let mut client = lab.connect();
    let reply = client.exchange(&post("viewer", SOAP, nested.as_bytes()));
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
    assert!(reply.text().contains("524288"), "{}", reply.text());
    assert!(client.closed());
    lab.still_answers("10 MB");
    // The same without a length.
    let mut client = lab.connect();
    let chunk = format!("10000\r\n{}\r\n", "<a>xxxxx".repeat(0x2000));
    client.send(format!("{}{}", head("Transfer-Encoding: chunked\r\n"), chunk.repeat(160)).as_bytes());
    assert_eq!(client.reply().map(|reply| reply.status), Some(413));
    lab.still_answers("10 MB in chunks");
}
