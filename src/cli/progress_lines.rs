//! Progress as lines of JSON for another program, as `bootc --progress-fd` writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::progress::{Progress, Stage};

/// The version of the protocol, which is bootc's.
const PROTOCOL: &str = "0.1.0";

/// How far apart two lines of a stage are at least.
const INTERVAL: Duration = Duration::from_millis(200);

/// Why a pipe that nobody reads cannot be opened.
const NO_READER: i32 = rustix::io::Errno::NXIO.raw_os_error();

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Event {
    /// The first line.
    Start { version: &'static str },
    /// A stage that counts bytes.
    ProgressBytes {
        task: &'static str,
        description: &'static str,
        id: &'static str,
        bytes_cached: u64,
        bytes: u64,
        bytes_total: u64,
        steps_cached: u64,
        steps: u64,
        steps_total: u64,
        subtasks: [(); 0],
    },
    /// A stage that counts something else.
    ProgressSteps {
        task: &'static str,
        description: &'static str,
        id: &'static str,
        steps_cached: u64,
        steps: u64,
        steps_total: u64,
        subtasks: [(); 0],
    },
}

/// Writes a line where a stage begins and ends, and at most five a second in between.
///
/// Nobody waits for the reader: a line for which its pipe has no room is left out, and where it has
/// gone nothing more is written.
#[derive(Debug)]
pub struct Lines(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None`: the reader has gone.
    pipe: Option<File>,
    stage: Stage,
    done: u64,
    total: u64,
    last: Instant,
}

impl Lines {
    /// Writes to the pipe that this process inherited as file descriptor `number`.
    ///
    /// It is opened anew, which takes no trust in the number, and lets the pipe be as it is to
    /// others who have it.
    pub fn to_descriptor(number: u32) -> Result<Self> {
        let pipe = format!("/proc/self/fd/{number}");
        let context = || format!("--progress-fd: the file descriptor {number}");
        let kind = std::fs::metadata(&pipe).with_context(context)?.file_type();
        ensure!(kind.is_fifo(), "{} is not a pipe", context());
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let pipe = OpenOptions::new()
            .write(true)
            .custom_flags(flags.cast_signed())
            .open(&pipe);
        let gone = |error: &io::Error| error.raw_os_error() == Some(NO_READER);
        let pipe = match pipe {
            Err(error) if gone(&error) => None,
            pipe => Some(pipe.with_context(context)?),
        };
        let mut state = State {
            pipe,
            stage: Stage::Layers,
            done: 0,
            total: 0,
            last: Instant::now(),
        };
        state.write(&Event::Start { version: PROTOCOL });
        Ok(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic under the lock")
    }
}

impl State {
    fn tell(&mut self) {
        self.last = Instant::now();
        self.write(&event(self.stage, self.done, self.total));
    }

    /// A line is shorter than what a pipe takes whole or not at all.
    fn write(&mut self, event: &Event) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut line = serde_json::to_vec(event).expect("numbers and words");
        line.push(b'\n');
        match pipe.write_all(&line) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.pipe = None,
            _ => {}
        }
    }
}

impl Progress for Lines {
    fn begin(&self, stage: Stage, total: u64) {
        let mut state = self.state();
        (state.stage, state.done, state.total) = (stage, 0, total);
        state.tell();
    }

    fn advance(&self, units: u64) {
        let mut state = self.state();
        state.done += units;
        if state.last.elapsed() >= INTERVAL {
            state.tell();
        }
    }

    fn end(&self) {
        let mut state = self.state();
        state.done = state.total;
        state.tell();
    }
}

fn event(stage: Stage, done: u64, total: u64) -> Event {
    let steps = |task, description| Event::ProgressSteps {
        task,
        description,
        id: task,
        steps_cached: 0,
        steps: done,
        steps_total: total,
        subtasks: [],
    };
    match stage {
        Stage::Layers => Event::ProgressBytes {
            task: "pulling",
            description: "Reading layers",
            id: "pulling",
            bytes_cached: 0,
            bytes: done,
            bytes_total: total,
            steps_cached: 0,
            steps: 0,
            steps_total: 0,
            subtasks: [],
        },
        Stage::Initramfs => steps("initramfs", "Making the initramfs"),
        Stage::Objects => steps("importing", "Writing objects"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};
    use std::os::fd::AsRawFd as _;

    use super::*;

    /// Lines to a pipe, both ends of which are ours.
    fn lines() -> (Lines, io::PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let number = writer.as_raw_fd().try_into().unwrap();
        (Lines::to_descriptor(number).unwrap(), reader)
    }

    #[test]
    fn a_stage_is_told_at_both_ends() {
        let (lines, mut reader) = lines();
        lines.begin(Stage::Objects, 7);
        (0..7).for_each(|_| lines.advance(1));
        lines.end();
        lines.begin(Stage::Layers, 9);
        drop(lines);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let steps = |done| {
            format!(
                r#"{{"type":"ProgressSteps","task":"importing","description":"Writing objects","id":"importing","stepsCached":0,"steps":{done},"stepsTotal":7,"subtasks":[]}}"#
            )
        };
        let bytes = r#"{"type":"ProgressBytes","task":"pulling","description":"Reading layers","id":"pulling","bytesCached":0,"bytes":0,"bytesTotal":9,"stepsCached":0,"steps":0,"stepsTotal":0,"subtasks":[]}"#;
        let start = r#"{"type":"Start","version":"0.1.0"}"#;
        let expected = [start, &steps(0), &steps(7), bytes].map(|line| format!("{line}\n"));
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn lines_in_between_are_few() {
        let (lines, mut reader) = lines();
        lines.begin(Stage::Objects, 100_000);
        let begin = Instant::now();
        (0..100_000).for_each(|_| lines.advance(1));
        let most = 2 + begin.elapsed().as_millis() / INTERVAL.as_millis();
        std::thread::sleep(INTERVAL);
        lines.advance(1);
        drop(lines);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let count = text.lines().count() as u128;
        assert!((3..=most + 1).contains(&count), "{count} lines, {most}");
    }

    #[test]
    fn a_reader_is_not_waited_for() {
        let (lines, mut reader) = lines();
        // More than a pipe holds; without a reader this would last for ever.
        (0..10_000).for_each(|_| lines.begin(Stage::Layers, 1));
        let mut some = vec![0; 1 << 20];
        let size = reader.read(&mut some).unwrap();
        assert_eq!(some[size - 1], b'\n');
        lines.end();
        drop(reader);
        lines.end();
        assert!(lines.state().pipe.is_none());

        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let number = writer.as_raw_fd().try_into().unwrap();
        let lines = Lines::to_descriptor(number).unwrap();
        assert!(lines.state().pipe.is_none());
    }
}
