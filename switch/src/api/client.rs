//! The other side: HTTP/1.1 with JSON, over any stream of bytes.
//!
//! A [`Connection`] is for those who have a runtime: one request after another. [`ask`] is for those who have none: one
//! request over a Unix socket; [`wait`] gives them the rest.

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{io, iter};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// Longest answer that is believed.
const MOST: usize = 256 << 20;
/// How long the other side may think; attaching a port can take a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// One that has too many callers waiting is called again after this.
const BUSY: Duration = Duration::from_millis(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// What it says.
    pub body: String,
}

impl Answer {
    /// Whether it is a yes.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Asks over a Unix socket, and waits for the answer for a minute at most. For threads without a runtime.
///
/// # Errors
/// When nobody listens there, or the answer does not come or is not HTTP.
pub fn ask(socket: &Path, method: &str, path: &str, body: Option<&str>) -> io::Result<Answer> {
    wait(PATIENCE, async {
        let mut connection = Connection::over(unix(socket).await?).await?;
        connection.ask(method, path, body).await
    })
}

/// Waits for what takes a runtime, no longer than `patience`. For threads that have none.
///
/// # Errors
/// Its own, and when it takes too long.
pub fn wait<T>(patience: Duration, asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
    runtime.block_on(async { tokio::time::timeout(patience, asked).await.map_err(late)? })
}

/// Connects to a Unix socket.
///
/// # Errors
/// When nobody listens there, or one may not.
pub async fn unix(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            // The kernel does not wait for room among the callers where a socket does not block.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(BUSY).await,
            other => return other,
        }
    }
}

/// A connection for one request after another.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    /// What ended the connection, if nobody was told who asked.
    end: Option<oneshot::Receiver<hyper::Error>>,
}

impl Connection {
    /// One over a stream that is connected. A task of the runtime carries it, until this is dropped or the other side hangs
    /// up.
    ///
    /// # Errors
    /// When the stream ends.
    pub async fn over<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, carrier) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let (last, end) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(e) = carrier.await {
                tracing::debug!("a connection ends: {e}");
                let _nobody_asks = last.send(e);
            }
        });
        Ok(Self { requests, end: Some(end) })
    }

    /// Whether the other side did not hang up, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Asks. If this is given up before there is an answer, the connection is of no use any more.
    ///
    /// # Errors
    /// When the answer does not come, or is not HTTP, or longer than 256 MiB.
    pub async fn ask(&mut self, method: &str, path: &str, body: Option<&str>) -> io::Result<Answer> {
        let request = Request::builder().method(method).uri(path).header(HOST, "valecast");
        let request = match body {
            Some(_) => request.header(CONTENT_TYPE, "application/json"),
            None => request,
        };
        let body = Bytes::copy_from_slice(body.unwrap_or_default().as_bytes());
        let request = request.body(Full::from(body)).map_err(io::Error::other)?;
        let answer = match self.send(request).await {
            // The connection ended before the request was its own: its carrier knows why, and may say so a moment later.
            Err(e) if e.is_closed() || e.is_canceled() => {
                let end = self.end.take().ok_or_else(|| io::Error::other("the connection has ended"))?;
                return Err(broken(end.await.unwrap_or(e)));
            }
            other => other.map_err(broken)?,
        };
        let status = answer.status().as_u16();
        let long = || io::Error::new(io::ErrorKind::InvalidData, "the answer is too long");
        if answer.body().size_hint().lower() > MOST as u64 {
            return Err(long());
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await;
        let body = body.map_err(|e| e.downcast::<hyper::Error>().map_or_else(|_| long(), |e| broken(*e)))?;
        let body = String::from_utf8(body.to_bytes().into())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not UTF-8"))?;
        Ok(Answer { status, body })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }
}

/// With what the system said, which hyper keeps to itself, below errors of its own.
fn broken(e: hyper::Error) -> io::Error {
    let whys = || iter::successors(e.source(), |&why| why.source());
    match whys().last() {
        Some(_) => {
            let system = whys().find_map(|why| why.downcast_ref::<io::Error>());
            let all = whys().fold(e.to_string(), |all, why| format!("{all}: {why}"));
            io::Error::new(system.map_or(io::ErrorKind::Other, io::Error::kind), all)
        }
        None if e.is_parse() => io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {e}")),
        None => io::Error::other(e),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// What is asked, and what is made of `answer` to it.
    fn told(answer: &'static str) -> (String, Result<(u16, String), String>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("x.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n{}") {
                let mut more = [0; 4096];
                let n = stream.read(&mut more).unwrap();
                asked.extend_from_slice(&more[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let got = ask(&socket, "POST", "/v1/x?a=b", Some("{}"));
        (other.join().unwrap(), got.map(|a| (a.status, a.body)).map_err(|e| e.to_string()))
    }

    #[test]
    fn writes_requests_and_reads_answers() {
        let (asked, answer) =
            told("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}more");
        assert_eq!(answer, Ok((200, "{}".into())));
        assert!(asked.starts_with("POST /v1/x?a=b HTTP/1.1\r\n") && asked.contains("content-length: 2\r\n"));
        assert!(asked.contains("host: valecast\r\n") && asked.contains("content-type: application/json\r\n"));
        assert_eq!(told("HTTP/1.1 404 Not Found\r\n\r\nto the end").1, Ok((404, "to the end".into())));
        assert_eq!(told("HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n").1, Ok((204, String::new())));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(told(chunked).1, Ok((200, "{}".into())));
    }

    #[test]
    fn refuses_what_is_no_answer() {
        for (text, want) in [
            ("", "connection closed"),
            ("SSH-2.0-x\r\n", "not HTTP"),
            ("HTTP/1.1 abc\r\n\r\n", "not HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "end of file"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not HTTP"),
            ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "not HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long"),
        ] {
            let got = told(text).1.unwrap_err();
            assert!(got.contains(want), "{text:?}: {got}");
        }
        let gone = ask(Path::new("/nowhere/x.sock"), "GET", "/", None).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        let late = wait(Duration::ZERO, std::future::pending::<io::Result<()>>()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    /// A stream that is connected, until somebody reads.
    struct Refused;

    impl AsyncRead for Refused {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the alert")))
        }
    }

    impl AsyncWrite for Refused {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A refusal can come before the request, with it and after it: turns of the carrier until then.
    #[test]
    fn says_why_a_connection_ended_whenever_it_did() {
        for turns in 0..4 {
            let refused = wait(PATIENCE, async {
                let mut connection = Connection::over(Refused).await?;
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                let first = connection.ask("GET", "/", None).await;
                let again = connection.ask("GET", "/", None).await.unwrap_err();
                assert!(!connection.is_open() && !again.to_string().is_empty());
                first
            });
            let refused = refused.unwrap_err();
            assert!(refused.to_string().ends_with("the alert"), "after {turns} turns: {refused}");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "after {turns} turns");
        }
    }

    #[test]
    fn waits_for_room_among_the_callers() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("x.sock");
        let socket2 = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket2.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
        socket2.listen(0).unwrap();
        let first = wait(PATIENCE, unix(&socket)).unwrap();
        let late = wait(BUSY * 5, unix(&socket)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut, "no room yet");
        let calling = std::thread::spawn({
            let socket = socket.clone();
            move || wait(PATIENCE, unix(&socket)).map(drop)
        });
        drop(socket2.accept().unwrap());
        calling.join().unwrap().unwrap();
        drop(first);
    }
}
