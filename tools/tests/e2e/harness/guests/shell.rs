//! A shell in a guest, over a terminal that carries nothing else: `tools/xtask/src/guests/init.sh` is its other end.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than any command of a test takes.
const COMMAND: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit status; 128 and more for a signal.
    pub status: i32,
    /// What it printed, errors included.
    pub output: String,
}

/// Our end.
pub struct Shell {
    input: ChildStdin,
    lines: Receiver<String>,
    number: u32,
}

impl Shell {
    /// On the standard input and output of a machine's monitor.
    pub fn new(input: ChildStdin, output: ChildStdout) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { input, lines, number: 0 }
    }

    /// Whether the guest says within this time that it is ready.
    pub fn is_ready(&self, within: Duration) -> bool {
        let begun = Instant::now();
        while let Some(rest) = within.checked_sub(begun.elapsed()) {
            match self.lines.recv_timeout(rest) {
                // The firmware may have left something on the line.
                Ok(line) if line.contains("@ready ") => return true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        false
    }

    /// Forgets what was said so far.
    pub fn forget(&self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// Sends a command without waiting for its end.
    pub fn send(&mut self, command: &str) {
        self.number += 1;
        // A machine that is gone shows when its answer is waited for.
        let _ = writeln!(self.input, "{} {}", self.number, base64(command.as_bytes()));
        let _ = self.input.flush();
    }

    /// Runs a command to its end.
    pub fn run(&mut self, command: &str) -> Result<Ran, String> {
        self.send(command);
        let (begin, end) = (format!("@begin {}", self.number), format!("@end {} ", self.number));
        let (begun, mut text, mut inside) = (Instant::now(), String::new(), false);
        loop {
            let rest = COMMAND.checked_sub(begun.elapsed()).unwrap_or_default();
            let line = match self.lines.recv_timeout(rest) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(format!("no answer in {COMMAND:?}")),
                Err(RecvTimeoutError::Disconnected) => return Err("the machine has ended".to_owned()),
            };
            if line == begin {
                inside = true;
            } else if line.contains("@ready ") {
                return Err("the machine booted again by itself".to_owned());
            } else if let Some(status) = line.strip_prefix(&end) {
                let status = status.trim().parse().map_err(|_| format!("a status of `{status}`"))?;
                let output = debase64(&text).ok_or_else(|| format!("garbled on the line: {text}"))?;
                return Ok(Ran { status, output: String::from_utf8_lossy(&output).into_owned() });
            } else if inside {
                text.push_str(&line);
            }
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn debase64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        word = word << 6 | DIGITS.iter().position(|d| *d == digit)? as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}
