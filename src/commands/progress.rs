//! How far a long command is: a bar on a terminal, a line now and then anywhere else.
//!
//! On standard error, so that results can go elsewhere. Drawn by whoever does the work, as it is
//! done: there is no thread behind it.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use super::amounts;
use crate::clock::Clock;

/// The progress of work on files. Dropping it takes the bar off the terminal.
pub(super) struct Progress {
    totals: Done,
    done: Done,
    clock: Clock,
    begun: Instant,
    shown: Instant,
    is_drawn: bool,
    terminal: bool,
    out: Box<dyn Write + Send>,
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    files: u64,
    bytes: u64,
}

impl Progress {
    /// Of so many files with so many bytes to do; more may turn up. Nothing is shown yet.
    pub(super) fn new(total_files: u64, total_bytes: u64) -> Self {
        let totals = Done { files: total_files, bytes: total_bytes };
        Self::on(Box::new(io::stderr()), io::stderr().is_terminal(), totals)
    }

    fn on(out: Box<dyn Write + Send>, terminal: bool, totals: Done) -> Self {
        let clock = Clock::Real;
        let begun = clock.instant();
        let (done, is_drawn) = (Done::default(), false);
        Self { totals, done, clock, begun, shown: begun, is_drawn, terminal, out }
    }

    /// So much more is done: files that are finished, bytes of any file. Cheap enough for every
    /// chunk.
    pub(super) fn advance(&mut self, files: u64, bytes: u64) {
        self.done.files += files;
        self.done.bytes += bytes;
        let now = self.clock.instant();
        let every = if self.terminal { REDRAW_EVERY } else { LINE_EVERY };
        if now.duration_since(self.shown) >= every {
            self.shown = now;
            self.show(now.duration_since(self.begun));
        }
    }

    /// Takes the bar off the terminal, for something else to be printed; the next `advance` draws
    /// it again.
    pub(super) fn hide(&mut self) {
        if self.is_drawn {
            self.is_drawn = false;
            // Back to the margin, and clear to the end of the line.
            self.write("\r\x1b[K");
        }
    }

    /// All is done. What it came to is for the caller to say.
    pub(super) fn finish(mut self) {
        self.hide();
    }

    fn show(&mut self, elapsed: Duration) {
        let text = line(self.done, self.totals, elapsed);
        if self.terminal {
            self.is_drawn = true;
            let bar = bar(fraction(self.done, self.totals));
            self.write(&format!("\r[{bar}] {text}\x1b[K"));
        } else {
            self.write(&format!("{text}\n"));
        }
    }

    /// That it cannot be shown is no reason to stop.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

/// At most 79 columns with the bar before it.
fn line(done: Done, totals: Done, elapsed: Duration) -> String {
    let fraction = fraction(done, totals);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = amounts::bytes((done.bytes as f64 / seconds) as u64);
    let percent = (fraction * 100.0) as u8;
    let bytes = amounts::bytes(done.bytes);
    let files = amounts::count(done.files, "file", "files");
    let mut text = format!("{percent:>3} %  {files}, {bytes}, {rate}/s");
    if fraction > 0.0 && elapsed >= RATE_KNOWN_AFTER {
        let left = seconds * (1.0 - fraction) / fraction;
        text.push_str(&format!(", {} left", amounts::duration(left.ceil() as u64)));
    }
    text
}

fn bar(fraction: f64) -> String {
    let filled = ((fraction * BAR_COLUMNS as f64) as usize).min(BAR_COLUMNS);
    "#".repeat(filled) + &"-".repeat(BAR_COLUMNS - filled)
}

/// Between 0 and 1. Small files take time by their number and large ones by their bytes, so both
/// count.
fn fraction(done: Done, totals: Done) -> f64 {
    let part = |done: u64, total: u64| {
        if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) }
    };
    (part(done.files, totals.files) + part(done.bytes, totals.bytes)) / 2.0
}

const BAR_COLUMNS: usize = 16;
/// Often enough to look alive.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// Where nobody looks on: seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Before, what is left would only be a guess.
const RATE_KNOWN_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const TOTALS: Done = Done { files: 100, bytes: 1 << 30 };

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_still() {
        let half = Done { files: 50, bytes: 512 << 20 };
        let at = |done, s| line(done, TOTALS, Duration::from_secs(s));
        assert_eq!(at(half, 8), " 50 %  50 files, 512.0 MiB, 64.0 MiB/s, 8 s left");
        assert_eq!(at(Done::default(), 8), "  0 %  0 files, 0 B, 0 B/s");
        let first = Done { files: 1, bytes: 0 };
        assert_eq!(at(first, 0), "  0 %  1 file, 0 B, 0 B/s");
        assert_eq!(at(half, 0), " 50 %  50 files, 512.0 MiB, 500.0 GiB/s");
        let more = Done { files: 120, bytes: 2 << 30 };
        assert_eq!(at(more, 1), "100 %  120 files, 2.0 GiB, 2.0 GiB/s, 0 s left");
        assert_eq!(
            line(Done::default(), Done::default(), Duration::ZERO).split(',').next(),
            Some("100 %  0 files")
        );
    }

    #[test]
    fn a_bar_fits_a_terminal_of_80_columns() {
        let most = Done { files: 99_999_999, bytes: u64::MAX };
        let text = line(most, TOTALS, Duration::from_secs(359_999));
        assert!(text.len() + BAR_COLUMNS + 3 < 80, "{text}");
        assert_eq!(
            (bar(0.0).len(), bar(0.5).matches('#').count(), bar(1.0)),
            (16, 8, "#".repeat(16))
        );
    }

    #[test]
    fn a_terminal_is_left_as_it_was_and_a_file_gets_whole_lines() {
        let screen = Screen::default();
        let mut progress = Progress::on(Box::new(screen.clone()), true, TOTALS);
        progress.hide();
        assert_eq!(screen.text(), "", "nothing to take away");
        progress.done = TOTALS;
        progress.show(Duration::from_secs(1));
        assert!(screen.text().starts_with("\r[################] 100 %"), "{:?}", screen.text());
        progress.finish();
        assert!(screen.text().ends_with("\x1b[K\r\x1b[K"), "{:?}", screen.text());

        let file = Screen::default();
        let mut progress = Progress::on(Box::new(file.clone()), false, TOTALS);
        progress.show(Duration::from_secs(1));
        progress.finish();
        assert_eq!(file.text(), "  0 %  0 files, 0 B, 0 B/s\n");
    }
}
