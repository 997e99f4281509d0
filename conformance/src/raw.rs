//! Raw exchanges: exact octets on a connection of their own, in packets and with pauses as a case tells, and every
//! answer that comes back until the server closes or says nothing more.

use std::io::Write as _;
use std::time::Duration;

use crate::check::End;
use crate::client::Connection;
use crate::http::{Answer, AnswerReader, Failure};

/// How long to look, after the last answer, whether the server closes.
const CLOSING_WAIT: Duration = Duration::from_millis(300);

/// Octets to send, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    /// What is sent.
    pub octets: Vec<u8>,
    /// In packets of this many octets; 0: at once.
    pub split: usize,
    /// Between the packets.
    pub pause: Duration,
    /// Before the first.
    pub wait: Duration,
    /// Afterwards the sending half is closed.
    pub shut: bool,
    /// Afterwards the connection is dropped.
    pub abort: bool,
}

/// What to read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// As many answers at most.
    pub answers: usize,
    /// Whether to look if the connection is closed afterwards.
    pub to_the_end: bool,
    /// The longest wait for each.
    pub patience: Duration,
}

/// Sends the pieces on a connection and reads what comes.
pub(crate) fn exchange(connection: &mut Connection, pieces: &[Piece], reading: Reading) -> (Vec<Answer>, End) {
    let stream = &mut connection.stream;
    stream.read_timeout(reading.patience);
    for piece in pieces {
        std::thread::sleep(piece.wait);
        let size = if piece.split == 0 { piece.octets.len().max(1) } else { piece.split };
        for (at, packet) in piece.octets.chunks(size).enumerate() {
            if at > 0 {
                std::thread::sleep(piece.pause);
            }
            // A server may answer and close before it has read everything: its answer still counts.
            if stream.write_all(packet).and_then(|()| stream.flush()).is_err() {
                break;
            }
        }
        if piece.shut {
            stream.shut();
        }
        if piece.abort {
            return (Vec::new(), End::Open);
        }
    }
    let mut reader = AnswerReader::default();
    let mut answers = Vec::new();
    while answers.len() < reading.answers || reading.to_the_end {
        if answers.len() >= reading.answers {
            connection.stream.read_timeout(reading.patience.min(CLOSING_WAIT));
        }
        let answer = reader.answer(connection.stream.as_mut(), false);
        match answer.and_then(|answer| connection.open(answer)) {
            Ok(answer) => answers.push(answer),
            Err(Failure::Silent) if answers.len() >= reading.answers => return (answers, End::Open),
            Err(failure) => return (answers, failure.into()),
        }
    }
    (answers, End::Open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AsWhom, Credentials};
    use crate::client::{Client, Opened};
    use crate::http::Target;
    use std::io::Read as _;
    use std::net::TcpListener;

    /// A server that answers to each `X` it reads, and closes after a `Q`.
    fn serve() -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut octet = [0_u8];
                while stream.read(&mut octet).unwrap_or(0) == 1 && octet != *b"Q" {
                    if octet == *b"X" {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny").unwrap();
                    }
                }
            }
        });
        let target = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let client = Client::new(target, None, Duration::from_secs(5), Credentials::default());
        match client.open(AsWhom::Nobody).unwrap() {
            Opened::Ready(connection) => connection,
            Opened::Refused(_) => unreachable!("there is no login"),
        }
    }

    fn came(octets: &str, answers: usize, to_the_end: bool) -> (usize, End) {
        let piece = Piece { octets: octets.as_bytes().to_vec(), split: 2, ..Piece::default() };
        let reading = Reading { answers, to_the_end, patience: Duration::from_millis(1500) };
        let (answers, end) = exchange(&mut serve(), &[piece], reading);
        (answers.len(), end)
    }

    #[test]
    fn answers_are_counted_and_the_end_is_seen() {
        assert_eq!(came("aXbX", 2, false), (2, End::Open));
        assert_eq!(came("XXQ", 1, true), (2, End::Closed));
        assert_eq!(came("XX", 2, true), (2, End::Open));
        assert_eq!(came("Q", 1, false), (0, End::Closed));
        assert!(matches!(came("X", 2, false), (1, End::Silent(_))));
    }

    #[test]
    fn a_dropped_connection_reads_nothing() {
        let piece = Piece { octets: b"X".to_vec(), abort: true, ..Piece::default() };
        let reading = Reading { answers: 1, to_the_end: false, patience: Duration::from_secs(1) };
        assert_eq!(exchange(&mut serve(), &[piece], reading).0.len(), 0);
    }
}
