//! The other side, for programs that ask over a Unix socket: the little of HTTP/1.1 that it takes. One request, one
//! answer, the connection ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest answer that is believed.
const MOST: u64 = 256 << 20;
/// Longest line of a head.
const LINE: u64 = 16 << 10;
/// How long the other side may think; attaching a port can take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// What it says.
    pub body: String,
}

/// Asks over a Unix socket.
///
/// # Errors
/// When nobody listens there, or the answer is not HTTP.
pub fn ask(socket: &Path, method: &str, path: &str, body: Option<&str>) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream, method, path, body)
}

/// Asks over a connection that has been made; its timeouts say how long the other side may think.
///
/// # Errors
/// When the answer does not come, or is not HTTP.
pub fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> io::Result<Answer> {
    stream.write_all(request(method, path, body).as_bytes())?;
    stream.flush()?;
    match answer(stream) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within a minute"))
        }
        other => other,
    }
}

fn request(method: &str, path: &str, body: Option<&str>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: valecast\r\nConnection: close\r\n");
    if let Some(body) = body {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text + "\r\n" + body.unwrap_or_default()
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.by_ref().take(LINE).read_line(&mut line)?;
    match line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')) {
        Some(line) => Ok(line.to_owned()),
        None => Err(wrong("the answer breaks off, or is not HTTP")),
    }
}

/// Reads one answer.
fn answer(from: impl Read) -> io::Result<Answer> {
    let mut from = BufReader::new(from);
    let first = line(&mut from)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| wrong(format!("not an HTTP answer: {first:?}")))?;
    let mut length = None;
    loop {
        let header = line(&mut from)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| wrong("a header without a colon"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let n: u64 = value.trim().parse().map_err(|_| wrong("a length that is no number"))?;
                length = Some(n);
            }
            "transfer-encoding" => return Err(wrong(format!("unexpected encoding{value}"))),
            _ => {}
        }
    }
    // Without a body these have no length either, and the server may keep the connection a moment.
    let length = if matches!(status, 204 | 304) { Some(0) } else { length };
    let most = length.unwrap_or(MOST);
    if most > MOST {
        return Err(wrong("the answer is too long"));
    }
    let mut body = Vec::new();
    from.take(most).read_to_end(&mut body)?;
    if length.is_some_and(|n| n != body.len() as u64) {
        return Err(wrong("the answer breaks off"));
    }
    let body = String::from_utf8(body).map_err(|_| wrong("the answer is not UTF-8"))?;
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u16, String), String> {
        answer(text.as_bytes()).map(|a| (a.status, a.body)).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_answers() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}more";
        assert_eq!(read(ok), Ok((200, "{}".into())));
        assert_eq!(read("HTTP/1.1 404 Not Found\r\n\r\nto the end"), Ok((404, "to the end".into())));
        assert_eq!(read("HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n"), Ok((204, String::new())));
    }

    #[test]
    fn refuses_what_is_no_answer() {
        for (text, want) in [
            ("", "breaks off"),
            ("SSH-2.0-x\r\n", "not an HTTP answer"),
            ("HTTP/1.1 abc\r\n\r\n", "not an HTTP answer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "breaks off"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "unexpected encoding"),
            ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "colon"),
        ] {
            let got = read(text).unwrap_err();
            assert!(got.contains(want), "{text:?}: {got}");
        }
    }

    #[test]
    fn writes_requests() {
        let text = request("POST", "/v1/x", Some("{}"));
        assert!(text.starts_with("POST /v1/x HTTP/1.1\r\n") && text.ends_with("Content-Length: 2\r\n\r\n{}"));
        assert!(request("GET", "/", None).ends_with("Connection: close\r\n\r\n"));
    }
}
