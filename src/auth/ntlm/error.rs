//! Why an NTLM handshake is refused.

use std::fmt;

/// Why a handshake is refused: for the log, and never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NtlmError {
    /// A message is longer than any has reason to be.
    TooLong,
    /// A message is none of NTLM's, or of another type than is due.
    Kind,
    /// A message's header is cut off.
    CutOff,
    /// A field points into the header, past the end or nowhere.
    Field,
    /// The target information is no list of pairs.
    Pairs,
    /// The client can send text in no character set.
    NoCharset,
    /// The client does not do extended session security.
    NotExtended,
    /// The client wants keys of fewer than 128 bits.
    Weak,
    /// The type 3 has other security flags than the challenge.
    FlagsChanged,
    /// The client says that it is nobody.
    Anonymous,
    /// The user's name is not well-formed text, or has characters that no name has.
    Name,
    /// The domain's name is not well-formed text.
    Domain,
    /// LM or NTLMv1, or no proof at all.
    NotV2,
    /// The proof covers other target information than the challenge had.
    OtherTarget,
    /// No session key, or none of the right size, although one was agreed on.
    SessionKey,
    /// An integrity code is announced and not there, or it is required and not announced.
    NoMic,
    /// The proof is not the user's.
    WrongProof,
    /// The three messages are not what the client sent and saw.
    WrongMic,
}

impl NtlmError {
    /// The reason in words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::TooLong => "an NTLM message is too long",
            Self::Kind => "not the NTLM message that is due",
            Self::CutOff => "an NTLM message is cut off",
            Self::Field => "an NTLM message has a field that points outside its payload",
            Self::Pairs => "NTLM target information is damaged",
            Self::NoCharset => "the client offers NTLM without a character set",
            Self::NotExtended => "the client offers NTLM without extended session security",
            Self::Weak => "the client offers NTLM with keys of fewer than 128 bits",
            Self::FlagsChanged => "the flags of NTLM were changed during the handshake",
            Self::Anonymous => "an anonymous login",
            Self::Name => "the user's name is empty, too long, not well-formed or has control characters",
            Self::Domain => "the domain's name is not well-formed",
            Self::NotV2 => "LM or NTLMv1, which prove too little",
            Self::OtherTarget => "the NTLM proof is for another target than this server",
            Self::SessionKey => "the session key of NTLM is missing or damaged",
            Self::NoMic => "the integrity code of NTLM is missing",
            Self::WrongProof => "wrong password or unknown user",
            Self::WrongMic => "the NTLM messages were changed on their way",
        }
    }
}

impl fmt::Display for NtlmError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.why())
    }
}

impl std::error::Error for NtlmError {}
