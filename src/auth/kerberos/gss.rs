//! MIT's GSS-API library, opened at run time: the one file of the project with unsafe code.
//!
//! Only functions that this server needs are bound, by hand, after RFC 2744 and MIT's `gssapi.h` and `gssapi_ext.h`.
//! Everything that leaves this file is safe: handles are owned by types that release them, and what the library hands
//! out is copied. The library is never closed, so its functions stay valid as long as the process.
#![expect(unsafe_code, reason = "MIT's library is C; this file is its safe face")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::OnceLock;

use libloading::os::unix::Library;

use super::error::Status;
use super::token::{MECHANISM, MECHANISM_OF_WINDOWS};

/// The library's name for the loader; Debian's package is libgssapi-krb5-2.
const LIBRARY: &str = "libgssapi_krb5.so.2";

/// 1.2.840.113554.1.2.1.4, `service` or `service@host`.
const HOSTBASED_SERVICE: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04";

/// Flags of RFC 2744, 5.1, of a login that was accepted: messages can be encrypted.
pub(super) const FLAG_CONFIDENTIAL: u32 = 0x10;
/// Messages can be signed.
pub(super) const FLAG_INTEGRITY: u32 = 0x20;
/// The initiator is nobody.
pub(super) const FLAG_ANONYMOUS: u32 = 0x40;
/// The initiator gave the acceptor's channel binding. MIT sets it since 1.19.
pub(super) const FLAG_CHANNEL_BOUND: u32 = 0x800;

/// `GSS_S_CONTINUE_NEEDED`, the one supplementary bit that is no complaint about a message.
const CONTINUE_NEEDED: u32 = 1;
/// Kinds of codes for `gss_display_status`.
const GSS_CODE: c_int = 1;
const MECHANISM_CODE: c_int = 2;
/// `GSS_C_ACCEPT`.
const ACCEPT: c_int = 2;
/// `GSS_C_INDEFINITE`.
const INDEFINITE: u32 = u32::MAX;
/// Kinds of buffers of `gss_wrap_iov`.
const IOV_DATA: u32 = 1;
const IOV_HEADER: u32 = 2;
const IOV_STREAM: u32 = 10;

/// A handle of the library: a name, a credential or a context.
type Handle = *mut c_void;

/// `gss_buffer_desc`.
#[repr(C)]
struct Octets {
    length: usize,
    value: *mut c_void,
}

impl Octets {
    const EMPTY: Self = Self { length: 0, value: ptr::null_mut() };

    /// For parameters that the library only reads.
    fn of(octets: &[u8]) -> Self {
        Self { length: octets.len(), value: octets.as_ptr().cast_mut().cast() }
    }

    /// For parameters that the library works on in place.
    fn of_mut(octets: &mut [u8]) -> Self {
        Self { length: octets.len(), value: octets.as_mut_ptr().cast() }
    }
}

/// `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: u32,
    elements: *mut c_void,
}

impl Oid {
    fn of(elements: &'static [u8]) -> Self {
        let length = u32::try_from(elements.len()).unwrap_or(0);
        Self { length, elements: elements.as_ptr().cast_mut().cast() }
    }
}

/// `gss_OID_set_desc`.
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *mut Oid,
}

/// `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValues {
    count: u32,
    elements: *mut KeyValue,
}

/// `gss_channel_bindings_struct`. Addresses are left out by everyone who binds to TLS (RFC 5929 and Windows): type 0.
#[repr(C)]
struct Bindings {
    initiator_type: u32,
    initiator: Octets,
    acceptor_type: u32,
    acceptor: Octets,
    application: Octets,
}

/// `gss_iov_buffer_desc`.
#[repr(C)]
struct Iov {
    kind: u32,
    buffer: Octets,
}

