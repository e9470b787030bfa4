//! The words and operators of a shell script (POSIX.1-2024, 2.3 Token Recognition), as far as they
//! are needed to tell its commands apart.

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its text without quotes; what a shell would expand stands as it is written.
    pub text: Vec<u8>,
    /// Would a shell expand something in it?
    pub expands: bool,
    /// Is a part of it quoted?
    pub quoted: bool,
}

impl Word {
    /// A word that stands for itself.
    pub fn plain(text: &[u8]) -> Self {
        Self {
            text: text.to_vec(),
            expands: false,
            quoted: false,
        }
    }

    /// `NAME=VALUE`.
    pub fn assignment(&self) -> Option<(Vec<u8>, Self)> {
        let equals = self.text.iter().position(|&b| b == b'=')?;
        let name = &self.text[..equals];
        let valid = |&b: &u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_name = name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(valid);
        is_name.then(|| {
            let text = self.text[equals + 1..].to_vec();
            (name.to_vec(), Self { text, ..*self })
        })
    }
}

/// A word or an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(Word),
    /// `;`, `&` or the end of a line.
    End,
    And,
    Or,
    Pipe,
    Open,
    Close,
    /// `;;`
    CaseEnd,
}

/// Splits a script. `None`: a quote or a substitution has no end.
pub fn split(text: &[u8]) -> Option<Vec<Token>> {
    let mut splitter = Splitter { rest: text };
    let mut tokens = Vec::new();
    // Here-documents whose lines begin after this one: their last lines.
    let mut documents: Vec<Vec<u8>> = Vec::new();
    while let Some(&byte) = splitter.rest.first() {
        let (token, length) = match (byte, splitter.rest.get(1)) {
            (b' ' | b'\t' | b'\r', _) => (None, 1),
            (b'\\', Some(b'\n')) => (None, 2),
            (b'#', _) => (None, splitter.line().len()),
            (b'\n', _) => {
                splitter.skip(1);
                for end in documents.drain(..) {
                    splitter.skip_document(&end);
                }
                (Some(Token::End), 0)
            }
            (b'&', Some(b'&')) => (Some(Token::And), 2),
            (b'|', Some(b'|')) => (Some(Token::Or), 2),
            (b';', Some(b';')) => (Some(Token::CaseEnd), 2),
            (b'|', _) => (Some(Token::Pipe), 1),
            (b'&' | b';', _) => (Some(Token::End), 1),
            (b'(', _) => (Some(Token::Open), 1),
            (b')', _) => (Some(Token::Close), 1),
            (b'<' | b'>', _) => {
                if let Some(end) = splitter.redirection()? {
                    documents.push(end);
                }
                (None, 0)
            }
            _ => {
                let word = splitter.word()?;
                // The number of a file before a redirection is no argument.
                let redirects = matches!(splitter.rest.first(), Some(b'<' | b'>'));
                let number = redirects && word.text.iter().all(u8::is_ascii_digit);
                ((!number).then_some(Token::Word(word)), 0)
            }
        };
        splitter.skip(length);
        tokens.extend(token);
    }
    Some(tokens)
}

#[derive(Debug)]
struct Splitter<'a> {
    rest: &'a [u8],
}

impl<'a> Splitter<'a> {
    fn skip(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }

    /// The rest of the line, without its end.
    fn line(&self) -> &'a [u8] {
        let end = self.rest.iter().position(|&b| b == b'\n');
        &self.rest[..end.unwrap_or(self.rest.len())]
    }

    /// Passes over a redirection and its target. Returns how a here-document ends, if it is one.
    fn redirection(&mut self) -> Option<Option<Vec<u8>>> {
        let length = self
            .rest
            .iter()
            .take_while(|b| matches!(b, b'<' | b'>' | b'&' | b'|' | b'-'));
        let length = length.count();
        let document = self.rest.starts_with(b"<<");
        self.skip(length);
        let blanks = self.rest.iter().take_while(|b| matches!(b, b' ' | b'\t'));
        self.skip(blanks.count());
        let target = self.word()?;
        Some(document.then_some(target.text))
    }

    /// Passes over the lines of a here-document and its last one.
    fn skip_document(&mut self, end: &[u8]) {
        while !self.rest.is_empty() {
            let line = self.line();
            self.skip((line.len() + 1).min(self.rest.len()));
            if line.trim_ascii() == end {
                break;
            }
        }
    }

    /// A word, which may be empty where none begins.
    fn word(&mut self) -> Option<Word> {
        let mut word = Word::plain(b"");
        while let Some(&byte) = self.rest.first() {
            match byte {
                b'\'' => {
                    let end = self.rest[1..].iter().position(|&b| b == b'\'')?;
                    word.text.extend(&self.rest[1..=end]);
                    word.quoted = true;
                    self.skip(end + 2);
                }
                b'"' => self.double_quoted(&mut word)?,
                b'\\' => {
                    match self.rest.get(1)? {
                        b'\n' => {}
                        &escaped => word.text.push(escaped),
                    }
                    word.quoted = true;
                    self.skip(2);
                }
                b'$' | b'`' => self.expansion(&mut word)?,
                b'*' | b'?' | b'[' | b'~' if self.rest.len() > 1 || !word.text.is_empty() => {
                    // `[` alone is a command.
                    let alone = byte == b'[' && word.text.is_empty();
                    word.expands |= !(alone && self.rest[1].is_ascii_whitespace());
                    word.text.push(byte);
                    self.skip(1);
                }
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => {
                    break;
                }
                _ => {
                    word.text.push(byte);
                    self.skip(1);
                }
            }
        }
        Some(word)
    }

    fn double_quoted(&mut self, word: &mut Word) -> Option<()> {
        word.quoted = true;
        self.skip(1);
        loop {
            match (*self.rest.first()?, self.rest.get(1)) {
                (b'"', _) => {
                    self.skip(1);
                    return Some(());
                }
                (b'\\', Some(&escaped @ (b'"' | b'\\' | b'$' | b'`'))) => {
                    word.text.push(escaped);
                    self.skip(2);
                }
                (b'$' | b'`', _) => self.expansion(word)?,
                (byte, _) => {
                    word.text.push(byte);
                    self.skip(1);
                }
            }
        }
    }

    /// Takes `$NAME`, `${…}`, `$(…)` or `` `…` `` into a word as it is written.
    fn expansion(&mut self, word: &mut Word) -> Option<()> {
        word.expands = true;
        let length = match (self.rest[0], self.rest.get(1)) {
            (b'`', _) => self.rest[1..].iter().position(|&b| b == b'`')? + 2,
            (_, Some(b'(')) => self.closing(b'(', b')')?,
            (_, Some(b'{')) => self.closing(b'{', b'}')?,
            _ => 1,
        };
        word.text.extend(&self.rest[..length]);
        self.skip(length);
        Some(())
    }

    /// The length of what begins with `$` and `open` and ends with its `close`.
    fn closing(&self, open: u8, close: u8) -> Option<usize> {
        let mut depth = 0usize;
        for (index, &byte) in self.rest.iter().enumerate().skip(1) {
            if byte == open {
                depth += 1;
            } else if byte == close {
                depth -= 1;
            }
            if depth == 0 {
                return Some(index + 1);
            }
        }
        None
    }
}
