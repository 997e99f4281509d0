//! Subscriptions against a listening server, and sinks that take what they are sent, refuse it, stall and die.

mod certificate;
mod crash;
mod sink;

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use failbackd::auth::{Role, UserFile};
use failbackd::backend::fault::NAME;
use failbackd::config::Config;
use failbackd::service::NewVm;
use failbackd::store::{Op, RedbStore, Store as _, Txn};

use super::live::{self, Live, OPERATOR, VIEWER};
use super::process::Wire;
use sink::{Manner, Sink};

const ALL: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/";
const PULL: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull";
const PULL_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull";
const PUSH: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push";
const PUSH_WITH_ACK: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/PushWithAck";
const EVENTS: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Events";
const NEW_VMS: &str =
    "SELECT * FROM __InstanceCreationEvent WITHIN 1 WHERE TargetInstance ISA 'Msvm_ReplicationRelationship'";

struct Bench {
    live: Live,
}

impl Bench {
    fn start(data_dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let live = Live::start(data_dir, |config| {
            config.eventing.delivery_timeout_ms = 500;
            change(config);
        });
        Self { live }
    }

    fn vm(&self, name: &str) {
        self.live.vm(NewVm::protected(name, NAME));
    }

    fn ask(&self, action: &str, header: &str, body: &str) -> String {
        ask_as(&self.live.wire(OPERATOR), action, header, body)
    }

    fn subscribe(&self, mode: &str, sink: Option<&str>, delivery: &str, rest: &str) -> String {
        let notify = sink.map(|address| {
            format!(
                "<e:NotifyTo><a:Address>{address}</a:Address><a:ReferenceParameters><k:Token \
                 xmlns:k=\"urn:x\">T-1</k:Token></a:ReferenceParameters></e:NotifyTo>"
            )
        });
        self.ask(
            &format!("{EVENTING}Subscribe"),
            "",
            &format!(
                "<e:Subscribe>{}<e:Delivery Mode=\"{mode}\">{}{delivery}</e:Delivery>{rest}<w:Filter \
                 Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{NEW_VMS}</w:Filter></e:Subscribe>",
                sink.map(|address| format!("<e:EndTo><a:Address>{address}</a:Address></e:EndTo>")).unwrap_or_default(),
                notify.unwrap_or_default()
            ),
        )
    }

    fn pull(&self, context: &str, max: u32, timeout: &str) -> String {
        let header = format!("<w:OperationTimeout>{timeout}</w:OperationTimeout>");
        self.ask(PULL, &header, &pull_body(context, max))
    }

    fn stop(self) {
        self.live.stop();
    }
}

fn pull_body(context: &str, max: u32) -> String {
    format!(
        "<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext><n:MaxElements>{max}</n:MaxElements></n:Pull>"
    )
}

fn ask_as(wire: &Wire, action: &str, header: &str, body: &str) -> String {
    wire.post(&envelope(action, header, body)).unwrap().1
}

fn envelope(action: &str, header: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
         xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\"><s:Header><a:To>http://host:5985/wsman</a:To>\
         <w:ResourceURI>{ALL}</w:ResourceURI><a:ReplyTo><a:Address>\
         http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <a:Action>{action}</a:Action><a:MessageID>uuid:1</a:MessageID>{header}</s:Header><s:Body>{body}</s:Body>\
         </s:Envelope>"
    )
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0.to_owned())
}

fn context_of(answer: &str) -> String {
    between(answer, "<n:EnumerationContext>", "<").unwrap_or_else(|| panic!("{answer}"))
}

fn names(text: &str) -> Vec<String> {
    text.split("<r:ElementName>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

/// The names of the virtual machines that a sink was told of.
fn told(sink: &Sink) -> Vec<String> {
    sink.received().iter().flat_map(|message| names(&message.body)).collect()
}

#[test]
fn a_pull_waits_for_its_event_and_times_out_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", ""));
    let started = Instant::now();
    let quiet = bench.pull(&context, 5, "PT0.3S");
    assert!(quiet.contains("2150858793") && Duration::from_millis(300) <= started.elapsed(), "{quiet}");
    let (wire, waiting) = (bench.live.wire(OPERATOR), context.clone());
    let started = Instant::now();
    let waits = std::thread::spawn(move || {
        let header = "<w:OperationTimeout>PT20S</w:OperationTimeout>";
        ask_as(&wire, PULL, header, &pull_body(&waiting, 5))
    });
    // The event comes while the Pull waits, or before it: either way the Pull gets it.
    bench.vm("web01");
    assert_eq!(names(&waits.join().unwrap()), ["web01"]);
    assert!(started.elapsed() < Duration::from_secs(10), "it did not wait for its time to be up");
    assert!(bench.pull(&context, 5, "PT0.1S").contains("TimedOut"), "told once");
    bench.stop();
}

#[test]
fn a_client_that_goes_away_while_it_waits_goes_on_from_its_bookmark() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", "<w:SendBookmarks/>"));
    bench.vm("first");
    let page = bench.pull(&context, 5, "PT5S");
    let bookmark = between(&page, "<w:Bookmark>", "</w:Bookmark>").unwrap();
    let header = "<w:OperationTimeout>PT20S</w:OperationTimeout>";
    let request = envelope(PULL, header, &pull_body(&context, 5));
    let mut waiting = bench.live.wire(OPERATOR).send(&request).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "it waits");
    drop(waiting);
    bench.vm("second");
    let resumed = format!("<w:SendBookmarks/><w:Bookmark>{bookmark}</w:Bookmark>");
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", &resumed));
    assert_eq!(names(&bench.pull(&context, 5, "PT5S")), ["second"], "what nobody took, and nothing twice");
    bench.stop();
}

