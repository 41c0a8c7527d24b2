//! The payload: what runs at CPL 3 after `boot.s`.

#![no_std]
#![no_main]

mod console;
mod jobs;
mod machine;
mod pci;
mod symbols;
mod tests;

use core::arch::global_asm;
use core::panic::PanicInfo;

use valecast_guest::mailbox::{self, Card, Mailbox, Role, State};

use machine::Machine;

global_asm!(include_str!("boot.s"), options(att_syntax));

/// The page that the monitor shares with us; in a test without one it is a page like any other.
fn mailbox() -> &'static Mailbox {
    // SAFETY: aligned, mapped by `boot.s` for good, and made of atomics only.
    unsafe { &*(mailbox::AT as *const Mailbox) }
}

/// Comes from `boot.s` with the address of the start info, or 0 from our own monitor.
#[unsafe(no_mangle)]
extern "C" fn payload(start_info: u32) -> ! {
    if start_info != 0 {
        console::exit(pci::find().map_or(2, |bar0| tests::run(&mut Machine::new(bar0, 32 << 20))));
    }
    let m = mailbox();
    // ORDERING: Relaxed: written before we were started.
    let get = |w: &core::sync::atomic::AtomicU64| w.load(core::sync::atomic::Ordering::Relaxed);
    console::use_place(get(&m.console));
    let mut machine = Machine::new(get(&m.bar0), get(&m.end));
    let mut last = 0;
    m.say(State::Ready);
    loop {
        let Some((number, job)) = m.take(last) else {
            machine.halt();
            if let Some(n) = machine.interrupted() {
                machine.end_of_interrupt(n);
            }
            continue;
        };
        last = number;
        // Before the word that it runs: who waits for that sees none of the last job's counts.
        m.counts.0.clear();
        m.say(State::Running);
        if job.role == Role::Test {
            let passed = match m.card() {
                Card::E1000 => tests::run(&mut machine) == 0,
                Card::Virtio => {
                    console::line(format_args!("FAILED: the tests are for the e1000"));
                    false
                }
            };
            m.say(if passed { State::Ready } else { State::Failed });
            continue;
        }
        let done = jobs::run(&mut machine, m, number, &job);
        m.say(if done { State::Ready } else { State::Failed });
    }
}

#[panic_handler]
fn panic(why: &PanicInfo<'_>) -> ! {
    console::line(format_args!("PANIC: {why}"));
    mailbox().say(State::Failed);
    console::exit(3);
}
