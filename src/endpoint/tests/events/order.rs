//! The order in which changes are published is not that of the store's revisions, by which a restart places them. No
//! place that is stored or sent as a bookmark lets a restart skip what was still to be told.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::lab::{JOBS, Lab, PULL_MODE, between, number, statuses};
use crate::endpoint::{EventLimits, Progress};
use crate::job::JobId;
use crate::replication::{Change, JobEntry, ReplicationHealth, Transition, Vm};

const HEALTH: &str = "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ReplicationRelationship'";

impl Lab {
    /// A job's change with this revision.
    fn job(&self, number: u128, revision: u64) -> Change {
        let entry = Arc::clone(self.view.borrow().job(JobId(Uuid::from_u128(number))).unwrap());
        let mut entry = JobEntry::clone(&entry);
        entry.job.job_status = format!("job {number}, revision {revision}");
        entry.revision = revision;
        Change::Job(Arc::new(entry))
    }

    /// What subscribers find after a restart of all: the context's events, and those behind the bookmark.
    fn told_after_a_restart(&self, context: &str, bookmark: &str, all: bool) -> [Vec<String>; 2] {
        let records = self.endpoint.subscription_records();
        let progress = self.endpoint.moved_subscriptions(all, self.now());
        self.later(1);
        let restarted = self.restarted(EventLimits::default());
        restarted.restore(&records, &progress);
        let resumed = restarted.pulled(JOBS, &format!("<w:Bookmark>{bookmark}</w:Bookmark>"));
        [context, &resumed].map(|context| statuses(&restarted.pull(context, 9)))
    }
}

fn stored(lab: &Lab) -> Vec<(Uuid, Progress)> {
    lab.endpoint.moved_subscriptions(true, lab.now())
}

fn bookmark(page: &str) -> String {
    between(page, "<w:Bookmark>", "</w:Bookmark>").unwrap_or_else(|| panic!("{page}"))
}

//= EVT-13
#[test]
fn a_change_that_was_published_late_is_not_lost_to_a_restart() {
    for all in [false, true] {
        let lab = Lab::new();
        let context = lab.pulled(JOBS, "<w:SendBookmarks/>");
        let mut changes = Vec::new();
        for change in [lab.job(1, 11), lab.job(2, 10)] {
            changes.extend(Transition::apply(&mut lab.view.borrow_mut(), change));
        }
        lab.endpoint.record_changes((changes, 11), lab.now());
        let page = lab.pull(&context, 1);
        assert_eq!(statuses(&page).last().unwrap(), "job 1, revision 11");
        let late = "job 2, revision 10".to_owned();
        for told in lab.told_after_a_restart(&context, &bookmark(&page), all) {
            assert!(told.contains(&late), "{told:?}");
        }
        // Without a restart nothing comes twice.
        let resumed = lab.pulled(JOBS, &format!("<w:Bookmark>{}</w:Bookmark>", bookmark(&page)));
        assert_eq!(statuses(&lab.pull(&resumed, 9)).last(), Some(&late));
        assert!(!lab.pull(&resumed, 9).contains("revision 11"));
        assert_eq!(statuses(&lab.pull(&context, 9)).last(), Some(&late));
        assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793);
    }
}

//= EVT-13
#[test]
fn a_change_that_is_still_to_be_published_is_not_lost_to_a_crash() {
    for all in [false, true] {
        let lab = Lab::new();
        let context = lab.pulled(JOBS, "<w:SendBookmarks/>");
        lab.complete.set(9);
        lab.change(lab.job(1, 11));
        let page = lab.pull(&context, 1);
        assert_eq!(statuses(&page).last().unwrap(), "job 1, revision 11");
        // It is durable, and the server dies.
        let change = lab.job(2, 10);
        lab.view.borrow_mut().apply(change);
        for told in lab.told_after_a_restart(&context, &bookmark(&page), all) {
            assert_eq!(told, ["job 2, revision 10", "job 1, revision 11"]);
        }
    }
}

