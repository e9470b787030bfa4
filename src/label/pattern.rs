//! A policy's regular expressions: the part of PCRE's syntax that means the same to
//! `regex-syntax`.
//!
//! libselinux compiles `^LINE$` with PCRE2, in bytes, with `.` matching everything. Both syntaxes
//! share a regular core, and nearly every policy stays in it. Everything beyond (look-around,
//! possessive quantifiers, nested classes, …) is refused here, even where a translation would be
//! possible: PCRE itself is one step away.

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{
    self, Ast, ClassBracketed, ClassSetBinaryOp, ClassSetItem, GroupKind, Literal, LiteralKind,
    RepetitionKind, RepetitionRange,
};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Hir, Look};

/// PCRE's limit of `n` and `m` in `x{n,m}`.
const MAX_REPEAT: u32 = 65535;

/// What `^regex$` means to PCRE2: the whole path, or all of it but a final newline.
pub(super) fn translate(regex: &str) -> Result<Hir, String> {
    let syntax = ParserBuilder::new()
        .build()
        .parse(regex)
        .map_err(|e| e.kind().to_string())?;
    if let Ast::Alternation(_) = syntax {
        // `^a|b$` is anchored at one end only.
        return Err("an alternation outside of parentheses".to_owned());
    }
    ast::visit(&syntax, SameInPcre { regex })?;
    let body = TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build()
        .translate(regex, &syntax)
        .map_err(|e| e.kind().to_string())?;
    let final_newline = Hir::alternation(vec![Hir::empty(), Hir::literal(*b"\n")]);
    Ok(Hir::concat(vec![body, final_newline, Hir::look(Look::End)]))
}

/// Visits a syntax tree and stops at the first construct that PCRE may read in another way.
struct SameInPcre<'r> {
    regex: &'r str,
}

impl SameInPcre<'_> {
    fn text(&self, span: &ast::Span) -> &str {
        &self.regex[span.start.offset..span.end.offset]
    }

    fn refuse(&self, what: &str, span: &ast::Span) -> Result<(), String> {
        Err(format!("{what} `{}`", self.text(span)))
    }

    fn literal(&self, literal: &Literal) -> Result<(), String> {
        match literal.kind {
            LiteralKind::Verbatim | LiteralKind::Meta | LiteralKind::Superfluous => Ok(()),
            _ => self.refuse("the escape", &literal.span),
        }
    }

    /// PCRE reads a `]` or a range at the start of a class otherwise, and takes `[:x:]`, `[.x.]`
    /// and `[=x=]` for mistakes.
    fn class(&self, class: &ClassBracketed) -> Result<(), String> {
        let text = self.text(&class.span);
        let inner = &text[1..text.len() - 1];
        let members = inner.strip_prefix('^').unwrap_or(inner);
        let posix = [':', '.', '=']
            .iter()
            .any(|&c| inner.len() > 1 && inner.starts_with(c) && inner.ends_with(c));
        if posix || members.starts_with("--") || members.starts_with(']') {
            return self.refuse("the class", &class.span);
        }
        Ok(())
    }

    fn repetition(&self, repetition: &ast::Repetition) -> Result<(), String> {
        let possible = match &repetition.op.kind {
            RepetitionKind::Range(
                RepetitionRange::Exactly(n)
                | RepetitionRange::AtLeast(n)
                | RepetitionRange::Bounded(_, n),
            ) => *n <= MAX_REPEAT,
            _ => true,
        };
        // `x*+` is possessive, not the repetition of a repetition.
        match *repetition.ast {
            Ast::Literal(_)
            | Ast::Dot(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Group(_)
                if possible =>
            {
                Ok(())
            }
            _ => self.refuse("the repetition", &repetition.span),
        }
    }
}

impl ast::Visitor for SameInPcre<'_> {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Empty(_)
            | Ast::Dot(_)
            | Ast::ClassPerl(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
            Ast::Literal(literal) => self.literal(literal),
            Ast::ClassBracketed(class) => self.class(class),
            Ast::Repetition(repetition) => self.repetition(repetition),
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) => Ok(()),
                GroupKind::NonCapturing(flags) if flags.items.is_empty() => Ok(()),
                _ => self.refuse("the group", &group.span),
            },
            Ast::Flags(flags) => self.refuse("the flags", &flags.span),
            Ast::Assertion(assertion) => self.refuse("the assertion", &assertion.span),
            Ast::ClassUnicode(class) => self.refuse("the class", &class.span),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Empty(_)
            | ClassSetItem::Ascii(_)
            | ClassSetItem::Perl(_)
            | ClassSetItem::Union(_) => Ok(()),
            ClassSetItem::Literal(literal) => self.literal(literal),
            ClassSetItem::Range(range) => {
                self.literal(&range.start)?;
                self.literal(&range.end)
            }
            ClassSetItem::Unicode(class) => self.refuse("the class", &class.span),
            ClassSetItem::Bracketed(class) => self.refuse("the nested class", &class.span),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ClassSetBinaryOp) -> Result<(), String> {
        self.refuse("the class operation", &op.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_core_is_accepted() {
        for regex in [
            "",
            "/usr/bin(/.*)?",
            "/opt/Adobe(/.*?)/nppdf\\.so",
            "/dev/tty[0-9]+",
            "/a[-\\+]b[^/-][0-9.][[:alpha:]_][\\d][a\\]]",
            "/x{2}/y{1,}/z{0,3}",
            "/(a|b|)",
            "/\\d\\W\\s",
            "/(?:a|b)\\-\\_\\,",
            "/}]",
        ] {
            assert!(translate(regex).is_ok(), "{regex}: {:?}", translate(regex));
        }
    }

    #[test]
    fn everything_else_is_left_to_pcre() {
        for regex in [
            "/a|/b",
            "^/a",
            "/a$",
            "/a\\b",
            "/a\\<",
            "/a\\b{start}",
            "/a(?=b)",
            "/a(?!b)",
            "/a(?<=b)",
            "/a(?i)b",
            "/(?i:a)",
            "/(?x:a b)",
            "/(?P<n>a)",
            "/(?>a)",
            "/(?R)",
            "/(?#comment)",
            "/(a)\\1",
            "/\\Qa\\E",
            "/\\pL",
            "/\\x41",
            "/\\v",
            "/\\R",
            "/a*+",
            "/a++",
            "/a?+",
            "/a{2}+",
            "/a**",
            "/a{,3}",
            "/a{",
            "/a{70000}",
            "/[a[b]]",
            "/[a&&b]",
            "/[a--b]",
            "/[--/]",
            "/[^--/]",
            "/[+--]",
            "/[]a]",
            "/[^]a]",
            "/[:alpha:]",
            "/[.a.]",
            "/[a\\x41]",
            "/[b-a]",
            "/[a",
            "/(a",
            "/a)",
            "*",
            "/a\\",
        ] {
            assert!(translate(regex).is_err(), "{regex}");
        }
    }
}
