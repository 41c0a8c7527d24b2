//! `NIOCCTRL`: a request is copied in, checked as netmap checks it, done by the daemon or here, and copied out.

use nix::libc;
use valecast_ring::abi::{CsbAtok, CsbKtoa};
use valecast_ring::netmap::abi::{APIS, NmreqHeader, NmreqKloopStart, NmreqOption, body_len, flag, opt, req};
use zerocopy::{FromBytes, IntoBytes};

use crate::file::File;
use crate::{kloop, user};

/// `NETMAP_REQ_MAXSIZE`: most bytes of a request, its body and its options.
const MAX_SIZE: usize = 4096;
/// Last known option.
const LAST_OPTION: u32 = opt::OFFSETS;

/// One option of a request.
#[derive(Clone, Copy)]
pub struct Opt {
    /// Where the program has it.
    at: u64,
    /// Its head.
    pub head: NmreqOption,
    /// What becomes of it.
    status: i32,
}

/// The options of a request.
pub struct Options(Vec<Opt>);

impl Options {
    /// Bytes of an option beside those of all.
    fn len(kind: u32, size: u64) -> usize {
        let own = match kind {
            opt::EXTMEM => 96,
            opt::CSB => 40,
            opt::SYNC_KLOOP_MODE => 32,
            opt::OFFSETS => 56,
            opt::SYNC_KLOOP_EVENTFDS => return usize::try_from(size).unwrap_or(usize::MAX).max(24),
            _ => 24,
        };
        own.max(24)
    }

    /// Follows the program's list (`nmreq_copyin`).
    fn read(mut at: u64, body: usize) -> Result<(Self, Option<i32>), i32> {
        let mut all: Vec<Opt> = Vec::new();
        let mut bytes = body + 16;
        while at != 0 {
            let head: NmreqOption = user::get(at)?;
            bytes = bytes.saturating_add(Self::len(head.reqtype, head.size)).saturating_add(8);
            if bytes > MAX_SIZE {
                return Err(libc::EMSGSIZE);
            }
            let known = (1..=LAST_OPTION).contains(&head.reqtype);
            let status = libc::EOPNOTSUPP;
            if known && let Some(twin) = all.iter_mut().find(|o| o.head.reqtype == head.reqtype) {
                twin.status = libc::EINVAL;
                all.push(Opt { at, head, status: libc::EINVAL });
                return Ok((Self(all), Some(libc::EINVAL)));
            }
            all.push(Opt { at, head, status });
            at = head.next;
        }
        Ok((Self(all), None))
    }

    /// The option of a kind; it counts as understood, with this result.
    pub fn take(&mut self, kind: u32) -> Option<&mut Opt> {
        self.0.iter_mut().find(|o| o.head.reqtype == kind)
    }

    /// Whether all were understood (`nmreq_checkoptions`).
    fn check(&self) -> Result<(), i32> {
        if self.0.iter().any(|o| o.status != 0) { Err(libc::EOPNOTSUPP) } else { Ok(()) }
    }

    fn write_back(&self) -> Result<(), i32> {
        for o in &self.0 {
            user::put(o.at + std::mem::offset_of!(NmreqOption, status) as u64, &o.status)?;
        }
        Ok(())
    }
}

impl Opt {
    /// What the program says follows the head.
    pub fn words<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T, i32> {
        user::get(self.at + offset)
    }

    /// Its result.
    pub fn set(&mut self, status: i32) {
        self.status = status;
    }
}