#[test]
fn a_newer_pull_takes_the_place_of_one_that_waits() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", ""));
    let pull = |timeout: &'static str| {
        let (wire, context) = (bench.live.wire(OPERATOR), context.clone());
        std::thread::spawn(move || {
            let header = format!("<w:OperationTimeout>{timeout}</w:OperationTimeout>");
            ask_as(&wire, PULL, &header, &pull_body(&context, 5))
        })
    };
    let started = Instant::now();
    let older = pull("PT30S");
    std::thread::sleep(Duration::from_millis(300));
    let newer = pull("PT20S");
    let given_way = older.join().unwrap();
    assert!(given_way.contains("2150858793") && started.elapsed() < Duration::from_secs(15), "{given_way}");
    bench.vm("web01");
    assert_eq!(names(&newer.join().unwrap()), ["web01"]);
    bench.stop();
}

#[test]
fn an_unsubscribe_ends_the_pull_that_waits() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let answer = bench.subscribe(PULL_MODE, None, "", "");
    let (wire, context) = (bench.live.wire(OPERATOR), context_of(&answer));
    let waits = std::thread::spawn(move || {
        let header = "<w:OperationTimeout>PT20S</w:OperationTimeout>";
        ask_as(&wire, PULL, header, &pull_body(&context, 5))
    });
    let identifier = between(&answer, "eventing\">", "<").unwrap();
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    let gone = bench.ask(&format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>");
    assert!(gone.contains("UnsubscribeResponse"), "{gone}");
    let answer = waits.join().unwrap();
    assert!(answer.contains("InvalidEnumerationContext"), "{answer}");
    bench.stop();
}

#[test]
fn pulled_and_pushed_subscriptions_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start(Manner::Accept);
    let bench = Bench::start(directory.path(), |_| ());
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", ""));
    let pushed = bench.subscribe(PUSH, Some(&sink.url()), "", "");
    assert!(pushed.contains("SubscribeResponse"), "{pushed}");
    bench.vm("before");
    sink.wait(|messages| messages.len() == 1);
    assert_eq!(names(&bench.pull(&context, 5, "PT5S")), ["before"]);
    bench.vm("untold");
    sink.wait(|messages| messages.len() == 2);
    bench.stop();
    let bench = Bench::start(directory.path(), |_| ());
    bench.vm("after");
    sink.wait(|messages| messages.len() == 3);
    assert_eq!(told(&sink), ["before", "untold", "after"], "each once");
    let page = bench.pull(&context, 5, "PT5S");
    assert!(names(&page).contains(&"after".to_owned()), "{page}");
    bench.stop();
}

