//! kill -9 of the real program while events are pulled and pushed. What a client was answered is told to its
//! subscribers sooner or later, whenever the kill comes; nothing is told as dropped, and what comes twice is what the
//! README says.
//!
//! `FAILBACKD_TEST_SEED` sets the seed, `FAILBACKD_CRASH_MOMENTS` the number of kills.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::sink::{Manner, Sink};
use super::{EVENTING, PULL, PULL_MODE, PUSH_WITH_ACK, ask_as, between, context_of, envelope, pull_body};
use crate::crash::{Random, setting};
use crate::process::{Lab, PATIENCE, Served, Wire, replication, returned};

const VARIABLES: [(&str, &str); 2] =
    [("FAILBACKD_FAULT_BACKEND", "true"), ("FAILBACKD_LOG_LEVEL", "info,failbackd::request=warn")];
const MACHINES: usize = 6;
const WRITERS: usize = 3;
const FILTER: &str = "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ReplicationSettingData'";

/// Numbers by machine, in the order in which they came.
type Numbers = BTreeMap<String, Vec<u32>>;

/// The numbers that events tell: each is written into the settings of a machine, once and in growing order.
fn read(text: &str, into: &mut Numbers) {
    assert!(!text.contains("DroppedEvents"), "the log is far from full: {text}");
    for event in text.split("<p:SourceInstance ").skip(1) {
        let event = event.split("</p:SourceInstance>").next().unwrap();
        let machine = between(event, "<r:VirtualSystemIdentifier>", "<").unwrap();
        let interval = between(event, "<r:AutoResynchronizeIntervalStart>", "</r:").unwrap();
        into.entry(machine.to_uppercase()).or_default().push(seconds(&interval));
    }
}

/// The seconds of an interval below a day, such as `P0DT18H30M0S`, in its element.
fn seconds(interval: &str) -> u32 {
    let time = interval.split_once("DT").unwrap_or_else(|| panic!("{interval}")).1;
    let part = |start: char, end: char| {
        let before = time.split(end).next().unwrap();
        before.rsplit(start).next().unwrap().parse::<u32>().unwrap_or_else(|_| panic!("{interval}"))
    };
    part('T', 'H') * 3_600 + part('H', 'M') * 60 + part('M', 'S')
}

fn change(machine: &str, number: u32) -> String {
    let (h, m, s) = (number / 3_600, number / 60 % 60, number % 60);
    let parameter = format!(
        "<p:ReplicationSettingData>instance of Msvm_ReplicationSettingData {{ AutoResynchronizeIntervalStart = \
         \"00000000{h:02}{m:02}{s:02}.000000:000\"; }};</p:ReplicationSettingData>"
    );
    replication(&format!("uuid:change-{number}"), "ModifyReplicationSettings", machine, &parameter)
}

/// What was answered: the last number of each machine; and the last number of all.
#[derive(Default)]
struct Written {
    last: AtomicU32,
    answered: Mutex<BTreeMap<String, u32>>,
}

impl Written {
    fn answered(&self) -> BTreeMap<String, u32> {
        self.answered.lock().unwrap().clone()
    }
}

/// Changes settings until the server is gone. What was answered is what counts. Nobody else changes these machines.
fn write(wire: &Wire, machines: &[String], written: &Written) {
    for machine in machines.iter().cycle() {
        let number = written.last.fetch_add(1, Ordering::SeqCst) + 1;
        match wire.post(&change(machine, number)) {
            Ok((200, body)) => {
                assert_eq!(returned(&body), 0, "{body}");
                written.answered.lock().unwrap().insert(machine.clone(), number);
            }
            Ok((status, body)) => panic!("{status}: {body}"),
            Err(_) => return,
        }
    }
}

/// A client that pulls, and when an answer was lost subscribes anew with the last bookmark that it has.
struct Puller {
    context: String,
    bookmark: Option<String>,
    seen: Numbers,
    /// Subscriptions that were left behind.
    left: Vec<String>,
}

impl Puller {
    fn subscribe(wire: &Wire, bookmark: Option<&str>) -> String {
        let bookmark = bookmark.map(|it| format!("<w:Bookmark>{it}</w:Bookmark>")).unwrap_or_default();
        let body = format!(
            "<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\"/><w:Filter \
             Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{FILTER}</w:Filter><w:SendBookmarks/>\
             {bookmark}</e:Subscribe>"
        );
        context_of(&ask_as(wire, &format!("{EVENTING}Subscribe"), "", &body))
    }

    /// One Pull; false when there is nothing now. `Err` when no answer came.
    fn pull(&mut self, wire: &Wire) -> Result<bool, std::io::Error> {
        let header = "<w:OperationTimeout>PT0.3S</w:OperationTimeout>";
        let (_, page) = wire.post(&envelope(PULL, header, &pull_body(&self.context, 3)))?;
        if page.contains("TimedOut") {
            return Ok(false);
        }
        read(&page, &mut self.seen);
        self.bookmark = Some(between(&page, "<w:Bookmark>", "</w:Bookmark>").unwrap_or_else(|| panic!("{page}")));
        Ok(true)
    }

    /// After a restart: the subscription is still there, whether its last answer was lost or not.
    fn resume(&mut self, wire: &Wire, lost: bool) {
        if lost {
            let fresh = Self::subscribe(wire, self.bookmark.as_deref());
            self.left.push(std::mem::replace(&mut self.context, fresh));
        }
        for left in &self.left {
            let header = "<w:OperationTimeout>PT0.01S</w:OperationTimeout>";
            let answer = ask_as(wire, PULL, header, &pull_body(left, 1));
            assert!(answer.contains("PullResponse") || answer.contains("TimedOut"), "it lives on: {answer}");
        }
        while self.pull(wire).unwrap() {}
    }
}

