//! The lock of a system.

use std::ops::Deref;
use std::time::Duration;

use anyhow::Result;

/// A system whose deployments nobody else changes.
#[derive(Debug)]
pub struct SysrootLock {
    /// The system.
    pub sysroot: ostree::Sysroot,
    /// Does the lock belong to whoever gave us the system?
    assumed: bool,
}

impl SysrootLock {
    /// Waits for the lock, and says so on standard output where it takes long. It is given back when
    /// this is dropped.
    ///
    /// # Errors
    /// The system cannot be locked.
    pub async fn new_from_sysroot(sysroot: &ostree::Sysroot) -> Result<Self> {
        let mut told = false;
        while !sysroot.try_lock()? {
            if !told {
                println!("Waiting for sysroot lock...");
                told = true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(Self {
            sysroot: sysroot.clone(),
            assumed: false,
        })
    }

    /// A system that the caller has locked, and will unlock.
    pub fn from_assumed_locked(sysroot: &ostree::Sysroot) -> Self {
        Self {
            sysroot: sysroot.clone(),
            assumed: true,
        }
    }
}

impl Deref for SysrootLock {
    type Target = ostree::Sysroot;

    fn deref(&self) -> &ostree::Sysroot {
        &self.sysroot
    }
}

impl Drop for SysrootLock {
    fn drop(&mut self) {
        if !self.assumed {
            self.sysroot.unlock();
        }
    }
}