/// Declares the table of the library's functions and how it is filled.
macro_rules! functions {
    ($($name:ident($($kind:ty),* $(,)?);)*) => {
        /// The library's functions. Each returns a major status and puts a minor one where its first argument says.
        struct Functions {
            $($name: unsafe extern "C" fn(*mut u32, $($kind),*) -> u32,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $(
                        // SAFETY: the symbol is the C function of that name, whose parameters in `gssapi.h` and
                        // `gssapi_ext.h` are those of the table; `load` says why it stays there.
                        $name: unsafe { *library.get(stringify!($name))? },
                    )*
                })
            }
        }
    };
}

functions! {
    gss_import_name(*const Octets, *const Oid, *mut Handle);
    gss_display_name(Handle, *mut Octets, *mut *const Oid);
    gss_release_name(*mut Handle);
    gss_acquire_cred_from(
        Handle, u32, *const OidSet, c_int, *const KeyValues, *mut Handle, *mut *mut OidSet, *mut u32,
    );
    gss_release_cred(*mut Handle);
    gss_accept_sec_context(
        *mut Handle, Handle, *const Octets, *const Bindings, *mut Handle, *mut *const Oid, *mut Octets, *mut u32,
        *mut u32, *mut Handle,
    );
    gss_inquire_context(
        Handle, *mut Handle, *mut Handle, *mut u32, *mut *const Oid, *mut u32, *mut c_int, *mut c_int,
    );
    gss_delete_sec_context(*mut Handle, *mut Octets);
    gss_wrap_iov_length(Handle, c_int, u32, *mut c_int, *mut Iov, c_int);
    gss_wrap_iov(Handle, c_int, u32, *mut c_int, *mut Iov, c_int);
    gss_unwrap_iov(Handle, *mut c_int, *mut u32, *mut Iov, c_int);
    gss_get_mic(Handle, u32, *const Octets, *mut Octets);
    gss_verify_mic(Handle, *const Octets, *const Octets, *mut u32);
    gss_display_status(u32, c_int, *const Oid, *mut u32, *mut Octets);
    gss_release_buffer(*mut Octets);
}

/// The library, opened at the first call; the error is the loader's.
pub(super) fn load() -> Result<Gss, String> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    let found = FUNCTIONS.get_or_init(|| {
        // SAFETY: loading runs the initialisers of MIT's library and of what it needs. Those set up tables of their own
        // under locks of their own and ask nothing of their caller.
        let library = unsafe { Library::new(LIBRARY) }.map_err(|error| error.to_string())?;
        // Never closed: the table holds bare pointers to its functions.
        Functions::find(&ManuallyDrop::new(library)).map_err(|error| error.to_string())
    });
    found.as_ref().map(Gss).map_err(Clone::clone)
}

