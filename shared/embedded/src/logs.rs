//! The log files of the servers: appended to, kept small, quoted when something fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A log larger than this is moved to `<name>.old`, over the one before it.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much of the end of a log an error quotes.
const TAIL_BYTES: u64 = 2_000;
const TAIL_LINES: usize = 8;

/// The logs that are open for servers of this process.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Opens a log for a server to append to, and keeps it small from here on.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    match shorten(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let mut open = OPEN.lock().expect("no holder of this lock panics");
    if !open.iter().any(|known| known == path) {
        open.push(path.to_owned());
    }
    Ok(file)
}

/// Looks after every open log; called about once a minute.
pub(crate) fn keep_small() {
    let paths = OPEN.lock().expect("no holder of this lock panics").clone();
    for path in paths {
        if let Err(error) = shorten(&path) {
            if error.kind() == io::ErrorKind::NotFound {
                OPEN.lock().expect("no holder of this lock panics").retain(|known| *known != path);
            } else {
                tracing::warn!(log = %path.display(), %error, "a server's log could not be kept small");
            }
        }
    }
}

/// Copies a log that has grown too large aside and empties it.
///
/// The server has it open for appending, so it goes on at the new end; what it writes between the
/// copy and the emptying is lost.
fn shorten(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.len() <= LOG_BYTES_MAX {
        return Ok(());
    }
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    fs::copy(path, old)?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// The end of a log that was written since it had `from` bytes, for an error message.
pub(crate) fn tail(path: &Path, from: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        let from = if from > end { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(the log could not be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_that_grew_too_large_is_moved_aside_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut writer = open(&path).unwrap();
        writer.set_len(LOG_BYTES_MAX + 1).unwrap();
        keep_small();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(fs::metadata(dir.path().join("a.log.old")).unwrap().len(), LOG_BYTES_MAX + 1);
    }

    #[test]
    fn the_tail_is_what_was_written_since_and_at_most_a_few_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "before\none\ntwo\n").unwrap();
        assert_eq!(tail(&path, 7), "one\ntwo");
        fs::write(&path, "line\n".repeat(1_000)).unwrap();
        assert_eq!(tail(&path, 0).lines().count(), TAIL_LINES);
    }
}
