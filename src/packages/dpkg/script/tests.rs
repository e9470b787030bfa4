//! Scripts, and which of their commands are certain. Those that count begin with `x`.

use super::*;
use proptest::prelude::*;

fn commands(script: &str) -> Vec<String> {
    let text = |words: Vec<Word>| {
        let words: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(&word.text).into_owned())
            .collect();
        words.join(" ")
    };
    certain_commands(script.as_bytes())
        .into_iter()
        .map(text)
        .filter(|line| line.starts_with('x'))
        .collect()
}

#[test]
fn certain_commands_are_found() {
    for (script, want) in [
        (
            "x 1; x 2\nx 3 # x 4\nx '5 # 6'",
            &["x 1", "x 2", "x 3", "x 5 # 6"][..],
        ),
        ("x 1 >/dev/null 2>&1 || true", &["x 1"]),
        (
            "if [ \"$1\" = configure ]; then\n x 1\nelse x 2\nfi; x 3",
            &["x 1", "x 3"],
        ),
        (
            "if [ $1 = configure ] || [ $1 = abort-upgrade ]; then x 1; fi",
            &["x 1"],
        ),
        ("if [ \"$1\" != configure ]; then exit 0; fi; x 1", &["x 1"]),
        ("test \"$1\" = configure || exit 0\nx 1", &["x 1"]),
        (
            "if [ \"$RET\" = false ]; then x 1; else x 2; fi; x 3",
            &["x 3"],
        ),
        ("if [ \"$RET\" = false ]; then exit 0; fi; x 1", &[]),
        ("if [ \"$RET\" = false ]; then exit 1; fi; x 1", &["x 1"]),
        (
            "if command -v setcap >/dev/null; then x 1; else x 2; fi",
            &["x 1"],
        ),
        (
            "if ! which setcap; then x 1; elif setcap a b; then x 2; else x 3; fi",
            &["x 2"],
        ),
        ("[ -x \"$(command -v setcap)\" ] && x 1 || x 2", &["x 1"]),
        (
            "if ! dpkg-statoverride --list /x >/dev/null; then x 1; fi",
            &["x 1"],
        ),
        ("a && x 1; a || x 2; a | x 3; x 4", &["x 4"]),
        (
            "for i in a b; do x 1; done; while true; do x 2; done; x 3",
            &["x 3"],
        ),
        (
            "case \"$1\" in\n configure|reconfigure)\n x 1 ;;\n abort-*) x 2;; *) exit 0;;\nesac\nx 3",
            &["x 1", "x 3"],
        ),
        ("a=$1; case $a in (configure) x 1;; esac", &["x 1"]),
        ("case $b in configure) x 1;; esac", &[]),
        ("f() { x 1; }\ng() {\n x 2\n}\nx 3; f", &["x 1", "x 3"]),
        (
            "f() { g; }\ng() { x 2; }\nif true && [ $1 = configure ]; then f; fi",
            &["x 2"],
        ),
        ("f() { [ -e /etc/f ] && return 0; x 1; }\nf; x 2", &["x 2"]),
        (
            "P=$(dpkg-divert --truename /bin/ping)\nx $P; x ${P}",
            &["x /bin/ping", "x /bin/ping"],
        ),
        ("P=a; P=b; Q=c\nx $P $Q", &["x $P c"]),
        (
            "cat <<END\nx 1\nEND\nx 2 <<-'E O'\nx 3\n\tE O\nx 4",
            &["x 2", "x 4"],
        ),
        ("(x 1); { x 2; }", &["x 1", "x 2"]),
        ("x 1\\\n 2; y=`x 3`", &["x 1 2"]),
        ("exit 0\nx 1", &[]),
        ("x 1; echo \"never closed", &[]),
    ] {
        assert_eq!(commands(script), want, "{script}");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(text in prop::collection::vec(any::<u8>(), 0..128)) {
        certain_commands(&text);
    }

    #[test]
    fn any_words_can_be_read(
        text in r#"(if|then|else|fi|case|in|esac|for|do|done|f\(\)|[{}();|&!<>'"$#`]|;;|&&|\n| |x|a=b|exit){0,40}"#
    ) {
        certain_commands(text.as_bytes());
    }
}
