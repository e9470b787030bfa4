//! Which commands of a maintainer script certainly ran when its package was configured.
//!
//! This is no shell. It knows the words of the language that decide whether a command runs, and
//! those few conditions whose outcome is known. Everything else makes a command uncertain, and a
//! script that it cannot split into words has no certain commands.

mod conditions;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{HashMap, HashSet};
use std::mem;

use conditions::Certainty;
use words::Token;
pub use words::Word;

/// The certain commands of a script in the order of its text, with variables in place of their
/// values where these are plain.
pub fn certain_commands(text: &[u8]) -> Vec<Vec<Word>> {
    let Some(tokens) = words::split(text) else {
        return Vec::new();
    };
    let mut reader = Reader::default();
    for token in tokens {
        reader.take(token);
    }
    reader.end_command();
    reader.finish()
}

/// What has begun and not ended yet.
#[derive(Debug)]
enum Block {
    /// `if`: how certain the branch under way is, and how certain it is that no branch above it ran.
    If {
        branch: Certainty,
        rest: Certainty,
        /// The condition is being read: what it comes to so far.
        condition: Option<Certainty>,
    },
    /// `case`: the word it decides by, and the arm under way.
    Case {
        subject: Option<Word>,
        patterns: Vec<Word>,
        arm: Option<Certainty>,
    },
    /// A loop may run never.
    Loop,
    /// `{` or `(`.
    Group,
    /// The body of a function.
    Function(Vec<u8>),
}

/// What joins a command to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Join {
    /// Nothing does.
    #[default]
    None,
    And,
    Or,
    Pipe,
}

#[derive(Debug)]
struct Command {
    function: Option<Vec<u8>>,
    words: Vec<Word>,
}

#[derive(Debug, Default)]
struct Reader {
    blocks: Vec<Block>,
    /// Words of the command under way, and whether `!` stands before them.
    words: Vec<Word>,
    negated: bool,
    join: Join,
    /// What the commands joined so far come to: does the one under way run?
    chain: Option<Certainty>,
    /// A function whose name was read, and not its body yet.
    named: Option<Vec<u8>>,
    /// From here on nothing is certain: in the whole script, in the function.
    left_script: bool,
    left_function: bool,
    /// `None`: assigned more than once.
    variables: HashMap<Vec<u8>, Option<Word>>,
    certain: Vec<Command>,
}

impl Reader {
    fn take(&mut self, token: Token) {
        if self.reads_patterns() {
            return self.take_pattern(token);
        }
        match token {
            Token::Word(word) if self.words.is_empty() && self.reserved(&word) => {}
            Token::Word(word) => self.words.push(word),
            Token::End => self.end_list(),
            Token::And => self.end_and_join(Join::And),
            Token::Or => self.end_and_join(Join::Or),
            Token::Pipe => self.end_and_join(Join::Pipe),
            Token::Open => match self.words.pop() {
                Some(name) if self.words.is_empty() => self.named = Some(name.text),
                _ => self.blocks.push(Block::Group),
            },
            Token::Close if self.named.is_some() => {}
            Token::Close => {
                self.end_list();
                self.pop();
            }
            Token::CaseEnd => {
                self.end_list();
                if let Some(Block::Case { arm, .. }) = self.blocks.last_mut() {
                    *arm = None;
                }
            }
        }
    }

    /// Acts on a reserved word. `false`: it is none.
    fn reserved(&mut self, word: &Word) -> bool {
        if word.quoted {
            return false;
        }
        match &*word.text {
            b"if" => self.blocks.push(Block::If {
                branch: Certainty::Uncertain,
                rest: Certainty::Certain,
                condition: Some(Certainty::Uncertain),
            }),
            b"then" => self.change_if(|branch, rest, condition| {
                *branch = (*rest).min(condition.unwrap_or(Certainty::Uncertain));
                *rest = (*rest).min(!condition.unwrap_or(Certainty::Uncertain));
                *condition = None;
            }),
            b"elif" => self.change_if(|_, _, condition| *condition = Some(Certainty::Uncertain)),
            b"else" => self.change_if(|branch, rest, _| *branch = *rest),
            b"for" | b"while" | b"until" | b"select" => self.blocks.push(Block::Loop),
            b"case" => self.blocks.push(Block::Case {
                subject: None,
                patterns: Vec::new(),
                arm: None,
            }),
            b"do" => {}
            b"!" => self.negated = true,
            b"{" => {
                let named = self.named.take().map(Block::Function);
                self.blocks.push(named.unwrap_or(Block::Group));
            }
            b"fi" | b"done" | b"esac" | b"}" => {
                self.pop();
                // What follows on the line is joined to the whole block.
                self.words.push(Word::plain(b":block"));
            }
            _ => return false,
        }
        true
    }

    fn change_if(
        &mut self,
        change: impl FnOnce(&mut Certainty, &mut Certainty, &mut Option<Certainty>),
    ) {
        if let Some(Block::If {
            branch,
            rest,
            condition,
        }) = self.blocks.last_mut()
        {
            change(branch, rest, condition);
        }
    }

