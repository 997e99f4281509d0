//! The one table of stable messages: refusals (FBD1xxx), failures of jobs (FBD2xxx), the engine's own (FBD3xxx),
//! the server's (FBD4xxx).
//!
//! An id never changes its meaning and is never used again. Operators search for it, so the table is the reference:
//! `Denied::message_id`, job errors and log events name rows of it and nothing else.

/// One row: what the id means, why it comes up, what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// `FBD` and four digits.
    pub id: &'static str,
    /// The start of the sentence that names the subject, such as `Could not fail back`.
    pub summary: &'static str,
    /// `ProbableCause` of `CIM_Error` (the X.733 list).
    pub probable_cause: u16,
    /// The cause in words.
    pub cause: &'static str,
    /// What to do, most useful first.
    pub actions: &'static [&'static str],
}

/// Values of `CIM_Error.ProbableCause` that the table uses.
mod cause {
    /// Other.
    pub(super) const OTHER: u16 = 1;
    /// Communications Subsystem Failure.
    pub(super) const COMMUNICATIONS: u16 = 7;
    /// Configuration/Customization Error.
    pub(super) const CONFIGURATION: u16 = 8;
    /// Corrupt Data.
    pub(super) const CORRUPT: u16 = 10;
    /// I/O Device Error.
    pub(super) const INPUT_OUTPUT: u16 = 24;
    /// Software Error.
    pub(super) const SOFTWARE: u16 = 47;
    /// Software Program Error (Incorrect Results).
    pub(super) const PROGRAM: u16 = 49;
    /// Storage Capacity Problem.
    pub(super) const STORAGE_CAPACITY: u16 = 50;
    /// Threshold Crossed.
    pub(super) const THRESHOLD: u16 = 52;
    /// Underlying Resource Unavailable.
    pub(super) const UNAVAILABLE: u16 = 57;
    /// Unauthorized Access.
    pub(super) const ACCESS: u16 = 65;
    /// Element Missing.
    pub(super) const MISSING: u16 = 73;
    /// Timeout.
    pub(super) const TIMEOUT: u16 = 111;
    /// Information Modification.
    pub(super) const MODIFIED: u16 = 123;
    /// Out of Service.
    pub(super) const OUT_OF_SERVICE: u16 = 128;
}

macro_rules! messages {
    ($(
        $constant:ident = $id:literal, $summary:literal, $cause:expr,
        $text:literal, [$($action:literal),* $(,)?];
    )*) => {
        impl Message {
            $(
                #[doc = concat!($id, ": ", $text)]
                pub const $constant: Message = Message {
                    id: $id, summary: $summary, probable_cause: $cause, cause: $text, actions: &[$($action),*],
                };
            )*
        }

        /// Every message, in the order of the ids.
        pub const MESSAGES: &[Message] = &[ $( Message::$constant, )* ];
    };
}

