//! Messages of vhost-user as bytes.

use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::driver::{BASE, MEMORY, Ring};
use crate::rig::DEADLINE;

pub const GET_FEATURES: u32 = 1;
pub const SET_FEATURES: u32 = 2;
pub const SET_OWNER: u32 = 3;
pub const SET_MEM_TABLE: u32 = 5;
pub const SET_VRING_NUM: u32 = 8;
pub const SET_VRING_ADDR: u32 = 9;
pub const SET_VRING_BASE: u32 = 10;
pub const GET_VRING_BASE: u32 = 11;
pub const SET_VRING_KICK: u32 = 12;
pub const SET_VRING_CALL: u32 = 13;
pub const GET_PROTOCOL_FEATURES: u32 = 15;
pub const SET_PROTOCOL_FEATURES: u32 = 16;
pub const GET_QUEUE_NUM: u32 = 17;
pub const SET_VRING_ENABLE: u32 = 18;
pub const GET_CONFIG: u32 = 24;
pub const ADD_MEM_REG: u32 = 37;
pub const REM_MEM_REG: u32 = 38;

pub const NEED_REPLY: u32 = 8;
/// Where the guest's memory lies in the front end.
pub const USER: u64 = 0x7f00_0000_0000;

/// Sends one message.
pub fn send(sock: &UnixStream, request: u32, flags: u32, body: &[u8], fds: &[&dyn AsFd]) -> bool {
    let mut m = request.to_ne_bytes().to_vec();
    m.extend((1 | flags).to_ne_bytes());
    m.extend((body.len() as u32).to_ne_bytes());
    m.extend(body);
    let raw: Vec<_> = fds.iter().map(|f| f.as_fd().as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<()>(sock.as_raw_fd(), &[IoSlice::new(&m)], rights, MsgFlags::MSG_NOSIGNAL, None).is_ok()
}

/// Receives an answer: request and body. `None`: the connection was closed.
pub fn receive(mut sock: &UnixStream) -> Option<(u32, Vec<u8>)> {
    sock.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut h = [0; 12];
    sock.read_exact(&mut h).ok()?;
    let word = |i: usize| u32::from_ne_bytes(h[i..i + 4].try_into().unwrap());
    assert_eq!(word(4), 5, "version 1, an answer");
    let mut body = vec![0; word(8) as usize];
    sock.read_exact(&mut body).ok()?;
    Some((word(0), body))
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

pub fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// SET_VRING_ADDR for a ring.
pub fn address(index: u32, r: &Ring) -> Vec<u8> {
    let user = |a: u64| a - BASE + USER;
    let mut body = words(&[index, 0]);
    body.extend(longs(&[user(r.descriptors()), user(r.used()), user(r.available()), 0]));
    body
}

/// A table of one region, with room for more, as user-mode Linux sends it.
pub fn table() -> Vec<u8> {
    let mut body = words(&[1, 0]);
    body.extend(longs(&[BASE, MEMORY, USER, 0, 0, 0, 0, 0]));
    body
}
