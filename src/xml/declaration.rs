//! The XML declaration, by its grammar (XML 1.0, production 23): quick-xml reads past what is wrong in one. What it
//! says of the encoding does not count, since the text is decoded by then.

/// What is wrong with the declaration whose text between `<?xml` and `?>` is this.
pub(super) fn check(content: &str) -> Result<(), &'static str> {
    let mut rest = content;
    match attribute(&mut rest, "version") {
        Some("1.0") => {}
        _ => return Err("the XML declaration does not say version 1.0"),
    }
    if let Some(name) = attribute(&mut rest, "encoding") {
        let mut octets = name.bytes();
        let is_name = octets.next().is_some_and(|octet| octet.is_ascii_alphabetic())
            && octets.all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet));
        if !is_name {
            return Err("the XML declaration names no encoding");
        }
    }
    if attribute(&mut rest, "standalone").is_some_and(|value| value != "yes" && value != "no") {
        return Err("standalone in the XML declaration is neither yes nor no");
    }
    if trimmed(rest).is_empty() { Ok(()) } else { Err("the XML declaration is not well-formed") }
}

/// Takes `S name S? = S? 'value'` off the front; leaves it alone when something else is there.
fn attribute<'t>(rest: &mut &'t str, name: &str) -> Option<&'t str> {
    let text = trimmed(rest);
    if text.len() == rest.len() {
        return None;
    }
    let text = trimmed(trimmed(text.strip_prefix(name)?).strip_prefix('=')?);
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (value, after) = text.get(1..)?.split_once(quote)?;
    *rest = after;
    Some(value)
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn the_grammar_decides() {
        for good in [
            " version=\"1.0\"",
            " version='1.0' encoding='UTF-8'",
            "\n version = \"1.0\"\tencoding=\"utf-16\" standalone = 'yes' ",
            " version=\"1.0\" standalone=\"no\"",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " version=\"1.1\"",
            "version=\"1.0\"",
            " version=\"1.0\"encoding=\"UTF-8\"",
            " version=\"1.0\" encoding=UTF-8",
            " version=\"1.0\" encoding=\"UTF-8",
            " version=\"1.0\" encoding=\"\"",
            " version=\"1.0\" encoding=\"8\"",
            " version=\"1.0\" standalone=\"maybe\"",
            " version=\"1.0\" standalone=\"yes\" encoding=\"UTF-8\"",
            " version=\"1.0\" <a",
            " encoding=\"UTF-8\"",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
