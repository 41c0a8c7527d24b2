//! Ports of kinds that live above the switch: their threads join and part them while others change the switch.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use valecast_config::{Config, Port, parse_port};
use valecast_switch::daemon::{Daemon, SocketFile};
use valecast_switch::port::outside::{Kind, Kinds, Served, Site, SiteError};
use valecast_switch::port::{About, OpenError, null};
use valecast_switch::switch::show::PortView;

/// Joins and parts its port as fast as it can.
struct Restless(Arc<AtomicU64>);

struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    joins: Arc<AtomicU64>,
    _socket: SocketFile,
}

impl Kind for Restless {
    fn name(&self) -> &'static str {
        "e1000"
    }

    fn serve(&self, _port: &Port, site: Site) -> Result<Box<dyn Served>, OpenError> {
        let (socket, _listener) = site.listen()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, joins) = (stop.clone(), self.0.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match site.connect(null::open(), None, 4096) {
                    Ok(number) => {
                        joins.fetch_add(1, Ordering::Relaxed);
                        site.caps_changed();
                        site.disconnect(number);
                    }
                    Err(SiteError::Gone) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        });
        Ok(Box::new(Running { stop, thread: Some(thread), joins: self.0.clone(), _socket: socket }))
    }
}

impl Served for Running {
    fn about(&self) -> About {
        About { counters: vec![("joins", self.joins.load(Ordering::Relaxed))], ..About::default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn port(daemon: &Daemon) -> PortView {
    daemon.with("v", |s| s.ports_view().remove(0)).unwrap()
}

/// Waits for `so`.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_port_is_parted_under_its_threads_hands() {
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "run_dir = {:?}\n[[switch]]\nname = \"v\"\n[[switch.port]]\nname = \"vm\"\nkind = \"e1000\"\n",
        dir.path()
    );
    let joins = Arc::new(AtomicU64::new(0));
    let kinds = Kinds::new(vec![Box::new(Restless(joins.clone()))]);
    let daemon = Daemon::start_with(Config::parse("t", &toml).unwrap(), None, kinds).unwrap();
    let socket = dir.path().join("v.vm.vm");
    for _ in 0..20 {
        let before = joins.load(Ordering::Relaxed);
        until("it never joins", || joins.load(Ordering::Relaxed) > before + 2);
        assert!(socket.exists());
        daemon.detach_port("v", "vm").unwrap();
        assert!(!socket.exists());
        daemon
            .attach_port("v", parse_port("t", "name = \"vm\"\nkind = \"e1000\"\n").unwrap(), false)
            .unwrap();
    }
    until("it is never seen joined", || port(&daemon).state == "up");
    until("it is never seen apart", || port(&daemon).state == "waiting");
    assert!(port(&daemon).device["joins"] > 0);
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn what_cannot_be_served_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let text = |more: &str| {
        let head = format!("run_dir = {:?}\n[[switch]]\nname = \"v\"\n", dir.path());
        format!("{head}[[switch.port]]\nname = \"vm\"\n{more}")
    };
    let start = |toml: &str| {
        let kinds = Kinds::new(vec![Box::new(Restless(Arc::default()))]);
        Daemon::start_with(Config::parse("t", toml).unwrap(), None, kinds).map(|d| d.stop())
    };
    let unknown = start(&text("kind = \"vhost-user\"\n")).unwrap_err().to_string();
    assert!(unknown.contains("no ports of kind \"vhost-user\""), "{unknown}");
    std::fs::write(dir.path().join("precious"), "data").unwrap();
    let file = start(&text("kind = \"e1000\"\nsocket = \"precious\"\n")).unwrap_err().to_string();
    assert!(file.contains("precious") && file.contains("no socket"), "{file}");
    assert_eq!(std::fs::read(dir.path().join("precious")).unwrap(), b"data");
    let taken = std::os::unix::net::UnixListener::bind(dir.path().join("taken")).unwrap();
    let two = start(&text("kind = \"e1000\"\nsocket = \"taken\"\n")).unwrap_err().to_string();
    assert!(two.contains("another process listens there"), "{two}");
    drop(taken);
    start(&text("kind = \"e1000\"\nsocket = \"taken\"\n")).unwrap();
}
