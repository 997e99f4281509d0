//! A Kerberos client through the system's GSS-API: MIT's library is opened at run time where it is installed, and the
//! ticket is the one that `kinit` has got. The suite's only foreign code, and its only unsafe code.
#![expect(unsafe_code, reason = "GSS-API is a C library")]

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::{null, null_mut};

use libloading::{Library, Symbol};

use super::{Mechanism, end_point};

/// Where the library may be found.
const LIBRARIES: &[&str] = &["libgssapi_krb5.so.2", "libgssapi_krb5.so", "libgssapi_krb5.dylib"];
/// Kerberos 5: 1.2.840.113554.1.2.2 (RFC 4121).
static KERBEROS: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02];
/// The name form `service@host`: 1.2.840.113554.1.2.1.4 (RFC 2743 4.1).
static HOST_BASED_SERVICE: [u8; 10] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x01, 0x04];
/// Mutual, replay, sequence, confidentiality, integrity (RFC 2744 appendix A).
const FLAGS: u32 = 2 | 4 | 8 | 16 | 32;
const CONTINUE_NEEDED: u32 = 1;
/// The upper half of a major status holds the errors.
const ERRORS: u32 = 0xFFFF_0000;
/// Kinds of buffers in gssapi_ext.h: header and padding, allocated by the library, and data in place.
const HEADER: u32 = 2;
const DATA: u32 = 1;
const PADDING: u32 = 9;
const ALLOCATE: u32 = 0x0001_0000;
/// Status codes of the library or of the mechanism.
const OF_GSS: i32 = 1;
const OF_MECHANISM: i32 = 2;

#[repr(C)]
struct Oid {
    length: u32,
    elements: *const c_void,
}

#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

#[repr(C)]
struct IovBuffer {
    kind: u32,
    buffer: Buffer,
}

#[repr(C)]
struct Bindings {
    initiator_type: u32,
    initiator: Buffer,
    acceptor_type: u32,
    acceptor: Buffer,
    application: Buffer,
}

type Handle = *mut c_void;
type ImportName = unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
type InitContext = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    Handle,
    *const Oid,
    u32,
    u32,
    *const Bindings,
    *const Buffer,
    *mut *const Oid,
    *mut Buffer,
    *mut u32,
    *mut u32,
) -> u32;
type WrapIov = unsafe extern "C" fn(*mut u32, Handle, i32, u32, *mut i32, *mut IovBuffer, i32) -> u32;
type UnwrapIov = unsafe extern "C" fn(*mut u32, Handle, *mut i32, *mut u32, *mut IovBuffer, i32) -> u32;
type ReleaseIov = unsafe extern "C" fn(*mut u32, *mut IovBuffer, i32) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;
type ReleaseName = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type DeleteContext = unsafe extern "C" fn(*mut u32, *mut Handle, *mut Buffer) -> u32;
type DisplayStatus = unsafe extern "C" fn(*mut u32, u32, i32, *const Oid, *mut u32, *mut Buffer) -> u32;

impl Buffer {
    const fn empty() -> Self {
        Self { length: 0, value: null_mut() }
    }

    /// A view of octets that the library only reads.
    fn of(octets: &[u8]) -> Self {
        Self { length: octets.len(), value: octets.as_ptr().cast_mut().cast() }
    }

    /// A copy of what the library has written.
    ///
    /// # Safety
    /// The buffer is empty, or its octets are alive.
    // SAFETY: the caller holds what the documentation asks.
    unsafe fn copy(&self) -> Vec<u8> {
        if self.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller says that the octets are alive, and the library says how many there are.
        unsafe { std::slice::from_raw_parts(self.value.cast::<u8>().cast_const(), self.length) }.to_vec()
    }
}

/// The client's side of one login. It is used by one thread at a time, which is all that GSS-API asks for.
pub(crate) struct Client {
    /// Never closed: other parts of it may still be in use by the process.
    library: ManuallyDrop<Library>,
    name: Handle,
    context: Handle,
    binding: Option<Vec<u8>>,
    is_done: bool,
}

// SAFETY: MIT's contexts and names are not bound to the thread that made them, and `Client` is never shared.
unsafe impl Send for Client {}