#[test]
fn each_mode_reaches_its_sink_in_its_form() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let (push, ack, batch) = (Sink::start(Manner::Accept), Sink::start(Manner::Ack), Sink::start(Manner::Ack));
    let credentials = "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\">\
                       <t:RequestSecurityTokenResponse><o:UsernameToken xmlns:o=\"urn:o\"><o:Username>u</o:Username>\
                       <o:Password>p</o:Password></o:UsernameToken></t:RequestSecurityTokenResponse></t:IssuedTokens>";
    let basic = "<w:Auth Profile=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic\"/>";
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH}\"><e:NotifyTo><a:Address>{}</a:Address></e:NotifyTo>{basic}\
         </e:Delivery><w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{NEW_VMS}</w:Filter>\
         </e:Subscribe>",
        push.url()
    );
    assert!(bench.ask(&format!("{EVENTING}Subscribe"), credentials, &body).contains("SubscribeResponse"));
    let audit = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"operation\":\"Subscribe\"") && !audit.contains("dTpw"), "{audit}");
    bench.subscribe(PUSH_WITH_ACK, Some(&ack.url()), "", "");
    let batched =
        "<w:MaxElements>2</w:MaxElements><w:MaxTime>PT20S</w:MaxTime><w:ContentEncoding>UTF-16</w:ContentEncoding>";
    bench.subscribe(EVENTS, Some(&batch.url()), batched, "");
    for name in ["a", "b"] {
        bench.vm(name);
    }
    push.wait(|messages| messages.len() == 2);
    ack.wait(|messages| messages.len() == 2);
    batch.wait(|messages| messages.len() == 1);
    assert_eq!((told(&push), told(&ack)), (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    let pushed = push.received();
    assert!(pushed[0].head.contains("Basic dTpw"), "{}", pushed[0].head);
    let acked = ack.received();
    assert!(acked[0].body.contains("T-1</k:Token>") && acked[0].body.contains("AckRequested"));
    assert!(!acked[0].head.to_lowercase().contains("authorization"));
    let batch = batch.received();
    assert!(batch[0].head.contains("charset=UTF-16"), "{}", batch[0].head);
    assert_eq!(names(&batch[0].body), ["a", "b"]);
    bench.stop();
}

#[test]
fn hostile_and_broken_sinks_hurt_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let bait = Sink::start(Manner::Accept);
    let good = Sink::start(Manner::Accept);
    let manners =
        [Manner::Refuse, Manner::Stall, Manner::Die, Manner::Status(500), Manner::Redirect(bait.url()), Manner::Flood];
    let bad: Vec<Sink> = manners.into_iter().map(Sink::start).collect();
    for sink in &bad {
        let retry = "<w:ConnectionRetry Total=\"1\">PT0.2S</w:ConnectionRetry>";
        let answer = bench.subscribe(PUSH, Some(&sink.url()), retry, "");
        assert!(answer.contains("SubscribeResponse"), "{answer}");
    }
    bench.subscribe(PUSH, Some(&good.url()), "", "");
    let started = Instant::now();
    bench.vm("web01");
    good.wait(|messages| messages.len() == 1);
    assert!(started.elapsed() < Duration::from_secs(2), "the good one waits for no other");
    let (refuse, broken) = bad.split_first().unwrap();
    for sink in broken.iter().filter(|sink| sink.answers()) {
        // Twice the event, once the end.
        sink.wait(|messages| 3 <= messages.len());
        let last = sink.received().pop().unwrap().body;
        assert!(last.contains("SubscriptionEnd") && last.contains("eventing/DeliveryFailure"), "{last}");
    }
    bench.vm("web02");
    good.wait(|messages| messages.len() == 2);
    assert_eq!(refuse.received().len(), 1, "no delivery after a refusal, and no SubscriptionEnd");
    assert!(bait.received().is_empty(), "no redirect is followed");
    bench.stop();
}

#[test]
fn sinks_elsewhere_are_refused_by_address_not_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    for address in [
        "http://192.0.2.1/sink",
        "http://[2001:db8::1]:5985/",
        "https://192.0.2.1:5986/",
        "http://0.0.0.0:1/",
        "ftp://127.0.0.1/",
        "/wsman",
        "http://user:secret@127.0.0.1/",
        "http://no-such-host.invalid/",
    ] {
        let answer = bench.subscribe(PUSH, Some(address), "", "");
        assert!(answer.contains("UnusableAddress") && answer.contains("2150858787"), "{address}: {answer}");
        assert!(!answer.contains("secret"));
    }
    let answer = bench.subscribe(PUSH, Some("http://localhost:9/"), "", "");
    assert!(answer.contains("SubscribeResponse"), "a name that stands for this machine: {answer}");
    let answer = ask_as(
        &bench.live.wire(VIEWER),
        &format!("{EVENTING}Subscribe"),
        "",
        &format!(
            "<e:Subscribe><e:Delivery Mode=\"{PUSH}\"><e:NotifyTo><a:Address>http://127.0.0.1:9/</a:Address></e:NotifyTo></e:Delivery><w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{NEW_VMS}</w:Filter></e:Subscribe>"
        ),
    );
    assert!(answer.contains("AccessDenied"), "{answer}");
    bench.stop();
}

#[test]
fn an_expired_subscription_tells_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let sink = Sink::start(Manner::Accept);
    bench.subscribe(PUSH, Some(&sink.url()), "<w:Heartbeats>PT60S</w:Heartbeats>", "<e:Expires>PT0.5S</e:Expires>");
    sink.wait(|messages| messages.len() == 1);
    let end = sink.received().pop().unwrap().body;
    assert!(end.contains("<e:SubscriptionEnd>") && end.contains("eventing/SourceCanceling"), "{end}");
    bench.stop();
}

/// Another account of the same name and password.
fn replace(data_dir: &Path, user: &str, role: Role) {
    UserFile::in_directory(data_dir).remove(user).unwrap();
    live::add(data_dir, user, role);
}

