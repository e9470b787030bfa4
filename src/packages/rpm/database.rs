//! The SQLite form of an RPM database, read with SQLite itself, so that what lies in its log counts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::bodies::{Bodies, BodyId};

/// A private copy of a database. SQLite reads only files, and writes to them when it finds a log.
#[derive(Debug)]
pub struct Copy {
    directory: TempDir,
}

/// What SQLite says is wrong with a database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is none, or is damaged.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// It has no table of packages.
    #[error("it has no table of packages")]
    NoTable,
}

impl Copy {
    /// Copies a database and its log to the directory `scratch`.
    pub fn make(
        bodies: &Bodies,
        database: BodyId,
        log: Option<BodyId>,
        scratch: &Path,
    ) -> Result<Self> {
        let copy = tempfile::Builder::new()
            .prefix("rpmdb-")
            .tempdir_in(scratch)
            .map(|directory| Self { directory })
            .with_context(|| format!("making a directory in {}", scratch.display()))?;
        let write = |body, path: &Path| {
            let mut file = File::create(path)?;
            io::copy(&mut bodies.reader(body), &mut file)
        };
        for (body, suffix) in [(Some(database), ""), (log, "-wal")] {
            if let Some(body) = body {
                let path = copy.path(suffix);
                write(body, &path).with_context(|| format!("copying to {}", path.display()))?;
            }
        }
        Ok(copy)
    }

    /// Hands the header of each package, and the number it has in the database, to `take`.
    ///
    /// # Errors
    /// It is no database of packages; some may have been handed over by then.
    pub fn for_each_header(&self, mut take: impl FnMut(i64, &[u8])) -> Result<(), DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path(""), flags)?;
        // A schema is a program of whoever wrote it: only a plain table is read.
        connection.execute_batch("PRAGMA trusted_schema = OFF")?;
        let tables: i64 = connection.query_row(
            "SELECT count(*) FROM sqlite_master
             WHERE type = 'table' AND name = 'Packages' AND rootpage > 0",
            [],
            |row| row.get(0),
        )?;
        if tables != 1 {
            return Err(DatabaseError::NoTable);
        }
        let mut statement = connection.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let blob = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            take(row.get(0)?, blob);
        }
        Ok(())
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("rpmdb.sqlite{suffix}"))
    }
}
