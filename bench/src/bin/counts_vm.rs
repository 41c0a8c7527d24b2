//! As `counts`, from one guest's e1000 to another's, with the CSB. A program of its own, lest what is compiled for one of
//! them changes what is inlined in the other.

use valecast_bench::vm::counted::CardRig;

/// Name, burst, bytes of a frame without FCS. Of the `guest` jobs the drivers' side is counted, of the others the switch's.
const JOBS: &[(&str, u32, usize)] = &[
    ("e1000-64-burst-256", 256, 60),
    ("e1000-64-burst-32", 32, 60),
    ("e1000-1500-burst-256", 256, 1500),
    ("guest-sends-64-burst-256", 256, 60),
    ("guest-receives-64-burst-256", 256, 60),
];

/// Frames of a job.
const FRAMES: u32 = 65_536;

fn main() {
    let asked = std::env::args().nth(1);
    let Some((name, burst, len)) = JOBS.iter().find(|(name, ..)| Some(*name) == asked.as_deref()) else {
        JOBS.iter().for_each(|(name, ..)| println!("{name}"));
        if asked.is_some_and(|a| a != "--list") {
            eprintln!("no such job; there are those above");
            std::process::exit(2);
        }
        return;
    };
    match run(*burst, *len) {
        Ok(frames) => println!("{frames}"),
        Err(e) => {
            eprintln!("{name}: {e}");
            std::process::exit(1);
        }
    }
}

fn run(burst: u32, len: usize) -> Result<u64, Box<dyn std::error::Error>> {
    let mut rig = CardRig::new(len)?;
    let (mut frames, mut received) = (0, 0);
    for _ in 0..FRAMES / burst {
        rig.send(burst)?;
        frames += rig.forward(burst as usize) as u64;
        received = rig.receive()?;
    }
    if frames != u64::from(FRAMES) || received != frames {
        return Err(format!("{FRAMES} frames sent, {frames} forwarded, {received} received").into());
    }
    Ok(frames)
}