#[test]
fn a_user_who_is_made_anew_has_none_of_the_old_ones_subscriptions() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |config| config.limits.users_recheck_ms = 10);
    let sink = Sink::start(Manner::Accept);
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", ""));
    bench.subscribe(PUSH, Some(&sink.url()), "", "");
    bench.vm("before");
    sink.wait(|messages| messages.len() == 1);
    replace(directory.path(), OPERATOR, Role::Operator);
    sink.wait(|messages| messages.len() == 2);
    let end = sink.received().pop().unwrap().body;
    assert!(end.contains("<e:SubscriptionEnd>") && end.contains("its owner may not subscribe any more"), "{end}");
    let refused = bench.pull(&context, 5, "PT1S");
    assert!(refused.contains("InvalidEnumerationContext"), "{refused}");
    bench.vm("after");
    bench.stop();
    let bench = Bench::start(directory.path(), |_| ());
    bench.vm("later");
    assert!(bench.pull(&context, 5, "PT0.1S").contains("InvalidEnumerationContext"), "also after a restart");
    assert_eq!(told(&sink), ["before"]);
    bench.stop();
}

/// What is stored of the one subscription, changed as an earlier server would have it.
fn stored(data_dir: &Path, change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let store = RedbStore::open(&data_dir.join("failbackd.redb")).unwrap();
    let (key, stored) = store.list("/subscription/", None, 2).unwrap().pop().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&stored.octets).unwrap();
    change(&mut record);
    let put = Op::Put(key, serde_json::to_vec(&record).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store.commit(Txn { when: Vec::new(), then: vec![put] })).unwrap();
    record["record"]["owner"].clone()
}

/// Whether each subscription that is stored asks for a certificate, and the version of its record.
fn versions(data_dir: &Path) -> Vec<(bool, u64)> {
    let store = RedbStore::open(&data_dir.join("failbackd.redb")).unwrap();
    let rows = store.list("/subscription/", None, 9).unwrap();
    let read = |octets: &[u8]| {
        let stored: serde_json::Value = serde_json::from_slice(octets).unwrap();
        (!stored["record"]["delivery"]["certificate"].is_null(), stored["version"].as_u64().unwrap())
    };
    let mut versions: Vec<_> = rows.iter().map(|(_, row)| read(&row.octets)).collect();
    versions.sort_unstable();
    versions
}

#[test]
fn a_subscription_that_an_earlier_server_stored_is_its_users_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    let context = context_of(&bench.subscribe(PULL_MODE, None, "", ""));
    bench.stop();
    let owner = stored(directory.path(), |record| {
        record["record"]["owner"].as_object_mut().unwrap().remove("account").unwrap();
    });
    assert_eq!(owner, serde_json::json!({"name": OPERATOR, "local": false}));
    let bench = Bench::start(directory.path(), |_| ());
    bench.vm("web01");
    assert_eq!(names(&bench.pull(&context, 5, "PT5S")), ["web01"], "it goes on");
    bench.stop();
    let owner = stored(directory.path(), |_| ());
    assert_eq!(owner["account"].as_str().map(str::len), Some(32), "{owner}");
    replace(directory.path(), OPERATOR, Role::Operator);
    let bench = Bench::start(directory.path(), |_| ());
    assert!(bench.pull(&context, 5, "PT0.1S").contains("InvalidEnumerationContext"));
    bench.stop();
}

#[test]
fn a_stored_subscription_to_what_is_not_told_any_more_ends_with_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, other) = (Sink::start(Manner::Accept), Sink::start(Manner::Accept));
    let bench = Bench::start(directory.path(), |_| ());
    assert!(bench.subscribe(PUSH, Some(&sink.url()), "", "").contains("SubscribeResponse"));
    bench.stop();
    stored(directory.path(), |record| {
        let filter = record["record"]["filter"].as_str().unwrap();
        record["record"]["filter"] = filter.replace("Msvm_ReplicationRelationship", "Msvm_ReplicationService").into();
    });
    let bench = Bench::start(directory.path(), |_| ());
    sink.wait(|messages| !messages.is_empty());
    let end = sink.received().pop().unwrap().body;
    assert!(end.contains("<e:SubscriptionEnd>") && end.contains("does not tell such events any more"), "{end}");
    assert!(bench.subscribe(PUSH, Some(&other.url()), "", "").contains("SubscribeResponse"));
    bench.vm("web01");
    other.wait(|messages| messages.len() == 1);
    bench.stop();
    let store = RedbStore::open(&directory.path().join("failbackd.redb")).unwrap();
    for rows in ["/subscription/", "/subscribed/"] {
        assert_eq!(store.list(rows, None, 9).unwrap().len(), 1, "nothing is left of it in {rows}");
    }
}
