//! `valecast top`: a running switch, live.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use valecast_config::units::parse_duration;
use valecast_switch::switch::show::StatsView;

use crate::ctl::{At, Client, Failure};

mod rates;
mod screen;

use rates::Rates;

/// More on `valecast top`.
pub const HELP: &str = "\
Keys:
  q, Esc, Ctrl-C    quit
  Up, Down          scroll when there are more ports than lines

Without a terminal, or with --once, it prints one picture as text and ends.";

/// What `valecast top` takes.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    at: At,
    /// How often to look, such as 500ms or 2s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one picture as text.
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|e| e.to_string())?;
    match time >= Duration::from_millis(50) && time <= Duration::from_secs(3600) {
        true => Ok(time),
        false => Err("from 50ms to 1h".to_owned()),
    }
}

/// Shows the switch until told to quit.
pub fn run(args: &TopArgs) -> ExitCode {
    let shown = args.at.client(None).and_then(|client| {
        let first = look(&client)?;
        match args.once || !io::stdout().is_terminal() {
            true => once(&client, &first, args.interval),
            false => live(&client, first, args.interval),
        }
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            errln!("valecast top: {failure}");
            failure.code()
        }
    }
}

/// One reading, and when it was taken.
struct Reading(StatsView, Instant);

fn look(client: &Client) -> Result<Reading, Failure> {
    let stats = client.read("stats")?;
    Ok(Reading(stats, Instant::now()))
}

impl Reading {
    /// The rates since an earlier reading.
    fn since(&self, earlier: &Self) -> Rates {
        Rates::between(&earlier.0, &self.0, (self.1 - earlier.1).as_secs_f64())
    }
}

fn once(client: &Client, first: &Reading, interval: Duration) -> Result<(), Failure> {
    std::thread::sleep(interval);
    out!("{}", look(client)?.since(first));
    Ok(())
}

/// What the screen shows.
#[derive(Debug, Default)]
struct View {
    rates: Rates,
    /// Frames per second so far, the latest last.
    history: Vec<u64>,
    /// The first port shown.
    offset: usize,
    /// Why there are no new figures.
    trouble: Option<String>,
}

/// As many readings as a wide terminal has columns.
const HISTORY: usize = 512;

impl View {
    fn update(&mut self, rates: Rates) {
        self.history.push(rates.total_pps() as u64);
        let old = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..old);
        self.rates = rates;
        self.trouble = None;
    }

    /// Whether to go on.
    fn key(&mut self, key: KeyEvent) -> bool {
        let last = self.rates.ports.len().saturating_sub(1);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Down | KeyCode::Char('j') => self.offset = (self.offset + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            _ => {}
        }
        true
    }
}

fn live(client: &Client, first: Reading, interval: Duration) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::Refused(format!("the terminal: {e}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let ended = watch(&mut terminal, client, first, interval);
    ratatui::restore();
    ended.map_err(failed)
}

fn watch(
    terminal: &mut DefaultTerminal,
    client: &Client,
    mut last: Reading,
    interval: Duration,
) -> io::Result<()> {
    let mut view = View { rates: last.since(&last), ..View::default() };
    // A first glimpse soon, then in step.
    let mut next = Instant::now() + interval.min(Duration::from_millis(300));
    loop {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()?
                && !view.key(key)
            {
                return Ok(());
            }
            continue;
        }
        match look(client) {
            Ok(now) => {
                view.update(now.since(&last));
                last = now;
            }
            Err(e) => view.trouble = Some(e.to_string()),
        }
        next = Instant::now() + interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let mut view = View::default();
        view.rates.ports = vec![rates::PortRates::default(); 2];
        let mut press = |code| view.key(KeyEvent::new(code, KeyModifiers::NONE));
        assert!(press(KeyCode::Down) && press(KeyCode::Down) && press(KeyCode::Char('c')));
        assert!(!press(KeyCode::Char('q')));
        assert!(!view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert_eq!(view.offset, 1);
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert!(interval("1ms").is_err() && interval("5").is_err());
    }
}