    fn pop(&mut self) {
        if let Some(Block::Function(_)) = self.blocks.pop() {
            self.left_function = false;
        }
    }

    fn reads_patterns(&self) -> bool {
        matches!(self.blocks.last(), Some(Block::Case { arm: None, .. }))
    }

    /// Reads the head of a `case` and the patterns of its arms.
    fn take_pattern(&mut self, token: Token) {
        let Some(Block::Case {
            subject,
            patterns,
            arm,
        }) = self.blocks.last_mut()
        else {
            return;
        };
        match token {
            Token::Word(word) if subject.is_none() => *subject = Some(word),
            Token::Word(word) if word.text == b"in" && patterns.is_empty() => {}
            Token::Word(word) if word.text == b"esac" && patterns.is_empty() => {
                self.pop();
                self.words.push(Word::plain(b":block"));
            }
            Token::Word(word) => patterns.push(word),
            Token::Close => {
                let patterns = mem::take(patterns);
                let subject = subject.as_ref();
                let subject = subject.map(|word| conditions::resolve(word, &self.variables));
                *arm = Some(conditions::arm(subject.as_ref(), &patterns));
            }
            _ => {}
        }
    }

    /// Ends a command and all that is joined to it.
    fn end_list(&mut self) {
        self.end_command();
        self.join = Join::None;
        self.chain = None;
    }

    fn end_and_join(&mut self, join: Join) {
        self.end_command();
        self.join = join;
    }

    /// Ends the command under way.
    fn end_command(&mut self) {
        let words = mem::take(&mut self.words);
        let negated = mem::take(&mut self.negated);
        if words.is_empty() {
            return;
        }
        let words = self.assign(words);
        let outcome = match conditions::outcome(&words) {
            outcome if negated => !outcome,
            outcome => outcome,
        };
        // Does it run, and what does the list come to with it?
        let before = self.chain.unwrap_or(Certainty::Certain);
        let (runs, chain) = match self.join {
            Join::None => (Certainty::Certain, outcome),
            Join::And => (before, before.min(outcome)),
            Join::Or => (!before, before.max(outcome)),
            Join::Pipe => (before, Certainty::Uncertain),
        };
        self.chain = Some(chain);
        self.join = Join::None;
        let certainty = self.certainty().min(runs);
        if let Some(Block::If {
            condition: Some(condition),
            ..
        }) = self.blocks.last_mut()
        {
            *condition = chain;
        }
        self.leave(&words, certainty);
        if certainty == Certainty::Certain {
            let function = self.function();
            self.certain.push(Command { function, words });
        }
    }

    /// Takes assignments off the front of a command, and notes them.
    fn assign(&mut self, words: Vec<Word>) -> Vec<Word> {
        let mut words = words.into_iter().peekable();
        while let Some((name, value)) = words.peek().and_then(Word::assignment) {
            let value = (!self.variables.contains_key(&name)).then_some(value);
            self.variables.insert(name, value);
            words.next();
        }
        words.collect()
    }

    /// How certain is it that what stands here runs?
    fn certainty(&self) -> Certainty {
        if self.left_script || self.left_function {
            return Certainty::Uncertain;
        }
        let blocks = self.blocks.iter().map(|block| match block {
            // A condition runs when all above it failed.
            Block::If {
                condition: Some(_),
                rest,
                ..
            } => *rest,
            Block::If { branch, .. } => *branch,
            Block::Case { arm, .. } => arm.unwrap_or(Certainty::Never),
            Block::Loop => Certainty::Uncertain,
            Block::Group | Block::Function(_) => Certainty::Certain,
        });
        blocks.min().unwrap_or(Certainty::Certain)
    }

    /// Notes that the script or a function may end here. An exit with an error does not count:
    /// dpkg would not have called the package installed.
    fn leave(&mut self, words: &[Word], certainty: Certainty) {
        let Some(first) = words.first().filter(|_| certainty != Certainty::Never) else {
            return;
        };
        let fails = words.get(1).is_some_and(|word| word.text != b"0");
        match &*first.text {
            b"exit" if !fails => self.left_script = true,
            b"exec" => self.left_script = true,
            b"return" if self.function().is_some() => self.left_function = true,
            b"return" => self.left_script = true,
            _ => {}
        }
    }

    fn function(&self) -> Option<Vec<u8>> {
        self.blocks.iter().rev().find_map(|block| match block {
            Block::Function(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// The commands outside of functions, and those of functions that are certainly called.
    fn finish(self) -> Vec<Vec<Word>> {
        let mut called = HashSet::new();
        loop {
            let runs = |command: &&Command| match &command.function {
                None => true,
                Some(name) => called.contains(name),
            };
            let more: HashSet<_> = self
                .certain
                .iter()
                .filter(runs)
                .filter_map(|command| command.words.first())
                .map(|word| word.text.clone())
                .collect();
            if more == called {
                let commands = self.certain.iter().filter(runs);
                let resolve = |word| conditions::resolve(word, &self.variables);
                return commands
                    .map(|command| command.words.iter().map(resolve).collect())
                    .collect();
            }
            called = more;
        }
    }
}