fn subscribe_sink(wire: &Wire, sink: &Sink) {
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH_WITH_ACK}\"><e:NotifyTo><a:Address>{}</a:Address></e:NotifyTo>\
         </e:Delivery><w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{FILTER}</w:Filter>\
         </e:Subscribe>",
        sink.url()
    );
    let answer = ask_as(wire, &format!("{EVENTING}Subscribe"), "", &body);
    assert!(answer.contains("SubscribeResponse"), "{answer}");
}

fn pushed(sink: &Sink) -> Numbers {
    let mut seen = Numbers::new();
    for message in sink.received() {
        assert!(!message.body.contains("SubscriptionEnd"), "{}", message.body);
        read(&message.body, &mut seen);
    }
    seen
}

/// What was answered was told: the last number of each machine, or one that came later though nobody was answered.
fn all_told(seen: &Numbers, written: &BTreeMap<String, u32>) -> bool {
    written.iter().all(|(machine, number)| seen.get(machine).is_some_and(|seen| seen.iter().any(|it| number <= it)))
}

/// Without a crash between, all numbers of a machine come, and in order. A restart may pass over those that others
/// came after, and may tell the last of a machine once more.
fn check_order(seen: &Numbers, restarts: usize) {
    for (machine, numbers) in seen {
        let back = numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        assert!(back <= restarts, "{machine} went back {back} times in {restarts} restarts: {numbers:?}");
    }
}

#[test]
fn no_event_is_lost_to_a_kill_while_it_is_pulled_or_pushed() {
    let seed = setting("FAILBACKD_TEST_SEED", 20_262);
    let moments = setting("FAILBACKD_CRASH_MOMENTS", 8);
    println!("seed {seed}, {moments} kills (FAILBACKD_TEST_SEED and FAILBACKD_CRASH_MOMENTS set others)");
    let mut random = Random::new(seed);
    let lab = Lab::prepare(MACHINES + 1, &["--diskless"]);
    let machines: Vec<String> = lab.vms.iter().map(|vm| vm.id.to_uppercase()).collect();
    let (quiet, busy) = machines.split_first().unwrap();
    let sink = Sink::start(Manner::Ack);
    let server = lab.serve(&VARIABLES);
    let wire = lab.wire(server.address());
    let context = Puller::subscribe(&wire, None);
    let mut puller = Puller { context, bookmark: None, seen: Numbers::new(), left: Vec::new() };
    subscribe_sink(&wire, &sink);
    let written = Written { last: AtomicU32::new(1), ..Written::default() };
    assert_eq!(returned(&wire.ask(&change(quiet, 1))), 0);
    puller.resume(&wire, false);
    sink.wait(|messages| !messages.is_empty());
    // How far everybody has come is stored at the end.
    server.terminate();
    let mut lost_answers = 0;
    for _ in 0..moments {
        lost_answers += usize::from(moment(&lab, &mut random, (&mut puller, &sink), busy, &written));
    }
    // Each moment has up to three servers, and there is one at the end.
    let restarts = 3 * usize::try_from(moments).unwrap() + 1;
    let server = lab.serve(&VARIABLES);
    puller.resume(&lab.wire(server.address()), false);
    let (started, next, written) = (Instant::now(), written.last.into_inner(), written.answered.into_inner().unwrap());
    while !all_told(&pushed(&sink), &written) {
        assert!(started.elapsed() < PATIENCE, "{written:?} were answered, and the sink has {:?}", pushed(&sink));
        std::thread::sleep(Duration::from_millis(20));
    }
    let at_sink = pushed(&sink);
    assert!(all_told(&puller.seen, &written), "{written:?} were answered, and pulled was {:?}", puller.seen);
    check_order(&puller.seen, restarts);
    check_order(&at_sink, restarts);
    assert_eq!((puller.seen[quiet].len(), at_sink[quiet].len()), (1, 1), "told well before all kills, and once");
    println!("{next} changes, {} answered machines, {lost_answers} answers lost", written.len());
    server.kill();
}

/// Changes, pulls and pushes until a kill, and after it what is then to be had. Whether an answer to a Pull was lost.
fn moment(
    lab: &Lab,
    random: &mut Random,
    (puller, sink): (&mut Puller, &Sink),
    machines: &[String],
    written: &Written,
) -> bool {
    let server = lab.serve(&VARIABLES);
    let wire = lab.wire(server.address());
    // The password is checked before the clock runs.
    wire.vm(&machines[0]);
    let delay = Duration::from_micros(random.below(1_500_000));
    let ended = AtomicBool::new(false);
    let lost = Mutex::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                if puller.pull(&wire).is_err() {
                    *lost.lock().unwrap() = true;
                    return;
                }
            }
        });
        scope.spawn(|| {
            std::thread::sleep(delay);
            server.kill();
            ended.store(true, Ordering::SeqCst);
        });
        // Several at a time, whose changes become durable together and are published in any order.
        for machines in machines.chunks(machines.len().div_ceil(WRITERS)) {
            let wire = &wire;
            scope.spawn(move || write(wire, machines, written));
        }
    });
    let lost = lost.into_inner().unwrap();
    // Perhaps once more while it starts.
    if random.below(3) == 0 {
        let server = Served::spawn(&lab.data, &VARIABLES);
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
        server.kill();
    }
    let server = lab.serve(&VARIABLES);
    puller.resume(&lab.wire(server.address()), lost);
    let (started, written) = (Instant::now(), &written.answered());
    while !all_told(&pushed(sink), written) {
        assert!(started.elapsed() < PATIENCE, "{written:?} were answered, and the sink has {:?}", pushed(sink));
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    lost
}
