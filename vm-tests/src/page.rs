//! The page of a guest: what was wrong, the last screen of its console, its whole report; and the index
//! of all of them.

use std::fmt::Write as _;
use std::time::Duration;

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
    /// What the guest said of itself, if it did.
    pub report: Option<&'a Report>,
}

impl Page<'_> {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        self.write(&mut page).expect("a string takes all");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        head(page, self.title)?;
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
        let Some(report) = self.report else {
            return Ok(());
        };
        let report = serde_json::to_string_pretty(report).map_err(|_| std::fmt::Error)?;
        writeln!(page, "<h2>Report</h2>\n<pre>{}</pre>", escape(&report))
    }
}

/// How a case went.
#[derive(Debug)]
pub struct Outcome {
    /// The name of the case, which is that of the directory of its pages, too.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What the case failed with, if it did.
    pub error: Option<String>,
    /// The names of its guests, in the order in which they ran: those of their pages.
    pub guests: Vec<String>,
}

/// The page that leads to those of all cases, as HTML.
pub fn index(outcomes: &[Outcome]) -> String {
    let mut page = String::new();
    write_index(&mut page, outcomes).expect("a string takes all");
    page
}

fn write_index(page: &mut String, outcomes: &[Outcome]) -> std::fmt::Result {
    head(page, "Virtual machines")?;
    writeln!(page, "<table>")?;
    for outcome in outcomes {
        let Outcome { name, took, .. } = outcome;
        let said = match &outcome.error {
            None => "as it should be".to_owned(),
            Some(error) => format!("<pre>{}</pre>", escape(error)),
        };
        let link = |guest| format!("<a href=\"{name}/{guest}.html\">{guest}</a>");
        let links = outcome.guests.iter().map(link);
        let links = links.collect::<Vec<_>>().join(", ");
        let seconds = took.as_secs();
        writeln!(
            page,
            "<tr><td><a href=\"{name}\">{name}</a><td>{seconds} s<td>{links}<td>{said}</tr>"
        )?;
    }
    writeln!(page, "</table>")
}

fn head(page: &mut String, title: &str) -> std::fmt::Result {
    let title = escape(title);
    writeln!(
        page,
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>pre {{ background: #111; color: #ddd; padding: 1em; overflow: auto }} \
         td {{ padding: 0 1em; vertical-align: top }}</style>\n<h1>{title}</h1>"
    )
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
            report: Some(&Report::default()),
        };
        let html = page.html();
        assert!(html.contains("<li>/a is &lt;b&gt;</li>"), "{html}");
        assert!(html.contains("<pre>login:</pre>"), "{html}");
        let right = Page { wrong: &[], ..page };
        assert!(right.html().contains("As it should be."));
        assert!(right.html().contains("settled_seconds"));
        let silent = Page {
            report: None,
            ..right
        };
        assert!(!silent.html().contains("<h2>Report"));
    }

    #[test]
    fn the_index_leads_to_every_guest_and_says_what_failed() {
        let outcome = |name, error: Option<&str>| Outcome {
            name,
            took: Duration::from_secs(7),
            error: error.map(str::to_owned),
            guests: vec!["first".to_owned(), "second".to_owned()],
        };
        let html = index(&[outcome("a", None), outcome("b", Some("no <init>"))]);
        let rows: Vec<_> = html
            .lines()
            .filter(|line| line.starts_with("<tr>"))
            .collect();
        assert_eq!(
            rows,
            [
                "<tr><td><a href=\"a\">a</a><td>7 s<td><a href=\"a/first.html\">first</a>, \
                 <a href=\"a/second.html\">second</a><td>as it should be</tr>",
                "<tr><td><a href=\"b\">b</a><td>7 s<td><a href=\"b/first.html\">first</a>, \
                 <a href=\"b/second.html\">second</a><td><pre>no &lt;init&gt;</pre></tr>",
            ]
        );
    }
}
