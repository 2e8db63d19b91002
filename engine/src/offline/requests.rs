//! Commands one after the other, as an append-only file and a master's stream hold them.

use super::Trouble;
use shards::wire::{Args, Limits, Parsed, Partial};
use std::io::{self, Read};

/// Read at once.
const READ_BYTES: usize = 256 * 1024;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A command: [`Requests::raw`], [`Requests::args`].
    Command,
    /// Nothing, for now.
    Quiet,
    /// Nothing any more; so many bytes are there of a command that was cut.
    End(usize),
}

/// Takes commands out of bytes. Memory follows the longest command that came.
pub(super) struct Requests<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the current command begins, and how long it is.
    from: usize,
    bytes: usize,
    /// Where the current command begins, from the start of the input.
    at: u64,
    partial: Partial,
}

impl<R: Read> Requests<R> {
    /// `at`: how many bytes of the input came before.
    pub(super) fn new(input: R, at: u64) -> Requests<R> {
        Requests { input, buffer: Vec::new(), from: 0, bytes: 0, at, partial: Partial::default() }
    }

    /// The place behind the current command.
    pub(super) fn at(&self) -> u64 {
        self.at + self.bytes as u64
    }

    /// The command as it came.
    pub(super) fn raw(&self) -> &[u8] {
        &self.buffer[self.from..self.from + self.bytes]
    }

    /// The command's words; none for a note in a file.
    pub(super) fn args(&self) -> Args<'_> {
        Args::new(self.raw(), &self.partial.spans)
    }

    pub(super) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// Goes on to the next command.
    pub(super) fn next(&mut self) -> Result<Next, Trouble> {
        self.pass(self.bytes);
        self.partial.clear();
        loop {
            match self.partial.advance(&self.buffer[self.from..], &Limits::OPEN) {
                Parsed::Request { bytes } => {
                    self.bytes = bytes;
                    return Ok(Next::Command);
                }
                // Line ends that keep a connection open.
                Parsed::Nothing { bytes } => {
                    self.pass(bytes);
                    self.partial.clear();
                }
                // A note, which append-only files may hold.
                Parsed::Inline { bytes, .. } if self.buffer[self.from] == b'#' => {
                    self.pass(bytes);
                    self.partial.clear();
                }
                Parsed::Incomplete => match self.fill() {
                    Ok(0) => return Ok(Next::End(self.buffer.len() - self.from)),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(Next::Quiet),
                    Err(error) => return Err(Trouble::new(format!("cannot read on: {error}"))),
                },
                Parsed::Inline { .. } | Parsed::Malformed(_) => {
                    return Err(Trouble::new(format!("damaged at byte {}: no command begins there", self.at)));
                }
            }
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.from += bytes;
        self.at += bytes as u64;
        self.bytes = 0;
    }

    /// Reads more behind what is there.
    fn fill(&mut self) -> io::Result<usize> {
        if self.from > 0 {
            self.buffer.drain(..self.from);
            self.from = 0;
            self.buffer.shrink_to(4 * READ_BYTES);
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES.max(filled / 2), 0);
        let read = self.input.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one by one, with a pause after each.
    struct Pieces(Vec<Vec<u8>>, bool);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 && !self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let Some(piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    /// The words of a command, and the place behind it.
    type Found = (Vec<Vec<u8>>, u64);

    fn commands(bytes: &[u8], piece: usize) -> (Vec<Found>, Result<Next, Trouble>) {
        let mut requests = Requests::new(Pieces(bytes.chunks(piece).map(<[u8]>::to_vec).collect(), false), 100);
        let mut found = Vec::new();
        loop {
            match requests.next() {
                Ok(Next::Command) => found.push((requests.args().iter_from(0).map(<[u8]>::to_vec).collect(), requests.at())),
                Ok(Next::Quiet) => {}
                end => return (found, end),
            }
        }
    }

    #[test]
    fn commands_come_out_whole_however_they_are_cut() {
        let bytes = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n\n\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na\r\n\r\n*1\r\n$4\r\nPI";
        for piece in [1, 2, 5, 1000] {
            let (found, end) = commands(bytes, piece);
            assert_eq!(found[0], (vec![b"SELECT".to_vec(), b"0".to_vec()], 123));
            assert_eq!(found[1], (vec![b"SET".to_vec(), b"k".to_vec(), b"a\r\n".to_vec()], 170), "{piece}");
            assert_eq!((found.len(), end.unwrap()), (2, Next::End(10)));
        }
    }

    #[test]
    fn what_is_no_command_has_its_place_in_the_message() {
        let (found, end) = commands(b"*1\r\n$4\r\nPING\r\nhello\r\n", 1000);
        assert_eq!(found.len(), 1);
        assert_eq!(end.unwrap_err().text, "damaged at byte 114: no command begins there");
    }
}