/// The open library.
#[derive(Clone, Copy)]
pub(super) struct Gss(&'static Functions);

impl Gss {
    /// Call a function, which gets a place for its minor status. Success is `GSS_S_COMPLETE` and nothing beside it: a
    /// duplicate, late or missing message is an error here.
    fn call(self, function: impl FnOnce(&Functions, *mut u32) -> u32) -> Result<(), Status> {
        let mut minor = 0;
        let major = function(self.0, &raw mut minor);
        if major == 0 { Ok(()) } else { Err(self.status(major, minor)) }
    }

    fn status(self, major: u32, minor: u32) -> Status {
        let mut parts = Vec::new();
        let codes = [(major & !CONTINUE_NEEDED, GSS_CODE), (minor, MECHANISM_CODE)];
        for (code, kind) in codes.into_iter().filter(|(code, _)| *code != 0) {
            let mut text = Buffer::new(self);
            let (mut ignored, mut more) = (0, 0);
            let mechanism = Oid::of(MECHANISM);
            // SAFETY: every pointer is to a local that outlives the call, and `text` is empty.
            let failed = unsafe {
                (self.0.gss_display_status)(
                    &raw mut ignored,
                    code,
                    kind,
                    &raw const mechanism,
                    &raw mut more,
                    &raw mut text.octets,
                )
            };
            if failed == 0 {
                parts.push(String::from_utf8_lossy(&text.copy()).into_owned());
            }
        }
        Status { major, minor, text: parts.join(": ") }
    }

    /// A name `service`, of any host.
    fn service_name(self, service: &str) -> Result<Name, Status> {
        let mut name = Name { gss: self, handle: ptr::null_mut() };
        let (octets, kind) = (Octets::of(service.as_bytes()), Oid::of(HOSTBASED_SERVICE));
        // SAFETY: every pointer is to a local that outlives the call; the library copies the octets and the kind. The
        // handle is empty, and owned by `name` afterwards.
        self.call(|library, minor| unsafe {
            (library.gss_import_name)(minor, &raw const octets, &raw const kind, &raw mut name.handle)
        })?;
        Ok(name)
    }
}

/// Octets that the library has allocated.
struct Buffer {
    gss: Gss,
    octets: Octets,
}

impl Buffer {
    fn new(gss: Gss) -> Self {
        Self { gss, octets: Octets::EMPTY }
    }

    fn copy(&self) -> Vec<u8> {
        if self.octets.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library filled both fields, so there are `length` octets at `value`, and they live until `drop`.
        unsafe { slice::from_raw_parts(self.octets.value.cast::<u8>(), self.octets.length) }.to_vec()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the buffer is empty or was filled by the library, and nobody has released it.
        unsafe { (self.gss.0.gss_release_buffer)(&raw mut minor, &raw mut self.octets) };
    }
}

/// A name of the library's.
struct Name {
    gss: Gss,
    handle: Handle,
}

impl Name {
    /// As Kerberos writes it: `service/host@REALM`, with a backslash before separators that are part of a component.
    fn display(&self) -> Result<Vec<u8>, Status> {
        let mut text = Buffer::new(self.gss);
        let mut kind = ptr::null();
        // SAFETY: the handle is a name that lives; the other pointers are to locals that outlive the call, and `text`
        // is empty. The kind is the library's own constant and is not looked at.
        self.gss.call(|library, minor| unsafe {
            (library.gss_display_name)(minor, self.handle, &raw mut text.octets, &raw mut kind)
        })?;
        Ok(text.copy())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            let mut minor = 0;
            // SAFETY: the handle is a name of the library's, and nobody has released it.
            unsafe { (self.gss.0.gss_release_name)(&raw mut minor, &raw mut self.handle) };
        }
    }
}

/// The keys of one service, to accept logins with.
pub(super) struct Credential {
    gss: Gss,
    handle: Handle,
}

// SAFETY: a credential is not bound to the thread that made it.
unsafe impl Send for Credential {}
// SAFETY: the library locks a credential while it uses it, and ours is passed to `gss_accept_sec_context` alone.
unsafe impl Sync for Credential {}

/// A login that was accepted, as the library tells it.
pub(super) struct Accepted {
    pub(super) context: Context,
    /// For the client; empty when it wants none.
    pub(super) token: Vec<u8>,
    /// Who it is, as Kerberos writes it.
    pub(super) client: Vec<u8>,
    /// Whose key opened the ticket.
    pub(super) service: Vec<u8>,
    pub(super) flags: u32,
    /// For how long the ticket is good, in seconds.
    pub(super) seconds: u32,
}

