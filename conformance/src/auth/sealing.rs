//! The framing of sealed messages over plain HTTP (MS-WSMV 2.2.9.1): a multipart body whose second part is a signature
//! and a ciphertext.

use super::Mechanism;

const BOUNDARY: &str = "--Encrypted Boundary";

/// The Content-Type and the body of a sealed message.
pub(crate) fn seal(
    mechanism: &mut dyn Mechanism,
    content_type: &str,
    message: &[u8],
) -> Result<(String, Vec<u8>), String> {
    let (signature, ciphertext) = mechanism.seal(message)?;
    let protocol = mechanism.protocol();
    let size = u32::try_from(signature.len()).map_err(|error| error.to_string())?;
    let mut body = format!(
        "{BOUNDARY}\r\n\tContent-Type: {protocol}\r\n\tOriginalContent: type={content_type};Length={}\r\n\
         {BOUNDARY}\r\n\tContent-Type: application/octet-stream\r\n",
        message.len()
    )
    .into_bytes();
    body.extend(size.to_le_bytes());
    body.extend(signature);
    body.extend(ciphertext);
    body.extend(format!("{BOUNDARY}--\r\n").into_bytes());
    Ok((format!("multipart/encrypted;protocol=\"{protocol}\";boundary=\"Encrypted Boundary\""), body))
}

/// Whether an answer's Content-Type says that it is sealed.
pub(crate) fn is_sealed(content_type: &str) -> bool {
    content_type.to_ascii_lowercase().starts_with("multipart/encrypted")
}

/// The original Content-Type and the message of a sealed body.
pub(crate) fn unseal(mechanism: &mut dyn Mechanism, body: &[u8]) -> Result<(String, Vec<u8>), String> {
    let mut rest = body;
    let mut original = String::new();
    // Headers are lines of text up to the one that announces octets; none of them is longer than a kilobyte.
    loop {
        let end = rest.windows(2).take(1024).position(|pair| pair == b"\r\n").ok_or("no part with octets")?;
        let line = String::from_utf8_lossy(rest.get(..end).unwrap_or(&[])).trim().to_owned();
        rest = rest.get(end + 2..).unwrap_or(&[]);
        if let Some(value) = line.strip_prefix("OriginalContent: type=") {
            value.clone_into(&mut original);
        }
        if line.eq_ignore_ascii_case("Content-Type: application/octet-stream") {
            break;
        }
    }
    let (content_type, length) = original.rsplit_once(";Length=").ok_or("no OriginalContent with a Length")?;
    let length: usize = length.trim().parse().map_err(|_| format!("{length:?} is no length"))?;
    let tail = rest.len().checked_sub(BOUNDARY.len() + 4).ok_or("no end of the parts")?;
    let (sealed, end) = rest.split_at_checked(tail).ok_or("no end of the parts")?;
    if end != format!("{BOUNDARY}--\r\n").as_bytes() {
        return Err("the last boundary is missing".to_owned());
    }
    let (size, sealed) = sealed.split_first_chunk::<4>().ok_or("no signature")?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|error| error.to_string())?;
    let (signature, ciphertext) = sealed.split_at_checked(size).ok_or("the signature is longer than the part")?;
    let message = mechanism.unseal(signature, ciphertext)?;
    if message.len() != length {
        return Err(format!("OriginalContent says {length} octets, there are {}", message.len()));
    }
    Ok((content_type.to_owned(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns every bit round, and signs with the length.
    struct Mirror;

    impl Mechanism for Mirror {
        fn scheme(&self) -> &'static str {
            "Mirror"
        }

        fn protocol(&self) -> &'static str {
            "application/mirror"
        }

        fn step(&mut self, _: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
            Ok(None)
        }

        fn seal(&mut self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
            Ok((vec![7; 3], message.iter().map(|octet| !octet).collect()))
        }

        fn unseal(&mut self, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String> {
            if signature != [7; 3] {
                return Err("the signature is wrong".to_owned());
            }
            Ok(ciphertext.iter().map(|octet| !octet).collect())
        }
    }

    #[test]
    fn a_sealed_message_comes_back() {
        let message = b"<a/>\r\n--Encrypted Boundary\r\n";
        let (kind, body) = seal(&mut Mirror, "application/soap+xml;charset=UTF-8", message).unwrap();
        assert!(is_sealed(&kind) && !is_sealed("application/soap+xml"));
        let (original, back) = unseal(&mut Mirror, &body).unwrap();
        assert_eq!((original.as_str(), back.as_slice()), ("application/soap+xml;charset=UTF-8", message.as_slice()));
    }

    #[test]
    fn broken_frames_are_told() {
        let (_, body) = seal(&mut Mirror, "t", b"message").unwrap();
        for cut in 0..body.len() {
            assert!(unseal(&mut Mirror, &body[..cut]).is_err(), "{cut}");
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains(";Length=7"));
        let wrong = body.iter().map(|octet| if *octet == b'7' { b'8' } else { *octet }).collect::<Vec<_>>();
        assert!(unseal(&mut Mirror, &wrong).is_err());
    }
}
