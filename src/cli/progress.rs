//! Progress as a bar on a terminal, alone or with another form.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::{Progress, Stage};

/// One bar after the other on standard error; nothing where that is no terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    pub fn new(quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(5),
        };
        Self(ProgressBar::with_draw_target(None, target))
    }
}

impl Progress for Bar {
    fn begin(&self, stage: Stage, total: u64) {
        let (what, template) = match stage {
            Stage::Layers => (
                "reading layers",
                "{msg:16} {wide_bar} {bytes:>10}/{total_bytes:10} {eta:>4}",
            ),
            Stage::Initramfs => ("making the initramfs", "{msg} {spinner} {elapsed}"),
            Stage::Objects => (
                "writing objects",
                "{msg:16} {wide_bar} {human_pos:>10}/{human_len:10} {eta:>4}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("a valid template");
        self.0.reset();
        self.0.set_style(style);
        self.0.set_message(what);
        self.0.set_length(total);
        match stage {
            Stage::Initramfs => self.0.enable_steady_tick(Duration::from_millis(200)),
            _ => self.0.disable_steady_tick(),
        }
    }

    fn advance(&self, units: u64) {
        self.0.inc(units);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar, and what else was asked for.
#[derive(Debug)]
pub struct Both<P>(pub Bar, pub Option<P>);

impl<P: Progress> Both<P> {
    fn each(&self, tell: impl Fn(&dyn Progress)) {
        tell(&self.0);
        if let Some(other) = &self.1 {
            tell(other);
        }
    }
}

impl<P: Progress> Progress for Both<P> {
    fn begin(&self, stage: Stage, total: u64) {
        self.each(|progress| progress.begin(stage, total));
    }

    fn advance(&self, units: u64) {
        self.each(|progress| progress.advance(units));
    }

    fn end(&self) {
        self.each(|progress| progress.end());
    }
}
