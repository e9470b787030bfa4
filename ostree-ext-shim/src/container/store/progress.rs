//! Progress as ostree-ext tells it: one layer after the other.

use std::collections::VecDeque;
use std::sync::Mutex;

use import_oci::progress::{LayerStep, Progress, Stage};
use tokio::sync::{mpsc, watch};

use crate::oci_spec::image::Descriptor;

/// A layer begins or is done.
#[derive(Debug)]
pub enum ImportProgress {
    /// A layer of an encapsulated commit begins.
    OstreeChunkStarted(Descriptor),
    /// Such a layer is done.
    OstreeChunkCompleted(Descriptor),
    /// Another layer begins.
    DerivedLayerStarted(Descriptor),
    /// Such a layer is done.
    DerivedLayerCompleted(Descriptor),
}

impl ImportProgress {
    /// Does a layer begin?
    pub fn is_starting(&self) -> bool {
        matches!(
            self,
            Self::OstreeChunkStarted(_) | Self::DerivedLayerStarted(_)
        )
    }
}

/// How far the layer is that began last.
#[derive(Debug)]
pub struct LayerProgress {
    /// Its position in the manifest.
    pub layer_index: usize,
    /// How many bytes of its blob are read.
    pub fetched: u64,
    /// How many there are.
    pub total: u64,
}

/// Tells two channels how far an import is.
#[derive(Debug)]
pub(super) struct Channels {
    pub layers: Option<mpsc::Sender<ImportProgress>>,
    pub bytes: Option<watch::Sender<Option<LayerProgress>>>,
    /// The layers of the image.
    pub descriptors: Vec<Descriptor>,
    /// How many of the lowest are those of an encapsulated commit.
    pub encapsulated: usize,
    pub turns: Mutex<Turns>,
}

impl Channels {
    fn tell(&self, told: Told) {
        match told {
            Told::Begun(layer) => self.send(layer, true),
            Told::Done(layer) => self.send(layer, false),
            Told::Read(layer, fetched) => {
                let progress = LayerProgress {
                    layer_index: layer,
                    fetched,
                    total: self.descriptors[layer].size(),
                };
                if let Some(channel) = &self.bytes {
                    channel.send(Some(progress)).ok();
                }
            }
        }
    }

    fn send(&self, layer: usize, starting: bool) {
        let Some(channel) = &self.layers else { return };
        let descriptor = self.descriptors[layer].clone();
        let message = match (layer < self.encapsulated, starting) {
            (true, true) => ImportProgress::OstreeChunkStarted(descriptor),
            (true, false) => ImportProgress::OstreeChunkCompleted(descriptor),
            (false, true) => ImportProgress::DerivedLayerStarted(descriptor),
            (false, false) => ImportProgress::DerivedLayerCompleted(descriptor),
        };
        // Whoever asked may have lost interest.
        channel.blocking_send(message).ok();
    }
}

impl Progress for Channels {
    fn begin(&self, _stage: Stage, _total: u64) {}
    fn advance(&self, _units: u64) {}
    fn end(&self) {}

    fn layer(&self, index: usize, step: LayerStep) {
        // Held until all is told, which stays in its order so.
        let mut turns = self.turns.lock().expect("no panic under the lock");
        for told in turns.step(index, step) {
            self.tell(told);
        }
    }
}

/// What is told of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Begun(usize),
    Read(usize, u64),
    Done(usize),
}

/// Layers that are read at once, told as if they were read one after the other in the order in
/// which they began: programs rely on that.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The layer whose turn it is, and those that wait for theirs.
    under_way: VecDeque<Turn>,
}

#[derive(Debug)]
struct Turn {
    layer: usize,
    read: u64,
    done: bool,
}

impl Turns {
    fn step(&mut self, layer: usize, step: LayerStep) -> Vec<Told> {
        let place = self.under_way.iter().position(|turn| turn.layer == layer);
        let turn = place.map(|place| &mut self.under_way[place]);
        match (step, turn) {
            (LayerStep::Begun, _) => {
                self.under_way.push_back(Turn {
                    layer,
                    read: 0,
                    done: false,
                });
                match self.under_way.len() {
                    1 => vec![Told::Begun(layer)],
                    _ => Vec::new(),
                }
            }
            (LayerStep::Read(bytes), Some(turn)) => {
                turn.read = turn.read.saturating_add(bytes);
                match place {
                    Some(0) => vec![Told::Read(layer, turn.read)],
                    _ => Vec::new(),
                }
            }
            (LayerStep::Done, Some(turn)) => {
                turn.done = true;
                self.end_turns()
            }
            (_, None) => Vec::new(),
        }
    }

    /// Ends the turn of every layer that is done when its turn comes.
    fn end_turns(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while self.under_way.front().is_some_and(|turn| turn.done) {
            let done = self.under_way.pop_front();
            told.extend(done.map(|turn| Told::Done(turn.layer)));
            if let Some(next) = self.under_way.front() {
                told.push(Told::Begun(next.layer));
                told.push(Told::Read(next.layer, next.read));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_after_the_other() {
        use LayerStep::{Begun, Done, Read};

        let mut turns = Turns::default();
        for (layer, step, told) in [
            (2, Begun, vec![Told::Begun(2)]),
            (0, Begun, vec![]),
            (2, Read(5), vec![Told::Read(2, 5)]),
            (0, Read(7), vec![]),
            (1, Begun, vec![]),
            (2, Read(1), vec![Told::Read(2, 6)]),
            (0, Done, vec![]),
            (
                2,
                Done,
                vec![
                    Told::Done(2),
                    Told::Begun(0),
                    Told::Read(0, 7),
                    Told::Done(0),
                    Told::Begun(1),
                    Told::Read(1, 0),
                ],
            ),
            (1, Done, vec![Told::Done(1)]),
            (3, Begun, vec![Told::Begun(3)]),
        ] {
            assert_eq!(turns.step(layer, step), told, "{layer} {step:?}");
        }
    }
}
