//! The same work for many items from a few threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use ostree::gio;
use ostree::gio::prelude::*;

/// Calls `work` once for each of the distinct indices in `order` and returns the results sorted by
/// index. Each of `workers` becomes the state of one thread. After the first error, which is
/// returned, no more work is begun, and calls that watch the cancellable end early.
pub fn map<W, T>(
    workers: Vec<W>,
    order: &[usize],
    work: impl Fn(&mut W, usize, &gio::Cancellable) -> Result<T> + Sync,
) -> Result<Vec<T>>
where
    W: Send,
    T: Send,
{
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let cancellable = gio::Cancellable::new();
    let run = |mut worker: W| {
        let mut results = Vec::new();
        while !cancellable.is_cancelled() {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            match work(&mut worker, index, &cancellable) {
                Ok(result) => results.push((index, result)),
                Err(error) => {
                    failure
                        .lock()
                        .expect("no panic under the lock")
                        .get_or_insert(error);
                    cancellable.cancel();
                }
            }
        }
        results
    };
    let mut results = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| run(worker)))
            .collect();
        let mut all = Vec::with_capacity(order.len());
        for thread in threads {
            all.extend(thread.join().expect("worker does not panic"));
        }
        all
    });
    if let Some(error) = failure.into_inner().expect("no panic under the lock") {
        return Err(error);
    }
    results.sort_unstable_by_key(|&(index, _)| index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        let order: Vec<_> = (0..100).rev().collect();
        let squares = map(vec![(); 3], &order, |(), index, _| Ok(index * index)).unwrap();
        assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_stops_all() {
        let started = AtomicUsize::new(0);
        let order: Vec<_> = (0..100).collect();
        let error = map(vec![(); 3], &order, |(), index, cancellable| {
            started.fetch_add(1, Ordering::Relaxed);
            if index == 10 {
                anyhow::bail!("eleventh");
            }
            if index > 10 {
                while !cancellable.is_cancelled() {
                    std::thread::yield_now();
                }
                anyhow::bail!("cancelled");
            }
            Ok(())
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "eleventh");
        assert!(started.into_inner() <= 13);
    }
}
