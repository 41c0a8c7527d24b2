//! The API as its clients meet it: over sockets, with a daemon of ring and null ports.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use valecast_config::Config;

use super::{ApiHandle, routes, serve};
use crate::daemon::Daemon;

const TWO_PORTS: &str = "[[switch]]\nname = \"vale0\"\nspin = \"0\"\nsocket_mode = \"0640\"\n\
    [[switch.port]]\nname = \"a\"\nkind = \"ring\"\n[[switch.port]]\nname = \"b\"\nkind = \"null\"\n";

/// A daemon with its API.
struct House {
    dir: TempDir,
    daemon: Daemon,
    api: Option<ApiHandle>,
}

impl House {
    fn new(head: &str, switches: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("v.toml");
        std::fs::write(&file, format!("run_dir = {:?}\n{head}{switches}", dir.path())).unwrap();
        let daemon = Daemon::start(Config::load(&file).unwrap(), Some(file)).unwrap();
        let api = Some(serve(daemon.clone()).unwrap());
        Self { dir, daemon, api }
    }

    fn rewrite(&self, switches: &str) {
        let text = format!("run_dir = {:?}\n{switches}", self.dir.path());
        std::fs::write(self.dir.path().join("v.toml"), text).unwrap();
    }

    fn socket(&self, switch: &str) -> PathBuf {
        Daemon::control_socket(self.dir.path(), switch)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        exchange(UnixStream::connect(self.socket("vale0")).unwrap(), method, path, body)
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.ask(method, path, &body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.json("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.api = None;
        self.daemon.stop();
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn ports_come_and_go() {
    let house = House::new("", TWO_PORTS);
    let names = || {
        let list = house.get("/v1/switches/vale0/ports");
        list["ports"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["a", "b"]);
    let (status, made) =
        house.json("POST", "/v1/switches/vale0/ports", &json!({"name": "c", "kind": "ring", "slots": 64}));
    assert_eq!((status, &made["slots"], &made["tx_rings"]), (201, &json!(64), &json!(1)));
    assert_eq!(names(), ["a", "b", "c"]);
    let again = house.json("POST", "/v1/switches/vale0/ports", &json!({"name": "c", "kind": "null"}));
    assert_eq!(again.0, 409);
    assert!(again.1["error"].as_str().unwrap().contains("already has a port"), "{}", again.1);
    assert_eq!(house.ask("DELETE", "/v1/switches/vale0/ports/c", "").0, 204);
    assert_eq!(house.ask("DELETE", "/v1/switches/vale0/ports/c", "").0, 404);
    assert_eq!(names(), ["a", "b"]);
}

#[test]
fn mistakes_are_explained() {
    let house = House::new("", TWO_PORTS);
    let wrong = json!({"name": "c", "kind": "ring", "slotz": 64, "tx_rings": 99});
    let (status, answer) = house.json("POST", "/v1/switches/vale0/ports", &wrong);
    assert_eq!((status, answer["diagnostics"].as_array().unwrap().len()), (422, 2));
    assert!(answer["error"].as_str().unwrap().contains("did you mean `slots`"), "{answer}");
    for (method, path, body, want) in [
        ("GET", "/v1/switches/vale9/stats", "", 404),
        ("GET", "/v1/nothing", "", 404),
        ("PATCH", "/v1/switches", "", 405),
        ("POST", "/v1/switches/vale0/ports", "{", 422),
        ("POST", "/v1/switches/vale0/ports?temporay=true", r#"{"name":"c","kind":"null"}"#, 422),
        ("POST", "/v1/switches/vale0/mirrors", r#"{"from":["a"],"to":"a"}"#, 422),
        ("POST", "/v1/switches/vale0/mirrors", r#"{"from":["a"],"to":"nobody"}"#, 422),
        ("DELETE", "/v1/switches/vale0/mirrors/b", "", 404),
        ("POST", "/v1/switches/vale9/ports", r#"{"name":"c","kind":"null"}"#, 404),
    ] {
        let (status, answer) = house.json(method, path, &serde_json::from_str(body).unwrap_or(Value::Null));
        assert_eq!(status, want, "{method} {path}: {answer}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
    assert_eq!(house.ask("POST", "/v1/switches/vale0/ports", "{").0, 422);
}

#[test]
fn groups_meters_and_mirrors() {
    let house = House::new("", TWO_PORTS);
    let at = |what: &str| format!("/v1/switches/vale0/{what}");
    let meter = json!({"name": "m", "rate": "1Gbit/s"});
    let group =
        json!({"name": "g", "address": "01:00:5e:00:00:01", "meter": "m", "buckets": [{"port": "b"}]});
    let early = house.json("POST", &at("groups"), &group);
    assert_eq!(early.0, 422, "the meter is not there yet: {}", early.1);
    assert_eq!(house.json("POST", &at("meters"), &meter).0, 201);
    assert_eq!(house.json("POST", &at("groups"), &group).0, 201);
    let groups = house.get(&at("groups"));
    assert_eq!((&groups["groups"][0]["name"], &groups["groups"][0]["frames"]), (&json!("g"), &json!(0)));
    assert_eq!(house.ask("DELETE", &at("meters/m"), "").0, 409);
    assert_eq!(house.ask("DELETE", &at("ports/b"), "").0, 409);
    let faster = house.json("PUT", &at("meters/m"), &json!({"name": "m", "rate": "2Gbit/s"}));
    assert_eq!((faster.0, &faster.1["rate"]), (200, &json!(2_000_000_000)));
    assert_eq!(house.json("PUT", &at("meters/x"), &meter).0, 422);
    assert_eq!(house.json("PUT", &at("groups/g"), &group).0, 200);
    assert_eq!(house.ask("DELETE", &at("groups/g"), "").0, 204);
    assert_eq!(house.ask("DELETE", &at("meters/m"), "").0, 204);
    assert_eq!(house.json("POST", &at("mirrors"), &json!({"from": ["a"], "to": "b"})).0, 201);
    assert_eq!(house.get(&at("mirrors"))["mirrors"][0]["direction"], "both");
    assert_eq!(house.get(&at("config"))["mirror"][0]["to"], "b");
    assert_eq!(house.ask("DELETE", &at("mirrors/b"), "").0, 204);
}

#[test]
fn reload_brings_and_takes_sockets() {
    let house = House::new("", TWO_PORTS);
    let mode = std::fs::metadata(house.socket("vale0")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let other = "[[switch]]\nname = \"vale1\"\n";
    house.rewrite(&format!("{TWO_PORTS}{other}"));
    let (status, answer) = house.json("POST", "/v1/reload", &Value::Null);
    assert_eq!((status, answer["actions"].as_array().unwrap().len()), (200, 1), "{answer}");
    let list = house.get("/v1/switches");
    assert_eq!((list["switches"].as_array().unwrap().len(), &list["default"]), (2, &json!("vale0")));
    // One switch's socket does not change another.
    let body = r#"{"name":"x","kind":"null"}"#;
    let over = |switch: &str| {
        let stream = UnixStream::connect(house.socket(switch)).unwrap();
        exchange(stream, "POST", "/v1/switches/vale1/ports", body).0
    };
    assert_eq!((over("vale0"), over("vale1")), (403, 201));
    house.rewrite(TWO_PORTS);
    house.api.as_ref().unwrap().reload().unwrap();
    assert!(!house.socket("vale1").exists() && house.socket("vale0").exists());
    house.rewrite("[[switch]]\nname = \"vale0\"\nworkrs = 1\n");
    let (status, answer) = house.json("POST", "/v1/reload", &Value::Null);
    assert_eq!((status, answer["diagnostics"][0]["help"].as_str()), (422, Some("did you mean `workers`?")));
}

#[test]
fn a_second_daemon_is_refused_and_nothing_stays_behind() {
    let house = House::new("", TWO_PORTS);
    let second = serve(house.daemon.clone()).err().unwrap().to_string();
    assert!(second.contains("another process listens there"), "{second}");
    let socket = house.socket("vale0");
    assert!(socket.exists());
    let dir = house.dir.path().to_owned();
    drop(house);
    assert!(!socket.exists() && !Daemon::ring_socket(&dir, "vale0").exists());
}

#[test]
fn tcp_only_reads() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = House::new(&format!("api.listen = \"{free}\"\n"), TWO_PORTS);
    let ask = |method: &str, path: &str, body: &str| {
        exchange(TcpStream::connect(free).unwrap(), method, path, body)
    };
    assert!(ask("GET", "/", "").1.contains("<!doctype html>"));
    assert_eq!(ask("GET", "/v1/switches/vale0/stats", "").0, 200);
    assert_eq!(ask("DELETE", "/v1/switches/vale0/ports/a", "").0, 403);
    assert_eq!(ask("POST", "/v1/reload", "").0, 403);
    assert_eq!(ask("POST", "/nothing", "").0, 403);
    drop(house);
}

#[test]
fn openapi_describes_every_route() {
    let house = House::new("", TWO_PORTS);
    let openapi = house.get("/openapi.json");
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|k| *k != "parameters");
        methods.map(|m| (m.clone(), path.clone())).collect::<Vec<_>>()
    };
    let described: BTreeSet<_> = openapi["paths"].as_object().unwrap().iter().flat_map(methods).collect();
    let served: BTreeSet<_> =
        routes::table().into_iter().map(|(m, p, _)| (m.to_owned(), p.to_owned())).collect();
    assert_eq!(described, served);
    // Every reference leads somewhere, and the keys of a port's figures are the described ones.
    let mut references = Vec::new();
    references_in(&openapi, &mut references);
    for r in references {
        assert!(openapi.pointer(r.trim_start_matches('#')).is_some(), "{r}");
    }
    let stats = house.get("/v1/switches/vale0/stats");
    let port = &stats["ports"][0];
    for (schema, value) in [("Stats", &stats), ("PortView", port), ("RingView", &port["rings"][0])] {
        let described: BTreeSet<_> =
            openapi["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().collect();
        assert_eq!(described, value.as_object().unwrap().keys().collect(), "{schema}");
    }
}

fn references_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|v| references_in(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| references_in(v, found)),
        _ => {}
    }
}