impl Credential {
    /// The keys of `service`, of whatever host, in a keytab (`FILE:/path`), with a replay cache (`file2:/path`). For
    /// Kerberos alone, whatever other mechanisms are installed. The files are read at each login, not here.
    pub(super) fn acquire(gss: Gss, service: &str, keytab: &CStr, replay_cache: &CStr) -> Result<Self, Status> {
        let name = gss.service_name(service)?;
        let mut mechanisms = [Oid::of(MECHANISM), Oid::of(MECHANISM_OF_WINDOWS)];
        let mechanisms = OidSet { count: 2, elements: mechanisms.as_mut_ptr() };
        let mut elements = [
            KeyValue { key: c"keytab".as_ptr(), value: keytab.as_ptr() },
            KeyValue { key: c"rcache".as_ptr(), value: replay_cache.as_ptr() },
        ];
        let store = KeyValues { count: 2, elements: elements.as_mut_ptr() };
        let mut credential = Self { gss, handle: ptr::null_mut() };
        // SAFETY: every pointer is to a local or a string that outlives the call, counts are those of the arrays, and
        // the library copies what it keeps. Null is allowed for the results that nobody wants. The handle is empty, and
        // owned by `credential` afterwards.
        gss.call(|library, minor| unsafe {
            (library.gss_acquire_cred_from)(
                minor,
                name.handle,
                INDEFINITE,
                &raw const mechanisms,
                ACCEPT,
                &raw const store,
                &raw mut credential.handle,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        })?;
        Ok(credential)
    }

    /// Take a client's token. Blocks: reads the keytab, and reads and writes the replay cache.
    pub(super) fn accept(&self, token: &[u8], binding: Option<&[u8]>) -> Result<Accepted, Status> {
        let gss = self.gss;
        let bindings = binding.map(|octets| Bindings {
            initiator_type: 0,
            initiator: Octets::EMPTY,
            acceptor_type: 0,
            acceptor: Octets::EMPTY,
            application: Octets::of(octets),
        });
        let bindings = bindings.as_ref().map_or(ptr::null(), ptr::from_ref);
        let input = Octets::of(token);
        let mut context = Context { gss, handle: ptr::null_mut() };
        let mut client = Name { gss, handle: ptr::null_mut() };
        let mut answer = Buffer::new(gss);
        let (mut flags, mut seconds) = (0, 0);
        // SAFETY: the credential lives; every pointer is to a local, or to octets that are borrowed, and outlives the
        // call, which only reads `input` and `bindings`. Null is allowed for the results that nobody wants, and for the
        // delegated credential means that none is kept. The handles and the answer are empty, and owned by values that
        // release them, also when the call fails.
        gss.call(|library, minor| unsafe {
            (library.gss_accept_sec_context)(
                minor,
                &raw mut context.handle,
                self.handle,
                &raw const input,
                bindings,
                &raw mut client.handle,
                ptr::null_mut(),
                &raw mut answer.octets,
                &raw mut flags,
                &raw mut seconds,
                ptr::null_mut(),
            )
        })?;
        if context.handle.is_null() || client.handle.is_null() {
            return Err(Status::odd("a login without a context or a name"));
        }
        let service = context.service()?.display()?;
        Ok(Accepted { client: client.display()?, service, token: answer.copy(), context, flags, seconds })
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            let mut minor = 0;
            // SAFETY: the handle is a credential of the library's, and nobody has released it.
            unsafe { (self.gss.0.gss_release_cred)(&raw mut minor, &raw mut self.handle) };
        }
    }
}

/// The keys and sequence numbers of a login.
pub(super) struct Context {
    gss: Gss,
    handle: Handle,
}

// SAFETY: a context is not bound to the thread that made it, and `&mut self` keeps two threads from using it at once.
unsafe impl Send for Context {}

