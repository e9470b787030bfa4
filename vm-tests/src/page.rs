//! The page of a guest: what was wrong, the last screen of its console, its whole report.

use std::fmt::Write as _;

use crate::report::Report;

/// Lines of a console.
const SCREEN: usize = 50;

/// What a page tells.
#[derive(Debug)]
pub struct Page<'a> {
    /// The name of the case and of the guest in it.
    pub title: &'a str,
    /// What was wrong, one sentence each.
    pub wrong: &'a [String],
    /// All that went over the serial console.
    pub serial: &'a str,
    /// What the guest said of itself.
    pub report: &'a Report,
}

impl Page<'_> {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        self.write(&mut page).expect("a string takes all");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let title = escape(self.title);
        writeln!(
            page,
            "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>{title}</title>"
        )?;
        writeln!(
            page,
            "<style>pre {{ background: #111; color: #ddd; padding: 1em; overflow: auto }}</style>"
        )?;
        writeln!(page, "<h1>{title}</h1>")?;
        match self.wrong {
            [] => writeln!(page, "<p>As it should be.</p>")?,
            wrong => {
                writeln!(page, "<ul>")?;
                for sentence in wrong {
                    writeln!(page, "<li>{}</li>", escape(sentence))?;
                }
                writeln!(page, "</ul>")?;
            }
        }
        writeln!(
            page,
            "<h2>Console</h2>\n<pre>{}</pre>",
            escape(&screen(self.serial))
        )?;
        let report = serde_json::to_string_pretty(self.report).map_err(|_| std::fmt::Error)?;
        writeln!(page, "<h2>Report</h2>\n<pre>{}</pre>", escape(&report))
    }
}

/// The last lines of a console, without what moves the cursor and sets colours.
fn screen(serial: &str) -> String {
    let mut plain = String::with_capacity(serial.len());
    let mut characters = serial.chars();
    while let Some(character) = characters.next() {
        match character {
            // A control sequence ends with a letter; others are one character long.
            '\x1b' => {
                if characters.next() == Some('[') {
                    characters.by_ref().find(|c| c.is_ascii_alphabetic());
                }
            }
            '\n' | '\t' => plain.push(character),
            other if other.is_control() => {}
            other => plain.push(other),
        }
    }
    let lines: Vec<_> = plain.lines().collect();
    lines[lines.len().saturating_sub(SCREEN)..].join("\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_screen_is_told_without_colours() {
        let serial = "gone\r\n".repeat(10) + &"\x1b[0;32m OK \x1b[0m <b>\r\n".repeat(SCREEN);
        let screen = screen(&serial);
        assert_eq!(screen.lines().count(), SCREEN);
        assert!(screen.lines().all(|line| line == " OK  <b>"), "{screen}");
    }

    #[test]
    fn what_is_wrong_comes_first_and_is_no_markup() {
        let page = Page {
            title: "case",
            wrong: &["/a is <b>".to_owned()],
            serial: "login:",
            report: &Report::default(),
        };
        let html = page.html();
        assert!(html.contains("<li>/a is &lt;b&gt;</li>"), "{html}");
        assert!(html.contains("<pre>login:</pre>"), "{html}");
        let right = Page { wrong: &[], ..page };
        assert!(right.html().contains("As it should be."));
    }
}