#[test]
fn only_whole_bookmarks_are_taken() {
    let lab = Lab::new();
    for bad in ["9.0.0-", "9.0.0-1", "9.0.0-1-", "9.0.0-1-8.0", "9.0.0-1-+8", "9.0.0-1-8-1", "-1-8"] {
        let bookmark =
            format!("<w:Bookmark><b:Position xmlns:b=\"urn:failbackd:eventing\">{bad}</b:Position></w:Bookmark>");
        assert_eq!(number(&lab.subscribe(PULL_MODE, "", JOBS, &bookmark)), 2_150_858_808, "{bad}");
    }
}

#[test]
fn once_all_is_published_the_whole_place_is_stored() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "");
    lab.complete.set(9);
    lab.change(lab.job(1, 11));
    lab.pull(&context, 9);
    let stored = || lab.endpoint.moved_subscriptions(false, lab.now());
    assert_eq!(stored()[0].1.position.revision, 9);
    assert!(stored().is_empty(), "nothing new");
    lab.complete.set(11);
    lab.change(lab.job(2, 10));
    lab.pull(&context, 9);
    assert_eq!(stored()[0].1.position.revision, 11);
    assert!(stored().is_empty());
}

/// The machines that events tell of.
fn machines(page: &str) -> Vec<String> {
    page.split("<p:SourceInstance ").skip(1).map(|event| between(event, "<r:InstanceID>", "<").unwrap()).collect()
}

/// Changes the health of all machines in one transaction; published in another order than that of the view.
fn touch_all(lab: &Lab, revision: u64) {
    let machines: Vec<Arc<Vm>> = lab.view.borrow().vms_after(None).cloned().collect();
    let mut changes = Vec::new();
    for vm in machines.iter().rev() {
        let vm = Vm { health: ReplicationHealth(3), revision, ..Vm::clone(vm) };
        changes.extend(Transition::apply(&mut lab.view.borrow_mut(), Change::Vm(Arc::new(vm))));
    }
    lab.endpoint.record_changes((changes, revision), lab.now());
}

#[test]
fn what_one_transaction_did_to_many_is_told_of_each_though_a_restart_comes_between() {
    for taken in 1..3 {
        let lab = Lab::new();
        let context = lab.pulled(HEALTH, "");
        touch_all(&lab, 10);
        let mut told = machines(&lab.pull(&context, taken));
        let (records, progress) = (lab.endpoint.subscription_records(), stored(&lab));
        let restarted = lab.restarted(EventLimits::default());
        restarted.restore(&records, &progress);
        told.extend(machines(&restarted.pull(&context, 9)));
        assert_eq!(BTreeSet::from_iter(told).len(), 3, "{taken}");
    }
}

#[test]
fn what_one_transaction_did_to_many_is_told_of_each_though_one_changed_before_the_next_restart() {
    let mut lab = Lab::new();
    let context = lab.pulled(HEALTH, "");
    touch_all(&lab, 10);
    let records = lab.endpoint.subscription_records();
    let mut progress = vec![(records[0].id, Progress::default())];
    lab = lab.restarted(EventLimits::default());
    lab.restore(&records, &progress);
    let mut told = machines(&lab.pull(&context, 2));
    lab.revision.set(10);
    // The first of the view leaves its place.
    lab.touch_vm(0xA1, 2);
    progress.extend(stored(&lab));
    lab = lab.restarted(EventLimits::default());
    lab.restore(&records, &progress);
    told.extend(machines(&lab.pull(&context, 9)));
    assert_eq!(BTreeSet::from_iter(told).len(), 3);
}

#[test]
fn the_live_progress_of_a_job_holds_no_place_back() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "<w:SendBookmarks/>");
    lab.change(lab.job(2, 20));
    lab.view.borrow().job(JobId(Uuid::from_u128(1))).unwrap().progress.raise_percent(88);
    lab.endpoint.record_progress(&lab.view.borrow(), lab.now());
    let page = lab.pull(&context, 1);
    assert!(
        bookmark(&page).contains(">20.") && !bookmark(&page).contains('-'),
        "what was not stored has no place of its own: {page}"
    );
}