impl Context {
    /// The service whose key opened the client's ticket.
    fn service(&self) -> Result<Name, Status> {
        let mut name = Name { gss: self.gss, handle: ptr::null_mut() };
        // SAFETY: the context lives and is established; null is allowed for the results that nobody wants. The handle
        // is empty, and owned by `name` afterwards.
        self.gss.call(|library, minor| unsafe {
            (library.gss_inquire_context)(
                minor,
                self.handle,
                ptr::null_mut(),
                &raw mut name.handle,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        })?;
        if name.handle.is_null() { Err(Status::odd("a login without a service")) } else { Ok(name) }
    }

    /// The octets of a sealed message's signature. An error with keys of old types (RC4, DES), whose tokens have no
    /// place for all of it.
    pub(super) fn signature_octets(&self) -> Result<usize, Status> {
        let mut iov = [IOV_HEADER, IOV_DATA].map(|kind| Iov { kind, buffer: Octets::EMPTY });
        let mut sealed = 0;
        // SAFETY: the context lives; the count is that of the array. The call reads and writes lengths alone.
        self.gss.call(|library, minor| unsafe {
            (library.gss_wrap_iov_length)(minor, self.handle, 1, 0, &raw mut sealed, iov.as_mut_ptr(), 2)
        })?;
        let [header, _] = iov;
        Ok(header.buffer.length)
    }

    /// Seal a message in place. `signature` has [`Self::signature_octets`] and comes first in the token: without a
    /// buffer of its own the trailer moves into the header (RFC 4121, 4.2.5), and the ciphertext is as long as the
    /// message.
    pub(super) fn wrap(&mut self, signature: &mut [u8], message: &mut [u8]) -> Result<(), Status> {
        let lengths = [signature.len(), message.len()];
        let mut iov = [
            Iov { kind: IOV_HEADER, buffer: Octets::of_mut(signature) },
            Iov { kind: IOV_DATA, buffer: Octets::of_mut(message) },
        ];
        let mut sealed = 0;
        // SAFETY: the context lives and is borrowed alone; the count is that of the array, and its buffers are two
        // slices that are borrowed alone, with their true lengths.
        self.gss.call(|library, minor| unsafe {
            (library.gss_wrap_iov)(minor, self.handle, 1, 0, &raw mut sealed, iov.as_mut_ptr(), 2)
        })?;
        if sealed == 0 || iov.map(|iov| iov.buffer.length) != lengths {
            return Err(Status::odd("a message that was not sealed as announced"));
        }
        Ok(())
    }

    /// Open a sealed message in place; where in `token` it stands then. Refuses one that was only signed, and one out
    /// of order as far as the client asked for that.
    pub(super) fn unwrap(&mut self, token: &mut [u8]) -> Result<Range<usize>, Status> {
        let mut iov =
            [Iov { kind: IOV_STREAM, buffer: Octets::of_mut(token) }, Iov { kind: IOV_DATA, buffer: Octets::EMPTY }];
        let (mut sealed, mut quality) = (0, 0);
        // SAFETY: the context lives and is borrowed alone; the count is that of the array. The stream is a slice that
        // is borrowed alone, with its true length. The library allocates no buffer unless its flag is set: it makes the
        // second one point into the first.
        self.gss.call(|library, minor| unsafe {
            (library.gss_unwrap_iov)(minor, self.handle, &raw mut sealed, &raw mut quality, iov.as_mut_ptr(), 2)
        })?;
        let [_, Iov { buffer, .. }] = iov;
        if sealed == 0 {
            return Err(Status::odd("a message that was signed, but not sealed"));
        }
        let start = buffer.value.addr().checked_sub(token.as_ptr().addr());
        let range = start.and_then(|start| Some(start..start.checked_add(buffer.length)?));
        range.filter(|range| range.end <= token.len()).ok_or_else(|| Status::odd("a message outside its token"))
    }

    /// The signature of a message.
    pub(super) fn mic(&mut self, message: &[u8]) -> Result<Vec<u8>, Status> {
        let input = Octets::of(message);
        let mut token = Buffer::new(self.gss);
        // SAFETY: the context lives and is borrowed alone; the message is borrowed and only read; `token` is empty.
        self.gss.call(|library, minor| unsafe {
            (library.gss_get_mic)(minor, self.handle, 0, &raw const input, &raw mut token.octets)
        })?;
        Ok(token.copy())
    }

    /// Check the signature of a message.
    pub(super) fn verify_mic(&mut self, message: &[u8], mic: &[u8]) -> Result<(), Status> {
        let (input, token) = (Octets::of(message), Octets::of(mic));
        let mut quality = 0;
        // SAFETY: the context lives and is borrowed alone; message and signature are borrowed and only read.
        self.gss.call(|library, minor| unsafe {
            (library.gss_verify_mic)(minor, self.handle, &raw const input, &raw const token, &raw mut quality)
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            let mut minor = 0;
            // SAFETY: the handle is a context of the library's, and nobody has deleted it. No farewell token is wanted.
            unsafe { (self.gss.0.gss_delete_sec_context)(&raw mut minor, &raw mut self.handle, ptr::null_mut()) };
        }
    }
}