impl Client {
    /// A login at the service HTTP of a host.
    pub(crate) fn new(host: &str, certificate: Option<&[u8]>) -> Result<Self, String> {
        let open = |name: &&str| {
            // SAFETY: the library's constructors do nothing that Rust has to know of.
            unsafe { Library::new(*name) }.ok()
        };
        let library = LIBRARIES.iter().find_map(open).ok_or("Kerberos needs MIT's GSS-API library (libgssapi_krb5)")?;
        let binding = certificate.map(end_point);
        let library = ManuallyDrop::new(library);
        let mut client = Self { library, name: null_mut(), context: null_mut(), binding, is_done: false };
        let service = format!("HTTP@{host}");
        let form = Oid { length: 10, elements: HOST_BASED_SERVICE.as_ptr().cast() };
        let import: Symbol<'_, ImportName> = client.function(b"gss_import_name\0")?;
        let (mut minor, mut name) = (0, null_mut());
        // SAFETY: every pointer is to a live local of the type that RFC 2744 gives it.
        let major = unsafe { import(&raw mut minor, &Buffer::of(service.as_bytes()), &raw const form, &raw mut name) };
        client.name = name;
        client.check(major, minor)?;
        Ok(client)
    }

    fn function<T>(&self, name: &'static [u8]) -> Result<Symbol<'_, T>, String> {
        // SAFETY: the types above are those of RFC 2744 and of MIT's gssapi_ext.h.
        unsafe { self.library.get(name) }.map_err(|error| format!("GSS-API: {error}"))
    }

    fn check(&self, major: u32, minor: u32) -> Result<(), String> {
        if major & ERRORS == 0 {
            return Ok(());
        }
        let parts = [self.words(major, OF_GSS), self.words(minor, OF_MECHANISM)];
        let told: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Err(format!("Kerberos: {}", told.join(": ")))
    }

    fn words(&self, status: u32, kind: i32) -> String {
        let Ok(display) = self.function::<DisplayStatus>(b"gss_display_status\0") else { return String::new() };
        let mechanism = Oid { length: 9, elements: KERBEROS.as_ptr().cast() };
        let (mut minor, mut more, mut text) = (0, 0, Buffer::empty());
        let major =
            // SAFETY: every pointer is to a live local of the type that RFC 2744 gives it.
            unsafe { display(&raw mut minor, status, kind, &raw const mechanism, &raw mut more, &raw mut text) };
        if major & ERRORS != 0 {
            return String::new();
        }
        self.take(text).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
    }

    /// Copies a buffer of the library's and gives it back.
    fn take(&self, mut buffer: Buffer) -> Result<Vec<u8>, String> {
        // SAFETY: the library has just filled it, and it is released only below.
        let octets = unsafe { buffer.copy() };
        let release: Symbol<'_, ReleaseBuffer> = self.function(b"gss_release_buffer\0")?;
        let mut minor = 0;
        // SAFETY: the buffer is the library's own, and nobody looks at it afterwards.
        unsafe { release(&raw mut minor, &raw mut buffer) };
        Ok(octets)
    }
}

impl Mechanism for Client {
    fn scheme(&self) -> &'static str {
        "Kerberos"
    }

