//! Names that become file names and environment variables.

/// Whether this is the name of a Kubernetes object (RFC 1123 subdomain): nothing in it can lead out
/// of a folder.
pub(super) fn is_secret_name(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().is_some_and(|byte| edge(*byte))
                && bytes.last().is_some_and(|byte| edge(*byte))
                && bytes.iter().all(|byte| edge(*byte) || *byte == b'-')
        })
}

/// Whether this can be a key of a Secret: `[-._a-zA-Z0-9]+`, and by itself no way up.
pub(super) fn is_secret_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && !key.starts_with("..")
        && key != "."
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// The file that may hold a Secret's key where there is no folder for the Secret.
pub(super) fn flat_file(secret: &str, key: &str) -> String {
    format!("{secret}.{key}")
}

/// Whether a variable of this name may hold a key of that Secret.
pub(super) fn is_variable_of(secret: &str, variable: &str) -> bool {
    // What stands before the key is the variable of an empty one.
    variable.starts_with(&self::variable(secret, ""))
}

/// Whether a flat file of this name may hold a key of that Secret.
pub(super) fn is_flat_file_of(secret: &str, file: &str) -> bool {
    // Not every file system tells letters of either case apart.
    let (secret, file) = (secret.to_ascii_lowercase(), file.to_ascii_lowercase());
    file.strip_prefix(&secret).is_some_and(|rest| rest.starts_with('.'))
}

/// The variable that may hold a Secret's key: `HOOKKEEPER_SECRET_<SECRET>_<KEY>`, letters in upper
/// case, digits as they are, everything else `_`.
pub(super) fn variable(secret: &str, key: &str) -> String {
    let part = |text: &str| -> String {
        let letter = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_uppercase(),
            _ => '_',
        };
        text.chars().map(letter).collect()
    };
    format!("HOOKKEEPER_SECRET_{}_{}", part(secret), part(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_objects_and_keys_are_told_from_paths() {
        for name in ["a", "gupy-api", "a.b-c.d0", "0"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["", ".", "..", "a..b", "-a", "a-", "A", "a/b", "a\0", "ä", ".a", "a."] {
            assert!(!is_secret_name(name), "{name}");
        }
        for key in ["token", ".dockercfg", "tls.crt", "A_b-c"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["", ".", "..", "..data", "a/b", "a b", "a\0"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn variables_are_spelled_as_documented() {
        assert_eq!(variable("gupy-api", "token"), "HOOKKEEPER_SECRET_GUPY_API_TOKEN");
        assert_eq!(variable("client.v2", "Secret-1"), "HOOKKEEPER_SECRET_CLIENT_V2_SECRET_1");
    }

    #[test]
    fn a_place_may_belong_to_several_secrets() {
        let variable = variable("gupy", "api-token");
        assert!(is_variable_of("gupy", &variable) && is_variable_of("gupy-api", &variable));
        assert!(!is_variable_of("gup", &variable) && !is_variable_of("gupy-api-token", &variable));
        let file = flat_file("a", "B.c");
        assert!(is_flat_file_of("a", &file) && is_flat_file_of("a.b", &file));
        assert!(!is_flat_file_of("a.b.c", &file) && !is_flat_file_of("", &file));
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_inside_its_folder(name in "[a-z./\\\\0-]{0,12}", key in "[a-z./\\\\0-]{0,12}") {
            if is_secret_name(&name) && is_secret_key(&key) {
                let path = std::path::Path::new("/secrets").join(&name).join(&key);
                prop_assert_eq!(path.components().count(), 4);
                prop_assert!(path.starts_with("/secrets"));
                prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