messages! {
    ENGINE_REFUSED = "FBD1000", "Could not start the operation on", cause::SOFTWARE,
        "The store or the engine failed while it admitted the operation; nothing was changed",
        [
            "Look at the server's log for the error of the store.",
            "Free space on the volume of the data directory.",
            "Repeat the call.",
        ];
    NOT_PERMITTED = "FBD1001", "Access was denied for", cause::ACCESS,
        "The backend may not open an image or a directory",
        ["Give the account of the server read and write access to the path.", "Repeat the call."];
    NOT_SUPPORTED = "FBD1002", "Not supported for", cause::CONFIGURATION,
        "The backend of the virtual machine does not offer this operation",
        ["Use a backend whose Msvm_ReplicationProvider has the capability."];
    UNKNOWN_ANSWER = "FBD1003", "The backend's answer was not understood for", cause::PROGRAM,
        "The backend answered with a status that the engine does not know",
        ["Look at the backend's own log.", "Bring backend and server to matching versions."];
    TIMED_OUT = "FBD1004", "The check ran out of time for", cause::TIMEOUT,
        "The backend did not finish its admission check in time",
        [
            "Check that the peer and the volumes of the images answer.",
            "Raise limits.admission_timeout_ms in the server's configuration.",
            "Repeat the call.",
        ];
    UNKNOWN_VM = "FBD1005", "There is no", cause::CONFIGURATION,
        "No virtual machine has this name or GUID",
        ["Enumerate Msvm_ComputerSystem for the virtual machines of this host."];
    UNKNOWN_POINT = "FBD1006", "The recovery point was not found for", cause::CONFIGURATION,
        "The peer does not hold a recovery point with this identifier for this virtual machine",
        [
            "Enumerate the recovery points (Msvm_VirtualSystemSettingData) of the virtual machine.",
            "Leave RecoveryPointIdentifier out to fail back to the present.",
        ];
    INVALID_SETTING = "FBD1007", "A replication setting is not valid for", cause::CONFIGURATION,
        "A value in ReplicationSettingData is outside its range or contradicts another",
        ["Correct the property that is named.", "Send null to keep the current settings."];
    IN_USE = "FBD1008", "Another operation is running on", cause::OTHER,
        "A failback or another exclusive operation on this virtual machine has not ended",
        ["Follow or cancel the running job.", "Repeat the call after it has ended."];
    INVALID_STATE = "FBD1009", "The state does not allow the operation on", cause::OTHER,
        "The replication state, the role or the power state does not allow the operation",
        [
            "Read ReplicationState, ReplicationMode and EnabledState of the virtual machine.",
            "Bring it into a state that allows the operation.",
        ];
    WRONG_TYPE = "FBD1010", "A value has the wrong type for", cause::CONFIGURATION,
        "A TYPE in the embedded instance is not the type of the property",
        ["Correct the TYPE of the property that is named."];
    BACKEND_NOT_LOADED = "FBD1011", "The backend is not loaded for", cause::OUT_OF_SERVICE,
        "The backend that the virtual machine names is not loaded",
        ["Load the backend in the server's configuration and start the server again."];
    PEER_UNREACHABLE = "FBD1012", "The peer cannot be reached for", cause::COMMUNICATIONS,
        "The peer site does not answer",
        ["Check that the peer's directory is mounted and its host is up.", "Repeat the call."];
    JOB_TABLE_FULL = "FBD1013", "The job table is full for", cause::THRESHOLD,
        "The server already keeps as many jobs as jobs_max allows",
        ["Wait until finished jobs are removed.", "Raise jobs_max."];
    IMAGE_MISSING = "FBD1014", "An image is missing for", cause::MISSING,
        "A disk image of the virtual machine does not exist",
        [
            "Restore the image at the path that is named, or correct the inventory.",
            "Repeat the call.",
        ];
    SETTINGS_CHANGED = "FBD1015", "Somebody else changed the settings of", cause::OTHER,
        "The settings are not those any more that the change was made from",
        ["Read the settings again.", "Change what they are now."];
    ENTRY_EXISTS = "FBD1016", "There is an authorization entry already for", cause::CONFIGURATION,
        "A primary host has one authorization entry",
        ["Modify the entry that is there, or remove it first."];
    NO_ENTRY = "FBD1017", "There is no authorization entry for", cause::CONFIGURATION,
        "No primary host of this name is authorized",
        ["Enumerate Msvm_ReplicationAuthorizationSettingData."];
    ENTRIES_FULL = "FBD1018", "No further authorization entry is kept for", cause::THRESHOLD,
        "The server keeps a bounded number of authorization entries",
        ["Remove entries that are not needed any more."];
    REQUEST_PANICKED = "FBD1101", "A bug ended a request of", cause::PROGRAM,
        "The server met a bug while it answered; the connection goes on",
        ["Report the place that the log names.", "Look at the jobs before you repeat a call that changes something."];
    LOGIN_REFUSED = "FBD1102", "Refused the login of", cause::ACCESS,
        "The user is unknown, or the password is wrong",
        ["Check the name and the password; `failbackd user list` lists the users."];
    ACCEPT_FAILED = "FBD1103", "Could not accept a connection for", cause::UNAVAILABLE,
        "The system refuses further connections, most often for want of file descriptors",
        ["Raise the limit of open files (ulimit -n, LimitNOFILE), or lower limits.connections_max."];
    LOCAL_REFUSED = "FBD1104", "Refused the administration socket to", cause::ACCESS,
        "Only the server's own user and root may use the administration socket",
        ["Run the command as the server's user or as root."];
    CONNECTIONS_LIMITED = "FBD1105", "Serves fewer connections than configured on", cause::CONFIGURATION,
        "The system's limit of open files is too low for limits.connections_max",
        ["Raise the limit of open files (ulimit -n, LimitNOFILE), or lower limits.connections_max."];
    SEALED_REFUSED = "FBD1106", "Refused a sealed message of", cause::ACCESS,
        "A sealed message was damaged, repeated or out of order, or sealed with other keys than those of the login",
        [
            "Let the client log in again: login and connection were ended.",
            "If it comes again, look for a proxy that changes or repeats requests.",
        ];
    CLEAR_REFUSED = "FBD1107", "Refused a message in clear of", cause::ACCESS,
        "The login of the connection must seal its messages, and the client sent one in clear",
        [
            "Let the client seal its messages; failbackd auth doctor --client NAME says how.",
            "Let the client connect over HTTPS with channel bindings.",
            "Set allow_unencrypted (HTTP) or channel_binding in [login] (HTTPS), where you can do without.",
        ];
    OUT_OF_SPACE = "FBD2001", "Could not finish the operation on", cause::STORAGE_CAPACITY,
        "The volume of an image is full",
        ["Free space on the volume.", "Start the operation again."];
    IMAGE_LOST = "FBD2002", "Could not finish the operation on", cause::MISSING,
        "A disk image went away while the job ran",
        ["Restore the image at the path that is named.", "Start the operation again."];
    IMAGE_SHRUNK = "FBD2003", "Could not finish the operation on", cause::MODIFIED,
        "A disk image is smaller than it was",
        ["Find out what resized the image and restore its size.", "Start the operation again."];
    ACCESS_LOST = "FBD2004", "Could not finish the operation on", cause::ACCESS,
        "The server may not open an image any more",
        ["Give the account of the server access to the path.", "Start the operation again."];
    CHANGED_AFTER_QUIESCE = "FBD2005", "Could not finish the operation on", cause::MODIFIED,
        "The peer's image changed after the peer's virtual machine had been stopped",
        [
            "Find out what still writes to the peer's image.",
            "Check the stop hook.",
            "Start the operation again.",
        ];
    PEER_LOST = "FBD2006", "Could not finish the operation on", cause::COMMUNICATIONS,
        "The peer site stopped answering while the job ran",
        [
            "Check that the peer's directory is mounted and its host is up.",
            "Start the operation again.",
        ];
    HOOK_FAILED = "FBD2007", "Could not finish the operation on", cause::SOFTWARE,
        "A stop or start hook of the virtual machine failed",
        ["Run the hook by hand and read what it prints.", "Start the operation again."];
    INPUT_OUTPUT = "FBD2008", "Could not finish the operation on", cause::INPUT_OUTPUT,
        "Reading or writing an image failed",
        [
            "Check the volume and the kernel's log for faults of the device.",
            "Start the operation again.",
        ];
    VERIFY_FAILED = "FBD2009", "Could not finish the operation on", cause::CORRUPT,
        "The verification found home and peer to differ",
        ["Check the memory and the volumes of both sites.", "Start the operation again."];
    BACKEND_PANIC = "FBD2010", "Could not finish the operation on", cause::PROGRAM,
        "The backend ended in an error of its own program",
        ["Report the message and the server's log.", "Start the operation again."];
    BACKEND_REFUSED = "FBD2011", "Could not finish the operation on", cause::SOFTWARE,
        "The backend refused a step of the job",
        ["Look at the backend's own log.", "Start the operation again."];
    UNDO_FAILED = "FBD2012", "Could not start the peer again for", cause::SOFTWARE,
        "The job was undone, but the peer's virtual machine could not be resumed",
        ["Start the virtual machine at the peer by hand.", "Check the start hook."];
    BACKEND_GONE = "FBD2013", "Could not go on with the operation on", cause::OUT_OF_SERVICE,
        "The backend that the job needs is no longer loaded",
        [
            "Load the backend in the server's configuration and start the server again.",
            "Start the operation again.",
        ];
    STATE_LOST = "FBD2014", "Could not finish the operation on", cause::SOFTWARE,
        "The state of the virtual machine no longer allows the end of the operation",
        ["Read the virtual machine's state.", "Start the operation again."];
    IMAGE_IN_USE = "FBD2015", "Could not finish the operation on", cause::UNAVAILABLE,
        "A guest or another program uses an image that must be free",
        ["Stop what uses the image.", "Start the operation again."];
    STORE_FAILED = "FBD3001", "The store failed for", cause::UNAVAILABLE,
        "The store could not make a change durable",
        [
            "Free space on the volume of the data directory.",
            "Restart the server: its jobs go on from their checkpoints.",
        ];
    FINISH_FAILED = "FBD3002", "The clean-up after the failback failed for", cause::SOFTWARE,
        "The failback is complete, but the backend could not put its files in order",
        ["Look at the server's log; the clean-up is tried again at the next start."];
    CERTIFICATE_RELOADED = "FBD4001", "Read the certificate again from", cause::OTHER,
        "The server was told to read its certificate, and the authorities of client certificates, again (SIGHUP)",
        ["Nothing: new connections get the certificate with the fingerprint that is named."];
    CERTIFICATE_KEPT = "FBD4002", "Could not read the certificate again from", cause::CONFIGURATION,
        "The certificate, its key or the client authorities cannot be read, or do not fit; those in use stay",
        ["Correct the file that is named.", "Send SIGHUP again."];
    DIRECTORY_SHARED = "FBD4003", "Others may write to", cause::ACCESS,
        "The data directory lets accounts besides its owner's write, who could put other users or images there",
        ["Take the permission away: chmod go-rwx.", "Look for files that the server did not make."];
    USERS_RELOADED = "FBD4004", "Read the users again from", cause::OTHER,
        "The users file has changed",
        ["Nothing: logins are checked against the new users."];
    USERS_UNUSABLE = "FBD4005", "Could not read the users again from", cause::CONFIGURATION,
        "The users file is damaged, open to others or cannot be read; nobody can log in",
        ["Correct the file, or its mode, as the error says; it is read again by itself."];
    MEMORY_EXPOSED = "FBD4006", "Could not keep core dumps from", cause::CONFIGURATION,
        "The system did not let the server turn its core dumps off; one would hold hashes and keys",
        ["Set LimitCORE=0 where the server is started.", "Keep core dumps where nobody else can read them."];
    KERBEROS_MISSING = "FBD4007", "Could not offer Kerberos on", cause::CONFIGURATION,
        "A keytab is configured, and it cannot be used, or MIT's GSS-API library is not installed",
        [
            "Do what the error says; failbackd auth doctor says it too.",
            "Install the library: on Debian, the package libgssapi-krb5-2.",
            "Start the server again.",
        ];
    CREDSSP_KEY = "FBD4008", "Clients may not take for CredSSP the certificate", cause::CONFIGURATION,
        "CredSSP is on, and the server's certificate has no RSA key; clients in Python take no other",
        ["Name a certificate with an RSA key in [tls]."];
    AUDIT_LOST = "FBD4020", "Could not write the audit log", cause::STORAGE_CAPACITY,
        "The audit log cannot be written or opened; lost lines are counted, and told in it when it can be again",
        [
            "Free space on the volume of the audit log, or correct audit.file or its permissions.",
            "Send SIGHUP to have the file opened again.",
        ];
    AUDIT_RESUMED = "FBD4021", "Could write the audit log again", cause::OTHER,
        "The audit log can be written again; the lines that are counted are lost",
        ["Look for what was lost in the server's log."];
    AUDIT_REOPENED = "FBD4022", "Opened the audit log again", cause::OTHER,
        "The server was told to open its audit log again (SIGHUP)",
        ["Nothing: lines from now on are in the file of that name."];
    RECORDING = "FBD4023", "Writes every exchange to files on", cause::CONFIGURATION,
        "The server was told to record what clients send (--record); secrets are taken out as far as they are known",
        ["Record in a lab only, and look through the files before you pass them on."];
    RECORD_FAILED = "FBD4024", "Could not record an exchange on", cause::STORAGE_CAPACITY,
        "A file of the recording cannot be written; the server goes on without it",
        ["Free space on the volume of the recording, or correct the directory's permissions."];
    SINK_CERTIFICATE_MISSING = "FBD4025", "Could not deliver events to the sink of", cause::CONFIGURATION,
        "The server lacks the certificate that the sink is to see, or the sink does not ask for it: nothing is sent",
        [
            "Name the certificate and its key in [eventing], and start the server again.",
            "Where the certificate was replaced, let the subscriber subscribe anew, with the new thumbprint.",
        ];
    SINK_CERTIFICATE_RELOADED = "FBD4026", "Read the certificate for event sinks again on", cause::OTHER,
        "The server was told to read its certificates again (SIGHUP)",
        ["Nothing: new connections to sinks that ask for it get the certificate with the thumbprint that is named."];
    SINK_CERTIFICATE_KEPT = "FBD4027", "Could not read the certificate for event sinks again on", cause::CONFIGURATION,
        "The certificate, its key or the authorities in [eventing] cannot be read, or do not fit; those in use stay",
        ["Correct the file that is named.", "Send SIGHUP again."];
}

impl Message {
    /// The row with this id.
    #[must_use]
    pub fn find(id: &str) -> Option<&'static Message> {
        MESSAGES.iter().find(|message| message.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_ordered_and_complete() {
        assert!(MESSAGES.windows(2).all(|pair| pair[0].id < pair[1].id));
        for message in MESSAGES {
            assert!(message.id.len() == 7 && message.id.starts_with("FBD"), "{}", message.id);
            assert!(!message.actions.is_empty() && !message.cause.ends_with('.'), "{}", message.id);
            assert_eq!(Message::find(message.id), Some(message));
        }
        assert_eq!(Message::find("FBD0000"), None);
    }
}
