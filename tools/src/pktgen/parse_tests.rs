use super::*;
use valecast_bench::pace::Rate;
use valecast_bench::rng::Rng;
use valecast_bench::source::Fragments;

fn parsed(line: &str) -> Result<Options, String> {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse(args)? {
        Parsed::Run(o) => Ok(*o),
        Parsed::Help => Err("help".into()),
    }
}

fn ok(line: &str) -> Options {
    parsed(&format!("-i vale0:a {line}")).unwrap()
}

fn err(line: &str) -> String {
    parsed(&format!("-i vale0:a {line}")).unwrap_err()
}

#[test]
fn defaults_are_pkt_gens() {
    let o = ok("");
    assert_eq!((o.mode, o.frame.size, o.burst, o.threads), (Mode::Rx, 60, 512, 1));
    assert_eq!((o.count, o.rate, o.report_every), (None, None, Duration::from_secs(1)));
    assert_eq!(o.frame.src.to_string(), "10.0.0.1:1234");
    assert_eq!(o.frame.dst.to_string(), "10.1.0.1:1234");
    assert_eq!(o.frame.dst_mac.to_string(), "ff:ff:ff:ff:ff:ff");
    assert_eq!(o.frame.src_mac.start(), mac_of_port("vale0:a"));
    assert_eq!(ok("-f ping").burst, 1);
}

#[test]
fn lines_that_people_type() {
    let o = ok("-f tx -n 10M -l 1500 -l 60 -R 14.88M -b 256 -p 2 -a 1 -c 2 -T 500 -NABX");
    assert_eq!((o.count, o.frame.size, o.frame.min_size), (Some(10_000_000), 1500, Some(60)));
    assert_eq!((o.burst, o.threads, o.first_cpu, o.cpus), (256, 2, Some(1), Some(2)));
    assert!(!o.normalize && o.framing && o.statistics && o.dump);
    assert_eq!(o.rate.unwrap().pps(), 14_880_000.0);
    let o = ok("-ftx -s 10.0.0.1:1-10.0.0.9:5 -D 02:00:00:00:00:01 -zZ -F 3 -M 100 -I -H 12 -o 2052");
    assert!(o.frame.random_src && o.frame.random_dst && o.copy && o.statistics);
    assert_eq!(o.fragments, Fragments { count: 3, size: Some(100) });
    assert_eq!((o.frame.vnet, o.frame.dst_mac.start()), (12, [2, 0, 0, 0, 0, 1]));
    // Order does not matter: the family comes after the addresses.
    let o = ok("-f tx -s [fd00::5]:7 -6");
    assert_eq!(o.frame.src.to_string(), "[fd00::5]:7");
    let o = ok("-f rx -W --seconds 2.5 --json");
    assert_eq!((o.silence, o.time), (Some(Duration::from_secs(1)), Some(Duration::from_millis(2500))));
    assert_eq!(ok("-f ping -R 1k --load 1M").load, Some(Rate::per_second(1_000_000)));
    assert_eq!(ok("-n 0 -R 0").count, None);
    assert!(ok("-f txseq").frame.sequence.is_some() && ok("-f tx").frame.sequence.is_none());
}

#[test]
fn rings_are_asked_for_as_pkt_gen_does() {
    let c = |s: &str| ok(&format!("-C {s}")).attach;
    assert_eq!(c("512").slots, Some(512));
    assert_eq!(c("512,2048").slots, Some(2048));
    assert_eq!((c("0,0,2").tx_rings, c("0,0,2").rx_rings), (Some(2), Some(2)));
    assert_eq!((c("512,512,2,4").tx_rings, c("512,512,2,4").rx_rings), (Some(2), Some(4)));
    assert_eq!(c("0"), AttachOptions::default());
    assert_eq!(ok("--buf-size 9216 -C 64").attach.buf_size, Some(9216));
    assert!(err("-C 1,2,3,4,5").contains("TX_SLOTS") && err("-C x").contains("TX_SLOTS"));
}

#[test]
fn captures() {
    let r = ok("-f tx -P x.pcap --pcap-speed 2 --loop 0").replay.unwrap();
    assert_eq!((r.speed, r.times), (Some(2.0), Some(0)));
    assert!(err("-f tx --loop 2").contains("-P FILE"));
    assert!(err("-f tx -P x --pcap-speed 2 -R 5").contains("either"));
    assert!(err("-f tx -P x -p 2").contains("one thread"));
    assert!(err("-f tx -P x --pcap-speed -1").contains("a number"));
}

#[test]
fn what_is_wrong_is_named() {
    assert!(parsed("-f tx").unwrap_err().contains("-i is missing"));
    assert!(err("-f sing").contains("tx, rx, ping"));
    assert!(err("-l 15").contains("16 to 65536"));
    assert!(err("-l 60 -l 61").contains("smaller"));
    assert!(err("-l 60 -l 60 -l 60").contains("at most two"));
    assert!(err("-F 64").contains("1 to 63"));
    assert!(err("-H 11").contains("10 or 12"));
    assert!(err("-R fast").contains("-R") && err("-n -5").contains("-n"));
    assert!(err("-s fd00::1").contains("IPv4") && err("-S 1:2").contains("MAC"));
    assert!(err("-f rx --probe 5").contains("-f tx") && err("-f tx --load 5").contains("-f ping"));
    assert!(err("-f ping -p 2").contains("one thread"));
    assert!(err("-q").contains("unknown option -q"));
    assert_eq!(parsed("-h").unwrap_err(), "help");
    assert_eq!(parsed("-i x --help").unwrap_err(), "help");
}

#[test]
fn the_help_names_every_option() {
    let help = super::super::help::HELP;
    for letter in "46aAbBcCdDfFhHiIlMnNoprPRsSTvwWXzZ".chars() {
        assert!(help.contains(&format!("-{letter}")), "-{letter}");
    }
    for long in
        "buf-size busy help hlog json load loop patience pcap-speed plot probe run-dir seconds seed silence"
            .split(' ')
    {
        assert!(help.contains(&format!("--{long}")), "--{long}");
    }
    assert!(help.lines().all(|l| l.chars().count() <= 110));
}

#[test]
fn never_panics() {
    let alphabet = b"-abcdfiplnoRSTwxz0123456789.:,=@[k ";
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let words = rng.between(0, 6);
        let args: Vec<String> = (0..words)
            .map(|_| {
                let n = rng.between(0, 9);
                (0..n).map(|_| alphabet[rng.between(0, alphabet.len() - 1)] as char).collect()
            })
            .collect();
        let _ = parse(args);
    }
}
