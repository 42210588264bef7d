//! Words for a POSIX shell: an SSH server hands its command to one.

/// One word, whatever is in it. A shell has no NUL in words; it is left out.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b'=');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\0', "").replace('\'', r"'\''"))
}

/// A command line of these words.
#[must_use]
pub fn words(words: &[&str]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in
            ["", "a", "a b", "it's", "$HOME `id` \"x\" \\", "new\nline", "*", "-e", "ü", "a'b'c''", "#no"]
        {
            let line = words(&["printf", "%s", "--", word]);
            // `printf %s -- word` prints `--`, then the word.
            let told = Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(told.stdout).unwrap(), format!("--{word}"), "{line}");
        }
    }
}
