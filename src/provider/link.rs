//! The `Link` header (RFC 8288).

/// The target of the first link whose relation is `next`, as written.
pub(super) fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        // Whatever stands between two links is a comma and blanks.
        let start = rest.find('<')?;
        let after = &rest[start + 1..];
        let (target, after) = after.split_once('>')?;
        let (parameters, after) = parameters(after);
        if is_next(parameters) {
            return Some(target.trim());
        }
        rest = after;
    }
}

/// Splits at the comma that ends a link, which is the first one outside of quotes.
fn parameters(text: &str) -> (&str, &str) {
    match outside_quotes(text, ',') {
        Some(comma) => (&text[..comma], &text[comma + 1..]),
        None => (text, ""),
    }
}

/// Whether the first `rel` has `next` among its relations (RFC 8288, section 3.3: others are
/// ignored).
fn is_next(mut parameters: &str) -> bool {
    while !parameters.is_empty() {
        let end = outside_quotes(parameters, ';').unwrap_or(parameters.len());
        let parameter = &parameters[..end];
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            let value = value.trim().trim_matches('"');
            return value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        parameters = parameters.get(end + 1..).unwrap_or_default();
    }
    false
}

fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.char_indices().find_map(|(index, character)| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            character if character == wanted && !is_quoted => return Some(index),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_page_is_the_target_of_rel_next() {
        for (header, target) in [
            ("<https://a.example/x?page=2>; rel=\"next\"", Some("https://a.example/x?page=2")),
            ("</x?page=2>;rel=next", Some("/x?page=2")),
            ("</1>; rel=first, </2>; rel=\"prev next\", </3>; rel=next", Some("/2")),
            ("</a,b>; title=\"x, </no>; rel=next\"; rel=last, </c>; REL=Next", Some("/c")),
            ("</a>; title=\"\\\"; rel=next\"; rel=prev", None),
            ("</a>; rel=prev; rel=next", None),
            ("</a>; rev=next", None),
            ("</a>", None),
            ("</a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), target, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in r#"(<|>|;|,|"|\\|rel=next|/a| |é){0,24}"#) {
            let _ = next_link(&header);
        }
    }
}