/// Does the request whose header is at `at`.
pub fn request(f: &File, at: u64) -> Result<(), i32> {
    let mut hdr: NmreqHeader = user::get(at)?;
    if !APIS.contains(&hdr.version) || hdr.reserved != 0 {
        return Err(libc::EINVAL);
    }
    let len = body_len(hdr.reqtype).ok_or(libc::EINVAL)?;
    if (len == 0) != (hdr.body == 0) {
        return Err(libc::EINVAL);
    }
    // netmap ends the name itself.
    hdr.name[63] = 0;
    let mut body = [0u8; 64];
    user::bytes(hdr.body, &mut body[..len])?;
    let (mut options, wrong) = Options::read(hdr.options, len)?;
    let done = match wrong {
        Some(e) => Err(e),
        None => perform(f, &mut hdr, &mut body[..len], &mut options),
    };
    options.write_back()?;
    user::put(at, &hdr)?;
    if done.is_ok() {
        user::put_bytes(hdr.body, &body[..len])?;
    }
    done
}

fn perform(f: &File, hdr: &mut NmreqHeader, body: &mut [u8], options: &mut Options) -> Result<(), i32> {
    match hdr.reqtype {
        req::SYNC_KLOOP_START => {
            let start = NmreqKloopStart::read_from_bytes(body).map_err(|_| libc::EINVAL)?;
            kloop::start(f, start.sleep_us, options)
        }
        req::SYNC_KLOOP_STOP => kloop::stop(f),
        req::CSB_ENABLE => enable_csb(f, options),
        req::REGISTER => {
            // Refused before anything is registered: there is no other way back.
            let csb = options.take(opt::CSB).map(|o| {
                o.set(0);
                *o
            });
            if let Err(e) = options.check() {
                // Not understood because of others.
                if let Some(o) = options.take(opt::CSB) {
                    o.set(0);
                }
                return Err(e);
            }
            if let Some(o) = csb {
                let flags = u64::from_ne_bytes(*body.last_chunk().ok_or(libc::EINVAL)?);
                let entries = entries(&o)?;
                if flags & flag::EXCLUSIVE == 0 || !is_writable(entries) {
                    let e = if flags & flag::EXCLUSIVE == 0 { libc::EINVAL } else { libc::EFAULT };
                    if let Some(o) = options.take(opt::CSB) {
                        o.set(e);
                    }
                    return Err(e);
                }
            }
            ask(f, hdr, body)?;
            f.bind()?;
            if csb.is_some() { enable_csb(f, options) } else { Ok(()) }
        }
        _ => {
            options.check()?;
            ask(f, hdr, body)
        }
    }
}

/// Takes the request to the daemon.
pub fn ask(f: &File, hdr: &mut NmreqHeader, body: &mut [u8]) -> Result<(), i32> {
    let (answer, _) = f.call(hdr.reqtype, &hdr.name, body)?;
    hdr.name = answer.name;
    if answer.errno != 0 {
        return Err(answer.errno);
    }
    let n = body.len();
    body.copy_from_slice(answer.body.get(..n).ok_or(libc::EINVAL)?);
    Ok(())
}

/// Where the CSB entries are: atok, ktoa.
fn entries(o: &Opt) -> Result<[u64; 2], i32> {
    Ok([o.words(24)?, o.words(32)?])
}

/// Whether entries can be written, as far as one of each tells.
fn is_writable([atok, ktoa]: [u64; 2]) -> bool {
    [(atok, size_of::<CsbAtok>()), (ktoa, size_of::<CsbKtoa>())].iter().all(|&(at, len)| {
        let mut now = [0u8; 64];
        at != 0 && user::bytes(at, &mut now[..len]).is_ok() && user::put_bytes(at, &now[..len]).is_ok()
    })
}

/// Puts a descriptor into CSB mode (`netmap_csb_validate`).
fn enable_csb(f: &File, options: &mut Options) -> Result<(), i32> {
    let o = options.take(opt::CSB).ok_or(libc::EINVAL)?;
    let done = entries(o).and_then(|at| {
        let b = f.bind()?;
        if f.csb[0].load(std::sync::atomic::Ordering::Relaxed) != 0 {
            return Err(libc::EBUSY);
        }
        if b.flags & flag::EXCLUSIVE == 0 {
            return Err(libc::EINVAL);
        }
        kloop::init_csb(f, b, at)
    });
    o.set(done.err().unwrap_or(0));
    done?;
    options.check()
}