    fn protocol(&self) -> &'static str {
        "application/HTTP-Kerberos-session-encrypted"
    }

    fn step(&mut self, token: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        if self.is_done {
            return Ok(None);
        }
        let mechanism = Oid { length: 9, elements: KERBEROS.as_ptr().cast() };
        let data = self.binding.as_deref().map_or_else(Buffer::empty, Buffer::of);
        let bindings = Bindings {
            initiator_type: 0,
            initiator: Buffer::empty(),
            acceptor_type: 0,
            acceptor: Buffer::empty(),
            application: data,
        };
        let bindings: *const Bindings = if self.binding.is_some() { &raw const bindings } else { null() };
        let input = token.map_or_else(Buffer::empty, Buffer::of);
        let (mut minor, mut out, mut context) = (0, Buffer::empty(), self.context);
        let major = {
            let init: Symbol<'_, InitContext> = self.function(b"gss_init_sec_context\0")?;
            // SAFETY: every pointer is null where RFC 2744 allows it, or to a live local of the right type; the name
            // and the context are the library's own, from its earlier answers.
            unsafe {
                init(
                    &raw mut minor,
                    null_mut(),
                    &raw mut context,
                    self.name,
                    &raw const mechanism,
                    FLAGS,
                    0,
                    bindings,
                    &raw const input,
                    null_mut(),
                    &raw mut out,
                    null_mut(),
                    null_mut(),
                )
            }
        };
        self.context = context;
        let answer = self.take(out)?;
        self.check(major, minor)?;
        self.is_done = major & CONTINUE_NEEDED == 0;
        Ok(Some(answer).filter(|answer| !answer.is_empty()))
    }

    fn seal(&mut self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let mut data = message.to_vec();
        let part = |kind: u32, buffer: Buffer| IovBuffer { kind, buffer };
        let in_place = Buffer { length: data.len(), value: data.as_mut_ptr().cast() };
        let mut parts =
            [part(HEADER | ALLOCATE, Buffer::empty()), part(DATA, in_place), part(PADDING | ALLOCATE, Buffer::empty())];
        let (mut minor, mut sealed) = (0, 0);
        let wrap: Symbol<'_, WrapIov> = self.function(b"gss_wrap_iov\0")?;
        // SAFETY: three parts, of which the middle one is `data`, alive and not looked at during the call.
        let major = unsafe { wrap(&raw mut minor, self.context, 1, 0, &raw mut sealed, parts.as_mut_ptr(), 3) };
        let [header, _, padding] = &parts;
        // SAFETY: the library has filled both, and they are released only below.
        let (signature, padding) = unsafe { (header.buffer.copy(), padding.buffer.copy()) };
        let release: Symbol<'_, ReleaseIov> = self.function(b"gss_release_iov_buffer\0")?;
        let mut ignored = 0;
        // SAFETY: releases only what the library has allocated, which nobody looks at afterwards.
        unsafe { release(&raw mut ignored, parts.as_mut_ptr(), 3) };
        self.check(major, minor)?;
        if sealed == 0 {
            return Err("Kerberos: the message was not sealed".to_owned());
        }
        data.extend(padding);
        Ok((signature, data))
    }

    fn unseal(&mut self, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String> {
        let (mut header, mut data) = (signature.to_vec(), ciphertext.to_vec());
        let part = |kind: u32, octets: &mut Vec<u8>| IovBuffer {
            kind,
            buffer: Buffer { length: octets.len(), value: octets.as_mut_ptr().cast() },
        };
        let mut parts = [part(HEADER, &mut header), part(DATA, &mut data), part(PADDING, &mut Vec::new())];
        let (mut minor, mut sealed, mut quality) = (0, 0, 0);
        let unwrap: Symbol<'_, UnwrapIov> = self.function(b"gss_unwrap_iov\0")?;
        let major =
            // SAFETY: header and data are alive and not looked at during the call; the padding has no octets.
            unsafe { unwrap(&raw mut minor, self.context, &raw mut sealed, &raw mut quality, parts.as_mut_ptr(), 3) };
        self.check(major, minor)?;
        if sealed == 0 {
            return Err("Kerberos: the answer was not sealed".to_owned());
        }
        let [_, opened, _] = &parts;
        // SAFETY: the message lies within `data`, which is alive.
        Ok(unsafe { opened.buffer.copy() })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut minor = 0;
        if let Ok(delete) = self.function::<DeleteContext>(b"gss_delete_sec_context\0") {
            let mut context = self.context;
            // SAFETY: the context is the library's own or null, and this is its last use.
            unsafe { delete(&raw mut minor, &raw mut context, null_mut()) };
        }
        if let Ok(release) = self.function::<ReleaseName>(b"gss_release_name\0") {
            let mut name = self.name;
            // SAFETY: the name is the library's own or null, and this is its last use.
            unsafe { release(&raw mut minor, &raw mut name) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_ticket_the_reason_is_told() {
        // Without the library, or without a ticket: an error in words either way, never a login.
        match Client::new("no-such-host.invalid", Some(b"certificate")) {
            Err(told) => assert!(told.contains("Kerberos"), "{told}"),
            Ok(mut client) => {
                assert!(client.seal(b"x").is_err());
                assert!(client.step(None).unwrap_err().starts_with("Kerberos: "));
            }
        }
    }
}
