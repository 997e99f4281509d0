//! Identify (DSP0226 section 11): the one operation without addressing.

use crate::xml::{Writer, name};

/// Who built the product; nothing about the machine that it runs on.
const VENDOR: &str = "failbackd";
/// What the anonymous are told instead of a version. Clients parse the number of the stack. //= IDN-04
const ANONYMOUS_VERSION: &str = "OS: 0.0.0 SP: 0.0 Stack: 3.0";

/// The two spellings of the namespace of Identify; the answer uses that of the request. //= IDN-06
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityNamespace {
    /// That of the schema, of Openwsman, OMI and Windows.
    Identity,
    /// That printed in MS-WSMV.
    Identify,
}

impl IdentityNamespace {
    /// Recognise a namespace URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            name::IDENTITY => Some(Self::Identity),
            name::IDENTIFY => Some(Self::Identify),
            _ => None,
        }
    }

    /// The namespace URI.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Identity => name::IDENTITY,
            Self::Identify => name::IDENTIFY,
        }
    }
}

/// Write the body of an answer. The anonymous get the same words from every server of this kind.
pub fn write_identify_response(w: &mut Writer<'_>, ns: IdentityNamespace, anonymous: bool, version: &str) {
    write_body(w, ns, anonymous, version, &[]);
}

fn write_body(w: &mut Writer<'_>, ns: IdentityNamespace, anonymous: bool, version: &str, profiles: &[&str]) {
    w.open("wsmid:IdentifyResponse");
    w.attribute("xmlns:wsmid", ns.uri());
    w.close();
    w.leaf("wsmid:ProtocolVersion", name::WSMAN);
    w.leaf("wsmid:ProductVendor", VENDOR);
    w.leaf("wsmid:ProductVersion", if anonymous { ANONYMOUS_VERSION } else { version });
    if !anonymous && !profiles.is_empty() {
        w.start("wsmid:SecurityProfiles");
        for profile in profiles {
            w.leaf("wsmid:SecurityProfileName", profile);
        }
        w.end("wsmid:SecurityProfiles");
    }
    w.end("wsmid:IdentifyResponse");
}

/// Write a whole answer: an envelope with an empty header. `profiles` are the URIs of the security profiles that are
/// enabled, and only told to the authenticated. //= IDN-01 IDN-05
pub fn encode_identify_response(
    out: &mut Vec<u8>,
    ns: IdentityNamespace,
    anonymous: bool,
    version: &str,
    profiles: &[&str],
) {
    let mut w = Writer::new(out);
    w.open("s:Envelope");
    w.attribute("xml:lang", "en-US");
    w.attribute("xmlns:s", name::SOAP);
    w.raw("><s:Header/><s:Body>");
    write_body(&mut w, ns, anonymous, version, profiles);
    w.raw("</s:Body></s:Envelope>");
}
